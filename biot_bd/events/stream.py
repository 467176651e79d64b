"""The incremental form of a causal :class:`~biot_bd.events.EventDetector`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from biot_bd.events import curve as curves
from biot_bd.events.types import Alarm, Event


@dataclass
class _Run:
    start: int
    peak: float


class EventStream:
    """Events of windows that come one after another.

    Made by ``EventDetector(causal=True).stream()``.

    The events that :meth:`push` and :meth:`finish` return are those that ``detector.predict`` finds
    in the whole, whatever the size of the chunks.  An event is returned when nothing can change it
    any more, so ``merge_gap_s`` and up to ``min_duration_s`` after its end; an :class:`Alarm` is
    raised when the curve has been over the threshold for ``min_duration_s``, that is ``max(1,
    ceil(min_duration_s))`` seconds after the onset, rounded up to the end of the next window.

    Parameters
    ----------
    window_s : float
        Length of the window that a probability speaks of.
    smoothing : {"mean", "median"}
    setting : mapping
        The detector's values in use, as :meth:`EventDetector.setting` gives them; later changes of
        it do not count.

    Attributes
    ----------
    value : float
        The last known value of the curve.

    See Also
    --------
    EventDetector.predict : The same events from the whole curve.

    Examples
    --------
    >>> from biot_bd.events import EventDetector
    >>> stream = EventDetector(causal=True, window_s=10, smoothing_s=0, merge_gap_s=0).stream()
    >>> for start_s, probability in enumerate([0.1, *[0.9] * 15, *[0.1] * 20]):
    ...     for event in stream.push(probability, start_s):
    ...         print(event)
    Event(onset_s=10.0, offset_s=25.0, confidence=0.9)
    >>> stream.take_alarms()
    [Alarm(onset_s=10.0, time_s=20.0, confidence=0.9)]
    """

    def __init__(self, window_s: float, smoothing: str, setting: Mapping[str, float]) -> None:
        self._window_s, self._kind = float(window_s), smoothing
        self._width = curves.smoothing_width(setting["smoothing_s"], causal=True)
        self._threshold = setting["threshold"]
        self._release = setting["release_fraction"] * setting["threshold"]
        self._shortest = max(1, math.ceil(setting["min_duration_s"]))
        self._gap_s = setting["merge_gap_s"]
        self._waiting: dict[int, tuple[float, int]] = {}  # second -> sum and number of the windows that ended in it
        self._last_start = -math.inf
        self._last: tuple[float, int] | None = None  # last mean that is known, and its second
        self._next = 0  # first second that is not final
        self._tail = np.zeros(0)  # raw values that smoothing still needs
        self._run: _Run | None = None
        self._event: Event | None = None  # the last event, still open for merging
        self._alarms: list[Alarm] = []
        self._finished = False
        self.value = 0.0

    @property
    def time_s(self) -> float:
        """Up to where the curve is known, in seconds."""
        return float(self._next)

    @property
    def active(self) -> bool:
        """Whether an alarm is on: the curve has been high for ``min_duration_s`` and has not yet
        fallen below the release level.
        """
        return self._run is not None and self._next - self._run.start >= self._shortest

    def push(self, probabilities: ArrayLike, start_s: ArrayLike) -> list[Event]:
        """Take the next windows.

        Parameters
        ----------
        probabilities, start_s : array of shape (n,), or numbers
            Each window starts after the one before it.

        Returns
        -------
        list of Event
            Events that are final now.

        Raises
        ------
        ValueError
            Windows are not in order, probabilities are not in [0, 1], or the stream is finished.
        """
        if self._finished:
            raise ValueError("this stream is finished; begin another one")
        given_start = np.atleast_1d(np.asarray(start_s, dtype=np.float64))
        given = np.atleast_1d(np.asarray(probabilities, dtype=np.float64))
        if not len(given) and not len(given_start):
            return []
        proba, start, _ = curves.as_windows(given, given_start, self._window_s, None)
        steps = np.diff(np.concatenate([[self._last_start], given_start]))
        if not (steps > 0).all():
            where = int(np.argmin(steps > 0))
            raise ValueError(f"the window at {given_start[where]} s does not start after the one before it")
        self._last_start = float(start[-1])
        for second, value in zip(curves.causal_seconds(start, self._window_s).tolist(), proba.tolist(), strict=True):
            total, number = self._waiting.get(second, (0.0, 0))
            self._waiting[second] = (total + value, number + 1)
        # A later window ends later, so every second that is over is final.
        return self._advance(math.floor(start[-1] + self._window_s + curves.EPSILON_S))

    def finish(self, duration_s: float | None = None) -> list[Event]:
        """End the stream and return the events that were open.

        Parameters
        ----------
        duration_s : float, optional
            Length of the recording; the end of the last window by default.

        Raises
        ------
        ValueError
            The stream is finished, or a window ends after the recording.
        """
        if self._finished:
            raise ValueError("this stream is finished; begin another one")
        self._finished = True
        end = self._last_start + self._window_s
        if duration_s is None and not math.isfinite(end):
            return []
        duration = end if duration_s is None else float(duration_s)
        if end > duration + curves.SLACK_S:
            raise ValueError(f"a window ends at {end:.3f} s, after the recording ({duration:.3f} s)")
        n = curves.n_seconds(duration)
        closed = self._advance(n)
        if self._run is not None:
            self._close_run(n)
        if self._event is not None:
            closed.append(self._event)
        return [event._replace(offset_s=min(event.offset_s, duration)) for event in closed]

    def take_alarms(self) -> list[Alarm]:
        """Return the alarms that were raised since the last call, one an event."""
        taken, self._alarms = self._alarms, []
        return taken

    def _advance(self, until: int) -> list[Event]:
        """Make every second before ``until`` final; return the events that are closed by it."""
        closed: list[Event] = []
        while self._next < until:
            stop = min(until, self._next + 3600)  # a long gap takes no memory
            closed += self._advance_block(stop)
        return closed

    def _advance_block(self, stop: int) -> list[Event]:
        known = np.full(stop - self._next, np.nan)
        for second in sorted(second for second in self._waiting if second < stop):
            total, number = self._waiting.pop(second)
            known[second - self._next] = total / number
        before = None if self._last is None else (self._last[0], self._next - self._last[1])
        raw = curves.hold_seconds(known, self._window_s, before)
        seconds = np.flatnonzero(~np.isnan(known))
        if len(seconds):
            self._last = (float(known[seconds[-1]]), self._next + int(seconds[-1]))
        joined = np.concatenate([self._tail, raw])
        values = curves.smooth(joined, self._width, self._kind, causal=True)[len(self._tail) :]
        self._tail = joined[max(0, len(joined) - self._width + 1) :]
        closed: list[Event] = []
        for value in values.tolist():
            event = self._step(value)
            if event is not None:
                closed.append(event)
        return closed

    def _step(self, value: float) -> Event | None:
        """Take the value of the next second; return an event that is closed by it."""
        second, closed = self._next, None
        self._next, self.value = second + 1, value
        if self._run is not None and value < self._release:
            self._close_run(second)
        elif self._run is not None:
            self._run.peak = max(self._run.peak, value)
        elif value >= self._threshold:
            self._run = _Run(second, value)
        begun = self._run
        if begun is not None and self._next - begun.start == self._shortest and not self._near(begun):
            closed, self._event = self._event, None
            self._alarms.append(Alarm(float(begun.start), float(self._next), begun.peak))
        near = begun is not None and self._near(begun)
        if closed is None and self._event and not near and self._next - self._event.offset_s > self._gap_s:
            closed, self._event = self._event, None
        return closed

    def _close_run(self, stop: int) -> None:
        """End the run; it becomes an event, joins the last one, or is too short."""
        run, self._run = self._run, None
        if run is None or stop - run.start < self._shortest:
            return
        onset_s, peak = float(run.start), run.peak
        if self._event is not None and self._near(run):
            onset_s, peak = self._event.onset_s, max(self._event.confidence or 0.0, peak)
        self._event = Event(onset_s, float(stop), peak)

    def _near(self, run: _Run) -> bool:
        return self._event is not None and run.start - self._event.offset_s <= self._gap_s
