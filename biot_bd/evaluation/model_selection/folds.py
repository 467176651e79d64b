"""Splits by subject: which subjects train, which choose the threshold and the epoch, which are
tested.

A split is a list of :class:`Fold` made once, before anything is fitted, and stored by the subjects'
names.  Outer splits: ``"subject-loo"``, ``"subject-kfold-N"``, ``"stratified-subject-kfold-N"``,
the fixed ``"biot-paper"`` and ``"biot-code"``, ``"tusz-official"`` which the data set brings, or
any scikit-learn splitter that takes groups.

The published CHB-MIT splits count cases, and chb21 is the same child as chb01, as PhysioNet
says.  Here the subject is the unit: chb21 belongs to ``chb-mit/01``, which both splits train
on, so the windows of chb21 are left out of validation and test (and of training, to keep the
published training set), and every result says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold
from torch.utils.data import Dataset

from biot_bd.evaluation.model_selection.official_split import OFFICIAL_SPLITS, official_sides
from biot_bd.evaluation.model_selection.rotation import rotate
from biot_bd.evaluation.model_selection.seeded_splitters import draws_unseeded, seeded_splitter
from biot_bd.exceptions import ContaminationError, SplitError
from biot_bd.training import SubjectValidSplit

MIN_TRAIN_SUBJECTS = 3
"""With fewer training subjects none is spared for validation.

