"""Bad channels of a recording: flat, lost in noise, or of another size than all others.

The measures are those of PREP without the correlation between channels, which bipolar channels do
not have, taken as medians over seconds, so that what fills less than half of a recording (a
seizure) counts for nothing.

References
----------
Bigdely-Shamlo, N. et al. (2015). The PREP pipeline: standardized preprocessing for large-scale EEG
analysis. Frontiers in Neuroinformatics, 9, 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.rhythm import rhythmicity

SHORTEST_S = 60.0
"""Channels of shorter signals are not compared: a seizure may fill them."""
FLAT_UV = 0.1
_Z = 5.0
_PIECE_S = 1.0
_MOST_PIECES = 600
_FEWEST_CHANS = 4
_RHYTHMIC, _RHYTHM_S, _RHYTHM_PIECES = 0.3, 4.0, 25
_FAST_HZ, _SLOW_HZ = 30.0, 1.0
_LEAST_SPREAD = 0.06  # of log10 values: channels that agree within 15 percent are alike
_LEAST_RATIO = 4.0
_MAD = 1.4826


def flat_channels(x: NDArray[Any], uv_per_unit: float = 1.0) -> NDArray[np.bool_]:
    """Return which signals move by less than 0.1 uV throughout.

    Parameters
    ----------
    x : ndarray, shape (n_chans, n_times)
        Signals, all finite.
    uv_per_unit : float
        Microvolts of one unit of ``x``.

    Examples
    --------
    >>> flat_channels(np.array([[0.0, 30.0], [5.0, 5.05]])).tolist()
    [False, True]
    """
    return np.asarray((x.max(axis=-1) - x.min(axis=-1)) * uv_per_unit < FLAT_UV)


def find_bad_channels(x: NDArray[Any], sfreq: float, ignored_hz: Sequence[float] = ()) -> dict[int, str]:
    """Find channels that differ from all others by size or by noise.

    Parameters
    ----------
    x : ndarray, shape (n_chans, n_times)
        Signals, all finite, none flat.
    sfreq : float
        Their rate in Hz.
    ignored_hz : sequence of float
        Line frequencies, which do not count as noise.

    Returns
    -------
    dict of int to str
        Channel -> why: noise above 30 Hz that is larger than the EEG below and five robust standard
        deviations larger than elsewhere; or an amplitude that is four times larger or smaller and
        as far off.  A loud channel that is rhythmic is not bad.  Empty of signals below 60 s and of
        fewer than 4 channels.

    Examples
    --------
    >>> x = np.cumsum(np.random.default_rng(0).normal(size=(6, 100 * 70)), axis=1) * 0.1
    >>> x -= x[:, ::100].repeat(100, axis=1)
    >>> x[2] *= 20
    >>> find_bad_channels(x, 100.0)
    {2: 'amplitude 17 times that of the others'}
    """
    n = round(_PIECE_S * sfreq)
    if len(x) < _FEWEST_CHANS or x.shape[-1] < SHORTEST_S * sfreq:
        return {}
    starts = np.linspace(0, x.shape[-1] - n, min(_MOST_PIECES, x.shape[-1] // n)).astype(int)
    levels, noises = np.empty(len(x)), np.empty(len(x))
    for channel, signal in enumerate(x):
        pieces = np.stack([signal[start : start + n] for start in starts]).astype(np.float64)
        levels[channel] = np.median(pieces.std(axis=1))
        noises[channel] = _noise(pieces, sfreq, ignored_hz)
    found = {}
    sizes, size_z = _compared(levels)
    _, noise_z = _compared(noises)
    for channel in range(len(x)):
        if noise_z[channel] > _Z and noises[channel] > 1:
            found[channel] = f"noise above {_FAST_HZ:g} Hz is {noises[channel]:.2g} times the EEG below"
            continue
        is_off = abs(size_z[channel]) > _Z and not 1 / _LEAST_RATIO < sizes[channel] < _LEAST_RATIO
        if is_off and (sizes[channel] < 1 or _rhythm(x[channel], sfreq) < _RHYTHMIC):
            found[channel] = f"amplitude {sizes[channel]:.2g} times that of the others"
    return found


def _noise(pieces: NDArray[np.float64], sfreq: float, ignored_hz: Sequence[float]) -> float:
    """Return the amplitude above 30 Hz over that from 1 to 30 Hz, the median of pieces."""
    at_hz = np.fft.rfftfreq(pieces.shape[1], 1 / sfreq)
    power = np.median(np.abs(np.fft.rfft(pieces * np.hanning(pieces.shape[1]))) ** 2, axis=0)
    fast = at_hz >= _FAST_HZ
    for freq in ignored_hz:
        fast &= np.abs(at_hz - freq) > 3
    slow = power[(at_hz >= _SLOW_HZ) & (at_hz < _FAST_HZ)].sum()
    return float(np.sqrt(power[fast].sum() / slow)) if slow > 0 else np.inf


def _rhythm(signal: NDArray[Any], sfreq: float) -> float:
    """Return the median rhythmicity of a few pieces."""
    n = round(_RHYTHM_S * sfreq)
    starts = np.linspace(0, len(signal) - n, _RHYTHM_PIECES).astype(int)
    return float(np.median([rhythmicity(signal[start : start + n], sfreq) for start in starts]))


def _compared(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values over their median, and robust z-scores of their logarithms."""
    values = np.maximum(values, np.finfo(float).tiny)
    logs = np.log10(values) - np.median(np.log10(values))
    return 10**logs, logs / max(_MAD * float(np.median(np.abs(logs))), _LEAST_SPREAD)
