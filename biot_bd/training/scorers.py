"""Scorers of scikit-learn on probabilities that are known already.

A scorer is called as ``scorer(estimator, X, y)``.  Here the estimator only reads what ``X`` says of
each window, so that a scorer can be tried before anything is fitted, and used afterwards without
another prediction.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer, get_scorer_names

_WINDOWS_A_CLASS = 6  # of a trial


class KnownProbabilities(ClassifierMixin, BaseEstimator):
    """A classifier whose windows are probabilities, and the class that was decided on.

    Parameters
    ----------
    classes : array-like, shape (n_classes,)
        Sorted labels.
    """

    def __init__(self, classes: ArrayLike = (0, 1)) -> None:
        self.classes = classes

    @property
    def classes_(self) -> NDArray[Any]:
        """Sorted labels."""
        return np.asarray(self.classes)

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities, shape ``(n, n_classes)``: all columns of ``X`` but the last."""
        return X[:, :-1]

    def predict(self, X: NDArray[np.float64]) -> NDArray[Any]:
        """Return labels, shape ``(n,)``; the last column of ``X`` is their position."""
        return self.classes_[X[:, -1].astype(np.int64)]


def is_scorer(function: Any) -> bool:
    """Return whether something is called as ``scorer(estimator, X, y)``.

    A metric needs two things, the labels and what was predicted.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in by_place and p.default is p.empty for p in parameters) >= 3


def is_scorer_name(name: str) -> bool:
    """Return whether scikit-learn has a scorer of a name."""
    return name in get_scorer_names()


def score_known(scorer: Any, classes: ArrayLike, y: Any, proba: NDArray[Any], decided: NDArray[Any]) -> float:
    """Return what a scorer says of probabilities.

    Parameters
    ----------
    scorer : callable
        ``scorer(estimator, X, y) -> float``.
    classes : array-like, shape (n_classes,)
        Sorted labels.
    y : array-like, shape (n,)
        True labels.
    proba : ndarray, shape (n, n_classes)
        Columns as in ``classes``.
    decided : ndarray of int, shape (n,)
        Position of the class of each window that was decided on.
    """
    return float(scorer(KnownProbabilities(classes), np.column_stack([proba, decided]), np.asarray(y)))


def trial(classes: ArrayLike) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.int64]]:
    """Return labels, probabilities and decided positions of a few made-up windows of all classes.

    Parameters
    ----------
    classes : array-like, shape (n_classes,)
        Sorted labels.
    """
    labels = np.asarray(classes)
    position = np.tile(np.arange(len(labels)), _WINDOWS_A_CLASS)
    logits = np.random.default_rng(0).normal(size=(len(position), len(labels)))
    logits[np.arange(len(position)), position] += 0.5
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels[position], proba, proba.argmax(axis=1)


def problem_of(scorer: Any, classes: ArrayLike) -> str | None:
    """Say in one line why a scorer cannot score these classes; None where it can.

    Parameters
    ----------
    scorer : callable
        ``scorer(estimator, X, y) -> float``.
    classes : array-like, shape (n_classes,)
        Sorted labels.

    Examples
    --------
    >>> from sklearn.metrics import get_scorer
    >>> from biot_bd.training.scorers import problem_of
    >>> problem_of(get_scorer("f1"), [0, 1])
    >>> problem_of(get_scorer("f1"), ["bckg", "sz"])[:27]
    'ValueError: pos_label=1 is '
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            score_known(scorer, classes, *trial(classes))
        except Exception as error:  # any kind, as in training
            return one_line(error)
    return None


def scoring_problem(scoring: Any, classes: ArrayLike) -> str | None:
    """Say why the ``scoring`` of a callback of skorch cannot score these classes; None where it
    can, or where only training will tell (a function of one's own, the net's own score).
    """
    if isinstance(scoring, str):
        if not is_scorer_name(scoring):
            return f"scikit-learn has no scorer {scoring!r}"
        return problem_of(get_scorer(scoring), classes)
    if not str(getattr(type(scoring), "__module__", "")).startswith("sklearn.metrics."):
        return None
    return problem_of(scoring, classes)


def one_line(error: Exception) -> str:
    """Return the kind of an error and its message, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
