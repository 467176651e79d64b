"""Offsets of electrodes (DC amplifiers, BDF) that are far larger than the EEG on them.

Scaling by a percentile of absolute values takes for granted that windows swing about zero.  Where a
constant outweighs the EEG, the least-squares line is taken off first (such electrodes drift); all
other windows stay as they are, bit by bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OFFSET_UV = 50.0
"""A smaller mean of a window is no offset."""
OFFSET_SHARE = 0.5
"""An offset is more than this share of the 95th percentile of absolute values.

In recordings of AC amplifiers the mean is below a third of it.
"""
PERCENTILE = 95
# The mean of every 16th sample finds the few channels that may have an offset.
COARSE = 16


def offset_channels(x: NDArray[Any], step_uv: NDArray[np.floating] | float = 1.0) -> NDArray[np.bool_]:
    """Return where a constant outweighs the EEG.

    Parameters
    ----------
    x : ndarray, shape (n, n_chans, n_times)
        Windows of any type of number.
    step_uv : float or ndarray, shape (n_chans,)
        Microvolts a unit of ``x``.

    Returns
    -------
    ndarray of bool, shape (n, n_chans)
        True where the mean is above 50 uV and above half of the 95th percentile of absolute values;
        False where a value is not finite.
    """
    step = np.broadcast_to(np.asarray(step_uv, np.float64), x.shape[1:2])
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.abs(x[..., ::COARSE].mean(axis=-1, dtype=np.float32)) * step > OFFSET_UV / 2
        for window, channel in np.argwhere(found):
            row = x[window, channel].astype(np.float64) * step[channel]
            mean = abs(row.mean())
            share = mean / np.percentile(np.abs(row), PERCENTILE)
            found[window, channel] = OFFSET_UV < mean < np.inf and share > OFFSET_SHARE
    return found


def without_offsets(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Take the least-squares line off channels in which a constant outweighs the EEG.

    Parameters
    ----------
    x : ndarray of float, shape (n, n_chans, n_times)
        Windows in microvolts; not changed.

    Returns
    -------
    x : ndarray, shape (n, n_chans, n_times)
        The same array where there is no offset.
    found : ndarray of bool, shape (n, n_chans)
        Which had one, as :func:`offset_channels`.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals.offset import without_offsets
    >>> wave = 30 * np.sin(np.linspace(0, 60, 2000))
    >>> x, found = without_offsets(np.stack([wave, wave + 2000])[None])
    >>> found.tolist(), bool(np.abs(x[0, 1] - wave).max() < 2)
    ([[False, True]], True)
    """
    found = offset_channels(x)
    if found.any():
        x = x.copy()
        x[found] = without_line(x[found])
    return x, found


def without_line(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return signals ``(n, n_times)`` less their least-squares lines."""
    time = np.arange(x.shape[-1]) - (x.shape[-1] - 1) / 2
    level = x - x.mean(axis=-1, keepdims=True, dtype=np.float64)
    slope = level @ time / max(1.0, time @ time)
    return np.asarray(level - slope[:, None] * time, np.float64)
