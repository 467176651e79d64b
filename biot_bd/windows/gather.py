"""Reading windows from memory maps: one gather a batch, in blocks that stay in the cache."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from biot_bd.processor import n_threads
from biot_bd.signals.resampling import resample_fft_window
from biot_bd.signals.scaler import EPSILON_UV, FLAT_UV, STRIDE, window_percentiles

T = TypeVar("T")

BLOCK = 8
"""Windows that are scaled at a time: 16 channels x 10 s of them fit a second-level cache."""
MOST_THREADS = 4
"""More threads than these wait for memory."""
WORTH_A_THREAD = 32
"""Windows that one thread at least gets."""


@dataclass(frozen=True)
class Located:
    """Where the windows of a batch lie, and what their stored values are multiplied with.

    Parameters
    ----------
    signals : list of ndarray, each (n_chans, n_samples)
        The stored signal, int16 or float32, that each window is of.
    start, length : list of int
        First sample and number of samples of each window.
    scales : ndarray of float32, shape (n, n_chans)
        What the values of each window and channel are multiplied with; NaN makes the channel
        absent.
    n_times : int
        Samples of a window that is read.  Windows of another length are resampled by FFT, each by
        itself.
    q : float, optional
        Divide by this percentile of the window's absolute values as well, as
        ``PercentileScaler(q)`` does; ``scales`` are then the steps in uV.  Only for windows that
        are :attr:`packed`, as int16.
    rows : list of ndarray of int or None, optional
        By window: which row of its signal each channel is read from; any row where the channel is
        absent.  None: all rows, in order.
    """

    signals: list[NDArray[Any]]
    start: list[int]
    length: list[int]
    scales: NDArray[np.float32]
    n_times: int
    q: float | None = None
    rows: list[NDArray[np.int64] | None] | None = None

    def __len__(self) -> int:
        return len(self.signals)

    @property
    def packed(self) -> np.dtype[Any] | None:
        """What all windows are stored as, or None where they differ or are resampled on reading."""
        kinds = {x.dtype for x in self.signals}
        return kinds.pop() if len(kinds) == 1 and set(self.length) == {self.n_times} else None

    def fill(self, first: int, stop: int, out: NDArray[Any]) -> NDArray[np.float32] | None:
        """Copy the stored values of some of the windows.

        Parameters
        ----------
        first, stop : int
            Which ones.
        out : ndarray, shape (stop - first, n_chans, n_times)
            Where to, of the dtype :attr:`packed`.

        Returns
        -------
        ndarray of float32, shape (stop - first, n_chans), or None
            What to multiply the values with; None where a percentile is asked for and a channel may
            be flat, which is for ``PercentileScaler`` to decide.
        """
        for i, target in zip(range(first, stop), out, strict=True):
            target[...] = self._stored(i, self.n_times)
        scales = self.scales[first:stop]
        return scales if self.q is None else _exact_scales(out, scales, self.q)

    def _stored(self, i: int, n_samples: int) -> NDArray[Any]:
        """Return the stored values of a window, ``(n_chans, n_samples)``."""
        part = slice(self.start[i], self.start[i] + n_samples)
        rows = None if self.rows is None else self.rows[i]
        return self.signals[i][:, part] if rows is None else self.signals[i][rows, part]

    def read(self, out: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Read the windows into ``out``, float32 ``(n, n_chans, n_times)``.

        Return it, or None as :meth:`fill` does.
        """
        dtype = self.packed
        if dtype is None:
            return self._read_each(out)
        done = in_threads(len(self), lambda first, stop: self._read_part(first, stop, dtype, out))
        return out if all(done) else None

    def read_packed(self, values: NDArray[np.int16]) -> NDArray[np.float32] | None:
        """Copy all stored values and return what to multiply them with; see :meth:`fill`."""
        # Threads would only hand Python's lock to and fro where there is nothing to compute.
        if self.q is None:
            return self.fill(0, len(self), values)
        parts = in_threads(len(self), lambda first, stop: self._fill_part(first, stop, values))
        known = [scales for part in parts for scales in part if scales is not None]
        if len(known) != sum(map(len, parts)):
            return None
        return np.concatenate(known) if known else np.empty(values.shape[:2], np.float32)

    def _fill_part(self, begin: int, end: int, values: NDArray[Any]) -> list[NDArray[np.float32] | None]:
        return [self.fill(first, stop, values[first:stop]) for first, stop in blocks(begin, end)]

    def _read_part(self, begin: int, end: int, dtype: np.dtype[Any], out: NDArray[np.float32]) -> bool:
        # float32 is scaled where it comes to lie; int16 passes through a buffer that stays in the
        # cache.
        buffer = None if dtype == np.float32 else np.empty((min(BLOCK, end - begin), *out.shape[1:]), dtype)
        for first, stop in blocks(begin, end):
            target = out[first:stop]
            values = target if buffer is None else buffer[: stop - first]
            scales = self.fill(first, stop, values)
            if scales is None:
                return False
            # Convert, then scale in cache: a product of mixed types runs through small buffers.
            if buffer is not None:
                target[...] = values
            target *= scales[..., None]
        return True

    def _read_each(self, out: NDArray[np.float32]) -> NDArray[np.float32]:
        for i, (target, n, scale) in enumerate(zip(out, self.length, self.scales[..., None], strict=True)):
            window = self._stored(i, n)
            if n == self.n_times:
                target[...] = window
                target *= scale
            else:
                scaled = np.multiply(window, scale, dtype=np.float32, casting="same_kind")
                target[...] = resample_fft_window(scaled, self.n_times)
        return out


