"""Conformal sets: for each window the classes that cannot be excluded, at a level that is promised
for new subjects.

Calibrated on validation subjects alone.  Windows of one subject resemble each other, so the unit
that is exchangeable is the subject: what is promised is that of one window drawn from a new subject
the true class is in the set with at least the probability ``level``, on average over subjects and
over the choice of validation subjects.  It is not promised for every subject, nor for all windows
of one, and not where validation subjects are not like the new one.

References
----------
Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005 (split conformal and
class-conditional, "Mondrian", sets).
Lee, Barber and Willett, Distribution-free inference with hierarchical data, 2023, arXiv:2306.06342
(the weights that make the subject the unit); Dunn, Wasserman and Ramdas, Distribution-free
prediction sets for two-layer hierarchical models, JASA 118, 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from biot_bd.evaluation.run_facts import Cells, class_columns
from biot_bd.evaluation.statistics.intervals import N_RESAMPLES, SUBJECTS, Draws, Scores, macro_interval

if TYPE_CHECKING:
    from biot_bd.evaluation.result import Result

UNITS = ("subject", "window")
_EXACT = 1e-12  # sums of weights are rounded


@dataclass(frozen=True)
class ConformalCalibration:
    """Thresholds that turn probabilities into sets of classes.

    Parameters
    ----------
    level : float
        Probability of coverage that is asked for.
    by_class : bool
        Whether it is asked for within each class.
    unit : {"subject", "window"}
        What was taken as exchangeable.
    thresholds : tuple of float
        A class is in the set where 1 minus its probability is at most this; infinite where too few
        subjects promise anything, so that the class is in every set.
    n_subjects, n_windows : tuple of int
        That each class's threshold was calibrated on.

    See Also
    --------
    calibrate_sets : Makes one.

    Examples
    --------
    >>> from biot_bd.evaluation import ConformalCalibration
    >>> known = ConformalCalibration(0.9, False, "subject", (0.4, 0.4), (9, 9), (90, 90))
    >>> known([[0.9, 0.1], [0.5, 0.5]]).tolist(), known.highest_level
    ([[True, False], [False, False]], 0.9)
    """

    level: float
    by_class: bool
    unit: str
    thresholds: tuple[float, ...]
    n_subjects: tuple[int, ...]
    n_windows: tuple[int, ...]

    def __call__(self, proba: ArrayLike) -> NDArray[np.bool_]:
        """Return which classes are in the set of each window, shape ``(n, n_classes)``.

        Raises
        ------
        ValueError
            ``proba`` is not of that shape, or not finite.
        """
        p = np.asarray(proba, dtype=np.float64)
        if p.ndim != 2 or p.shape[1] != len(self.thresholds) or not np.isfinite(p).all():
            raise ValueError(f"expected finite probabilities of shape (n, {len(self.thresholds)}), found {p.shape}")
        return 1 - p <= np.array(self.thresholds)

    @property
    def highest_level(self) -> float:
        """The highest level at which no class is in every set for want of subjects (or windows)."""
        counts = self.n_subjects if self.unit == "subject" else self.n_windows
        return float(min(counts) / (min(counts) + 1))

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON holds them; an infinite threshold is None."""
        finite = [value if np.isfinite(value) else None for value in self.thresholds]
        kept = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {**kept, "thresholds": finite, "highest_level": self.highest_level}


