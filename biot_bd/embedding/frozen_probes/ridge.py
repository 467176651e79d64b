"""Ridge regression of the classes over frozen embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import Ridge
from torch import nn

from biot_bd.embedding.frozen_probes.base import FrozenProbe, Learnt, Standardised, linear_head, standard


class RidgeProbe(FrozenProbe):
    """Ridge regression of -1 and 1 on standardised embeddings, a row a class.

    Its values become probabilities by a softmax of one scale, that with the least balanced log loss
    on the training windows; the order of windows is the regression's own.

    Parameters
    ----------
    alpha : float or sequence of float
        Strength of the L2 penalty beside the sum of squares, the largest first; validation subjects
        choose.
    train_split : {"subject"}, callable or None
        Who validates.
    validation_fraction : float
        Share of the windows that validate.
    random_state : int or None
        Of the split; None counts as 0.
    seen_subjects : {"raise", "warn", "allow"}
        When it shall predict other windows of subjects that it was fitted on, as in
        :class:`biot_bd.BIOTClassifier`.

    See Also
    --------
    sklearn.linear_model.RidgeClassifier : The same regression.
    LinearProbe : Logistic regression.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.embedding import RidgeProbe
    >>> y = np.tile([0, 1], 40)
    >>> x = np.random.default_rng(0).normal(size=(80, 3)) + 2 * y[:, None]
    >>> probe = RidgeProbe(alpha=[100.0, 1.0]).fit(x, y, groups=np.repeat(list("abcd"), 20))
    >>> probe.score(x, y) > 0.9, probe.chosen_["reason"] is None
    (True, True)
    """

    _parameter = "alpha"

    def __init__(
        self,
        alpha: float | Sequence[float] = (1e5, 1e4, 1e3, 1e2, 10.0, 1.0, 0.1),
        *,
        train_split: Any = "subject",
        validation_fraction: float = 0.2,
        random_state: int | None = None,
        seen_subjects: str = "raise",
    ) -> None:
        self.alpha = alpha
        self.train_split, self.validation_fraction = train_split, validation_fraction
        self.random_state = random_state
        self.seen_subjects = seen_subjects

    def _learn(self, x: NDArray[np.float32], codes: NDArray[np.int64], weights: NDArray[Any], value: Any) -> Learnt:
        mean, std = standard(x)
        targets = np.where(codes[:, None] == np.arange(len(self.classes_)), 1.0, -1.0)
        z = (x - mean) / std
        model = Ridge(alpha=value).fit(z, targets, sample_weight=weights)
        scale = _scale(model.predict(z), codes, weights)
        arrays = {"weight": scale * model.coef_, "bias": scale * model.intercept_, "mean": mean, "std": std}
        return Learnt(arrays | {"scale": np.array(scale)})

    def _head(self, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
        return nn.Sequential(Standardised(arrays["mean"], arrays["std"]), linear_head(arrays["weight"], arrays["bias"]))


def _scale(values: NDArray[Any], codes: NDArray[np.int64], weights: NDArray[Any]) -> float:
    """Return what to multiply values with so that their softmax has the least log loss."""

    def loss(log_scale: float) -> float:
        log_proba = log_softmax(np.exp(log_scale) * values, axis=1)
        return -float((weights * log_proba[np.arange(len(codes)), codes]).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded").x))