def blocks(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut windows ``begin`` to ``end`` into blocks of :data:`BLOCK`: (first, stop)."""
    for first in range(begin, end, BLOCK):
        yield first, min(first + BLOCK, end)


def in_threads(n: int, part: Callable[[int, int], T]) -> list[T]:
    """Call ``part(first, stop)`` for pieces of ``n`` windows, in threads where there are many.

    numpy copies, scales and selects without Python's lock.  A process that works for another (a
    worker of a loader, of joblib) reads in one thread, as does one with ``OMP_NUM_THREADS=1``.

    Parameters
    ----------
    n : int
        Number of windows.
    part : callable
        What to do with windows ``first`` to ``stop``.

    Returns
    -------
    list
        What the calls returned, in the order of the windows.
    """
    n_threads = min(_threads(os.getpid()), n // WORTH_A_THREAD)
    if n_threads < 2:
        return [part(0, n)] if n else []
    size = -(-n // n_threads // BLOCK) * BLOCK
    begins = range(0, n, size)
    # The first piece is the caller's own.
    others = [_pool(os.getpid()).submit(part, begin, min(begin + size, n)) for begin in begins[1:]]
    return [part(0, begins[0] + size), *(other.result() for other in others)]


@lru_cache(maxsize=1)
def _threads(pid: int) -> int:
    """Return how many threads this process may read with."""
    if multiprocessing.parent_process() is not None:
        return 1
    return min(MOST_THREADS, n_threads())


@lru_cache(maxsize=1)
def _pool(pid: int) -> ThreadPoolExecutor:
    """Return the reading threads of a process; a fork has none of its parent's."""
    return ThreadPoolExecutor(MOST_THREADS - 1, thread_name_prefix="biot_bd-reading")


def _exact_scales(values: NDArray[np.int16], steps: NDArray[np.float32], q: float) -> NDArray[np.float32] | None:
    """Return ``step / (percentile in uV + 1e-8)``, or None where a present channel may be flat."""
    percentiles = window_percentiles(values, q) * steps
    few = values[..., ::STRIDE]
    ranges = (few.max(axis=-1).astype(np.int32) - few.min(axis=-1)) * steps
    if ((percentiles < FLAT_UV) | (ranges < FLAT_UV)).any():
        return None
    return (steps / (percentiles + EPSILON_UV)).astype(np.float32)
