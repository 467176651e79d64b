"""A live run: a detector on a source until the signal ends or somebody asks to stop, with its
lines, page and events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biot_bd.deploy.detector import Detector
from biot_bd.deploy.live.broadcast import Hub
from biot_bd.deploy.live.detector import LiveDetector, LiveResult
from biot_bd.deploy.live.json_lines import Lines
from biot_bd.deploy.live.server import PageServer
from biot_bd.deploy.live.source import Chunk, LiveSource, Notice
from biot_bd.deploy.results import write_events
from biot_bd.events.scoring import SHORTEST_S
from biot_bd.exceptions import DetectionError, LostStreamError

STATUS_S = 10.0
PAGE_S = 1.0  # a page's numbers are not older than this


@dataclass(frozen=True)
class Run:
    """How a run ended.

    Parameters
    ----------
    result : LiveResult
        Whatever the reason, all that was found.
    reason : {"end of signal", "stopped", "duration", "failed"}
        Why it ended.
    error : Exception or None
        What failed.
    output : Path or None
        The file of the events; None where none was asked for, or the run ended before a tenth of a
        second of signal came, of which no file of events can speak.
    """

    result: LiveResult
    reason: str
    error: Exception | None = None
    output: Path | None = None


def make_live(detector: Detector, source: LiveSource, **options: Any) -> LiveDetector:
    """Return the live detector of a source.

    Parameters
    ----------
    detector : Detector
        A causal one.
    source : LiveSource
        Its channels, rate, name, start, notes and what it cannot use are taken.
    **options
        Of :class:`~biot_bd.deploy.live.LiveDetector`.

    Raises
    ------
    biot_bd.exceptions.DetectionError
        The channels or the rate cannot be used.
    """
    options |= {"where": source.where, "start_time": source.start_time, "notes": source.notes}
    options |= {"unusable": source.unusable}
    return LiveDetector(detector, source.ch_names, source.sfreq, **options)


def run(
    source: LiveSource,
    live: LiveDetector,
    *,
    duration_s: float | None = None,
    status_s: float = STATUS_S,
    on_status: Callable[[dict[str, Any]], None] | None = None,
) -> Run:
    """Feed a live detector from its source.

    Parameters
    ----------
    source : LiveSource
        Is closed at the end.
    live : LiveDetector
        Made for this source; is finished at the end, also where the source fails.
    duration_s : float, optional
        Stop after so many seconds on the recording's clock.
    status_s : float
        Seconds between two calls of ``on_status``.
    on_status : callable, optional
        Called with :meth:`LiveDetector.status`, ``lag_s`` (seconds of signal that wait; None at
        full speed) and ``load`` (share of the time since the last status that was spent on
        computing).

    Returns
    -------
    Run
    """
    reason, error = "end of signal", None
    full = False
    since, busy_s = time.monotonic(), 0.0
    try:
        for item in source.chunks(live.needed):
            begin = time.monotonic()
            if isinstance(item, Notice):
                live.notice(item)
            else:
                full = _push(live, item, duration_s)
            busy_s += time.monotonic() - begin
            lag_s, passed = source.lag_s, time.monotonic() - since
            live.lag(lag_s)
            if on_status is not None and passed >= status_s:
                load = round(min(1.0, busy_s / passed), 4)
                on_status({**live.status(), "lag_s": None if lag_s is None else round(lag_s, 3), "load": load})
                since, busy_s = time.monotonic(), 0.0
            if full:
                reason = "duration"
                break
        else:
            reason = "stopped" if source.stopped else reason
    except (DetectionError, LostStreamError, ValueError) as failure:
        reason, error = "failed", failure
    finally:
        source.close()
    return Run(live.finish(), reason, error)


def _push(live: LiveDetector, chunk: Chunk, duration_s: float | None) -> bool:
    """Feed a chunk, or what fits into the duration; return whether that was all."""
    if duration_s is not None:
        at_s = live.time_s if chunk.begins is None else max(live.time_s, chunk.begins.start_s)
        left = round((duration_s - at_s) * chunk.sfreq)
        if chunk.x.shape[1] >= left:
            times = None if chunk.times_s is None else chunk.times_s[: max(0, left)]
            live.push(replace(chunk, x=chunk.x[:, : max(0, left)], times_s=times))
            return True
    live.push(chunk)
    return False


@dataclass(frozen=True)
class Session:
    """Settings of a live run.

    Parameters
    ----------
    detector : Detector
        A causal one.
    lines : Lines
        Where lines go.
    model : str
        The model's name, for lines and page.
    output : Path, optional
        File of the final events.
    format : str
        Of it, see :data:`biot_bd.deploy.results.FORMATS`.
    page : (str, int), optional
        Address and port of the live page.
    allow_hosts : sequence of str
        Names under which the page may be asked for, see
        :class:`~biot_bd.deploy.live.server.PageServer`.
    stay : bool
        Keep the page after the signal's end until the source is stopped.
    status_s : float
        Seconds between status lines; 0 for none.
    decisions : bool
        Whether each decision gets a line.
    max_gap_s, jitter_s : float
        See :class:`~biot_bd.deploy.live.LiveDetector`.
    anonymous : bool
        Keep what went wrong out of lines: it names the source.
    """

    detector: Detector
    lines: Lines
    model: str
    output: Path | None = None
    format: str = "tsv"
    page: tuple[str, int] | None = None
    allow_hosts: Sequence[str] = ()
    stay: bool = False
    status_s: float = STATUS_S
    decisions: bool = False
    max_gap_s: float = 5.0
    jitter_s: float = 0.2
    anonymous: bool = False

    def run(
        self,
        source: LiveSource,
        *,
        duration_s: float | None = None,
        on_page: Callable[[str], None] | None = None,
    ) -> Run:
        """Detect until the end, and write what was found, whatever the end was.

        Parameters
        ----------
        source : LiveSource
            Is closed at the end.
        duration_s : float, optional
            Stop after so many seconds of signal.
        on_page : callable, optional
            Called with the page's address.

        Returns
        -------
        Run
            Its ``error`` is for the caller to raise.

        Raises
        ------
        biot_bd.exceptions.DetectionError
            The source's channels or rate cannot be used.
        OSError
            The page cannot be served, or the events cannot be written.
        """
        with ExitStack() as ends:
            hub = None
            if self.page is not None:
                hub = Hub({"source": source.where, "model": self.model})
                server = PageServer(hub, *self.page, allow_hosts=self.allow_hosts)
                ends.callback(server.close)
                self.lines.listeners.append(hub.line)
                if on_page is not None:
                    on_page(server.url)
            ends.callback(source.close)
            ended = self._run(source, duration_s, hub)
            while hub is not None and self.stay and not source.stopped:
                time.sleep(0.1)
            return ended

    def _run(self, source: LiveSource, duration_s: float | None, hub: Hub | None) -> Run:
        live = make_live(
            self.detector,
            source,
            emit=self.lines.write,
            screen=hub,
            decisions=self.decisions,
            max_gap_s=self.max_gap_s,
            jitter_s=self.jitter_s,
        )
        facts = live.facts()
        self.lines.write({"type": "start", "model": self.model, **facts})
        if hub is not None:
            shown = {"ch_names": self.detector.scorer.montage.ch_names, **self.detector.event_detector.setting()}
            hub.about({**facts, **shown})
        every = [seconds for seconds in (self.status_s, PAGE_S if hub is not None else 0) if seconds]
        last: dict[str, Any] = {"lag_s": None}
        told = time.monotonic()

        def take(status: dict[str, Any]) -> None:
            """Give each status to the page, and some of them to the lines."""
            nonlocal told
            last.update(status)
            if hub is not None:
                status = {**status, "n_viewers": hub.n_viewers}
                hub.status(status)
            if self.status_s and time.monotonic() - told >= self.status_s * 0.99:
                told = time.monotonic()
                self.lines.write({"type": "status", **status})

        on_status = take if every else None
        ended = run(source, live, duration_s=duration_s, status_s=min(every, default=STATUS_S), on_status=on_status)
        if hub is not None:
            hub.status({**last, **live.status()})
        if self.output is not None and ended.result.detection.duration_s >= SHORTEST_S:
            ended = replace(ended, output=write_events(self.output, ended.result.detection, self.format))
        reason = ended.reason if ended.error is None or self.anonymous else f"failed: {ended.error}"
        self.lines.write({"type": "end", "reason": reason, "model": self.model, **ended.result.as_dict()})
        return ended
