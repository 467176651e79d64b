"""Whether a signal repeats itself as seizures do, and artefacts do not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SLOWEST_HZ, FASTEST_HZ = 1.0, 30.0
"""Rates of repetition that count."""


def rhythmicity(x: NDArray[Any], sfreq: float) -> float:
    """Return how well a signal agrees with itself one period later.

    Parameters
    ----------
    x : ndarray, shape (n_times,)
        A signal; two periods of the slowest rate to be found, or more.
    sfreq : float
        Its rate in Hz.

    Returns
    -------
    float
        The highest correlation with itself at a lag of a period (1 to 30 Hz) behind the first
        crossing of zero; 0.0 where there is none.  About 1 of oscillations and trains of spikes,
        near 0 of single transients, drifts and noise.

    Examples
    --------
    >>> t = np.arange(512) / 256
    >>> pop = np.exp(-((t - 1) ** 2) / 0.001)
    >>> rhythmicity(np.sin(2 * np.pi * 4 * t), 256.0) > 0.9, rhythmicity(pop, 256.0) < 0.3
    (True, True)
    """
    x = np.asarray(x, np.float64)
    n = len(x)
    longest = min(round(sfreq / SLOWEST_HZ), n // 2)
    if longest < 2:
        return 0.0
    x = x - np.polyval(np.polyfit(np.arange(n), x, 1), np.arange(n))
    power = np.concatenate([[0.0], np.cumsum(x**2)])
    spectrum = np.fft.rfft(x, 2 * n)
    products = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n)[: longest + 1]
    lags = np.arange(longest + 1)
    # Both parts in full, so that a lag of half the signal is judged as fairly as a short one.
    norms = np.sqrt(power[n - lags] * (power[n] - power[lags]))
    values = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    below = np.flatnonzero(values < 0)
    first = max(int(below[0]) if len(below) else longest + 1, round(sfreq / FASTEST_HZ))
    return float(max(values[first:].max(initial=0.0), 0.0))
