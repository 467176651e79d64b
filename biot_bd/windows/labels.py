"""Label rules: from seizures of a recording to a table of labelled windows.

A rule is a class with plain keyword parameters; an instance is called as

    rule(n_samples, sfreq, events, window_s=10.0, stride_s=5.0) -> pandas.DataFrame

with the recording's own length and rate, and returns one row a window: ``start_sample`` and
``n_samples`` (at that rate), ``label`` (0 background, 1 seizure), ``kind`` (``"grid"``, or what
else the rule makes) and ``seizure_fraction``. A rule that needs a certain window, stride or way of
resampling says so in the attributes ``window_s``, ``stride_s`` and ``resample``; the names of rules
are in :data:`biot_bd.registry.label_rules`.

Further attributes that a rule may have:

``classes``
    Names of the classes by label number, where they are not background and seizure.
``needs_annotations``
    True: the rule is called with a further keyword ``annotations``, a sequence of (onset_s,
    duration_s, description) as ``events`` are, seizures (``"sz"``) among them; an annotation may
    begin before the recording and end behind it.
``for_descriptions``
    Called with the sorted descriptions of all annotations there are before anything is labelled;
    returns the rule to use.

A rule may return columns ``target_0``, ``target_1`` ..., one a class: shares of votes, whose rows
sum to 1.  What it leaves in ``attrs["notes"]`` of its table, a list of texts, a user is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from biot_bd import registry
from biot_bd.events.intervals import merge, overlap

COLUMNS = ("start_sample", "n_samples", "label", "kind", "seizure_fraction")
CLASSES = ("background", "seizure")
"""What labels 0 and 1 mean unless the rule says otherwise."""
TARGET = "target_"
LabelRule = Callable[..., pd.DataFrame]
Ints = NDArray[np.int64]


def check_events(events: ArrayLike) -> NDArray[np.float64]:
    """Return ``events`` as a float array ``(n, 2)`` of (onset_s, offset_s).

    Raises
    ------
    ValueError
        Another shape, a time that is not finite, or an offset before its onset.
    """
    times = np.asarray(events, dtype=np.float64)
    if times.size == 0:
        return np.empty((0, 2))
    if times.ndim != 2 or times.shape[1] != 2:
        raise ValueError(f"events must have the shape (n, 2), each (onset_s, offset_s); got {times.shape}")
    if not np.isfinite(times).all() or (times[:, 1] < times[:, 0]).any():
        raise ValueError(f"events need finite times with onset_s <= offset_s; got {times.tolist()}")
    return times


def seizure_samples(n_samples: int, sfreq: float, events: ArrayLike) -> Ints:
    """Return seizures as half-open sample ranges ``(n, 2)``, clipped, sorted and merged.

    Times are rounded to the nearest sample; an event without duration counts as one sample; events
    that overlap or touch are one seizure; an event wholly outside the recording is left out.
    """
    times = check_events(events)
    ranges = np.rint(times * sfreq).astype(np.int64)
    ranges[:, 1] = np.maximum(ranges[:, 1], ranges[:, 0] + 1)
    ranges = ranges.clip(0, n_samples)
    return merge(ranges[ranges[:, 0] < ranges[:, 1]])[0]


def label_table(start: Ints, length: Ints, label: Any, kind: Any, seizures: Ints) -> pd.DataFrame:
    """Return the table of a rule's windows; ``label`` and ``kind`` are one, or one a window."""
    ictal = overlap(np.stack([start, start + length], axis=1), seizures).sum(axis=1)
    return pd.DataFrame(
        {
            "start_sample": start.astype(np.int64),
            "n_samples": length.astype(np.int64),
            "label": np.broadcast_to(np.asarray(label, dtype=np.int64), start.shape).copy(),
            "kind": np.broadcast_to(np.asarray(kind, dtype=object), start.shape).copy(),
            "seizure_fraction": ictal / np.maximum(length, 1),
        }
    )


def positive_samples(name: str, seconds: float, sfreq: float) -> int:
    """Return seconds as whole samples; a ValueError where they are fewer than one."""
    samples = round(seconds * sfreq) if np.isfinite(seconds) else 0
    if samples < 1:
        raise ValueError(f"{name} must be at least one sample ({1 / sfreq:g} s at {sfreq:g} Hz); got {seconds!r}")
    return samples


