"""Splits that meta-estimators make inside a fold: looked at beforehand, and given the subjects.

Searches, calibration, tuned thresholds and stacking split their training windows by their own
``cv``, and without metadata routing most of them hand no groups on to it.  Here every ``cv`` of an
estimator, nested ones and those in the grids of searches too, is tried on the subjects first, and
then put into a splitter that finds the subjects itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import StratifiedShuffleSplit, check_cv
from sklearn.utils.validation import _num_samples as _n_samples

from biot_bd.exceptions import ContaminationError, SplitError, SubjectLeakError
from biot_bd.signals.subject_array import SubjectArray
from biot_bd.training.persistence.kinds import kind_of
from biot_bd.windows import Windows

GRIDS = ("param_grid", "param_distributions")
"""Parameters of searches that list values."""
Rows = tuple[NDArray[np.int64], NDArray[np.int64]]


class InnerSplit(BaseEstimator):
    """A splitter that finds the subjects itself and keeps them apart.

    Parameters
    ----------
    cv : splitter, int, float, iterable or None
        What the meta-estimator was given.
    owner : str
        Named in messages.
    labels, subjects : ndarray, shape (n,)
        Of all windows of the fold, for data that lost their subjects on the way.

    Raises
    ------
    SubjectLeakError
        When split: a subject is on both sides.
    SplitError
        When split: nobody can tell the subjects, or ``cv`` cannot split them.
    """

    # With metadata routing on, the subjects are asked for without set_split_request.
    __metadata_request__split = {"groups": True}

    def __init__(self, cv: Any, owner: str, labels: NDArray[Any], subjects: NDArray[Any]) -> None:
        self.cv, self.owner, self.labels, self.subjects = cv, owner, labels, subjects

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Rows]:
        """Return the rows of training and test of each split; parameters as everywhere."""
        subjects = self._subjects(X, y, groups)
        try:
            splits = [(np.asarray(a), np.asarray(b)) for a, b in self._splitter(y).split(X, y, subjects)]
            sides = [(set(subjects[train]), set(subjects[test])) for train, test in splits]
        except (ContaminationError, SplitError):
            raise
        except (ValueError, IndexError) as error:
            raise SplitError(f"{self.owner}(cv={self.cv!r}): {error}") from error
        for first, second in sides:
            if both := sorted(first & second):
                raise SubjectLeakError(
                    f"{self.owner}(cv={self.cv!r}) puts {', '.join(both[:3])} in training and in testing; "
                    "give it a splitter by group, e.g. cv=GroupKFold(3)"
                )
        return iter(splits)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of splits; parameters as everywhere."""
        subjects = None if X is None else self._subjects(X, y, groups)
        return int(self._splitter(y).get_n_splits(X, y, self.subjects if subjects is None else subjects))

    def _splitter(self, y: Any) -> Any:
        if isinstance(self.cv, (float, np.floating)) and 0 < self.cv < 1:  # a tuned threshold's
            return StratifiedShuffleSplit(n_splits=1, test_size=float(self.cv), random_state=0)
        return check_cv(self.cv, y, classifier=True)

    def _subjects(self, X: Any, y: Any, groups: Any) -> NDArray[Any]:
        if isinstance(X, (Windows, SubjectArray)) and X.groups is not None:
            found = X.groups
        elif groups is not None:
            found = groups
        elif _n_samples(X) == len(self.subjects) and (y is None or _same_pattern(y, self.labels)):
            found = self.subjects  # all windows of the fold, in their order, as features
        else:
            raise SplitError(
                f"{self.owner}(cv={self.cv!r}) splits features of which nobody can tell the subjects; put the steps "
                "that turn windows into features inside of it, behind its split"
            )
        return np.asarray(found).astype(str).astype(object)


