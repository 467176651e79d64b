"""The files of a store: signals of one recording each, their description, the manifest.

A signal file is a plain ``.npy`` of ``(n_chans, n_samples)``: int16 with one step a channel, or
float32.  A sample is ``value * step`` uV, at most half a step from what was measured; nothing is
ever clipped.  Rows of absent channels hold zeros that nobody is shown.  Beside each lies a
``.json`` with what is known of it, written last: a recording whose ``.json`` carries the right
fingerprint is finished.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, field, fields
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, get_type_hints

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from biot_bd.bounded_files import read_npy
from biot_bd.json_values import check_values
from biot_bd.runs import atomic_path, fingerprint, write_json
from biot_bd.windows.store_versions import read_description, version_for

MANIFEST = "manifest.json"
LARGEST_STEP_UV = 1e30  # whose products are numbers of float32
SIGNALS = "signals"
TABLES = "tables"
TABLE_JSON = "table.json"
FORMAT = "biot_bd windows"
INT16_MAX = 32767
COARSEST_STEP_UV = 0.5
SPARE_HANDLES = 320

Span = list[int]


@dataclass(frozen=True)
class Stretch:
    """A segment of a prepared recording; seconds since its start, pauses included.

    Parameters
    ----------
    first_sample, n_samples : int
        In the recording, at its own rate.
    start_s, duration_s : float
        When it begins, how long it lasts.
    stored_start, stored_samples : int
        Where it lies in the signal file.
    """

    first_sample: int
    n_samples: int
    start_s: float
    duration_s: float
    stored_start: int
    stored_samples: int


@dataclass(frozen=True)
class Recording:
    """One prepared recording; samples and spans of ``source_*`` are at the recording's own rate.

    Parameters
    ----------
    recording, subject : str
        Names.
    source : str or None
        File name of the recording.
    source_sfreq : float
        Its rate in Hz.
    source_n_samples : int
        Its length.
    file : str
        Signal file, relative to the store.
    dtype : str
        ``"int16"`` or ``"float32"``.
    dtype_reason : str or None
        Why it is not the type that was asked for.
    steps_uv : list of float
        Microvolts a unit, by channel.
    sfreq : float
        Rate of the stored signal in Hz.
    n_samples : int
        Length of the stored signal.
    present : list of bool
        Which channels exist.
    events : list of [onset_s, offset_s]
        Seizures, in seconds since the first sample, pauses included.
    flat : list of lists of [start, stop]
        By channel: stretches, half a second or longer, in which it or an electrode that it is
        derived from has a constant value, in samples of the source; they may overlap.
    not_finite : list of lists of [start, stop]
        By channel: stretches that are NaN or infinite, in samples of the source.
    fingerprint : str
        Changes with the input file and every parameter that changes the signal.
    outcome : str
        ``"prepared"``.
    segments : list of dict
        Where the recording has pauses: its segments, as :class:`Stretch` has them; else empty.
    notes : list of str
        What a reader should know of its channels.
    digest : str or None
        Tells it by its content (:func:`biot_bd.io.recording_digest`), plain: a store holds the
        signals anyway.  None where nothing does, or in stores of before.
    namespace_from : str or None
        ``"folder"`` where the namespace of ``subject`` is but the name of a folder.
    annotations : list of [onset_s, duration_s, description]
        All annotations but plain seizures (``sz``), in seconds since the first sample, pauses
        included; a seizure whose kind is told (``sz_foc``) is among them.  Empty in stores of
        before.
    annotations_from : str or None
        Tells the annotations of the recording from which preprocessors made these.
    split : str or None
        Part of its data set's official split that the recording is in, e.g. ``"train"``.
    """

    recording: str
    subject: str
    source: str | None
    source_sfreq: float
    source_n_samples: int
    file: str
    dtype: str
    dtype_reason: str | None
    steps_uv: list[float]
    sfreq: float
    n_samples: int
    present: list[bool]
    events: list[list[float]]
    fingerprint: str
    flat: list[list[Span]] = field(default_factory=list)
    not_finite: list[list[Span]] = field(default_factory=list)
    outcome: str = "prepared"
    segments: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    digest: str | None = None
    namespace_from: str | None = None
    annotations: list[list[Any]] = field(default_factory=list)
    annotations_from: str | None = None
    split: str | None = None

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> Recording:
        """Return the recording that a manifest's entry describes."""
        known = {f.name for f in fields(cls)}
        hints = get_type_hints(cls)
        for key in known & set(entry):
            check_values(entry[key], hints[key], key)
        if missing := [
            f.name for f in fields(cls) if f.default is f.default_factory is MISSING and f.name not in entry
        ]:
            raise ValueError(f"lacks {', '.join(missing)}")
        file = PurePath(entry["file"])
        if not file.parts or file.is_absolute() or ".." in file.parts:
            raise ValueError(f"file is {entry['file']!r}, expected a path inside the store")
        if entry["dtype"] not in ("int16", "float32"):
            raise ValueError(f"dtype is {entry['dtype']!r}, expected 'int16' or 'float32'")
        made = cls(**{key: value for key, value in entry.items() if key in known})
        if made.n_samples < 0 or not made.source_sfreq > 0 or not made.sfreq > 0 or not made.duration_s >= 0:
            raise ValueError("n_samples, rates and lengths must be positive")
        if not all(0 <= step < LARGEST_STEP_UV for step in made.steps_uv):
            raise ValueError(f"steps_uv: expected sizes below {LARGEST_STEP_UV:g}, found {made.steps_uv!r}")
        if not all(len(row) == 2 and 0 <= row[0] < row[1] < math.inf for row in made.events):
            raise ValueError(f"events: expected [onset_s, offset_s] of each, found {made.events!r}")
        for number, row in enumerate(made.annotations):
            _check_annotation(row, f"annotations[{number}]")
        return made

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of a manifest; annotations and split only where there are any."""
        new = {key for key in ("annotations", "annotations_from", "split") if not getattr(self, key)}
        return {key: value for key, value in vars(self).items() if key not in new}

    @property
    def duration_s(self) -> float:
        """Length of the recording in seconds, pauses included."""
        last = self.stretches[-1]
        return last.start_s + last.duration_s

    @property
    def stretches(self) -> list[Stretch]:
        """The segments; a single one where the recording has no pause."""
        if self.segments:
            return [Stretch(**segment) for segment in self.segments]
        duration_s = self.source_n_samples / self.source_sfreq
        return [Stretch(0, self.source_n_samples, 0.0, duration_s, 0, self.n_samples)]


def _check_annotation(row: list[Any], where: str) -> None:
    if len(row) != 3:
        raise ValueError(f"{where}: expected [onset_s, duration_s, description], found {row!r}")
    check_values(row[:2], list[float], where)
    check_values(row[2], str, f"{where}[2]")
    if not np.isfinite(row[:2]).all() or row[1] < 0:
        raise ValueError(f"{where}: expected finite times and a duration >= 0, found {row!r}")


def annotations_digest(entries: Iterable[dict[str, Any]]) -> str:
    """Return what changes with the annotations of a manifest's recordings."""
    return fingerprint([[entry.get("recording"), entry.get("annotations", [])] for entry in entries])


