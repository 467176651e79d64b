"""Metrics over the windows' true labels and probabilities, undefined values told apart from
numbers.

The figures are scikit-learn's.  What is added: a metric says which classes it needs, and where one
is absent (a subject without seizures) its value is ``None`` with the reason, never NaN and never a
number that a library returns for want of a better one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, balanced_accuracy_score, get_scorer, recall_score, roc_auc_score

from biot_bd import registry
from biot_bd.training.persistence.functions import scorer_parts
from biot_bd.training.scorers import is_scorer, is_scorer_name, one_line, score_known, trial
from biot_bd.training.soft_targets import read_targets

_CLASS_NAMES = {0: "background", 1: "seizure"}


@dataclass(frozen=True)
class Score:
    """The value of a metric, or the reason why there is none.

    Parameters
    ----------
    value : float or None
        None where the metric is undefined.
    reason : str or None
        Why there is no value; None where there is one.

    See Also
    --------
    Metric : Returns one.

    Examples
    --------
    >>> from biot_bd.evaluation import Score
    >>> Score(None, "no seizure windows").as_dict()
    {'value': None, 'reason': 'no seizure windows'}
    """

    value: float | None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"value": ..., "reason": ...}``, the form of ``metrics.json``."""
        return {"value": self.value, "reason": self.reason}


@dataclass(frozen=True)
class Metric:
    """A figure computed from labels and probabilities.

    Parameters
    ----------
    name : str
        Name in the registry and in results.
    function : callable
        ``function(y_true, proba) -> float``; with ``needs_threshold`` it gets ``function(y_true,
        y_pred)`` where ``y_pred`` is ``proba >= threshold`` as int64.  Both arrays have shape
        ``(n,)``.
    needs_threshold : bool
        Whether probabilities are turned into decisions first.
    needs_classes : tuple of int
        Labels that must occur in ``y_true``; without one of them the metric is undefined.
    greater_is_better : bool
        Direction of the metric.
    description : str
        One sentence for reports.
    several_classes : bool
        Whether it can score more than two classes: ``function(y_true, proba)`` with labels 0 to
        n_classes - 1 and probabilities of shape ``(n, n_classes)``, of two classes too; with
        ``needs_threshold`` it gets ``function(y_true, y_pred)`` with the most probable class.
    soft_targets : bool
        Whether it compares with a distribution over the classes for each window (votes of several
        experts): ``function(targets, proba)``, both of shape ``(n, n_classes)``, n_classes being 2
        or more.

    See Also
    --------
    Score : What a call returns.

    Examples
    --------
    >>> from sklearn.metrics import roc_auc_score
    >>> from biot_bd.evaluation import Metric
    >>> auroc = Metric("auroc", roc_auc_score)
    >>> auroc([0, 1, 1], [0.2, 0.9, 0.6]).value
    1.0
    >>> auroc([0, 0], [0.2, 0.9])
    Score(value=None, reason='no seizure windows')
    """

    name: str
    function: Callable[..., float]
    needs_threshold: bool = False
    needs_classes: tuple[int, ...] = (0, 1)
    greater_is_better: bool = True
    description: str = ""
    several_classes: bool = False
    soft_targets: bool = False

    def __call__(self, y_true: Any, proba: Any, threshold: Any = None, targets: Any = None) -> Score:
        """Compute the metric.

        Parameters
        ----------
        y_true : array of shape (n,)
            Labels, 0 (background) or 1 (seizure); of more classes 0 to n_classes - 1.
        proba : array of shape (n,) or (n, n_classes)
            Probability of class 1, or of each class.
        threshold : float or array of shape (n,), optional
            A window is called a seizure where ``proba >= threshold``; needed by metrics with
            ``needs_threshold``, ignored by the others.  An array gives each window its fold's own.
            Of more than two classes the most probable one counts, whatever the threshold.
        targets : array of shape (n, n_classes), optional
            Shares of the classes, needed by metrics with ``soft_targets``.

        Returns
        -------
        Score

        Raises
        ------
        ValueError
            Shapes differ, labels are not 0 and 1, a probability is not finite, a threshold or soft
            targets are missing, or there are more classes than the metric can score.
        """
        y_true, proba = _check(self.name, y_true, proba)
        n_classes = 2 if proba.ndim == 1 else proba.shape[1]
        self.check_scores(n_classes, targets is not None)
        if len(y_true) == 0:
            return Score(None, "no windows")
        if reason := self._undefined(y_true, n_classes):
            return Score(None, reason)
        if self.soft_targets:
            value = float(self.function(*_distributions(self.name, targets, proba)))
        elif n_classes > 2:
            value = float(self._value_of_several(y_true, proba))
        else:
            value = float(self._value_of_two(y_true, proba, threshold))
        if not np.isfinite(value):
            return Score(None, f"{self.name} is {value} on {len(y_true)} windows")
        return Score(value)

    def check_scores(self, n_classes: int, soft: bool) -> None:
        """Raise ``ValueError`` where the metric cannot score such data.

        Parameters
        ----------
        n_classes : int
            Number of classes.
        soft : bool
            Whether there are soft targets.
        """
        if self.soft_targets and not soft:
            raise ValueError(
                f"metric {self.name!r} compares with soft targets, and there are none: give y of shape (n, n_classes), or "
                "Windows with targets"
            )
        if n_classes > 2 and not (self.several_classes or self.soft_targets):
            raise ValueError(
                f"metric {self.name!r} is one of two classes, and there are {n_classes}; take one that scores several, e.g. "
                "'balanced_accuracy', a scorer of scikit-learn ('accuracy', 'f1_macro', 'roc_auc_ovr') or "
                "Metric(..., several_classes=True)"
            )

    def _undefined(self, y_true: np.ndarray, n_classes: int) -> str | None:
        """Return why there is no value on such labels."""
        if self.soft_targets:
            return None
        if n_classes > 2:
            alone = self.needs_classes and len(found := np.unique(y_true)) == 1
            return f"only windows of class {found[0]}" if alone else None
        missing = [label for label in self.needs_classes if not np.any(y_true == label)]
        return "no " + " and no ".join(f"{_CLASS_NAMES[label]} windows" for label in missing) if missing else None

    def _value_of_two(self, y_true: np.ndarray, proba: np.ndarray, threshold: Any) -> Any:
        positive = proba if proba.ndim == 1 else proba[:, 1]
        decided = None
        if self.needs_threshold:
            if threshold is None:
                raise ValueError(f"metric {self.name!r} needs a threshold; pass the one chosen on validation data")
            decided = (positive >= np.asarray(threshold)).astype(np.int64)
        return self._value(y_true, positive, decided)

    def _value(self, y_true: np.ndarray, positive: np.ndarray, decided: np.ndarray | None) -> Any:
        if decided is not None:
            return self.function(y_true, decided)
        return self.function(y_true, _columns(positive) if self.several_classes else positive)

    def _value_of_several(self, y_true: np.ndarray, proba: np.ndarray) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes that a subject has not
            return self.function(y_true, proba.argmax(axis=1) if self.needs_threshold else proba)


