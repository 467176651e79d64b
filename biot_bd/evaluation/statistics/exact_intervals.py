"""Exact intervals of counts, for scores whose resamples are all the same.

Where every seizure was found, each resample finds every seizure, and a percentile interval from 1
to 1 would feign certainty.  A share of counted events then gets the interval of Clopper and Pearson
(scipy's), and a rate of counted events that of Garwood, both exact for events that come
independently.

References
----------
Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the
binomial, Biometrika 26, 1934.
Garwood, Fiducial limits for the Poisson distribution, Biometrika 28, 1936.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scipy.stats import binomtest, chi2

from biot_bd.evaluation.statistics.intervals import Counted, Interval

BINOMIAL = "exact binomial (Clopper-Pearson)"
POISSON = "exact Poisson (Garwood)"
COUNTED = "nothing: events were counted"
EXACT = "all resamples are equal, so the interval is exact for the count, as if events came independently"


def binomial_interval(n_found: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of the exact interval of a share.

    Parameters
    ----------
    n_found, n : int
        So many of so many, at least one.
    level : float, default=0.95

    Returns
    -------
    tuple of float

    See Also
    --------
    poisson_interval : Of a rate.

    Examples
    --------
    >>> from biot_bd.evaluation.statistics.exact_intervals import binomial_interval
    >>> [round(end, 3) for end in binomial_interval(2, 2)]
    [0.158, 1.0]
    """
    found = binomtest(n_found, n).proportion_ci(confidence_level=level, method="exact")
    return float(found.low), float(found.high)


def poisson_interval(n_events: int, days: float, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of the exact interval of a rate.

    Parameters
    ----------
    n_events : int
        Events that were counted.
    days : float
        For so long, in units of 24 h.
    level : float, default=0.95

    Returns
    -------
    tuple of float
        In events per 24 h.

    See Also
    --------
    binomial_interval : Of a share.

    Examples
    --------
    >>> from biot_bd.evaluation.statistics.exact_intervals import poisson_interval
    >>> [round(end, 2) for end in poisson_interval(0, 1.0)]
    [0.0, 3.69]
    """
    low = float(chi2.ppf((1 - level) / 2, 2 * n_events)) / 2 if n_events else 0.0
    return low / days, float(chi2.ppf((1 + level) / 2, 2 * (n_events + 1))) / 2 / days


def exact_where_degenerate(name: str, interval: Interval, counts: Mapping[Any, Any]) -> Interval:
    """Give an interval without ends exact ones, if its score is a share or a rate of counts.

    Parameters
    ----------
    name : str
        The event score.
    interval : Interval
        Of resamples; returned as it is where it has ends or the score is undefined.
    counts : mapping
        ``tp``, ``fp``, ``n_reference``, ``duration_s``.

    Returns
    -------
    Interval
    """
    if interval.value is None or interval.low is not None:
        return interval
    tp, fp = int(counts["tp"]), int(counts["fp"])
    shares = {"sensitivity": (tp, int(counts["n_reference"])), "precision": (tp, tp + fp)}
    counted: Counted
    if name in shares:
        n_found, n = shares[name]
        ends, method = binomial_interval(n_found, n, interval.level), BINOMIAL
        counted = {"n": n_found, "of": n, "hours": None}
    elif name == "fa_per_24h":
        hours = float(counts["duration_s"]) / 3600
        ends, method = poisson_interval(fp, hours / 24, interval.level), POISSON
        counted = {"n": fp, "of": None, "hours": hours}
    else:
        return interval
    return replace(
        interval,
        low=ends[0],
        high=ends[1],
        method=method,
        resampled=COUNTED,
        n_resamples=0,
        n_undefined=0,
        counted=counted,
        notes=(EXACT,),
    )
