"""What probes over frozen embeddings share: standardised features, regularisation that validation
subjects choose, balanced classes, a head that predicts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.utils.data import TensorDataset

from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.signals.subject_array import subjects_named
from biot_bd.training._validation import subject_codes
from biot_bd.training.labels import decide, positive_label, read_labels
from biot_bd.training.seen_windows import SEEN_SUBJECTS, SeenWindows
from biot_bd.training.valid_splits import SubjectValidSplit, check_subjects_apart, check_train_split

AT_ONCE = 1024
"""Windows a batch when a probe predicts."""
METRIC = "average_precision"
ONE_VALUE = "one value was given"
_FLAT = 1e-12  # standard deviation below which a feature says nothing


@dataclass(frozen=True)
class Learnt:
    """What a probe learnt with one value of its regularisation.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        What its head is made of.
    converged : bool
        Whether the optimisation came to its end.
    n_iter : int
        Iterations or epochs; 0 where there are none.

    See Also
    --------
    FrozenProbe : Its ``_learn`` returns one.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.embedding import Learnt
    >>> Learnt({"centres": np.zeros((2, 3))}).converged
    True
    """

    arrays: Mapping[str, NDArray[Any]]
    converged: bool = True
    n_iter: int = 0


class FrozenProbe(ClassifierMixin, BaseEstimator):
    """Base of the probes: a classifier of embeddings that an ``Embedder`` made.

    Classes count alike, and the built-in probes standardise features by the training windows.
    Where several values of the regularisation are given, some subjects validate them (area under
    the precision-recall curve; of more than two classes the mean over classes), and the probe is
    fitted again on all windows with the best one, the strongest of equals.  A subclass writes
    ``_learn`` and ``_head``.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Sorted labels.
    chosen_ : dict
        ``parameter``, ``value``, ``scores`` (value, score), ``metric``, ``valid_subjects``,
        ``not_converged`` (values), ``reason`` (why nothing was compared; None: it was).
    converged_ : bool
        Whether the fit on all windows came to its end; where not, a ``ConvergenceWarning`` says so.
    n_iter_ : int
        Iterations of that fit.
    train_subjects_ : tuple of str
        Subjects of all windows; empty where they are unknown.
    threshold_ : float or None
        Probability from which ``predict`` says the positive class; None: the most probable one.

    See Also
    --------
    biot_bd.Embedder : Makes the embeddings.
    biot_bd.hookspecs.register_frozen_probes : The hook for such classes.

    Notes
    -----
    A subclass has these parameters, beside its own: the one that ``_parameter`` names, values of
    the regularisation with the strongest first; ``train_split``, who validates, as in
    :class:`biot_bd.BIOTClassifier` (None: nobody, and the middle value is taken);
    ``validation_fraction``, the share of the windows that validate; ``random_state`` of the split
    and of whatever is random in the fit (None counts as 0; ``cross_validate`` puts the fold's seed
    there).

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.embedding import LinearProbe
    >>> from biot_bd.signals.subject_array import SubjectArray
    >>> rng, y = np.random.default_rng(0), np.tile([0, 1], 40)
    >>> x = rng.normal(size=(80, 3)) + y[:, None]
    >>> probe = LinearProbe(C=[0.01, 1]).fit(SubjectArray(x, np.repeat(list("abcd"), 20)), y)
    >>> probe.chosen_["parameter"], probe.chosen_["value"] in (0.01, 1), probe.converged_
    ('C', True, True)
    """

    _parameter: ClassVar[str] = "values"
    """Name of the constructor's parameter that holds the values of the regularisation."""
    saved_as: ClassVar[str] = "probe"
    """What a saved pipeline has it as."""
    pooling: ClassVar[str] = "mean"
    """What the ``Embedder`` in front must make: ``"mean"`` (n, n_features) or ``"tokens"``."""

    # With metadata routing on, subjects are asked for by themselves; MOABB routes `subjects`.
    __metadata_request__fit = {"groups": True, "subjects": True}

    train_split: Any
    validation_fraction: float
    random_state: int | None
    seen_subjects: str = "raise"
    _seen: SeenWindows | None = None  # saving leaves it out

    # --- what a subclass writes -------------------------------------------------------------------

    def _learn(self, x: NDArray[np.float32], codes: NDArray[np.int64], weights: NDArray[Any], value: Any) -> Learnt:
        """Fit on embeddings, positions of classes and weights of windows (mean 1), with one value
        of the regularisation.
        """
        raise NotImplementedError

    def _head(self, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
        """Return the module from embeddings to logits, ``(n, n_classes)``."""
        raise NotImplementedError

    # --- fit --------------------------------------------------------------------------------------

    def fit(
        self, X: Any, y: ArrayLike, groups: ArrayLike | None = None, *, subjects: ArrayLike | None = None
    ) -> FrozenProbe:
        """Choose the regularisation by validation subjects, then fit on all windows.

        Parameters
        ----------
        X : array, shape (n, n_features) or (n, n_tokens, n_features)
            Embeddings; ``SubjectArray`` names their subjects.
        y : array, shape (n,)
            Labels.
        groups : array, shape (n,), optional
            Subject of each window; of ``X`` where it knows them.
        subjects : array, shape (n,), optional
            The same by the name under which MOABB's evaluations hand them on.

        Raises
        ------
        ValueError
            Embeddings of another shape or not finite, labels that are none, one class only,
            another number of subjects than windows, a split that mixes subjects.
        """
        if self.seen_subjects not in SEEN_SUBJECTS:
            raise ValueError(f"seen_subjects={self.seen_subjects!r}: expected 'raise', 'warn' or 'allow'")
        x, labels = self._checked(X), read_labels(y)
        if len(labels) != len(x):
            raise ValueError(f"{type(self).__name__}: {len(x)} embeddings, but {len(labels)} labels; give one a window")
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} needs at least two classes, found {self.classes_.tolist()} only")
        self.positive_label_ = positive_label(self.classes_)
        self.n_features_in_ = x.shape[-1]
        self.threshold_: float | None = None
        groups = subjects_named(groups, subjects)
        groups = getattr(X, "groups", None) if groups is None else groups
        whose = None if groups is None else np.asarray(groups, dtype=object)
        names = () if whose is None else subject_codes(whose, len(x), type(self).__name__)[0]
        self.train_subjects_ = tuple(str(name) for name in names)
        codes = np.searchsorted(self.classes_, labels)
        self.chosen_ = self._choose(x, codes, whose)
        learnt = self._learn(x, codes, balanced(codes, len(self.classes_)), self.chosen_["value"])
        self._seen = SeenWindows.of(X)
        self.arrays_, self.converged_, self.n_iter_ = dict(learnt.arrays), learnt.converged, learnt.n_iter
        if not self.converged_:
            warnings.warn(
                f"{type(self).__name__} did not converge in {self.n_iter_} iterations with {self._parameter}="
                f"{self.chosen_['value']!r}; raise max_iter or regularise more",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _choose(
        self, x: NDArray[np.float32], codes: NDArray[np.int64], subjects: NDArray[Any] | None
    ) -> dict[str, Any]:
        """Return the value of the regularisation and how it was found."""
        given = getattr(self, self._parameter)
        values = list(np.atleast_1d(np.asarray(given)).tolist())
        if not values:
            raise ValueError(f"{type(self).__name__}: {self._parameter} must name at least one value, found {given!r}")
        told: dict[str, Any] = {
            "parameter": self._parameter,
            "metric": METRIC,
            "scores": [],
            "valid_subjects": [],
            "not_converged": [],
        }
        if len(values) == 1:
            return {**told, "value": values[0], "reason": ONE_VALUE}
        sides, reason = self._sides(codes, subjects)
        if sides is None:
            value = values[len(values) // 2]
            warnings.warn(
                f"{type(self).__name__}: no subjects could choose {self._parameter} ({reason}); took {value!r}, the middle one",
                stacklevel=3,
            )
            return {**told, "value": value, "reason": reason}
        train, valid = sides
        weights = balanced(codes[train], len(self.classes_))
        scores: list[float] = []
        unfinished: list[Any] = []
        for value in values:
            learnt = self._learn(x[train], codes[train], weights, value)
            scores.append(_score(codes[valid], probabilities(self._head(learnt.arrays), x[valid])))
            unfinished += [] if learnt.converged else [value]
        best = values[int(np.argmax(scores))]
        validated = sorted({str(subject) for subject in np.asarray(subjects)[valid]})
        told |= {"scores": [list(pair) for pair in zip(values, scores, strict=True)], "valid_subjects": validated}
        return {**told, "value": best, "not_converged": unfinished, "reason": None}

    def _sides(
        self, codes: NDArray[np.int64], subjects: NDArray[Any] | None
    ) -> tuple[tuple[NDArray[Any], NDArray[Any]] | None, str]:
        """Return the windows that train and those that validate, or why there are none."""
        check_train_split(self.train_split, subjects, known=True)
        if self.train_split is None:
            return None, "train_split=None"
        if subjects is None:
            return None, "the subjects are unknown"
        split = self.train_split
        if split == "subject":
            split = SubjectValidSplit(self.validation_fraction, self.random_state or 0)
            if len(set(subjects)) < 2:
                return None, "all windows are of one subject"
        dataset = TensorDataset(torch.arange(len(codes)))
        try:
            train, valid = split(dataset, codes, subjects)
        except ValueError as error:
            if not str(error).startswith("no split by subject"):
                raise
            return None, str(error).partition(";")[0]
        check_subjects_apart(train, valid, dataset, subjects)
        sides = np.asarray(train.indices), np.asarray(valid.indices)
        n_classes = len(self.classes_)
        for name, rows in zip(("training", "validation"), sides, strict=True):
            if len(np.unique(codes[rows])) < n_classes:
                return None, f"the {name} subjects have not all of the {n_classes} classes"
        return sides, ""

    # --- prediction -------------------------------------------------------------------------------

    def head(self) -> nn.Module:
        """Return the fitted probe as a module: embeddings to logits, ``(n, n_classes)`` in the
        order of ``classes_``.
        """
        check_is_fitted(self, "arrays_")
        return self._head(self.arrays_).eval().requires_grad_(False)

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return probabilities, ``(n, n_classes)`` in the order of ``classes_``.

        Parameters
        ----------
        X : array, shape (n, n_features) or (n, n_tokens, n_features)
            Embeddings.

        Raises
        ------
        ValueError
            Embeddings of another shape than in ``fit``, or not finite.
        SubjectLeakError
            Other windows of subjects of ``fit``; see ``seen_subjects`` of the built-in probes.
        """
        head, x = self.head(), self._checked(X)
        self._check_seen(X)
        if x.shape[-1] != self.n_features_in_:
            raise ValueError(
                f"{type(self).__name__} was fitted on embeddings of {self.n_features_in_} features, found {x.shape[-1]}; "
                "take the Embedder that it was fitted behind"
            )
        return probabilities(head, x) if len(x) else np.zeros((0, len(self.classes_)), np.float32)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the label of each window."""
        return decide(self.predict_proba(X), self.classes_, self.positive_label_, self.threshold_)

    @property
    def provenance_(self) -> Provenance:
        """What the probe itself saw; the encoder's is the ``Embedder``'s."""
        check_is_fitted(self, "arrays_")
        return Provenance(f"a {type(self).__name__}").extended(self.train_subjects_)

    def _check_seen(self, X: Any) -> None:
        if self._seen is None or self.seen_subjects == "allow":
            return
        if self.seen_subjects == "raise":
            self._seen.check(X)
        elif (found := self._seen.leak(X)) is not None:
            warnings.warn(found, stacklevel=3)

    # --- checks -----------------------------------------------------------------------------------

    def _checked(self, X: Any) -> NDArray[np.float32]:
        if not isinstance(X, (np.ndarray, list, tuple, torch.Tensor)) and not hasattr(X, "__array__"):
            raise TypeError(
                f"{type(self).__name__} takes embeddings, found {type(X).__name__}; put an Embedder in front of it"
            )
        x = np.asarray(X)
        if x.ndim != (2 if self.pooling == "mean" else 3) or 0 in x.shape[1:] or x.dtype.kind not in "fiu":
            wanted = "(n, n_features)" if self.pooling == "mean" else "(n, n_tokens, n_features)"
            raise ValueError(
                f"{type(self).__name__} takes embeddings of shape {wanted}, found {x.dtype} of shape {x.shape}; "
                f"Embedder(pooling={self.pooling!r}) makes them"
            )
        x = np.asarray(x, dtype=np.float32)
        for start in range(0, len(x), 16 * AT_ONCE):
            faulty = self._faulty(x[start : start + 16 * AT_ONCE])
            if faulty.any():
                raise ValueError(
                    f"{type(self).__name__}: the embedding of window {start + int(np.argmax(faulty))} is not finite; leave "
                    "such windows out"
                )
        return x

    def _faulty(self, x: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which windows have embeddings that cannot be used."""
        return np.asarray(~np.isfinite(x)).reshape(len(x), -1).max(axis=1)


def balanced(codes: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Return a weight for each window, so that classes count alike; the mean is 1."""
    counts = np.bincount(codes, minlength=n_classes)
    return (len(codes) / (n_classes * np.maximum(counts, 1)))[codes]


def probabilities(head: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities that a head gives, in batches."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(x), AT_ONCE):
            logits = head(torch.from_numpy(np.ascontiguousarray(x[start : start + AT_ONCE])))
            parts.append(logits.float().softmax(dim=1).numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def standard(x: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of features over windows; 1 where one is constant."""
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    return mean, np.where(std > _FLAT * np.maximum(1, np.abs(mean)), std, 1.0)


def linear_head(weight: NDArray[Any], bias: NDArray[Any]) -> nn.Linear:
    """Return a linear map with these numbers, ``(n_classes, n_features)`` and ``(n_classes,)``."""
    made = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(np.asarray(weight, np.float32)))
        made.bias.copy_(torch.from_numpy(np.asarray(bias, np.float32)))
    return made


class Standardised(nn.Module):
    """Subtract the mean of each feature and divide by its standard deviation.

    It stays a step of its own: folded into a linear map, features far from zero would lose in
    float32 what tells windows apart.

    Parameters
    ----------
    mean, std : ndarray, shape (n_features,)
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: NDArray[Any], std: NDArray[Any]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(np.asarray(mean, np.float32)))
        self.register_buffer("std", torch.from_numpy(np.asarray(std, np.float32)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return standardised features."""
        return (x - self.mean) / self.std


def both_classes(weight: NDArray[Any], bias: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a linear map with a row a class, of one that may have a row for the second of two."""
    if len(bias) > 1:
        return weight, bias
    return np.vstack([np.zeros_like(weight), weight]), np.append(0.0, bias)


def without_warnings(function: Callable[[], Any], *kinds: type[Warning]) -> Any:
    """Call a function and leave out its warnings of these kinds."""
    with warnings.catch_warnings():
        for kind in kinds:
            warnings.simplefilter("ignore", kind)
        return function()


def _score(codes: NDArray[np.int64], proba: NDArray[Any]) -> float:
    """Return the area under the precision-recall curve, the mean over more than two classes."""
    columns: Sequence[int] = [1] if proba.shape[1] == 2 else range(proba.shape[1])
    return float(np.mean([average_precision_score(codes == k, proba[:, k]) for k in columns]))
