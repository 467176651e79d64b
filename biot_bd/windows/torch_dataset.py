"""Windows for torch: one gather a batch, into memory that is used again, or packed for a GPU."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset, default_collate

from biot_bd.windows.device_signals import WindowsThere


class Batch(tuple[torch.Tensor, torch.Tensor]):
    """A ready batch ``(x, y)``, which :func:`collate_windows` tells from a pair of samples."""

    __slots__ = ()


class WindowsDataset(Dataset[Any]):
    """A map-style torch data set over :class:`biot_bd.Windows`.

    Parameters
    ----------
    windows : Windows
        What to read; anything with ``len``, ``shape``, ``[int]`` and ``read(indices, out)`` will
        do.
    y : array-like of int, shape (n_windows,) or (n_windows, k), optional
        Targets; zeros where there are none (prediction).
    soft : array-like of float, shape (n_windows, n_classes), optional
        What batches hold in the place of ``y``, which stays what is counted by.

    Raises
    ------
    ValueError
        ``y`` or ``soft`` has another length than ``windows``.

    Notes
    -----
    A batch is read in one thread at 40,000 windows a second and more, so worker processes, which
    send batches through shared memory, make it slower: leave ``num_workers=0`` unless steps after
    the store cost more than that. The memory of a batch is used again once nothing refers to the
    batch or a view of it.
    """

    def __init__(self, windows: Any, y: ArrayLike | None = None, soft: ArrayLike | None = None) -> None:
        self.windows = windows
        self.y = np.zeros(len(windows), dtype=np.int64) if y is None else np.asarray(y)
        self.soft = None if soft is None else np.asarray(soft, dtype=np.float32)
        for name, targets in (("y", self.y), ("soft", self.y if self.soft is None else self.soft)):
            if targets.ndim == 0 or len(targets) != len(windows):
                raise ValueError(
                    f"{name} must have the shape ({len(windows)},), one target a window; got {targets.shape}"
                )
        self._memory = _Memory()

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def targets(self) -> NDArray[Any]:
        """What batches hold: ``soft``, else ``y``."""
        return self.y if self.soft is None else self.soft

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one window, float32 ``(n_chans, n_times)``, and its target."""
        return torch.from_numpy(self.windows[int(index)]), torch.as_tensor(self.targets[index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a ready batch: float32 ``(n, n_chans, n_times)`` and targets ``(n, ...)``."""
        rows = np.asarray(indices, dtype=np.int64)
        x = self.windows.read(rows, self._memory.lend((len(rows), *self.windows.shape[1:]), np.float32))
        return Batch((torch.from_numpy(x), torch.from_numpy(self.targets[rows])))


class _Memory:
    """Lend arrays whose memory comes back when they and all their views are gone.

    Fresh memory of a batch's size costs page faults, a third of the time that reading the batch
    takes.
    """

    KEPT = 2
    """One batch is in use while the next is read."""
    LEAST = 1 << 20
    """Bytes from which it pays."""

    def __init__(self) -> None:
        self._free: deque[NDArray[np.uint8]] = deque(maxlen=self.KEPT)

    def lend(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array that is not filled."""
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        if size < self.LEAST:
            return np.empty(shape, dtype)
        try:
            block: Any = self._free.popleft()
        except IndexError:
            block = np.empty(size, np.uint8)
        if block.size < size:
            block = np.empty(size, np.uint8)
        # The memoryview between them keeps numpy from making views refer to the block itself.
        lent = np.frombuffer(memoryview(block)[:size], dtype)
        weakref.finalize(lent, self._free.append, block).atexit = False
        return lent.reshape(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Memory, ()  # memory does not travel to other processes


class DeviceBatch(ABC):
    """A batch that becomes windows on a device: moved by :meth:`to`, made by :meth:`unpack`."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def to(self, device: Any, non_blocking: bool = False) -> DeviceBatch:
        """Return the batch on a device."""

    @abstractmethod
    def pin_memory(self, device: Any = None) -> DeviceBatch:
        """Return the batch in page-locked memory, as a ``DataLoader`` asks for it."""

    @abstractmethod
    def unpack(self) -> torch.Tensor:
        """Return the windows, float32 ``(n, n_chans, n_times)``, absent channels NaN."""


@dataclass(frozen=True)
class PackedWindows(DeviceBatch):
    """A batch of windows as it is stored, to be multiplied where it is needed.

    Parameters
    ----------
    values : Tensor of int16, shape (n, n_chans, n_times)
        Stored values (float32 where :meth:`biot_bd.Windows.read_packed` gives no int16).
    scales : Tensor of float32, shape (n, n_chans)
        NaN where a channel is absent.
    """

    values: torch.Tensor
    scales: torch.Tensor

    def __len__(self) -> int:
        return len(self.values)

    def to(self, device: Any, non_blocking: bool = False) -> PackedWindows:
        """Return the batch on a device."""
        move = (torch.device(device), None, non_blocking)
        return PackedWindows(self.values.to(*move), self.scales.to(*move))

    def pin_memory(self, device: Any = None) -> PackedWindows:
        """Return the batch in page-locked memory, as a ``DataLoader`` asks for it."""
        return PackedWindows(self.values.pin_memory(), self.scales.pin_memory())

    def unpack(self) -> torch.Tensor:
        """Return the windows, float32 ``(n, n_chans, n_times)``, absent channels NaN."""
        return self.values.to(torch.float32, copy=True).mul_(self.scales[..., None])


class PackedDataset(WindowsDataset):
    """A :class:`WindowsDataset` whose batches are packed.

    Iterate a loader of them through :class:`OnDevice`.

    Parameters
    ----------
    windows : Windows
        What to read; anything with ``read_packed(indices, out)`` beside what
        :class:`WindowsDataset` asks for.
    y, soft : array-like, optional
        Targets, as in :class:`WindowsDataset`.
    """

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a ready batch: :class:`PackedWindows` and targets ``(n,)``."""
        rows = np.asarray(indices, dtype=np.int64)
        out = self._memory.lend((len(rows), *self.windows.shape[1:]), np.int16)
        values, scales = self.windows.read_packed(rows, out)
        windows: Any = PackedWindows(torch.from_numpy(values), torch.from_numpy(scales))
        return Batch((windows, torch.from_numpy(self.targets[rows])))


@dataclass(frozen=True)
class WindowNumbers(DeviceBatch):
    """A batch of windows that lie on a device already: their numbers.

    Parameters
    ----------
    rows : Tensor of int64, shape (n,)
        Which ones.
    there : WindowsThere
        What gathers them.
    """

    rows: torch.Tensor
    there: WindowsThere

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: Any, non_blocking: bool = False) -> WindowNumbers:
        """Return the batch with its numbers on a device."""
        return WindowNumbers(self.rows.to(device, non_blocking=non_blocking), self.there)

    def pin_memory(self, device: Any = None) -> WindowNumbers:
        """Return the batch with its numbers in page-locked memory."""
        return WindowNumbers(self.rows.pin_memory(), self.there)

    def unpack(self) -> torch.Tensor:
        """Return the windows, float32 ``(n, n_chans, n_times)``, where they lie."""
        return self.there.take(self.rows)


class HeldDataset(WindowsDataset):
    """A :class:`WindowsDataset` whose windows lie on a device, so that batches hold numbers only.

    Iterate a loader of them through :class:`OnDevice`.

    Parameters
    ----------
    windows : Windows
        What lies there, in this order.
    y, soft : array-like, optional
        Targets, as in :class:`WindowsDataset`.
    there : WindowsThere
        See :func:`biot_bd.windows.device_signals.put_windows`.
    """

    def __init__(self, windows: Any, y: ArrayLike | None, soft: ArrayLike | None, there: WindowsThere) -> None:
        super().__init__(windows, y, soft)
        self.there = there

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a ready batch: :class:`WindowNumbers` and targets ``(n, ...)``."""
        rows = np.asarray(indices, dtype=np.int64)
        numbers: Any = WindowNumbers(torch.from_numpy(rows), self.there)
        return Batch((numbers, torch.from_numpy(self.targets[rows])))


class OnDevice:
    """Batches of a loader, unpacked on a device.

    Parameters
    ----------
    loader : iterable
        Of batches ``(x, y)``; those of :class:`PackedDataset` are sent packed and multiplied there,
        those of :class:`HeldDataset` are gathered there, others pass.
    device : torch.device or str
        Where to.
    """

    def __init__(self, loader: Any, device: Any) -> None:
        self._batches = loader  # not "loader": who unwraps braindecode's asks for that name
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self._batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_batches"], name)

    def __iter__(self) -> Iterator[Any]:
        for x, y in self._batches:
            if isinstance(x, DeviceBatch):
                x = x.to(self.device, non_blocking=True).unpack()
            yield Batch((x, y))


def collate_windows(samples: Any) -> Any:
    """Pass a ready :class:`Batch` on unchanged; collate anything else as torch does."""
    return samples if isinstance(samples, Batch) else default_collate(samples)
