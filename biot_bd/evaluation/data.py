"""What cross-validation needs to know of its data, the same for ``Windows``, arrays and Epochs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from biot_bd.evaluation.run_facts import DataFacts, of_seizures
from biot_bd.training import BIOTClassifier
from biot_bd.training.labels import given_labels, read_labels
from biot_bd.training.soft_targets import are_soft, read_targets
from biot_bd.windows import Windows
from biot_bd.windows.same_recordings import check_recordings_apart

TWO_CLASSES = ("background", "seizure")
MIN_SUBJECTS = 5
MIN_HOURS = 1.0
"""Below either, scores say how the way to them works and nothing else."""


@dataclass(frozen=True)
class Data:
    """Windows with labels and subjects.

    Attributes
    ----------
    X : Windows, ndarray of shape (n, n_chans, n_times) or mne.Epochs
        Whatever the pipeline takes, indexable by an array of rows.
    y : ndarray of shape (n,), int64
        Positions in ``classes``: 0 or 1, or more; of soft targets the most voted class.
    subjects : ndarray of shape (n,), str objects
    table : pandas.DataFrame
        Columns ``recording`` (None where unknown), ``subject``, ``start_s`` and ``stop_s`` (null
        where unknown).
    facts : dict
        The ``data`` entry of ``run.json``.
    classes : tuple of str
        Names of the classes.
    targets : ndarray of shape (n, n_classes) or None
        Soft targets, where there are any.
    """

    X: Any
    y: np.ndarray
    subjects: np.ndarray
    table: pd.DataFrame
    facts: DataFacts
    classes: tuple[str, ...] = TWO_CLASSES
    targets: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a worker has from the windows themselves, so that their number costs
        nothing on the way there.
        """
        state = dict(vars(self))
        if isinstance(self.X, Windows):
            del state["subjects"], state["table"]
            if np.array_equal(self.y, self.X.y):
                del state["y"]
            if (
                (known := self.X.targets) is not None
                and self.targets is not None
                and np.array_equal(self.targets, known)
            ):
                del state["targets"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what was left out from the windows."""
        own = vars(self)
        own |= state
        if isinstance(self.X, Windows):
            own["subjects"] = _subjects(self.X.groups)
            own["table"] = _table(self.X, self.subjects)
            own.setdefault("y", self.X.y)
            own.setdefault("targets", self.X.targets)

    @property
    def of_seizures(self) -> bool:
        """Whether the second of two classes is that of seizures, so that there are events."""
        return of_seizures(self.classes)

    @property
    def by_class(self) -> bool:
        """Whether predictions tell the probability of every class."""
        return len(self.classes) > 2 or self.targets is not None

    @property
    def recordings(self) -> np.ndarray | None:
        """Recording of each window, or None where the data does not say."""
        return self.table["recording"].to_numpy() if isinstance(self.X, Windows) else None

    @property
    def recording_table(self) -> pd.DataFrame | None:
        """What recordings are told by (``Windows.recordings``), or None where none are named."""
        return self.X.recordings if isinstance(self.X, Windows) else None

    def not_a_result(self) -> str | None:
        """Say why no score on this data is a result, or return None."""
        reasons = []
        if self.facts["generated"]:
            reasons.append("generated data")
        if len(self.facts["subjects"]) < MIN_SUBJECTS:
            reasons.append(f"only {len(self.facts['subjects'])} subjects")
        hours = self.facts["hours"]
        if hours is not None and hours < MIN_HOURS:
            reasons.append(f"only {hours * 60:.1f} min of EEG")
        return ", ".join(reasons) or None


def as_data(X: Any, y: Any = None, groups: Any = None) -> Data:
    """Check and describe the data of a cross-validation.

    Parameters
    ----------
    X : Windows, array of shape (n, n_chans, n_times) or mne.Epochs
    y : array of shape (n,) or (n, n_classes), optional
        Labels, 0 (background) or 1 (seizure), or 0 to n_classes - 1; or soft targets, whose rows
        sum to 1.  Those of the ``Windows`` by default, soft ones beside labels where they have any.
    groups : array of shape (n,), optional
        Subject of each window; those of the ``Windows`` by default.

    Returns
    -------
    Data

    Raises
    ------
    ValueError
        Labels or subjects are missing, of another length, or not what is expected; windows of an
        array without any channel.
    SubjectLeakError
        A recording is there under the names of two subjects.
    """
    is_windows = isinstance(X, Windows)
    if isinstance(X, (list, tuple)):
        X = np.asarray(X)
    if not is_windows and not hasattr(X, "get_data") and getattr(getattr(X, "dtype", None), "kind", "") not in "fiu":
        raise ValueError(f"cross-validation takes Windows, an array of numbers or Epochs, not {type(X).__name__}")
    if is_windows and y is None:
        _check_one_meaning(X)
    targets = X.targets if y is None and is_windows else y if are_soft(y) else None
    y = X.y if y is None and is_windows else y
    groups = getattr(X, "groups", None) if groups is None else groups  # of Windows and of SubjectArrays
    for name, value in (("y", y), ("groups", groups)):
        if value is None:
            raise ValueError(
                f"{type(X).__name__} do not say their {'labels' if name == 'y' else 'subjects'}: pass {name}="
            )
        wanted = 2 if name == "y" and are_soft(value) else 1
        if np.ndim(value) != wanted or len(value) != len(X):
            raise ValueError(
                f"{name} must have one entry a window: {len(X)} windows, {name} of shape {np.shape(value)}"
            )
    targets = None if targets is None else read_targets(targets, "y")
    names = tuple(X.classes) if is_windows else TWO_CLASSES
    labels = read_targets(y, "y").argmax(axis=1) if are_soft(y) else _labels(y, names if is_windows else None)
    classes = _class_names(names, labels, targets)
    subjects = _subjects(groups)
    _check_some_channel(X, subjects)
    if is_windows and not np.array_equal(subjects, _subjects(X.groups)):
        raise ValueError("groups differ from the subjects that the Windows carry; leave groups out")
    if is_windows:
        check_recordings_apart(X.recordings)
    nothing = {"recording": None, "subject": subjects, "start_s": np.nan, "stop_s": np.nan}
    table = _table(X, subjects) if is_windows else pd.DataFrame(nothing)
    facts = _facts(X, labels, subjects, table, targets)
    if classes != TWO_CLASSES or targets is not None:
        facts |= _facts_by_class(classes, labels, subjects, targets)  # type: ignore[typeddict-item]
    return Data(X, labels, subjects, table, facts, classes, targets)


def _check_some_channel(X: Any, subjects: np.ndarray) -> None:
    """Raise where windows of an array hold nothing; ``Windows`` name such ones when read."""
    if not isinstance(X, np.ndarray) or X.ndim < 3 or X.dtype.kind != "f":
        return
    inside = tuple(range(1, X.ndim))
    rows = np.flatnonzero(np.isnan(X[..., 0]).all(axis=inside[:-1]))  # an absent channel is NaN throughout
    empty = rows[np.isnan(X[rows]).all(axis=inside)]
    if len(empty):
        whose = ", ".join(sorted(set(subjects[empty]))[:5])
        raise ValueError(
            f"{len(empty)} windows (the first is {empty[0]}; of {whose}) are NaN throughout: no channel is present, so there is "
            "nothing to score; leave them out"
        )


def check_classes(estimator: Any, n_classes: int = 2) -> None:
    """Check that every classifier in an estimator has the classes 0 and 1, in any order.

    Of more classes 0 to ``n_classes - 1``.

    Raises
    ------
    ValueError
        ``classes`` of a ``BIOTClassifier`` are others, so that the first fit would fail.

    Examples
    --------
    >>> from biot_bd import BIOTClassifier
    >>> from biot_bd.evaluation.data import check_classes
    >>> check_classes(BIOTClassifier(classes=(1, 0)))
    >>> check_classes(BIOTClassifier(classes=("background", "seizure")))
    Traceback (most recent call last):
    ...
    ValueError: classes=('background', 'seizure'), but cross-validation ... or leave them out
    """
    inside = estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ()
    for part in (estimator, *inside):
        if not isinstance(part, BIOTClassifier) or part.classes is None:
            continue
        if n_classes > 2 and set(given_labels(part.classes).tolist()) != set(range(n_classes)):
            raise ValueError(
                f"classes={part.classes!r}, but the labels are 0 to {n_classes - 1}; give classes={tuple(range(n_classes))}"
            )
        if n_classes == 2 and set(given_labels(part.classes).tolist()) != {0, 1}:
            raise ValueError(
                f"classes={part.classes!r}, but cross-validation and final models know the labels 0 (background) and 1 "
                "(seizure) only; give classes=(0, 1), or leave them out"
            )


def _check_one_meaning(windows: Windows) -> None:
    """Raise where labels mean other things in the corpora that windows are of."""
    found = list(dict.fromkeys(table.classes for table in windows.tables))
    if len(found) > 1:
        raise ValueError(
            f"labels mean other things in each of the joined corpora: {' | '.join(', '.join(one) for one in found)} (from 0 on); "
            "relabel all of them by one rule, or score each alone"
        )


def _class_names(names: tuple[str, ...], labels: np.ndarray, targets: np.ndarray | None) -> tuple[str, ...]:
    """Return the name of each class: those given, numbers where there are more."""
    n_classes = targets.shape[1] if targets is not None else max(len(names), int(labels.max(initial=0)) + 1)
    return names if len(names) == n_classes else tuple(map(str, range(n_classes)))


def _labels(y: Any, names: tuple[str, ...] | None) -> np.ndarray:
    """Return labels as positions among the classes; without names every one must occur."""
    y = read_labels(y, "y")
    found = np.unique(y).tolist()
    several = (
        found == list(range(len(found))) if names is None else len(names) > 2 and set(found) <= set(range(len(names)))
    )
    if not set(found) <= {0, 1} and not several:
        raise ValueError(
            f"labels must be 0 (background) and 1 (seizure), numbers, found {found[:6]}; "
            f"compare them, e.g. y=np.asarray(y) == {found[-1]!r}, or number all classes from 0"
        )
    return y.astype(np.int64)


def _subjects(groups: Any) -> np.ndarray:
    masked = np.ma.getmaskarray(groups) if np.ma.isMaskedArray(groups) else False
    numbers, found = pd.factorize(np.asarray(groups).astype(object, copy=False))  # no name has the number -1
    # One text a subject, however many windows: that is what is compared, and pickled.
    names = np.append(np.asarray(found).astype(str), "").astype(object)
    nameless = masked | (names[numbers] == "")
    if nameless.any():
        raise ValueError(
            f"{int(nameless.sum())} windows have no subject (first: window {int(np.argmax(nameless))}); name one for each"
        )
    return names[numbers]


def _table(X: Windows, subjects: np.ndarray) -> pd.DataFrame:
    table = X.metadata[["recording", "start_s", "stop_s"]].reset_index(drop=True)
    table.insert(1, "subject", subjects)
    owners = table.drop_duplicates(["recording", "subject"])
    twice = owners[owners["recording"].duplicated(keep=False)]
    if len(twice):
        name = twice["recording"].iloc[0]
        both = " and ".join(map(str, twice.loc[twice["recording"] == name, "subject"]))
        raise ValueError(
            f"recording {name!r} is one of {both}: names must tell the recordings of all joined stores apart; "
            "change description['recording'] and prepare one of them again"
        )
    return table


def _facts_by_class(
    classes: tuple[str, ...], y: np.ndarray, subjects: np.ndarray, targets: np.ndarray | None
) -> dict[str, Any]:
    """Return what the facts of data of several classes, or with soft targets, say instead."""
    facts: dict[str, Any] = {"classes": list(classes), "soft_targets": targets is not None}
    facts["n_windows_by_class"] = np.bincount(y, minlength=len(classes)).tolist()
    if len(classes) > 2:
        windows = pd.Series(subjects).value_counts(sort=False)
        facts |= {"n_seizure_windows": None, "prevalence": None}
        facts["subjects"] = {name: {"n_windows": int(windows[name])} for name in sorted(windows.index)}
    return facts


def _facts(
    X: Any, y: np.ndarray, subjects: np.ndarray, table: pd.DataFrame, targets: np.ndarray | None = None
) -> DataFacts:
    is_windows = isinstance(X, Windows)
    by_subject = pd.DataFrame({"n_windows": 1, "n_seizure_windows": y}).groupby(subjects).sum()
    hours = None
    if is_windows:
        spans = table.groupby("recording")[["start_s", "stop_s"]].agg({"start_s": "min", "stop_s": "max"})
        hours = float((spans["stop_s"] - spans["start_s"]).sum() / 3600)
    return {
        **({"tables": _tables(X)} if is_windows else {}),  # type: ignore[typeddict-item]  # mypy follows no **
        "kind": "Windows" if is_windows else type(X).__name__,
        "fingerprint": _fingerprint(X, y, subjects, table, targets),
        "folder": str(X.folder) if is_windows and X.folder is not None and not X.anonymous else None,
        "label_rule": X.label_rule if is_windows else None,
        "generated": bool(X.generated) if is_windows else False,
        **({"anonymous": True} if is_windows and X.anonymous else {}),  # type: ignore[typeddict-item]
        "n_windows": len(y),
        "n_seizure_windows": int(y.sum()),
        "prevalence": float(y.mean()) if len(y) else None,
        "hours": hours,
        "ch_names": list(X.ch_names) if is_windows and X.ch_names is not None else None,
        "sfreq": float(X.sfreq) if is_windows and X.sfreq is not None else None,
        "subjects": {
            str(s): {str(k): int(n) for k, n in row.items()} for s, row in by_subject.to_dict("index").items()
        },
    }


def _tables(windows: Windows) -> list[str]:
    return [table.fingerprint for table in windows.tables]


def other_windows(data: Mapping[str, Any], windows: Windows) -> str | None:
    """Say in one line how prepared windows are not those that a run was made from.

    Parameters
    ----------
    data : mapping
        The ``data`` entry of ``run.json``.
    windows : Windows
        Any selection of them.

    Returns
    -------
    str or None
        None where they are, or where the run does not say.
    """
    there, here = data.get("tables"), _tables(windows)
    if there is None or set(here) <= set(there):
        return None
    return (
        f"the prepared windows at {windows.folder} are not those that this run was made from: their fingerprint is "
        f"{', '.join(here)}, that of the run's {', '.join(there)}; prepare them again with its data and parameters"
    )


def _fingerprint(X: Any, y: np.ndarray, subjects: np.ndarray, table: pd.DataFrame, targets: np.ndarray | None) -> str:
    """Return 16 hexadecimal digits over the signals (or the store's own fingerprint), rows,
    labels and subjects.
    """
    digest = hashlib.sha256()
    if isinstance(X, Windows):
        digest.update(f"{X.fingerprint} {X.shape} {X.unit}".encode())
        digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    else:
        signals = np.ascontiguousarray(X.get_data(copy=False) if hasattr(X, "get_data") else np.asarray(X))
        digest.update(f"{signals.shape} {signals.dtype}".encode())
        digest.update(signals.reshape(-1).view(np.uint8).data)
    digest.update(y.tobytes())
    if targets is not None:
        digest.update(f"{targets.shape}".encode() + targets.tobytes())
    digest.update("\n".join(subjects).encode())
    return digest.hexdigest()[:16]
