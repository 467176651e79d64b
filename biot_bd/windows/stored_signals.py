"""The signals that windows are cut from, as one array, and where each window lies in it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StoredSignals:
    """All int16 signals of a source of windows, one behind the other, and some windows of them.

    Parameters
    ----------
    key : hashable
        Tells the signals; the same for every selection of windows.
    shape : tuple of int
        ``(n_chans, n_samples)`` of the signals.
    places : ndarray of int64, shape (n_windows,)
        First sample of each window among them.
    scales : ndarray of float32, shape (n_windows, n_chans)
        Stored values times these are the windows as they are read; NaN where a channel is absent.
    n_times : int
        Samples of a window.
    recordings : callable
        Returns an iterator over the signals of each recording, int16 ``(n_chans, n_samples)``.

    See Also
    --------
    biot_bd.Windows.stored_signals : Returns them.
    """

    key: Hashable
    shape: tuple[int, int]
    places: NDArray[np.int64]
    scales: NDArray[np.float32]
    n_times: int
    recordings: Callable[[], Iterator[NDArray[Any]]]

    @property
    def nbytes(self) -> int:
        """Bytes of the signals, and of what each window needs beside them."""
        return 2 * self.shape[0] * self.shape[1] + self.places.nbytes + self.scales.nbytes