@dataclass(frozen=True)
class Overlap:
    """Windows on a regular grid, positive where they hold enough of a seizure.

    A window is positive when it holds at least ``min_overlap_s`` of seizure, or less where less
    exists: the whole of a seizure shorter than that, or a whole window shorter than that.  Hence no
    window inside a seizure is ever background.  Windows that would run past the end of the
    recording are not made.

    Parameters
    ----------
    min_overlap_s : float
        Seizure that makes a window positive, in seconds.
    exclude_partial : bool
        Leave out windows that hold some seizure, but too little to be positive.
    guard_s : float
        Leave out background windows that are nearer than this to a seizure, in seconds; with a
        guard, windows that hold some seizure but too little are left out as well.

    See Also
    --------
    BiotOfficial : The rule of published numbers.
    biot_bd.Windows.relabel : Another rule over signals that are prepared already.

    Examples
    --------
    A recording of 40 s at 100 Hz with a seizure from 12 s to 21 s:

    >>> from biot_bd.windows import Overlap
    >>> Overlap()(4000, 100.0, [(12, 21)])[["start_sample", "label", "seizure_fraction"]]
       start_sample  label  seizure_fraction
    0             0      0               0.0
    1           500      0               0.3
    2          1000      1               0.8
    3          1500      1               0.6
    4          2000      0               0.1
    5          2500      0               0.0
    6          3000      0               0.0
    >>> Overlap(exclude_partial=True)(4000, 100.0, [(12, 21)])["start_sample"].tolist()
    [0, 1000, 1500, 2500, 3000]
    """

    min_overlap_s: float = 5.0
    exclude_partial: bool = False
    guard_s: float = 0

    name: ClassVar[str] = "overlap"

    def __call__(
        self, n_samples: int, sfreq: float, events: ArrayLike, window_s: float = 10.0, stride_s: float = 5.0
    ) -> pd.DataFrame:
        """Return the windows of one recording.

        Parameters
        ----------
        n_samples : int
            Length of the recording.
        sfreq : float
            Its rate in Hz.
        events : array-like, shape (n_events, 2)
            Onset and offset of each seizure in seconds from the first sample.
        window_s, stride_s : float
            Length of a window, and from one window's start to the next, in seconds.

        Returns
        -------
        pandas.DataFrame
            Columns ``start_sample``, ``n_samples``, ``label``, ``kind`` (``"grid"``),
            ``seizure_fraction``.

        Raises
        ------
        ValueError
            A parameter or an event makes no sense.
        """
        for name, value in (("min_overlap_s", self.min_overlap_s), ("guard_s", self.guard_s)):
            if not np.isfinite(value) or value < 0:
                raise ValueError(f"{name} must be a finite number >= 0; got {value!r}")
        window = positive_samples("window_s", window_s, sfreq)
        positive_samples("stride_s", stride_s, sfreq)
        # The k-th start is rounded by itself, so a stride that is no whole number of samples does
        # not drift.
        n_windows = int((n_samples - window) / (stride_s * sfreq)) + 2 if n_samples >= window else 0
        start = np.rint(np.arange(n_windows) * (stride_s * sfreq)).astype(np.int64)
        start = start[start + window <= n_samples]
        seizures = seizure_samples(n_samples, sfreq, events)
        windows = np.stack([start, start + window], axis=1)
        inside = overlap(windows, seizures)
        enough = min(max(round(self.min_overlap_s * sfreq), 1), window)
        length = seizures[:, 1] - seizures[:, 0]
        positive = (inside.sum(axis=1) >= enough) | (inside >= np.minimum(enough, length)).any(axis=1)
        table = label_table(start, np.full(len(start), window), positive, "grid", seizures)
        guard = round(self.guard_s * sfreq)
        if self.exclude_partial or guard > 0:
            near = overlap(windows, seizures + np.array([-guard, guard])).any(axis=1)
            table = table[positive | ~near].reset_index(drop=True)
        return table


