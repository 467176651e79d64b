"""A whole set of windows in the memory of a device, where batches are gathered without the host.

Windows that a store holds as int16 share its signals there: what overlaps lies there once, and the
folds of a process use one copy.  Other windows lie there as they are read, for one fit.
"""

from __future__ import annotations

import threading
import uuid
import weakref
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from biot_bd.exceptions import DeviceMemoryError
from biot_bd.windows.page_shuffle import memory_limit
from biot_bd.windows.stored_signals import StoredSignals

AUTO_SHARE = 0.25
"""Of a GPU's free memory: what ``"auto"`` puts there at most, so that folds fit side by side."""
MOST_SHARE = 0.9
"""Of the free memory: what is put there at most; the model needs some as well."""
READ_AT_ONCE = 1024
"""Windows that are read at a time where each is put there as it is read."""


class WindowsThere(ABC):
    """Windows in the memory of a device.

    Pickled as a name: another process may hand out their numbers, this one alone gathers them.
    """

    def __init__(self) -> None:
        self._token = uuid.uuid4().hex
        _by_token[self._token] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return _find, (self._token,)

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes there."""

    @abstractmethod
    def take(self, rows: torch.Tensor) -> torch.Tensor:
        """Return windows by number, float32 ``(n, n_chans, n_times)``, absent channels NaN.

        Parameters
        ----------
        rows : Tensor of int64, shape (n,)
            On any device, in any order, also more than once.
        """


class WindowsOfSignals(WindowsThere):
    """Windows that are cut from signals which lie on a device.

    Parameters
    ----------
    signals : Tensor of int16, shape (n_chans, n_samples)
        All recordings, one behind the other.
    stored : StoredSignals
        Where the windows lie.
    """

    def __init__(self, signals: torch.Tensor, stored: StoredSignals) -> None:
        super().__init__()
        self.signals = signals
        # A view: every window there could be, (n_samples - n_times + 1, n_chans, n_times).
        self._cuts = signals.unfold(1, stored.n_times, 1).permute(1, 0, 2)
        self._places = torch.from_numpy(stored.places).to(signals.device)
        self._scales = torch.from_numpy(stored.scales).to(signals.device)

    @property
    def nbytes(self) -> int:
        """Bytes there."""
        return self.signals.nbytes + self._places.nbytes + self._scales.nbytes

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        """Return windows by number; see :meth:`WindowsThere.take`."""
        rows = rows.to(self.signals.device, non_blocking=True)
        values = self._cuts.index_select(0, self._places.index_select(0, rows))
        return values.to(torch.float32).mul_(self._scales.index_select(0, rows)[..., None])


class WindowsAsRead(WindowsThere):
    """Windows that lie on a device one by one.

    Parameters
    ----------
    values : Tensor of float32, shape (n_windows, n_chans, n_times)
        As they are read.
    """

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.values = values

    @property
    def nbytes(self) -> int:
        """Bytes there."""
        return self.values.nbytes

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        """Return windows by number; see :meth:`WindowsThere.take`."""
        return self.values.index_select(0, rows.to(self.values.device, non_blocking=True))


class _Elsewhere(WindowsThere):
    """Stands for windows that another process holds."""

    def __init__(self, token: str) -> None:
        self._token = token

    @property
    def nbytes(self) -> int:
        return 0

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("these windows lie on a device of another process, which alone gathers them")


_by_token: weakref.WeakValueDictionary[str, WindowsThere] = weakref.WeakValueDictionary()


def _find(token: str) -> WindowsThere:
    return _by_token.get(token) or _Elsewhere(token)


# --- putting them there ---------------------------------------------------------------------------

_lock = threading.RLock()
_signals: dict[str, tuple[Any, torch.Tensor]] = {}
"""By device, of which there is one at most: what tells the signals that stay there, and they."""


def put_windows(windows: Any, device: Any, wanted: Any) -> WindowsThere | None:
    """Put windows into the memory of a device, for a fit that reads each of them many times.

    The signals of a store stay there for the next fit of this process, until others take their
    place, there or on another device, or :func:`free_device_signals` is called.

    Parameters
    ----------
    windows : Windows or SignalData
        What is read; anything with ``stored_signals()``, ``shape`` and ``read(rows)``.
    device : torch.device or str
        Where to.
    wanted : {"auto", False, True}
        ``"auto"``: only onto a CUDA GPU, and only where they take no more than ``AUTO_SHARE`` of
        its free memory.

    Returns
    -------
    WindowsThere or None
        None where they shall not lie there.

    Raises
    ------
    DeviceMemoryError
        They shall, and do not fit.
    """
    device = exact_device(device)
    if wanted is False or len(windows) == 0 or (wanted == "auto" and device.type != "cuda"):
        return None
    with _lock:
        stored = windows.stored_signals()
        if stored is not None and _are_there(stored, device):
            return WindowsOfSignals(_signals[str(device)][1], stored)
        needed = 4 * int(np.prod(windows.shape)) if stored is None else stored.nbytes
        free_device_signals()
        free = free_memory(device)
        if wanted == "auto" and (free is None or needed > AUTO_SHARE * free):
            return None
        _check_fits(needed, free, device)
        try:
            return _as_read(windows, device) if stored is None else _of_signals(stored, device)
        except torch.cuda.OutOfMemoryError as error:
            if wanted == "auto":
                return None
            raise _too_large(needed, free_memory(device), device) from error


def windows_there(windows: Any, device: Any) -> WindowsThere | None:
    """Return windows whose signals lie on a device already; None where they do not.

    Parameters
    ----------
    windows : Windows or SignalData
        As in :func:`put_windows`.
    device : torch.device or str
        Where.
    """
    device = exact_device(device)
    with _lock:
        if str(device) not in _signals or len(windows) == 0:
            return None
        stored = windows.stored_signals()
        there = stored is not None and _are_there(stored, device)
        return WindowsOfSignals(_signals[str(device)][1], stored) if there else None  # type: ignore[arg-type]


def free_device_signals() -> None:
    """Forget the signals that a fit of this process has left in the memory of a device."""
    with _lock:
        _signals.clear()


def exact_device(device: Any) -> torch.device:
    """Return a device with its number, so that ``"cuda"`` is the GPU in use."""
    found = torch.device(device)
    if found.type == "cuda" and found.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return found


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that may still be taken on a device; None where nobody says.

    Of a GPU: what no process has taken, and what torch has taken and does not use.  Of the
    processor: all memory of the machine or the container.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return memory_limit() if device.type == "cpu" else None


def _are_there(stored: StoredSignals, device: torch.device) -> bool:
    return str(device) in _signals and _signals[str(device)][0] == stored.key


def _of_signals(stored: StoredSignals, device: torch.device) -> WindowsOfSignals:
    signals = torch.empty(stored.shape, dtype=torch.int16, device=device)
    begin = 0
    for recording in stored.recordings():
        # Copied once more: a mapped file cannot be written to, of which torch would warn.
        signals[:, begin : begin + recording.shape[1]] = torch.from_numpy(np.array(recording))
        begin += recording.shape[1]
    made = WindowsOfSignals(signals, stored)
    _signals[str(device)] = stored.key, signals
    return made


def _as_read(windows: Any, device: torch.device) -> WindowsAsRead:
    values = torch.empty(tuple(windows.shape), dtype=torch.float32, device=device)
    for first in range(0, len(windows), READ_AT_ONCE):
        rows = np.arange(first, min(first + READ_AT_ONCE, len(windows)))
        values[first : first + len(rows)] = torch.from_numpy(windows.read(rows))
    return WindowsAsRead(values)


def _check_fits(needed: int, free: int | None, device: torch.device) -> None:
    if free is not None and needed > MOST_SHARE * free:
        raise _too_large(needed, free, device)


def _too_large(needed: int, free: int | None, device: torch.device) -> DeviceMemoryError:
    left = "" if free is None else f", of which {free / 2**30:.3g} GiB are free (at most {MOST_SHARE:.0%} of them)"
    return DeviceMemoryError(
        f"data_on_device=True: the windows need {needed / 2**30:.3g} GiB on {device}{left}; take 'auto' or False, a store "
        "of fewer recordings, or fewer folds at a time on this device"
    )
