"""Samples that come at another rate than they say, put where their nominal rate has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.ring_buffer import RollingBuffer

HALF = 16  # samples of the source on either side of a new one
AT_ONCE = 512  # new samples


class Retimer:
    """Interpolate a signal at places that lie ``step`` samples apart, where ``step`` may change.

    Windowed sinc (Blackman, 32 samples): flat within 1 % up to 0.4 of the rate.  A channel that is
    constant stays so to the bit, and a value that is not finite makes those beside it NaN.

    Parameters
    ----------
    n_chans : int
        Channels.
    """

    def __init__(self, n_chans: int) -> None:
        self._n_chans, self._buffer, self._next = n_chans, RollingBuffer(n_chans), 0.0

    def push(self, x: NDArray[np.float32], step: float) -> NDArray[np.float32]:
        """Take samples ``(n_chans, n)``; return those that are ready, ``step`` samples apart."""
        self._buffer.append(x)
        return self._make(self._buffer.stop - HALF, step)

    def finish(self, step: float) -> NDArray[np.float32]:
        """Return what is left; nothing may follow."""
        return self._make(self._buffer.stop, step)

    def _make(self, stop: int, step: float) -> NDArray[np.float32]:
        parts = [np.empty((self._n_chans, 0), np.float32)]
        while self._next < stop:
            n = min(AT_ONCE, int(np.ceil((stop - self._next) / step)))
            places = self._next + np.arange(n, dtype=np.float64) * step
            parts.append(self._at(places[places < stop], step))
            self._next += len(parts[-1][0]) * step
            self._buffer.drop_before(int(self._next) - HALF)
        return np.concatenate(parts, axis=1)

    def _at(self, places: NDArray[np.float64], step: float) -> NDArray[np.float32]:
        first = np.floor(places).astype(np.int64)
        taps = first[:, None] + np.arange(1 - HALF, HALF + 1)
        inside = (taps >= self._buffer.start) & (taps < self._buffer.stop)
        away = taps - places[:, None]
        width = min(1.0, 1 / step)  # of the pass band: what comes faster than nominal would fold
        window = 0.42 + 0.5 * np.cos(np.pi * away / HALF) + 0.08 * np.cos(2 * np.pi * away / HALF)
        weights = np.where(inside, np.sinc(width * away) * window, 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
        known = self._buffer.view(self._buffer.start, self._buffer.stop)
        columns = np.clip(taps, self._buffer.start, self._buffer.stop - 1) - self._buffer.start
        nearest = known[:, first - self._buffer.start]
        # Of differences, so that a flat channel stays flat.
        with np.errstate(invalid="ignore"):
            change = np.einsum("cmk,mk->cm", known[:, columns] - nearest[..., None], weights.astype(np.float32))
            y: NDArray[np.float32] = nearest + change
        y[~np.isfinite(y)] = np.nan
        return y
