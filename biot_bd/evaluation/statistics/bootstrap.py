"""How sure a score is: the subject is the unit, never the window.

Windows of one subject resemble each other, so intervals resample subjects.  The arithmetic is scipy's ``bootstrap``; what
is added is the subject, undefined scores and the caveats that few subjects need.  Subjects and then their recordings are
resampled by :mod:`biot_bd.evaluation.statistics.hierarchical_bootstrap`; two runs are compared by :mod:`biot_bd.evaluation.statistics.paired_tests`.

References
----------
Efron and Tibshirani, An Introduction to the Bootstrap, 1993 (percentile and BCa intervals).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from biot_bd.evaluation.metrics.window_metrics import Metric, as_metric

METHODS = ("BCa", "percentile")
FEW = 10
"""Below this many subjects bootstrap intervals are noticeably too narrow, and outputs say so."""


@dataclass(frozen=True)
class Interval:
    """A score with its confidence interval over subjects.

    Attributes
    ----------
    value : float or None
        The score itself; None where it is undefined.
    low, high : float or None
        Ends of the interval; None where there is none (``notes`` say why).
    level : float
        Confidence level asked for, e.g. 0.95.
    method : str or None
        ``"BCa"`` or ``"percentile"``: what was used; None without an interval.
    n_subjects : int
        Subjects that were resampled.
    notes : tuple of str
        What a reader must know of this interval.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    method: str | None
    n_subjects: int
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes, the form of ``comparison.json``."""
        return {**asdict(self), "notes": list(self.notes)}


def macro_interval(
    scores: ArrayLike | Mapping[str, float | None] | pd.Series,
    *,
    level: float = 0.95,
    method: str = "BCa",
    n_resamples: int = 9999,
    random_state: int = 0,
) -> Interval:
    """Return the mean over subjects with a bootstrap interval that resamples subjects.

    Parameters
    ----------
    scores : array of shape (n_subjects,), mapping or Series
        One score a subject; NaN or None where it is undefined: such subjects are left out.
    level : float, default=0.95
    method : {"BCa", "percentile"}, default="BCa"
        BCa (bias-corrected and accelerated) falls back to percentile where it is not defined.
    n_resamples : int, default=9999
    random_state : int, default=0

    Returns
    -------
    Interval
        Without ends for fewer than two subjects.

    Raises
    ------
    ValueError
        A parameter is out of range, or scores are not of shape (n_subjects,).
    """
    check_options(level, method, n_resamples)
    values = scores_by_subject(scores).dropna().to_numpy()
    if len(values) == 0:
        return Interval(None, None, None, level, None, 0, ("defined for no subject",))

    def mean(sample: NDArray, axis: int = -1) -> NDArray:
        return np.mean(sample, axis=axis)

    return _bootstrap(values, mean, True, level, method, n_resamples, random_state)


def pooled_interval(
    predictions: pd.DataFrame | Sequence[pd.DataFrame],
    metric: str | Metric | Callable[..., float],
    *,
    level: float = 0.95,
    method: str = "percentile",
    n_resamples: int = 999,
    random_state: int = 0,
) -> Interval:
    """Return a metric over all windows pooled, with a bootstrap interval that resamples subjects with all their windows.

    Parameters
    ----------
    predictions : DataFrame or sequence of DataFrame
        Test windows: columns ``subject``, ``y_true``, ``proba`` and ``threshold``.  Of several (one a seed, on the same
        subjects) the mean is taken, each resample drawing the same subjects from all.
    metric : str, Metric or callable
        As in :func:`~biot_bd.cross_validate`.
    level : float, default=0.95
    method : {"BCa", "percentile"}, default="percentile"
    n_resamples : int, default=999
    random_state : int, default=0

    Returns
    -------
    Interval
        Resamples in which the metric is undefined (no subject with seizures among them) are left out, and ``notes`` say
        how many.

    Raises
    ------
    ValueError
        A parameter is out of range, a column is missing, there are no windows, or the tables differ in subjects.
    """
    check_options(level, method, n_resamples)
    metric = as_metric(metric)
    tables = [predictions] if isinstance(predictions, pd.DataFrame) else list(predictions)
    parts = [_by_subject(table) for table in tables]
    if not parts:
        raise ValueError("pooled_interval needs at least one table of predictions")
    subjects = sorted(parts[0])
    for part in parts[1:]:
        if sorted(part) != subjects:
            raise ValueError(
                f"tables of predictions with other subjects: {', '.join(sorted(set(subjects) ^ set(part)))}"
            )

    def pooled(chosen: NDArray) -> float:
        values = []
        for part in parts:
            y_true, proba, threshold = np.concatenate([part[subjects[i]] for i in chosen], axis=1)
            score = metric(y_true.astype(np.int64), proba, threshold)
            values.append(np.nan if score.value is None else score.value)
        return float(np.mean(values))

    everyone = np.arange(len(subjects))
    if not np.isfinite(pooled(everyone)):
        return Interval(None, None, None, level, None, len(subjects), (f"{metric.name} is undefined on these windows",))
    return _bootstrap(everyone, pooled, False, level, method, n_resamples, random_state)


def _bootstrap(
    sample: NDArray,
    statistic: Callable[..., Any],
    vectorized: bool,
    level: float,
    method: str,
    n_resamples: int,
    random_state: int,
) -> Interval:
    """Resample the elements of ``sample`` (subjects); fall back from BCa to percentile where it is undefined."""
    n, value = len(sample), float(statistic(sample))
    if n < 2:
        return Interval(value, None, None, level, None, n, ("one subject: there is no interval over subjects",))
    notes = list(few_subjects(n))
    done = quiet(
        stats.bootstrap,
        (sample,),
        statistic,
        n_resamples=n_resamples,
        vectorized=vectorized,
        batch=None if not vectorized else 4096,
        confidence_level=level,
        method=method,
        rng=np.random.default_rng(random_state),
    )
    low, high = (float(end) for end in done.confidence_interval)
    used: str = method
    if not (np.isfinite(low) and np.isfinite(high)):
        drawn = np.asarray(done.bootstrap_distribution).ravel()
        finite = drawn[np.isfinite(drawn)]
        if len(finite) < len(drawn):
            notes.append(
                f"the metric is undefined in {len(drawn) - len(finite)} of {len(drawn)} resamples, which are left out"
            )
        if len(finite) == 0:
            return Interval(value, None, None, level, None, n, tuple(notes))
        low, high = (float(end) for end in np.quantile(finite, [(1 - level) / 2, (1 + level) / 2]))
        used = "percentile"
        if method != used:
            notes.append(f"percentile interval: {method} is not defined here")
    return Interval(value, low, high, level, used, n, tuple(notes))


def quiet(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call scipy without its warnings of degenerate data, which the notes say in words."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def few_subjects(n: int) -> tuple[str, ...]:
    """Return what a reader must know of an interval from so few subjects; nothing from ten on."""
    if n >= FEW:
        return ()
    return (f"only {n} subjects: a bootstrap interval from so few is too narrow, and one subject can decide it",)


def check_options(level: float, method: str, n_resamples: int) -> None:
    """Raise ValueError where a parameter of an interval is out of range."""
    if isinstance(level, bool) or not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if isinstance(n_resamples, bool) or not isinstance(n_resamples, int) or n_resamples < 99:
        raise ValueError(f"n_resamples must be a whole number of at least 99, got {n_resamples!r}")


def scores_by_subject(scores: Any) -> pd.Series:
    """Return scores by subject, float64, NaN where undefined."""
    series = scores if isinstance(scores, pd.Series) else pd.Series(scores, dtype=object)
    if series.ndim != 1 or not series.index.is_unique:
        raise ValueError("scores need one value a subject, of shape (n_subjects,)")
    found = pd.Series(pd.to_numeric(series, errors="raise"), dtype="float64")
    if np.isinf(found).any():
        raise ValueError(f"the score of {found.index[np.isinf(found)][0]} is not finite")
    return found


def _by_subject(table: pd.DataFrame) -> dict[str, NDArray]:
    """Return labels, probabilities and thresholds of each subject, an array of shape (3, n_windows)."""
    missing = [name for name in ("subject", "y_true", "proba", "threshold") if name not in table]
    if missing:
        raise ValueError(f"predictions lack the column(s) {', '.join(missing)}; found {', '.join(map(str, table))}")
    if len(table) == 0:
        raise ValueError("there are no predicted windows")
    columns = ["y_true", "proba", "threshold"]
    return {str(subject): part[columns].to_numpy(dtype=np.float64).T for subject, part in table.groupby("subject")}
