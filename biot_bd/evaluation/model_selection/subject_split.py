"""A splitter for scikit-learn's own tools that keeps persons apart and checkpoints honest."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from copy import deepcopy
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
    SplitError,
    check_persons,
    fixed_folds,
    outer_persons,
)
from biot_bd.models.checkpoints.provenance import ContaminationError
from biot_bd.windows import Windows

__all__ = ["PersonSplit"]

Rows = tuple[NDArray[np.int64], NDArray[np.int64]]


class PersonSplit(BaseEstimator):
    """Split by person for ``GridSearchCV``, ``cross_val_score`` and the like, and refuse contaminated checkpoints.

    scikit-learn turns an error inside a fit into a score of NaN, but not one of the splitter: what is wrong with
    persons or checkpoint is raised here, from :meth:`split`, before the first fit.

    Parameters
    ----------
    cv : str or splitter
        A name as in :func:`biot_bd.cross_validate` (``"person-loo"``, ``"person-kfold-N"``, ...) or a splitter of
        scikit-learn that takes groups.  Of a fixed split, training and validation persons train.
    checkpoint : optional
        What the model starts from: a name, file, folder or Hub repository as for ``pretrained``, a list of them, or
        the pipeline or the parameter grid itself, whose ``pretrained`` is looked up.  None checks persons only.
    allow_contaminated : bool
        Go on with a warning where a test person was seen.
    random_state : int
        Seed of the names with shuffled folds.

    Examples
    --------
    >>> from sklearn.model_selection import GroupKFold
    >>> from biot_bd import PersonSplit
    >>> PersonSplit(GroupKFold(3), checkpoint="prest-16").get_n_splits(
    ...     [0, 0, 0], groups=["clinic/01", "clinic/02", "clinic/03"]
    ... )
    3
    """

    # With metadata routing on, the persons are asked for without set_split_request.
    __metadata_request__split = {"groups": True}

    def __init__(
        self,
        cv: Any = "person-loo",
        *,
        checkpoint: Any = None,
        allow_contaminated: bool = False,
        random_state: int = 0,
    ) -> None:
        self.cv = cv
        self.checkpoint = checkpoint
        self.allow_contaminated = allow_contaminated
        self.random_state = random_state

    def __sklearn_clone__(self) -> PersonSplit:
        # A fitted model as checkpoint would lose what it knows if it were cloned.
        copied = type(self)(**self.get_params(deep=False))
        if hasattr(self, "_metadata_request"):  # what set_split_request was told
            copied._metadata_request = deepcopy(self._metadata_request)
        return copied

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Rows]:
        """Return the rows of training and test of each fold.

        Parameters
        ----------
        X : Windows, array of shape (n, ...) or mne.Epochs
        y : array of shape (n,), optional
            Labels, for stratified splits; those of the ``Windows`` by default.
        groups : array of shape (n,), optional
            Person of each window; those of the ``Windows`` by default.

        Returns
        -------
        iterator of (ndarray, ndarray)
            Row numbers, ascending.

        Raises
        ------
        ContaminationError
            The checkpoint saw a person of a test part, nobody knows what it saw, or the data name no persons.
        SplitError
            A person on two sides or divided, fewer than two persons, persons missing, an unknown name.
        """
        folds, persons = self._folds(X, y, groups)
        self._check_checkpoint({person for _, test in folds for person in persons[test]})
        return iter(folds)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds; parameters as in :meth:`split`, of which ``X`` may be None.

        Raises
        ------
        ContaminationError, SplitError
            As in :meth:`split`, but for persons who were seen.
        """
        if X is None and groups is None:
            if isinstance(self.cv, str) and self.cv in FIXED_SPLITS:
                return len(FIXED_SPLITS[self.cv])
            if hasattr(self.cv, "get_n_splits"):
                return int(self.cv.get_n_splits(None, None, None))
        return len(self._folds(X, y, groups)[0])

    def _check_checkpoint(self, test_persons: set[str]) -> None:
        if self.checkpoint is None:
            return
        origins = find_origins(self.checkpoint, fitted=True)
        found = check_contamination(origins, test_persons, allow=self.allow_contaminated)
        if found is not None:
            warnings.warn(found.text, stacklevel=3)

    def _folds(self, X: Any, y: Any, groups: Any) -> tuple[list[Rows], NDArray[Any]]:
        """Return the rows of training and test of each fold, and the person of each row."""
        persons = self._persons(X, groups)
        labels = X.y if y is None and isinstance(X, Windows) else y
        labels = np.zeros(len(persons), dtype=np.int64) if labels is None else np.asarray(labels)
        if len(labels) != len(persons):
            raise SplitError(f"{len(persons)} windows but {len(labels)} labels")
        names = sorted(set(persons))
        if len(names) < 2:
            raise SplitError(f"a split by person needs at least 2 persons, found {len(names)} ({', '.join(names)})")
        recordings = None
        if isinstance(self.cv, str) and self.cv in FIXED_SPLITS:
            recordings = X.metadata["recording"].to_numpy() if isinstance(X, Windows) else None
            folds = fixed_folds(self.cv, persons, recordings, self.random_state)
        else:
            outer = outer_persons(self.cv, labels, persons, self.random_state)
            folds = [Fold(i, train, (), test, self.random_state) for i, (train, test) in outer]
        rows = []
        for fold in folds:
            check_persons(fold.train, fold.valid, fold.test, f"fold {fold.index}")
            sides = fold.rows(persons, recordings)
            rows.append((np.sort(np.concatenate([sides["train"], sides["valid"]])), sides["test"]))
        return rows, persons

    def _persons(self, X: Any, groups: Any) -> NDArray[Any]:
        own = X.groups if isinstance(X, Windows) else None
        found = own if groups is None else groups
        if found is None:
            kind = ContaminationError if self.checkpoint is not None else SplitError
            about = f", nor whether {self.checkpoint} saw those who test it" if isinstance(self.checkpoint, str) else ""
            raise kind(
                f"{type(X).__name__} name no persons, so nobody can keep them apart{about}; "
                "pass groups= (one person a window), or Windows"
            )
        persons = np.asarray(found)
        n = len(persons) if X is None else _n_samples(X)
        if persons.shape != (n,):
            raise SplitError(f"groups must name one person a window: expected shape ({n},), found {persons.shape}")
        nameless = pd.isna(persons) | (persons.astype(str) == "")
        if nameless.any():
            raise SplitError(f"window {int(np.argmax(nameless))} has no person in groups")
        persons = persons.astype(str).astype(object)
        if own is not None and not np.array_equal(persons, np.asarray(own).astype(str).astype(object)):
            raise SplitError("groups differ from the persons that the Windows carry; leave groups out")
        return persons