Epochs are fixed and the threshold is 0.5.
"""

_WITHOUT = "fixed epochs, no early stopping, threshold 0.5"
_CHB21 = re.compile(r"^(chb21(_|$)|sub-01_ses-02(_|$)|sub-chb21(_|$))", re.IGNORECASE)
_KFOLD = re.compile(r"^(stratified-)?subject-kfold-(\d+)$")


def _cases(*numbers: int) -> tuple[str, ...]:
    return tuple(f"chb-mit/{number:02d}" for number in numbers)


#: Published splits by name: folds of (training, validation, test) subjects.
FIXED_SPLITS: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...]] = {
    # (train, validation, test) by case; chb21 is not a subject of its own and is taken out below.
    "biot-paper": (
        (_cases(*range(1, 20)), _cases(20), _cases(22, 23)),
        (_cases(*range(1, 20)), _cases(22, 23), _cases(20)),
    ),
    "biot-code": ((_cases(*range(1, 21)), _cases(22), _cases(23, 24)),),
}

SPLITS = ("subject-loo", "subject-kfold-N", "stratified-subject-kfold-N", *FIXED_SPLITS, *OFFICIAL_SPLITS)
"""Names that :func:`make_folds` takes; N is a number of folds."""


@dataclass(frozen=True)
class Fold:
    """One fold of an outer split, by subject.

    Parameters
    ----------
    index : int
        Number of the fold, from 0.
    train, valid, test : tuple of str
        Subjects, each on one side only; ``valid`` is empty where there are too few subjects.
    seed : int
        Seed of everything random in the fold; depends on (random_state, index) alone.
    dropped : tuple of str
        Recordings used on no side.
    notes : tuple of str
        What a reader of the scores must know of this fold.

    See Also
    --------
    make_folds : Makes the folds of a split.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import Fold
    >>> fold = Fold(0, train=("a", "b"), valid=("c",), test=("d",), seed=7)
    >>> {
    ...     side: rows.tolist()
    ...     for side, rows in fold.rows(np.array(["d", "a", "b", "c"])).items()
    ... }
    {'train': [1, 2], 'valid': [3], 'test': [0]}
    """

    index: int
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    seed: int
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the fold as JSON holds it."""
        return {
            "fold": self.index,
            **self.sides(),
            "seed": self.seed,
            "dropped_recordings": list(self.dropped),
            "notes": list(self.notes),
        }

    def sides(self) -> dict[str, list[str]]:
        """Return the subjects of each side."""
        return {side: list(getattr(self, side)) for side in _SIDES}

    def rows(self, subjects: np.ndarray, recordings: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return the rows of the windows on each side.

        Parameters
        ----------
        subjects : array of shape (n,)
            Subject of each window.
        recordings : array of shape (n,), optional
            Recording of each window; needed where recordings are dropped.

        Returns
        -------
        dict
            ``"train"``, ``"valid"`` and ``"test"``, each an int64 array in ascending order.
        """
        kept = np.ones(len(subjects), dtype=bool)
        if self.dropped and recordings is not None:
            kept &= ~np.isin(recordings.astype(str), list(self.dropped))
        numbers, known = numbered(subjects)
        return {
            side: np.flatnonzero(kept & np.isin(known, names)[numbers]) if names else np.empty(0, np.int64)
            for side, names in self.sides().items()
        }


_SIDES = ("train", "valid", "test")


def numbered(subjects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each window's subject, and the subjects by number.

    Names are compared once a window, not once a window and subject.
    """
    numbers, known = pd.factorize(np.asarray(subjects).astype(object, copy=False))
    return numbers, np.asarray(known, dtype=object)


def fold_seed(random_state: int, fold: int) -> int:
    """Return the seed of a fold, an int in [0, 2**31), from (random_state, fold) alone."""
    return int(np.random.SeedSequence(random_state, spawn_key=(fold,)).generate_state(1)[0] >> 1)


def check_subjects(train: Iterable[str], valid: Iterable[str], test: Iterable[str], where: str) -> None:
    """Raise :class:`SplitError` if a subject is on two sides.

    Parameters
    ----------
    train, valid, test : iterable of str
        Subjects of each side.
    where : str
        Named in the message, e.g. ``"fold 3"``.
    """
    sides = {"training": set(train), "validation": set(valid), "test": set(test)}
    for first, second in combinations(sides, 2):
        if both := sorted(sides[first] & sides[second]):
            raise SplitError(
                f"{where}: {', '.join(both[:5])} in {first} and in {second}; every subject belongs on one side only"
            )


def make_folds(
    cv: Any,
    y: np.ndarray,
    subjects: np.ndarray,
    *,
    recordings: np.ndarray | None = None,
    parts: Mapping[str, set[str]] | None = None,
    validation_fraction: float = 0.25,
    random_state: int = 0,
) -> list[Fold]:
    """Make the folds of a split, inner validation subjects included.

    Parameters
    ----------
    cv : str or splitter
        A name out of :data:`SPLITS`, or an object with ``split(X, y, groups)``.
    y : array of shape (n,)
        Labels, 0 or 1, or of more classes.
    subjects : array of shape (n,)
        Subject of each window.
    recordings : array of shape (n,), optional
        Recording of each window, for the fixed splits.
    parts : mapping of str to set of str, optional
        Subject -> parts of the official split of its data set, for ``"tusz-official"``
        (:func:`~biot_bd.evaluation.model_selection.official_split.official_parts`).
    validation_fraction : float
        Share of the training subjects that validate, at least one; 0 for none.  All validate about
        equally often (:mod:`~biot_bd.evaluation.model_selection.rotation`).  Fixed splits bring
        their own.
    random_state : int
        Seed of the split and, with the fold's number, of each fold.

    Returns
    -------
    list of Fold

    Raises
    ------
    SplitError
        Unknown name, fewer than two subjects, subjects missing, a subject on two sides, or a fold
        whose training part has one class.

    See Also
    --------
    SubjectSplit : A splitter for the tools of scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import make_folds
    >>> subjects = np.repeat(["a", "b", "c", "d"], 4)
    >>> folds = make_folds("subject-loo", np.tile([0, 1], 8), subjects)
    >>> [fold.test for fold in folds]
    [('a',), ('b',), ('c',), ('d',)]
    >>> len(folds[0].train), len(folds[0].valid)
    (2, 1)
    """
    folds = subject_folds(
        cv,
        y,
        subjects,
        recordings=recordings,
        parts=parts,
        validation_fraction=validation_fraction,
        random_state=random_state,
    )
    for fold in folds:
        check_fold(fold, np.asarray(y), np.asarray(subjects).astype(str).astype(object), recordings)
    return folds


def subject_folds(
    cv: Any,
    y: np.ndarray,
    subjects: np.ndarray,
    *,
    recordings: np.ndarray | None = None,
    parts: Mapping[str, set[str]] | None = None,
    validation_fraction: float = 0.25,
    random_state: int = 0,
) -> list[Fold]:
    """Make folds as :func:`make_folds`, also those whose training windows are of one class.

    Parameters as there.

    Raises
    ------
    SplitError
        As there, but for the classes.
    """
    y, subjects = np.asarray(y), np.asarray(subjects).astype(str).astype(object)
    names = sorted(set(subjects))
    if len(names) < 2:
        raise SplitError(
            f"a split by subject needs at least 2 subjects, found {len(names)} ({', '.join(names) or 'no windows'}); where "
            "names of files hold the subject, prepare with subject=REGEX (--option 'subject=REGEX': `biot-bd doctor` proposes one)"
        )
    if is_fixed(cv):
        folds = fixed_folds(cv, subjects, recordings, parts, random_state)
    else:
        outer = outer_subjects(cv, y, subjects, random_state)
        folds = _with_rotating_valid([sides for _, sides in outer], y, subjects, validation_fraction, random_state)
    for fold in folds:
        check_subjects(fold.train, fold.valid, fold.test, f"fold {fold.index}")
    return folds


def split_all(y: np.ndarray, subjects: np.ndarray, *, validation_fraction: float = 0.2, random_state: int = 0) -> Fold:
    """Split all subjects into training and validation, with nobody to test.

    Parameters as in :func:`make_folds`.

    Raises
    ------
    SplitError
        No windows, or one class only.
    """
    y, subjects = np.asarray(y), np.asarray(subjects).astype(str).astype(object)
    everybody = sorted(set(subjects))
    reason = _without_valid(everybody, validation_fraction)
    valid = () if reason else _best_valid(y, subjects, validation_fraction, random_state)
    fold = _fold(0, everybody, valid, (), random_state, reason)
    check_fold(fold, y, subjects, None)
    return fold


def check_fold(fold: Fold, y: np.ndarray, subjects: np.ndarray, recordings: np.ndarray | None) -> None:
    """Raise :class:`SplitError` where a fold's training windows are of one class.

    Parameters as in :func:`make_folds`.
    """
    labels = y[fold.rows(subjects, recordings)["train"]]
    if len(np.unique(labels)) < 2:
        what = "no windows" if len(labels) == 0 else f"only windows of class {int(labels[0])}"
        raise SplitError(
            f"fold {fold.index} (test {', '.join(fold.test) or 'nobody'}): the training subjects {', '.join(fold.train)} have {what}; "
            f"{_instead(y, subjects, labels)}"
        )


def _instead(y: np.ndarray, subjects: np.ndarray, labels: np.ndarray) -> str:
    """Say what to do about training windows with these labels, which are of one class."""
    if len(np.unique(y)) < 2:
        return (
            "no window is of another class, so nothing can be learnt: look at the label rule, or take more recordings"
        )
    others = sorted(set(subjects[~np.isin(y, labels)]))
    if len(labels) and len(others) == 1:
        return (
            f"{others[0]} alone has windows of another class, so no model can be trained without that subject; add subjects "
            f"who have some, or give cv= a splitter that never tests {others[0]}"
        )
    return "use another split (subject-loo, stratified-subject-kfold-N) or more subjects"


def outer_subjects(
    cv: Any, y: np.ndarray, subjects: np.ndarray, random_state: int
) -> list[tuple[int, tuple[tuple[str, ...], tuple[str, ...]]]]:
    """Return (number, (training subjects, test subjects)) of each fold, not of a fixed split.

    See :func:`make_folds`.
    """
    splitter = _splitter(cv, len(np.unique(subjects)), random_state)
    try:
        indices = [(np.asarray(a), np.asarray(b)) for a, b in splitter.split(np.zeros((len(y), 1)), y, subjects)]
    except ContaminationError:
        raise
    except ValueError as error:
        raise SplitError(f"{cv if isinstance(cv, str) else splitter}: {error}") from error
    if not indices:
        raise SplitError(f"{splitter} made no folds")
    last = max(
        (int(rows.max(initial=-1)) for sides in indices for rows in sides if rows.dtype.kind in "iu"), default=-1
    )
    if last >= len(y):
        raise SplitError(f"{splitter} splits other windows than these {len(y)}: it names window {last}")
    return [(i, _by_subject(i, train, test, subjects, splitter)) for i, (train, test) in enumerate(indices)]


def _splitter(cv: Any, n_subjects: int, random_state: int) -> Any:
    if not isinstance(cv, str):
        if not callable(getattr(cv, "split", None)):
            raise SplitError(f"cv is a name ({', '.join(SPLITS)}) or a splitter with split(X, y, groups), not {cv!r}")
        # Another split in every call could never go on where a killed one ended.
        return seeded_splitter(cv, random_state) if draws_unseeded(cv) else cv
    check_split_name(cv)
    match = _KFOLD.match(cv)
    if match is None:
        return LeaveOneGroupOut()
    n_folds = int(match.group(2))
    if not 2 <= n_folds <= n_subjects:
        raise SplitError(f"{cv!r} needs 2 to {n_subjects} folds for {n_subjects} subjects")
    kind = StratifiedGroupKFold if match.group(1) else GroupKFold
    return kind(n_splits=n_folds, shuffle=True, random_state=random_state)


def check_split_name(cv: str) -> None:
    """Raise :class:`SplitError` where no split has this name, however many its folds."""
    if cv == "subject-loo" or is_fixed(cv) or (isinstance(cv, str) and _KFOLD.match(cv)):
        return
    now = f"it is now {cv.replace('person', 'subject')!r}; " if "person" in str(cv) else ""
    raise SplitError(f"no split named {cv!r}; {now}there are {', '.join(SPLITS)} (N a number of folds)")


def _by_subject(
    index: int, train: np.ndarray, test: np.ndarray, subjects: np.ndarray, splitter: Any
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Turn a splitter's rows into subjects; a subject that is divided, or on both sides, raises."""
    sides = tuple(sorted(set(subjects[train]))), tuple(sorted(set(subjects[test])))
    check_subjects(sides[0], (), sides[1], f"fold {index} of {splitter}")
    numbers, known = numbered(subjects)
    for rows, names in zip((train, test), sides, strict=True):
        if len(np.unique(rows)) != int(np.isin(known, names)[numbers].sum()):
            raise SplitError(
                f"fold {index} of {splitter} leaves out some windows of a subject; folds are made of whole subjects"
            )
    if not sides[0] or not sides[1]:
        raise SplitError(f"fold {index} of {splitter} has no {'test' if sides[0] else 'training'} subjects")
    return sides


def _with_rotating_valid(
    outer: Sequence[tuple[tuple[str, ...], tuple[str, ...]]],
    y: np.ndarray,
    subjects: np.ndarray,
    fraction: float,
    random_state: int,
) -> list[Fold]:
    """Take validation subjects out of the training subjects of each fold, all about equally
    often.
    """
    without = [_without_valid(train, fraction) for train, _ in outer]
    asked = [() if reason else train for (train, _), reason in zip(outer, without, strict=True)]
    chosen = rotate(y, subjects, asked, fraction, random_state)
    two = int(y.max(initial=0)) < 2  # of more classes no threshold is chosen
    never = (
        sorted({*subjects[y == 0]} - {*subjects[y == 1]} - {name for valid in chosen for name in valid}) if two else []
    )
    common = (f"never validating, as no threshold can be chosen without a seizure: {', '.join(never)}",)
    return [
        _fold(i, train, valid, test, random_state, reason, common if never and any(chosen) else ())
        for i, ((train, test), valid, reason) in enumerate(zip(outer, chosen, without, strict=True))
    ]


def _fold(
    index: int,
    train: Sequence[str],
    valid: tuple[str, ...],
    test: tuple[str, ...],
    random_state: int,
    reason: str | None,
    notes: tuple[str, ...] = (),
) -> Fold:
    """Return a fold; one without validation subjects says why, and what holds then."""
    if not valid:
        notes = (
            f"{reason or 'no choice of validation subjects leaves both classes on both sides'}: {_WITHOUT}",
            *notes,
        )
    rest = tuple(subject for subject in train if subject not in set(valid))
    return Fold(index, rest, valid, test, fold_seed(random_state, index), notes=notes)


def _without_valid(train: Sequence[str], fraction: float) -> str | None:
    """Return why nobody of these subjects validates, None where somebody can be asked to."""
    if not 0 <= fraction < 1:
        raise SplitError(f"validation_fraction must be at least 0 and below 1, got {fraction!r}")
    if fraction == 0:
        return "no validation subjects were asked for"
    if len(train) < MIN_TRAIN_SUBJECTS:
        return f"{len(train)} training subject(s) are too few to spare one for validation"
    return None


def _best_valid(y: np.ndarray, subjects: np.ndarray, fraction: float, random_state: int) -> tuple[str, ...]:
    """Return the validation subjects of a split that stands alone; nobody where none can be."""
    seed = int(np.random.SeedSequence(random_state, spawn_key=(0, 1)).generate_state(1)[0])
    several = int(y.max(initial=0)) > 1  # then no threshold needs every class
    for every_class in (True, False) if several else (True,):
        try:
            split = SubjectValidSplit(fraction, random_state=seed, every_class=every_class)
            _, valid = split(_Rows(len(y)), y, subjects)
        except ValueError:
            continue
        return tuple(sorted(set(subjects[valid.indices])))
    return ()


class _Rows(Dataset):
    """Stands for the windows where only their rows matter."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n


def is_fixed(cv: Any) -> bool:
    """Return whether ``cv`` names a split whose sides are given: a published or an official one."""
    return isinstance(cv, str) and cv in (*FIXED_SPLITS, *OFFICIAL_SPLITS)


def fixed_folds(
    name: str,
    subjects: np.ndarray,
    recordings: np.ndarray | None,
    parts: Mapping[str, set[str]] | None,
    random_state: int,
) -> list[Fold]:
    """Return the folds of a fixed split by its name; parameters as in :func:`make_folds`."""
    if name in OFFICIAL_SPLITS:
        train, valid, test, told = official_sides(name, subjects, parts or {})
        return [Fold(0, train, valid, test, fold_seed(random_state, 0), notes=told)]
    present = set(subjects)
    wanted = {subject for fold in FIXED_SPLITS[name] for side in fold for subject in side}
    missing = sorted(wanted - present)
    if missing:
        raise SplitError(
            f"split {name!r} needs all its subjects; missing: {', '.join(missing)}. "
            "Prepare the whole of CHB-MIT, or take a split made from the subjects there are (subject-loo)"
        )
    dropped: tuple[str, ...] = ()
    if recordings is not None:
        of_01 = np.unique(recordings[subjects == "chb-mit/01"].astype(str))
        dropped = tuple(recording for recording in of_01 if _CHB21.match(recording))
    taken = (
        f"so its {len(dropped)} recordings are used on no side and the scores are not those of the published split"
        if dropped
        else "and no recording of chb21 is among these, so the scores are not those of the published split"
    )
    note = f"split {name!r} counts chb21 as a case of its own; it is the same child as chb01, who trains, {taken}"
    unused = sorted(present - wanted)
    notes = (note,) + ((f"subjects that {name!r} does not use: {', '.join(unused)}",) if unused else ())
    return [
        Fold(index, train, valid, test, fold_seed(random_state, index), dropped, notes)
        for index, (train, valid, test) in enumerate(FIXED_SPLITS[name])
    ]
