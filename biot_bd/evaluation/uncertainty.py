"""Intervals of all scores of a run, its calibration, and what recalibration does.

All of it follows from what a run stores (``predictions.parquet``, ``metrics.json``), so a finished
run can be assessed again with other seeds and levels without computing it anew.  :func:`assess`
returns plain values, the content of ``intervals.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biot_bd.evaluation.metrics.calibration import BINS, bin_edges, bin_of, calibration
from biot_bd.evaluation.recalibration import FEW_ISOTONIC, METHODS, recalibrate_predictions
from biot_bd.evaluation.result import Result
from biot_bd.evaluation.run_facts import Cells, RunMetrics, class_columns
from biot_bd.evaluation.statistics.exact_intervals import exact_where_degenerate
from biot_bd.evaluation.statistics.intervals import METHOD, N_RESAMPLES, RESAMPLED, SUBJECTS, Draws, Scores, Weighted
from biot_bd.evaluation.statistics.resampled_scores import (
    COUNTS,
    EVENT_SCORES,
    WINDOW_SCORES,
    EventParts,
    WindowParts,
    event_scores,
)

OF_A_PLUGIN = "a metric of a plugin: subjects alone can be resampled, so only its macro score has an interval"
OF_SEVERAL = "more than two classes: subjects alone are resampled, so only macro scores have an interval"


def assess(result: Result, *, level: float = 0.95, n_resamples: int = N_RESAMPLES, random_state: int = 0) -> Cells:
    """Assess a finished run.

    Parameters
    ----------
    result : Result
        The finished run.
    level : float, default=0.95
        Of the intervals.
    n_resamples : int, default=999
        Resamples behind each interval.
    random_state : int, default=0
        Seed of the resamples.

    Returns
    -------
    dict
        ``level``, ``n_resamples``, ``random_state``, ``resampled``, ``method``; ``windows`` and
        ``events`` (None where the run has none), each as :func:`window_intervals` returns them;
        ``calibration`` (None with more than two classes).

    Raises
    ------
    ValueError
        A parameter is out of range, or the run has no test windows.

    See Also
    --------
    cross_validate : Makes the run.
    paired_test : Two runs compared.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, cross_validate
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + y[:, None, None] / 20)
    >>> pipeline = baseline("line-length", X)
    >>> result = cross_validate(pipeline, X, y=y, groups=subjects, progress=False)
    >>> from biot_bd.evaluation import assess
    >>> found = assess(result, n_resamples=199)
    >>> found["method"], found["resampled"]
    ('percentile bootstrap', 'subjects, then recordings within subjects')
    >>> interval = found["windows"]["macro"]["roc_auc"]
    >>> interval["low"] <= interval["value"] <= interval["high"]
    True
    """
    test = result.predictions[result.predictions["part"] == "test"]
    options: Cells = {"level": level, "n_resamples": n_resamples, "random_state": random_state}
    counts = event_counts_of(result.metrics)
    return {
        **options,
        "resampled": RESAMPLED,
        "method": METHOD,
        "windows": window_intervals(test, result.metrics, **options),
        "events": None if counts is None else event_intervals(counts, **options),
        "calibration": None if _has_several(test) else _calibration(result.predictions, **options),
    }


def window_intervals(
    test: pd.DataFrame | Sequence[pd.DataFrame],
    metrics: Mapping[str, Any] | RunMetrics | Sequence[Mapping[str, Any] | RunMetrics],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    random_state: int = 0,
) -> Cells:
    """Return intervals of the scores of windows.

    Parameters
    ----------
    test : DataFrame or sequence of DataFrame
        Predictions on test windows, as in ``predictions.parquet``.  Of several runs on the same
        recordings (one a seed) the mean is taken, each resample drawing the same subjects and
        recordings from all.
    metrics : mapping or sequence of mapping
        Content of each run's ``metrics.json``: the scores that the intervals belong to.
    level, n_resamples, random_state
        As in :func:`assess`.

    Returns
    -------
    dict
        ``macro`` and ``pooled`` (metric -> interval, for ``macro`` with ``n_defined``, the subjects
        for whom it is defined), ``subjects`` (subject -> metric -> interval over that subject's
        recordings).  Of a metric of a plugin, whose resamples cannot be scored at once, subjects
        alone are resampled.

    Raises
    ------
    ValueError
        There are no test windows, or the runs differ in their recordings.
    """
    tables = [test] if isinstance(test, pd.DataFrame) else list(test)
    facts: Sequence[Mapping[str, Any]] = [metrics] if isinstance(metrics, Mapping) else list(metrics)
    numbered = [_recordings(table) for table in tables]
    subjects = numbered[0][1]
    if any(not np.array_equal(other, subjects) for _, other in numbered[1:]):
        raise ValueError("runs whose test recordings differ have no interval together")
    draws = Draws(subjects, n_resamples=n_resamples, random_state=random_state)
    several = any(map(_has_several, tables))
    pairs = [] if several else [(table, number) for table, (number, _) in zip(tables, numbered, strict=True)]
    parts = [WindowParts(table, number, len(subjects)) for table, number in pairs]
    by_subject = [_SubjectScores(table, number) for table, number in pairs]
    out: Cells = {"macro": {}, "pooled": {}, "subjects": {subject: {} for subject in draws.rows}}
    undefined = np.full(n_resamples, np.nan)
    for name in facts[0]["scoring"]:
        values = {subject: _mean_value([f["subjects"][subject] for f in facts], name) for subject in draws.rows}
        known = name in WINDOW_SCORES and not several
        if known:
            own = {s: _mean([one(name, rows, draws.within[s]) for one in by_subject]) for s, rows in draws.rows.items()}
            whole = draws.pooled(_together([partial(part.score, name) for part in parts]))
        else:
            own = {s: np.full(n_resamples, np.nan if value is None else value) for s, value in values.items()}
            whole = undefined
        macro = _mean_value([f["macro"] for f in facts], name)
        n_defined = sum(value is not None for value in values.values())
        resampled = RESAMPLED if known else SUBJECTS
        found = {
            "macro": draws.interval(macro, draws.macro(own), level=level, resampled=resampled, n_scored=n_defined),
            "pooled": draws.interval(_mean_value([f["pooled"] for f in facts], name), whole, level=level),
        }
        for average, interval in found.items():
            out[average][name] = interval.as_dict()
            out[average][name]["notes"] += [] if known else [OF_SEVERAL if several else OF_A_PLUGIN]
        out["macro"][name]["n_defined"] = n_defined
        for s in draws.rows:
            scores = own[s] if known else undefined
            out["subjects"][s][name] = draws.interval_within(s, values[s], scores, level=level).as_dict()
    return out


def _has_several(test: pd.DataFrame) -> bool:
    """Return whether predictions are of more than two classes."""
    return len(class_columns(test, "proba")) > 2


def _mean(scores: Sequence[Scores]) -> Scores:
    return np.mean(scores, axis=0)


def _together(runs: Sequence[Weighted]) -> Weighted:
    """Return the mean score of several runs, as one."""
    return lambda rows, weights: _mean([score(rows, weights) for score in runs])


def _mean_value(runs: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Return the mean of a score over runs, None where it is undefined in any."""
    return mean_or_none([(cells.get(name) or {}).get("value") for cells in runs])


