"""How sure a score is, and whether two differ: the person is the unit, never the window.

Windows of one person resemble each other, so intervals resample persons and tests pair persons.  The arithmetic is
scipy's (``bootstrap``, ``permutation_test``, ``wilcoxon``); what is added is the person, undefined scores and the
caveats that few persons need.

References
----------
Efron and Tibshirani, An Introduction to the Bootstrap, 1993 (percentile and BCa intervals).
Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005 (sign-flip test of paired differences).
Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
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

from biot_bd.evaluation.metrics import Metric, as_metric

__all__ = [
    "METHODS",
    "Interval",
    "PairedTest",
    "holm",
    "macro_interval",
    "paired_test",
    "pooled_interval",
]

METHODS = ("BCa", "percentile")
FEW = 10
"""Below this many persons bootstrap intervals are noticeably too narrow, and outputs say so."""
MOST_EXACT = 16
"""All sign flips are counted up to this many persons (65,536); beyond, they are drawn."""


@dataclass(frozen=True)
class Interval:
    """A score with its confidence interval over persons.

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
    n_persons : int
        Persons that were resampled.
    notes : tuple of str
        What a reader must know of this interval.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    method: str | None
    n_persons: int
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes, the form of ``comparison.json``."""
        return {**asdict(self), "notes": list(self.notes)}


@dataclass(frozen=True)
class PairedTest:
    """Two runs compared on the persons for whom both are defined; the difference is first minus second.

    Attributes
    ----------
    difference : Interval
        Mean difference over persons, with its interval.
    n_better, n_worse, n_equal : int
        Persons for whom the first run's score is higher, lower, the same.
    p_permutation : float or None
        Two-sided sign-flip permutation test of the mean difference.
    exact : bool
        Whether all sign flips were counted.
    smallest_p : float or None
        The smallest p that the sign-flip test can give with so many persons, ``2 / 2**n``.
    p_wilcoxon : float or None
        Two-sided Wilcoxon signed-rank test.
    left_out : tuple of str
        Persons for whom one of the two is undefined.
    notes : tuple of str
        Caveats in words.
    """

    difference: Interval
    n_better: int
    n_worse: int
    n_equal: int
    p_permutation: float | None
    exact: bool
    smallest_p: float | None
    p_wilcoxon: float | None
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes, the form of ``comparison.json``."""
        return {
            **asdict(self),
            "difference": self.difference.as_dict(),
            "left_out": list(self.left_out),
            "notes": list(self.notes),
        }


