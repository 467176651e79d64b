"""Scores that no run stores by itself: of curves over all thresholds, against chance, by NEDC.

Each takes a :class:`~biot_bd.evaluation.stored_predictions.StoredRun` and returns plain values; a
score that is undefined is None with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from biot_bd.evaluation.conformal import coverage_of, sets_of
from biot_bd.evaluation.metrics.sens_fa import FORMS, sens_fa_score, step_area
from biot_bd.evaluation.metrics.window_metrics import Score
from biot_bd.evaluation.run_facts import Cells, of_seizures
from biot_bd.evaluation.stored_predictions import StoredRun
from biot_bd.events.chance import score_chance
from biot_bd.events.detector import EventDetector
from biot_bd.events.nedc import METHODS, score_nedc_subjects
from biot_bd.events.scoring import scorer
from biot_bd.events.threshold_sweep import Cells as SweptCells
from biot_bd.events.threshold_sweep import Sweep, sweep_thresholds

RATES_PER_H = (1.0, 0.1)
"""Rates of false alarms an hour that the sensitivity is told at."""
_STEP_DIGITS = 6
_NO_RECORDINGS = "the data names no recordings, so there are no events"
_SEVERAL = "more than two classes"
_NO_SEIZURES = "the classes are others than background and seizure"


def sens_fa_of(predictions: pd.DataFrame) -> Cells:
    """Return the Sens@FA AUC of test windows in both forms.

    Parameters
    ----------
    predictions : pandas.DataFrame
        As ``predictions.parquet``; rows of other parts than ``"test"`` are left out.

    Returns
    -------
    dict
        ``window_s`` (the step from window to window, which one probability speaks for; None where
        there is none) and, by form, ``{"value", "reason"}``.  Recordings are cut where windows are
        missing.

    See Also
    --------
    biot_bd.evaluation.metrics.sens_fa_auc : What is computed.

    Examples
    --------
    >>> start = [0.0, 10.0, 20.0]
    >>> table = pd.DataFrame(
    ...     {"part": "test", "fold": 0, "recording": "rec01", "start_s": start}
    ... )
    >>> table = table.assign(stop_s=[10.0, 20.0, 30.0], y_true=[0, 1, 0], proba=[0.1, 0.9, 0.2])
    >>> sens_fa_of(table)["strict"]
    {'value': 1.0, 'reason': None}
    """
    test = predictions[predictions["part"] == "test"].sort_values(["fold", "recording", "start_s"], kind="stable")
    if test["recording"].isna().any() or not len(test):
        return _undefined("the data names no recordings")
    gaps = test.groupby(["fold", "recording"])["start_s"].diff().to_numpy(dtype=np.float64).round(_STEP_DIGITS)
    known = gaps[np.isfinite(gaps)]
    if not len(known):
        return _undefined("recordings have one window each, so nothing says how long one speaks for")
    step = float(known.min())
    if step <= 0 or not np.allclose(known / step, np.round(known / step), atol=1e-3):
        return _undefined("windows do not start at equal steps, so their alarms cannot be counted by the hour")
    length = float((test["stop_s"] - test["start_s"]).median())
    if length < step - 10**-_STEP_DIGITS and len(known) and np.isclose(known, step).all():
        return _undefined(f"windows of {length:g} s stand {step:g} s apart, so most of the time nobody looks at")
    pieces = np.cumsum(~(np.isclose(gaps, step)))  # a recording goes on where the next window is one step away
    folds = [(part["y_true"], part["proba"], pieces[rows]) for part, rows in _by_fold(test)]
    return {"window_s": step, **{form: sens_fa_score(folds, form, step).as_dict() for form in FORMS}}


def _undefined(reason: str) -> Cells:
    return {"window_s": None, **{form: Score(None, reason).as_dict() for form in FORMS}}


def _why_no_events(run: StoredRun) -> str:
    if run.several_classes:
        return _SEVERAL
    return _NO_RECORDINGS if of_seizures(run.run["data"].get("classes")) else _NO_SEIZURES


def _by_fold(test: pd.DataFrame) -> list[tuple[pd.DataFrame, np.ndarray]]:
    numbers = test["fold"].to_numpy()
    return [(test[numbers == fold], np.flatnonzero(numbers == fold)) for fold in np.unique(numbers)]


def sens_fa(run: StoredRun) -> Cells:
    """Return the Sens@FA AUC of windows; see :func:`sens_fa_of`."""
    if not of_seizures(run.run["data"].get("classes")):
        return _undefined(_why_no_events(run))
    return sens_fa_of(run.predictions)


def sensitivity_at_fa(run: StoredRun, rates_per_h: Sequence[float] = RATES_PER_H) -> Cells:
    """Return the best sensitivity of events at given rates of false alarms.

    Every fold's curve (smoothed as its detector smooths, second by second) is cut at every distinct
    value, and its runs are scored against the annotated seizures as SzCORE prescribes.  The
    thresholds are read off the test recordings, so these are properties of the ranking, not of an
    operating point that anybody could have chosen.

    Returns
    -------
    dict
        ``scorer``; ``rates``, a row a rate: ``fa_per_h``, ``value`` (mean over the folds with
        seizures), ``n_folds``, ``reason``, ``folds`` (``{fold: sensitivity}``); ``area``, the area
        under the median curve against log10 of false alarms an hour from 0.1 to 100, as in the
        strict Sens@FA AUC.

    See Also
    --------
    biot_bd.evaluation.metrics.sens_fa_auc : The same of windows.
    """
    sweeps, reason = _sweeps(run)
    rows = []
    for rate in rates_per_h:
        found = {str(fold): float(sweep.best_sensitivity([rate])[0]) for fold, sweep in sweeps.items()}
        value = float(np.mean(list(found.values()))) if found else None
        rows.append({"fa_per_h": rate, "value": value, "n_folds": len(found), "reason": reason, "folds": found})
    area = Score(step_area(list(sweeps.values()))) if sweeps else Score(None, reason)
    return {"scorer": scorer(), "rates": rows, "area": area.as_dict()}


def _sweeps(run: StoredRun) -> tuple[dict[int, Sweep], str | None]:
    """Return the sweep of each fold that has seizures, or why there is none."""
    if run.recordings is None:
        return {}, _why_no_events(run)
    out = {}
    for fold in run.folds:
        events, test = fold["events"], run.test[run.test["fold"] == fold["fold"]]
        if events is None:
            continue
        detector = EventDetector.from_dict(events["detector"], f"fold {fold['fold']}")
        cells = []
        for name, rows in test.groupby("recording", sort=True):
            one = events["recordings"][str(name)]
            curve = detector.curve(rows["proba"], rows["start_s"], one["duration_s"])[1]
            cells.append(SweptCells(str(name), curve, 1.0, one["reference"], one["duration_s"]))
        sweep = sweep_thresholds(cells)
        if sweep.n_reference:
            out[int(fold["fold"])] = sweep
    return out, None if out else "no seizure in any fold"


def _of_events(score: Callable[..., Cells], run: StoredRun) -> Cells:
    """Return scores of the events that the folds' detectors found, or why there are none."""
    recordings = run.recordings
    if recordings is None:
        return {"value": None, "reason": _why_no_events(run)}
    return score(recordings)


def conformal(run: StoredRun) -> Cells:
    """Return the coverage of conformal sets by class at a level of 0.9, and at the highest level
    that the run's validation subjects can promise.

    See Also
    --------
    biot_bd.evaluation.conformal_sets : What is computed.
    """
    out = {}
    folds = sets_of(run.predictions, by_class=True)[1]
    highest = min(fold["highest_level"] for fold in folds)
    for name, level in (("0.9", 0.9), ("highest", highest)):
        if not 0 < level < 1:
            out[name] = {"level": level, "reason": "some fold has no validation windows of a class"}
            continue
        sets, folds = sets_of(run.predictions, level=level, by_class=True)
        out[name] = coverage_of(sets, folds, level=level, by_class=True)
    return out


FURTHER: Mapping[str, Callable[[StoredRun], Any]] = MappingProxyType(
    {
        "sens_fa_auc": sens_fa,
        "sensitivity_at_fa": sensitivity_at_fa,
        "chance": partial(_of_events, score_chance),
        "conformal": conformal,
        **{name: partial(_of_events, partial(score_nedc_subjects, method=name)) for name in METHODS},
    }
)
"""Scores of whole runs by name, beside the metrics of the registry."""
