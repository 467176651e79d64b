"""Line noise: at which frequencies of the mains a channel has a peak, and its removal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE_S = 4.0
"""Length of the pieces whose spectra are compared; shorter signals are not judged."""
FILTER_S = 6.6
"""Length of the filter; shorter signals are left as they are."""
_MOST_PIECES = 300
_SAMPLES_AT_ONCE = 2**20
_PEAK_HZ, _NEAR_HZ, _FAR_HZ = 0.5, 1.0, 4.0
_WIDTH_HZ, _TRANSITION_HZ = 0.5, 1.0


def line_frequencies(bases_hz: Sequence[float], sfreq: float) -> tuple[float, ...]:
    """Return the frequencies of the mains and their harmonics that a signal can hold.

    Parameters
    ----------
    bases_hz : sequence of float
        Frequencies of mains, e.g. ``(50, 60)``.
    sfreq : float
        Rate of the signal in Hz.

    Returns
    -------
    tuple of float
        Ascending, those that leave room for a filter below half the rate.

    Examples
    --------
    >>> line_frequencies((50, 60), 256.0)
    (50.0, 60.0, 100.0, 120.0)
    """
    highest = sfreq / 2 - _FAR_HZ
    found = {float(base * n) for base in bases_hz for n in range(1, int(highest / base) + 1)}
    return tuple(sorted(found))


def line_noise_db(x: NDArray[Any], sfreq: float, freqs_hz: Sequence[float]) -> NDArray[np.float64]:
    """Measure how far peaks at line frequencies stand out of the spectrum around them.

    Parameters
    ----------
    x : ndarray, shape (n_chans, n_times)
        Signals, all finite.
    sfreq : float
        Their rate in Hz.
    freqs_hz : sequence of float
        Where to measure, of :func:`line_frequencies`.

    Returns
    -------
    ndarray, shape (n_chans, n_freqs)
        The highest value within 0.5 Hz over the median between 1 and 4 Hz away, in dB, of spectra
        (Welch, pieces of 4 s, median) of at most 300 pieces spread evenly; minus infinity of
        signals that are shorter than a piece or constant.

    Examples
    --------
    >>> t = np.arange(2560) / 256
    >>> x = np.random.default_rng(0).normal(size=(2, 2560))
    >>> x[1] += np.sin(2 * np.pi * 50 * t)
    >>> (line_noise_db(x, 256.0, [50.0, 60.0]) > 10).tolist()
    [[False, False], [True, False]]
    """
    n = round(PIECE_S * sfreq)
    out = np.full((len(x), len(freqs_hz)), -np.inf)
    if x.shape[-1] < n or not len(freqs_hz):
        return out
    # Half overlapping, as of Welch, or farther apart where that would be more than enough.
    starts = np.unique(np.linspace(0, x.shape[-1] - n, min(_MOST_PIECES, 1 + 2 * (x.shape[-1] - n) // n)).astype(int))
    taper = np.hanning(n)
    at_hz = np.fft.rfftfreq(n, 1 / sfreq)
    away_hz = [np.abs(at_hz - freq) for freq in freqs_hz]
    at_once = max(1, _SAMPLES_AT_ONCE // (n * len(starts)))
    for first in range(0, len(x), at_once):
        pieces = np.stack([x[first : first + at_once, start : start + n] for start in starts]).astype(np.float64)
        pieces -= pieces.mean(axis=-1, keepdims=True)
        power = np.median(np.abs(np.fft.rfft(pieces * taper)) ** 2, axis=0)
        for i, away in enumerate(away_hz):
            around = np.median(power[:, (away >= _NEAR_HZ) & (away <= _FAR_HZ)], axis=1)
            peak = power[:, away <= _PEAK_HZ].max(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                out[first : first + at_once, i] = np.where(around > 0, 10 * np.log10(peak / around), -np.inf)
    return out


def remove_line_noise(x: NDArray[Any], sfreq: float, freqs_hz: Sequence[float]) -> NDArray[np.float64]:
    """Filter line frequencies out (:func:`mne.filter.notch_filter`, zero-phase FIR, no delay).

    Parameters
    ----------
    x : ndarray, shape (n_chans, n_times)
        Signals, all finite, of at least :data:`FILTER_S`.
    sfreq : float
        Their rate in Hz.
    freqs_hz : sequence of float
        What to remove.

    Returns
    -------
    ndarray, shape (n_chans, n_times)
    """
    import mne

    return mne.filter.notch_filter(
        x.astype(np.float64),
        sfreq,
        np.array(freqs_hz, dtype=np.float64),
        notch_widths=_WIDTH_HZ,
        trans_bandwidth=_TRANSITION_HZ,
        verbose="error",
    )
