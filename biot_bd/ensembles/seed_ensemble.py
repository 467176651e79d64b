"""One model trained with several seeds, as one classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from biot_bd.signals.subject_array import SubjectArray, subjects_named
from biot_bd.training.labels import decide, positive_label

_SEED = "random_state"


class SeedEnsemble(ClassifierMixin, BaseEstimator):
    """Classifiers that differ in their seed alone; their probabilities are averaged.

    Each member is a clone of ``estimator`` of which every parameter named ``random_state``, at any
    depth, is one of the seeds.

    Parameters
    ----------
    estimator : classifier
        A ``BIOTClassifier``, a pipeline, or any classifier with ``predict_proba``.
    seeds : sequence of int, default=(0, 1, 2)
        One member each.
    n_jobs : int, optional
        Members that are fitted at once, in processes; one after another by default.

    Attributes
    ----------
    members_ : list of classifier
        Fitted, in the order of the seeds.
    classes_ : ndarray of shape (n_classes,)
        Labels, ascending.
    threshold_ : float or None
        If set (two classes), ``predict`` says ``positive_label_`` from this probability on, instead
        of the most probable label.  ``fit`` sets None.
    n_features_in_, feature_names_in_
        As of the first member, where it has them.

    See Also
    --------
    sklearn.ensemble.VotingClassifier : The mean of different models.
    biot_bd.cross_validate : Takes it like any classifier.

    Notes
    -----
    Members are fitted on the same windows and split off validation subjects of their own (by their
    seed), where they need any.  What their disagreement says is :meth:`spread`.

    References
    ----------
    Lakshminarayanan, B., Pritzel, A. and Blundell, C. (2017). Simple and scalable predictive
    uncertainty estimation using deep ensembles. NeurIPS 30.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import MLPClassifier
    >>> from biot_bd.ensembles import SeedEnsemble
    >>> X, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    >>> ensemble = SeedEnsemble(MLPClassifier((4,), max_iter=5, tol=1), seeds=(1, 2)).fit(
    ...     X + y[:, None], y
    ... )
    >>> [member.random_state for member in ensemble.members_], ensemble.predict_proba(X).shape
    ([1, 2], (40, 2))
    """

    saved_as = "ensemble"
    """What a saved pipeline has it as."""

    # With metadata routing on, subjects are asked for by themselves; MOABB routes `subjects`.
    __metadata_request__fit = {"groups": True, "subjects": True}

    def __init__(self, estimator: Any, seeds: Sequence[int] = (0, 1, 2), n_jobs: int | None = None) -> None:
        self.estimator, self.seeds, self.n_jobs = estimator, seeds, n_jobs

    def fit(self, X: Any, y: Any = None, groups: Any = None, *, subjects: Any = None) -> SeedEnsemble:
        """Fit a member for each seed.

        Parameters
        ----------
        X : Windows, array of shape (n, ...) or mne.Epochs
            Whatever the estimator takes.
        y : array of shape (n,), optional
            Labels; those of the ``Windows`` by default.
        groups : array of shape (n,), optional
            Subject of each window, handed on to the members; those of the ``Windows`` by default.
        subjects : array of shape (n,), optional
            The same by the name under which MOABB's evaluations hand them on.

        Returns
        -------
        SeedEnsemble
            This one.

        Raises
        ------
        ValueError
            Seeds are not different whole numbers, nothing in the estimator takes a seed, or members
            learned different classes.
        """
        seeds, groups = self._checked_seeds(), subjects_named(groups, subjects)
        y = getattr(X, "y", None) if y is None else y
        if groups is not None and isinstance(X, np.ndarray):
            X = SubjectArray(X, groups)
        given = {} if groups is None else _groups_for(self.estimator, groups)
        jobs = Parallel(n_jobs=self.n_jobs)(delayed(_fitted)(self.estimator, seed, X, y, given) for seed in seeds)
        self.members_: list[Any] = list(jobs)
        self.classes_: NDArray[Any] = np.asarray(self.members_[0].classes_)
        for seed, member in zip(seeds, self.members_, strict=True):
            if not np.array_equal(member.classes_, self.classes_):
                raise ValueError(
                    f"member of seed {seed} learned the classes {np.asarray(member.classes_).tolist()}, the first one "
                    f"{self.classes_.tolist()}; give all of them in the estimator"
                )
        self.threshold_: float | None = None
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.members_[0], name):
                setattr(self, name, getattr(self.members_[0], name))
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the mean of the members' probabilities, shape ``(n, n_classes)``, columns as in
        ``classes_``.
        """
        return self._each(X).mean(axis=0)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each window (with ``threshold_``, the positive one from
        there on).
        """
        return decide(self.predict_proba(X), self.classes_, self.positive_label_, self.threshold_)

    def spread(self, X: Any) -> NDArray[np.float64]:
        """Return the standard deviation of the members' probabilities, shape ``(n, n_classes)``.

        Raises
        ------
        ValueError
            There is one member only.
        """
        check_is_fitted(self)
        if len(self.members_) < 2:
            raise ValueError("one member has no spread; give at least two seeds")
        return self._each(X).std(axis=0, ddof=1)

    @property
    def positive_label_(self) -> Any:
        """The positive one of two classes, which ``threshold_`` is about; None of more."""
        check_is_fitted(self)
        return positive_label(self.classes_)

    @property
    def train_subjects_(self) -> tuple[str, ...]:
        """Subjects that any member was fitted on, as far as members know theirs."""
        check_is_fitted(self)
        ends = [_last(member)[1] for member in self.members_]
        return tuple(sorted({str(name) for end in ends for name in getattr(end, "train_subjects_", None) or ()}))

    @property
    def takes_soft_targets(self) -> bool:
        """Whether the estimator is fitted on rows of shares, one column a class."""
        return bool(getattr(_last(self.estimator)[1], "takes_soft_targets", False))

    def __sklearn_tags__(self) -> Any:
        """Return the tags of the estimator inside."""
        tags = super().__sklearn_tags__()
        inside = getattr(self.estimator, "__sklearn_tags__", None)
        if inside is not None:
            tags.input_tags = inside().input_tags
        return tags

    def _each(self, X: Any) -> NDArray[np.float64]:
        """Return the probabilities of each member, shape ``(n_members, n, n_classes)``."""
        check_is_fitted(self)
        return np.stack([np.asarray(member.predict_proba(X), dtype=np.float64) for member in self.members_])

    def _checked_seeds(self) -> list[int]:
        seeds = list(self.seeds)
        whole = all(isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) for seed in seeds)
        if not seeds or not whole or len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must be different whole numbers, at least one, got {self.seeds!r}")
        if not _seed_names(self.estimator):
            raise ValueError(
                f"{type(self.estimator).__name__} has no parameter random_state at any depth, so all members would be one"
            )
        return [int(seed) for seed in seeds]


def _seed_names(estimator: Any) -> list[str]:
    return [name for name in estimator.get_params(deep=True) if name.rpartition("__")[2] == _SEED]


def _last(estimator: Any) -> tuple[str, Any]:
    """Return the last estimator inside (nested) pipelines and the prefix of its parameters."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def _groups_for(estimator: Any, groups: Any) -> dict[str, Any]:
    """Return the arguments of ``fit`` that hand the subjects on."""
    prefix, last = _last(estimator)
    if not has_fit_parameter(last, "groups"):
        return {}
    return {"groups" if sklearn.get_config()["enable_metadata_routing"] else f"{prefix}groups": groups}


def _fitted(estimator: Any, seed: int, X: Any, y: Any, given: dict[str, Any]) -> Any:
    member = clone(estimator).set_params(**dict.fromkeys(_seed_names(estimator), seed))
    return member.fit(X, y, **given)
