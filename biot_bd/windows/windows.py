"""``Windows``: prepared windows as an array-like object that reads lazily."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import ArrayLike, NDArray

from biot_bd.runs import fingerprint as make_fingerprint
from biot_bd.runs import to_jsonable, write_json
from biot_bd.signals.base import SignalInfo, WindowTransformer
from biot_bd.signals.scaler import PercentileScaler
from biot_bd.windows.gather import BLOCK, blocks
from biot_bd.windows.labels import (
    CLASSES,
    LabelRule,
    check_resample,
    make_label_rule,
    needs_annotations,
    rule_times,
    settled_rule,
)
from biot_bd.windows.same_recordings import check_names_apart, check_recordings_apart, shared_subjects
from biot_bd.windows.store import TABLE_JSON, TABLES, Recording, annotations_digest
from biot_bd.windows.store_versions import version_for
from biot_bd.windows.stored_signals import StoredSignals
from biot_bd.windows.window_index import Source, StoreTable, open_source, open_table
from biot_bd.windows.window_table import (
    CACHED_PERCENTILE,
    TableSettings,
    build_table,
    descriptions_of,
    is_newer,
    warn_of,
    write_table,
)

METADATA = ["recording", "subject", "start_s", "stop_s", "seizure_fraction", "label"]
_selected = threading.local()  # what scikit-learn selected last in this thread, and from which windows


class Windows:
    """Prepared windows: array-like for scikit-learn, read from memory maps when asked for.

    Made by :func:`biot_bd.prepare`, :meth:`Windows.open` and :meth:`Windows.concat`, never by
    calling the class.  A selection shares everything with what it was selected from.  Pickled as
    paths, row numbers and steps, so workers read the same files.

    Parameters
    ----------
    *args : object
        None are taken: calling the class raises.
    **kwargs : object
        None either.

    Attributes
    ----------
    shape : tuple of int
        ``(n_windows, n_chans, n_times)``; ``ndim`` is 3, ``dtype`` float32, ``len()`` the number of
        windows.
    y : ndarray of int64, shape (n_windows,)
        Labels: 0 background, 1 seizure, or places in ``classes``.
    classes : tuple of str
        Names of the classes by label number; ``("background", "seizure")`` unless the label rule
        has others.
    targets : ndarray of float64, shape (n_windows, n_classes), or None
        Shares of votes by class, whose rows sum to 1; None where the label rule gives none.
    groups : ndarray of object, shape (n_windows,)
        The subject of each window, a text such as ``"chb-mit/01"``.
    metadata : pandas.DataFrame
        One row a window: ``recording``, ``subject``, ``start_s`` and ``stop_s`` (seconds from the
        recording's first sample), ``seizure_fraction`` (0 to 1), ``label``.
    present : ndarray of bool, shape (n_windows, n_chans)
        Which channels are present; an absent one is NaN throughout.
    seizures : pandas.DataFrame
        Annotated seizures of the recordings: ``recording``, ``subject``, ``onset_s``, ``offset_s``.
    recordings : pandas.DataFrame
        The recordings: ``recording``, ``subject``, ``digest`` (tells each by its content; None
        where nothing does, or in stores of before), ``namespace_from``.
    info : biot_bd.signals.SignalInfo
        ``ch_names``, ``sfreq`` (Hz), ``n_times`` and ``unit`` of a window as it is read.
    ch_names : tuple of str or None
        Channel names.
    sfreq : float or None
        Sampling rate in Hz.
    unit : str or None
        ``"uV"``, or None after scaling.
    label_rule : str
        Name of the label rule, with parameters that are not its defaults.
    generated : bool
        Whether any of the data is generated; every output must say so.
    anonymous : bool
        Whether any of the data is named by numbers (``prepare(anonymous=True)``).
    folder : Path or None
        What :meth:`open` takes; None for windows of several stores.
    fingerprint : str
        Changes with the recordings, the table, the selection and the steps.
    tables : tuple
        The tables these windows are of, which say how they were prepared.
    entries : tuple of biot_bd.windows.store.Recording
        What the stores say of all their recordings.
    nbytes, window_bytes : int
        Bytes of the signal files, and of the largest window in them.
    places : ndarray of int64, shape (n_windows,)
        Where windows lie among the samples of all recordings.
    row_ids : ndarray of uint64, shape (n_windows,)
        A number for each window, the same in every selection.
    other_side : Windows or None
        The side that tests, where scikit-learn took these windows to train.

    Methods
    -------
    open(folder)
        Open what ``prepare`` or ``relabel`` wrote.
    concat(parts)
        Join windows of several stores.
    mix(parts)
        Join windows of corpora with other channels and classes.
    map(transformer)
        The same windows with a step that is applied when they are read.
    query(expr)
        The windows for which an expression over the table's columns holds.
    relabel(labels, window_s, stride_s)
        The same signals under another label rule, or cut into other windows.
    summary()
        Count windows by subject.
    by_table()
        Say where these windows lie in each of their tables.
    read(indices, out), read_packed(indices, out)
        Read a batch, as microvolts or as it is stored.
    stored_signals()
        The signals of the whole source, for a device that shall hold them.
    will_need(indices)
        Let the system read windows ahead.

    Raises
    ------
    TypeError
        The class was called; the message says what makes windows.

    See Also
    --------
    biot_bd.prepare : Makes the store that windows are read from.
    biot_bd.signals.WindowTransformer : What :meth:`map` takes.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from biot_bd import PercentileScaler, Windows, load_dataset, prepare
    >>> folder = TemporaryDirectory()
    >>> edf = folder.name + "/edf"
    >>> recordings = load_dataset("demo", edf, n_subjects=2, recordings=1, minutes=2)
    >>> made = prepare(recordings, folder.name + "/windows")
    >>> windows = Windows.open(made.folder)
    >>> windows.shape, windows[3].shape, windows[:3].shape
    ((46, 16, 2000), (16, 2000), (3, 16, 2000))
    >>> windows.query("subject == 'demo/01' and label == 0").groups[:2]
    array(['demo/01', 'demo/01'], dtype=object)
    >>> windows.map(PercentileScaler()).unit is None
    True
    >>> windows.relabel("overlap", window_s=5, stride_s=5).summary()["n_windows"].tolist()
    [24, 24]
    >>> folder.cleanup()
    """

    ndim = 3
    dtype = np.dtype(np.float32)
    _source: Source
    _rows: NDArray[np.int64]
    _steps: tuple[WindowTransformer, ...]
    _infos: list[SignalInfo]
    _other_side: weakref.ref[Windows] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            "Windows are not made by calling the class; use biot_bd.prepare(dataset, folder), Windows.open(folder) "
            "or Windows.concat([...])"
        )

    @classmethod
    def _of(
        cls, source: Source, rows: NDArray[np.int64] | None = None, steps: tuple[WindowTransformer, ...] = ()
    ) -> Windows:
        """Return rows of a source (all by default), with the steps applied when they are read."""
        windows = cls.__new__(cls)
        windows._source, windows._steps = source, steps
        windows._rows = np.arange(len(source)) if rows is None else rows
        # The description before the first step and after each.
        windows._infos = list(accumulate(steps, lambda info, step: step.output_info(info), initial=source.info))
        return windows

    # ---- making ----

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Windows:
        """Open what ``prepare`` or :meth:`relabel` wrote.

        Parameters
        ----------
        folder : path
            The folder.

        Raises
        ------
        FileNotFoundError
            Nothing is there, or its preparation did not finish.
        ValueError
            Another format or version.
        """
        table = open_table(folder)
        return cls._of(open_source(((os.fspath(table.folder), table.fingerprint),)))

    @classmethod
    def concat(cls, parts: Sequence[Windows]) -> Windows:
        """Join windows of several stores, in order.

        Parameters
        ----------
        parts : sequence of Windows
            They agree in channels, rate, window length, label rule and steps.  Recordings of two
            namespaces that have one name get their namespace before it, as in
            ``"clinic__P01_rec1"``.

        Raises
        ------
        ValueError
            They do not agree, there are none, or two recordings of a subject have one name.
        SubjectLeakError
            A recording is there under the names of two subjects.

        Warns
        -----
        UserWarning
            Subjects have one name, which begins with that of a folder, and no recording in common.
        """
        return cls._joined(parts, mixed=False)

    @classmethod
    def mix(cls, parts: Sequence[Windows]) -> Windows:
        """Join windows of corpora that have other channels, label rules and classes.

        For one pretraining of several corpora, or one training with a head each
        (``"supervised-multitask"``).  The windows have the channels of all parts, by name, in the
        order in which they first occur; a channel that a part has not is absent (NaN throughout) in
        its windows.  Where classes differ, a label means what the corpus says that its subject's
        name space names.

        Parameters
        ----------
        parts : sequence of Windows
            They agree in rate, window length and steps.

        Raises
        ------
        ValueError
            They do not agree, there are none, or two recordings of a subject have one name.
        SubjectLeakError
            A recording is there under the names of two subjects.

        Warns
        -----
        UserWarning
            As :meth:`concat`.
        """
        return cls._joined(parts, mixed=True)

    @classmethod
    def _joined(cls, parts: Sequence[Windows], *, mixed: bool) -> Windows:
        parts = list(parts)
        if not parts:
            raise ValueError("nothing to join: give at least one Windows")
        if any(not isinstance(part, Windows) for part in parts):
            raise TypeError(f"only Windows are joined; got {[type(part).__name__ for part in parts]}")
        mixed = mixed or any(part._source.mixed for part in parts)
        for part in parts[1:]:
            if _described(part._steps) != _described(parts[0]._steps):
                raise ValueError(
                    f"cannot join windows with different steps {list(parts[0]._steps)} and {list(part._steps)}; join first, then map"
                )
        key = tuple(dict.fromkeys(pair for part in parts for pair in part._source.key))
        source = open_source(key, mixed)
        begin = dict(zip(key, source.offsets, strict=False))
        rows = []
        for part in parts:
            own = np.searchsorted(part._source.offsets, part._rows, side="right") - 1
            shift = np.array([begin[pair] for pair in part._source.key]) - part._source.offsets[:-1]
            rows.append(part._rows + shift[own])
        joined = cls._of(source, np.concatenate(rows), parts[0]._steps)
        if len(key) > 1:
            check_recordings_apart(joined.recordings)
            check_names_apart(source.recordings)
            if (doubt := shared_subjects([table.recordings for table in source.tables])) is not None:
                warnings.warn(doubt, stacklevel=3)
        return joined

    def map(self, transformer: WindowTransformer) -> Windows:
        """Return these windows with a step that is applied when they are read.

        Parameters
        ----------
        transformer : WindowTransformer
            A signal step; one that would change nothing is left out.

        Raises
        ------
        ValueError
            The step cannot work on such windows.
        """
        if not isinstance(transformer, WindowTransformer):
            raise TypeError(f"map takes a WindowTransformer such as PercentileScaler(); got {transformer!r}")
        transformer.output_info(self.info)
        if transformer.is_identity(self.info):
            return self
        made = self._of(self._source, self._rows, (*self._steps, transformer))
        made._other_side = self._other_side
        return made

    def query(self, expr: str) -> Windows:
        """Return the windows for which a pandas expression over the table's columns holds.

        Parameters
        ----------
        expr : str
            E.g. ``"subject == 'chb-mit/01' and label == 1"``; beside the columns of
            :attr:`metadata` there are ``kind``, ``start_sample`` and ``n_samples``.
        """
        found = self._source.frame.iloc[self._rows].reset_index(drop=True).query(expr).index
        return self._select(found.to_numpy())

    def relabel(self, labels: str | LabelRule, window_s: float | None = None, stride_s: float | None = None) -> Windows:
        """Label the same signals by another rule, or cut them into other windows.

        Only a table is written, to ``tables/<fingerprint>/`` in the store's folder; the signals are
        shared.

        Parameters
        ----------
        labels : str or label rule
            As in :func:`biot_bd.prepare`: a name in ``registry.label_rules``, or an instance.
        window_s, stride_s : float, optional
            In seconds; those that the rule fixes, else as they are, where left out.

        Returns
        -------
        Windows
            All windows of the new table, with the steps of these.

        Raises
        ------
        TypeError
            ``labels`` is neither a name nor an instance of a rule.
        ValueError
            These windows are a selection (its rows mean nothing in the new table), or the rule
            cannot be used.
        """
        if not self._is_all():
            raise ValueError("relabel works on all windows of a store; select afterwards, e.g. relabel(...).query(...)")
        rule = settled_rule(make_label_rule(labels), descriptions_of(self.entries))
        tables = [Windows.open(_relabelled(t, rule, window_s, stride_s)) for t in self.tables]
        windows = Windows._joined(tables, mixed=self._source.mixed)
        for step in self._steps:
            windows = windows.map(step)
        return windows

    # ---- what they are ----

    @property
    def info(self) -> SignalInfo:
        """Channels, rate, samples and unit of a window as it is read."""
        return self._infos[-1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(n_windows, n_chans, n_times)``."""
        return len(self._rows), self.info.n_chans, self.info.n_times

    @property
    def ch_names(self) -> tuple[str, ...] | None:
        """Channel names."""
        return self.info.ch_names

    @property
    def sfreq(self) -> float | None:
        """Sampling rate in Hz."""
        return self.info.sfreq

    @property
    def unit(self) -> str | None:
        """``"uV"``, or None after scaling."""
        return self.info.unit

    @property
    def y(self) -> NDArray[np.int64]:
        """Labels, int64 ``(n_windows,)``."""
        return self._source.labels[self._rows]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by label number."""
        return self._source.classes

    @property
    def targets(self) -> NDArray[np.float64] | None:
        """Shares of votes by class, float64 ``(n_windows, n_classes)``; None without votes."""
        return None if self._source.targets is None else self._source.targets[self._rows]

    @property
    def groups(self) -> NDArray[np.object_]:
        """Subject of each window, an object array of text ``(n_windows,)``."""
        return self._source.subjects[self._rows]

    @property
    def metadata(self) -> pd.DataFrame:
        """One row a window: recording, subject, start_s, stop_s, seizure_fraction, label."""
        return self._source.frame[METADATA].iloc[self._rows].reset_index(drop=True)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which channels are present, bool ``(n_windows, n_chans)``."""
        if not self._steps or (len(self._steps) == 1 and _uses_cache(self._steps[0])):
            return self._source.present(self._rows)
        # Steps may add and drop channels; one sample tells, as absent channels are NaN throughout.
        samples = [self._read_rows(self._rows[first:stop])[:, :, 0] for first, stop in blocks(0, len(self))]
        return ~np.isnan(np.concatenate(samples)) if samples else np.empty(self.shape[:2], bool)

    @property
    def always_finite(self) -> bool:
        """Whether a present channel cannot but be finite: stored as int16, and only scaled."""
        _, q, steps = self._scaling()
        return self._source.integer and (not steps or q is not None)

    @property
    def seizures(self) -> pd.DataFrame:
        """Seizures of these recordings: recording, subject, onset_s, offset_s."""
        chosen = set(self._source.frame["recording"].iloc[self._rows])
        rows = [
            (r.recording, r.subject, onset, offset)
            for r in self._source.recordings
            if r.recording in chosen
            for onset, offset in r.events
        ]
        return pd.DataFrame(rows, columns=["recording", "subject", "onset_s", "offset_s"])

    @property
    def recordings(self) -> pd.DataFrame:
        """What the recordings of these windows are told by.

        Columns ``recording``, ``subject``, ``digest`` (:func:`biot_bd.io.recording_digest`) and
        ``namespace_from`` (``"folder"`` where the subject's namespace is but a folder's name).
        """
        chosen = set(np.unique(self._source.recording_of[self._rows]).tolist())
        rows = [
            (r.recording, r.subject, r.digest, r.namespace_from)
            for number, r in enumerate(self._source.recordings)
            if number in chosen
        ]
        return pd.DataFrame(rows, columns=["recording", "subject", "digest", "namespace_from"], dtype=object)

    @property
    def entries(self) -> tuple[Recording, ...]:
        """What the stores say of all their recordings, under the names of these windows."""
        return tuple(self._source.recordings)

    @property
    def folder(self) -> Path | None:
        """The folder that :meth:`open` takes, or None for windows of several."""
        return self._source.tables[0].folder if len(self._source.tables) == 1 else None

    @property
    def tables(self) -> tuple[StoreTable, ...]:
        """The tables these windows are of, which say how they were prepared."""
        return self._source.tables

    @property
    def label_rule(self) -> str:
        """Name of the label rule, with parameters that are not its defaults; all of a mixture."""
        return " | ".join(dict.fromkeys(table.label_rule for table in self._source.tables))

    @property
    def generated(self) -> bool:
        """Whether any of the data is generated."""
        return any(table.generated for table in self._source.tables)

    @property
    def anonymous(self) -> bool:
        """Whether any of the data is named by numbers; what is made of it names nobody, either."""
        return any(table.anonymous for table in self._source.tables)

    @property
    def fingerprint(self) -> str:
        """Text that changes with the recordings, the table, the selection and the steps."""
        return make_fingerprint(
            {
                "tables": [table.fingerprint for table in self._source.tables],
                "rows": None if self._is_all() else hashlib.sha256(self._rows.astype("<i8").tobytes()).hexdigest(),
                "steps": _described(self._steps),
            }
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the signal files that these windows lie in."""
        return self._source.nbytes(self._rows)

    @property
    def window_bytes(self) -> int:
        """Bytes of a window in the store; of the largest where they differ."""
        return self._source.window_bytes

    @property
    def places(self) -> NDArray[np.int64]:
        """Where windows lie among the samples of all recordings, ``(n_windows,)``.

        In this order they are read fastest.
        """
        return self._source.places(self._rows)

    @property
    def row_ids(self) -> NDArray[np.uint64]:
        """A number for each window, the same in every selection, ``(n_windows,)``.

        Windows of another table (a relabelled store) have others.
        """
        own = np.searchsorted(self._source.offsets, self._rows, side="right") - 1
        tables = [hashlib.sha256(table.fingerprint.encode()).digest()[:8] for table in self._source.tables]
        begins = np.array([int.from_bytes(digest, "little") for digest in tables], dtype=np.uint64)
        return begins[own] + (self._rows - self._source.offsets[own]).astype(np.uint64)

    @property
    def other_side(self) -> Windows | None:
        """What a tool of scikit-learn took next from the same windows, as long as it is in use.

        For the training side of a split that is the testing side; None for windows that no such
        tool took.
        """
        return None if self._other_side is None else self._other_side()

    def by_table(self) -> list[tuple[Windows, NDArray[np.int64], NDArray[np.int64]]]:
        """Return, for each table that these windows are of, where they lie in it.

        Returns
        -------
        list of (Windows, ndarray of int64, ndarray of int64)
            All windows of a table, with the steps of these; which of them are here, by row; and
            the position of each among these.  What :meth:`mix` joined stays together.
        """
        if self._source.mixed:  # a channel that a table lacks is there, absent: they are but one
            return [(self._of(self._source, None, self._steps), self._rows, np.arange(len(self)))]
        own = np.searchsorted(self._source.offsets, self._rows, side="right") - 1
        found = []
        for number, pair in enumerate(self._source.key):
            places = np.flatnonzero(own == number)
            whole = self._of(open_source((pair,)), None, self._steps)
            found.append((whole, self._rows[places] - self._source.offsets[number], places))
        return [part for part in found if len(part[1])]

    def will_need(self, indices: ArrayLike) -> None:
        """Ask the system to read windows (row numbers) into its page cache; does not wait."""
        self._source.will_need(self._checked(indices))

    def summary(self) -> pd.DataFrame:
        """Count windows by subject.

        Returns
        -------
        pandas.DataFrame
            Index ``subject``; columns ``n_recordings``, ``n_windows``, ``n_seizure_windows``,
            ``n_absent_channels`` (windows' channels that are absent).  With other classes than
            background and seizure there is ``n_<class>_windows`` for each of them instead.
        """
        frame = self._source.frame.iloc[self._rows]
        absent = (~self._source.present(self._rows)).sum(axis=1)
        counted = range(1, 2) if self.classes == CLASSES else range(len(self.classes))
        of_class = {f"n_{self.classes[k]}_windows": (frame["label"] == k).astype(int) for k in counted}
        rows = frame[["subject", "recording", "label"]].assign(n_absent_channels=absent, **of_class)
        return rows.groupby("subject").agg(
            n_recordings=("recording", "nunique"),
            n_windows=("label", "size"),
            **{name: (name, "sum") for name in (*of_class, "n_absent_channels")},
        )

    # ---- reading ----

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        """Return a window, float32 ``(n_chans, n_times)``, for an int; else a selection."""
        if isinstance(index, tuple):
            if len(index) != 2 or index[1] is not Ellipsis:
                raise IndexError(
                    f"windows are selected by their number only, e.g. windows[3], windows[mask] or windows[rows, ...]; got {index!r}"
                )
            return self._side(index[0])
        if isinstance(index, slice):
            return self._select(index)
        found = np.asarray(index)
        if found.ndim == 0 and found.dtype.kind in "iu":
            return self._read_rows(self._checked(found))[0]
        if found.ndim != 1:
            raise IndexError(f"windows are selected by an int, a slice, a mask or row numbers; got {index!r}")
        if found.dtype == bool:
            if len(found) != len(self):
                raise IndexError(f"a mask of length {len(found)} for {len(self)} windows")
            return self._select(found)
        if found.size and found.dtype.kind not in "iu":
            raise IndexError(f"row numbers must be integers; got {found.dtype}")
        return self._of(self._source, self._checked(found), self._steps)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for i in range(len(self)):
            yield self[i]

    def read(self, indices: ArrayLike, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Read a batch, one gather from the memory maps.

        Parameters
        ----------
        indices : array-like of int, shape (n,)
            Which windows, in any order, also more than once.
        out : ndarray of float32, shape (n, n_chans, n_times), optional
            Where to write, contiguous; memory that was used before spares page faults.

        Returns
        -------
        ndarray of float32, shape (n, n_chans, n_times)
            In uV, or scaled where a step took the unit; absent channels are NaN.

        Raises
        ------
        IndexError
            No such window.
        ValueError
            ``out`` has another shape or dtype.
        """
        rows = self._checked(indices)
        wanted = (len(rows), *self.shape[1:])
        if out is not None and (out.shape != wanted or out.dtype != np.float32 or not out.flags.c_contiguous):
            raise ValueError(f"out must be contiguous float32 of shape {wanted}; got {out.dtype} of shape {out.shape}")
        return self._read_rows(rows, out)

    def read_packed(
        self, indices: ArrayLike, out: NDArray[np.int16] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Read a batch as it is stored, to be multiplied on a GPU: half the bytes travel there.

        Parameters
        ----------
        indices : array-like of int, shape (n,)
            Which windows, in any order, also more than once.
        out : ndarray of int16, shape (n, n_chans, n_times), optional
            Where the values may be written.

        Returns
        -------
        values : ndarray of int16, shape (n, n_chans, n_times)
            Stored values; float32, and read in full, where the store or the steps do not allow
            int16.
        scales : ndarray of float32, shape (n, n_chans)
            ``values * scales`` are what :meth:`read` returns; NaN where a channel is absent.

        Raises
        ------
        IndexError
            No such window.
        """
        rows = self._checked(indices)
        cached, q, steps = self._scaling()
        if not steps or q is not None:
            located = self._source.locate(rows, cached, q)
            if located.packed == np.int16 and not (self._steps and self._source.has_offset[rows].any()):
                values = np.empty((len(rows), *self.shape[1:]), np.int16) if out is None else out
                scales = located.read_packed(values)
                if scales is not None:
                    return values, scales
        return self._read_rows(rows), np.ones((len(rows), self.info.n_chans), np.float32)

    def stored_signals(self) -> StoredSignals | None:
        """Return the signals of the whole source, and where these windows lie in them.

        Returns
        -------
        StoredSignals or None
            None where windows are not int16 times a scale that is known without reading them: other
            stores, other steps than the cached percentiles.
        """
        cached, _, steps = self._scaling()
        offset = self._steps and self._source.has_offset[self._rows].any()
        if not self._source.integer or steps or offset:
            return None
        source = self._source
        shape = (source.info.n_chans, source.n_samples)
        scales = source.scales(self._rows, cached)
        return StoredSignals(source.signals_key, shape, self.places, scales, source.info.n_times, source.signals)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("Windows are read from files; they cannot become an array without a copy")
        x = self._read_rows(self._rows)
        return x if dtype is None else x.astype(dtype, copy=False)

    def _checked(self, numbers: ArrayLike) -> NDArray[np.int64]:
        indices = np.asarray(numbers, dtype=np.int64).reshape(-1)
        if indices.size and (indices.min() < -len(self) or indices.max() >= len(self)):
            wrong = indices[(indices < -len(self)) | (indices >= len(self))][0]
            raise IndexError(f"no window {wrong}: there are {len(self)}")
        return self._rows[indices]

    def _scaling(self) -> tuple[bool, float | None, tuple[WindowTransformer, ...]]:
        """Return whether the cache scales, a percentile for the gather, and the steps after."""
        cached = bool(self._steps) and _uses_cache(self._steps[0])
        steps = self._steps[cached:]
        exact = len(steps) == 1 and not cached and type(steps[0]) is PercentileScaler
        return cached, steps[0].q if exact else None, steps  # type: ignore[attr-defined]

    def _read_rows(self, rows: NDArray[np.int64], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        cached, q, steps = self._scaling()
        if out is None:
            out = np.empty((len(rows), self.info.n_chans, self.info.n_times), np.float32)
        if not steps:
            return self._gather(rows, cached, out)
        if q is not None and not self._source.has_offset[rows].any():
            located = self._source.locate(rows, False, q)
            if located.packed == np.int16 and located.read(out) is not None:
                return out
        # Neighbours in a file come together, so that a block touches few recordings.
        order = np.argsort(rows, kind="stable")
        scratch = np.empty((min(BLOCK, len(rows)), self._source.info.n_chans, self._source.info.n_times), np.float32)
        for first, stop in blocks(0, len(rows)):
            places = order[first:stop]
            chosen = rows[places]
            x = self._gather(chosen, cached, scratch[: len(chosen)])
            present = self._source.present(chosen)
            for step, info in zip(steps, self._infos[cached:], strict=False):
                x, present = step.apply(x, present, info)
            out[places] = x
        return out

    def _gather(self, rows: NDArray[np.int64], scaled: bool, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Read windows in uV, or scaled by the cached percentiles."""
        self._source.locate(rows, scaled).read(out)
        # The cache only multiplies; an offset has to be taken off.
        places = np.flatnonzero(self._source.has_offset[rows]) if scaled else np.empty(0, np.int64)
        for first, stop in blocks(0, len(places)):
            some = places[first:stop]
            x = np.empty((len(some), *out.shape[1:]), np.float32)
            self._source.locate(rows[some], False).read(x)
            out[some], _ = self._steps[0].apply(x, self._source.present(rows[some]), self._source.info)
        return out

    def _side(self, index: Any) -> Any:
        """Return a selection as scikit-learn asks for it, which knows the one that comes next.

        Its tools take both sides of a split before they fit, training first.  Selections that share
        windows are no split.
        """
        made = self[index]
        if isinstance(made, Windows):
            places = np.arange(len(self))[index]
            of, before, taken = getattr(_selected, "last", (lambda: None, lambda: None, places))
            first = before()
            if of() is self and first is not None and not np.isin(places, taken).any():
                first._other_side = weakref.ref(made)
            _selected.last = weakref.ref(self), weakref.ref(made), places
        return made

    def _select(self, index: Any) -> Windows:
        return self._of(self._source, self._rows[index], self._steps)

    def _is_all(self) -> bool:
        return bool(np.array_equal(self._rows, np.arange(len(self._source))))

    # ---- pickling and showing ----

    def __reduce__(self) -> tuple[Any, ...]:
        rows = None if self._is_all() else self._rows
        return _reopened, (self._source.key, rows, self._steps, self._source.mixed)

    def __repr__(self) -> str:
        counts = np.bincount(self.y, minlength=len(self.classes))
        shown = (
            f"{counts[1]:,} with seizure ({counts[1] / max(len(self), 1):.2%})"
            if self.classes == CLASSES
            else ", ".join(f"{n:,} {name}" for name, n in zip(self.classes, counts, strict=True))
        )
        info = self.info
        lines = [
            f"<Windows: {len(self):,} of {info.n_chans} channels x {info.n_times} samples"
            + (f" at {info.sfreq:g} Hz" if info.sfreq else "")
            + f", {'uV' if info.unit else 'scaled'}",
            f"  {shown}, {len(set(self.groups))} subjects, label rule {self.label_rule}",
            f"  {', '.join(os.fspath(t.folder) for t in self._source.tables)}"
            + (" (generated data)" if self.generated else ""),
        ]
        if self._steps:
            lines.append(f"  then {', '.join(map(repr, self._steps))}")
        return "\n".join(lines) + ">"


def _reopened(
    key: tuple[tuple[str, str], ...], rows: Any, steps: tuple[WindowTransformer, ...], mixed: bool = False
) -> Windows:
    return Windows._of(open_source(key, mixed), rows, steps)


def _uses_cache(step: WindowTransformer) -> bool:
    # A subclass may do more than divide.
    return type(step) is PercentileScaler and step.q == CACHED_PERCENTILE


def _described(steps: Sequence[WindowTransformer]) -> list[str]:
    """Return texts that are equal where the steps are.

    A step's own repr leaves out what is long, as that of a large array does.  What a step learnt,
    which the contract forbids, tells it from others all the same.
    """
    found = []
    for step in steps:
        learnt = {key: value for key, value in vars(step).items() if key.endswith("_") and not key.startswith("_")}
        with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
            values = sorted((key, repr(value)) for key, value in {**step.get_params(), **learnt}.items())
        found.append(f"{type(step).__module__}.{type(step).__qualname__}{values!r}")
    return found


def _relabelled(table: StoreTable, rule: LabelRule, window_s: float | None, stride_s: float | None) -> Path:
    """Write the table of another rule, window or stride; return its folder."""
    check_resample(rule, table.resample, f"{table.store} has")
    window_s, stride_s = to_jsonable([window_s, stride_s])
    times = rule_times(rule, window_s, stride_s, (table.window_s, table.stride_s))
    settings = TableSettings(rule, *times, table.sfreq, table.resample, table.settings["on_bad"])
    fingerprint = settings.fingerprint(table.recordings)
    folder = table.store / TABLES / fingerprint
    if (folder / TABLE_JSON).is_file():
        return folder
    with FileLock(table.store / ".lock"):
        if (folder / TABLE_JSON).is_file():  # written last; another process may just have done it
            return folder
        short = [
            r.recording
            for r in table.recordings
            if max(s.n_samples for s in r.stretches) / r.source_sfreq < settings.window_s
        ]
        if short:
            raise ValueError(
                f"recording {short[0]} is shorter than a window of {settings.window_s:g} s ({len(short)} such)"
            )
        frame, percentiles, notes = build_table(table.store, table.recordings, table.ch_names, settings)
        signals = [[r.recording, r.fingerprint] for r in table.recordings]
        own = {
            "version": version_for(newer=is_newer(settings, frame)),
            **settings.as_dict(),
            "fingerprint": fingerprint,
            "signals": signals,
            "notes": notes,
        }
        if needs_annotations(rule):
            own["annotations"] = annotations_digest(r.as_dict() for r in table.recordings)
        try:
            write_table(folder, frame, percentiles)
            write_json(folder / TABLE_JSON, own)
        except BaseException:  # a half-written table is of no use to anyone
            shutil.rmtree(folder, ignore_errors=True)
            raise
    warn_of(notes, folder / TABLE_JSON)
    return folder
