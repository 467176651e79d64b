"""A small network with one hidden layer over frozen embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
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

LEARNING_RATE = 0.005
"""Of Adam; scikit-learn's 0.001 needs thousands of epochs on a few hundred windows."""


class MLPProbe(FrozenProbe):
    """A multi-layer perceptron with one hidden layer on standardised embeddings.

    Parameters
    ----------
    alpha : float or sequence of float
        Strength of the L2 penalty, the largest first; validation subjects choose.
    n_hidden : int
        Units of the hidden layer, rectified linear.
    train_split : {"subject"}, callable or None
        Who validates.
    validation_fraction : float
        Share of the windows that validate.
    max_iter : int
        Most epochs; training ends where the loss falls by less than 1e-4 for 10 of them.
    random_state : int or None
        None counts as 0.  Of the split, the first weights and the order of windows.
    seen_subjects : {"raise", "warn", "allow"}
        When it shall predict other windows of subjects that it was fitted on, as in
        :class:`biot_bd.BIOTClassifier`.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : What is fitted.
    LinearProbe : Without a hidden layer.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.embedding import MLPProbe
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> probe = MLPProbe(alpha=1.0, n_hidden=32).fit(x, y)
    >>> probe.score(x, y) > 0.9, probe.n_iter_ > 10
    (True, True)
    """

    _parameter = "alpha"

    def __init__(
        self,
        alpha: float | Sequence[float] = (10.0, 1.0, 0.1, 1e-2, 1e-4),
        *,
        n_hidden: int = 128,
        train_split: Any = "subject",
        validation_fraction: float = 0.2,
        max_iter: int = 500,
        random_state: int | None = None,
        seen_subjects: str = "raise",
    ) -> None:
        self.alpha, self.n_hidden = alpha, n_hidden
        self.train_split, self.validation_fraction = train_split, validation_fraction
        self.max_iter, self.random_state = max_iter, random_state
        self.seen_subjects = seen_subjects

    def _learn(self, x: NDArray[np.float32], codes: NDArray[np.int64], weights: NDArray[Any], value: Any) -> Learnt:
        mean, std = standard(x)
        model = MLPClassifier(
            (self.n_hidden,),
            alpha=value,
            learning_rate_init=LEARNING_RATE,
            max_iter=self.max_iter,
            random_state=self.random_state or 0,
        )
        z = ((x - mean) / std).astype(np.float32)
        without_warnings(lambda: model.fit(z, codes, sample_weight=weights), ConvergenceWarning)
        (first, last), (start, end) = model.coefs_, model.intercepts_
        weight, bias = both_classes(last.T, end)
        arrays = {"mean": mean, "std": std, "hidden": first.T, "hidden_bias": start, "weight": weight, "bias": bias}
        return Learnt(arrays, model.n_iter_ < self.max_iter, int(model.n_iter_))

    def _head(self, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
        return nn.Sequential(
            Standardised(arrays["mean"], arrays["std"]),
            linear_head(arrays["hidden"], arrays["hidden_bias"]),
            nn.ReLU(),
            linear_head(arrays["weight"], arrays["bias"]),
        )