def _columns(positive: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - positive, positive])


def _distributions(name: str, targets: Any, proba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return soft targets and probabilities, of one shape."""
    proba = _columns(proba) if proba.ndim == 1 else proba
    found = read_targets(targets, f"metric {name!r}: targets")
    if found.shape != proba.shape:
        raise ValueError(f"metric {name!r}: targets have the shape {found.shape}, probabilities {proba.shape}")
    return found, proba


def _check(name: str, y_true: Any, proba: Any) -> tuple[np.ndarray, np.ndarray]:
    y_true, proba = np.asarray(y_true), np.asarray(proba, dtype=np.float64)
    if y_true.ndim != 1 or proba.ndim not in (1, 2) or len(y_true) != len(proba):
        raise ValueError(
            f"metric {name!r} needs labels and probabilities of one shape (n,), or a column a class, got {y_true.shape} "
            f"and {proba.shape}"
        )
    known = range(2 if proba.ndim == 1 else proba.shape[1])
    unknown = sorted(set(np.unique(y_true).tolist()) - set(known))
    if unknown:
        what = "0 (background) and 1 (seizure)" if len(known) == 2 else f"0 to {len(known) - 1}"
        raise ValueError(f"metric {name!r} needs labels {what}, found {unknown[:5]}")
    if not np.isfinite(proba).all():
        bad = int((~np.isfinite(proba)).sum())
        raise ValueError(f"metric {name!r}: {bad} of {len(proba)} probabilities are not finite; the model diverged")
    return y_true.astype(np.int64), proba


AVERAGE_PRECISION = Metric(
    "average_precision",
    average_precision_score,
    description="Area under the precision-recall curve as average precision; chance is the prevalence.",
)
ROC_AUC = Metric("roc_auc", roc_auc_score, description="Area under the ROC curve; chance is 0.5.")
BALANCED_ACCURACY = Metric(
    "balanced_accuracy",
    balanced_accuracy_score,
    needs_threshold=True,
    several_classes=True,
    description="Mean of sensitivity and specificity at the threshold; chance is 0.5.",
)
SENSITIVITY = Metric(
    "sensitivity",
    partial(recall_score, pos_label=1),
    needs_threshold=True,
    needs_classes=(1,),
    description="Share of the seizure windows found, at the threshold.",
)
SPECIFICITY = Metric(
    "specificity",
    partial(recall_score, pos_label=0),
    needs_threshold=True,
    needs_classes=(0,),
    description="Share of the background windows left alone, at the threshold.",
)


@dataclass(frozen=True)
class _ScorerMetric(Metric):
    """A scorer of scikit-learn as a metric: it takes labels or probabilities, as it needs."""

    needs_threshold: bool = True
    several_classes: bool = True

    def _value(self, y_true: np.ndarray, positive: np.ndarray, decided: np.ndarray | None) -> Any:
        return score_known(self.function, (0, 1), y_true, _columns(positive), np.asarray(decided))

    def _value_of_several(self, y_true: np.ndarray, proba: np.ndarray) -> Any:
        classes = np.arange(proba.shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return score_known(self.function, classes, y_true, proba, proba.argmax(axis=1))

    def _undefined(self, y_true: np.ndarray, n_classes: int) -> str | None:
        reason = super()._undefined(y_true, n_classes)
        missing = sorted(set(range(n_classes)) - set(np.unique(y_true).tolist()))
        if reason is None and n_classes > 2 and missing and _needs_all_classes(self.function):
            return f"no windows of class {', '.join(map(str, missing))}"
        return reason


def _needs_all_classes(scorer: Any) -> bool:
    """Return whether a scorer takes probabilities, a column for each class found."""
    parts = scorer_parts(scorer)
    return parts is not None and parts[1] != "predict"


def as_metric(metric: str | Metric | Callable[..., float], n_classes: int = 2, soft: bool = False) -> Metric:
    """Return the :class:`Metric` meant by a name, a metric, a scorer or a plain function.

    It is tried on a few made-up windows, so that it does not fail behind a training.

    Parameters
    ----------
    metric : str, Metric or callable
        A name in ``biot_bd.registry.metrics`` or of a scorer of scikit-learn (``"f1"``), a scorer
        (``make_scorer(...)``, or ``scorer(estimator, X, y)``) or a function of ``(y_true, proba)``.
        Scorers that ask for labels get those at the threshold.
    n_classes : int
        Number of classes that it shall score.
    soft : bool
        Whether there are soft targets.

    Raises
    ------
    biot_bd.exceptions.UnknownNameError
        No metric of that name; the message lists the names.
    TypeError
        Neither a name, a metric nor a function.
    ValueError
        It cannot score labels 0 and 1 (or those of several classes, or soft targets) and
        probabilities.
    """
    found: Any = metric
    if isinstance(metric, str):
        found = (
            get_scorer(metric)
            if metric not in registry.metrics and is_scorer_name(metric)
            else registry.metrics[metric]
        )
    if not isinstance(found, Metric) and not callable(found):
        raise TypeError(
            f"a metric is a name, a Metric, a scorer or a function of (y_true, proba), not {type(found).__name__}"
        )
    if not isinstance(found, Metric):
        kind = _ScorerMetric if is_scorer(found) else Metric
        found = kind(metric if isinstance(metric, str) else _name_of(found), found)
    _try(found, n_classes, soft)
    return found


def _name_of(function: Any) -> str:
    parts = scorer_parts(function)
    return str(getattr(function if parts is None else parts[0], "__name__", type(function).__name__))


def _try(metric: Metric, n_classes: int, soft: bool) -> None:
    """Raise where a metric fails on a few made-up windows of all classes."""
    y_true, proba, _ = trial(range(n_classes))
    metric.check_scores(n_classes, soft)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            metric(y_true, proba[:, 1] if n_classes == 2 else proba, 0.5, proba if soft else None)
        except Exception as error:  # any kind, as in the scoring of a fold
            name = metric.name
            instead = (
                f"a metric of labels goes in as scoring={name.removesuffix('_score')!r}, make_scorer({name}) or "
                f"Metric({name!r}, {name}, needs_threshold=True)"
                if not metric.needs_threshold
                else "give a metric that returns a number for labels 0 (background) and 1 (seizure)"
            )
            if n_classes > 2:
                instead = f"give a metric that scores labels 0 to {n_classes - 1}, e.g. 'balanced_accuracy'"
            shown = "of class 1" if n_classes == 2 else f"of {n_classes} classes"
            raise ValueError(
                f"scoring: {name} fails on labels and probabilities {shown} ({one_line(error)}); {instead}"
            ) from error


def as_metrics(scoring: Any, n_classes: int = 2, soft: bool = False) -> tuple[Metric, ...]:
    """Return the metrics of ``scoring``, one or several of what :func:`as_metric` takes.

    Parameters as there.

    Raises
    ------
    ValueError
        None given, or two of one name.
    """
    single = isinstance(scoring, (str, Metric)) or not isinstance(scoring, Iterable)
    metrics = tuple(as_metric(metric, n_classes, soft) for metric in ([scoring] if single else scoring))
    names = [metric.name for metric in metrics]
    if not names:
        raise ValueError("scoring is empty; name at least one metric, e.g. 'average_precision'")
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(f"scoring names {', '.join(double)} more than once")
    return metrics
