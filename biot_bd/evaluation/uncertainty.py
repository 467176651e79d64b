"""How sure the numbers of a run are: intervals of all its scores, calibration, recalibration; paired tests of two runs.

All of it follows from what a run stores (``predictions.parquet``, ``metrics.json``), so a finished run can be assessed again
with other seeds and levels without computing it anew.  :func:`assess` returns plain values, the content of
``certainty.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biot_bd.evaluation.metrics.calibration import BINS, bin_edges, bin_of, calibration
from biot_bd.evaluation.recalibration import FEW_ISOTONIC, METHODS, recalibrate_predictions
from biot_bd.evaluation.result import Result
from biot_bd.evaluation.statistics.hierarchical_bootstrap import RESAMPLED, Draws, Scores
from biot_bd.evaluation.statistics.resampled_scores import (
    COUNTS,
    EVENT_SCORES,
    WINDOW_SCORES,
    EventParts,
    WindowParts,
    event_scores,
)

N_RESAMPLES = 999
Intervals = dict[str, dict[str, Any]]


def assess(
    result: Result, *, level: float = 0.95, n_resamples: int = N_RESAMPLES, random_state: int = 0
) -> dict[str, Any]:
    """Assess a finished run.

    Parameters
    ----------
    result : Result
    level : float, default=0.95
        Of the intervals.
    n_resamples : int, default=999
    random_state : int, default=0
        Seed of the resamples.

    Returns
    -------
    dict
        ``level``, ``n_resamples``, ``random_state``, ``resampled``, ``method``; ``windows`` and ``events`` (None where the run has
        none), each as :func:`window_intervals` returns them; ``calibration``.

    Raises
    ------
    ValueError
        A parameter is out of range, or the run has no test windows.
    """
    test = result.predictions[result.predictions["part"] == "test"]
    options: dict[str, Any] = {"level": level, "n_resamples": n_resamples, "random_state": random_state}
    counts = event_counts_of(result.metrics)
    return {
        **options,
        "resampled": RESAMPLED,
        "method": "percentile",
        "windows": window_intervals(test, result.metrics, **options),
        "events": None if counts is None else event_intervals(counts, **options),
        "calibration": _calibration(result.predictions, **options),
    }


def window_intervals(
    test: pd.DataFrame,
    metrics: Mapping[str, Any],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    random_state: int = 0,
) -> dict[str, Any]:
    """Return intervals of the scores of windows.

    Parameters
    ----------
    test : DataFrame
        Predictions on test windows, as in ``predictions.parquet``.
    metrics : mapping
        Content of ``metrics.json``: the scores that the intervals belong to.
    level, n_resamples, random_state
        As in :func:`assess`.

    Returns
    -------
    dict
        ``macro`` and ``pooled`` (metric -> interval), ``subjects`` (subject -> metric -> interval over that subject's recordings),
        ``left_out`` (metrics without intervals, and why).
    """
    recording, subjects = _recordings(test)
    draws = Draws(subjects, n_resamples=n_resamples, random_state=random_state)
    parts = WindowParts(test, recording, len(subjects))
    known = [name for name in metrics["scoring"] if name in WINDOW_SCORES]
    out: dict[str, Any] = {
        "macro": {},
        "pooled": {},
        "subjects": {subject: {} for subject in draws.rows},
        "left_out": {
            name: "a metric of a plugin: its resamples cannot be scored at once"
            for name in metrics["scoring"]
            if name not in known
        },
    }
    by_subject = _SubjectScores(test, recording)
    for name in known:
        scores = {subject: by_subject(name, rows, draws.within[subject]) for subject, rows in draws.rows.items()}
        pooled = draws.pooled(partial(parts.score, name))
        out["macro"][name] = draws.interval(_value(metrics["macro"], name), draws.macro(scores), level=level).as_dict()
        out["pooled"][name] = draws.interval(_value(metrics["pooled"], name), pooled, level=level).as_dict()
        for subject in draws.rows:
            value = _value(metrics["subjects"][subject], name)
            found = draws.interval_within(subject, value, scores[subject], level=level)
            out["subjects"][subject][name] = found.as_dict()
    return out


class _SubjectScores:
    """Score draws of one subject's recordings; a subject tested in several folds gets the mean of the folds."""

    def __init__(self, test: pd.DataFrame, recording: NDArray[np.int64]) -> None:
        self._test, self._recording = test, recording
        self._parts: dict[int, list[WindowParts]] = {}

    def __call__(self, metric: str, rows: NDArray[np.int64], weights: NDArray[np.int64]) -> Scores:
        if int(rows[0]) not in self._parts:
            inside = np.isin(self._recording, rows)
            own, number = self._test[inside], np.searchsorted(rows, self._recording[inside])
            fold = own["fold"].to_numpy() if "fold" in own else np.zeros(len(own))
            self._parts[int(rows[0])] = [
                WindowParts(own[fold == f], number[fold == f], len(rows)) for f in np.unique(fold)
            ]
        found = [part.score(metric, np.arange(len(rows)), weights) for part in self._parts[int(rows[0])]]
        return np.mean(found, axis=0)


def _recordings(test: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the number of each window's recording, and the subject of each recording; an unknown recording is the subject."""
    if len(test) == 0:
        raise ValueError("there are no test windows, so there is nothing to resample")
    subject = test["subject"].astype(str)
    recording = test["recording"].astype("string").fillna("")
    number, keys = pd.factorize(pd.MultiIndex.from_arrays([subject, recording]), sort=True)
    return number.astype(np.int64), np.array([key[0] for key in keys], dtype=object)


def _value(cells: Mapping[str, Any], name: str) -> float | None:
    return (cells.get(name) or {}).get("value")


# --- events -----------------------------------------------------------------------------------------------


def event_counts_of(metrics: Mapping[str, Any]) -> pd.DataFrame | None:
    """Return the counts of each recording that ``metrics.json`` holds under ``events``, or None.

    Returns
    -------
    DataFrame or None
        ``subject``, ``recording``, ``tp``, ``fp``, ``n_reference``, ``duration_s``.
    """
    rows = (metrics.get("events") or {}).get("recordings")
    return pd.DataFrame(rows)[["subject", "recording", *COUNTS]] if rows else None


def event_intervals(
    counts: pd.DataFrame, *, level: float = 0.95, n_resamples: int = N_RESAMPLES, random_state: int = 0
) -> dict[str, Any]:
    """Return event scores with intervals, from the counts of recordings.

    Parameters
    ----------
    counts : DataFrame
        One row a recording: ``subject``, ``tp``, ``fp``, ``n_reference``, ``duration_s``.
    level, n_resamples, random_state
        As in :func:`assess`.

    Returns
    -------
    dict
        ``macro`` (counts summed by subject, scored, mean over the subjects for whom the score is defined, as SzCORE prescribes),
        ``pooled`` (counts of all summed) and ``subjects``, each score -> interval, for sensitivity, precision, f1, fa_per_24h.

    Raises
    ------
    ValueError
        A column is missing, a count is negative or not finite, or a parameter is out of range.
    """
    parts = EventParts(counts)
    draws = Draws(counts["subject"].to_numpy(), n_resamples=n_resamples, random_state=random_state)
    exact = event_scores_by_subject(counts)
    together = event_scores(counts[list(COUNTS)].sum().to_dict())
    out: dict[str, Any] = {"macro": {}, "pooled": {}, "subjects": {subject: {} for subject in draws.rows}}
    for name in EVENT_SCORES:
        scores = draws.by_subject(partial(parts.score, name))
        known = [value for subject in draws.rows if (value := exact[subject][name]) is not None]
        mean = float(np.mean(known)) if known else None
        out["macro"][name] = {
            **draws.interval(mean, draws.macro(scores), level=level).as_dict(),
            "n_defined": len(known),
        }
        out["pooled"][name] = draws.interval(
            together[name], draws.pooled(partial(parts.score, name)), level=level
        ).as_dict()
        for subject in draws.rows:
            found = draws.interval_within(subject, exact[subject][name], scores[subject], level=level)
            out["subjects"][subject][name] = found.as_dict()
    return out


def event_scores_by_subject(counts: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Return each subject's event scores from the sums of that subject's counts."""
    sums = counts.groupby(counts["subject"].astype(str))[list(COUNTS)].sum()
    return {str(subject): event_scores(row) for subject, row in sums.to_dict("index").items()}


# --- calibration ------------------------------------------------------------------------------------------


def _calibration(predictions: pd.DataFrame, *, level: float, n_resamples: int, random_state: int) -> dict[str, Any]:
    """Return the calibration of the test windows, with intervals, and what recalibration on validation subjects does."""
    test = predictions[predictions["part"] == "test"]
    recording, subjects = _recordings(test)
    draws = Draws(subjects, n_resamples=n_resamples, random_state=random_state)
    found = calibration(test["y_true"], test["proba"])
    parts = WindowParts(test, recording, len(subjects))
    brier = draws.interval(found["brier"], draws.pooled(partial(parts.score, "brier")), level=level)
    found["brier_interval"] = brier.as_dict()
    number = bin_of(test["proba"], bin_edges(test["proba"]))
    sums = np.zeros((len(subjects), BINS, 2))
    np.add.at(sums, (recording, number, test["y_true"].to_numpy(np.int64)), 1)
    drawn = (draws.weights @ sums.reshape(len(subjects), -1)).reshape(-1, BINS, 2)
    for index, entry in enumerate(found["bins"]):
        n = drawn[:, index].sum(axis=1)
        shares = np.where(n > 0, drawn[:, index, 1] / np.maximum(n, 1), np.nan)
        interval = draws.interval(entry["share_seizure"], shares, level=level)
        entry |= {"share_low": interval.low, "share_high": interval.high}
    found["recalibrated"] = {method: _recalibrated(predictions, method) for method in METHODS}
    return found


def _recalibrated(predictions: pd.DataFrame, method: str) -> dict[str, Any]:
    """Return the calibration after recalibration, beside that of the same test windows before."""
    after, curves, left_out = recalibrate_predictions(predictions, method)
    test = predictions[(predictions["part"] == "test") & predictions["fold"].isin(list(curves))]
    few = [str(fold) for fold, curve in curves.items() if curve.n_windows < FEW_ISOTONIC]
    notes = [f"fold {fold}: not recalibrated, {reason}" for fold, reason in left_out.items()]
    if few and method == "isotonic":
        notes.append(
            f"fold(s) {', '.join(few)}: fewer than {FEW_ISOTONIC} validation windows, where a step curve follows the noise"
        )
    return {
        "before": calibration(test["y_true"], test["proba"]),
        "after": calibration(after["y_true"], after["proba"]),
        "folds": {str(fold): curve.as_dict() for fold, curve in curves.items()},
        "notes": notes,
    }
