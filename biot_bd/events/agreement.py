"""How far two readers of the same recordings agree, in events and in seconds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import cohen_kappa_score

from biot_bd.events.intervals import overlap
from biot_bd.events.scoring import (
    RATE_HZ,
    SAMPLE_RATE_HZ,
    ScoringParameters,
    as_intervals,
    event_counts,
    sample_counts,
    scorer,
    scores_of,
)
from biot_bd.events.types import Scores

LENGTH_SLACK_S = 1.0
_SHOWN = ("sensitivity", "precision", "f1", "fa_per_24h")


@dataclass(frozen=True)
class ReadRecording:
    """What one reader says of one recording that was read from beginning to end.

    Parameters
    ----------
    recording : str
        The recording.
    events : sequence of (onset_s, offset_s, ...)
        Its seizures, in seconds from the recording's start.
    duration_s : float
        Length of the recording in seconds.

    See Also
    --------
    score_agreement : Takes those of two readers.

    Examples
    --------
    >>> from biot_bd.events import ReadRecording
    >>> ReadRecording("night-1", [(100, 130)], 600.0).duration_s
    600.0
    """

    recording: str
    events: Sequence[Sequence[float | None]]
    duration_s: float


def score_agreement(
    first: Sequence[ReadRecording],
    second: Sequence[ReadRecording],
    *,
    reviewers: tuple[str, str] = ("first", "second"),
    parameters: ScoringParameters | None = None,
) -> Scores:
    """Compare what two readers say of the recordings that both read.

    Parameters
    ----------
    first, second : sequence of ReadRecording
        All that each has read; recordings belong together by their names.
    reviewers : (str, str), default=("first", "second")
        What the two are called in the result.
    parameters : ScoringParameters, optional
        How events are matched where one reader is the other's reference; SzCORE's by default.

    Returns
    -------
    dict
        ``reviewers``; ``recordings`` (a row a recording that both read: ``recording``,
        ``duration_s``, ``n_events``, ``n_only``, ``kappa``); ``read_by_one`` (names by reviewer);
        ``hours``; ``events``, ``samples`` and ``differences``; ``reasons`` (why a value is None);
        ``scorer``.

        ``events``: ``n_events`` and ``n_only`` by reviewer (those that overlap none of the
        other's), ``positive_agreement`` (the share of all events, of both, that overlap one of the
        other's), ``as_reference`` (by reviewer: sensitivity, precision, F1 and false alarms of the
        *other* one, by the scorer with its tolerances).

        ``samples``, by seconds: ``both_s``, ``only_s`` by reviewer, ``neither_s``,
        ``positive_agreement`` and ``kappa``, Cohen's.

        ``differences`` of matched events, second minus first: ``onset_s`` and ``offset_s`` with
        ``median``, ``min`` and ``max``, and ``n_matched``.

    Raises
    ------
    ValueError
        The two have one name, no recording was read by both, a recording is there twice, the
        lengths differ, or an event is not inside its recording.

    See Also
    --------
    score_subjects : A detector against annotations.

    Notes
    -----
    F1 with one reader as the reference is not F1 with the other: the scorer lets an event count 30
    s before and 60 s after the *reference*, and merges and splits events.  Both are given.  Events
    are matched one to one, so that the time they share is longest.  Kappa weighs all recordings'
    seconds together; where seizures are rare it says little of where they begin and end.

    Examples
    --------
    >>> from biot_bd.events import ReadRecording, score_agreement
    >>> anna = [ReadRecording("night-1", [(100, 130), (300, 320)], 600.0)]
    >>> ben = [ReadRecording("night-1", [(104, 130)], 600.0)]
    >>> found = score_agreement(anna, ben, reviewers=("anna", "ben"))
    >>> found["events"]["n_only"], found["differences"]["onset_s"]["median"]
    ({'anna': 1, 'ben': 0}, 4.0)
    >>> round(found["samples"]["kappa"], 3)
    0.665
    """
    if reviewers[0] == reviewers[1]:
        raise ValueError(f"reviewers: both are called {reviewers[0]!r}; expected two names")
    parameters = parameters or ScoringParameters()
    ours, theirs = _by_name(first, reviewers[0]), _by_name(second, reviewers[1])
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise ValueError(
            f"{reviewers[0]} and {reviewers[1]}: no recording was read by both "
            f"({len(ours)} and {len(theirs)} recordings); agreement needs some"
        )
    pairs = [_Pair(ours[name], theirs[name], reviewers, parameters) for name in shared]
    hours = sum(pair.duration_s for pair in pairs) / 3600
    reasons: dict[str, str] = {}
    return {
        "reviewers": list(reviewers),
        "recordings": [pair.row() for pair in pairs],
        "read_by_one": {
            reviewers[0]: [name for name in ours if name not in theirs],
            reviewers[1]: [name for name in theirs if name not in ours],
        },
        "hours": hours,
        "events": _events(pairs, reviewers, reasons),
        "samples": _samples(pairs, reviewers, reasons),
        "differences": _differences(pairs, reasons),
        "reasons": reasons,
        "scorer": scorer(parameters),
    }


def kappa_of(both: float, only_first: float, only_second: float, neither: float) -> float | None:
    """Return Cohen's kappa of four counts, None where both readers always say the same.

    Parameters
    ----------
    both, only_first, only_second, neither : float
        Of units that are marked by both, one or none of the readers.

    See Also
    --------
    score_agreement : Where the counts are seconds.

    Examples
    --------
    >>> from biot_bd.events.agreement import kappa_of
    >>> round(kappa_of(20, 5, 10, 15), 6)
    0.4
    >>> kappa_of(0, 0, 0, 600) is None
    True
    """
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore")  # of what is undefined, which is None here
        value = cohen_kappa_score(
            [1, 1, 0, 0], [1, 0, 1, 0], labels=[0, 1], sample_weight=[both, only_first, only_second, neither]
        )
    return float(value) if np.isfinite(value) else None


def _by_name(recordings: Sequence[ReadRecording], reviewer: str) -> dict[str, ReadRecording]:
    found = {one.recording: one for one in recordings}
    if len(found) < len(recordings):
        names = [one.recording for one in recordings]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{reviewer}: recording {twice} is there twice; expected one reading of each")
    return found


class _Pair:
    """Two readings of one recording, and what they have in common."""

    def __init__(
        self, first: ReadRecording, second: ReadRecording, reviewers: tuple[str, str], parameters: ScoringParameters
    ) -> None:
        if abs(first.duration_s - second.duration_s) > LENGTH_SLACK_S:
            raise ValueError(
                f"recording {first.recording}: {first.duration_s:g} s by {reviewers[0]}, "
                f"{second.duration_s:g} s by {reviewers[1]}: not one recording"
            )
        self.recording, self.reviewers = first.recording, reviewers
        self.duration_s = max(first.duration_s, second.duration_s)
        a, b = (
            as_intervals(one.events, self.duration_s, f"recording {one.recording}, {name}")
            for one, name in zip((first, second), reviewers, strict=True)
        )
        self.n_events = len(a), len(b)
        shared = overlap(a, b).reshape(len(a), len(b))
        self.n_only = int((~shared.any(axis=1)).sum()), int((~shared.any(axis=0)).sum())
        self.differences = _matched_differences(a, b, shared)
        self.counts = (
            event_counts(a, b, self.duration_s, parameters),
            event_counts(b, a, self.duration_s, parameters),
        )
        seconds = sample_counts(a, b, self.duration_s)
        both = seconds["tp"]
        self.seconds = np.array(
            [
                both,
                seconds["n_reference"] - both,
                seconds["fp"],
                seconds["n_samples"] - seconds["n_reference"] - seconds["fp"],
            ]
        )

    def row(self) -> dict[str, Any]:
        return {
            "recording": self.recording,
            "duration_s": self.duration_s,
            "n_events": dict(zip(self.reviewers, self.n_events, strict=True)),
            "n_only": dict(zip(self.reviewers, self.n_only, strict=True)),
            "kappa": kappa_of(*self.seconds),
        }


def _matched_differences(a: NDArray[np.float64], b: NDArray[np.float64], shared: NDArray[np.float64]) -> list[Any]:
    """Return (onset, offset) differences in seconds, second minus first, of events matched one to
    one by the time they share.
    """
    rows, columns = linear_sum_assignment(shared, maximize=True)
    matched = shared[rows, columns] > 0
    return (b[columns[matched]] - a[rows[matched]]).tolist()


def _events(pairs: Sequence[_Pair], reviewers: tuple[str, str], reasons: dict[str, str]) -> dict[str, Any]:
    n_events = np.sum([pair.n_events for pair in pairs], axis=0)
    n_only = np.sum([pair.n_only for pair in pairs], axis=0)
    agreement = None
    if n_events.sum():
        agreement = float(1 - n_only.sum() / n_events.sum())
    else:
        reasons["events.positive_agreement"] = "neither marked an event"
    as_reference = {}
    for number, name in enumerate(reviewers):
        counts = [pair.counts[number] for pair in pairs]
        scores = scores_of({key: sum(one[key] for one in counts) for key in counts[0]}, RATE_HZ)
        as_reference[name] = {score: scores[score] for score in _SHOWN}
        reasons |= {f"events.as_reference.{name}.{score}": why for score, why in scores["reasons"].items()}
    return {
        "n_events": dict(zip(reviewers, n_events.tolist(), strict=True)),
        "n_only": dict(zip(reviewers, n_only.tolist(), strict=True)),
        "positive_agreement": agreement,
        "as_reference": as_reference,
    }


def _samples(pairs: Sequence[_Pair], reviewers: tuple[str, str], reasons: dict[str, str]) -> dict[str, Any]:
    both, first, second, neither = (np.sum([pair.seconds for pair in pairs], axis=0) / SAMPLE_RATE_HZ).tolist()
    marked = 2 * both + first + second
    kappa = kappa_of(both, first, second, neither)
    if kappa is None:
        reasons["samples.kappa"] = "both say the same of every second, so there is no chance to compare with"
    if not marked:
        reasons["samples.positive_agreement"] = "neither marked a second"
    return {
        "both_s": both,
        "only_s": dict(zip(reviewers, (first, second), strict=True)),
        "neither_s": neither,
        "positive_agreement": 2 * both / marked if marked else None,
        "kappa": kappa,
    }


def _differences(pairs: Sequence[_Pair], reasons: dict[str, str]) -> dict[str, Any]:
    found = np.array([one for pair in pairs for one in pair.differences]).reshape(-1, 2)
    out: dict[str, Any] = {"n_matched": len(found), "onset_s": None, "offset_s": None}
    if not len(found):
        reasons["differences"] = "no event of one overlaps one of the other"
        return out
    for name, values in zip(("onset_s", "offset_s"), found.T, strict=True):
        out[name] = {"median": float(np.median(values)), "min": float(values.min()), "max": float(values.max())}
    return out
