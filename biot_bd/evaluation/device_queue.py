"""Devices that processes of one machine lend each other, by locks on files.

A lock is the system's: it is free when its process is dead, whatever killed it.
"""

from __future__ import annotations

import getpass
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from biot_bd.runs import make_folder, read_json, write_json

AUTO = "auto"
MOST = 8
"""Tasks on a device at once, however little memory one takes."""
CONTEXT_BYTES = 600 * 2**20
"""Memory of a process on a GPU beside its tensors: CUDA's context and kernels, rounded up."""
SPARE = 0.1
"""Share of a device's memory that stays free."""
POLL_S = 0.2
TELL_S = 60.0

Memory = Callable[[str], tuple[int, int]]


@dataclass(frozen=True)
class DeviceQueue:
    """Hand out devices to the tasks of all processes of this machine, first come, first served.

    Parameters
    ----------
    devices : sequence of str, optional
        Names of torch, e.g. ``("cuda:0", "cuda:1")``; all GPUs that a worker sees by default, and
        where there is none, nothing is handed out and nothing waits.
    per_device : int or "auto"
        Tasks on a device at once.  ``"auto"``: one, until one has ended and its memory is known,
        then as many as fit into the device's memory.
    folder : path, optional
        Where the locks lie; one of this user in the folder for temporary files by default, so that
        all runs of the machine share its devices.
    timeout_s : float, optional
        Longest wait for a device.

    Raises
    ------
    ValueError
        ``per_device`` is neither a number of at least 1 nor ``"auto"``.

    See Also
    --------
    workers : Takes ``per_device``.

    Notes
    -----
    A lease makes its device torch's current one, which ``device="auto"`` and ``"cuda"`` of an
    estimator mean; an estimator told ``"cuda:1"`` or ``"cpu"`` stays there.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from biot_bd.evaluation import DeviceQueue
    >>> with TemporaryDirectory() as folder:
    ...     queue = DeviceQueue(["cpu", "cpu"], folder=folder)
    ...     with queue.leased("fold-00") as first, queue.leased("fold-01"):
    ...         first, [holder["label"] for holder in queue.holders()]
    ('cpu', ['fold-00', 'fold-01'])
    """

    devices: Sequence[str] | None = None
    per_device: int | str = 1
    folder: str | os.PathLike[str] | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        number = isinstance(self.per_device, int) and not isinstance(self.per_device, bool) and self.per_device >= 1
        if not number and self.per_device != AUTO:
            raise ValueError(f"per_device={self.per_device!r}: expected how many at once, 1 or more, or 'auto'")

    @contextmanager
    def leased(self, label: str, needs: str = "") -> Iterator[str | None]:
        """Wait for a device and hold it in the block.

        Parameters
        ----------
        label : str
            What it is for; others that wait are told.
        needs : str
            Key of tasks that need the same memory, for ``per_device="auto"``.

        Yields
        ------
        str or None
            The device; None where there is none to hand out.

        Raises
        ------
        TimeoutError
            None became free within ``timeout_s``.
        """
        places = self._places()
        if not places:
            yield None
            return
        folder = make_folder(self._folder())
        place, slot = self._wait(folder, places, label, needs)
        try:
            write_json(_told(slot), {"device": place.device, "label": label, "process": os.getpid()})
            with _current(place.device), _measured(place, folder / f"{place.key}.memory", needs):
                yield place.device
        finally:
            _told(slot).unlink(missing_ok=True)
            slot.release()

    def holders(self) -> list[dict[str, Any]]:
        """Return who holds devices now.

        Returns
        -------
        list of dict
            ``device``, ``label`` and ``process`` (its number) of each lease.
        """
        found = []
        for path in sorted(self._folder().glob("*.slot")):
            told = path.with_suffix(".json")
            if _is_held(path) and told.is_file():
                with suppress(FileNotFoundError):  # released since
                    found.append(read_json(told))
        return found

    def _folder(self) -> Path:
        default = Path(tempfile.gettempdir()) / f"biot-bd-devices-{_user()}"
        return default if self.folder is None else Path(self.folder)

    def _places(self) -> list[_Place]:
        if self.devices is not None:
            return [_Place(name, _key(name, number)) for number, name in enumerate(self.devices)]
        if not torch.cuda.is_available():
            return []
        names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        return [_Place(name, _key(name, number)) for number, name in enumerate(names)]

    def _wait(self, folder: Path, places: Sequence[_Place], label: str, needs: str) -> tuple[_Place, FileLock]:
        """Return a device and its held lock; who came first is served first."""
        started, told = time.monotonic(), False
        with _turn(folder) as is_first:
            while True:
                found = self._free(folder, places, needs) if is_first() else None
                if found is not None:
                    return found
                waited = time.monotonic() - started
                if self.timeout_s is not None and waited >= self.timeout_s:
                    raise TimeoutError(f"{label}: no device within {self.timeout_s:g} s; {self._held_text()}")
                if not told and waited > TELL_S:
                    warnings.warn(f"{label} waits for a device; {self._held_text()}", stacklevel=2)
                    told = True
                time.sleep(POLL_S)

    def _held_text(self) -> str:
        taken = [f"{one['device']}: {one['label']} (process {one['process']})" for one in self.holders()]
        return f"held: {', '.join(taken)}" if taken else "others wait before it"

    def _free(self, folder: Path, places: Sequence[_Place], needs: str) -> tuple[_Place, FileLock] | None:
        """Return the device with the fewest tasks that takes one more, and its lock, or None."""
        slots = {place: sorted(folder.glob(f"{place.key}-*.slot")) for place in places}
        busy = {place: sum(map(_is_held, paths)) for place, paths in slots.items()}
        for place in sorted(places, key=lambda place: busy[place]):
            if busy[place] >= self._room(folder, place, busy[place], needs):
                continue
            for number in range(MOST if self.per_device == AUTO else int(self.per_device)):
                lock = FileLock(folder / f"{place.key}-{number}.slot")
                with suppress(Timeout):
                    lock.acquire(timeout=0)
                    return place, lock
        return None

    def _room(self, folder: Path, place: _Place, busy: int, needs: str) -> int:
        """Return how many tasks a device takes in all."""
        if self.per_device != AUTO:
            return int(self.per_device)
        known = folder / f"{place.key}.memory"
        peak = read_json(known).get(needs) if known.is_file() else None  # of a GPU, see `_measured`
        return 1 if peak is None else tasks_that_fit(int(peak), *memory_of(place.device), busy)


