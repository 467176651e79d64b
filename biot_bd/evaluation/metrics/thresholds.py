"""The threshold between background and seizure, chosen on stored validation predictions only.

Rules: ``"balanced-accuracy"`` takes the threshold with the best balanced accuracy on validation;
``"matched-prevalence"`` the published one of BIOT (as many validation windows are called seizures
as truly are); a number is a fixed threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

FALLBACK = 0.5


@dataclass(frozen=True)
class Threshold:
    """A threshold and where it comes from.

    Parameters
    ----------
    value : float or None
        A window is called a seizure where its probability is at least this; None where there is
        none, of several classes.
    rule : str
        The rule asked for, ``"fixed"`` for a number.
    reason : str or None
        Why 0.5 was taken in place of the rule's choice, or why there is none; None where the rule
        could choose.

    See Also
    --------
    choose_threshold : Makes one.

    Examples
    --------
    >>> from biot_bd.evaluation import Threshold
    >>> Threshold(0.5, "balanced-accuracy", "no validation windows").as_dict()
    {'value': 0.5, 'rule': 'balanced-accuracy', 'reason': 'no validation windows'}
    """

    value: float | None
    rule: str
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the three attributes, the form of ``fold.json``."""
        return {"value": self.value, "rule": self.rule, "reason": self.reason}


NO_THRESHOLD = Threshold(None, "most-probable-class", "of more than two classes the most probable one is taken")
"""What there is in the place of a threshold with more than two classes."""


def _best_balanced_accuracy(y_true: np.ndarray, proba: np.ndarray) -> tuple[float, str | None]:
    false_rate, true_rate, cuts = roc_curve(y_true, proba, drop_intermediate=False)
    balanced = (true_rate + 1 - false_rate) / 2
    best = int(np.argmax(balanced))
    if balanced[best] <= 0.5 or not np.isfinite(cuts[best]):
        return FALLBACK, "no threshold does better than chance on the validation windows"
    # Halfway to the next lower probability, so that rounding of the probabilities changes no
    # decision.
    middle = (cuts[best] + cuts[best + 1]) / 2
    return float(middle if middle > cuts[best + 1] else cuts[best]), None


def _matched_prevalence(y_true: np.ndarray, proba: np.ndarray) -> tuple[float, str | None]:
    if proba.min() == proba.max():
        return FALLBACK, "all validation windows have one probability"
    return float(np.sort(proba)[-int(y_true.sum())]), None


#: Rules by name: ``(y_true, proba) -> (threshold, reason or None)``.
THRESHOLD_RULES: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, str | None]]] = {
    "balanced-accuracy": _best_balanced_accuracy,
    "matched-prevalence": _matched_prevalence,
}


def check_threshold_rule(rule: str | float) -> str | float:
    """Return ``rule`` if it is a known name or a number in [0, 1].

    Raises
    ------
    ValueError
        Unknown name or a number outside [0, 1].
    """
    if isinstance(rule, str):
        if rule not in THRESHOLD_RULES:
            raise ValueError(f"no threshold rule {rule!r}; there are {', '.join(THRESHOLD_RULES)}, or give a number")
        return rule
    if isinstance(rule, bool) or not 0 <= float(rule) <= 1:
        raise ValueError(f"a fixed threshold lies between 0 and 1, got {rule!r}")
    return float(rule)


def choose_threshold(y_true: Any, proba: Any, rule: str | float = "balanced-accuracy") -> Threshold:
    """Choose the threshold on validation windows.

    Parameters
    ----------
    y_true : array of shape (n,)
        Labels (0 or 1) of the validation windows; may be empty.
    proba : array of shape (n,)
        Their probabilities of class 1.
    rule : {"balanced-accuracy", "matched-prevalence"} or float
        A number is taken as it is.

    Returns
    -------
    Threshold
        With value 0.5 and a reason where the rule cannot choose (no validation windows, one class,
        nothing better than chance, all probabilities equal).

    Raises
    ------
    ValueError
        Unknown rule, or shapes that differ.

    See Also
    --------
    Threshold : What is returned.

    Notes
    -----
    ``"matched-prevalence"`` is the rule of BIOT's published CHB-MIT code; it uses the k-th largest
    probability, k being the number of true seizure windows.

    Examples
    --------
    >>> from biot_bd.evaluation import choose_threshold
    >>> choose_threshold([0, 0, 1, 1], [0.1, 0.3, 0.5, 0.9]).value
    0.4
    >>> choose_threshold([0, 0, 0], [0.1, 0.3, 0.5]).reason
    'no seizure windows in the validation subjects'
    """
    rule = check_threshold_rule(rule)
    if not isinstance(rule, str):
        return Threshold(rule, "fixed")
    y_true, proba = np.asarray(y_true), np.asarray(proba, dtype=np.float64)
    if y_true.ndim != 1 or y_true.shape != proba.shape:
        raise ValueError(f"labels {y_true.shape} and probabilities {proba.shape} must have one shape (n,)")
    if len(y_true) == 0:
        return Threshold(FALLBACK, rule, "no validation windows")
    if not np.any(y_true == 1):
        return Threshold(FALLBACK, rule, "no seizure windows in the validation subjects")
    if not np.any(y_true == 0):
        return Threshold(FALLBACK, rule, "no background windows in the validation subjects")
    value, reason = THRESHOLD_RULES[rule](y_true, proba)
    return Threshold(value, rule, reason)
