"""Sums over intervals ``[onset, offset]``, in seconds or samples: joined, measured, compared.

Every room that adds up times (labels, scores, coverage, data sets) asks here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

OVERLAPPING = -math.ulp(0.0)
"""A gap for :func:`merge` that joins what overlaps, but not what only touches."""


def merge(intervals: ArrayLike, gap: float = 0.0) -> tuple[NDArray, NDArray[np.int64]]:
    """Sort intervals and join those that are at most ``gap`` apart.

    Parameters
    ----------
    intervals : array of shape (n, 2)
        Onset and offset, in any order.
    gap : float, default=0
        In the unit of the intervals; :data:`OVERLAPPING` keeps those apart that only touch.

    Returns
    -------
    merged : ndarray of shape (n_merged, 2)
        Ascending, of the type of ``intervals``.
    which : ndarray of shape (n,), int64
        Into which of them the intervals went, in the order of their onsets.

    See Also
    --------
    total : Their length.

    Examples
    --------
    >>> merged, which = merge([[10, 12], [0, 5], [5, 7]])
    >>> merged.tolist(), which.tolist()
    ([[0, 7], [10, 12]], [0, 0, 1])
    """
    pairs = np.asarray(intervals).reshape(-1, 2)
    if not len(pairs):
        return pairs, np.zeros(0, dtype=np.int64)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    ends = np.maximum.accumulate(pairs[:, 1])
    new = np.concatenate([[True], pairs[1:, 0] - ends[:-1] > gap])
    return np.stack([pairs[new, 0], ends[np.append(new[1:], True)]], axis=1), np.cumsum(new) - 1


def total(intervals: ArrayLike) -> float:
    """Return the summed length of intervals that do not overlap, e.g. of :func:`merge`.

    Examples
    --------
    >>> total([[0, 5], [10, 12]])
    7.0
    """
    pairs = np.asarray(intervals).reshape(-1, 2)
    return float((pairs[:, 1] - pairs[:, 0]).sum())


def overlap(first: ArrayLike, second: ArrayLike) -> NDArray:
    """Return how long each of ``first`` and each of ``second`` are together.

    Parameters
    ----------
    first, second : array of shape (n, 2) and (m, 2)

    Returns
    -------
    ndarray of shape (n, m)
        0 where they do not meet.

    Examples
    --------
    >>> overlap([[0, 10], [20, 30]], [[5, 22]]).tolist()
    [[5], [2]]
    """
    a, b = np.asarray(first).reshape(-1, 1, 2), np.asarray(second).reshape(1, -1, 2)
    return (np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])).clip(0)