def tasks_that_fit(peak_bytes: int, free_bytes: int, total_bytes: int, busy: int) -> int:
    """Return how many tasks a device takes at once.

    Parameters
    ----------
    peak_bytes : int
        Largest memory of tensors of such a task.
    free_bytes, total_bytes : int
        Of the device, as ``torch.cuda.mem_get_info`` tells them.
    busy : int
        Tasks that are on it now; they may not have all their memory yet.

    Returns
    -------
    int
        At least 1, at most ``MOST``.

    Examples
    --------
    >>> from biot_bd.evaluation.device_queue import tasks_that_fit
    >>> tasks_that_fit(4 * 2**30, 79 * 2**30, 80 * 2**30, busy=0)
    8
    >>> tasks_that_fit(20 * 2**30, 79 * 2**30, 80 * 2**30, busy=0)
    3
    >>> tasks_that_fit(20 * 2**30, 10 * 2**30, 80 * 2**30, busy=1)  # another program is there
    1
    """
    one, usable = peak_bytes + CONTEXT_BYTES, total_bytes * (1 - SPARE)
    in_all = int(usable // one)
    now = busy + int(max(0, free_bytes - total_bytes * SPARE) // one)
    return max(1, min(MOST, in_all, now))


def memory_of(device: str) -> tuple[int, int]:
    """Return free and total bytes of a GPU."""
    return torch.cuda.mem_get_info(torch.device(device))


@dataclass(frozen=True)
class _Place:
    """A device, and the name of its files."""

    device: str
    key: str


def _key(name: str, number: int) -> str:
    """Return a name that all processes give a device, whatever GPUs each of them sees."""
    if torch.device(name).type == "cuda":
        uuid = getattr(torch.cuda.get_device_properties(torch.device(name)), "uuid", None)
        if uuid is not None:
            return f"cuda-{uuid}"
    return f"{number}-{name.replace(':', '-')}"


def _user() -> str:
    """Return the name of this user, or the number where the system knows no name, as in
    containers.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())


def _told(slot: FileLock) -> Path:
    return Path(slot.lock_file).with_suffix(".json")


def _is_held(path: Path) -> bool:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


@contextmanager
def _turn(folder: Path) -> Iterator[Callable[[], bool]]:
    """Stand in a line in the block; what is yielded tells whether one is the first of it."""
    line = make_folder(folder / "line")
    own = FileLock(line / f"{time.time_ns():020d}-{os.getpid()}.ticket")
    own.acquire()
    name = Path(own.lock_file).name

    def is_first() -> bool:
        for before in sorted(line.glob("*.ticket")):
            if before.name >= name:
                return True
            if _is_held(before):
                return False
            before.unlink(missing_ok=True)  # of a process that died
        return True

    try:
        yield is_first
    finally:
        Path(own.lock_file).unlink(missing_ok=True)
        own.release()


@contextmanager
def _current(device: str) -> Iterator[None]:
    """Make a GPU torch's current device in the block."""
    if torch.device(device).type != "cuda":
        yield
        return
    with torch.cuda.device(device):
        yield


@contextmanager
def _measured(place: _Place, known: Path, needs: str) -> Iterator[None]:
    """Note the largest memory of a block that ends well, beside that of blocks before."""
    gpu = torch.device(place.device).type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats(torch.device(place.device))
    yield
    if gpu:
        note_peak(known, needs, torch.cuda.max_memory_reserved(torch.device(place.device)))


def note_peak(known: Path, needs: str, peak_bytes: int) -> None:
    """Keep the largest memory of tasks of a kind in a file.

    Parameters
    ----------
    known : Path
    needs : str
        The kind.
    peak_bytes : int
    """
    with FileLock(known.with_suffix(".memory-lock")):
        peaks = read_json(known) if known.is_file() else {}
        if peak_bytes > int(peaks.get(needs, -1)):
            write_json(known, {**peaks, needs: peak_bytes})
