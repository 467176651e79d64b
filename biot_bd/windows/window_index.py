"""What ``Windows`` select from: the tables and signal files of one or more stores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biot_bd.bounded_files import read_table
from biot_bd.json_values import check_values, naming
from biot_bd.signals.base import SignalInfo
from biot_bd.signals.scaler import EPSILON_UV
from biot_bd.windows.gather import Located
from biot_bd.windows.labels import CLASSES, target_columns
from biot_bd.windows.same_recordings import told_apart
from biot_bd.windows.store import (
    MANIFEST,
    TABLE_JSON,
    Recording,
    advise,
    annotations_digest,
    map_key,
    open_map,
    read_array,
    read_manifest,
    store_folder,
)
from biot_bd.windows.store_versions import present_version, read_description
from biot_bd.windows.window_table import OFFSET, PERCENTILES, TABLE


class TableFacts(TypedDict):
    """What the description of a table of windows says."""

    fingerprint: str
    label_rule: str
    window_s: float
    stride_s: float
    n_times: int
    version: NotRequired[int]
    signals: NotRequired[list[list[str]]]
    classes: NotRequired[list[str]]
    annotations: NotRequired[str]


class Manifest(TypedDict):
    """What the manifest of a store says."""

    recordings: list[dict[str, Any]]
    table: TableFacts
    ch_names: list[str]
    sfreq: float
    resample: str
    generated: bool
    anonymous: NotRequired[bool]


MOST_CLASSES, MOST_TIMES = 10_000, 10_000_000
_TIMES = ("start_s", "stop_s", "seizure_fraction")
_COLUMNS = {
    **dict.fromkeys(("recording", "subject", "kind"), "O"),
    **dict.fromkeys(("label", "start_sample", "n_samples"), "i"),
    **dict.fromkeys(_TIMES, "f"),
}
"""Columns that every table has, and the kinds of their types."""


class StoreTable:
    """One window table and the recordings it refers to.

    Parameters
    ----------
    folder : Path
        A store, or one of the folders that ``Windows.relabel`` made in it.

    Raises
    ------
    FileNotFoundError
        Nothing prepared is there.
    ValueError
        The table does not belong to the signals that lie there now.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = store_folder(folder)
        manifest, table = _descriptions(folder)
        with naming(self.store / MANIFEST):
            check_values(manifest, Manifest)
            self.recordings = [Recording.from_dict(entry) for entry in manifest["recordings"]]
            self.annotations = annotations_digest(manifest["recordings"])
            for one in self.recordings:
                if not len(one.steps_uv) == len(one.present) == len(manifest["ch_names"]):
                    raise ValueError(f"recording {one.recording}: steps_uv and present must be one a channel")
        with naming(folder / TABLE):
            self._read(manifest, table)

    def _read(self, manifest: dict[str, Any], table: dict[str, Any]) -> None:
        folder = self.folder
        check_values(table, TableFacts, "table")
        self.fingerprint: str = table["fingerprint"]
        self.label_rule: str = table["label_rule"]
        self.window_s, self.stride_s = float(table["window_s"]), float(table["stride_s"])
        self.settings = table
        self.n_times = int(table["n_times"])
        if not 1 <= self.n_times <= MOST_TIMES or not self.window_s > 0:
            raise ValueError(f"windows of {self.n_times} samples and {self.window_s:g} s, expected 1 to {MOST_TIMES:,}")
        self.ch_names = tuple(manifest["ch_names"])
        self.sfreq = float(manifest["sfreq"])
        self.resample: str = manifest["resample"]
        self.generated = bool(manifest["generated"])
        self.anonymous = bool(manifest.get("anonymous", False))
        self.frame = present_version(read_table(folder / TABLE), table.get("version", 1), folder / TABLE)
        self.percentiles: NDArray[np.float32] = np.array(read_array(folder / PERCENTILES))
        if self.percentiles.dtype != np.float32:
            raise ValueError(f"{folder / PERCENTILES}: expected float32, found {self.percentiles.dtype}")
        if self.percentiles.shape != (len(self.frame), len(self.ch_names)):
            raise ValueError(
                f"{folder}: {TABLE} and {PERCENTILES} do not belong together; delete the folder and prepare again"
            )
        self._check_rows()
        self.classes: tuple[str, ...] = self._classes(table)
        self.targets = target_columns(self.frame, len(self.classes))

    def _classes(self, table: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the classes; labels of a rule that names none have their number."""
        highest = int(self.frame["label"].max()) if len(self.frame) else 0
        classes = tuple(table.get("classes", CLASSES))
        if highest >= MOST_CLASSES:
            raise ValueError(f"column label: {highest}, expected less than {MOST_CLASSES:,}")
        if "classes" in table and highest >= len(classes):
            raise ValueError(f"column label: {highest}, and there are {len(classes)} classes")
        return (*classes, *(f"label {k}" for k in range(len(classes), highest + 1)))

    def _check_rows(self) -> None:
        """Raise where a window lies outside of its recording, or is no window at all."""
        for column, kinds in _COLUMNS.items():
            if self.frame[column].dtype.kind not in kinds:
                raise ValueError(f"column {column} is of type {self.frame[column].dtype}")
        kept = {recording.recording: recording.n_samples for recording in self.recordings}
        start, length = self.frame["start_sample"].to_numpy(), self.frame["n_samples"].to_numpy()
        room = self.frame["recording"].map(kept).to_numpy(np.float64)  # NaN: no such recording
        good = {
            "recording": np.isfinite(room),
            "start_sample": (start >= 0) & (start <= room - length),
            "n_samples": (length >= 1) & (length <= room),
            "subject": self.frame["subject"].notna().to_numpy(),
            **{name: np.isfinite(self.frame[name].to_numpy(np.float64)) for name in _TIMES},
        }
        for column, rows in good.items():
            if not rows.all():
                row = int((~rows).argmax())
                raise ValueError(f"row {row}, column {column}: {self.frame[column].iloc[row]!r}")


@lru_cache(maxsize=16)
def _open_table(folder: str, fingerprint: str) -> StoreTable:
    table = StoreTable(Path(folder))
    if table.fingerprint != fingerprint:
        raise ValueError(
            f"{folder} was prepared anew with another label rule, window, stride or other recordings since these windows were "
            "opened; open them again with Windows.open(folder)"
        )
    return table


def open_table(folder: str | os.PathLike[str]) -> StoreTable:
    """Return the table that lies in a folder now."""
    path = Path(folder).resolve()
    # The descriptions are small: read them to learn the fingerprint, so that an unchanged table is
    # not read twice.
    manifest, facts = _descriptions(path)
    table = _open_table(os.fspath(path), facts["fingerprint"])
    if table.annotations != annotations_digest(manifest["recordings"]):  # kept apart from the table's fingerprint
        _open_table.cache_clear()
        open_source.cache_clear()
        table = _open_table(os.fspath(path), facts["fingerprint"])
    return table


def _descriptions(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what manifest and table say.

    ValueError where the table is of other signals than are there now.
    """
    manifest = read_manifest(folder)
    with naming(store_folder(folder) / MANIFEST):
        check_values(manifest, Manifest)
    if store_folder(folder) == folder:
        return manifest, manifest["table"]
    table = read_description(folder / TABLE_JSON)
    with naming(folder / TABLE_JSON):
        check_values(table, TableFacts)
        signals = table["signals"]
    if signals != [[entry.get("recording"), entry.get("fingerprint")] for entry in manifest["recordings"]]:
        raise ValueError(f"{folder}: these windows were made of recordings that have changed; call relabel again")
    if table.get("annotations", own := annotations_digest(manifest["recordings"])) != own:
        raise ValueError(f"{folder}: these windows were made of annotations that have changed; call relabel again")
    return manifest, table


class Source:
    """The rows of one or more tables, one behind the other.

    Parameters
    ----------
    tables : sequence of StoreTable
        They agree in rate and window length.
    mixed : bool
        They may differ in channels, label rule and classes: there are then the channels of all,
        absent where a table has them not.
    """

    def __init__(self, tables: tuple[StoreTable, ...], mixed: bool = False) -> None:
        first = tables[0]
        same = ("sfreq", "n_times") if mixed else ("ch_names", "sfreq", "n_times", "label_rule")
        for other in tables[1:]:
            apart = other.classes != first.classes or bool(other.targets) != bool(first.targets)
            if apart and not mixed:
                raise ValueError(
                    f"cannot join windows of {first.folder} and {other.folder}: their classes are {_told_classes(first)} "
                    f"and {_told_classes(other)}; give both one label rule with relabel, then join"
                )
            for what in same:
                if getattr(other, what) != getattr(first, what):
                    raise ValueError(
                        f"cannot join windows of {first.folder} and {other.folder}: {what} is {getattr(first, what)!r} and {getattr(other, what)!r}"
                    )
        self.tables, self.mixed = tables, mixed
        ch_names = self._ch_names = tuple(dict.fromkeys(name for table in tables for name in table.ch_names))
        self._rows_of = [_rows_of(table, ch_names) for table in tables]
        self.key = tuple((os.fspath(t.folder), t.fingerprint) for t in tables)
        self.info = SignalInfo(ch_names, first.sfreq, first.n_times, "uV")
        self.offsets = np.cumsum([0, *(len(t.frame) for t in tables)])
        # Stored categories become text: a selection must not drag along those it lacks.
        frames = [t.frame.astype(dict.fromkeys(("recording", "subject", "kind"), object)) for t in tables]
        named = [list(t.recordings) for t in tables]
        if len(tables) > 1:
            named = told_apart(named)
            frames = [_renamed(*parts) for parts in zip(frames, tables, named, strict=True)]
        self.frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
        self.percentiles = first.percentiles if len(tables) == 1 else np.concatenate(self._spread_percentiles())
        self.start = self.frame["start_sample"].to_numpy(np.int64)
        self.length = self.frame["n_samples"].to_numpy(np.int64)
        self.has_offset = (
            self.frame[OFFSET].eq(True).to_numpy() if OFFSET in self.frame else np.zeros(len(self.start), bool)
        )
        self.labels = self.frame["label"].to_numpy(np.int64)
        self.classes = first.classes
        if any(table.classes != first.classes for table in tables):  # a label means what its corpus says
            self.classes = tuple(f"label {k}" for k in range(max(len(table.classes) for table in tables)))
        voted = first.targets and all(table.classes == first.classes and table.targets for table in tables)
        self.targets = self.frame[first.targets].to_numpy(np.float64) if voted else None
        self.subjects = self.frame["subject"].to_numpy(object)
        self.recordings: list[Recording] = []  # as ``recording_of`` counts them
        self._files: list[tuple[Any, ...]] = []
        steps: list[list[float]] = []
        self.recording_of = np.empty(len(self.frame), np.int64)
        self._rows_in: list[NDArray[np.int64] | None] = []  # by file
        for table, begin, frame, recordings, rows in zip(
            tables, self.offsets, frames, named, self._rows_of, strict=False
        ):
            places = {}
            for recording in recordings:
                places[recording.recording] = len(self._files)
                self.recordings.append(recording)
                self._files.append(map_key(table.store, recording))
                steps.append(list(np.array(recording.steps_uv)[slice(None) if rows is None else rows]))
                self._rows_in.append(rows)
            self.recording_of[begin : begin + len(frame)] = frame["recording"].map(places).to_numpy(np.int64)
        self.steps_uv = np.array(steps, np.float32)
        self.integer = all(r.dtype == "int16" for t in tables for r in t.recordings) and bool(
            (self.length == first.n_times).all()
        )

    def _spread_percentiles(self) -> list[NDArray[np.float32]]:
        """Return each table's percentiles for all channels, NaN where it has not the channel."""
        found = []
        for table, rows in zip(self.tables, self._rows_of, strict=True):
            spread = table.percentiles
            if rows is not None:
                there = np.isin(self._ch_names, table.ch_names)
                spread = np.where(there, table.percentiles[:, rows], np.float32(np.nan))
            found.append(spread)
        return found

    def __len__(self) -> int:
        return len(self.start)

    def present(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which channels are present, ``(n, n_chans)``."""
        return ~np.isnan(self.percentiles[rows])

    def nbytes(self, rows: NDArray[np.int64]) -> int:
        """Return the bytes of the signal files that rows lie in."""
        shapes = [(np.dtype(dtype).itemsize, *shape) for _, _, dtype, shape in self._files]
        return sum(int(np.prod(shapes[file])) for file in np.unique(self.recording_of[rows]).tolist())

    @property
    def window_bytes(self) -> int:
        """Bytes of the largest window in the store."""
        widest = max(np.dtype(dtype).itemsize * shape[0] for _, _, dtype, shape in self._files)
        return int(widest * self.length.max())

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where rows lie among the samples of all recordings, one behind the other."""
        begins = np.cumsum([0, *(shape[1] for *_, shape in self._files)])
        return begins[self.recording_of[rows]] + self.start[rows]

    @property
    def signals_key(self) -> tuple[Any, ...]:
        """Tells what :meth:`signals` gives; the same for tables of one store."""
        return tuple(self._files), self._ch_names

    @property
    def n_samples(self) -> int:
        """Samples of all recordings, one behind the other."""
        return sum(shape[1] for *_, shape in self._files)

    def signals(self) -> Iterator[NDArray[Any]]:
        """Go through the stored signals in the order of :meth:`places`, ``(n_chans, n_samples)``.

        Rows are those of ``info.ch_names``; that of a channel which a table lacks is any other.
        """
        for file, rows in zip(self._files, self._rows_in, strict=True):
            signal = open_map(*file)
            yield signal if rows is None else signal[rows]

    def will_need(self, rows: NDArray[np.int64]) -> None:
        """Ask the system to read rows into its page cache, in runs of neighbours."""
        rows = rows[np.argsort(self.places(rows), kind="stable")]
        files, start, stop = self.recording_of[rows], self.start[rows], self.start[rows] + self.length[rows]
        # A run goes on where the next window of the same file starts before the last one has ended.
        cuts = np.flatnonzero((np.diff(files) != 0) | (start[1:] > stop[:-1])) + 1
        for run in np.split(np.arange(len(rows)), cuts) if len(rows) else ():
            advise(open_map(*self._files[files[run[0]]]), int(start[run[0]]), int(stop[run[-1]]))

    def locate(self, rows: NDArray[np.int64], scaled: bool, q: float | None = None) -> Located:
        """Return where windows lie and how they are scaled.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)
            Rows of the table.
        scaled : bool
            Divide by the cached percentiles, as ``PercentileScaler(95)`` does; else uV.  Channels
            that the scaler would refuse are absent already.
        q : float, optional
            Instead of the cached percentiles, divide by this one, computed on reading.
        """
        files = self.recording_of[rows]
        opened = {file: open_map(*self._files[file]) for file in np.unique(files).tolist()}
        taken = [self._rows_in[file] for file in files.tolist()] if any(r is not None for r in self._rows_in) else None
        return Located(
            [opened[file] for file in files.tolist()],
            self.start[rows].tolist(),
            self.length[rows].tolist(),
            self.scales(rows, scaled),
            self.info.n_times,
            q,
            taken,
        )

    def scales(self, rows: NDArray[np.int64], scaled: bool) -> NDArray[np.float32]:
        """Return what stored values are multiplied with, ``(n, n_chans)``; see :meth:`locate`."""
        steps, known = self.steps_uv[self.recording_of[rows]], self.percentiles[rows]
        scales = steps / (known + np.float32(EPSILON_UV)) if scaled else np.where(np.isnan(known), np.nan, steps)
        return scales.astype(np.float32, copy=False)


def _rows_of(table: StoreTable, ch_names: tuple[str, ...]) -> NDArray[np.int64] | None:
    """Return the row of a table's signals for each channel, 0 where it has not the channel.

    None where its channels are these.
    """
    if table.ch_names == ch_names:
        return None
    places = {name: row for row, name in enumerate(table.ch_names)}
    return np.array([places.get(name, 0) for name in ch_names], np.int64)


def _told_classes(table: StoreTable) -> str:
    return ", ".join(table.classes) + (" with shares of votes" if table.targets else "")


def _renamed(frame: pd.DataFrame, table: StoreTable, recordings: list[Recording]) -> pd.DataFrame:
    """Return the rows of a table with the names that its recordings have in a joined source."""
    pairs = zip(table.recordings, recordings, strict=True)
    names = {old.recording: new.recording for old, new in pairs if old.recording != new.recording}
    return frame.assign(recording=[names.get(n, n) for n in frame["recording"]]) if names else frame


@lru_cache(maxsize=8)
def open_source(key: tuple[tuple[str, str], ...], mixed: bool = False) -> Source:
    """Return the source of these (folder, fingerprint) pairs; one copy a process.

    ``mixed`` is as in :class:`Source`.

    Raises
    ------
    FileNotFoundError
        A folder is gone.
    ValueError
        A table changed since, or they do not fit together.
    """
    return Source(tuple(_open_table(folder, fingerprint) for folder, fingerprint in key), mixed)
