"""Calibration: whether windows called a seizure with probability p are seizures in a share p of
cases.

The curve is scikit-learn's ``calibration_curve`` and the Brier score its ``brier_score_loss``; what
is added is the number of windows in each bin, the expected calibration error with its binning
named, and a reference for the Brier score.

References
----------
Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78, 1950.
Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI
2015 (ECE).
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

BINS = 10
STRATEGIES = {"uniform": "bins of equal width", "quantile": "bins of equal numbers of windows"}


def bin_edges(proba: ArrayLike, n_bins: int = BINS, strategy: str = "uniform") -> NDArray[np.float64]:
    """Return the edges of the bins that ``calibration_curve`` uses, shape ``(n_bins + 1,)``.

    Raises
    ------
    ValueError
        Unknown strategy, or fewer than one bin.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"no binning {strategy!r}; there are {', '.join(STRATEGIES)}")
    if isinstance(n_bins, bool) or not isinstance(n_bins, Integral) or n_bins < 1:
        raise ValueError(f"n_bins must be a whole number of at least 1, got {n_bins!r}")
    shares = np.linspace(0.0, 1.0, n_bins + 1)
    return shares if strategy == "uniform" else np.percentile(np.asarray(proba, dtype=np.float64), shares * 100)


def bin_of(proba: ArrayLike, edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of the bin of each probability, from 0, as ``calibration_curve`` assigns
    them.
    """
    return np.searchsorted(edges[1:-1], np.asarray(proba, dtype=np.float64)).astype(np.int64)


def calibration(
    y_true: ArrayLike, proba: ArrayLike, *, n_bins: int = BINS, strategy: str = "uniform"
) -> dict[str, Any]:
    """Return the calibration curve, the Brier score and the expected calibration error.

    Parameters
    ----------
    y_true : array of shape (n_windows,)
        Labels, 0 or 1.
    proba : array of shape (n_windows,)
        Probability of class 1, between 0 and 1.
    n_bins : int, default=10
        Bins of the curve.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of one width, or of one number of windows.

    Returns
    -------
    dict
        ``n_windows``, ``prevalence``, ``brier`` (mean squared error of the probabilities),
        ``brier_reference`` (that of giving every window the prevalence), ``brier_skill`` (1 - brier
        / reference; None where the reference is 0), ``ece`` (mean over windows of the distance of
        bin's mean probability and share of seizure windows), ``binning`` (in words), ``bins``
        (``low``, ``high``, ``n_windows``, ``mean_proba``, ``share_seizure``; the last two None in
        an empty bin).  Values are None, with ``reason``, where there are no windows.

    Raises
    ------
    ValueError
        Shapes differ, labels are not 0 and 1, or a probability lies outside [0, 1] or is not
        finite.

    See Also
    --------
    biot_bd.evaluation.recalibrate : Mends what this shows, on validation subjects.
    biot_bd.evaluation.assess : Has it for a run.

    Examples
    --------
    >>> from biot_bd.evaluation import calibration
    >>> found = calibration([0, 0, 0, 1], [0.1, 0.2, 0.1, 0.9], n_bins=2)
    >>> found["prevalence"], round(found["brier"], 4), found["binning"]
    (0.25, 0.0175, '2 bins of equal width')
    """
    y, p = checked(y_true, proba)
    binning = f"{n_bins} {STRATEGIES.get(strategy, strategy)}"
    if len(y) == 0:
        bin_edges([0.0], n_bins, strategy)
        empty = dict.fromkeys(("prevalence", "brier", "brier_reference", "brier_skill", "ece"))
        return {"n_windows": 0, **empty, "reason": "no windows", "binning": binning, "bins": []}
    edges = bin_edges(p, n_bins, strategy)
    counts = np.bincount(bin_of(p, edges), minlength=n_bins)
    share, mean = calibration_curve(y, p, n_bins=n_bins, strategy=strategy, pos_label=1)
    filled = iter(zip(mean, share, strict=True))
    bins = []
    for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True):
        mean_proba, share_seizure = (float(v) for v in next(filled)) if n else (None, None)
        bins.append(
            {
                "low": float(low),
                "high": float(high),
                "n_windows": int(n),
                "mean_proba": mean_proba,
                "share_seizure": share_seizure,
            }
        )
    prevalence, brier = float(y.mean()), float(brier_score_loss(y, p, pos_label=1))
    reference = prevalence * (1 - prevalence)
    return {
        "n_windows": len(y),
        "prevalence": prevalence,
        "brier": brier,
        "brier_reference": reference,
        "brier_skill": 1 - brier / reference if reference else None,
        "ece": float(np.sum(counts[counts > 0] * np.abs(mean - share)) / len(y)),
        "reason": None,
        "binning": binning,
        "bins": bins,
    }


def checked(y_true: ArrayLike, proba: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels and probabilities of one shape (n,); raise for what is none of them."""
    y, p = np.asarray(y_true), np.asarray(proba, dtype=np.float64)
    if y.ndim != 1 or y.shape != p.shape:
        raise ValueError(f"labels {y.shape} and probabilities {p.shape} must have one shape (n,)")
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"labels must be 0 (background) and 1 (seizure), found {np.unique(y)[:5].tolist()}")
    if not ((p >= 0) & (p <= 1)).all():  # False for NaN as well
        raise ValueError("probabilities must be finite and lie between 0 and 1")
    return y.astype(np.int64), p