def signals_stem(folder: Path, recording: str) -> Path:
    """Return the path of a recording's files without their endings; odd names get a digest."""
    return folder / SIGNALS / safe_name(recording)


def safe_name(recording: str) -> str:
    """Return a recording's name as that of a file; odd names get a digest."""
    safe = re.sub(r"[^A-Za-z0-9._+-]", "_", recording)
    if safe != recording or safe.startswith("."):
        safe = f"{safe.lstrip('.')}-{hashlib.sha256(recording.encode()).hexdigest()[:8]}"
    return safe


class _StepTooCoarseError(Exception):
    pass


# (first sample, channels, values of each), as often as it takes; called with the channels that are
# wanted and all units in uV.
Blocks = Callable[[Sequence[int], Sequence[float]], Iterable[tuple[int, list[int], NDArray[np.float32]]]]
# Called with channels, a first sample and their values.
Write = Callable[[Sequence[int], int, NDArray[Any]], None]


def write_signals(
    path: Path,
    ch_names: Sequence[str],
    n_samples: int,
    ranges_uv: Sequence[float | None],
    blocks: Blocks,
    present: Sequence[bool],
    dtype: str,
) -> tuple[str, str | None, list[float]]:
    """Write one signal file atomically, block by block.

    Parameters
    ----------
    path : Path
        The ``.npy`` file.
    ch_names : sequence of str
        The channels.
    n_samples : int
        Length.
    ranges_uv : sequence of float or None
        The largest absolute value that the source allows, by channel; None where it is not known.
    blocks : callable
        ``blocks(channels, units_uv)`` goes through these channels once and yields (first sample,
        some channels, their values as float32 in their units, one row each), the values to be
        changed; it may be called again for channels whose values exceed their range, or whose range
        is not known.
    present : sequence of bool
        Which channels exist; the rows of others hold zeros.
    dtype : str
        ``"int16"``, which falls back to float32 where a step would exceed 0.5 uV, or ``"float32"``.

    Returns
    -------
    dtype : str
        What was written.
    reason : str or None
        Why it is not int16 though that was asked for.
    steps_uv : list of float
        Microvolts a unit.
    """
    there = [channel for channel, exists in enumerate(present) if exists]
    reason = None
    if dtype == "int16":
        try:
            with _rows(path, np.dtype(np.int16), (len(ch_names), n_samples)) as write:
                return "int16", None, _write_int16(write, ch_names, ranges_uv, blocks, there)
        except _StepTooCoarseError as error:
            reason = str(error)
    with _rows(path, np.dtype(np.float32), (len(ch_names), n_samples)) as write:
        units = [1.0] * len(ch_names)
        for start, channels, x in blocks(there, units):
            write(channels, start, x)
    return "float32", reason, units