class _SubjectScores:
    """Score draws of one subject's recordings.

    A subject tested in several folds gets the mean of the folds.
    """

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
    """Return the number of each window's recording, and the subject of each recording.

    An unknown recording is the subject.
    """
    if len(test) == 0:
        raise ValueError("there are no test windows, so there is nothing to resample")
    subject, subjects = pd.factorize(test["subject"].astype("string"), sort=True)
    recording, names = pd.factorize(test["recording"].astype("string").fillna(""), sort=True)
    keys, number = np.unique(subject * len(names) + recording, return_inverse=True)
    return number.astype(np.int64), np.asarray(subjects[keys // len(names)], dtype=object)


# --- events ---------------------------------------------------------------------------------------


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
    counts: pd.DataFrame | Sequence[pd.DataFrame],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    random_state: int = 0,
) -> Cells:
    """Return event scores with intervals, from the counts of recordings.

    Parameters
    ----------
    counts : DataFrame or sequence of DataFrame
        One row a recording: ``subject``, ``tp``, ``fp``, ``n_reference``, ``duration_s``.  Of
        several runs on the same recordings, in one order, the mean is taken.
    level, n_resamples, random_state
        As in :func:`assess`.

    Returns
    -------
    dict
        ``macro`` (counts summed by subject, scored, mean over the subjects for whom the score is
        defined, as SzCORE prescribes; ``n_defined`` is their number), ``pooled`` (counts of all
        summed) and ``subjects``, each score -> interval, for sensitivity, precision, f1,
        fa_per_24h.  Where all resamples of one run are equal, shares and rates of counts have an
        exact interval (``method`` says so, ``counted`` the count), and other scores none.

    Raises
    ------
    ValueError
        A column is missing, a count is negative or not finite, or a parameter is out of range.
    """
    tables = [counts] if isinstance(counts, pd.DataFrame) else list(counts)
    parts = [EventParts(table) for table in tables]
    draws = Draws(tables[0]["subject"].to_numpy(), n_resamples=n_resamples, random_state=random_state)
    exact = mean_event_scores(tables)
    counted = tables[0].groupby(tables[0]["subject"].astype(str))[list(COUNTS)].sum()
    sums = counted.to_dict("index")
    totals = [event_scores(table[list(COUNTS)].sum().to_dict()) for table in tables]
    out: Cells = {"macro": {}, "pooled": {}, "subjects": {subject: {} for subject in draws.rows}}
    for name in EVENT_SCORES:
        score = _together([partial(part.score, name) for part in parts])
        scores = draws.by_subject(score)
        known = [value for subject in draws.rows if (value := exact[name][subject]) is not None]
        mean = float(np.mean(known)) if known else None
        macro = draws.interval(mean, draws.macro(scores), level=level, n_scored=len(known))
        out["macro"][name] = {**macro.as_dict(), "n_defined": len(known)}
        pooled = draws.interval(mean_or_none([one[name] for one in totals]), draws.pooled(score), level=level)
        if len(tables) == 1 and draws.n_subjects > 1:
            pooled = exact_where_degenerate(name, pooled, counted.sum().to_dict())
        out["pooled"][name] = pooled.as_dict()
        for subject in draws.rows:
            found = draws.interval_within(subject, exact[name][subject], scores[subject], level=level)
            if len(tables) == 1:  # the mean over runs is no count
                found = exact_where_degenerate(name, found, sums[subject])
            out["subjects"][subject][name] = found.as_dict()
    return out


def mean_event_scores(tables: Sequence[pd.DataFrame]) -> dict[str, dict[str, float | None]]:
    """Return score -> subject -> mean over runs of the scores of that subject's summed counts,
    None where undefined in any.
    """
    sums = [table.groupby(table["subject"].astype(str))[list(COUNTS)].sum().to_dict("index") for table in tables]
    scores = [{str(subject): event_scores(row) for subject, row in one.items()} for one in sums]
    return {
        name: {subject: mean_or_none([one[subject][name] for one in scores]) for subject in scores[0]}
        for name in EVENT_SCORES
    }


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """Return the mean of values, None where one of them is None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


# --- calibration ----------------------------------------------------------------------------------


def _calibration(predictions: pd.DataFrame, *, level: float, n_resamples: int, random_state: int) -> Cells:
    """Return the calibration of the test windows, with intervals, and what recalibration on
    validation subjects does.
    """
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


def _recalibrated(predictions: pd.DataFrame, method: str) -> Cells:
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
