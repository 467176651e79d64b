"""Checks of windows ``(n, n_chans, n_times)``: shapes, absent channels, values not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.info import SignalInfo


def present_channels(x: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which channels are present: those that are not NaN throughout.

    Parameters
    ----------
    x : ndarray, shape (n, n_chans, n_times)
        Windows.

    Returns
    -------
    ndarray of bool, shape (n, n_chans)
        False where every sample is NaN.
    """
    if x.shape[-1] == 0:
        raise ValueError(f"windows of no samples: shape {x.shape}")
    present = ~np.isnan(x[..., 0])
    # Only channels whose first sample is NaN can be NaN throughout.
    suspects = np.nonzero(~present)
    if suspects[0].size:
        present[suspects] = ~np.isnan(x[suspects]).all(axis=-1)
    return present


def check_windows(x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> None:
    """Check shapes, and that present channels are finite.

    Parameters
    ----------
    x : ndarray, shape (n, n_chans, n_times)
        Windows.
    present : ndarray of bool, shape (n, n_chans)
        What is present.
    info : SignalInfo
        What ``x`` is said to be.

    Raises
    ------
    ValueError
        Names windows and channels at fault.
    """
    check_shapes(x, present, info)
    # A sum is finite only where every value is (or where it overflows, which the exact test
    # settles).
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = np.nonzero(~np.isfinite(x.sum(axis=-1)) & present)
    if suspects[0].size == 0:
        return
    faulty = np.zeros(present.shape, bool)
    faulty[suspects] = ~np.isfinite(x[suspects]).all(axis=-1)
    if faulty.any():
        raise ValueError(
            f"values that are not finite in {describe_channels(faulty, info.ch_names)}; a channel is either finite or, where it is absent, NaN throughout"
        )


def check_shapes(x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> None:
    """Raise ValueError where ``x`` or ``present`` is not of the shape that ``info`` says."""
    if x.ndim != 3 or x.shape[1:] != (info.n_chans, info.n_times):
        raise ValueError(f"windows of shape {x.shape}; expected (n, {info.n_chans}, {info.n_times})")
    if present.shape != x.shape[:2]:
        raise ValueError(f"present has shape {present.shape}; expected {x.shape[:2]}")


def describe_channels(mask: NDArray[np.bool_], ch_names: Sequence[str] | None, limit: int = 5) -> str:
    """Name the windows and channels where ``mask`` is True, for messages.

    Parameters
    ----------
    mask : ndarray of bool, shape (n, n_chans)
        What to name.
    ch_names : sequence of str or None
        Channel names; without them channels are numbered.
    limit : int
        How many to name.

    Returns
    -------
    str
        E.g. ``"window 3 channel Fp1-F7, window 4 channel Fp1-F7"``.
    """
    places = np.argwhere(mask)
    named = ", ".join(f"window {i} channel {ch_names[c] if ch_names else c}" for i, c in places[:limit])
    return named + (f" and {len(places) - limit} more" if len(places) > limit else "")
