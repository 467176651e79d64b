"""Check a label rule: seizures of a recording in, a table of labelled windows out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from biot_bd.exceptions import ConformanceError
from biot_bd.testing._base import attempt, build, describe, pickled, require
from biot_bd.training.soft_targets import read_targets

COLUMNS = ("start_sample", "n_samples", "label", "kind", "seizure_fraction")
CASES: dict[str, list[tuple[float, float]]] = {
    "no seizure": [],
    "one seizure": [(100.0, 160.0)],
    "a seizure shorter than a window": [(203.0, 206.0)],
    "two seizures, one running to the end": [(40.0, 75.5), (280.0, 300.0)],
}


def check_label_rule(
    rule: type,
    parameters: Mapping[str, Any] | None = None,
    *,
    annotations: Sequence[tuple[float, float, str]] = (),
) -> None:
    """Check a class given to ``register_label_rules``.

    Parameters
    ----------
    rule : type
        A class; an instance is called as ``rule(n_samples, sfreq, events, window_s=...,
        stride_s=...)`` with events of shape (n_events, 2), each (onset_s, offset_s), and returns
        one row a window.
    parameters : mapping, optional
        Constructor parameters to test with.
    annotations : sequence of (onset_s, duration_s, description), optional
        Of a recording of 300 s, for a rule that says ``needs_annotations``: windows of two classes
        or more must come of them, and nothing is asked of seizures.

    Raises
    ------
    ConformanceError
        A column is missing, a window lies outside the recording, a label is no integer >= 0,
        ``seizure_fraction`` is not the share of the window inside seizures, a seizure gets no
        positive window (but of a rule that says ``labels_nothing``), a recording without seizures
        gets one, a short recording raises, or two calls differ.  Of a rule that reads annotations:
        they make no windows of two classes, a label is of none of its ``classes``, columns
        ``target_0``, ``target_1`` ... are not one a class, not finite, negative, or do not sum to
        1.

    See Also
    --------
    biot_bd.hookspecs.register_label_rules : The hook for such classes.
    biot_bd.windows.Overlap : The default rule.

    Examples
    --------
    >>> from biot_bd.testing import check_label_rule
    >>> from biot_bd.windows import Overlap
    >>> check_label_rule(Overlap)

    A rule that overlooks seizures shorter than a window:

    >>> class Inside(Overlap):
    ...     def __call__(self, *args, **kwargs):
    ...         table = super().__call__(*args, **kwargs)
    ...         return table.assign(label=(table["seizure_fraction"] == 1).astype(int))
    >>> check_label_rule(Inside)
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ConformanceError: Inside: ...
    """
    name = describe(rule)
    instance = build(rule, parameters)
    require(callable(instance), f"{name}: its instances cannot be called")
    settings = _settings(instance, name)
    if getattr(instance, "needs_annotations", False):
        _check_annotated(instance, name, settings, annotations)
        return
    for sfreq in (256.0, 200.0):
        for case, events in CASES.items():
            table = _table(instance, name, 300.0, sfreq, events, settings, case)
            positive = table["label"].to_numpy() > 0
            wanted = bool(events) and not getattr(instance, "labels_nothing", False)
            require(positive.any() == wanted, f"{name}: {case}: {int(positive.sum())} windows are positive")
    short = _table(instance, name, 3.0, 256.0, [], settings, "a recording shorter than a window")
    require((short["label"] == 0).all(), f"{name}: a short recording without seizures has a positive window")
    events = CASES["one seizure"]
    first = _table(instance, name, 300.0, 256.0, events, settings, "one seizure")
    for other, what in ((instance, "two calls"), (pickled(instance, name), "before and after pickling, tables")):
        again = _table(other, name, 300.0, 256.0, events, settings, "one seizure")
        require(first.equals(again), f"{name}: {what} differ on the same recording")


def _check_annotated(
    instance: Any, name: str, settings: dict[str, Any], annotations: Sequence[tuple[float, float, str]]
) -> None:
    """Check a rule that labels by more than seizures."""
    require(bool(annotations), f"{name} needs annotations: give some of a recording of 300 s, annotations=[...]")
    classes = tuple(getattr(instance, "classes", ()))
    given = {**settings, "annotations": list(annotations)}
    for sfreq in (256.0, 200.0):
        table = _table(instance, name, 300.0, sfreq, [], given, "annotations")
        labels = table["label"].to_numpy()
        require(
            len(np.unique(labels)) >= 2,
            f"{name}: the annotations give {len(table)} windows of the label(s) {np.unique(labels).tolist()}; give some "
            "that make windows of two classes",
        )
        require(
            not classes or (labels < len(classes)).all(),
            f"{name}: label {labels.max()} is none of {len(classes)} classes",
        )
        _check_shares(table, name, len(classes))
    empty = _table(
        instance, name, 3.0, 256.0, [], {**settings, "annotations": []}, "a short recording, nothing annotated"
    )
    require(len(empty) == 0 or not getattr(instance, "labels_nothing", False), f"{name}: a window of no annotation")
    first = _table(instance, name, 300.0, 256.0, [], given, "annotations")
    again = _table(pickled(instance, name), name, 300.0, 256.0, [], given, "annotations")
    require(first.equals(again), f"{name}: before and after pickling, tables differ on the same recording")


def _check_shares(table: pd.DataFrame, name: str, n_classes: int) -> None:
    """Check soft targets, where a rule returns some."""
    found = [column for column in table.columns if str(column).startswith("target_")]
    if not found:
        return
    wanted = [f"target_{k}" for k in range(n_classes)]
    require(found == wanted, f"{name}: target columns are {found}; expected one a class, {wanted}")
    try:
        targets = read_targets(table[found].to_numpy(), f"{name}: targets")
    except ValueError as error:
        raise ConformanceError(str(error)) from error
    of_label = targets[np.arange(len(table)), table["label"].to_numpy()]
    require((of_label >= targets.max(axis=1)).all(), f"{name}: a label is not the class with the largest share")


def _settings(instance: Any, name: str) -> dict[str, Any]:
    signature = attempt(f"{name}: reading the signature", inspect.signature, instance)
    missing = [key for key in ("window_s", "stride_s") if key not in signature.parameters]
    require(not missing, f"{name}: instances do not take {missing}; they take {list(signature.parameters)}")
    # A rule that fixes its window and stride says so in attributes.
    fixed = {key: getattr(instance, key, None) for key in ("window_s", "stride_s")}
    return {
        key: default if fixed[key] is None else fixed[key] for key, default in (("window_s", 10.0), ("stride_s", 5.0))
    }


def _table(
    rule: Any, name: str, seconds: float, sfreq: float, events: Any, settings: Mapping[str, Any], case: str
) -> pd.DataFrame:
    n_samples = round(seconds * sfreq)
    given = np.asarray(events, dtype=float).reshape(-1, 2)
    before = given.copy()
    table = attempt(f"{name}: {case} at {sfreq:g} Hz", rule, n_samples, sfreq, given, **settings)
    where = f"{name}: {case} at {sfreq:g} Hz"
    require(np.array_equal(given, before), f"{where}: changed the events in place")
    require(isinstance(table, pd.DataFrame), f"{where}: expected a pandas.DataFrame, got {type(table).__name__}")
    missing = [column for column in COLUMNS if column not in table.columns]
    require(not missing, f"{where}: columns {missing} are missing; found {list(table.columns)}")
    require(list(table.index) == list(range(len(table))), f"{where}: the index is not 0 ... n - 1; reset it")
    for column in ("start_sample", "n_samples", "label"):
        require(
            pd.api.types.is_integer_dtype(table[column]), f"{where}: {column} is {table[column].dtype}, not integer"
        )
    start, length = table["start_sample"].to_numpy(), table["n_samples"].to_numpy()
    outside = (start < 0) | (length < 1) | (start + length > n_samples)
    require(not outside.any(), f"{where}: {int(outside.sum())} windows lie outside of {n_samples} samples")
    require((table["label"] >= 0).all(), f"{where}: a label is negative; leave such windows out")
    share = _seizure_share(start, length, sfreq, given)
    found = table["seizure_fraction"].to_numpy(dtype=float)
    slack = 2.0 / np.maximum(length, 1)  # both ends of a seizure are rounded to samples
    require(
        (np.abs(found - share) <= slack + 1e-9).all(),
        f"{where}: seizure_fraction is not the share of each window inside seizures "
        f"(off by up to {np.abs(found - share).max(initial=0):.3g})",
    )
    return table


def _seizure_share(start: np.ndarray, length: np.ndarray, sfreq: float, events: np.ndarray) -> np.ndarray:
    share = np.zeros(len(start))
    for onset, offset in events * sfreq:
        inside = np.minimum(start + length, offset) - np.maximum(start, onset)
        share += np.clip(inside, 0, None) / np.maximum(length, 1)
    return share
