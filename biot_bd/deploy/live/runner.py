"""Run a live detector on a source until the signal ends or somebody asks to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from biot_bd.deploy.detector import Detector
from biot_bd.deploy.live.detector import LiveDetector, LiveResult
from biot_bd.deploy.live.source import Chunk, LiveSource, Notice
from biot_bd.exceptions import DetectionError, LostStreamError, MissingChannelsError

STATUS_S = 10.0


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
    """

    result: LiveResult
    reason: str
    error: Exception | None = None


def make_live(detector: Detector, source: LiveSource, **options: Any) -> LiveDetector:
    """Return the live detector of a source.

    Parameters
    ----------
    detector : Detector
        A causal one.
    source : LiveSource
        Its channels, rate, name, start and notes are used.
    **options
        Of :class:`~biot_bd.deploy.live.LiveDetector`.

    Raises
    ------
    biot_bd.exceptions.DetectionError
        The channels or the rate cannot be used.
    """
    about = {"where": source.where, "start_time": source.start_time, "notes": source.notes}
    try:
        return LiveDetector(detector, source.ch_names, source.sfreq, **about, **options)
    except MissingChannelsError as error:
        raise DetectionError(str(error)) from error
    except ValueError as error:
        raise DetectionError(f"{source.where}: {error}") from error


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
        Called with :meth:`LiveDetector.status`, ``lag_s`` (seconds of signal that wait; None at full speed) and ``load`` (share of
        the time since the last status that was spent on computing).

    Returns
    -------
    Run
    """
    reason, error = "end of signal", None
    full = False
    meter = _Meter(source, live, status_s, on_status)
    try:
        for item in source.chunks(live.needed):
            with meter.busy():
                if isinstance(item, Notice):
                    live.notice(item)
                else:
                    full = _push(live, item, duration_s)
            meter.look()
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
        left = round((duration_s - live.time_s) * chunk.sfreq)
        if chunk.x.shape[1] >= left:
            times = None if chunk.times_s is None else chunk.times_s[: max(0, left)]
            live.push(replace(chunk, x=chunk.x[:, : max(0, left)], times_s=times))
            return True
    live.push(chunk)
    return False


class _Meter:
    """Measure load and lag, and report them from time to time."""

    def __init__(
        self,
        source: LiveSource,
        live: LiveDetector,
        every_s: float,
        report: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self._source, self._live, self._every_s, self._report = source, live, every_s, report
        self._since, self._busy_s = time.monotonic(), 0.0

    @contextmanager
    def busy(self) -> Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        finally:
            self._busy_s += time.monotonic() - begin

    def look(self) -> None:
        lag_s = self._source.lag_s
        self._live.lag(lag_s)
        passed = time.monotonic() - self._since
        if self._report is None or passed < self._every_s:
            return
        lag = None if lag_s is None else round(lag_s, 3)
        self._report({**self._live.status(), "lag_s": lag, "load": round(min(1.0, self._busy_s / passed), 4)})
        self._since, self._busy_s = time.monotonic(), 0.0


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM call ``stop``; a second one ends the program as usual.

    Does nothing outside the main thread, where signals cannot be caught.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        for known, handler in before.items():
            with suppress(TypeError):  # None: set by other code than Python's
                signal.signal(known, handler)
        stop()

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(TypeError):
                signal.signal(number, handler)
