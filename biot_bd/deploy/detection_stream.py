"""The chunk-fed detector: samples in at the source's rate, probabilities and events out.

One object for files and live signals: :meth:`Detector.detect` pushes blocks of a file, ``biot-bd
stream`` what arrives.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.model import Scorer
from biot_bd.deploy.signal_chain import SignalChain, WindowBatch
from biot_bd.events.detector import Event, EventDetector
from biot_bd.events.types import Alarm
from biot_bd.signals.amplitude import KINDS, odd_windows, swings_uv
from biot_bd.signals.montages import MontagePlan
from biot_bd.signals.offset import offset_channels
from biot_bd.signals.planning import plan_recording

# Products of one window and of many round differently; live, windows come one by one.
CAUSAL_BATCH = 1
# What a result counts windows of, by channel.
WINDOW_COUNTS = ("n_absent", "n_flat", "n_offset", "n_impossible", "n_loud", "n_faint")


@dataclass(frozen=True)
class Scored:
    """What one call of :meth:`DetectionStream.push` brought.

    Parameters
    ----------
    start_s : ndarray, shape (n,)
        Starts of the windows that became ready, seconds from the first sample.
    probabilities : ndarray, shape (n,)
        Of a seizure; NaN where no channel was usable.
    present : ndarray of bool, shape (n, n_chans)
        Which channels of the montage each window has.
    alarms : list of Alarm
        Events that were found to have begun (causal only).
    events : list of Event
        Events that are final now (causal only).
    """

    start_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    probabilities: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    present: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0), bool))
    alarms: list[Alarm] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class StreamResult:
    """All that a stream found.

    Parameters
    ----------
    events : list of Event
        Final events.
    start_s, probabilities : ndarray, shape (n,)
        Every window; NaN where no channel was usable.
    duration_s : float
        Length of the signal.
    n_absent : dict of str to int
        Windows in which a channel was flat or not finite, by channel of the montage.
    seconds : dict of str to float
        Time spent on ``prepare`` and ``model``.
    last : Scored
        What became ready at the end, after the last :meth:`DetectionStream.push`.
    n_flat : dict of str to int
        Windows in which a channel of the source was flat, by its name there.
    n_offset : dict of str to int
        Windows in which a channel had an offset far larger than its EEG, by channel of the montage.
    n_impossible, n_loud, n_faint : dict of str to int
        Windows in which a channel had an amplitude that no EEG has, by channel of the montage
        (:func:`biot_bd.signals.amplitude.odd_windows`).
    """

    events: list[Event]
    start_s: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    duration_s: float
    n_absent: dict[str, int]
    seconds: dict[str, float]
    last: Scored = field(default_factory=Scored)
    n_flat: dict[str, int] = field(default_factory=dict)
    n_offset: dict[str, int] = field(default_factory=dict)
    n_impossible: dict[str, int] = field(default_factory=dict)
    n_loud: dict[str, int] = field(default_factory=dict)
    n_faint: dict[str, int] = field(default_factory=dict)


class DetectionStream:
    """Detect seizures in a signal that comes in pieces of any size.

    Probabilities and final events do not depend on how the signal was cut.

    Parameters
    ----------
    scorer : Scorer
        The model.
    event_detector : EventDetector
        From probabilities to events; its ``causal`` decides how the signal is resampled, too.
    ch_names : sequence of str
        Channels of the source, as it names them.
    sfreq : float
        Its rate in Hz.
    stride_s : float
        From one window's start to the next, in seconds.
    on_missing : {"raise", "drop", "interpolate"}
        Channels of the montage that the source lacks.
    batch_size : int
        Windows given to the model at once; one in a causal stream.
    where : str
        Put in front of error messages.
    unusable : mapping of str to str, optional
        Channels that are never used, and why, as :func:`biot_bd.io.unusable_channels` tells them.

    Attributes
    ----------
    needed : tuple of str
        Channels of the source that :meth:`push` takes, in that order.
    plan : MontagePlan
        How they become the montage.
    live : EventStream or None
        The event detector's incremental form (``value``, ``active``); None where the stream is not
        causal.

    Raises
    ------
    biot_bd.exceptions.MissingChannelsError
        Channels cannot be made and ``on_missing`` does not help; names the electrodes.
    ValueError
        A parameter makes no sense.

    See Also
    --------
    Detector.stream : Makes one with the detector's own options.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import EventDetector
    >>> from biot_bd.registry import montages
    >>> class Loudness:
    ...     montage, sfreq, window_s, threshold = montages["biot-16"], 200.0, 10.0, 0.5
    ...
    ...     def score(self, batch):
    ...         return np.clip(np.nanstd(batch.x, axis=(1, 2)) / 300, 0, 1)
    >>> events = EventDetector(window_s=10, smoothing_s=0, causal=True, target=None)
    >>> stream = DetectionStream(
    ...     Loudness(), events, montages["biot-16"].ch_names, 200.0, stride_s=5
    ... )
    >>> microvolts = np.random.default_rng(0).normal(0, 30, (16, 60 * 200)).astype(np.float32)
    >>> [len(stream.push(piece).start_s) for piece in np.split(microvolts, 4, axis=1)]
    [2, 3, 3, 3]
    >>> stream.finish().events
    []
    """

    def __init__(
        self,
        scorer: Scorer,
        event_detector: EventDetector,
        ch_names: Sequence[str],
        sfreq: float,
        *,
        stride_s: float = 5.0,
        on_missing: str = "raise",
        batch_size: int = 64,
        where: str = "",
        unusable: Mapping[str, str] | None = None,
    ) -> None:
        self.scorer, self.event_detector, self.causal = scorer, event_detector, bool(event_detector.causal)
        self.plan: MontagePlan = plan_recording(scorer.montage, ch_names, on_missing, where, unusable)  # type: ignore[arg-type]
        self.needed = self.plan.needed
        self.sfreq, self.stride_s = float(sfreq), stride_s
        self.chain = SignalChain(self.plan, sfreq, scorer.sfreq, scorer.window_s, stride_s, self.causal)
        self._batch = CAUSAL_BATCH if self.causal else batch_size
        self.live = event_detector.stream() if self.causal else None
        # 16 bytes a window, so that a live stream may run for weeks.
        self._start_s, self._probabilities = array("d"), array("d")
        self._made = np.array([channel.how != "missing" for channel in self.plan.channels])
        self._absent, self._offset = np.zeros((2, len(self._made)), np.int64)
        self._odd = {kind: np.zeros(len(self._made), np.int64) for kind in KINDS}
        self._seconds = {"prepare": 0.0, "model": 0.0}

    @property
    def delay_s(self) -> float:
        """Seconds that a causal decision lags behind the end of its window."""
        return self.chain.delay_s

    @property
    def duration_s(self) -> float:
        """Seconds of signal so far."""
        return self.chain.n_samples / self.sfreq

    def push(self, x: NDArray[np.floating]) -> Scored:
        """Take samples of the channels :attr:`needed`.

        Parameters
        ----------
        x : ndarray, shape (len(needed), n)
            In microvolts; NaN where nothing is known (the channel is left out of the windows that
            hold it).

        Returns
        -------
        Scored
            What became ready.
        """
        begin = time.perf_counter()
        self.chain.push(x)
        self._seconds["prepare"] += time.perf_counter() - begin
        return self._score_ready()

    def finish(self) -> StreamResult:
        """Say that nothing follows, and return everything."""
        begin = time.perf_counter()
        self.chain.finish()
        self._seconds["prepare"] += time.perf_counter() - begin
        last = self._score_ready()
        start_s, probabilities = np.array(self._start_s), np.array(self._probabilities)
        known = ~np.isnan(probabilities)
        events = []
        if known.any():
            events = self.event_detector.predict(probabilities[known], start_s[known], self.duration_s)
        n_absent = {
            name: int(n)
            for name, n, made in zip(self.chain.ch_names, self._absent, self._made, strict=True)
            if n and made
        }
        n_offset, n_impossible, n_loud, n_faint = (
            {name: int(n) for name, n in zip(self.chain.ch_names, counts, strict=True) if n}
            for counts in (self._offset, *self._odd.values())
        )
        n_flat = {name: int(n) for name, n in zip(self.needed, self.chain.n_flat, strict=True) if n}
        seconds = dict(self._seconds)
        return StreamResult(
            events,
            start_s,
            probabilities,
            self.duration_s,
            n_absent,
            seconds,
            last,
            n_flat=n_flat,
            n_offset=n_offset,
            n_impossible=n_impossible,
            n_loud=n_loud,
            n_faint=n_faint,
        )

    def _score_ready(self) -> Scored:
        starts, found, present, events = [], [], [], list[Event]()
        while True:
            begin = time.perf_counter()
            batch = self.chain.pop(self._batch)
            middle = time.perf_counter()
            self._seconds["prepare"] += middle - begin
            if batch is None:
                break
            scores = self.scorer.score(batch)
            self._seconds["model"] += time.perf_counter() - middle
            self._absent += (~batch.present).sum(axis=0)
            self._offset += offset_channels(batch.x).sum(axis=0)
            for kind, n in odd_windows(swings_uv(batch.x)).items():
                self._odd[kind] += n
            starts.append(batch.start_s)
            found.append(scores)
            present.append(batch.present)
            self._start_s.extend(batch.start_s.tolist())
            self._probabilities.extend(scores.tolist())
            events += self._live_events(batch, scores)
        alarms = [] if self.live is None else self.live.take_alarms()
        there = np.concatenate(present) if present else np.empty((0, len(self._made)), bool)
        return Scored(_joined(starts), _joined(found), there, alarms, events)

    def _live_events(self, batch: WindowBatch, scores: NDArray[np.float64]) -> list[Event]:
        known = ~np.isnan(scores)
        if self.live is None or not known.any():
            return []
        return self.live.push(scores[known], batch.start_s[known])


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.empty(0)
