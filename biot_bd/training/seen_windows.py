"""Which windows a classifier was trained on, so that others of the same subjects are told apart."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.exceptions import SubjectLeakError

SEEN_SUBJECTS = ("raise", "warn", "allow")
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class SeenWindows:
    """The windows that ``fit`` was given, those that validated included.

    Parameters
    ----------
    row_ids : ndarray of uint64, shape (n,)
        Ascending; see ``Windows.row_ids``.
    subjects : frozenset of str
        Whose they are.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals.subject_array import SubjectArray
    >>> from biot_bd.training.seen_windows import SeenWindows
    >>> x = SubjectArray(np.zeros((6, 2, 100)), ["a", "a", "a", "b", "b", "b"])
    >>> seen = SeenWindows.of(x[:2])
    >>> seen.leak(x[:2]), seen.leak(x[3:])
    (None, None)
    >>> seen.leak(x).partition(";")[0]
    'the model was trained on other windows of a, who tests it in 1 of 6 windows'
    """

    row_ids: NDArray[np.uint64]
    subjects: frozenset[str]

    @classmethod
    def of(cls, X: Any) -> SeenWindows | None:
        """Return what ``X`` is, or None where it does not tell its windows and subjects."""
        known = _known(X)
        return None if known is None else cls(np.unique(known[0]), frozenset(map(str, set(known[1]))))

    def joined(self, other: SeenWindows | None) -> SeenWindows:
        """Return both together."""
        if other is None:
            return self
        return SeenWindows(np.union1d(self.row_ids, other.row_ids), self.subjects | other.subjects)

    def leak(self, X: Any) -> str | None:
        """Say that ``X`` has windows which were not trained on, of subjects who were; else None."""
        return self._said(X, "the model was trained on other windows of {names}, {who} it in {n} of {total} windows")

    def check(self, X: Any) -> None:
        """Raise where :meth:`leak` says something.

        Raises
        ------
        SubjectLeakError
            It does.
        """
        found = self.leak(X)
        if found is not None:
            raise SubjectLeakError(found)

    def check_split(self, X: Any) -> None:
        """Raise where the windows ``X``, that these are, train on one side of a split by window.

        Warns too: scikit-learn's ``validation_curve`` makes NaN of a ``fit`` that fails, without a
        word.

        Raises
        ------
        SubjectLeakError
            The other side has windows of the same subjects.
        """
        text = "nothing was trained: {names}, {who} in {n} of {total} windows, would train the same model"
        found = replace(self, row_ids=self.row_ids[:0])._said(getattr(X, "other_side", None), text)
        if found is not None:
            warnings.warn(found, stacklevel=4)
            raise SubjectLeakError(found)

    def _said(self, X: Any, text: str) -> str | None:
        known = _known(X)
        if known is None:
            return None
        row_ids, groups = known
        both = [subject for subject in set(groups) if str(subject) in self.subjects]
        new = np.isin(groups, both) & ~np.isin(row_ids, self.row_ids)
        if not new.any():
            return None
        names = sorted({str(subject) for subject in groups[new]})
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        who = "who tests" if len(names) == 1 else "who test"
        return text.format(names=shown, who=who, n=int(new.sum()), total=len(new)) + (
            "; keep each subject on one side, e.g. cv=SubjectSplit('subject-kfold-3'), or, where a model shall know its "
            "subjects, set seen_subjects='allow'"
        )


def _known(X: Any) -> tuple[NDArray[np.uint64], NDArray[Any]] | None:
    """Return number and subject of each window, where data carry both."""
    row_ids = getattr(X, "row_ids", None)
    groups = getattr(X, "groups", None)
    return None if row_ids is None or groups is None else (np.asarray(row_ids), np.asarray(groups, dtype=object))
