"""Embeddings of all windows of a table, kept on disk and computed once.

A folder ``<key>/`` holds ``embedding.json`` (of what, by what, format version) and ``parts/``: for
each :data:`PART` rows of the table a ``.npy`` of float32 and, written last, a ``.json`` with its
checksum and seconds.  A part without its ``.json`` was stopped and is computed again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from biot_bd.bounded_files import read_npy
from biot_bd.exceptions import EmbeddingCacheError
from biot_bd.json_values import check_values
from biot_bd.runs import atomic_path, fingerprint, make_folder, read_json, write_json

FORMAT = "biot-bd embeddings"
VERSION = 1
DESCRIPTION = "embedding.json"
PART = 512
"""Rows of a part at most, which is computed and written as a whole."""
PART_BYTES = 2**26
IN_MEMORY_BYTES = 2**28
"""Larger results are gathered in a file without a name, so that memory stays flat."""

Computed = Callable[[int, int], NDArray[np.float32]]


class _Description(TypedDict):
    format: str
    version: int
    identity: dict[str, Any]
    n_rows: int
    shape: list[int]
    part_rows: int


class _Part(TypedDict):
    crc32: int
    n_rows: int
    seconds: float


@dataclass(frozen=True)
class CacheEntry:
    """What lies in one folder of a cache.

    Parameters
    ----------
    folder : Path
        Its name is the key.
    identity : dict
        Of which windows by which model the embeddings are.
    n_rows : int
        Windows of the table.
    shape : tuple of int
        Of the embedding of a window.
    n_done : int
        Windows that are computed.
    n_bytes : int
        Bytes on disk.
    seconds : float
        Computing took so long, summed over all calls.

    See Also
    --------
    cache_entries : Lists those of a folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.embedding import CacheEntry
    >>> entry = CacheEntry(
    ...     folder=Path("0a"),
    ...     identity={},
    ...     n_rows=4,
    ...     shape=(8,),
    ...     n_done=2,
    ...     n_bytes=64,
    ...     seconds=1,
    ... )
    >>> entry.complete
    False
    """

    folder: Path
    identity: Mapping[str, Any]
    n_rows: int
    shape: tuple[int, ...]
    n_done: int
    n_bytes: int
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether all windows of the table are computed."""
        return self.n_done == self.n_rows


