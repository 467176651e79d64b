"""Check a metric: labels and probabilities in, a value or the reason why there is none out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from biot_bd.evaluation.metrics.window_metrics import Metric, Score, as_metric
from biot_bd.testing._base import attempt, pickled, require


def check_metric(metric: Metric | Callable[..., float], *, threshold: float = 0.5) -> None:
    """Check an object given to ``register_metrics``.

    Parameters
    ----------
    metric : biot_bd.evaluation.metrics.window_metrics.Metric or callable
        The instance to register, or a function ``(y_true, proba) -> float``.
    threshold : float
        Decision threshold to test with.

    Raises
    ------
    ConformanceError
        It is no metric, gives something else than a finite value or None with a reason, is
        undefined on ordinary data, prefers wrong to right probabilities, depends on the order of
        windows, changes its input, or cannot be pickled; the same with ``soft_targets`` (one-hot
        ones of two classes, and shares of three) or, with ``several_classes``, of three classes.

    See Also
    --------
    biot_bd.hookspecs.register_metrics : The hook for such objects.
    biot_bd.evaluation.Metric, biot_bd.evaluation.Score : What a metric is, and what it returns.

    Examples
    --------
    >>> from sklearn.metrics import brier_score_loss, roc_auc_score
    >>> from biot_bd.evaluation import Metric
    >>> from biot_bd.testing import check_metric
    >>> check_metric(roc_auc_score)

    The Brier score is better where it is smaller, and defined without seizures:

    >>> check_metric(
    ...     Metric("brier", brier_score_loss, needs_classes=(), greater_is_better=False)
    ... )
    >>> check_metric(Metric("brier", brier_score_loss, needs_classes=()))
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ConformanceError: metric 'brier': 0.01 for right and 0.81 for wrong ...
    """
    _check(
        attempt(f"{metric!r} as a metric", as_metric, metric, soft=getattr(metric, "soft_targets", False)), threshold
    )


def _check(metric: Metric, threshold: float) -> None:
    name = f"metric {metric.name!r}"
    rng = np.random.default_rng(0)
    y = (np.arange(60) % 3 == 0).astype(np.int64)
    proba = np.clip(0.25 + 0.4 * y + 0.2 * rng.standard_normal(60), 0.01, 0.99)
    value = _value(metric, name, y, proba, threshold, "ordinary data")
    before = y.copy(), proba.copy()
    _value(metric, name, y, proba, threshold, "ordinary data")
    require(np.array_equal(y, before[0]) and np.array_equal(proba, before[1]), f"{name}: changed its input in place")
    order = rng.permutation(60)
    turned = _value(metric, name, y[order], proba[order], threshold, "another order of windows")
    require(np.isclose(value, turned), f"{name}: depends on the order of windows: {value:.6g} and {turned:.6g}")
    _check_direction(metric, name, y, threshold)
    _check_undefined(metric, name, proba, threshold)
    if metric.soft_targets or metric.several_classes:
        _check_several(metric, name)
    copy = pickled(metric, name)
    require(_value(copy, name, y, proba, threshold, "after pickling") == value, f"{name}: differs after pickling")


def _score(metric: Metric, name: str, y: Any, proba: Any, threshold: float, case: str) -> Score:
    targets = np.column_stack([1.0 - y, y]) if metric.soft_targets else None
    score = attempt(f"{name} on {case}", metric, y, proba, threshold, targets)
    require(isinstance(score, Score), f"{name}: {case}: expected a Score, got {type(score).__name__}")
    return score


def _value(metric: Metric, name: str, y: Any, proba: Any, threshold: float, case: str) -> float:
    score = _score(metric, name, y, proba, threshold, case)
    require(score.value is not None, f"{name}: {case}: undefined ({score.reason}); expected a value")
    return float(score.value)  # type: ignore[arg-type]


def _check_direction(metric: Metric, name: str, y: np.ndarray, threshold: float) -> None:
    sign = 1 if metric.greater_is_better else -1
    right = sign * _value(metric, name, y, np.where(y == 1, 0.9, 0.1), threshold, "right probabilities")
    wrong = sign * _value(metric, name, y, np.where(y == 1, 0.1, 0.9), threshold, "wrong probabilities")
    require(
        right > wrong,
        f"{name}: {sign * right:.6g} for right and {sign * wrong:.6g} for wrong probabilities, "
        f"with greater_is_better={metric.greater_is_better}",
    )


def _check_several(metric: Metric, name: str) -> None:
    """Check three classes: the true shares (or labels) are better than those of other classes."""
    targets = np.random.default_rng(1).dirichlet(np.ones(3), 30)
    y = targets.argmax(axis=1)
    sign = 1 if metric.greater_is_better else -1
    right, wrong = (
        attempt(f"{name} on three classes", metric, y, proba, None, targets)
        for proba in (targets, np.roll(targets, 1, axis=1))
    )
    require(
        right.value is not None and wrong.value is not None and sign * right.value > sign * wrong.value,
        f"{name}: three classes: {right.value} for right and {wrong.value} for wrong probabilities",
    )


def _check_undefined(metric: Metric, name: str, proba: np.ndarray, threshold: float) -> None:
    """A subject without seizures, or with nothing else, gets a value or a reason, never an
    exception or NaN.
    """
    for label, what in ((0, "without seizures"), (1, "with seizures only")):
        score = _score(metric, name, np.full(len(proba), label), proba, threshold, f"a subject {what}")
        if score.value is None:
            require(score.reason, f"{name}: undefined for a subject {what}, but without a reason")
        else:
            require(np.isfinite(score.value), f"{name}: {score.value} for a subject {what}; expected None and a reason")
