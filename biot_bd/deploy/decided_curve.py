"""The curve that decided: what the threshold met, second by second, in a recording's own time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biot_bd.events import curve as curves
from biot_bd.events.detector import EventDetector

if TYPE_CHECKING:
    from biot_bd.deploy.detector import Detection

Floats = NDArray[np.float64]
ROUNDING_S = 1e-6


@dataclass(frozen=True)
class DecidedCurve:
    """The smoothed value of every second, as the threshold met it.

    Parameters
    ----------
    times_s : ndarray, shape (n,)
        Start of each second, in seconds since the recording's start, pauses included.
    values : ndarray, shape (n,)
        In [0, 1]; 0 where nothing is known.
    known : ndarray of bool, shape (n,)
        Whether any window speaks of the second.

    See Also
    --------
    curve_of : Computes it.

    Examples
    --------
    >>> import numpy as np
    >>> curve = DecidedCurve(np.arange(2.0), np.array([0.4, 0.0]), np.array([True, False]))
    >>> curve.drawn
    array([0.4, nan])
    """

    times_s: Floats
    values: Floats
    known: NDArray[np.bool_]

    @property
    def drawn(self) -> Floats:
        """The values, NaN where nothing is known, shape (n,)."""
        return np.where(self.known, self.values, np.nan)


def curve_of(detection: Detection) -> DecidedCurve:
    """Return the curve on which a detection was decided.

    Parameters
    ----------
    detection : Detection
        Of a recording, with or without pauses; nothing is smoothed across a pause.

    Returns
    -------
    DecidedCurve
        An event begins with the first second that reaches the threshold, and its confidence is the
        highest value in it.

    See Also
    --------
    biot_bd.EventDetector.curve : The same for windows without pauses.

    Examples
    --------
    >>> import mne, numpy as np
    >>> from biot_bd import Detector, EventDetector
    >>> from biot_bd.registry import montages
    >>> class Loudness:
    ...     montage, sfreq, window_s, threshold = montages["biot-16"], 200.0, 10.0, 0.5
    ...
    ...     def score(self, batch):
    ...         return np.clip(np.nanstd(batch.x, axis=(1, 2)) / 300, 0, 1)
    >>> volts = np.random.default_rng(0).normal(0, 30e-6, (16, 60 * 200))
    >>> volts[:, 20 * 200 : 40 * 200] *= 10
    >>> info = mne.create_info(list(montages["biot-16"].ch_names), 200.0, "eeg")
    >>> events = EventDetector(window_s=10, smoothing_s=0, target=None)
    >>> found = Detector(Loudness(), events, stride_s=5).detect(
    ...     mne.io.RawArray(volts, info, verbose="error")
    ... )
    >>> curve = curve_of(found)
    >>> float(curve.times_s[np.argmax(curve.values >= 0.5)]) == found.events[0].onset_s
    True
    """
    setting = detection.setting
    detector = EventDetector(
        window_s=detection.window_s,
        smoothing=setting["smoothing"],
        causal=setting["causal"],
        target=None,
        **setting["events"],  # type: ignore[arg-type]  # its values are those of setting()
    )
    own = ~np.isnan(detection.probabilities)
    proba, start = detection.probabilities[own], detection.start_s[own]
    parts = []
    for begin_s, length_s, own_s in _segments(detection):
        inside = (start > begin_s - ROUNDING_S) & (start < begin_s + length_s - ROUNDING_S)
        stretch = length_s / own_s
        parts.append(_of_segment(detector, proba[inside], (start[inside] - begin_s) / stretch, own_s, begin_s, stretch))
    times, values, known = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return DecidedCurve(times, values, known)


def _segments(detection: Detection) -> list[tuple[float, float, float]]:
    """Return start and length of each segment, and its length by the nominal rate, in seconds."""
    if not detection.segment_samples:
        return [(begin_s, length_s, length_s) for begin_s, length_s in detection.segments] or [
            (0.0, detection.duration_s, detection.duration_s)
        ]
    return [
        (begin_s, length_s, n / detection.sfreq)
        for (begin_s, length_s), n in zip(detection.segments, detection.segment_samples, strict=True)
    ]


def _of_segment(
    detector: EventDetector, proba: Floats, start_s: Floats, own_s: float, begin_s: float, stretch: float
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    start_s = np.where(np.abs(start_s) < ROUNDING_S, 0.0, start_s)
    times, values = detector.curve(proba, start_s, own_s)
    n = len(times)
    if detector.causal:
        second = curves.causal_seconds(start_s, detector.window_s)
        ended = second < n
        raw = curves.hold_seconds(curves.mean_by_second(proba[ended], second[ended], n), detector.window_s)
    else:
        raw = curves.centred_seconds(proba, start_s, detector.window_s, n)
    return begin_s + times * stretch, values, ~np.isnan(raw)
