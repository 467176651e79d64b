"""Check a label rule: seizures of a recording in, a table of labelled windows out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from biot_bd.testing._base import attempt, build, describe, pickled, require

COLUMNS = ("start_sample", "n_samples", "label", "kind", "seizure_fraction")
CASES: dict[str, list[tuple[float, float]]] = {
    "no seizure": [],
    "one seizure": [(100.0, 160.0)],
    "a seizure shorter than a window": [(203.0, 206.0)],
    "two seizures, one running to the end": [(40.0, 75.5), (280.0, 300.0)],
}


def check_label_rule(rule: type, parameters: Mapping[str, Any] | None = None) -> None:
    """Check a class given to ``register_label_rules``.

    Parameters
    ----------
    rule : type
        A class; an instance is called as ``rule(n_samples, sfreq, events, window_s=...,
        stride_s=...)`` with events of shape (n_events, 2), each (onset_s, offset_s), and returns
        one row a window.
    parameters : mapping, optional
        Constructor parameters to test with.

    Raises
    ------
    ConformanceError
        A column is missing, a window lies outside the recording, a label is no integer >= 0,
        ``seizure_fraction`` is not the share of the window inside seizures, a seizure gets no
        positive window (but of a rule that says ``labels_nothing``), a recording without seizures
        gets one, a short recording raises, or two calls differ.

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


def _settings(instance: Any, name: str) -> dict[str, float]:
    signature = attempt(f"{name}: reading the signature", inspect.signature, instance)
    missing = [key for key in ("window_s", "stride_s") if key not in signature.parameters]
    require(not missing, f"{name}: instances do not take {missing}; they take {list(signature.parameters)}")
    # A rule that fixes its window and stride says so in attributes.
    return {"window_s": getattr(instance, "window_s", 10.0), "stride_s": getattr(instance, "stride_s", 5.0)}


def _table(
    rule: Any, name: str, seconds: float, sfreq: float, events: Any, settings: Mapping[str, float], case: str
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
