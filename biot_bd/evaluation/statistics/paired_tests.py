"""Two runs compared on the same subjects.

Sign-flip permutation test, Wilcoxon's test, adjustment for many tests.

A paired test takes one score a subject and run, whatever the score is: AUC-PR of windows,
sensitivity to seizures, false alarms a day.  The arithmetic is scipy's (``permutation_test``,
``wilcoxon``).

References
----------
Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005 (sign-flip test of paired
differences).  Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal
of Statistics 6, 1979.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from biot_bd.evaluation.statistics.intervals import (
    N_RESAMPLES,
    Interval,
    few_subjects,
    macro_interval,
    scores_by_subject,
)
from biot_bd.runs import to_jsonable

N_FLIPS = 9999
"""Sign flips that are drawn where there are too many to count."""
MOST_EXACT = 16
"""All sign flips are counted up to this many subjects (65,536); beyond, they are drawn."""


@dataclass(frozen=True)
class PairedTest:
    """Two runs compared on the subjects for whom both are defined.

    The difference is first minus second.

    Parameters
    ----------
    difference : Interval
        Mean difference over subjects, with its interval.
    n_better, n_worse, n_equal : int
        Subjects for whom the first run's score is higher, lower, the same.
    p_permutation : float or None
        Two-sided sign-flip permutation test of the mean difference.
    exact : bool
        Whether all sign flips were counted.
    smallest_p : float or None
        The smallest p that the sign-flip test can give with so many subjects, ``2 / 2**n``.
    p_wilcoxon : float or None
        Two-sided Wilcoxon signed-rank test.
    left_out : tuple of str
        Subjects for whom one of the two is undefined.
    notes : tuple of str
        Caveats in words.

    See Also
    --------
    paired_test : Makes one.

    Examples
    --------
    >>> from biot_bd.evaluation import paired_test
    >>> test = paired_test({"a": 0.9, "b": 0.8}, {"a": 0.7, "b": 0.7})
    >>> test.n_better, test.p_permutation, test.smallest_p
    (2, 0.5, 0.5)
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
        return to_jsonable(asdict(self))


def paired_test(
    first: Mapping[str, float | None] | pd.Series,
    second: Mapping[str, float | None] | pd.Series,
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    random_state: int = 0,
) -> PairedTest:
    """Compare two runs on the same subjects.

    The sign-flip test asks how often a mean difference as large would arise if, for every subject,
    the two runs could be exchanged; up to 16 subjects all flips are counted, so that p is exact.

    Parameters
    ----------
    first, second : mapping or Series
        Score by subject; None or NaN where undefined.
    level : float
        Of the interval of the mean difference, 0 to 1.
    n_resamples : int
        Resamples behind that interval.
    random_state : int
        Seed of the resamples, and of the flips that are drawn beyond 16 subjects.

    Returns
    -------
    PairedTest
        With p-values None where fewer than two subjects have both scores.

    Raises
    ------
    ValueError
        The two do not name the same subjects, or a parameter is out of range.

    See Also
    --------
    compare_events : The same of all event scores of two runs.

    Examples
    --------
    >>> from biot_bd.evaluation import paired_test
    >>> first = {"a": 0.9, "b": 0.8, "c": 0.7, "d": None}
    >>> second = {"a": 0.7, "b": 0.7, "c": 0.6, "d": 0.5}
    >>> test = paired_test(first, second)
    >>> test.p_permutation, test.left_out
    (0.25, ('d',))
    >>> test.difference.method
    'percentile bootstrap'
    """
    a, b = scores_by_subject(first), scores_by_subject(second)
    if set(a.index) != set(b.index):
        only = sorted(map(str, set(a.index) ^ set(b.index)))
        raise ValueError(
            f"paired tests need the same subjects in both runs; in one of them only: {', '.join(only[:8])}"
        )
    both = pd.DataFrame({"a": a, "b": b})
    left_out = tuple(str(subject) for subject in both.index[both.isna().any(axis=1)])
    d = (both["a"] - both["b"]).dropna().to_numpy()
    # Differences that are rounding of equal scores are no differences.
    d = np.where(np.abs(d) < 1e-12, 0.0, d)
    difference = macro_interval(d, level=level, n_resamples=n_resamples, random_state=random_state)
    counts = int((d > 0).sum()), int((d < 0).sum()), int((d == 0).sum())
    if len(d) < 2:
        note = f"{len(d)} subject(s) with both scores: there is nothing to test"
        return PairedTest(difference, *counts, None, False, None, None, left_out, (note,))
    exact = len(d) <= MOST_EXACT
    p_permutation = _sign_flip(d, exact, random_state)
    # Where nothing differs scipy divides by zero; the p-value is 1 by definition.
    p_wilcoxon = 1.0 if counts[2] == len(d) else _wilcoxon(d)
    smallest = 2.0 / 2 ** len(d) if exact else max(2.0 / 2 ** len(d), 2.0 / (N_FLIPS + 1))
    notes = list(few_subjects(len(d)))
    if smallest > 0.05:
        notes.append(
            f"with {len(d)} subjects the sign-flip test cannot give a p below {smallest:g}: "
            "no difference, however large, can be called significant at 0.05"
        )
    return PairedTest(difference, *counts, p_permutation, exact, smallest, p_wilcoxon, left_out, tuple(notes))


def _wilcoxon(d: NDArray) -> float:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of degenerate data, which the notes say in words
        return float(stats.wilcoxon(d).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values of one family for their number (Holm 1979).

    None stays None and does not count.

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


def _sign_flip(d: NDArray, exact: bool, random_state: int) -> float:
    def mean(sample: NDArray, axis: int = -1) -> NDArray:
        return np.mean(sample, axis=axis)

    # With one sample, "samples" flips signs; as many resamples as flips exist makes scipy count
    # them all.
    done = stats.permutation_test(
        (d,),
        mean,
        permutation_type="samples",
        n_resamples=2 ** len(d) if exact else N_FLIPS,
        vectorized=True,
        batch=4096,
        rng=np.random.default_rng(random_state),
    )
    return float(done.pvalue)
