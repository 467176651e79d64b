"""Who validates in which fold: all subjects about equally often.

A threshold that the same subject chooses in every fold is that subject's threshold.  So it is the
turn of those of a fold's training subjects who had it least; among equals of those who will be
tested in a later fold and so have fewer occasions left, then chance decides.  Turns know no labels.
Who has the turn validates if that leaves both classes on both sides; otherwise others of the fold's
training subjects do, nearest to their turn, then those who bring the wanted share of the windows of
each class.  Without a seizure no threshold can be chosen, so where one subject validates at a time
those without seizures never do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

MOST_CHOICES = 2000
MOST_SHARE = 0.5
"""More than this share of the windows of a class validates only where it cannot be otherwise."""


def rotate(
    y: NDArray[np.int64],
    subjects: NDArray[np.object_],
    trains: Sequence[Sequence[str]],
    fraction: float,
    random_state: int,
) -> list[tuple[str, ...]]:
    """Choose the validation subjects of each fold.

    Parameters
    ----------
    y : array of shape (n,)
        Labels, 0 or 1, or of more classes, which are on both sides where that can be.
    subjects : array of shape (n,)
        Subject of each window.
    trains : sequence of sequences of str
        The subjects of each fold who are not tested; of none where nobody is to validate.
    fraction : float
        Share of them that validates, at least one subject.
    random_state : int
        Decides among equals; the same number gives the same subjects.

    Returns
    -------
    list of tuple of str
        Of each fold, in order of the names; empty where no choice leaves both classes on both
        sides.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation.model_selection.rotation import rotate
    >>> names = np.repeat(["a", "b", "c", "d"], 2).astype(object)
    >>> trains = [[other for other in "abcd" if other != test] for test in "abcd"]
    >>> valid = rotate(np.tile([0, 1], 4), names, trains, 0.25, random_state=0)
    >>> sorted(subject for one in valid for subject in one)
    ['a', 'b', 'c', 'd']
    """
    if not any(len(train) for train in trains):
        return [() for _ in trains]
    names = np.array(sorted(set(subjects)), dtype=object)
    counts = np.zeros((len(names), max(2, int(np.max(y, initial=0)) + 1)))
    np.add.at(counts, (np.searchsorted(names, subjects), np.asarray(y, dtype=np.int64)), 1)
    present = np.array([np.isin(names, list(train)) for train in trains]).reshape(len(trains), len(names))
    used = np.zeros(len(names))
    found: list[tuple[str, ...]] = []
    for index in range(len(trains)):
        # A stream of its own, so that the choice does not depend on what else the fold's seed is
        # used for.
        rng = np.random.default_rng(np.random.SeedSequence(random_state, spawn_key=(index, 1)))
        rows = np.flatnonzero(present[index])
        if not len(rows):
            found.append(())
            continue
        rank = used[rows] * (len(trains) + 1) + present[index + 1 :, rows].sum(axis=0)
        # Whose turn it is knows no labels: those of a fold's test subjects must not decide, through
        # the folds before, who validates in it.
        turn = _choose(np.ones((len(rows), 2)), rank, fraction, rng)
        used[rows[turn]] += 1
        rank[turn] = -1
        chosen = _choose(counts[rows], rank + 1, fraction, rng)
        if not len(chosen) and counts.shape[1] > 2:  # no threshold depends on it: those whose turn it is
            chosen = turn
        found.append(tuple(names[rows[chosen]]))
    return found


def _choose(
    counts: NDArray[np.float64], rank: NDArray[np.float64], fraction: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return who validates, ascending; nobody where both classes cannot be on both sides.

    Parameters
    ----------
    counts : array of shape (n_subjects, 2)
        Windows of each class.
    rank : array of shape (n_subjects,)
        Whose turn it is: low numbers first.
    fraction : float
    rng : numpy.random.Generator
    """
    total = counts.sum(axis=0)
    n = len(counts)
    wanted = min(max(1, round(fraction * n)), n - 1)
    for most in (MOST_SHARE, 1.0):
        for size in sorted(range(1, n), key=lambda k: abs(k - wanted)):
            for sides in _sides(counts, rank, size, rng):
                share = (sides @ counts) / np.maximum(total, 1)
                possible = ((share > 0) & (share < 1) & (share <= most)).all(axis=1)
                if possible.any():
                    sides, share = sides[possible], share[possible]
                    off = np.abs(share - fraction).sum(axis=1)
                    best = np.lexsort((rng.random(len(sides)), off.round(12), sides @ rank))[0]
                    return np.flatnonzero(sides[best])
    return np.zeros(0, dtype=np.int64)


def _sides(
    counts: NDArray[np.float64], rank: NDArray[np.float64], size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.bool_]]:
    """Yield validation sides of a size, a row each: all of them, or many of those whose turn it is,
    and then any.
    """
    n = len(counts)
    if comb(n, size) <= MOST_CHOICES:
        yield _members(np.array(list(combinations(range(n), size))), n)
        return
    order = rank + rng.random((MOST_CHOICES, n)) * 0.5  # ranks are whole numbers
    yield _members(np.argsort(order, axis=1)[:, :size], n)
    with_seizure = np.flatnonzero(counts[:, 1] > 0)
    first = with_seizure[np.argsort(order[:, with_seizure], axis=1)[:, 0]]
    order[np.arange(MOST_CHOICES), first] = -1
    yield _members(np.argsort(order, axis=1)[:, :size], n)
    yield _members(np.argsort(rng.random((MOST_CHOICES, n)), axis=1)[:, :size], n)


def _members(chosen: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    sides = np.zeros((len(chosen), n), dtype=bool)
    np.put_along_axis(sides, chosen, True, axis=1)
    return sides
