"""The inner folds of an outer fold: its subjects but for those of the test, split once more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from biot_bd.evaluation.data import Data
from biot_bd.evaluation.model_selection.folds import Fold, is_fixed, subject_folds
from biot_bd.exceptions import SplitError

_KFOLD = re.compile(r"^(stratified-)?subject-kfold-(\d+)$")


@dataclass(frozen=True)
class InnerFolds:
    """Inner folds of one outer fold.

    Attributes
    ----------
    folds : tuple of Fold
        Empty where nothing can be chosen.
    undefined : dict of int to str
        Inner fold -> why nothing can be fitted in it.
    notes : tuple of str
        What a reader must know.
    """

    folds: tuple[Fold, ...]
    undefined: dict[int, str]
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> list[Fold]:
        """Those that can be fitted."""
        return [fold for fold in self.folds if fold.index not in self.undefined]


def make_inner_folds(
    data: Data, outer: Fold, inner_cv: Any, *, validation_fraction: float, random_state: int
) -> InnerFolds:
    """Split the subjects of an outer fold who do not test it.

    Parameters
    ----------
    data : Data
    outer : Fold
        Its training and validation subjects are split; its test subjects are on no side.
    inner_cv : str or splitter
        As ``cv``, but for fixed splits.
    validation_fraction : float
        Share of an inner fold's training subjects that validate.
    random_state : int
        With the outer fold's number the seed of the split.

    Raises
    ------
    SplitError
        A subject is on two sides, or nobody can be split like this.
    """
    if is_fixed(inner_cv):
        raise SplitError(
            f"inner_cv={inner_cv!r} names the sides of a whole data set; give subject-kfold-N or subject-loo"
        )
    rows = outer.rows(data.subjects, data.recordings)
    inside = np.sort(np.concatenate([rows["train"], rows["valid"]]))
    names = sorted(set(data.subjects[inside]))
    if len(names) < 2:
        only = ", ".join(names)
        return InnerFolds((), {}, (f"only one subject ({only}) is left inside, so nothing can be chosen",))
    notes: tuple[str, ...] = ()
    match = _KFOLD.match(inner_cv) if isinstance(inner_cv, str) else None
    if match and int(match.group(2)) > len(names):
        notes = (f"{inner_cv!r} has more folds than the {len(names)} subjects inside: each is left out once",)
        inner_cv = "subject-loo"
    seed = int(np.random.SeedSequence(random_state, spawn_key=(outer.index, 3)).generate_state(1)[0] >> 1)
    try:
        folds = subject_folds(
            inner_cv,
            data.y[inside],
            data.subjects[inside],
            validation_fraction=validation_fraction,
            random_state=seed,
        )
    except SplitError as error:
        raise type(error)(f"inner folds of fold {outer.index}: {error}") from error
    folds = [replace(fold, dropped=outer.dropped) for fold in folds]
    undefined = {fold.index: reason for fold in folds if (reason := _one_class(fold, data))}
    return InnerFolds(tuple(folds), undefined, notes)


def _one_class(fold: Fold, data: Data) -> str | None:
    found = np.unique(data.y[fold.rows(data.subjects, data.recordings)["train"]])
    if len(found) > 1:
        return None
    what = "no windows" if len(found) == 0 else f"only windows of class {int(found[0])}"
    return f"the training subjects {', '.join(fold.train)} have {what}"


def inner_notes(inner: Sequence[InnerFolds], outer: Sequence[Fold]) -> list[str]:
    """Say what is to be known of the inner folds of all outer folds, each remark once."""
    own = [f"fold {fold.index}: {note}" for fold, one in zip(outer, inner, strict=True) for note in one.notes]
    n_folds = sum(len(one.folds) for one in inner)
    counted = Counter(note for one in inner for fold in one.folds for note in fold.notes)
    shared = [f"{n} of {n_folds} inner folds: {note}" for note, n in counted.items()]
    return own + shared