def check_inner_splits(estimator: Any, X: Any, y: NDArray[Any], subjects: NDArray[Any]) -> None:
    """Try every ``cv`` inside an estimator on the windows of a fold, before anything is fitted.

    Parameters
    ----------
    estimator : estimator
    X : Windows, array or mne.Epochs
        The windows; only a splitter that looks at them reads any.
    y : ndarray, shape (n,)
        Their labels.
    subjects : ndarray, shape (n,)
        Their subjects.

    Raises
    ------
    SubjectLeakError
        A ``cv`` puts a subject on both sides; the message names its owner.
    SplitError
        A ``cv`` cannot split these subjects, or leaves one class to train on.
    """

    def tried(cv: Any, owner: str) -> Any:
        for train, _ in InnerSplit(cv, owner, y, subjects).split(X, y, subjects):
            if len(np.unique(y[train])) < 2:
                raise SplitError(
                    f"{owner}(cv={cv!r}): the training part of {', '.join(sorted(set(subjects[train])))} has windows of one "
                    "class; give it a splitter that shares the classes out (StratifiedGroupKFold) or fewer parts, or "
                    "take biot_bd.evaluation.search, which leaves such inner folds out and says so"
                )
        return cv

    _changed(estimator, tried)


def bind_inner_splits(estimator: Any, y: NDArray[Any], subjects: NDArray[Any]) -> None:
    """Make every ``cv`` inside an estimator find the subjects, and keep them apart.

    Parameters
    ----------
    estimator : estimator
        Changed; a clone of the user's.
    y, subjects : ndarray, shape (n,)
        Labels and subjects of the windows that it will be fitted on.
    """

    def bound(cv: Any, owner: str) -> Any:
        return cv if isinstance(cv, InnerSplit) else InnerSplit(cv, owner, y, subjects)

    estimator.set_params(**_changed(estimator, bound))


def has_inner_splits(estimator: Any) -> bool:
    """Return whether there is any ``cv`` inside an estimator."""
    found: list[str] = []

    def noted(cv: Any, owner: str) -> Any:
        found.append(owner)
        return cv

    _changed(estimator, noted)
    return bool(found)


def needs_subjects(estimator: Any) -> bool:
    """Return whether anything inside of an estimator splits the windows that it is fitted on."""
    inside = (estimator, *estimator.get_params(deep=True).values())
    return has_inner_splits(estimator) or any(kind_of(value) in ("classifier", "probe", "ensemble") for value in inside)


def _changed(estimator: Any, change: Callable[[Any, str], Any]) -> dict[str, Any]:
    """Return the parameters that hold splitters, with ``change(cv, owner)`` for each splitter."""
    params = estimator.get_params(deep=True)
    found: dict[str, Any] = {}
    for name, value in params.items():
        prefix, _, last = name.rpartition("__")
        owner = params.get(prefix) if prefix else estimator
        if last == "cv" and not _splits_nothing(owner, value):
            found[name] = change(value, type(owner).__name__)
        elif last in GRIDS:
            found[name] = _changed_grid(value, owner, params, prefix, change)
    return found


def _splits_nothing(owner: Any, cv: Any) -> bool:
    """Return whether an owner of ``cv`` trains nothing on the windows that it splits."""
    return isinstance(cv, str) or isinstance(getattr(owner, "estimator", None), FrozenEstimator)


def _changed_grid(grid: Any, owner: Any, params: Any, prefix: str, change: Callable[[Any, str], Any]) -> Any:
    if isinstance(grid, (list, tuple)):
        return [_changed_grid(part, owner, params, prefix, change) for part in grid]
    if not isinstance(grid, Mapping):
        return grid
    return {name: _changed_values(name, values, owner, params, prefix, change) for name, values in grid.items()}


def _changed_values(
    name: str, values: Any, owner: Any, params: Any, prefix: str, change: Callable[[Any, str], Any]
) -> Any:
    if not isinstance(values, (list, tuple, np.ndarray)):
        return values
    inner, _, last = name.rpartition("__")
    path = "__".join(part for part in (prefix, "estimator", inner) if part)
    if last == "cv":
        of = type(params.get(path, owner)).__name__
        return [value if isinstance(value, str) else change(value, of) for value in values]
    estimators = [hasattr(value, "get_params") and not isinstance(value, type) for value in values]
    if not any(estimators):
        return values
    return [
        clone(value).set_params(**_changed(value, change)) if is_estimator else value
        for value, is_estimator in zip(values, estimators, strict=True)
    ]


def _same_pattern(first: Any, second: Any) -> bool:
    """Return whether two vectors of labels are equal up to the names of the labels."""
    codes = [np.unique(np.asarray(labels), return_inverse=True)[1] for labels in (first, second)]
    return np.array_equal(codes[0], codes[1])