@contextmanager
def _rows(path: Path, dtype: np.dtype[Any], shape: tuple[int, int]) -> Iterator[Write]:
    """Give what writes pieces of the rows of a ``.npy`` file.

    The file appears under its name when all went well.

    A mapped file would cost a fault a page, and a full disk would end the process.
    """
    with atomic_path(path) as temporary, temporary.open("wb", buffering=0) as file:
        write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": shape})
        begin = file.tell()
        # Writes to reserved blocks take a quarter of the time.
        size = begin + dtype.itemsize * shape[0] * shape[1]
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)

        def write(rows: Sequence[int], start: int, x: NDArray[Any]) -> None:
            for row, values in zip(rows, np.ascontiguousarray(x, dtype), strict=True):
                file.seek(begin + dtype.itemsize * (row * shape[1] + start))
                left = values.data.cast("B")
                while left:
                    left = left[file.write(left) :]

        yield write


def _write_int16(
    write: Write, ch_names: Sequence[str], ranges_uv: Sequence[float | None], blocks: Blocks, channels: Sequence[int]
) -> list[float]:
    """Write channels by the steps of their ranges.

    Those that leave them, or have none, once more by their peak.
    """
    steps, peaks = [1.0] * len(ch_names), np.zeros(len(ch_names))
    ranges = np.array([top or 0.0 for top in ranges_uv])
    for channel in channels:
        steps[channel] = _step(ranges[channel], ch_names[channel])
    for start, some, x in blocks(channels, steps):
        tops = np.maximum(x.max(axis=1), -x.min(axis=1)) * np.take(steps, some)
        peaks[some] = np.fmax(peaks[some], tops)
        fitting = np.flatnonzero(peaks[some] <= ranges[some])
        if len(fitting) == len(some):
            write(some, start, np.rint(x, out=x))
        elif len(fitting):
            write([some[i] for i in fitting], start, np.rint(x[fitting]))
    again = [channel for channel in channels if peaks[channel] > ranges[channel]]
    for channel in again:
        steps[channel] = _step(peaks[channel], ch_names[channel])
    if again:
        for start, some, x in blocks(again, steps):
            write(some, start, np.rint(x, out=x))
    return steps


def _step(top_uv: float, name: str) -> float:
    """Return the step of a channel whose values lie within ``+-top_uv``."""
    # float32 keeps the product of step and value exact to 2^-24; a hair above keeps the peak at
    # 32767.
    step = float(np.float32(top_uv / INT16_MAX * (1 + 1e-6))) if top_uv > 0 else float(np.float32(1 / INT16_MAX))
    if step > COARSEST_STEP_UV:
        raise _StepTooCoarseError(
            f"an int16 step of channel {name} would be {step:.3g} uV (its range is +-{top_uv:.6g} uV); at most {COARSEST_STEP_UV} uV is allowed"
        )
    return step


def map_key(folder: Path, recording: Recording) -> tuple[str, str, str, tuple[int, int]]:
    """Return what :func:`open_signals` and :func:`open_map` take.

    Path, fingerprint, dtype and shape.
    """
    shape = (len(recording.present), recording.n_samples)
    return os.fspath(folder / recording.file), recording.fingerprint, recording.dtype, shape


def advise(signals: NDArray[Any], start: int, stop: int) -> None:
    """Ask the system to read samples ``start`` to ``stop`` of an open map ahead.

    Nothing where it cannot be asked.
    """
    memory = getattr(signals.base, "base", None)
    if not isinstance(memory, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):
        return
    begin = len(memory) - signals.nbytes  # the signal ends where the file does
    for channel in range(len(signals)):
        first = begin + channel * signals.strides[0] + start * signals.itemsize
        page = first - first % mmap.PAGESIZE
        memory.madvise(mmap.MADV_WILLNEED, page, first + (stop - start) * signals.itemsize - page)


