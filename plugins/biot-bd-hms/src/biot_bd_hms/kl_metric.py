"""The metric of the competition: the mean Kullback-Leibler divergence, with its clipping."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr

from biot_bd.evaluation import Metric

EPSILON = 1e-15
"""Probabilities are clipped to between this and 1 minus this."""


def kl_divergence(targets: ArrayLike, proba: ArrayLike) -> float:
    r"""Return the mean over windows of :math:`\sum_k t_k \log(t_k / p_k)`, as Kaggle scores.

    Parameters
    ----------
    targets, proba : array-like, shape (n, n_classes)
        Shares of the votes, and predicted probabilities; the latter are clipped to between 1e-15
        and 1 - 1e-15 and not divided by their sum again.

    Returns
    -------
    float
        0 is best.

    Examples
    --------
    >>> from biot_bd_hms.kl_metric import kl_divergence
    >>> round(kl_divergence([[0.75, 0.25]], [[0.5, 0.5]]), 4)
    0.1308
    """
    clipped = np.clip(np.asarray(proba, dtype=np.float64), EPSILON, 1 - EPSILON)
    return float(rel_entr(np.asarray(targets, dtype=np.float64), clipped).sum(axis=1).mean())


KL_DIVERGENCE = Metric(
    "kl_divergence",
    kl_divergence,
    needs_classes=(),
    greater_is_better=False,
    description="Mean Kullback-Leibler divergence of the votes from the probabilities; 0 is best.",
    soft_targets=True,
)
