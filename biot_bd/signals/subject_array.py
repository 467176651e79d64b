"""Arrays of windows that keep the subject of each, through selections and steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class SubjectArray(np.ndarray):
    """An array of windows that knows whose each window is, as ``Windows`` do.

    Selections of windows and the steps of :mod:`biot_bd.signals` keep it; whatever else makes a new
    array of it loses the subjects, for nobody knows what that did to the windows.  So the tools of
    scikit-learn need no ``groups`` where ``cv`` is a :class:`~biot_bd.SubjectSplit`, and
    early stopping inside of them finds the subjects.

    Parameters
    ----------
    x : array, shape (n, ...)
        The windows; not copied.
    groups : array-like, shape (n,)
        Subject of each window.
    row_ids : array-like of int, shape (n,), optional
        Number of each window, the same in every selection; counted by default.

    Attributes
    ----------
    groups : ndarray of object, shape (n,), or None
    row_ids : ndarray of uint64, shape (n,), or None

    Raises
    ------
    ValueError
        Not one subject or number a window.

    See Also
    --------
    biot_bd.Windows : Windows that lie on disk and know more of themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import SubjectArray
    >>> x = SubjectArray(np.zeros((4, 2, 100)), ["a", "a", "b", "b"])
    >>> x[1:3].groups.tolist(), x[[3], ...].row_ids.tolist()
    (['a', 'b'], [3])
    >>> (x * 2).groups is None
    True
    """

    groups: NDArray[Any] | None
    row_ids: NDArray[np.uint64] | None

    def __new__(cls, x: ArrayLike, groups: ArrayLike, row_ids: ArrayLike | None = None) -> SubjectArray:
        """Make it."""
        made = np.asarray(x).view(cls)
        made.groups = np.asarray(groups, dtype=object)
        made.row_ids = np.asarray(np.arange(len(made)) if row_ids is None else row_ids, dtype=np.uint64)
        for name, values in (("groups", made.groups), ("row_ids", made.row_ids)):
            if values.shape != (len(made),):
                raise ValueError(f"{name}: expected one a window, shape ({len(made)},), found {values.shape}")
        return made

    def __array_finalize__(self, obj: Any) -> None:
        """Forget the subjects: numpy made another array of this one."""
        self.groups = self.row_ids = None

    def __getitem__(self, index: Any) -> Any:
        """Return a selection of windows with their subjects; anything else as a plain array."""
        found = np.asarray(self)[index]
        rows = index
        if isinstance(index, tuple) and len(index) == 2 and index[1] is Ellipsis:  # as scikit-learn selects
            rows = index[0]
        if self.groups is None or self.row_ids is None or isinstance(rows, tuple):
            return found
        if not isinstance(rows, slice) and np.ndim(rows) != 1:
            return found
        return SubjectArray(found, self.groups[rows], self.row_ids[rows])

    def __reduce__(self) -> Any:
        """Keep the subjects between processes."""
        if self.groups is None:
            return np.asarray(self).__reduce__()
        return SubjectArray, (np.asarray(self), self.groups, self.row_ids)


def with_subjects_of(X: Any, out: Any) -> Any:
    """Return windows that were made of ``X``, one for one, with the subjects that ``X`` knows."""
    if isinstance(X, SubjectArray) and X.groups is not None and isinstance(out, np.ndarray) and len(out) == len(X):
        return SubjectArray(out, X.groups, X.row_ids)
    return out


def subjects_named(groups: ArrayLike | None, subjects: ArrayLike | None) -> ArrayLike | None:
    """Return the subjects of windows under either name: scikit-learn's, or that of MOABB's routing.

    Parameters
    ----------
    groups, subjects : array-like, shape (n,), or None

    Raises
    ------
    ValueError
        Both are given, and differ.
    """
    if groups is None or subjects is None:
        return subjects if groups is None else groups
    first, second = (np.asarray(names, dtype=object).astype(str) for names in (groups, subjects))
    if not np.array_equal(first, second):
        raise ValueError("groups and subjects both name the subjects of the windows, and differ; give one of them")
    return groups
