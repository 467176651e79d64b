"""How much of the time a detector warns, and whether it finds more than chance would.

Chance is the detector's own alarms, moved as a whole by a random time around the recording: as many
and as long as they are, but blind.  That is an alarm-times surrogate whose expectation is known in
closed form, so nothing is drawn.

References
----------
Mormann, F., Andrzejak, R. G., Elger, C. E. and Lehnertz, K. (2007). Seizure prediction: the long
and winding road. Brain, 130, 314-333 (random predictors and surrogates).
Snyder, D. E., Echauz, J., Grimes, D. B. and Litt, B. (2008). The statistics of a practical seizure
warning system. Journal of Neural Engineering, 5, 392-401 (improvement over chance).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biot_bd.events.intervals import total
from biot_bd.events.scoring import RATE_HZ, ScoringParameters, as_intervals, score_events, scorer
from biot_bd.events.subject_scores import ScoredRecording, macro_of
from biot_bd.events.types import Scores

SCORES = ("time_in_warning", "chance_sensitivity", "improvement_over_chance")
_NO_SEIZURE = "no seizure in the reference"


def chance_of_hit(hypothesis: Iterable[Sequence[Any]], lengths_s: ArrayLike, duration_s: float) -> NDArray[np.float64]:
    r"""Return the probability that alarms, moved around the recording by a random time, overlap an
    interval.

    Parameters
    ----------
    hypothesis : iterable of (onset_s, offset_s, ...)
        Alarms.
    lengths_s : array of shape (n,)
        Lengths of the intervals; where they lie makes no difference.
    duration_s : float
        Length of the recording, whose end is followed by its start.

    Returns
    -------
    ndarray of shape (n,)

    Notes
    -----
    With circular gaps :math:`g_k` between alarms and an interval of length :math:`L` it is
    :math:`1 - \sum_k \max(0, g_k - L) / D`.

    Examples
    --------
    >>> chance_of_hit([(0, 10), (50, 60)], [0.0, 15.0, 60.0], 100.0).round(3).tolist()
    [0.2, 0.5, 1.0]
    """
    alarms = as_intervals(hypothesis, duration_s, "hypothesis")
    lengths = np.asarray(lengths_s, dtype=np.float64)
    if not len(alarms):
        return np.zeros(len(lengths))
    gaps = np.append(alarms[1:, 0], alarms[0, 0] + duration_s) - alarms[:, 1]
    return 1 - np.maximum(0.0, gaps[None] - lengths[:, None]).sum(axis=1) / duration_s


def at_least(n_hits: int, chances: ArrayLike) -> float:
    """Return the probability of at least ``n_hits`` hits of independent trials with these chances.

    Examples
    --------
    >>> at_least(2, [0.5, 0.5, 0.5])
    0.5
    """
    distribution = np.ones(1)
    for chance in np.asarray(chances, dtype=np.float64):
        distribution = np.convolve(distribution, [1 - chance, chance])
    return float(np.clip(distribution[n_hits:].sum(), 0.0, 1.0))


def score_chance(recordings: Sequence[ScoredRecording], *, parameters: ScoringParameters | None = None) -> Scores:
    """Score detected events against the same events placed at random.

    Parameters
    ----------
    recordings : sequence of ScoredRecording
        Annotated and detected events; a recording that was tested several times counts as often.
    parameters : ScoringParameters, optional
        Tolerances around a seizure; SzCORE's by default.

    Returns
    -------
    dict
        ``scorer``, ``subjects`` (subject -> scores), ``pooled`` (the same of all recordings) and
        ``macro`` (score -> ``value``, ``n_subjects``, ``reason``).  Scores are ``time_in_warning``
        (share of the time that is in alarm), ``n_seizures``, ``n_detected``,
        ``chance_sensitivity`` (expected share of seizures that the alarms hit when moved at
        random), ``improvement_over_chance`` (sensitivity minus that), ``p_value`` (probability that
        chance detects at least as many; seizures taken as independent) and ``reason`` (why scores
        are None: there is no seizure).

    Raises
    ------
    ValueError
        No recordings, or an event that :func:`~biot_bd.events.score_events` refuses; the recording
        is named.

    See Also
    --------
    score_subjects : Sensitivity and false alarms.

    Notes
    -----
    Seizures are counted as annotated, without merging or splitting; one is detected where an alarm
    overlaps it, tolerance included, and by chance with the probability of :func:`chance_of_hit` for
    an interval that long.  A subject's p value says how likely the hits are without any knowledge,
    not how useful the detector is.

    Examples
    --------
    >>> from biot_bd.events import ScoredRecording, score_chance
    >>> one = ScoredRecording("rec01", "site/01", [(1000, 1010)], [(1000, 1100)], 4000.0)
    >>> found = score_chance([one])["pooled"]
    >>> found["time_in_warning"], round(found["chance_sensitivity"], 3), found["n_detected"]
    (0.025, 0.05, 1)
    """
    parameters = parameters or ScoringParameters()
    if not recordings:
        raise ValueError("no recordings to score")
    rows: dict[str, list[_Row]] = {}
    for one in recordings:
        try:
            rows.setdefault(str(one.subject), []).append(_row(one, parameters))
        except ValueError as error:
            raise ValueError(f"recording {one.recording}: {error}") from None
    subjects = {subject: _scores(own) for subject, own in sorted(rows.items())}
    return {
        "scorer": scorer(parameters),
        "subjects": subjects,
        "macro": {name: macro_of(one[name] for one in subjects.values()) for name in SCORES},
        "pooled": _scores([row for own in rows.values() for row in own]),
    }


_Row = tuple[float, float, int, NDArray[np.float64]]
"""Seconds in alarm, length in seconds, detected seizures, chance of each seizure."""


def _row(one: ScoredRecording, parameters: ScoringParameters) -> _Row:
    hypothesis = as_intervals(one.hypothesis, one.duration_s, "hypothesis")
    seizures = score_events(one.reference, hypothesis, one.duration_s, parameters=parameters)["seizures"]
    end_s = round(one.duration_s * RATE_HZ) / RATE_HZ
    lengths = [
        min(end_s, seizure["offset_s"] + parameters.tolerance_end_s)
        - max(0.0, seizure["onset_s"] - parameters.tolerance_start_s)
        for seizure in seizures
    ]
    detected = sum(seizure["detected"] for seizure in seizures)
    return total(hypothesis), float(one.duration_s), detected, chance_of_hit(hypothesis, lengths, one.duration_s)


def _scores(rows: Sequence[_Row]) -> Scores:
    chances = np.concatenate([row[3] for row in rows])
    detected = sum(row[2] for row in rows)
    scores: Scores = {
        "time_in_warning": sum(row[0] for row in rows) / sum(row[1] for row in rows),
        "n_seizures": len(chances),
        "n_detected": detected,
        "chance_sensitivity": None,
        "improvement_over_chance": None,
        "p_value": None,
        "reason": _NO_SEIZURE,
    }
    if len(chances):
        by_chance = float(chances.mean())
        scores |= {
            "chance_sensitivity": by_chance,
            "improvement_over_chance": detected / len(chances) - by_chance,
            "p_value": at_least(detected, chances),
            "reason": None,
        }
    return scores