@dataclass(frozen=True)
class BiotOfficial:
    """The rule behind published CHB-MIT numbers with BIOT, errors included: for comparison only.

    Windows of 10 s without overlap; one is positive only if a seizure starts or ends strictly
    inside it, so a window wholly inside a seizure is **background**.  Then, for every seizure,
    windows every 5 s from one second before the onset to one second after the offset are added as
    positive (kind ``"added"``), cut where the recording ends. Seizure times in samples are
    ``int(seconds * sfreq) - 1``.  Public preprocessing: BIOT repository,
    ``datasets/CHB-MIT/process2.py``.  It needs ``prepare(resample="fft-window")``, which resamples
    each window, cut ones included, to 2,000 samples.

    See Also
    --------
    Overlap : The rule to use otherwise.

    Examples
    --------
    The window from 10 s to 20 s lies wholly inside the seizure and is background:

    >>> from biot_bd.windows import BiotOfficial
    >>> table = BiotOfficial()(4000, 100.0, [(5, 25)])
    >>> table[["start_sample", "n_samples", "label", "kind"]].head(5)
       start_sample  n_samples  label   kind
    0             0       1000      1   grid
    1          1000       1000      0   grid
    2          2000       1000      1   grid
    3          3000       1000      0   grid
    4           399       1000      1  added
    """

    name: ClassVar[str] = "biot-official"
    window_s: ClassVar[float] = 10.0
    stride_s: ClassVar[float] = 10.0
    resample: ClassVar[str] = "fft-window"

    def __call__(
        self, n_samples: int, sfreq: float, events: ArrayLike, window_s: float = 10.0, stride_s: float = 10.0
    ) -> pd.DataFrame:
        """Return the windows of one recording; see :meth:`Overlap.__call__` for shapes and units.

        Raises
        ------
        ValueError
            ``window_s`` or ``stride_s`` is not 10 s, or an event makes no sense.
        """
        if window_s != self.window_s or stride_s != self.stride_s:
            raise ValueError(
                f"the label rule 'biot-official' fixes window_s and stride_s at 10 s; got {window_s!r} and {stride_s!r}"
            )
        second = round(sfreq)
        window = round(self.window_s * sfreq)
        times = [(int(a * sfreq) - 1, int(b * sfreq) - 1) for a, b in check_events(events)]
        grid = np.arange(0, n_samples - window + 1, window, dtype=np.int64)
        edges = np.array(times, dtype=np.int64).reshape(-1, 1)
        label = ((grid < edges) & (edges < grid + window)).any(axis=0)
        added = [
            np.arange(max(0, onset - second), min(offset + second, n_samples), 5 * second, dtype=np.int64)
            for onset, offset in times
        ]
        extra = np.concatenate([np.empty(0, dtype=np.int64), *added])
        start = np.concatenate([grid, extra])
        length = np.minimum(window, n_samples - start)
        kind = np.array(["grid"] * len(grid) + ["added"] * len(extra), dtype=object)
        labels = np.concatenate([label, np.ones(len(extra), dtype=bool)])
        return label_table(start, length, labels, kind, seizure_samples(n_samples, sfreq, events))


@dataclass(frozen=True)
class Unlabelled:
    """Windows on a regular grid, all of them background: for pretraining, which needs no labels.

    Nothing that trains with labels takes such windows; :meth:`biot_bd.Windows.relabel` gives the
    same signals labels, where the recordings have them.

    Attributes
    ----------
    labels_nothing : bool
        Says that no window is ever positive.

    See Also
    --------
    Overlap : With labels, on the same grid.
    biot_bd.Pretrainer : Trains on such windows.

    Examples
    --------
    >>> from biot_bd.windows import Unlabelled
    >>> table = Unlabelled()(4000, 100.0, [(12, 21)], stride_s=10)
    >>> table[["start_sample", "label", "seizure_fraction"]]
       start_sample  label  seizure_fraction
    0             0      0               0.0
    1          1000      0               0.8
    2          2000      0               0.1
    3          3000      0               0.0
    """

    name: ClassVar[str] = "none"
    labels_nothing: ClassVar[bool] = True

    def __call__(
        self, n_samples: int, sfreq: float, events: ArrayLike, window_s: float = 10.0, stride_s: float = 5.0
    ) -> pd.DataFrame:
        """Return the windows of one recording; see :meth:`Overlap.__call__` for shapes and units.

        Raises
        ------
        ValueError
            A parameter or an event makes no sense.
        """
        table = Overlap()(n_samples, sfreq, events, window_s, stride_s)
        return table.assign(label=np.zeros(len(table), dtype=np.int64))


def classes_of(rule: LabelRule) -> tuple[str, ...]:
    """Return the names of a rule's classes by label number.

    Raises
    ------
    ValueError
        Its ``classes`` are no texts, fewer than two, or not all different.
    """
    classes = tuple(getattr(rule, "classes", CLASSES))
    texts = all(isinstance(name, str) and name for name in classes)
    if not texts or len(classes) < 2 or len(set(classes)) < len(classes):
        raise ValueError(
            f"label rule {rule_name(rule)}: classes must be two or more different texts, one a label number; got {classes!r}"
        )
    return classes


def needs_annotations(rule: LabelRule) -> bool:
    """Return whether a rule labels by more than seizures."""
    return bool(getattr(rule, "needs_annotations", False))


def settled_rule(rule: LabelRule, descriptions: Iterable[str]) -> LabelRule:
    """Return the rule to use where annotations have these descriptions, its classes checked."""
    settle = getattr(rule, "for_descriptions", None)
    settled: LabelRule = rule if settle is None else settle(sorted(set(descriptions)))
    classes_of(settled)
    return settled


