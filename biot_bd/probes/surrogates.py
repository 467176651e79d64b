"""Differences between conditions against surrogates, with subjects as units.

Windows of one subject are not independent, so a test by window finds what is not there.  Here each
subject counts once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class SubjectDifference:
    """A difference between two conditions, cell by cell, and how often chance gives as much.

    Parameters
    ----------
    mean : ndarray, shape (...)
        Mean over subjects of the difference; NaN for cells that fewer than two subjects have.
    t : ndarray, shape (...)
        The difference over its standard error.
    p : ndarray, shape (...)
        Share of surrogates whose largest ``|t|`` over all cells is as large (family-wise,
        two-sided); NaN where ``t`` is.
    n_subjects : int
        Subjects of both conditions together.
    n_permutations : int
        Surrogates, the data themselves included.
    exact : bool
        Whether they are all that there are.
    smallest_p : float
        The smallest p that so many subjects can give.

    See Also
    --------
    subject_difference : Makes one.

    Examples
    --------
    >>> from biot_bd.probes import subject_difference
    >>> subject_difference([[2.0], [3.0], [4.0]]).smallest_p
    0.25
    """

    mean: NDArray[np.float64]
    t: NDArray[np.float64]
    p: NDArray[np.float64]
    n_subjects: int
    n_permutations: int
    exact: bool
    smallest_p: float


def subject_difference(
    a: ArrayLike,
    b: ArrayLike | None = None,
    *,
    paired: bool = True,
    n_permutations: int = 10_000,
    random_state: int | None = 0,
) -> SubjectDifference:
    r"""Compare two conditions by subject, all cells together.

    The largest :math:`|t|` over cells of each surrogate makes the null [1]_.  Paired: the signs of
    the subjects' differences are flipped.  Not paired: subjects change their group, and ``t`` is
    that of Welch.

    Parameters
    ----------
    a, b : array-like, shape (n_subjects, ...)
        One mean a subject; NaN where a subject has no such cell.  Without ``b``, ``a`` holds
        differences.
    paired : bool
        Whether row ``k`` of both is of the same subject.
    n_permutations : int
        Most surrogates; where there are no more than that, all are taken.
    random_state : int or None
        Seed of the surrogates.

    Returns
    -------
    SubjectDifference

    Raises
    ------
    ValueError
        Shapes do not fit, values are infinite, there are fewer than two subjects, or fewer than
        one surrogate is asked for.

    See Also
    --------
    biot_bd.probes.figures.difference_figure : The picture.
    mne.stats.permutation_t_test : The same for paired data without absent cells.

    References
    ----------
    .. [1] Nichols, T. E. and Holmes, A. P. (2002). Nonparametric permutation tests for functional
       neuroimaging. Human Brain Mapping 15, 1-25.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.probes import subject_difference
    >>> a = np.array([[3.0, 1.0], [4.0, 0.5], [5.0, 1.5], [3.5, 0.8], [4.5, 1.2], [4.2, 0.9]])
    >>> found = subject_difference(a, np.ones((6, 2)))
    >>> found.exact, found.n_permutations, found.p.round(3).tolist()
    (True, 64, [0.031, 1.0])
    """
    first = _subjects(a, "a")
    if n_permutations < 1:
        raise ValueError(f"n_permutations must be 1 or more, got {n_permutations}")
    rng = np.random.default_rng(random_state)
    if b is None or paired:
        differences = first if b is None else first - _like(first, _subjects(b, "b"))
        return _by_signs(differences, n_permutations, rng)
    second = _subjects(b, "b")
    if second.shape[1:] != first.shape[1:]:
        raise ValueError(f"a has cells of shape {first.shape[1:]}, b of {second.shape[1:]}")
    return _by_groups(first, second, n_permutations, rng)


def _subjects(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if array.ndim < 2 or len(array) < 2:
        raise ValueError(
            f"{name} must have the shape (n_subjects, *cells) with two subjects or more, got {array.shape}"
        )
    if np.isinf(array).any():
        raise ValueError(f"{name} has infinite values; NaN is for absent cells only")
    return array


def _like(first: NDArray, second: NDArray) -> NDArray:
    if first.shape != second.shape:
        raise ValueError(
            f"paired conditions need the same subjects and cells: a has shape {first.shape}, b {second.shape}; "
            "pass paired=False for other subjects"
        )
    return second


def _by_signs(differences: NDArray, n_permutations: int, rng: np.random.Generator) -> SubjectDifference:
    n = len(differences)
    # A flip of all signs gives the same |t|, so half of them are all.
    exact = 2 ** (n - 1) <= n_permutations
    signs = _all_signs(n) if exact else _drawn_signs(n, n_permutations, rng)
    cells = differences.reshape(n, -1)
    t = _paired_t(cells)
    highest = np.concatenate([_paired_highest(cells, block) for block in np.array_split(signs, -(-len(signs) // 256))])
    total = 2 * len(signs) if exact else len(signs)
    mean = np.where(np.isfinite(t), _nanmean(cells), np.nan)
    return _found(mean, t, highest, differences.shape[1:], n, total, exact, 2.0 ** (1 - n))


def _all_signs(n: int) -> NDArray[np.float64]:
    rest = ((np.arange(2 ** (n - 1))[:, None] >> np.arange(n - 1)) & 1) * -2.0 + 1
    return np.c_[np.ones(len(rest)), rest]


def _drawn_signs(n: int, n_permutations: int, rng: np.random.Generator) -> NDArray[np.float64]:
    signs = rng.choice([-1.0, 1.0], size=(n_permutations, n))
    signs[0] = 1  # the data themselves are one of them, so no p is 0
    return signs


def _paired_t(cells: NDArray) -> NDArray[np.float64]:
    known = np.isfinite(cells)
    return _t_of(np.nansum(cells, axis=0), np.nansum(cells**2, axis=0), known.sum(axis=0))


def _paired_highest(cells: NDArray, signs: NDArray) -> NDArray[np.float64]:
    """Return the largest |t| of each row of signs; squares do not change with a sign."""
    known = np.isfinite(cells)
    sums = signs @ np.where(known, cells, 0.0)
    return _largest(_t_of(sums, np.nansum(cells**2, axis=0), known.sum(axis=0)))


def _t_of(sums: NDArray, squares: NDArray, n: NDArray) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / n
        error = np.sqrt(np.maximum(squares / n - mean**2, 0) / (n - 1))
        # Rounding must not make a difference that is equal in all subjects infinite or random.
        exactly = error <= 1e-7 * np.sqrt(squares / n)
        t = np.where(exactly, np.sign(mean) * 1e7 * (squares > 0), mean / np.where(exactly, 1.0, error))
        return np.where(n > 1, t, np.nan)


def _by_groups(first: NDArray, second: NDArray, n_permutations: int, rng: np.random.Generator) -> SubjectDifference:
    n_first, n = len(first), len(first) + len(second)
    cells = np.concatenate([first, second]).reshape(n, -1)
    n_all = math.comb(n, n_first)
    exact = n_all <= n_permutations
    members = list(_all_groups(n, n_first)) if exact else _drawn_groups(n, n_first, n_permutations, rng)
    own = np.arange(n) < n_first
    t = _group_t(cells, own)
    highest = np.concatenate([_largest(_group_t(cells, member)[None]) for member in members])
    mean = np.where(np.isfinite(t), _nanmean(cells[own]) - _nanmean(cells[~own]), np.nan)
    smallest = (2.0 if 2 * n_first == n else 1.0) / n_all
    return _found(mean, t, highest, first.shape[1:], n, len(members), exact, smallest)


def _all_groups(n: int, n_first: int) -> Iterator[NDArray[np.bool_]]:
    for chosen in itertools.combinations(range(n), n_first):
        member = np.zeros(n, dtype=bool)
        member[list(chosen)] = True
        yield member


def _drawn_groups(n: int, n_first: int, n_permutations: int, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    own = np.arange(n) < n_first
    return [own, *(rng.permutation(own) for _ in range(n_permutations - 1))]


def _group_t(cells: NDArray, member: NDArray[np.bool_]) -> NDArray[np.float64]:
    parts = []
    for group in (cells[member], cells[~member]):
        n = np.isfinite(group).sum(axis=0)
        mean = _nanmean(group)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.nansum((group - mean) ** 2, axis=0) / (n - 1) / n
        parts.append((np.where(n > 1, mean, np.nan), variance))
    (one, one_error), (two, two_error) = parts
    size = np.maximum(np.abs(one), np.abs(two))
    error = np.sqrt(one_error + two_error)
    exactly = error <= 1e-9 * size
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(exactly, np.sign(np.round(one - two, 12)) * 1e7, (one - two) / np.where(exactly, 1.0, error))


def _nanmean(values: NDArray) -> NDArray[np.float64]:
    n = np.isfinite(values).sum(axis=0)
    return np.where(n > 0, np.nansum(values, axis=0) / np.maximum(n, 1), np.nan)


def _largest(t: NDArray) -> NDArray[np.float64]:
    return np.max(np.abs(np.where(np.isfinite(t), t, 0.0)), axis=-1)


def _found(
    mean: NDArray,
    t: NDArray,
    highest: NDArray,
    shape: tuple[int, ...],
    n: int,
    total: int,
    exact: bool,
    smallest: float,
) -> SubjectDifference:
    # Sums of the same numbers in another order differ in the last digits.
    reached = np.sort(highest) * (1 + 1e-9)
    share = 1 - np.searchsorted(reached, np.abs(np.nan_to_num(t)), side="left") / len(reached)
    p = np.where(np.isfinite(t), share, np.nan)
    return SubjectDifference(
        mean.reshape(shape),
        t.reshape(shape),
        p.reshape(shape),
        n,
        total,
        exact,
        smallest if exact else max(smallest, 1 / total),
    )
