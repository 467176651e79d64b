"""Reading windows from memory maps: one gather a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.resampling import resample_fft_window

__all__ = ["gather"]


def gather(
    signals: NDArray[Any],
    steps_uv: NDArray[np.float32],
    start: Sequence[int] | NDArray[np.int64],
    length: Sequence[int] | NDArray[np.int64],
    n_times: int,
    out: NDArray[np.float32] | None = None,
    rows: Sequence[int] | NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Read windows of one recording in uV.

    Parameters
    ----------
    signals : ndarray, shape (n_chans, n_samples)
        The stored signal, int16 or float32.
    steps_uv : ndarray of float32, shape (n_chans,)
        Microvolts a unit.
    start, length : sequence of int
        First sample and number of samples of each window.
    n_times : int
        Samples of a window as returned; windows of another length are resampled by FFT, each by itself.
    out : ndarray of float32, shape (n, n_chans, n_times), optional
        Where to write.
    rows : sequence of int, optional
        Row of ``out`` for each window; their order by default.

    Returns
    -------
    ndarray of float32, shape (n, n_chans, n_times)
        ``out``.
    """
    if out is None:
        out = np.empty((len(start), len(signals), n_times), np.float32)
    places = range(len(start)) if rows is None else rows
    scale = steps_uv[:, None]
    for place, first, n in zip(places, np.asarray(start).tolist(), np.asarray(length).tolist(), strict=True):
        window = signals[:, first : first + n]
        if n == n_times:
            np.multiply(window, scale, out=out[place], dtype=np.float32, casting="same_kind")
        else:
            out[place] = resample_fft_window(np.multiply(window, scale, dtype=np.float32, casting="same_kind"), n_times)
    return out
