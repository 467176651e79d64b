"""The area under sensitivity against the logarithm of false alarms an hour, in two forms.

The form ``"neuroatlas-0.1.1"`` gives the numbers of the published benchmark and all their
properties; ``"strict"`` follows the ranking of the windows alone.

References
----------
neuroatlas-bench 0.1.1 (PyPI), ``extensions/tasks/_event_sens_fa.py``.
Dan, J. et al. (2025). SzCORE: Seizure Community Open-Source Research Evaluation framework.
Epilepsia, 66, 14-24.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biot_bd.evaluation.metrics.calibration import checked
from biot_bd.evaluation.metrics.window_metrics import Score
from biot_bd.events.threshold_sweep import Cells, Sweep, sweep_thresholds

FORMS = ("strict", "neuroatlas-0.1.1")
FA_RANGE_PER_H = (0.1, 100.0)
"""Rates of false alarms an hour that the area is taken over."""
_GRID_PER_H = np.geomspace(0.01, 100.0, 80)
_THRESHOLDS = np.linspace(0.0, 1.0, 200)

Floats: TypeAlias = NDArray[np.float64]
Fold: TypeAlias = Sequence[ArrayLike]
"""Labels, probabilities and recording of each window."""
_Checked: TypeAlias = tuple[NDArray[np.int64], Floats, list[slice]]


def sens_fa_auc(folds: Sequence[Fold], form: str = "strict", window_s: float = 10) -> float:
    """Return the area under sensitivity against log10 of false alarms an hour, from 0.1 to 100.

    Parameters
    ----------
    folds : sequence of (y_true, proba, recording)
        A fold's test windows: labels (0 or 1), probabilities of a seizure, and the recording of
        each, arrays of shape ``(n_windows,)``.  The windows of a recording stand together, in the
        order of time, one behind the other without gap or overlap.
    form : {"strict", "neuroatlas-0.1.1"}, default="strict"
        See Notes.
    window_s : float, default=10
        Length of a window in seconds.

    Returns
    -------
    float
        Between 0 and 1.  NaN where it is undefined: :func:`sens_fa_score` says why.

    Raises
    ------
    ValueError
        An unknown form, no folds, or windows that are not as described.

    See Also
    --------
    sens_fa_score : The value, or the reason why there is none.

    Notes
    -----
    ``"strict"``: every distinct probability of a fold is a threshold; runs of windows are events,
    scored as SzCORE prescribes (merged within 90 s, split at 300 s, 30 s before to 60 s after a
    seizure tolerated, any overlap).  The sensitivity at a rate of false alarms is the best of the
    thresholds that keep the rate, 0 where only silence does; thresholds below the one with most
    false alarms do not count, as alarms grow together there.  The curve is the median over the
    folds that have a seizure, its area exact and divided by the full width, three decades.

    ``"neuroatlas-0.1.1"``: thresholds ``linspace(0, 1, 200)``; runs that overlap are hits, others
    false alarms, per number of windows times ``window_s``; below the threshold with most false
    alarms nothing counts; sensitivity is interpolated on ``geomspace(0.01, 100, 80)``, undefined
    outside of the rates reached; the median over folds ignores the undefined, and the trapezoid
    over log10 is divided by the width of what is defined.  It changes under monotone maps of the
    probabilities, is NaN for a perfect detector with probabilities 0 and 1, and rises where a
    detector always alarms on some quiet windows.

    Examples
    --------
    >>> from biot_bd.evaluation.metrics import sens_fa_auc
    >>> y, recording = [0] * 180 + [1] * 3 + [0] * 177, ["rec01"] * 360
    >>> perfect = (y, [float(label) for label in y], recording)
    >>> sens_fa_auc([perfect]), sens_fa_auc([perfect], form="neuroatlas-0.1.1")
    (1.0, nan)
    """
    value = sens_fa_score(folds, form=form, window_s=window_s).value
    return float("nan") if value is None else value


def sens_fa_score(folds: Sequence[Fold], form: str = "strict", window_s: float = 10) -> Score:
    """Return :func:`sens_fa_auc` as a score, None with the reason where it is undefined.

    Parameters
    ----------
    folds : sequence of (y_true, proba, recording)
        As in :func:`sens_fa_auc`.
    form : {"strict", "neuroatlas-0.1.1"}, default="strict"
        As in :func:`sens_fa_auc`.
    window_s : float, default=10
        Length of a window in seconds.

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        As :func:`sens_fa_auc`.

    See Also
    --------
    sens_fa_auc : The number alone.

    Examples
    --------
    >>> from biot_bd.evaluation.metrics import sens_fa_score
    >>> sens_fa_score([([0, 0], [0.2, 0.9], ["rec01", "rec01"])]).reason
    'no seizure windows in any fold'
    """
    if form not in FORMS:
        raise ValueError(f"no form {form!r}; there are {', '.join(FORMS)}")
    if not np.isfinite(window_s) or window_s <= 0:
        raise ValueError(f"window_s must be a positive number of seconds, got {window_s!r}")
    if not len(folds):
        raise ValueError("no folds; give a list of (y_true, proba, recording), one entry a fold")
    known = [_checked(fold, number, form) for number, fold in enumerate(folds)]
    with_seizures = [fold for fold in known if fold[0].any()]
    if not with_seizures:
        return Score(None, "no seizure windows in any fold")
    if form == "strict":
        return Score(step_area([_strict_sweep(fold, float(window_s)) for fold in with_seizures]))
    return _published([_published_curve(fold, float(window_s)) for fold in with_seizures])


def _checked(fold: Fold, number: int, form: str) -> _Checked:
    """Return labels, probabilities and the rows of each recording."""
    if len(fold) != 3:
        raise ValueError(f"fold {number}: expected (y_true, proba, recording), found {len(fold)} items")
    recording = np.asarray(fold[2])
    try:
        y, proba = checked(fold[0], fold[1])
    except ValueError as error:
        raise ValueError(f"fold {number}: {error}") from None
    if recording.shape != y.shape:
        raise ValueError(f"fold {number}: {len(y)} windows, but recordings of shape {recording.shape}")
    borders = np.flatnonzero(recording[1:] != recording[:-1]) + 1 if len(y) else np.zeros(0, dtype=np.int64)
    rows = [slice(a, b) for a, b in zip([0, *borders], [*borders, len(y)], strict=True) if b > a]
    names = [str(recording[one.start]) for one in rows]
    if form == "strict" and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"fold {number}: the windows of {twice} do not stand together; sort by recording and time")
    return y, proba, rows


def _runs(mask: NDArray[np.bool_], rows: Sequence[slice]) -> NDArray[np.int64]:
    """Return the runs of a mask ``[first, after the last)``, none of them over two recordings."""
    above = np.zeros(len(mask) + len(rows) + 1, dtype=np.int8)  # a quiet place before each recording
    shift = np.repeat(np.arange(1, len(rows) + 1), [one.stop - one.start for one in rows])
    above[np.arange(len(mask)) + shift] = mask
    edges = np.flatnonzero(np.diff(above))
    return edges.reshape(-1, 2)


# --- strict ---------------------------------------------------------------------------------------


def _strict_sweep(fold: _Checked, window_s: float) -> Sweep:
    y, proba, rows = fold
    cells = []
    for own in rows:
        seizures = _runs(y[own] == 1, [slice(0, own.stop - own.start)]) * window_s
        cells.append(Cells(f"from window {own.start} on", proba[own], window_s, seizures.tolist()))
    return sweep_thresholds(cells)


def step_area(sweeps: Sequence[Sweep], fa_range_per_h: tuple[float, float] = FA_RANGE_PER_H) -> float:
    """Return the area under the median of best sensitivities over log10 of false alarms an hour,
    as a share of the full width.

    Parameters
    ----------
    sweeps : sequence of Sweep
        One a fold, each with a seizure.
    fa_range_per_h : (float, float)
        Rates that the area is taken over.

    Returns
    -------
    float
        The sensitivities are steps, so the area is a sum without error.
    """
    low, high = fa_range_per_h
    rates = np.concatenate([sweep.steps()[0] for sweep in sweeps])
    edges = np.unique(np.append(rates[(rates > low) & (rates < high)], fa_range_per_h))
    curve = np.median([sweep.best_sensitivity(edges[:-1]) for sweep in sweeps], axis=0)
    return float(curve @ np.diff(np.log10(edges)) / np.log10(high / low))


# --- the published form ---------------------------------------------------------------------------


def _published_curve(fold: _Checked, window_s: float) -> Floats:
    """Return the sensitivity on the published grid, NaN where the fold reaches no such rate."""
    y, proba, rows = fold
    reference = _runs(y == 1, rows)
    counts = np.array([_overlaps(reference, _runs(proba >= threshold, rows)) for threshold in _THRESHOLDS])
    sensitivity, rate = counts[:, 0] / len(reference), counts[:, 1] / (len(y) * window_s / 3600)
    kept = slice(int(np.argmax(rate)), None)
    reached, where = np.unique(rate[kept], return_inverse=True)
    best = np.zeros(len(reached))
    np.maximum.at(best, where, sensitivity[kept])
    return np.interp(_GRID_PER_H, reached, best, left=np.nan, right=np.nan)


def _overlaps(reference: NDArray[np.int64], found: NDArray[np.int64]) -> tuple[int, int]:
    """Return how many of the runs of the labels are met, and how many found runs meet none."""
    hits = (reference[:, None, 0] < found[None, :, 1]) & (found[None, :, 0] < reference[:, None, 1])
    return int(hits.any(axis=1).sum()), int((~hits.any(axis=0)).sum())


def _published(curves: Sequence[Floats]) -> Score:
    """Return the area under the median curve over what is defined of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of rates that no fold reaches
        curve = np.nanmedian(curves, axis=0)
    low, high = FA_RANGE_PER_H
    there = (low <= _GRID_PER_H) & (high >= _GRID_PER_H) & np.isfinite(curve)
    if there.sum() < 2:
        return Score(None, "fewer than two rates of the published grid are reached")
    x = np.log10(_GRID_PER_H[there])
    return Score(float(np.trapezoid(curve[there], x) / (x[-1] - x[0])))
