"""The detector on chunks of a live signal.

Segments on the recording's clock, alarms, events, what went wrong.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.detection_stream import WINDOW_COUNTS, Scored, StreamResult
from biot_bd.deploy.detector import Detection, Detector, channel_notes
from biot_bd.deploy.live.broadcast import Hub
from biot_bd.deploy.live.clock import FOLLOW_S, Jump, StreamClock
from biot_bd.deploy.live.display import Decision, ScreenSignal
from biot_bd.deploy.live.rate import LARGEST_SHARE
from biot_bd.deploy.live.retiming import HALF, Retimer
from biot_bd.deploy.live.source import Chunk, Notice
from biot_bd.events.detector import Event
from biot_bd.exceptions import DetectionError
from biot_bd.io.segments import Segment

MAX_GAP_S = 5.0
DRIFT_S = 1.0  # a drift of the source's clock is told in steps of this
TELL_SHARE = 0.002  # a measured rate that changes by more is told again
LARGEST_SLEW = 0.01  # by which times that are off are put right
BEHIND_S, CAUGHT_UP_S = 10.0, 1.0
FILL_S = 10.0  # NaN are fed in pieces of this


@dataclass(frozen=True)
class LiveResult:
    """What a live run found.

    Parameters
    ----------
    detection : Detection
        All segments together, on the recording's clock.
    n_segments, n_alarms : int
        Stretches that were scored by themselves; alarms raised.
    max_lag_s : float
        Most seconds of signal that ever waited.
    """

    detection: Detection
    n_segments: int
    n_alarms: int
    max_lag_s: float

    def as_dict(self) -> dict[str, Any]:
        """Return the facts that ``detect`` gives, and those of a live run."""
        own = {"n_segments": self.n_segments, "n_alarms": self.n_alarms, "max_lag_s": round(self.max_lag_s, 3)}
        return {**self.detection.as_dict(), **own}


class LiveDetector:
    """Detect seizures in chunks as they come, and tell what happens in lines.

    The recording's clock begins with the first sample.  A gap of at most ``max_gap_s`` is filled
    with NaN, so windows that touch it have no probability; a longer one, a pause that a recording
    tells of itself, a clock that was set and another rate close the segment: its events are final,
    and the detector begins anew at the later time.  Without gaps the final events are those of
    :meth:`Detector.detect <biot_bd.deploy.Detector.detect>`, and so they are for a recording with
    pauses.

    Time stamps tell when samples come at another rate than the nominal one.  Such a signal is
    resampled to the nominal rate from then on, so that times stay those of the stamps; one that is
    more than 6 % off is refused.

    Parameters
    ----------
    detector : Detector
        A causal one.
    ch_names : sequence of str
        Channels of the source.
    sfreq : float
        Its rate in Hz.
    where : str
        Name of the source, for messages.
    start_time : datetime.datetime, optional
        Of the first sample.
    notes : sequence of str
        Put before the result's own notes.
    emit : callable, optional
        Called with each line, a dict with ``type``; the types are in ``docs/stream.md``.
    screen : Hub, optional
        Is shown signal and decisions.
    decisions : bool
        Emit a line for each decision, too.
    max_gap_s : float
        Longest gap that is filled.
    jitter_s : float
        See :class:`~biot_bd.deploy.live.clock.StreamClock`.
    unusable : mapping of str to str, optional
        Channels that are never used, and why.

    Attributes
    ----------
    needed : tuple of str
        Channels whose samples :meth:`push` takes.

    Raises
    ------
    biot_bd.exceptions.DetectionError
        The channels do not make the montage.
    ValueError
        The detector is not causal, or a parameter makes no sense.

    See Also
    --------
    biot_bd.Detector : For recordings, and what a live detector needs.
    LiveSource : Where the chunks come from.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import Detector, EventDetector
    >>> from biot_bd.deploy.live import Chunk, LiveDetector
    >>> from biot_bd.registry import montages
    >>> class Loudness:
    ...     montage, sfreq, window_s, threshold = montages["biot-16"], 200.0, 10.0, 0.5
    ...
    ...     def score(self, batch):
    ...         return np.clip(np.nanstd(batch.x, axis=(1, 2)) / 300, 0, 1)
    >>> events = EventDetector(window_s=10, smoothing_s=0, causal=True, target=None)
    >>> lines = []
    >>> live = LiveDetector(
    ...     Detector(Loudness(), events, stride_s=1),
    ...     montages["biot-16"].ch_names,
    ...     200.0,
    ...     emit=lines.append,
    ... )
    >>> microvolts = np.random.default_rng(0).normal(0, 30, (16, 60 * 200)).astype(np.float32)
    >>> microvolts[:, 20 * 200 : 40 * 200] *= 10
    >>> for piece in np.split(microvolts, 60, axis=1):
    ...     live.push(Chunk(piece, 200.0))
    >>> live.finish().n_alarms
    1
    >>> [line["type"] for line in lines]
    ['alarm', 'event']
    """

    def __init__(
        self,
        detector: Detector,
        ch_names: Sequence[str],
        sfreq: float,
        *,
        where: str = "live signal",
        start_time: Any = None,
        notes: Sequence[str] = (),
        emit: Callable[[dict[str, Any]], None] | None = None,
        screen: Hub | None = None,
        decisions: bool = False,
        max_gap_s: float = MAX_GAP_S,
        jitter_s: float = 0.2,
        unusable: Mapping[str, str] | None = None,
    ) -> None:
        if not detector.causal:
            raise ValueError("a live signal needs a causal detector: Detector.load(model, causal=True)")
        if not (np.isfinite(max_gap_s) and max_gap_s >= 0):
            raise ValueError(f"max_gap_s must be a number of seconds of at least 0, found {max_gap_s!r}")
        self.detector, self.where, self.start_time = detector, where, start_time
        self._ch_names, self._unusable, self.sfreq = list(ch_names), unusable, float(sfreq)
        self._take, self._decisions = emit or (lambda line: None), decisions
        self._screen, self._thinned = screen, ScreenSignal(self.sfreq)
        self._max_gap_s, self._jitter_s = max_gap_s, jitter_s
        self._clock = StreamClock(self.sfreq, jitter_s)
        self._notes, self._start_s, self._probabilities = list(notes), array("d"), array("d")
        self._events: list[Event] = []
        self._segments: list[tuple[float, float]] = []
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in WINDOW_COUNTS}
        self._seconds: dict[str, float] = {}
        self._n_segments = self._n_alarms = 0
        self._told_drift = 0.0
        # Of a source at another rate than its nominal one.
        self._retimer: Retimer | None = None
        self._told_hz, self._since_s = self.sfreq, 0.0
        self._put_in_s = self._owed_s = self._carried_s = 0.0
        self._received_s: float | None = None
        self._behind, self._max_lag_s = False, 0.0
        self.probability: float | None = None
        self._open(0.0)
        plan = self._stream.plan
        self.needed = self._stream.needed
        self._drawn = plan.reduced()
        self._names = np.array(plan.montage.ch_names)
        self._made = np.array([channel.how != "missing" for channel in plan.channels])
        self._there = self._made.copy()

    @property
    def time_s(self) -> float:
        """End of the signal so far, on the recording's clock."""
        return self._clock_s(self._stream.duration_s)

    @property
    def alarm(self) -> bool:
        """Whether an alarm is on now."""
        return self._stream.live is not None and self._stream.live.active

    @property
    def alarm_delay_s(self) -> float:
        """Seconds of signal from the second that crosses the threshold, its start, to the alarm
        (whole strides).
        """
        return max(1, math.ceil(self.detector.event_detector.setting()["min_duration_s"])) + self._stream.delay_s

    def facts(self) -> dict[str, Any]:
        """Return what a reader should know before the first line."""
        return {
            "source": self.where,
            "sfreq": self.sfreq,
            "start_time": None if self.start_time is None else self.start_time.isoformat(),
            "channels": self._stream.plan.origins,
            "setting": self.detector.setting(),
            "decision_delay_s": self._stream.delay_s,
            "alarm_delay_s": self.alarm_delay_s,
            "max_gap_s": self._max_gap_s,
            "notes": [*self.detector.notes, *self._notes, *channel_notes(self._stream.plan)],
        }

    def push(self, chunk: Chunk) -> None:
        """Take a chunk of the channels :attr:`needed`.

        Raises
        ------
        ValueError
            It has another number of channels, or a rate that cannot be used.
        biot_bd.exceptions.DetectionError
            Its time stamps tell of a rate that is too far from the nominal one.
        """
        if not chunk.x.shape[1]:
            return
        if chunk.sfreq != self.sfreq:
            self._change_rate(chunk)
        if chunk.begins is not None:
            self._begin_recorded(chunk.begins)
        if chunk.times_s is None:
            self._feed(chunk.x)
            return
        for begin, stop, jump in self._clock.split(chunk.times_s, chunk.received_s):
            if jump is not None:
                self._jump(jump, chunk)
            self._take_in(chunk.x[:, begin:stop])
        self._received_s = chunk.received_s
        self._follow_rate()
        drift = self._owed_s - self._told_drift
        if abs(drift) >= DRIFT_S:
            self._told_drift = self._owed_s
            self._emit_at("clock", change="drift", seconds=round(self._owed_s, 3), action="none")

    def notice(self, notice: Notice) -> None:
        """Tell something that the source says."""
        self._emit_at(notice.type, **notice.fields)

    def lag(self, lag_s: float | None) -> None:
        """Take how many seconds of signal wait; falling behind and catching up are told."""
        if lag_s is None:
            return
        self._max_lag_s = max(self._max_lag_s, lag_s)
        behind = lag_s >= CAUGHT_UP_S if self._behind else lag_s > BEHIND_S
        if behind != self._behind:
            self._behind = behind
            self._emit_at("lag", state="behind" if behind else "caught up", lag_s=round(lag_s, 3))

    def status(self) -> dict[str, Any]:
        """Return the present state."""
        return {
            "time_s": round(self.time_s, 4),
            "probability": self.probability,
            "alarm": self.alarm,
            "n_present": int(self._there.sum()),
            "absent": self._names[~self._there].tolist(),
            "n_alarms": self._n_alarms,
        }

    def finish(self) -> LiveResult:
        """End the signal: close what is open and return everything."""
        self._close()
        start_s, probabilities = np.array(self._start_s), np.array(self._probabilities)
        found = StreamResult(
            self._events,
            start_s,
            probabilities,
            self.time_s,
            self._counts["n_absent"],
            self._seconds,
            n_flat=self._counts["n_flat"],
            n_offset=self._counts["n_offset"],
            n_impossible=self._counts["n_impossible"],
            n_loud=self._counts["n_loud"],
            n_faint=self._counts["n_faint"],
        )
        detection = self.detector.detection(
            self.where,
            found,
            self._stream.plan,
            self.sfreq,
            notes=[*self._notes, *self._rate_notes()],
            start_time=self.start_time,
            segments=self._segments,
        )
        return LiveResult(detection, self._n_segments, self._n_alarms, self._max_lag_s)

    def _open(self, offset_s: float) -> None:
        self._stream = self.detector.stream(self._ch_names, self.sfreq, self.where, self._unusable)
        self._owed_s = self._carried_s = 0.0
        self._offset_s, self._n_told, self._n_segments = offset_s, 0, self._n_segments + 1
        self._pace = 1.0  # seconds of the recording's clock a second of samples
        self._filled: list[tuple[float, float]] = []
        self._piece = 1
        self._thinned.change(self.sfreq)

    def _close(self) -> None:
        self._flush()
        result = self._stream.finish()
        self._tell(result.last, self.time_s)
        for event in result.events[self._n_told :]:
            self._tell_event(event)
        if result.duration_s:
            self._segments.append((self._offset_s, result.duration_s * self._pace))
        self._start_s.extend((self._offset_s + result.start_s * self._pace).tolist())
        self._probabilities.extend(result.probabilities.tolist())
        for name, counts in self._counts.items():
            counts.update(getattr(result, name))
        for name, spent_s in result.seconds.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + spent_s

    def _begin_segment(self, start_s: float) -> None:
        self._close()
        self._open(start_s)

    def _begin_recorded(self, segment: Segment) -> None:
        """Close what was, and go on where the recording says."""
        begin, start_s = self.time_s, max(self.time_s, segment.start_s)
        if segment.first_sample or start_s:
            times = {"start_s": round(begin, 4), "stop_s": round(start_s, 4), "seconds": round(start_s - begin, 4)}
            self._emit_at("gap", **times, action="segment closed")
        if self._stream.duration_s:
            self._begin_segment(start_s)
            self._forget_rate()
        self._offset_s, self._pace = start_s, segment.duration_s * self.sfreq / segment.n_samples

    def _clock_s(self, time_s: float) -> float:
        """Return when, on the recording's clock, what lies so far into the segment was."""
        return self._offset_s + time_s * self._pace

    def _take_in(self, x: NDArray[np.float32]) -> None:
        """Feed samples, at the nominal rate."""
        if self._retimer is None:
            self._feed(x)
            return
        step = self._step()
        self._put_in_s += x.shape[1] * (1 / step - 1) / self.sfreq
        self._feed(self._retimer.push(x, step))

    def _step(self) -> float:
        """Return how many samples of the source make one of the nominal rate."""
        slew = min(max(self._owed_s / FOLLOW_S, -LARGEST_SLEW), LARGEST_SLEW)
        return self._clock.rate_hz / self.sfreq / (1 + slew)

    def _flush(self) -> None:
        if self._retimer is not None:
            retimer, self._retimer = self._retimer, Retimer(len(self.needed))
            self._feed(retimer.finish(self._step()))

    def _follow_rate(self) -> None:
        """Follow the measured rate, tell it, or refuse it."""
        self._owed_s = self._carried_s + self._clock.drift_s - self._put_in_s
        if not self._clock.is_measured:
            return
        rate_hz, share = self._clock.rate_hz, self._clock.rate_hz / self.sfreq - 1
        told = {"nominal_hz": self.sfreq, "measured_hz": round(rate_hz, 3), "percent": round(100 * share, 2)}
        if abs(share) > LARGEST_SHARE:
            self._emit_at("clock", change="measured", **told, action="refused")
            raise DetectionError(
                f"{self.where}: its time stamps tell of {rate_hz:.5g} samples a second, its nominal rate is "
                f"{self.sfreq:g} Hz ({100 * share:+.1f} %, at most {100 * LARGEST_SHARE:g} % are followed); "
                "correct the nominal rate of the sender, or look for lost samples"
            )
        if self._retimer is None:
            self._retimer, self._since_s = Retimer(len(self.needed)), self.time_s
        elif abs(rate_hz - self._told_hz) < TELL_SHARE * self.sfreq:
            return
        self._told_hz = rate_hz
        self._emit_at("clock", change="measured", **told, action="followed")

    def _rate_notes(self) -> list[str]:
        if self._retimer is None:
            return []
        rate_hz = self._clock.rate_hz
        return [
            f"the source gave {rate_hz:.5g} samples a second by its time stamps, its nominal rate is {self.sfreq:g} Hz "
            f"({100 * (rate_hz / self.sfreq - 1):+.1f} %): resampled to that from {self._since_s:.1f} s on"
        ]

    def _forget_rate(self) -> None:
        """Begin with the nominal rate anew."""
        self._notes += self._rate_notes()
        self._clock, self._told_drift = StreamClock(self.sfreq, self._jitter_s), 0.0
        self._retimer, self._put_in_s, self._owed_s, self._carried_s = None, 0.0, 0.0, 0.0

    def _jump(self, jump: Jump, chunk: Chunk) -> None:
        drift, self._told_drift = self._told_drift, 0.0
        if self._retimer is not None:
            drift = self._carried_s + jump.drift_s - self._put_in_s
            self._flush()
        # The clock counts from the jump; a gap that is filled leaves what was owed.
        self._put_in_s, self._carried_s = 0.0, 0.0 if self._retimer is None else drift
        begin = self.time_s
        if jump.kind == "gap":
            n = round(jump.seconds * self.sfreq)
            short = jump.seconds <= self._max_gap_s
            stop = begin + n / self.sfreq if short else max(begin, begin + jump.seconds + drift)
            times = {"start_s": round(begin, 4), "stop_s": round(stop, 4), "seconds": round(jump.seconds, 4)}
            self._emit_at("gap", **times, action="filled" if short else "segment closed")
            if short:
                self._filled = [*self._filled[-100:], (begin, stop)]
                self._fill(n)
            else:
                self._begin_segment(stop)
            return
        # How much time really passed is known from this machine's clock alone.
        start = begin + self._elapsed(chunk)
        change = {"change": jump.kind, "seconds": round(jump.seconds, 4)}
        self._emit_at("clock", **change, action="segment closed", start_s=round(start, 4))
        self._begin_segment(start)

    def _change_rate(self, chunk: Chunk) -> None:
        if not self.time_s:  # the source could not tell before it knew which channels are needed
            self.sfreq = float(chunk.sfreq)
            self._n_segments = 0
            self._forget_rate()
            self._open(0.0)
            return
        start = self.time_s + self._elapsed(chunk)
        change = {"change": "rate", "from_hz": self.sfreq, "to_hz": chunk.sfreq}
        self._emit_at("clock", **change, action="segment closed", start_s=round(start, 4))
        self._close()
        self.sfreq = float(chunk.sfreq)
        self._forget_rate()
        self._open(start)

    def _elapsed(self, chunk: Chunk) -> float:
        if chunk.received_s is None or self._received_s is None:
            return 0.0
        return max(0.0, chunk.received_s - self._received_s - chunk.x.shape[1] / chunk.sfreq)

    def _fill(self, n: int) -> None:
        size = max(1, round(FILL_S * self.sfreq))
        for begin in range(0, n, size):
            self._feed(np.full((len(self.needed), min(size, n - begin)), np.nan, np.float32))

    def _feed(self, x: NDArray[np.float32]) -> None:
        if self._screen is not None and (blocks := self._thinned.push(self._drawn.apply(x), self.time_s)):
            self._screen.signal(blocks)
        # Half a stride at most, cut at fixed places: one window a piece, so that no line depends on
        # the chunks.
        done, n = 0, x.shape[1]
        while done < n:
            at = self._stream.chain.n_samples
            while self._cut(self._piece) <= at:
                self._piece += 1
            stop = min(n, done + self._cut(self._piece) - at)
            self._tell(self._stream.push(x[:, done:stop]))
            done = stop

    @property
    def _delay_s(self) -> float:
        return self._stream.delay_s + (0.0 if self._retimer is None else HALF / self.sfreq)

    def _cut(self, number: int) -> int:
        return max(number, int(np.rint(number * self.detector.stride_s * self.sfreq / 2)))

    def _tell(self, scored: Scored, end_s: float = math.inf) -> None:
        window_s, delay_s, follower = self.detector.scorer.window_s, self._delay_s, self._stream.live
        known_s = 0.0
        for start, value, present in zip(scored.start_s, scored.probabilities, scored.present, strict=True):
            time_s = self._clock_s(float(start) + window_s)
            known_s = min(self._clock_s(float(start) + window_s + delay_s), end_s)
            self.probability = None if np.isnan(value) else float(value)
            self._tell_channels(present, time_s)
            curve = None if self.probability is None or follower is None else follower.value
            decision = Decision(time_s=time_s, probability=self.probability, curve=curve, alarm=self.alarm)
            if self._screen is not None:
                self._screen.decision(decision)
            if self._decisions:
                self._emit("decision", **decision)
        for alarm in scored.alarms:
            self._n_alarms += 1
            moved = {"onset_s": self._clock_s(alarm.onset_s), "time_s": self._clock_s(alarm.time_s)}
            self._emit("alarm", **moved, known_s=round(known_s, 4), confidence=alarm.confidence)
        for event in scored.events:
            self._n_told += 1
            self._tell_event(event)

    def _tell_event(self, event: Event) -> None:
        moved = Event(self._clock_s(event.onset_s), self._clock_s(event.offset_s), event.confidence)
        self._events.append(moved)
        self._emit("event", **moved._asdict())

    def _tell_channels(self, present: NDArray[np.bool_], time_s: float) -> None:
        begin = time_s - self.detector.scorer.window_s
        if any(start < time_s and stop > begin for start, stop in self._filled):
            return  # a gap is told as such
        lost, back = self._there & ~present & self._made, ~self._there & present
        if lost.any() or back.any():
            self._there = present.copy()
            named = {"lost": self._names[lost].tolist(), "back": self._names[back].tolist()}
            self._emit("channels", time_s=round(time_s, 4), **named, n_present=int(present.sum()))

    def _emit_at(self, type: str, **fields: Any) -> None:
        self._emit(type, time_s=round(self.time_s, 4), **fields)

    def _emit(self, type: str, **fields: Any) -> None:
        self._take({"type": type, **fields})
