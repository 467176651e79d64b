"""A whole live run: source, detector, lines, page, and the file of final events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biot_bd.deploy.detector import Detector
from biot_bd.deploy.live.broadcast import Hub
from biot_bd.deploy.live.json_lines import Lines
from biot_bd.deploy.live.runner import STATUS_S, Run, make_live, run
from biot_bd.deploy.live.server import PageServer
from biot_bd.deploy.live.source import LiveSource
from biot_bd.deploy.results import write_events

PAGE_S = 1.0  # a page's numbers are not older than this


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
    stay : bool
        Keep the page after the signal's end until the source is stopped.
    status_s : float
        Seconds between status lines; 0 for none.
    decisions : bool
        Whether each decision gets a line.
    max_gap_s, jitter_s : float
        See :class:`~biot_bd.deploy.live.LiveDetector`.
    """

    detector: Detector
    lines: Lines
    model: str
    output: Path | None = None
    format: str = "tsv"
    page: tuple[str, int] | None = None
    stay: bool = False
    status_s: float = STATUS_S
    decisions: bool = False
    max_gap_s: float = 5.0
    jitter_s: float = 0.2

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
        if self.page is None:
            try:
                return self._run(source, duration_s, None)
            finally:
                source.close()
        hub = Hub({"source": source.where, "model": self.model})
        server = PageServer(hub, *self.page)
        self.lines.listeners.append(hub.line)
        try:
            if on_page is not None:
                on_page(server.url)
            ended = self._run(source, duration_s, hub)
            while self.stay and not source.stopped:
                time.sleep(0.1)
            return ended
        finally:
            source.close()
            server.close()

    def _run(self, source: LiveSource, duration_s: float | None, hub: Hub | None) -> Run:
        live = make_live(
            self.detector,
            source,
            emit=self.lines.write,
            screen=_Screen(hub, self.lines if self.decisions else None) if hub or self.decisions else None,
            max_gap_s=self.max_gap_s,
            jitter_s=self.jitter_s,
        )
        facts = live.facts()
        self.lines.write({"type": "start", "model": self.model, **facts})
        if hub is not None:
            shown = {"ch_names": self.detector.scorer.montage.ch_names, **self.detector.events.setting()}
            hub.about({**facts, **shown})
        every = [seconds for seconds in (self.status_s, PAGE_S if hub is not None else 0) if seconds]
        status = _Status(self.lines, hub, self.status_s)
        ended = run(
            source,
            live,
            duration_s=duration_s,
            status_s=min(every, default=STATUS_S),
            on_status=status.take if every else None,
        )
        if hub is not None:
            hub.status({"lag_s": None, **(status.last or {}), **live.status()})
        if self.output is not None:
            write_events(self.output, ended.result.detection, self.format)
        reason = ended.reason if ended.error is None else f"failed: {ended.error}"
        self.lines.write({"type": "end", "reason": reason, "model": self.model, **ended.result.as_dict()})
        return ended


class _Screen:
    """Shows signal and decisions to the page, decisions also as lines."""

    def __init__(self, hub: Hub | None, lines: Lines | None) -> None:
        self._hub, self._lines = hub, lines

    def signal(self, blocks: list[dict[str, Any]]) -> None:
        if self._hub is not None:
            self._hub.signal(blocks)

    def decision(self, fields: dict[str, Any]) -> None:
        if self._hub is not None:
            self._hub.decision(fields)
        if self._lines is not None:
            self._lines.write({"type": "decision", **fields})


class _Status:
    """Gives each status to the page, and some of them to the lines."""

    def __init__(self, lines: Lines, hub: Hub | None, every_s: float) -> None:
        self._lines, self._hub, self._every_s = lines, hub, every_s
        self._told = time.monotonic()
        self.last: dict[str, Any] | None = None

    def take(self, fields: dict[str, Any]) -> None:
        self.last = fields
        if self._hub is not None:
            fields = {**fields, "n_viewers": self._hub.n_viewers}
            self._hub.status(fields)
        if self._every_s and time.monotonic() - self._told >= self._every_s * 0.99:
            self._told = time.monotonic()
            self._lines.write({"type": "status", **fields})
