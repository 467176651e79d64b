"""Reading windows from memory maps: one gather a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.resampling import resample_fft_window

__all__ = ["gather"]


def gather(
    signals: NDArray[Any],
    scales: NDArray[np.float32],
    start: NDArray[np.int64],
    length: NDArray[np.int64],
    out: NDArray[np.float32],
    places: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Read windows of one recording into ``out``.

    Parameters
    ----------
    signals : ndarray, shape (n_chans, n_samples)
        The stored signal, int16 or float32.
    scales : ndarray of float32, shape (n, n_chans)
        What the stored values of each window and channel are multiplied with: the channel's step for uV.  NaN makes
        the channel absent.
    start, length : ndarray of int, shape (n,)
        First sample and number of samples of each window.
    out : ndarray of float32, shape (m, n_chans, n_times)
        Where to write.  Windows that are not ``n_times`` long are resampled by FFT, each by itself.
    places : ndarray of int, shape (n,), optional
        Row of ``out`` for each window; their order by default.

    Returns
    -------
    ndarray of float32
        ``out``.
    """
    n_times = out.shape[-1]
    rows = range(len(start)) if places is None else places.tolist()
    for row, scale, first, n in zip(rows, scales[..., None], start.tolist(), length.tolist(), strict=True):
        window = signals[:, first : first + n]
        if n == n_times:
            # Convert, then scale in cache: a product of mixed types runs through small buffers.
            target = out[row]
            target[...] = window
            target *= scale
        else:
            out[row] = resample_fft_window(np.multiply(window, scale, dtype=np.float32, casting="same_kind"), n_times)
    return out
