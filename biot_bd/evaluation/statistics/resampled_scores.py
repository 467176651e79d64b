"""Scores of many resamples at once, from quantities of recordings that add up.

For windows these are the numbers of windows by label at each level of probability; for events the
numbers of hits, false alarms and annotated seizures and the hours; for calibration the sums of
squared errors.  A resample takes a recording 0, 1 or more times, so its sums are ``weights @
parts``.  Formulas are scikit-learn's and timescoring's (tests compare with both); what is undefined
is NaN here and ``None`` with a reason in everything that leaves the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST_VALUES = 1000
"""So many probabilities of seizure windows are told apart in resamples.

Curves are exact up to there, and beyond within 0.002.
"""
_BATCH = 128

Array = NDArray[np.float64]


def _ratio(top: Array, bottom: Array) -> Array:
    """Divide; NaN where there is nothing to divide by."""
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), np.nan)


# --- windows --------------------------------------------------------------------------------------


class WindowParts:
    """The windows of recordings, counted so that resamples can be scored.

    Parameters
    ----------
    table : DataFrame
        Columns ``y_true``, ``proba``, ``threshold``.
    recording : array of shape (n_windows,), int64
        Number of the recording of each window, from 0.
    n_recordings : int
    """

    def __init__(self, table: pd.DataFrame, recording: NDArray[np.int64], n_recordings: int) -> None:
        y, proba = table["y_true"].to_numpy(np.int64), table["proba"].to_numpy(np.float64)
        called = (proba >= table["threshold"].to_numpy(np.float64)).astype(np.int64)
        level, n_levels = _levels(proba, y)
        self.levels = np.zeros((n_recordings, n_levels, 2))
        np.add.at(self.levels, (recording, level, y), 1)
        self.called = np.zeros((n_recordings, 2, 2))
        np.add.at(self.called, (recording, called, y), 1)
        errors = np.bincount(recording, weights=(proba - y) ** 2, minlength=n_recordings)
        self.brier = np.stack([errors, np.bincount(recording, minlength=n_recordings)], axis=1)

    def score(self, metric: str, rows: NDArray[np.int64], weights: NDArray[np.int64]) -> Array:
        """Return a metric of :data:`WINDOW_SCORES` for each row of ``weights`` (n_resamples,
        n_rows).

        Raises
        ------
        KeyError
            No such metric here.
        """
        attribute, formula = WINDOW_SCORES[metric]
        parts = getattr(self, attribute)[rows]
        flat = parts.reshape(len(rows), -1)
        batches = (weights[at : at + _BATCH] for at in range(0, len(weights), _BATCH))
        return np.concatenate([formula((batch @ flat).reshape(-1, *parts.shape[1:])) for batch in batches])


def _levels(proba: Array, y: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return the level of each probability, 0 being the highest, and the number of levels.

    Both curves depend only on how many background windows lie at, and between, the probabilities of
    seizure windows: each such probability is a level, and each gap between two is one.
    """
    values = np.unique(-proba[y == 1])
    if len(values) > MOST_VALUES:
        values = values[np.linspace(0, len(values) - 1, MOST_VALUES).astype(int)]
    after = np.searchsorted(values, -proba)
    same = np.isin(-proba, values)
    return 2 * after + same, 2 * len(values) + 1


def _average_precision(levels: Array) -> Array:
    """Sum of precision times the gain in recall, from the highest level down (scikit-learn's
    formula).
    """
    fp, tp = np.cumsum(levels[..., 0], axis=1), np.cumsum(levels[..., 1], axis=1)
    precision = tp / np.maximum(tp + fp, 1)
    found = _ratio((precision * levels[..., 1]).sum(axis=1), tp[:, -1])
    return np.where(fp[:, -1] > 0, found, np.nan)


def _roc_auc(levels: Array) -> Array:
    """Share of pairs of a seizure and a background window in the right order; ties count half."""
    background, seizure = levels[..., 0], levels[..., 1]
    below = background.sum(axis=1, keepdims=True) - np.cumsum(background, axis=1)
    pairs = seizure.sum(axis=1) * background.sum(axis=1)
    return _ratio((seizure * (below + background / 2)).sum(axis=1), pairs)


def _sensitivity(called: Array) -> Array:
    return _ratio(called[:, 1, 1], called[:, :, 1].sum(axis=1))


def _specificity(called: Array) -> Array:
    return _ratio(called[:, 0, 0], called[:, :, 0].sum(axis=1))


WINDOW_SCORES: Mapping[str, tuple[str, Callable[[Array], Array]]] = {
    "average_precision": ("levels", _average_precision),
    "roc_auc": ("levels", _roc_auc),
    "balanced_accuracy": ("called", lambda called: (_sensitivity(called) + _specificity(called)) / 2),
    "sensitivity": ("called", _sensitivity),
    "specificity": ("called", _specificity),
    "brier": ("brier", lambda sums: _ratio(sums[:, 0], sums[:, 1])),
}
"""Metrics of windows whose resamples are scored here: the quantity they need, and their formula."""


# --- events ---------------------------------------------------------------------------------------

COUNTS = ("tp", "fp", "n_reference", "duration_s")

EVENT_SCORES: Mapping[str, Callable[[Array], Array]] = {
    "sensitivity": lambda c: _ratio(c[:, 0], c[:, 2]),
    "precision": lambda c: _ratio(c[:, 0], c[:, 0] + c[:, 1]),
    "f1": lambda c: np.where(c[:, 1] + c[:, 2] > 0, _ratio(2 * c[:, 0], c[:, 0] + c[:, 1] + c[:, 2]), np.nan),
    "fa_per_24h": lambda c: _ratio(c[:, 1] * 86400, c[:, 3]),
}
"""Scores of events from the sums ``tp, fp, n_reference, duration_s``, by timescoring 0.0.7's
formulas.
"""


class EventParts:
    """The counts of recordings, so that resamples can be scored.

    Parameters
    ----------
    counts : DataFrame
        One row a recording: ``tp``, ``fp``, ``n_reference`` (events) and ``duration_s``.

    Raises
    ------
    ValueError
        A column is missing, or a count is negative or not finite.
    """

    def __init__(self, counts: pd.DataFrame) -> None:
        missing = [name for name in COUNTS if name not in counts]
        if missing:
            raise ValueError(
                f"counts of events lack the column(s) {', '.join(missing)}; found {', '.join(map(str, counts))}"
            )
        self.counts = counts[list(COUNTS)].to_numpy(dtype=np.float64)
        if not (np.isfinite(self.counts) & (self.counts >= 0)).all():
            raise ValueError("counts of events must be finite and not negative")

    def score(self, metric: str, rows: NDArray[np.int64], weights: NDArray[np.int64]) -> Array:
        """Return a score of :data:`EVENT_SCORES` for each row of ``weights`` (n_resamples,
        n_rows).
        """
        return EVENT_SCORES[metric](weights @ self.counts[rows])


def event_scores(counts: Mapping[Any, Any]) -> dict[str, float | None]:
    """Return the event scores of summed counts (``tp``, ``fp``, ``n_reference``, ``duration_s``).

    None where undefined.
    """
    sums = np.array([[float(counts[name]) for name in COUNTS]])
    found = {name: float(formula(sums)[0]) for name, formula in EVENT_SCORES.items()}
    return {name: value if np.isfinite(value) else None for name, value in found.items()}