def calibrate_sets(
    y_true: ArrayLike,
    proba: ArrayLike,
    subjects: ArrayLike,
    *,
    level: float = 0.9,
    by_class: bool = False,
    unit: str = "subject",
) -> ConformalCalibration:
    """Calibrate conformal sets on windows of validation subjects.

    Parameters
    ----------
    y_true : array of shape (n,)
        Labels, 0 to ``n_classes - 1``.
    proba : array of shape (n, n_classes)
        Probabilities of a model that was not fitted on these subjects.
    subjects : array of shape (n,)
        Subject of each window.
    level : float, default=0.9
        Probability of coverage.
    by_class : bool, default=False
        Ask for it within each class (Mondrian): seizure windows are rare, so a level over all
        windows can be kept while most of them are missed.
    unit : {"subject", "window"}, default="subject"
        ``"window"`` takes all windows as exchangeable, which they are not where subjects differ:
        what it promises does not hold for new subjects.

    Returns
    -------
    ConformalCalibration

    Raises
    ------
    ValueError
        A parameter is out of range, shapes differ, or labels are not such numbers.

    See Also
    --------
    conformal_sets : Of a finished run.

    Notes
    -----
    The score of a window is 1 minus the probability of its true class.  With :math:`K` subjects of
    :math:`N_k` windows a score weighs :math:`1 / ((K + 1) N_k)`, infinity weighs
    :math:`1 / (K + 1)`, and the threshold is the ``level`` quantile; so at least
    :math:`level / (1 - level)` subjects are needed: 9 for a level of 0.9.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import calibrate_sets
    >>> y, p = np.zeros(20, dtype=int), np.linspace(0.5, 0.99, 20)
    >>> found = calibrate_sets(y, np.column_stack([p, 1 - p]), np.arange(20), level=0.9)
    >>> round(found.thresholds[0], 3), found.n_subjects
    (0.474, (20, 20))
    """
    y, p, who = np.asarray(y_true), np.asarray(proba, dtype=np.float64), pd.factorize(np.asarray(subjects))[0]
    _check(y, p, who, level, unit)
    scores = 1 - p[np.arange(len(y)), y.astype(np.int64)]
    thresholds, n_subjects, n_windows = [], [], []
    for label in range(p.shape[1]):
        rows = y == label if by_class else np.ones(len(y), dtype=bool)
        thresholds.append(_threshold(scores[rows], who[rows], level, unit))
        n_subjects.append(len(np.unique(who[rows])))
        n_windows.append(int(rows.sum()))
    return ConformalCalibration(level, by_class, unit, tuple(thresholds), tuple(n_subjects), tuple(n_windows))


def _check(y: NDArray[Any], p: NDArray[np.float64], who: NDArray[Any], level: float, unit: str) -> None:
    if unit not in UNITS:
        raise ValueError(f"no unit {unit!r}; there are {', '.join(UNITS)}")
    if isinstance(level, bool) or not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    if p.ndim != 2 or p.shape[1] < 2 or y.shape != (len(p),) or who.shape != (len(p),):
        raise ValueError(
            f"labels {y.shape}, probabilities {p.shape} and subjects {who.shape} do not fit: (n,), (n, k), (n,)"
        )
    if (who < 0).any():
        raise ValueError(f"{int((who < 0).sum())} windows have no subject; name one for each")
    if not np.isin(y, np.arange(p.shape[1])).all():
        raise ValueError(f"labels must be 0 to {p.shape[1] - 1}, found {np.unique(y)[:5].tolist()}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities must be finite and lie between 0 and 1")


def _threshold(scores: NDArray[np.float64], who: NDArray[Any], level: float, unit: str) -> float:
    """Return the weighted quantile of scores, infinite where what is known weighs too little."""
    if not len(scores):
        return np.inf
    owner, counts = np.unique(who, return_inverse=True, return_counts=True)[1:]
    weights = 1 / ((len(counts) + 1) * counts[owner]) if unit == "subject" else np.full(len(who), 1 / (len(who) + 1))
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order]) >= level - _EXACT
    return float(scores[order][np.argmax(reached)]) if reached.any() else np.inf


@dataclass(frozen=True)
class ConformalSets:
    """Conformal sets of a run's test windows, and how often they held.

    Parameters
    ----------
    sets : pandas.DataFrame
        A row a test window: ``fold``, ``window``, ``recording``, ``subject``, ``start_s``,
        ``y_true``, ``in_set_<k>`` of each class, ``size`` and ``covered`` (the true class is in the
        set).
    coverage : dict
        What :func:`coverage_of` returns.

    See Also
    --------
    conformal_sets : Makes them.

    Examples
    --------
    >>> import pandas as pd
    >>> from biot_bd.evaluation import ConformalSets
    >>> ConformalSets(pd.DataFrame({"size": [1, 2]}), {"level": 0.9}).sets["size"].tolist()
    [1, 2]
    """

    sets: pd.DataFrame
    coverage: Cells


