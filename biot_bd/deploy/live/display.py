"""The montage's signal, thinned out for a screen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SCREEN_HZ = 100.0
BLOCK_S = 0.25


class ScreenSignal:
    """Turn samples into blocks that a page draws, a quarter of a second each.

    Parameters
    ----------
    sfreq : float
        Rate in Hz; it is lowered to about 100 Hz by averaging.
    """

    def __init__(self, sfreq: float) -> None:
        self.change(sfreq)

    def change(self, sfreq: float) -> None:
        """Begin a new stretch, perhaps of another rate; what makes no whole block yet is left out."""
        self.sfreq, self._mean_of = sfreq, max(1, int(sfreq // SCREEN_HZ))
        self._size = max(1, round(BLOCK_S * sfreq / self._mean_of)) * self._mean_of
        self._left: list[NDArray[np.float32]] = []
        self._n_left, self._start_s = 0, 0.0

    def push(self, x: NDArray[np.float32], start_s: float) -> list[dict[str, Any]]:
        """Take samples, return new blocks.

        Parameters
        ----------
        x : ndarray, shape (n_chans, n)
            In microvolts.
        start_s : float
            Of the first sample.

        Returns
        -------
        list of dict
            ``start_s`` of the first value, ``step_s`` from one to the next, ``uv`` a list of values a channel, None where there
            is no signal.
        """
        if not self._n_left:
            self._start_s = start_s
        self._left.append(x)
        self._n_left += x.shape[1]
        made: list[dict[str, Any]] = []
        if self._n_left < self._size:
            return made
        joined = np.concatenate(self._left, axis=1)
        whole = self._n_left // self._size * self._size
        for begin in range(0, whole, self._size):
            part = joined[:, begin : begin + self._size].reshape(len(joined), -1, self._mean_of).mean(axis=2)
            made.append(
                {
                    "start_s": round(self._start_s + begin / self.sfreq, 4),
                    "step_s": self._mean_of / self.sfreq,
                    "uv": [[None if v != v else round(v, 1) for v in row.tolist()] for row in part],
                }
            )
        self._left = [joined[:, whole:].copy()]
        self._n_left -= whole
        self._start_s += whole / self.sfreq
        return made