def target_columns(table: pd.DataFrame, n_classes: int) -> list[str]:
    """Return the names of a table's columns of votes; none where it has none.

    Raises
    ------
    ValueError
        They are not one a class, or their rows are no shares.
    """
    found = [str(column) for column in table.columns if str(column).startswith(TARGET)]
    if not found:
        return []
    wanted = [f"{TARGET}{k}" for k in range(n_classes)]
    if sorted(found) != sorted(wanted):
        raise ValueError(f"columns {', '.join(found)}: expected {', '.join(wanted)}, one a class")
    shares = table[wanted].to_numpy(np.float64)
    wrong = ~(np.isfinite(shares).all(axis=1) & (shares >= 0).all(axis=1) & (np.abs(shares.sum(axis=1) - 1) < 1e-6))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"row {row}: {TARGET}* are {shares[row].tolist()}; expected shares of votes >= 0 whose sum is 1"
        )
    return wanted


def make_label_rule(labels: str | LabelRule) -> LabelRule:
    """Return a label rule: the registered one of that name with its defaults, or ``labels`` itself.

    Raises
    ------
    TypeError
        ``labels`` is neither a name nor a callable instance.
    biot_bd.exceptions.UnknownNameError
        No rule has that name.
    """
    if isinstance(labels, str):
        return registry.label_rules[labels]()
    if isinstance(labels, type) or not callable(labels):
        raise TypeError(
            f"labels must be the name of a label rule or an instance of one, e.g. Overlap(); got {labels!r}"
        )
    return labels


def rule_parameters(rule: LabelRule) -> dict[str, Any]:
    """Return the parameters of a rule: its public attributes."""
    return {key: value for key, value in sorted(getattr(rule, "__dict__", {}).items()) if not key.startswith("_")}


def rule_name(rule: LabelRule) -> str:
    """Return the registered name of a rule, with those parameters that are not its defaults.

    ``Overlap()`` is ``"overlap"``, ``Overlap(guard_s=60)`` is ``"overlap(guard_s=60)"``.
    """
    kind: Any = type(rule)
    name = registry.label_rules.name_of(kind) or f"{kind.__module__}:{kind.__qualname__}"
    try:
        defaults = rule_parameters(kind())
    except TypeError:  # a rule with required parameters: show them all
        defaults = {}
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in rule_parameters(rule).items()}
    changed = [f"{k}={v!r}" for k, v in plain.items() if k not in defaults or defaults[k] != v]
    return name + (f"({', '.join(changed)})" if changed else "")


def rule_times(
    rule: LabelRule, window_s: float | None, stride_s: float | None, defaults: tuple[float, float]
) -> tuple[float, float]:
    """Return window and stride: those the rule fixes, else those given, else ``defaults``.

    Raises
    ------
    ValueError
        What is given is not what the rule fixes.
    """
    found = []
    for name, given, default in zip(("window_s", "stride_s"), (window_s, stride_s), defaults, strict=True):
        fixed = getattr(rule, name, None)
        if fixed is not None and given not in (None, fixed):
            raise ValueError(f"label rule {rule_name(rule)} fixes {name} at {fixed:g} s; got {given:g}")
        found.append(float(fixed if fixed is not None else default if given is None else given))
    return found[0], found[1]


def check_resample(rule: LabelRule, resample: str, found: str) -> None:
    """Raise ValueError where a rule needs another way of resampling.

    ``found`` says whose ``resample`` is.
    """
    needed = getattr(rule, "resample", None)
    if needed not in (None, resample):
        raise ValueError(f"label rule {rule_name(rule)} needs resample={needed!r} of prepare; {found} {resample!r}")


def check_table(table: pd.DataFrame, rule: LabelRule, n_samples: int) -> pd.DataFrame:
    """Return ``table`` if a label rule may return it.

    Raises
    ------
    ValueError
        A column is missing, a label is negative or of no class, a window lies outside the
        recording, or the votes are no shares.
    """
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise ValueError(f"label rule {rule_name(rule)} returned a table without the columns {missing}")
    start, length = table["start_sample"].to_numpy(), table["n_samples"].to_numpy()
    outside = (start < 0) | (length < 1) | (start + length > n_samples)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"label rule {rule_name(rule)}: window {row} (start_sample {start[row]}, n_samples {length[row]}) lies outside "
            f"the recording of {n_samples} samples"
        )
    if (table["label"].to_numpy() < 0).any():
        raise ValueError(f"label rule {rule_name(rule)} returned a negative label; leave such windows out of the table")
    classes = classes_of(rule)
    highest = int(table["label"].max()) if len(table) else 0
    if hasattr(rule, "classes") and highest >= len(classes):
        raise ValueError(f"label rule {rule_name(rule)} returned the label {highest} and has {len(classes)} classes")
    try:
        target_columns(table, len(classes))
    except ValueError as error:
        raise ValueError(f"label rule {rule_name(rule)}: {error}") from error
    return table