def conformal_sets(
    result: Result, level: float = 0.9, *, by_class: bool = False, unit: str = "subject", random_state: int = 0
) -> ConformalSets:
    """Return conformal sets of the test windows of a finished run, calibrated in each fold on its
    validation subjects.

    Parameters
    ----------
    result : Result
        The finished run.
    level : float, default=0.9
        Probability of coverage that is asked for.
    by_class : bool, default=False
        Ask for it within each class, see :func:`calibrate_sets`.
    unit : {"subject", "window"}, default="subject"
        What is taken as exchangeable, see :func:`calibrate_sets`.
    random_state : int, default=0
        Seed of the intervals.

    Returns
    -------
    ConformalSets

    Raises
    ------
    ValueError
        A parameter is out of range, or the run has no test windows.

    See Also
    --------
    calibrate_sets : What a fold does.
    recalibrate : Better probabilities in place of sets.

    Notes
    -----
    The validation subjects also chose the epoch and the threshold of their fold.  Neither looks at
    single windows, but strictly the promise holds for models that they had no part in.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, conformal_sets, cross_validate
    >>> subjects = np.repeat([f"site/{i:02d}" for i in range(8)], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 8).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (160, 2, 200)) * (1 + y[:, None, None])
    >>> pipeline = baseline("line-length", X)
    >>> result = cross_validate(pipeline, X, y=y, groups=subjects, progress=False)
    >>> found = conformal_sets(result, level=0.6)
    >>> found.coverage["unit"], sorted(found.coverage["subjects"])[:2]
    ('subject', ['site/00', 'site/01'])
    """
    options: Cells = {"level": level, "by_class": by_class, "unit": unit}
    sets, folds = sets_of(result.predictions, **options)
    return ConformalSets(sets, coverage_of(sets, folds, **options, random_state=random_state))


def sets_of(
    predictions: pd.DataFrame, *, level: float = 0.9, by_class: bool = False, unit: str = "subject"
) -> tuple[pd.DataFrame, list[Cells]]:
    """Return the sets of a table of predictions, and what each fold was calibrated on.

    Parameters
    ----------
    predictions : pandas.DataFrame
        As ``predictions.parquet``.
    level, by_class, unit
        As in :func:`calibrate_sets`.

    Returns
    -------
    sets : pandas.DataFrame
        See :class:`ConformalSets`.
    folds : list of dict
        ``fold`` and :meth:`ConformalCalibration.as_dict`, ``reason`` (why every class is in the
        sets, or None).

    Raises
    ------
    ValueError
        A parameter is out of range, or there are no test windows.
    """
    columns = class_columns(predictions, "proba")
    parts, folds = [], []
    for number, part in predictions.groupby("fold", sort=True):
        valid, test = (part[part["part"] == name] for name in ("valid", "test"))
        known = calibrate_sets(
            valid["y_true"], _columns(valid, columns), valid["subject"], level=level, by_class=by_class, unit=unit
        )
        folds.append({"fold": int(str(number)), **known.as_dict(), "reason": _why_all(known)})
        parts.append(_with_sets(test, known(_columns(test, columns))))
    if not sum(map(len, parts)):
        raise ValueError("there are no test windows, so there are no sets")
    return pd.concat(parts, ignore_index=True), folds


def _columns(table: pd.DataFrame, columns: list[str]) -> NDArray[np.float64]:
    if columns:
        return table[columns].to_numpy(dtype=np.float64)
    proba = table["proba"].to_numpy(dtype=np.float64)
    return np.column_stack([1 - proba, proba])


