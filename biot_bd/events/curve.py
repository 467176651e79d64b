"""From window probabilities to a value a second, and from those to runs: plain functions of arrays.

Second ``k`` is the time from ``k`` to ``k + 1`` seconds.  In the raw curve a second that nothing is
known of is NaN; after smoothing it is 0, so that no event reaches into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

SMOOTHINGS = ("mean", "median")
EPSILON_S = 1e-6  # times closer than this are the same: windows' times are sums of floats
SLACK_S = 0.5  # a window may end this much after the recording (resampling rounds lengths)

Floats = NDArray[np.float64]


def as_windows(
    probabilities: ArrayLike, start_s: ArrayLike, window_s: float, duration_s: float | None
) -> tuple[Floats, Floats, float]:
    """Check the probabilities of one recording and sort them by time.

    Parameters
    ----------
    probabilities : array of shape (n,)
        In [0, 1].
    start_s : array of shape (n,)
        When each window starts, in seconds from the recording's first sample.
    window_s : float
    duration_s : float or None
        Length of the recording; the end of the last window where None.

    Returns
    -------
    probabilities, start_s : ndarray of shape (n,), float64
    duration_s : float

    Raises
    ------
    ValueError
        Shapes differ, a value is not finite or outside [0, 1], a window starts before 0 or ends
        after the recording, or there are neither windows nor a duration.
    """
    proba, start = np.asarray(probabilities, dtype=np.float64), np.asarray(start_s, dtype=np.float64)
    if proba.ndim != 1 or proba.shape != start.shape:
        raise ValueError(f"one probability and one start a window: found shapes {proba.shape} and {start.shape}")
    if not np.isfinite(start).all():
        raise ValueError(f"{int((~np.isfinite(start)).sum())} of {len(start)} window starts are not finite")
    bad = ~((proba >= 0) & (proba <= 1))
    if bad.any():
        where = int(np.argmax(bad))
        raise ValueError(f"{int(bad.sum())} probabilities are not in [0, 1]; window {where} has {proba[where]}")
    if duration_s is None:
        if not len(start):
            raise ValueError("no windows and no duration_s: nothing says how long the recording is")
        duration_s = float(start.max() + window_s)
    if not np.isfinite(duration_s) or duration_s <= 0:
        raise ValueError(f"duration_s must be a positive number of seconds, got {duration_s!r}")
    if len(start):
        if start.min() < -EPSILON_S:
            raise ValueError(f"a window starts at {start.min()} s, before the recording")
        last = start.max() + window_s
        if last > duration_s + SLACK_S:
            raise ValueError(
                f"a window of {window_s} s ends at {last:.3f} s, after the recording ({duration_s:.3f} s); "
                "check window_s and duration_s"
            )
    order = np.argsort(start, kind="stable")
    return proba[order], start[order], float(duration_s)


def n_seconds(duration_s: float) -> int:
    """Return how many seconds, the last perhaps in part, a recording has."""
    return max(1, math.ceil(duration_s - EPSILON_S))


def centred_seconds(proba: Floats, start_s: Floats, window_s: float, n: int) -> Floats:
    """Return the mean of the windows that cover any part of each second, NaN where none does."""
    first = np.maximum(np.floor(start_s + EPSILON_S).astype(np.int64), 0)
    stop = np.minimum(np.ceil(start_s + window_s - EPSILON_S).astype(np.int64), n)
    total, count = np.zeros(n), np.zeros(n, dtype=np.int64)
    for lag in range(int((stop - first).max(initial=0))):
        rows = first + lag < stop
        total += np.bincount(first[rows] + lag, weights=proba[rows], minlength=n)
        count += np.bincount(first[rows] + lag, minlength=n)
    return _divide(total, count)


def causal_seconds(start_s: Floats, window_s: float) -> NDArray[np.int64]:
    """Return the second in which each window ends, the first whose value may use it."""
    return np.ceil(start_s + window_s - EPSILON_S).astype(np.int64) - 1


def mean_by_second(values: Floats, second: NDArray[np.int64], n: int) -> Floats:
    """Return the mean of the values that belong to each of ``n`` seconds, NaN where none does."""
    total = np.bincount(second, weights=values, minlength=n).astype(np.float64)
    return _divide(total, np.bincount(second, minlength=n))


def hold_seconds(known: Floats, window_s: float, last: tuple[float, int] | None = None) -> Floats:
    """Keep each second's value until the next one, for at most ``window_s``.

    Parameters
    ----------
    known : ndarray of shape (n,)
        Mean of the windows that ended in each second, NaN where none did.
    window_s : float
    last : (float, int), optional
        The last known value before, and how many seconds before the first of ``known`` it was.

    Returns
    -------
    ndarray of shape (n,)
        NaN where the last window is older than ``window_s``.
    """
    if not len(known):
        return known
    age = math.ceil(window_s - EPSILON_S)
    if last is not None and last[1] < age:
        before = np.full(last[1], np.nan)
        before[0] = last[0]
        return hold_seconds(np.concatenate([before, known]), window_s)[len(before) :]
    index = np.where(np.isnan(known), -1, np.arange(len(known)))
    latest = np.maximum.accumulate(index)
    held = (latest >= 0) & (np.arange(len(known)) - latest < age)
    return np.where(held, known[np.maximum(latest, 0)], np.nan)


def smoothing_width(smoothing_s: float, causal: bool) -> int:
    """Return over how many seconds is smoothed: an odd number unless causal, 1 for none."""
    return max(1, round(smoothing_s)) if causal else 2 * int(smoothing_s // 2) + 1


def smooth(raw: Floats, width: int, kind: str, causal: bool) -> Floats:
    """Return the mean or median of the known seconds around (causal: up to) each one.

    Sums run lag by lag, so that a value depends on its own seconds alone and a stream gets the very
    same numbers.

    Parameters
    ----------
    raw : ndarray of shape (n,)
        NaN where nothing is known.
    width : int
        Seconds, see :func:`smoothing_width`.
    kind : {"mean", "median"}
    causal : bool

    Returns
    -------
    ndarray of shape (n,)
        0 where ``raw`` is NaN.
    """
    known = ~np.isnan(raw)
    if width == 1 or not len(raw):
        return np.where(known, raw, 0.0)
    before = width - 1 if causal else width // 2
    padded = np.pad(raw, (before, width - 1 - before), constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, width)
    if kind == "median":
        count = (~np.isnan(around)).sum(axis=1)
        ordered = np.sort(around, axis=1)  # NaN last
        low, high = np.maximum((count - 1) // 2, 0)[:, None], (count // 2).clip(max=width - 1)[:, None]
        middle = (np.take_along_axis(ordered, low, 1) + np.take_along_axis(ordered, high, 1))[:, 0] / 2
        return np.where(known, middle, 0.0)
    total, number = np.zeros(len(raw)), np.zeros(len(raw), dtype=np.int64)
    filled, there = np.nan_to_num(padded, nan=0.0), ~np.isnan(padded)
    for lag in range(width):
        total += filled[lag : lag + len(raw)]
        number += there[lag : lag + len(raw)]
    return np.where(known, total / np.maximum(number, 1), 0.0)


def find_runs(values: Floats, threshold: float, release: float, min_seconds: int) -> NDArray[np.int64]:
    """Return the runs that begin where ``values`` reach ``threshold`` and end where they fall
    below ``release``.

    Parameters
    ----------
    values : ndarray of shape (n,)
    threshold, release : float
        ``0 < release <= threshold``.
    min_seconds : int
        Shorter runs are left out.

    Returns
    -------
    ndarray of shape (n_runs, 2), int64
        First second and the one after the last.
    """
    above = np.concatenate([[False], values >= release, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1]).reshape(-1, 2)
    if release < threshold and len(edges):
        hits = np.append(np.flatnonzero(values >= threshold), len(values))
        first = hits[np.searchsorted(hits, edges[:, 0])]
        edges = np.stack([first, edges[:, 1]], axis=1)[first < edges[:, 1]]
    return edges[edges[:, 1] - edges[:, 0] >= min_seconds]


def runs_at(values: Floats, thresholds: Floats, release_fraction: float) -> Iterator[NDArray[np.int64]]:
    """Yield :func:`find_runs` of any length at each of several thresholds.

    What lies below one threshold is not looked at for the next, so that many thresholds cost
    little more than the lowest.

    Parameters
    ----------
    values : ndarray of shape (n,)
    thresholds : ndarray of shape (m,)
        Ascending.
    release_fraction : float
        In (0, 1]: the release as a fraction of the threshold.
    """
    place = np.arange(len(values))
    for threshold in thresholds.tolist():
        above = values >= threshold * release_fraction
        place, values = place[above], values[above]
        ends = np.flatnonzero(np.diff(place) != 1)
        first, last = np.append(0, ends + 1), np.append(ends, len(place) - 1)
        if not len(place):
            yield np.zeros((0, 2), dtype=np.int64)
        elif release_fraction < 1:
            hits = np.append(np.flatnonzero(values >= threshold), len(place))
            hit = hits[np.searchsorted(hits, first)]
            reached = hit <= last
            yield np.stack([place[hit[reached]], place[last[reached]] + 1], axis=1)
        else:
            yield np.stack([place[first], place[last] + 1], axis=1)


def _divide(total: Floats, count: NDArray[np.int64]) -> Floats:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
