"""Scores of a run's windows by fold, subject and together, made of predictions alone.

No model is needed here, and no torch: what a run stores is enough to score it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from biot_bd.evaluation import run_facts
from biot_bd.evaluation.fold_events import aggregate_events
from biot_bd.evaluation.metrics.window_metrics import Metric
from biot_bd.evaluation.run_facts import Cells, FoldFacts, RunMetrics
from biot_bd.events.subject_scores import macro_of

COUNTS = ("n_windows", "n_seizure_windows", "prevalence")


@dataclass(frozen=True)
class FoldOutcome:
    """What a fold leaves: ``facts`` (the content of ``fold.json``) and its ``predictions``."""

    facts: FoldFacts
    predictions: pd.DataFrame


def score(metrics: tuple[Metric, ...], predictions: pd.DataFrame) -> Cells:
    """Score test predictions.

    Parameters
    ----------
    metrics : tuple of Metric
    predictions : pandas.DataFrame
        With ``y_true``, ``proba`` and ``threshold`` (each window its fold's), of several classes
        also the columns by class.

    Returns
    -------
    dict
        ``{metric: {"value", "reason"}, "n_windows", "n_seizure_windows", "prevalence"}``, the last
        two None with more than two classes.
    """
    y_true, threshold = predictions["y_true"].to_numpy(), predictions["threshold"].to_numpy()
    columns, shares = run_facts.class_columns(predictions, "proba"), run_facts.class_columns(predictions, "target")
    proba = predictions[columns].to_numpy() if columns else predictions["proba"].to_numpy()
    targets = predictions[shares].to_numpy() if shares else None
    out: Cells = {m.name: m(y_true, proba, threshold, targets).as_dict() for m in metrics}
    two = len(columns) <= 2
    out["n_windows"], out["n_seizure_windows"] = len(y_true), int(y_true.sum()) if two else None
    out["prevalence"] = float(y_true.mean()) if two and len(y_true) else None
    return out


def fold_scores(metrics: tuple[Metric, ...], predictions: pd.DataFrame) -> run_facts.FoldScores:
    """Score the test part of a fold's predictions, all subjects together and each alone."""
    test = predictions[predictions["part"] == "test"]
    subjects = {str(subject): score(metrics, part) for subject, part in test.groupby("subject", sort=True)}
    return {"pooled": score(metrics, test), "subjects": subjects}


def aggregate(metrics: Sequence[Metric], outcomes: Sequence[FoldOutcome]) -> RunMetrics:
    """Bring the folds' scores together, the content of ``metrics.json``.

    ``macro`` averages the subjects for whom a metric is defined and says how many; ``pooled``
    scores all test windows at once, each at its own fold's threshold, so it mixes the scales of
    different models and stands apart.

    Parameters
    ----------
    metrics : sequence of Metric
    outcomes : sequence of FoldOutcome
        In the folds' order.

    Returns
    -------
    dict
        Keys ``scoring``, ``folds``, ``subjects``, ``macro``, ``pooled``, ``prevalence``, ``events``
        (None where the data names no recordings).
    """
    by_subject: dict[str, list[Cells]] = {}
    for outcome in outcomes:
        for subject, scores in outcome.facts["scores"]["subjects"].items():
            by_subject.setdefault(subject, []).append(scores)
    subjects = {subject: _mean_of_folds(metrics, scores) for subject, scores in sorted(by_subject.items())}
    parts = [outcome.predictions for outcome in outcomes]
    tested = pd.concat([part[part["part"] == "test"] for part in parts], ignore_index=True)
    pooled = score(tuple(metrics), tested)
    return {
        "scoring": [metric.name for metric in metrics],
        "folds": [
            {
                "fold": outcome.facts["fold"],
                "test": outcome.facts["test"],
                "threshold": outcome.facts["threshold"]["value"],
                **outcome.facts["scores"]["pooled"],
            }
            for outcome in outcomes
        ],
        "subjects": subjects,
        "macro": {
            metric.name: macro_of(scores[metric.name]["value"] for scores in subjects.values()) for metric in metrics
        },
        "pooled": {metric.name: pooled[metric.name] for metric in metrics},
        "prevalence": pooled["prevalence"],
        "events": aggregate_events([outcome.facts for outcome in outcomes]),
    }


def _mean_of_folds(metrics: Sequence[Metric], scores: list[Cells]) -> Cells:
    """Average a subject's scores over the folds that test the subject (one, but for repeated
    splits).
    """
    first = scores[0]
    if len(scores) == 1:
        return dict(first)
    out: Cells = {"n_folds": len(scores)}
    for metric in metrics:
        values = [s[metric.name]["value"] for s in scores if s[metric.name]["value"] is not None]
        reason = None if values else first[metric.name]["reason"]
        out[metric.name] = {"value": float(np.mean(values)) if values else None, "reason": reason}
    return out | {name: first[name] for name in COUNTS}
