"""A splitter for scikit-learn's own tools that keeps subjects apart and checkpoints honest."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _num_samples as _n_samples

from biot_bd.evaluation.model_selection.contamination import check_contamination, find_origins
from biot_bd.evaluation.model_selection.folds import (
    FIXED_SPLITS,
    Fold,
    check_subjects,
    fixed_folds,
    is_fixed,
    outer_subjects,
)
from biot_bd.evaluation.model_selection.official_split import official_parts
from biot_bd.exceptions import ContaminationError, SplitError
from biot_bd.signals.subject_array import SubjectArray, subjects_named
from biot_bd.windows import Windows
from biot_bd.windows.same_recordings import check_recordings_apart

Rows = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(eq=False, repr=False)
class SubjectSplit(BaseEstimator):
    """Split by subject for ``GridSearchCV``, ``cross_val_score`` and the like, and refuse
    contaminated checkpoints.

    scikit-learn turns an error inside a fit into a score of NaN, but not one of the splitter: what
    is wrong with subjects or checkpoint is raised here, from :meth:`split`, before the first fit.

    Parameters
    ----------
    cv : str or splitter
        A name as in :func:`biot_bd.cross_validate` (``"subject-loo"``, ``"subject-kfold-N"``, ...)
        or a splitter of scikit-learn that takes groups.  Of a fixed split, training and validation
        subjects train.
    checkpoint : optional
        What the model starts from: a name, file, folder or Hub repository as for ``pretrained``, a
        list of them, or the pipeline or the parameter grid itself, whose ``pretrained`` is looked
        up.  None checks subjects only.
    allow_contaminated : bool
        Go on with a warning where a test subject was seen.
    random_state : int
        Seed of the names with shuffled folds.

    See Also
    --------
    make_folds : Folds with validation subjects.

    Examples
    --------
    >>> from sklearn.model_selection import GroupKFold
    >>> from biot_bd import SubjectSplit
    >>> SubjectSplit(GroupKFold(3), checkpoint="prest-16").get_n_splits(
    ...     [0, 0, 0], groups=["clinic/01", "clinic/02", "clinic/03"]
    ... )
    3
    """

    # With metadata routing on, subjects are asked for by themselves; MOABB routes `subjects`.
    __metadata_request__split = {"groups": True, "subjects": True}

    cv: Any = "subject-loo"
    _: KW_ONLY
    checkpoint: Any = None
    allow_contaminated: bool = False
    random_state: int = 0

    def __sklearn_clone__(self) -> SubjectSplit:
        # A fitted model as checkpoint would lose what it knows if it were cloned.
        copied = type(self)(**self.get_params(deep=False))
        if hasattr(self, "_metadata_request"):  # what set_split_request was told
            copied._metadata_request = deepcopy(self._metadata_request)
        return copied

    def split(self, X: Any, y: Any = None, groups: Any = None, subjects: Any = None) -> Iterator[Rows]:
        """Return the rows of training and test of each fold.

        Parameters
        ----------
        X : Windows, array of shape (n, ...) or mne.Epochs
        y : array of shape (n,), optional
            Labels, for stratified splits; those of the ``Windows`` by default.
        groups : array of shape (n,), optional
            Subject of each window; those of the ``Windows`` by default.
        subjects : array of shape (n,), optional
            The same by the name under which MOABB's evaluations hand them on.

        Returns
        -------
        iterator of (ndarray, ndarray)
            Row numbers, ascending.

        Raises
        ------
        ContaminationError
            The checkpoint saw a subject of a test part, nobody knows what it saw, or the data name
            no subjects.
        SubjectLeakError
            A recording is there under the names of two subjects.
        SplitError
            A subject on two sides or divided, fewer than two subjects, subjects missing, an unknown
            name.
        """
        folds, whose = self._folds(X, y, subjects_named(groups, subjects))
        recordings = X.recordings if isinstance(X, Windows) else None
        self._check_checkpoint({subject for _, test in folds for subject in whose[test]}, recordings)
        return iter(folds)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, subjects: Any = None) -> int:
        """Return the number of folds; parameters as in :meth:`split`, of which ``X`` may be None.

        Raises
        ------
        ContaminationError, SplitError
            As in :meth:`split`, but for subjects who were seen.
        """
        groups = subjects_named(groups, subjects)
        if X is None and groups is None:
            if is_fixed(self.cv):
                return len(FIXED_SPLITS.get(self.cv, [None]))
            if hasattr(self.cv, "get_n_splits"):
                return int(self.cv.get_n_splits(None, None, None))
        return len(self._folds(X, y, groups)[0])

    def _check_checkpoint(self, test_subjects: set[str], recordings: pd.DataFrame | None) -> None:
        if self.checkpoint is None:
            return
        origins = find_origins(self.checkpoint, fitted=True)
        found = check_contamination(origins, test_subjects, recordings=recordings, allow=self.allow_contaminated)
        if found is not None:
            warnings.warn(found.text, stacklevel=3)

    def _folds(self, X: Any, y: Any, groups: Any) -> tuple[list[Rows], NDArray[Any]]:
        """Return the rows of training and test of each fold, and the subject of each row."""
        subjects = self._subjects(X, groups)
        labels = X.y if y is None and isinstance(X, Windows) else y
        labels = np.zeros(len(subjects), dtype=np.int64) if labels is None else np.asarray(labels)
        if len(labels) != len(subjects):
            raise SplitError(f"{len(subjects)} windows but {len(labels)} labels")
        names = sorted(set(subjects))
        if len(names) < 2:
            raise SplitError(f"a split by subject needs at least 2 subjects, found {len(names)} ({', '.join(names)})")
        recordings = None
        if is_fixed(self.cv):
            recordings = X.metadata["recording"].to_numpy() if isinstance(X, Windows) else None
            folds = fixed_folds(self.cv, subjects, recordings, official_parts(X), self.random_state)
        else:
            outer = outer_subjects(self.cv, labels, subjects, self.random_state)
            folds = [Fold(i, train, (), test, self.random_state) for i, (train, test) in outer]
        rows = []
        for fold in folds:
            check_subjects(fold.train, fold.valid, fold.test, f"fold {fold.index}")
            sides = fold.rows(subjects, recordings)
            rows.append((np.sort(np.concatenate([sides["train"], sides["valid"]])), sides["test"]))
        return rows, subjects

    def _subjects(self, X: Any, groups: Any) -> NDArray[Any]:
        own = None
        if isinstance(X, Windows):
            own = X.groups
            check_recordings_apart(X.recordings)
        elif isinstance(X, SubjectArray):  # e.g. what an Embedder makes of windows
            own = X.groups
        found = own if groups is None else groups
        if found is None:
            kind = ContaminationError if self.checkpoint is not None else SplitError
            about = f", nor whether {self.checkpoint} saw those who test it" if isinstance(self.checkpoint, str) else ""
            raise kind(
                f"{type(X).__name__} name no subjects, so nobody can keep them apart{about}; "
                "pass groups= (one subject a window), or Windows"
            )
        subjects = np.asarray(found)
        n = len(subjects) if X is None else _n_samples(X)
        if subjects.shape != (n,):
            raise SplitError(f"groups must name one subject a window: expected shape ({n},), found {subjects.shape}")
        nameless = pd.isna(subjects) | (subjects.astype(str) == "")
        if nameless.any():
            raise SplitError(f"window {int(np.argmax(nameless))} has no subject in groups")
        subjects = subjects.astype(str).astype(object)
        if own is not None and not np.array_equal(subjects, np.asarray(own).astype(str).astype(object)):
            raise SplitError(f"groups differ from the subjects that the {type(X).__name__} carry; leave groups out")
        return subjects