def macro_interval(
    scores: ArrayLike | Mapping[str, float | None] | pd.Series,
    *,
    level: float = 0.95,
    method: str = "BCa",
    n_resamples: int = 9999,
    random_state: int = 0,
) -> Interval:
    """Return the mean over persons with a bootstrap interval that resamples persons.

    Parameters
    ----------
    scores : array of shape (n_persons,), mapping or Series
        One score a person; NaN or None where it is undefined: such persons are left out.
    level : float, default=0.95
    method : {"BCa", "percentile"}, default="BCa"
        BCa (bias-corrected and accelerated) falls back to percentile where it is not defined.
    n_resamples : int, default=9999
    random_state : int, default=0

    Returns
    -------
    Interval
        Without ends for fewer than two persons.

    Raises
    ------
    ValueError
        A parameter is out of range, or scores are not of shape (n_persons,).
    """
    _check(level, method, n_resamples)
    values = _series(scores).dropna().to_numpy()
    if len(values) == 0:
        return Interval(None, None, None, level, None, 0, ("defined for no person",))

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
    """Return a metric over all windows pooled, with a bootstrap interval that resamples persons with all their windows.

    Parameters
    ----------
    predictions : DataFrame or sequence of DataFrame
        Test windows: columns ``person``, ``y_true``, ``proba`` and ``threshold``.  Of several (one a seed, on the same
        persons) the mean is taken, each resample drawing the same persons from all.
    metric : str, Metric or callable
        As in :func:`~biot_bd.cross_validate`.
    level : float, default=0.95
    method : {"BCa", "percentile"}, default="percentile"
    n_resamples : int, default=999
    random_state : int, default=0

    Returns
    -------
    Interval
        Resamples in which the metric is undefined (no person with seizures among them) are left out, and ``notes`` say
        how many.

    Raises
    ------
    ValueError
        A parameter is out of range, a column is missing, there are no windows, or the tables differ in persons.
    """
    _check(level, method, n_resamples)
    metric = as_metric(metric)
    tables = [predictions] if isinstance(predictions, pd.DataFrame) else list(predictions)
    parts = [_by_person(table) for table in tables]
    if not parts:
        raise ValueError("pooled_interval needs at least one table of predictions")
    persons = sorted(parts[0])
    for part in parts[1:]:
        if sorted(part) != persons:
            raise ValueError(f"tables of predictions with other persons: {', '.join(sorted(set(persons) ^ set(part)))}")

    def pooled(chosen: NDArray) -> float:
        values = []
        for part in parts:
            y_true, proba, threshold = np.concatenate([part[persons[i]] for i in chosen], axis=1)
            score = metric(y_true.astype(np.int64), proba, threshold)
            values.append(np.nan if score.value is None else score.value)
        return float(np.mean(values))

    everyone = np.arange(len(persons))
    if not np.isfinite(pooled(everyone)):
        return Interval(None, None, None, level, None, len(persons), (f"{metric.name} is undefined on these windows",))
    return _bootstrap(everyone, pooled, False, level, method, n_resamples, random_state)


