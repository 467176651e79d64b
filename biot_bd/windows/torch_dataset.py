"""Windows for torch: one gather a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.utils.data import Dataset, default_collate

__all__ = ["Batch", "WindowsDataset", "collate_windows"]


class Batch(tuple[torch.Tensor, torch.Tensor]):
    """A ready batch ``(x, y)``, so that :func:`collate_windows` can tell it from a pair of samples."""

    __slots__ = ()


class WindowsDataset(Dataset[Any]):
    """A map-style torch data set over :class:`biot_bd.Windows`.

    Parameters
    ----------
    windows : Windows
        What to read; anything with ``len``, ``[int]`` and ``read(indices)`` will do.
    y : array-like of int, shape (n_windows,), optional
        Targets; zeros where there are none (prediction).

    Raises
    ------
    ValueError
        ``y`` has another length than ``windows``.
    """

    def __init__(self, windows: Any, y: ArrayLike | None = None) -> None:
        self.windows = windows
        self.y = np.zeros(len(windows), dtype=np.int64) if y is None else np.asarray(y)
        if self.y.shape != (len(windows),):
            raise ValueError(f"y must have the shape ({len(windows)},), one target a window; got {self.y.shape}")

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one window, float32 ``(n_chans, n_times)``, and its target."""
        return torch.from_numpy(self.windows[int(index)]), torch.as_tensor(self.y[index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a ready batch: float32 ``(n, n_chans, n_times)`` and targets ``(n,)``."""
        rows = np.asarray(indices, dtype=np.int64)
        return Batch((torch.from_numpy(self.windows.read(rows)), torch.from_numpy(self.y[rows])))


def collate_windows(samples: Any) -> Any:
    """Pass a ready :class:`Batch` on unchanged; collate anything else as torch does."""
    return samples if isinstance(samples, Batch) else default_collate(samples)
