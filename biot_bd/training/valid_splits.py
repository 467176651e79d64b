"""Inner splits of the training data by person: some persons validate, the others train.

A split is an object called as ``split(dataset, y, groups)`` that returns two ``torch`` subsets, as skorch's
``ValidSplit`` does; ``groups`` are the persons of the windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset, Subset

__all__ = ["FixedPersons", "PersonValidSplit", "check_persons_apart"]

MOST_CHOICES = 2000
MANY_PERSONS = 12
FIRST_SIZES = 3


def _persons(groups: ArrayLike | None, n: int) -> NDArray[Any]:
    if groups is None:
        raise ValueError(
            "a split by person needs the person of each window, and the data carry none: use Windows, or pass "
            "fit(X, y, groups=persons) (in a pipeline: biotclassifier__groups=persons with metadata routing off, "
            "groups=persons with routing on), or set train_split=None to train without validation"
        )
    persons = np.asarray(groups, dtype=object)
    if persons.shape != (n,):
        raise ValueError(f"groups must name one person a window: expected shape ({n},), found {persons.shape}")
    missing = np.array([p is None or p != p or p == "" for p in persons], dtype=bool)
    if missing.any():
        raise ValueError(f"window {int(np.argmax(missing))} has no person in groups ({persons[missing][0]!r})")
    return persons


def _subsets(dataset: Dataset, valid: NDArray[np.bool_]) -> tuple[Subset, Subset]:
    # Plain integers: Subset hands them on to the data set one by one.
    return Subset(dataset, np.flatnonzero(~valid).tolist()), Subset(dataset, np.flatnonzero(valid).tolist())


class PersonValidSplit:
    """Choose the persons who validate so that both sides hold every class.

    Among the choices of about ``valid_fraction`` of the persons (all of them, or a random 2000 of each size), the one
    is taken whose share of the windows of each class comes closest to ``valid_fraction``.  With more than 12 persons
    three sizes are looked at, the others only where none of these leaves every class on both sides.

    Parameters
    ----------
    valid_fraction : float
        Wanted share of windows for validation, between 0 and 1.
    random_state : int
        Decides between choices; the same number gives the same persons.

    Raises
    ------
    ValueError
        When called: no persons are known, there is one person only, or no choice leaves every class on both sides.
    """

    def __init__(self, valid_fraction: float = 0.2, random_state: int = 0) -> None:
        self.valid_fraction = valid_fraction
        self.random_state = random_state

    def __call__(self, dataset: Dataset, y: ArrayLike, groups: ArrayLike | None = None) -> tuple[Subset, Subset]:
        """Split; ``y`` are the labels and ``groups`` the persons, both of shape ``(n_windows,)``."""
        if not 0 < self.valid_fraction < 1:
            raise ValueError(f"valid_fraction must lie between 0 and 1, found {self.valid_fraction}")
        labels = np.asarray(y)
        persons = _persons(groups, len(labels))
        chosen = self._choose(labels, persons)
        return _subsets(dataset, np.isin(persons.astype(str), sorted(chosen)))

    def _choose(self, labels: NDArray[Any], persons: NDArray[Any]) -> set[str]:
        names, person_of = np.unique(persons.astype(str), return_inverse=True)
        if len(names) == 1:
            raise ValueError(
                f"all windows are of one person ({names[0]}), so none can validate; pass train_split=None to train without validation"
            )
        classes, class_of = np.unique(labels, return_inverse=True)
        counts = np.zeros((len(names), len(classes)))
        np.add.at(counts, (person_of, class_of), 1)
        total = counts.sum(axis=0)
        best, best_cost = None, np.inf
        for number, choices in enumerate(self._choices(len(names))):
            if len(names) > MANY_PERSONS and number >= FIRST_SIZES and best is not None:
                break
            for choice in choices:
                inside = counts[list(choice)].sum(axis=0)
                if (inside == 0).any() or (inside == total).any():
                    continue
                cost = float(np.abs(inside / total - self.valid_fraction).sum())
                if cost < best_cost:
                    best, best_cost = choice, cost
        if best is None:
            table = "; ".join(
                f"{name}: " + ", ".join(f"{int(c)} of class {k}" for k, c in zip(classes, row, strict=True))
                for name, row in zip(names, counts, strict=True)
            )
            raise ValueError(
                f"no split by person leaves every class both in training and in validation ({table}); "
                "pass train_split=None to train without validation, or FixedPersons([...])"
            )
        return {str(names[i]) for i in best}

    def _choices(self, n: int) -> Iterator[Iterator[tuple[int, ...]]]:
        """Yield, for each size, sets of persons in random order: about the wanted size first, every size at last."""
        rng = np.random.default_rng(self.random_state)
        order = rng.permutation(n)
        wanted = min(max(1, round(self.valid_fraction * n)), n - 1)
        for size in sorted(range(1, n), key=lambda k: abs(k - wanted)):
            if comb(n, size) <= MOST_CHOICES:
                yield (tuple(int(order[i]) for i in c) for c in combinations(range(n), size))
            else:
                yield islice(_draws(rng, n, size), MOST_CHOICES)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), self.valid_fraction, self.random_state))

    def __repr__(self) -> str:
        return f"PersonValidSplit(valid_fraction={self.valid_fraction}, random_state={self.random_state})"


def _draws(rng: np.random.Generator, n: int, size: int) -> Iterator[tuple[int, ...]]:
    while True:
        yield tuple(int(i) for i in rng.choice(n, size, replace=False))


class FixedPersons:
    """Validate on named persons: a split that was made and stored beforehand.

    Parameters
    ----------
    valid_persons : sequence of str
        Persons who validate; all others train.

    Raises
    ------
    ValueError
        When called: no persons are known, a named person has no windows, or nobody is left to train on.
    """

    def __init__(self, valid_persons: Sequence[str]) -> None:
        self.valid_persons = valid_persons

    def __call__(self, dataset: Dataset, y: ArrayLike, groups: ArrayLike | None = None) -> tuple[Subset, Subset]:
        """Split; ``groups`` are the persons of the windows, shape ``(n_windows,)``."""
        persons = _persons(groups, len(np.asarray(y))).astype(str)
        if isinstance(self.valid_persons, str):
            raise ValueError(f"valid_persons must be a list of persons, found the text {self.valid_persons!r}")
        wanted = [str(person) for person in self.valid_persons]
        unknown = sorted(set(wanted) - set(persons))
        if unknown or not wanted:
            raise ValueError(
                f"validation persons without windows: {', '.join(unknown) or '(none named)'}; "
                f"the windows are of {', '.join(sorted(set(persons)))}"
            )
        valid = np.isin(persons, wanted)
        if valid.all():
            raise ValueError("every person validates, so nobody is left to train on")
        return _subsets(dataset, valid)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and list(other.valid_persons) == list(self.valid_persons)  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.valid_persons)))

    def __repr__(self) -> str:
        return f"FixedPersons({list(self.valid_persons)!r})"


def check_persons_apart(train: Any, valid: Any, dataset: Dataset, groups: ArrayLike | None) -> None:
    """Raise if a person is on both sides of a split, or a window is.

    Parameters
    ----------
    train, valid : torch.utils.data.Subset
        The two sides, of ``dataset``.
    dataset : torch.utils.data.Dataset
        What was split.
    groups : array-like of shape (n_windows,), or None
        Persons; None where they are unknown (windows are compared then).

    Raises
    ------
    TypeError
        A side is no subset of ``dataset``.
    ValueError
        A person or a window on both sides, or an empty side.
    """
    for name, side in (("training", train), ("validation", valid)):
        if not isinstance(side, Subset) or side.dataset is not dataset:
            raise TypeError(
                f"train_split must return two torch Subsets of the data set it is given; the {name} side is {type(side).__name__}"
            )
        if len(side) == 0:
            raise ValueError(f"train_split left the {name} side empty")
    if set(train.indices) & set(valid.indices):
        raise ValueError("train_split put the same windows into training and validation")
    if groups is not None:
        persons = np.asarray(groups, dtype=object).astype(str)
        both = sorted(set(persons[train.indices]) & set(persons[valid.indices]))
        if both:
            raise ValueError(
                f"train_split put {', '.join(both[:5])} into training and validation; split by person: train_split='person'"
            )