class EmbeddingCache:
    """The embeddings of one table by one model.

    Several processes may use it at once: each part is computed by one of them, and they take
    different parts.

    Parameters
    ----------
    root : path
        Folder of all caches.
    identity : mapping
        All that the embeddings depend on, as JSON holds it: another one is another folder.
    n_rows : int
        Windows of the table.
    shape : sequence of int
        Of the embedding of a window.

    Raises
    ------
    EmbeddingCacheError
        The folder is damaged, or of a newer version.
    OSError
        It cannot be written.

    See Also
    --------
    biot_bd.Embedder : Uses it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from biot_bd.embedding import EmbeddingCache
    >>> with TemporaryDirectory() as folder:
    ...     cache = EmbeddingCache(folder, {"model": "mine"}, n_rows=600, shape=(2,))
    ...     made = cache.rows(
    ...         np.array([599, 0]), lambda start, stop: np.full((stop - start, 2), start)
    ...     )
    >>> made.tolist()
    [[512.0, 512.0], [0.0, 0.0]]
    """

    def __init__(
        self, root: str | os.PathLike[str], identity: Mapping[str, Any], n_rows: int, shape: Sequence[int]
    ) -> None:
        self.identity = dict(identity)
        self.n_rows, self.shape = int(n_rows), tuple(map(int, shape))
        self.key = fingerprint(self.identity)
        self.folder = Path(root) / self.key
        row_bytes = 4 * int(np.prod(self.shape))
        self.part_rows = max(1, min(PART, PART_BYTES // max(row_bytes, 1)))
        self._open()

    def rows(
        self,
        rows: NDArray[np.int64],
        compute: Computed,
        *,
        out: NDArray[np.float32] | None = None,
        places: NDArray[np.int64] | None = None,
        told: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Return embeddings of some windows; compute the parts that are not there.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)
            Windows of the table, in any order.
        compute : callable (start, stop) -> ndarray, shape (stop - start, ...)
            Embeds windows of the table.
        out : ndarray of float32, optional
            Where to write.
        places : ndarray of int, shape (n,), optional
            Rows of ``out``; None: in order.
        told : callable, optional
            Called with the number of windows of each part that is ready.

        Returns
        -------
        ndarray of float32, shape (n, ...)
            ``out`` where it is given.

        Raises
        ------
        EmbeddingCacheError
            A file is damaged; the message names it.
        """
        out = scratch_array((len(rows), *self.shape)) if out is None else out
        places = np.arange(len(rows)) if places is None else places
        wanted = rows // self.part_rows
        for number in self._ready(np.unique(wanted).tolist(), compute):
            here = np.flatnonzero(wanted == number)
            part = self._part(number)
            out[places[here]] = part[rows[here] - number * self.part_rows]
            if told is not None:
                told(len(here))
        return out

    # ---- parts ----

    def _ready(self, numbers: list[int], compute: Computed) -> Iterator[int]:
        """Yield parts as they are there; those that another process computes come last."""
        busy = []
        for number in numbers:
            if self._there(number) or self._compute(number, compute, wait=False):
                yield number
            else:
                busy.append(number)
        for number in busy:
            self._compute(number, compute, wait=True)
            yield number

    def _compute(self, number: int, compute: Computed, wait: bool) -> bool:
        lock = FileLock(self.folder / "locks" / f"{number:06d}.lock")
        try:
            with lock.acquire(timeout=-1 if wait else 0):
                if not self._there(number):  # another process may just have made it
                    self._write(number, compute)
        except Timeout:
            return False
        return True

    def _write(self, number: int, compute: Computed) -> None:
        start = number * self.part_rows
        stop = min(start + self.part_rows, self.n_rows)
        begun = time.perf_counter()
        made = np.ascontiguousarray(compute(start, stop), dtype=np.float32)
        seconds = time.perf_counter() - begun
        if made.shape != (stop - start, *self.shape):
            raise ValueError(
                f"the model gave embeddings of shape {made.shape}, expected {(stop - start, *self.shape)} for windows "
                f"{start} to {stop - 1}"
            )
        with atomic_path(self._file(number)) as temporary, open(temporary, "wb") as file:
            np.save(file, made, allow_pickle=False)
        facts: _Part = {"crc32": zlib.crc32(made.data.cast("B")), "n_rows": len(made), "seconds": seconds}
        write_json(self._note(number), facts)

    def _there(self, number: int) -> bool:
        return self._note(number).is_file()

    def _part(self, number: int) -> NDArray[np.float32]:
        """Return a part as it lies on disk, checked once a process."""
        file = self._file(number)
        n_rows = min(self.part_rows, self.n_rows - number * self.part_rows)
        instead = f"delete the folder {self.folder} (`biot-bd embed --remove {self.key}`), and it is computed again"
        facts = _read_part(self._note(number), instead)
        try:
            part: NDArray[np.float32] = read_npy(file)
        except FileNotFoundError:
            raise EmbeddingCacheError(
                f"{file}: missing, though {self._note(number).name} says it is there; {instead}"
            ) from None
        except (ValueError, EOFError, OSError) as error:
            raise EmbeddingCacheError(f"{file}: damaged ({error}); {instead}") from error
        if part.dtype != np.float32 or part.shape != (n_rows, *self.shape):
            raise EmbeddingCacheError(
                f"{file}: expected float32 of shape {(n_rows, *self.shape)}, found {part.dtype} of shape {part.shape}; {instead}"
            )
        state = os.stat(file)
        checked = (os.fspath(file), state.st_size, state.st_mtime_ns)
        if checked not in _checked:
            if zlib.crc32(part.data.cast("B")) != facts["crc32"]:
                raise EmbeddingCacheError(f"{file}: damaged (its checksum is another); {instead}")
            _checked.add(checked)
        return part

    def _file(self, number: int) -> Path:
        return self.folder / "parts" / f"{number:06d}.npy"

    def _note(self, number: int) -> Path:
        return self.folder / "parts" / f"{number:06d}.json"

    # ---- description ----

    def _open(self) -> None:
        file = self.folder / DESCRIPTION
        if not file.is_file():
            make_folder(self.folder / "parts")
            make_folder(self.folder / "locks")
            description: _Description = {
                "format": FORMAT,
                "version": VERSION,
                "identity": self.identity,
                "n_rows": self.n_rows,
                "shape": list(self.shape),
                "part_rows": self.part_rows,
            }
            write_json(file, description)
        found = _read_description(file)
        own = (self.n_rows, list(self.shape), self.part_rows)
        if (found["n_rows"], found["shape"], found["part_rows"]) != own:
            raise EmbeddingCacheError(
                f"{file}: {found['n_rows']} windows of shape {found['shape']} in parts of {found['part_rows']}, expected "
                f"{own[0]} of shape {own[1]} in parts of {own[2]}; delete {self.folder}"
            )

    def entry(self) -> CacheEntry:
        """Return what lies there now."""
        return _entry(self.folder)


_checked: set[tuple[str, int, int]] = set()


def scratch_array(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an array to write into; a large one lies in a file that goes with it.

    Parameters
    ----------
    shape : tuple of int

    Returns
    -------
    ndarray of float32
    """
    if 4 * int(np.prod(shape)) < IN_MEMORY_BYTES:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def cache_entries(root: str | os.PathLike[str]) -> list[CacheEntry]:
    """List what lies in a folder of caches.

    Parameters
    ----------
    root : path
        E.g. ``<store>/embeddings``.

    Returns
    -------
    list of CacheEntry
        By key; empty where there is no such folder.

    Raises
    ------
    EmbeddingCacheError
        A description is damaged or of a newer version.

    See Also
    --------
    remove_entry : Deletes one.

    Examples
    --------
    >>> from biot_bd.embedding import cache_entries
    >>> cache_entries("no-such-folder")
    []
    """
    return [_entry(file.parent) for file in sorted(Path(root).glob(f"*/{DESCRIPTION}"))]


def remove_entry(root: str | os.PathLike[str], key: str) -> int:
    """Delete the embeddings of one key.

    Parameters
    ----------
    root : path
        Folder of the caches.
    key : str
        As :func:`cache_entries` names its folder.

    Returns
    -------
    int
        Bytes that are free again.

    Raises
    ------
    FileNotFoundError
        There is no such key; the message lists those that are there.

    See Also
    --------
    cache_entries : Lists them.

    Examples
    --------
    >>> from biot_bd.embedding import remove_entry
    >>> remove_entry("no-such-folder", "0a")
    Traceback (most recent call last):
    ...
    FileNotFoundError: no-such-folder: no embeddings '0a' here; there are none
    """
    found = {entry.folder.name: entry for entry in cache_entries(root)}
    if key not in found:
        raise FileNotFoundError(f"{root}: no embeddings {key!r} here; there are {', '.join(found) or 'none'}")
    # The description goes first: what is half deleted is no cache any more.
    (found[key].folder / DESCRIPTION).unlink()
    shutil.rmtree(found[key].folder)
    return found[key].n_bytes


def _entry(folder: Path) -> CacheEntry:
    description = _read_description(folder / DESCRIPTION)
    notes = [_read_part(path, f"delete {folder}") for path in sorted((folder / "parts").glob("[0-9]*.json"))]
    n_bytes = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a temporary file of a process at work
            n_bytes += path.stat().st_size if path.is_file() else 0
    return CacheEntry(
        folder=folder,
        identity=description["identity"],
        n_rows=description["n_rows"],
        shape=tuple(description["shape"]),
        n_done=sum(note["n_rows"] for note in notes),
        n_bytes=n_bytes,
        seconds=sum(note["seconds"] for note in notes),
    )


def _read_part(file: Path, instead: str) -> _Part:
    try:
        note = read_json(file)
        check_values(note, _Part)
    except ValueError as error:
        raise EmbeddingCacheError(f"{file}: damaged ({error}); {instead}") from error
    checked: _Part = note
    return checked


def _read_description(file: Path) -> _Description:
    try:
        found = read_json(file)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise EmbeddingCacheError(f"{file}: not embeddings that biot-bd wrote; delete {file.parent}")
        if found.get("version") not in _READERS:
            raise EmbeddingCacheError(
                f"{file}: of format version {found.get('version')!r}, this biot_bd reads "
                f"{', '.join(map(str, _READERS))}: install a newer one, or delete {file.parent}"
            )
        return _READERS[found["version"]](found)
    except ValueError as error:
        if isinstance(error, EmbeddingCacheError):
            raise
        raise EmbeddingCacheError(
            f"{file}: damaged ({error}); delete {file.parent}, and it is computed again"
        ) from error


def _version1(found: Any) -> _Description:
    check_values(found, _Description)
    checked: _Description = found
    return checked


_READERS: dict[Any, Callable[[Any], _Description]] = {1: _version1}
