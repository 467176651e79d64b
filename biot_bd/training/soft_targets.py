"""Soft targets: a distribution over the classes for each window, e.g. the votes of several experts.

A window's hard label is its most voted class, the first one of several; samplers, splits by subject
and scores by epoch count by it.  Losses that say ``soft_targets = True`` are given the whole rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-6
"""Most that the sum of a row may be from 1."""


def are_soft(y: Any) -> bool:
    """Return whether targets are rows of several numbers, not one label a window.

    Parameters
    ----------
    y : array-like or None

    Examples
    --------
    >>> from biot_bd.training.soft_targets import are_soft
    >>> are_soft([[0.5, 0.5]]), are_soft([0, 1]), are_soft([[0], [1]])
    (True, False, False)
    """
    shape: tuple[int, ...] = () if y is None else np.shape(y)
    return len(shape) == 2 and shape[1] > 1


def read_targets(y: Any, what: str = "targets") -> NDArray[np.float64]:
    """Return soft targets, checked.

    Parameters
    ----------
    y : array-like, shape (n, n_classes)
        Shares of the classes.
    what : str
        What they are, in messages.

    Returns
    -------
    ndarray of float64, shape (n, n_classes)

    Raises
    ------
    ValueError
        Not of that shape; a share is missing, not finite or negative; or a row does not sum to 1
        within 1e-6.  The message names the first such row.

    See Also
    --------
    biot_bd.training.labels.read_labels : Reads one label a window.

    Examples
    --------
    >>> from biot_bd.training.soft_targets import read_targets
    >>> read_targets([[0.25, 0.75], [1, 0]]).argmax(axis=1).tolist()
    [1, 0]
    >>> read_targets([[0.5, 0.5], [3, 1]])
    Traceback (most recent call last):
    ...
    ValueError: targets: row 1 sums to 4, expected 1; divide votes by their number
    """
    if np.ma.is_masked(y):
        row = int(np.argwhere(np.ma.getmaskarray(y))[0][0])
        raise ValueError(f"{what}: row {row} has masked shares; leave such windows out")
    try:
        found = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be numbers of shape (n, n_classes) ({error})") from error
    if found.ndim != 2 or found.shape[1] < 2:
        raise ValueError(f"{what} must have the shape (n, n_classes), found {found.shape}")
    faulty = ~(np.isfinite(found) & (found >= 0)).all(axis=1)
    if faulty.any():
        row = int(np.argmax(faulty))
        raise ValueError(f"{what}: row {row} is {found[row].tolist()}, expected finite shares of at least 0")
    sums = found.sum(axis=1)
    off = np.abs(sums - 1) > TOLERANCE
    if off.any():
        row = int(np.argmax(off))
        raise ValueError(f"{what}: row {row} sums to {sums[row]:.9g}, expected 1; divide votes by their number")
    return found


def target_classes(classes: Any, n_columns: int) -> NDArray[np.int64]:
    """Return the labels that columns of soft targets stand for, 0 to ``n_columns - 1``.

    Parameters
    ----------
    classes : sequence or None
        As given to the classifier.
    n_columns : int
        Of the targets.

    Raises
    ------
    ValueError
        ``classes`` are others, so that nobody could say which column is whose.
    """
    wanted = list(range(n_columns))
    if classes is not None and sorted(np.asarray(list(classes)).tolist(), key=str) != sorted(wanted, key=str):
        raise ValueError(
            f"classes={classes!r}, but the targets have {n_columns} columns, which stand for the classes 0 to "
            f"{n_columns - 1}; give classes=None, or classes={tuple(range(n_columns))}"
        )
    return np.arange(n_columns) if classes is None else np.asarray(list(classes), dtype=np.int64)


def takes_soft_targets(loss: Any) -> bool:
    """Return whether a loss (class or instance) says ``soft_targets = True``."""
    return getattr(loss, "soft_targets", False) is True


def loss_problem(criterion: Any, shape: tuple[int, ...]) -> str:
    """Say that a loss takes one label a window, and what to do with targets of a shape."""
    return (
        f"labels must be one a window, shape (n,), for the loss {criterion!r}; found shape {shape}; of one-hot rows take "
        "y.argmax(axis=1), for soft targets a loss that says soft_targets = True"
    )