def _open_files() -> int:
    """Return how many maps may stay open; each holds a file handle."""
    try:
        import resource
    except ImportError:  # there is none on Windows
        return 256
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4096 if soft == resource.RLIM_INFINITY else min(max(soft - SPARE_HANDLES, 64), 4096)


def read_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the memory map of a ``.npy`` file; nothing is allocated, whatever shape it claims.

    Raises
    ------
    ValueError
        The file holds no array.
    OSError
        There is none, or it cannot be read.
    """
    try:
        return read_npy(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is gone; run prepare again on its folder") from error
    except ValueError as error:
        raise ValueError(f"{error}; delete it and run prepare again") from error


def open_signals(path: str, fingerprint: str, dtype: str, shape: tuple[int, int]) -> NDArray[Any]:
    """Return the memory map of a recording's signal, ``(n_chans, n_samples)``.

    Parameters
    ----------
    path, fingerprint, dtype, shape
        As :func:`map_key` gives them.

    Raises
    ------
    ValueError
        The file holds something else.
    FileNotFoundError
        There is none.
    """
    found = read_array(path)
    if found.dtype != np.dtype(dtype) or found.shape != shape:
        raise ValueError(
            f"{path}: expected {dtype} of shape {shape}, found {found.dtype} of shape {found.shape}; delete it and run prepare again"
        )
    # A plain array view indexes faster than the memmap subclass.
    return np.asarray(found)


open_map = lru_cache(maxsize=_open_files())(open_signals)
"""The same, kept open for the next call (the last used of them).

A recording that was prepared anew is opened anew; pages of an open map count as memory.
"""


def store_folder(folder: Path) -> Path:
    """Return the store of a folder: itself, or two up from a relabelled table."""
    relabelled = folder.parent.name == TABLES and (folder / TABLE_JSON).is_file()
    return folder.parent.parent if relabelled else folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a store.

    Parameters
    ----------
    folder : Path
        The store, or a folder that ``Windows.relabel`` made in it.

    Raises
    ------
    FileNotFoundError
        There is none: not a store, or its preparation did not finish.
    ValueError
        Another format or an unknown version.
    """
    path = store_folder(folder) / MANIFEST
    if not path.is_file():
        unfinished = (folder / SIGNALS).is_dir()
        raise FileNotFoundError(
            f"{folder}: the preparation of these windows did not finish; run the same prepare again"
            if unfinished
            else f"{folder}: no prepared windows here ({MANIFEST} is missing); make them with prepare(dataset, folder)"
        )
    return read_description(path, FORMAT)


def write_recording(stem: Path, recording: Recording) -> None:
    """Write the description of a signal file, which declares it finished."""
    entry = {"version": version_for(newer=bool(recording.annotations)), **recording.as_dict()}
    write_json(stem.with_name(stem.name + ".json"), entry)


def read_recording(stem: Path, fingerprint: str) -> Recording | None:
    """Return the finished recording of that fingerprint, or None where it has to be made."""
    description, signals = stem.with_name(stem.name + ".json"), stem.with_name(stem.name + ".npy")
    if not description.is_file() or not signals.is_file():
        return None
    try:
        recording = Recording.from_dict(read_description(description))
    except (ValueError, TypeError):
        return None  # not ours, or damaged: it is written anew
    return recording if recording.fingerprint == fingerprint else None


def stored_stems(folder: Path) -> set[str]:
    """Return the file names, without ``.json``, of the recordings that a store holds finished."""
    return {path.stem for path in (folder / SIGNALS).glob("*.json") if not path.name.startswith(".")}


def remove_unlisted(folder: Path, recordings: Iterable[str]) -> None:
    """Remove the signal files of all but these recordings; the caller holds the store's lock."""
    keep = {signals_stem(folder, recording).name for recording in recordings}
    for path in (folder / SIGNALS).iterdir():
        if path.suffix in (".npy", ".json") and path.stem not in keep:
            with suppress(PermissionError):  # Windows keeps a file that a reader has open; the next call removes it
                path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed process left behind.

    The caller holds the store's lock.
    """
    for path in (*folder.glob(".*.tmp*"), *(folder / SIGNALS).glob(".*.tmp*")):
        path.unlink(missing_ok=True)
