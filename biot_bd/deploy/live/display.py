"""The montage's signal, thinned out for a screen."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

SCREEN_HZ = 100.0
BLOCK_S = 0.25


class SignalBlock(TypedDict):
    """A piece of signal.

    Start of the first value, distance of two, microvolts by channel (None: no signal).
    """

    start_s: float
    step_s: float
    uv: list[list[float | None]]


class Decision(TypedDict):
    """What was decided of a window that ends at ``time_s``.

    ``curve`` is the smoothed probability.
    """

    time_s: float
    probability: float | None
    curve: float | None
    alarm: bool


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
        """Begin a new stretch, perhaps of another rate.

        What makes no whole block yet is left out.
        """
        self.sfreq, self._mean_of = sfreq, max(1, int(sfreq // SCREEN_HZ))
        self._size = max(1, round(BLOCK_S * sfreq / self._mean_of)) * self._mean_of
        self._left: list[NDArray[np.float32]] = []
        self._n_left, self._start_s = 0, 0.0

    def push(self, x: NDArray[np.float32], start_s: float) -> list[SignalBlock]:
        """Take samples, return new blocks.

        Parameters
        ----------
        x : ndarray, shape (n_chans, n)
            In microvolts.
        start_s : float
            Of the first sample.

        Returns
        -------
        list of SignalBlock
        """
        if not self._n_left:
            self._start_s = start_s
        self._left.append(x)
        self._n_left += x.shape[1]
        made: list[SignalBlock] = []
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
