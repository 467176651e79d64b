"""A rolling buffer over signals that arrive in pieces, addressed by their sample number from the
start.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class RollingBuffer:
    """Keep the newest samples of some channels.

    Parameters
    ----------
    n_chans : int
        Channels.
    dtype : numpy dtype
        Of the samples.

    Attributes
    ----------
    start, stop : int
        Numbers of the first sample that is kept and of the next one to come.
    """

    def __init__(self, n_chans: int, dtype: Any = np.float32) -> None:
        self._data: NDArray[Any] = np.empty((n_chans, 0), dtype)
        self._first = 0  # column of the sample ``start``
        self.start = self.stop = 0

    def append(self, x: NDArray[Any]) -> None:
        """Add samples ``(n_chans, n)`` at the end."""
        n, kept = x.shape[1], self.stop - self.start
        if self._first + kept + n > self._data.shape[1]:
            if kept + n > self._data.shape[1] or self._first < kept:
                # Twice what is needed, so that many small pieces are not moved each time.
                moved = np.empty((len(self._data), 2 * (kept + n)), self._data.dtype)
            else:
                moved = self._data
            moved[:, :kept] = self._data[:, self._first : self._first + kept]
            self._data, self._first = moved, 0
        end = self._first + kept
        self._data[:, end : end + n] = x
        self.stop += n

    def view(self, start: int, stop: int) -> NDArray[Any]:
        """Return samples ``start`` to ``stop``, without a copy.

        Valid until the next :meth:`append`.

        Raises
        ------
        IndexError
            They were dropped, or have not arrived.
        """
        if not self.start <= start <= stop <= self.stop:
            raise IndexError(f"samples {start} to {stop} are not among the kept {self.start} to {self.stop}")
        first = self._first + start - self.start
        return self._data[:, first : first + stop - start]

    def drop_before(self, start: int) -> None:
        """Forget samples before ``start``."""
        start = min(max(start, self.start), self.stop)
        self._first += start - self.start
        self.start = start
        if self.start == self.stop:
            self._first = 0