def _why_all(known: ConformalCalibration) -> str | None:
    counts = known.n_subjects if known.unit == "subject" else known.n_windows
    without = [k for k, value in enumerate(known.thresholds) if not np.isfinite(value)]
    if not without:
        return None
    few = min(counts[k] for k in without)
    units = f"{few} validation {known.unit}{'' if few == 1 else 's'}"
    at_most = f"a level of at most {known.highest_level:.3g} can be promised"
    if not known.by_class:
        return f"{units}: {at_most}, so every class is in every set"
    one = len(without) == 1
    named = f"class{'' if one else 'es'} {' and '.join(map(str, without))}"
    return f"{units} of {named}: {at_most}, so {'that class is' if one else 'these are'} in every set"


def _with_sets(test: pd.DataFrame, inside: NDArray[np.bool_]) -> pd.DataFrame:
    kept = test[["fold", "window", "recording", "subject", "start_s", "y_true"]].reset_index(drop=True)
    covered = inside[np.arange(len(kept)), kept["y_true"].to_numpy(dtype=np.int64)]
    return kept.assign(**{f"in_set_{k}": column for k, column in enumerate(inside.T)}).assign(
        size=inside.sum(axis=1), covered=covered
    )


def coverage_of(
    sets: pd.DataFrame,
    folds: list[Cells],
    *,
    level: float = 0.9,
    by_class: bool = False,
    unit: str = "subject",
    n_resamples: int = N_RESAMPLES,
    random_state: int = 0,
) -> Cells:
    """Return how often sets held the true class, by subject and over all, with intervals.

    Parameters
    ----------
    sets, folds
        As :func:`sets_of` returns them.
    level, by_class, unit
        What was asked for.
    n_resamples, random_state : int
        Of the intervals, which resample subjects.

    Returns
    -------
    dict
        ``level``, ``by_class``, ``unit``, ``folds``; ``subjects`` (subject -> ``n_windows``,
        ``coverage``, ``coverage_by_class`` (None where the subject has no window of a class),
        ``mean_size``, ``share_empty``, ``share_one``, ``share_all``); ``macro`` and ``pooled``, the
        coverage over subjects and over windows with intervals, ``pooled`` also with the other
        columns; ``notes``.
    """
    n_classes = sum(column.startswith("in_set_") for column in sets.columns)
    subjects = {str(name): _of_windows(part, n_classes) for name, part in sets.groupby("subject", sort=True)}
    options: Cells = {"n_resamples": n_resamples, "random_state": random_state}
    macro = macro_interval({name: one["coverage"] for name, one in subjects.items()}, **options)
    draws = Draws(np.array(list(subjects)), **options)
    counts = np.array([[one["n_covered"], one["n_windows"]] for one in subjects.values()], dtype=np.float64)

    def share(rows: NDArray[np.int64], weights: NDArray[np.int64]) -> Scores:
        drawn = weights @ counts[rows]
        return drawn[:, 0] / drawn[:, 1]

    pooled = _of_windows(sets, n_classes)
    interval = draws.interval(pooled["coverage"], draws.pooled(share), resampled=SUBJECTS)
    reasons = dict.fromkeys(fold["reason"] for fold in folds if fold["reason"])
    return {
        "level": level,
        "by_class": by_class,
        "unit": unit,
        "folds": folds,
        "subjects": subjects,
        "macro": macro.as_dict(),
        "pooled": {**pooled, "interval": interval.as_dict()},
        "notes": list(reasons),
    }


def _of_windows(part: pd.DataFrame, n_classes: int) -> Cells:
    labels, covered = part["y_true"].to_numpy(), part["covered"].to_numpy(dtype=bool)
    size = part["size"].to_numpy()
    by_class = [float(covered[labels == k].mean()) if (labels == k).any() else None for k in range(n_classes)]
    return {
        "n_windows": len(part),
        "n_covered": int(covered.sum()),
        "coverage": float(covered.mean()),
        "coverage_by_class": by_class,
        "mean_size": float(size.mean()),
        "share_empty": float((size == 0).mean()),
        "share_one": float((size == 1).mean()),
        "share_all": float((size == n_classes).mean()),
    }
