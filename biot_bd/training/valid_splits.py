"""Inner splits of the training data by subject: some subjects validate, the others train.

A split is an object called as ``split(dataset, y, groups)`` that returns two ``torch`` subsets, as
skorch's ``ValidSplit`` does; ``groups`` are the subjects of the windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import comb
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset, Subset

from biot_bd.training._validation import subject_codes

MOST_CHOICES = 2000
MANY_SUBJECTS = 12
FIRST_SIZES = 3
_WITHOUT_SUBJECTS = (
    " (in a pipeline: biotclassifier__groups=subjects with metadata routing off, groups=subjects with routing on), "
    "or set train_split=None to train without validation"
)


def _subsets(dataset: Dataset, valid: NDArray[np.bool_]) -> tuple[Subset, Subset]:
    # Plain integers: Subset hands them on to the data set one by one.
    return Subset(dataset, np.flatnonzero(~valid).tolist()), Subset(dataset, np.flatnonzero(valid).tolist())


@dataclass(frozen=True)
class SubjectValidSplit:
    """Choose the subjects who validate so that both sides hold every class.

    Among the choices of about ``validation_fraction`` of the subjects (all of them, or a random
    2000 of each size), the one is taken whose share of the windows of each class comes closest to
    ``validation_fraction``.  With more than 12 subjects three sizes are looked at, the others only
    where none of these leaves every class on both sides.

    Parameters
    ----------
    validation_fraction : float
        Wanted share of windows for validation, between 0 and 1.
    random_state : int
        Decides between choices; the same number gives the same subjects.
    every_class : bool
        Whether both sides must hold every class; without it they come as close to it as they can
        (soft targets, of which every window has a share of many classes).

    Raises
    ------
    ValueError
        When called: no subjects are known, there is one subject only, or no choice leaves every
        class on both sides.

    See Also
    --------
    FixedSubjects : Subjects that were chosen beforehand.

    Examples
    --------
    >>> import numpy as np
    >>> from torch.utils.data import TensorDataset
    >>> from biot_bd.training import SubjectValidSplit
    >>> y, subjects = np.array([0, 1] * 6), np.repeat(["a", "b", "c"], 4)
    >>> train, valid = SubjectValidSplit(0.3, random_state=0)(TensorDataset(), y, subjects)
    >>> len(train), len(valid), len(set(subjects[valid.indices]))
    (8, 4, 1)
    """

    validation_fraction: float = 0.2
    random_state: int = 0
    every_class: bool = True

    def __call__(self, dataset: Dataset, y: ArrayLike, groups: ArrayLike | None = None) -> tuple[Subset, Subset]:
        """Split.

        ``y`` are the labels and ``groups`` the subjects, both of shape ``(n_windows,)``.
        """
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must lie between 0 and 1, found {self.validation_fraction}")
        names, subject_of = subject_codes(groups, len(np.asarray(y)), "a split by subject", _WITHOUT_SUBJECTS)
        if len(names) == 1:
            raise ValueError(
                f"all windows are of one subject ({names[0]}), so none can validate; pass train_split=None to train without validation"
            )
        classes, class_of = np.unique(y, return_inverse=True)
        counts = np.zeros((len(names), len(classes)))
        np.add.at(counts, (subject_of, class_of), 1)
        total = counts.sum(axis=0)
        best, best_cost = None, np.inf
        for number, choices in enumerate(self._choices(len(names))):
            if len(names) > MANY_SUBJECTS and number >= FIRST_SIZES and best is not None:
                break
            for choice in choices:
                inside = counts[list(choice)].sum(axis=0)
                if self.every_class and ((inside == 0).any() or (inside == total).any()):
                    continue
                cost = float(np.abs(inside / total - self.validation_fraction).sum())
                if cost < best_cost:
                    best, best_cost = choice, cost
        if best is None:
            table = "; ".join(
                f"{name}: " + ", ".join(f"{int(c)} of class {k}" for k, c in zip(classes, row, strict=True))
                for name, row in zip(names, counts, strict=True)
            )
            raise ValueError(
                f"no split by subject leaves every class both in training and in validation ({table}); "
                "pass train_split=None to train without validation, or FixedSubjects([...])"
            )
        return _subsets(dataset, np.isin(subject_of, best))

    def _choices(self, n: int) -> Iterator[Iterator[tuple[int, ...]]]:
        """Yield, for each size, sets of subjects in random order.

        About the wanted size first, every size at last.
        """
        rng = np.random.default_rng(self.random_state)
        order = rng.permutation(n)
        wanted = min(max(1, round(self.validation_fraction * n)), n - 1)
        for size in sorted(range(1, n), key=lambda k: abs(k - wanted)):
            if comb(n, size) <= MOST_CHOICES:
                yield (tuple(int(order[i]) for i in c) for c in combinations(range(n), size))
            else:
                yield (tuple(rng.choice(n, size, replace=False).tolist()) for _ in range(MOST_CHOICES))


class FixedSubjects:
    """Validate on named subjects: a split that was made and stored beforehand.

    Parameters
    ----------
    valid_subjects : sequence of str
        Subjects who validate; all others train.

    Raises
    ------
    ValueError
        When called: no subjects are known, a named subject has no windows, or nobody is left to
        train on.

    See Also
    --------
    SubjectValidSplit : Chooses the subjects.

    Examples
    --------
    >>> import numpy as np
    >>> from torch.utils.data import TensorDataset
    >>> from biot_bd.training import FixedSubjects
    >>> train, valid = FixedSubjects(["b"])(
    ...     TensorDataset(), np.array([0, 1, 0, 1]), ["a", "a", "b", "b"]
    ... )
    >>> train.indices, valid.indices
    ([0, 1], [2, 3])
    """

    def __init__(self, valid_subjects: Sequence[str]) -> None:
        self.valid_subjects = valid_subjects

    def __call__(self, dataset: Dataset, y: ArrayLike, groups: ArrayLike | None = None) -> tuple[Subset, Subset]:
        """Split; ``groups`` are the subjects of the windows, shape ``(n_windows,)``."""
        names, subject_of = subject_codes(groups, len(np.asarray(y)), "a split by subject", _WITHOUT_SUBJECTS)
        if isinstance(self.valid_subjects, str):
            raise ValueError(f"valid_subjects must be a list of subjects, found the text {self.valid_subjects!r}")
        wanted = [str(subject) for subject in self.valid_subjects]
        unknown = sorted(set(wanted) - set(names))
        if unknown or not wanted:
            raise ValueError(
                f"validation subjects without windows: {', '.join(unknown) or '(none named)'}; "
                f"the windows are of {', '.join(names)}"
            )
        valid = np.isin(names, wanted)[subject_of]
        if valid.all():
            raise ValueError("every subject validates, so nobody is left to train on")
        return _subsets(dataset, valid)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and list(other.valid_subjects) == list(self.valid_subjects)  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.valid_subjects)))

    def __repr__(self) -> str:
        return f"FixedSubjects({list(self.valid_subjects)!r})"


_BY_SUBJECT = (
    "take train_split='subject' with validation_fraction=..., SubjectValidSplit(fraction), FixedSubjects([...]) or None"
)


def check_train_split(split: Any, groups: ArrayLike | None = None, *, known: bool = False) -> None:
    """Raise where a ``train_split`` of other libraries would mix subjects, or is none.

    Parameters
    ----------
    split : object
        As given to the classifier.
    groups : array-like of shape (n_windows,), or None
        Subjects.
    known : bool
        Whether ``groups`` is all that is known of them; False before data are seen.

    Raises
    ------
    ValueError
        Says what is meant, and what to take.
    """
    if split is None or split == "subject":
        return
    where = f"train_split={split!r}"
    if isinstance(split, partial) and "valid_ds" in split.keywords:
        raise ValueError(
            "train_split=predefined_split(...) validates on windows of which nobody knows the subjects; put all windows "
            "into X with their subjects, and name those who validate: train_split=FixedSubjects([...])"
        )
    if type(split).__name__ == "ValidSplit" and hasattr(split, "cv"):  # skorch's
        number = isinstance(split.cv, Number)
        if number or (known and groups is None):
            cv = split.cv if number else type(split.cv).__name__
            raise ValueError(
                f"train_split=ValidSplit({cv}) puts windows of one subject into training and validation"
                f"{'' if number else ', as far as anybody knows without groups'}; {_BY_SUBJECT}"
            )
    elif isinstance(split, Number) and not isinstance(split, bool):
        raise ValueError(f"{where}: a share of the windows would mix subjects; {_BY_SUBJECT}")
    elif hasattr(split, "get_n_splits"):
        raise ValueError(f"{where}: a splitter makes several splits, and validation is one; {_BY_SUBJECT}")
    elif not callable(split):
        raise ValueError(f"train_split must be 'subject', None or callable(dataset, y, groups), found {split!r}")


def check_subjects_apart(train: Any, valid: Any, dataset: Dataset, groups: ArrayLike | None) -> None:
    """Raise if a subject is on both sides of a split, or a window is.

    Parameters
    ----------
    train, valid : torch.utils.data.Subset
        The two sides, of ``dataset``.
    dataset : torch.utils.data.Dataset
        What was split.
    groups : array-like of shape (n_windows,), or None
        Subjects; None where they are unknown (windows are compared then).

    Raises
    ------
    TypeError
        A side is no subset of ``dataset``.
    ValueError
        A subject or a window on both sides, or an empty side.
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
        subjects = np.asarray(groups, dtype=object).astype(str)
        both = sorted(set(subjects[train.indices]) & set(subjects[valid.indices]))
        if both:
            raise ValueError(
                f"train_split put {', '.join(both[:5])} into training and validation; split by subject: train_split='subject'"
            )
