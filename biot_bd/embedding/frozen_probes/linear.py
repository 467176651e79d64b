"""Logistic regression over frozen embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

from biot_bd.embedding.frozen_probes.base import (
    FrozenProbe,
    Learnt,
    Standardised,
    both_classes,
    linear_head,
    standard,
    without_warnings,
)


class LinearProbe(FrozenProbe):
    """Logistic regression on standardised embeddings.

    Parameters
    ----------
    C : float or sequence of float
        Inverse strength of the L2 penalty, the smallest first; validation subjects choose.
    train_split : {"subject"}, callable or None
        Who validates.
    validation_fraction : float
        Share of the windows that validate.
    max_iter : int
        Most iterations.
    random_state : int or None
        Of the split; None counts as 0.
    seen_subjects : {"raise", "warn", "allow"}
        When it shall predict other windows of subjects that it was fitted on, as in
        :class:`biot_bd.BIOTClassifier`.

    See Also
    --------
    sklearn.linear_model.LogisticRegression : What is fitted.
    MLPProbe : With a hidden layer.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.embedding import LinearProbe
    >>> y = np.tile([0, 1], 40)
    >>> x = np.random.default_rng(0).normal(size=(80, 3)) + 2 * y[:, None]
    >>> probe = LinearProbe().fit(x, y, groups=np.repeat(list("abcd"), 20))
    >>> probe.predict_proba(x).shape, probe.score(x, y) > 0.9, len(probe.chosen_["scores"])
    ((80, 2), True, 7)
    """

    _parameter = "C"

    def __init__(
        self,
        C: float | Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
        *,
        train_split: Any = "subject",
        validation_fraction: float = 0.2,
        max_iter: int = 2000,
        random_state: int | None = None,
        seen_subjects: str = "raise",
    ) -> None:
        self.C = C
        self.train_split, self.validation_fraction = train_split, validation_fraction
        self.max_iter, self.random_state = max_iter, random_state
        self.seen_subjects = seen_subjects

    @property
    def coef_(self) -> NDArray[np.float64]:
        """Weights of standardised features, ``(n_classes, n_features)``; 0 for the first of two."""
        return self.arrays_["weight"]

    @property
    def intercept_(self) -> NDArray[np.float64]:
        """Constants, ``(n_classes,)``."""
        return self.arrays_["bias"]

    def _learn(self, x: NDArray[np.float32], codes: NDArray[np.int64], weights: NDArray[Any], value: Any) -> Learnt:
        mean, std = standard(x)
        model = LogisticRegression(C=value, max_iter=self.max_iter)
        without_warnings(lambda: model.fit((x - mean) / std, codes, sample_weight=weights), ConvergenceWarning)
        n_iter = int(np.max(model.n_iter_))
        weight, bias = both_classes(model.coef_, model.intercept_)
        return Learnt({"mean": mean, "std": std, "weight": weight, "bias": bias}, n_iter < self.max_iter, n_iter)

    def _head(self, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
        return nn.Sequential(Standardised(arrays["mean"], arrays["std"]), linear_head(arrays["weight"], arrays["bias"]))