def paired_test(
    first: Mapping[str, float | None] | pd.Series,
    second: Mapping[str, float | None] | pd.Series,
    *,
    level: float = 0.95,
    method: str = "BCa",
    n_resamples: int = 9999,
    random_state: int = 0,
) -> PairedTest:
    """Compare two runs on the same persons.

    The sign-flip test asks how often a mean difference as large would arise if, for every person, the two runs could be
    exchanged; up to 16 persons all flips are counted, so that p is exact.

    Parameters
    ----------
    first, second : mapping or Series
        Score by person; None or NaN where undefined.
    level, method, n_resamples, random_state
        Of the interval of the mean difference, as in :func:`macro_interval`; ``n_resamples`` and ``random_state`` also
        of the drawn flips beyond 16 persons.

    Returns
    -------
    PairedTest
        With p-values None where fewer than two persons have both scores.

    Raises
    ------
    ValueError
        The two do not name the same persons, or a parameter is out of range.
    """
    _check(level, method, n_resamples)
    a, b = _series(first), _series(second)
    if set(a.index) != set(b.index):
        only = sorted(map(str, set(a.index) ^ set(b.index)))
        raise ValueError(f"paired tests need the same persons in both runs; in one of them only: {', '.join(only[:8])}")
    both = pd.DataFrame({"a": a, "b": b})
    left_out = tuple(str(person) for person in both.index[both.isna().any(axis=1)])
    d = (both["a"] - both["b"]).dropna().to_numpy()
    # Differences that are rounding of equal scores are no differences.
    d = np.where(np.abs(d) < 1e-12, 0.0, d)
    difference = macro_interval(d, level=level, method=method, n_resamples=n_resamples, random_state=random_state)
    counts = int((d > 0).sum()), int((d < 0).sum()), int((d == 0).sum())
    if len(d) < 2:
        note = f"{len(d)} person(s) with both scores: there is nothing to test"
        return PairedTest(difference, *counts, None, False, None, None, left_out, (note,))
    exact = len(d) <= MOST_EXACT
    p_permutation = _sign_flip(d, exact, n_resamples, random_state)
    # Where nothing differs scipy divides by zero; the p-value is 1 by definition.
    p_wilcoxon = 1.0 if counts[2] == len(d) else float(_quiet(stats.wilcoxon, d).pvalue)
    smallest = 2.0 / 2 ** len(d) if exact else max(2.0 / 2 ** len(d), 2.0 / (n_resamples + 1))
    notes = list(_few(len(d)))
    if smallest > 0.05:
        notes.append(
            f"with {len(d)} persons the sign-flip test cannot give a p below {smallest:g}: "
            "no difference, however large, can be called significant at 0.05"
        )
    return PairedTest(difference, *counts, p_permutation, exact, smallest, p_wilcoxon, left_out, tuple(notes))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values of one family for their number (Holm 1979); None stays None and does not count.

    Raises
    ------
    ValueError
        A p-value is outside [0, 1].
    """
    known = [(p, i) for i, p in enumerate(p_values) if p is not None]
    if bad := [p for p, _ in known if not 0 <= p <= 1]:
        raise ValueError(f"p-values lie between 0 and 1, found {bad[0]!r}")
    out: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(sorted(known)):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        out[i] = largest
    return out


def _sign_flip(d: NDArray, exact: bool, n_resamples: int, random_state: int) -> float:
    def mean(sample: NDArray, axis: int = -1) -> NDArray:
        return np.mean(sample, axis=axis)

    # With one sample, "samples" flips signs; as many resamples as flips exist makes scipy count them all.
    done = stats.permutation_test(
        (d,),
        mean,
        permutation_type="samples",
        n_resamples=2 ** len(d) if exact else n_resamples,
        vectorized=True,
        batch=4096,
        rng=np.random.default_rng(random_state),
    )
    return float(done.pvalue)


def _bootstrap(
    sample: NDArray,
    statistic: Callable[..., Any],
    vectorized: bool,
    level: float,
    method: str,
    n_resamples: int,
    random_state: int,
) -> Interval:
    """Resample the elements of ``sample`` (persons); fall back from BCa to percentile where it is undefined."""
    n, value = len(sample), float(statistic(sample))
    if n < 2:
        return Interval(value, None, None, level, None, n, ("one person: there is no interval over persons",))
    notes = list(_few(n))
    done = _quiet(
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


def _quiet(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call scipy without its warnings of degenerate data, which the notes say in words."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def _few(n: int) -> tuple[str, ...]:
    if n >= FEW:
        return ()
    return (f"only {n} persons: a bootstrap interval from so few is too narrow, and one person can decide it",)


def _check(level: float, method: str, n_resamples: int) -> None:
    if isinstance(level, bool) or not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if isinstance(n_resamples, bool) or not isinstance(n_resamples, int) or n_resamples < 99:
        raise ValueError(f"n_resamples must be a whole number of at least 99, got {n_resamples!r}")


def _series(scores: Any) -> pd.Series:
    """Return scores by person, float64, NaN where undefined."""
    series = scores if isinstance(scores, pd.Series) else pd.Series(scores, dtype=object)
    if series.ndim != 1 or not series.index.is_unique:
        raise ValueError("scores need one value a person, of shape (n_persons,)")
    found = pd.Series(pd.to_numeric(series, errors="raise"), dtype="float64")
    if np.isinf(found).any():
        raise ValueError(f"the score of {found.index[np.isinf(found)][0]} is not finite")
    return found


def _by_person(table: pd.DataFrame) -> dict[str, NDArray]:
    """Return labels, probabilities and thresholds of each person, an array of shape (3, n_windows)."""
    missing = [name for name in ("person", "y_true", "proba", "threshold") if name not in table]
    if missing:
        raise ValueError(f"predictions lack the column(s) {', '.join(missing)}; found {', '.join(map(str, table))}")
    if len(table) == 0:
        raise ValueError("there are no predicted windows")
    columns = ["y_true", "proba", "threshold"]
    return {str(person): part[columns].to_numpy(dtype=np.float64).T for person, part in table.groupby("person")}
