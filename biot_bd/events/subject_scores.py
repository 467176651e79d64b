"""Scores of events over recordings and subjects, as SzCORE prescribes.

Counts are summed over a subject's recordings, each subject is scored, and the scores are averaged
over the subjects for whom they are defined.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from biot_bd.events.scoring import (
    RATE_HZ,
    SAMPLE_RATE_HZ,
    ScoringParameters,
    as_intervals,
    sample_counts,
    score_events,
    scorer,
    scores_of,
)
from biot_bd.events.types import Scores

LENGTH_BINS_S = (0.0, 10.0, 30.0, 60.0, 120.0, math.inf)
SCORES = ("sensitivity", "precision", "f1", "fa_per_24h")
OVERALL = (*SCORES, "false_alarm_h_per_24h", "median_latency_s")
_NO_LATENCY = "no seizure was detected"


@dataclass(frozen=True)
class ScoredRecording:
    """The annotated and the detected events of one recording.

    Parameters
    ----------
    recording, subject : str
        The recording, and the subject that it is of.
    reference, hypothesis : sequence of (onset_s, offset_s, ...)
        Annotated and detected events, in seconds from the recording's start.
    duration_s : float
        Length of the recording in seconds.

    See Also
    --------
    score_subjects : Takes them.

    Examples
    --------
    >>> from biot_bd.events import ScoredRecording
    >>> ScoredRecording("rec01", "site/01", [(100, 130)], [(105, 140)], 600.0).subject
    'site/01'
    """

    recording: str
    subject: str
    reference: Sequence[Sequence[float | None]]
    hypothesis: Sequence[Sequence[float | None]]
    duration_s: float


def score_subjects(recordings: Sequence[ScoredRecording], *, parameters: ScoringParameters | None = None) -> Scores:
    """Score events by subject and over subjects, with the detectors that always and never alarm
    beside.

    Parameters
    ----------
    recordings : sequence of ScoredRecording
        A recording that was tested several times counts as often.
    parameters : ScoringParameters, optional
        SzCORE's by default.

    Returns
    -------
    dict
        ``scorer``: name, version, parameters.  ``subjects``: ``{subject: {"events", "samples",
        "n_recordings", "hours"}}``; ``events`` as :func:`~biot_bd.events.score_events` gives them
        on the summed counts, with ``false_alarm_h_per_24h`` (time in false alarm), ``latency_s``,
        ``median_latency_s``, ``onset_error_s``; ``samples`` in seconds.  ``macro``: ``{"events":
        {score: {"value", "n_subjects", "reason"}}, "samples": ...}``.  ``pooled``: all recordings
        as if of one subject.  ``by_length``: annotated seizures by their length.  ``seizures``: a
        row an annotated seizure.  ``recordings``: the counts of each (``recording``, ``subject``,
        ``tp``, ``fp``, ``n_reference``, ``duration_s``), which intervals resample.  ``baselines``:
        ``{"always-on" | "always-off": {"macro", "pooled"}}``.

    Raises
    ------
    ValueError
        No recordings, or an event that :func:`~biot_bd.events.score_events` refuses; the recording
        is named.

    See Also
    --------
    score_events : One recording.
    score_folders : Files.

    Examples
    --------
    >>> from biot_bd.events import ScoredRecording, score_subjects
    >>> scores = score_subjects(
    ...     [
    ...         ScoredRecording("rec01", "site/01", [(100, 130)], [(105, 140)], 600.0),
    ...         ScoredRecording("rec02", "site/02", [(100, 130)], [], 600.0),
    ...     ]
    ... )
    >>> scores["macro"]["events"]["sensitivity"]
    {'value': 0.5, 'n_subjects': 2, 'reason': None}
    """
    parameters = parameters or ScoringParameters()
    if not recordings:
        raise ValueError("no recordings to score")
    scored = [_Recording(r, parameters) for r in recordings]
    out = _scores(scored)
    always = {
        "always-on": [replace(r, hypothesis=[(0.0, r.duration_s)]) for r in recordings],
        "always-off": [replace(r, hypothesis=[]) for r in recordings],
    }
    baselines = {}
    for name, replaced in always.items():
        found = _scores([_Recording(r, parameters) for r in replaced])
        baselines[name] = {"macro": found["macro"], "pooled": found["pooled"]}
    seizures = [row for one in scored for row in one.seizures]
    return {
        "scorer": scorer(parameters),
        **out,
        "by_length": _by_length(seizures),
        "seizures": seizures,
        "recordings": [one.row for one in scored],
        "baselines": baselines,
    }


class _Recording:
    """Counts of one recording."""

    def __init__(self, source: ScoredRecording, parameters: ScoringParameters) -> None:
        try:
            ref = as_intervals(source.reference, source.duration_s, "reference")
            hyp = as_intervals(source.hypothesis, source.duration_s, "hypothesis")
            scores = score_events(ref, hyp, source.duration_s, parameters=parameters)
        except ValueError as error:
            raise ValueError(f"recording {source.recording}: {error}") from None
        self.subject, self.hours = str(source.subject), source.duration_s / 3600
        counts = {name: scores[name] for name in ("tp", "fp", "n_reference")}
        self.events = {**counts, "n_samples": round(source.duration_s * RATE_HZ)}
        # The length that the scorer counted, so that sums of these rows give the same scores.
        length_s = self.events["n_samples"] / RATE_HZ
        self.row = {"recording": source.recording, "subject": self.subject, **counts, "duration_s": length_s}
        self.samples = sample_counts(ref, hyp, source.duration_s)
        self.false_alarm_s = float(scores["false_alarm_s"])
        self.seizures = [
            {"recording": source.recording, "subject": self.subject, **seizure} for seizure in scores["seizures"]
        ]


def _scores(scored: Sequence[_Recording]) -> Scores:
    names = sorted({one.subject for one in scored})
    subjects = {name: _summed([one for one in scored if one.subject == name]) for name in names}
    return {
        "subjects": subjects,
        "macro": {
            "events": {score: macro_of(one["events"][score] for one in subjects.values()) for score in OVERALL},
            "samples": {score: macro_of(one["samples"][score] for one in subjects.values()) for score in SCORES[:3]},
        },
        "pooled": _summed(scored),
    }


def _summed(scored: Sequence[_Recording]) -> Scores:
    """Score recordings as one: their counts are summed."""
    hours = sum(one.hours for one in scored)
    found = [seizure for one in scored for seizure in one.seizures if seizure["detected"]]
    latencies = [seizure["latency_s"] for seizure in found]
    events = scores_of(_total([one.events for one in scored]), RATE_HZ)
    if not latencies:
        events["reasons"]["median_latency_s"] = _NO_LATENCY
    events |= {
        "false_alarm_h_per_24h": sum(one.false_alarm_s for one in scored) / 3600 / hours * 24,
        "latency_s": latencies,
        "median_latency_s": float(np.median(latencies)) if latencies else None,
        "onset_error_s": [seizure["onset_error_s"] for seizure in found],
    }
    samples = scores_of(_total([one.samples for one in scored]), SAMPLE_RATE_HZ)
    del samples["fa_per_24h"]  # events a day, not seconds
    return {"events": events, "samples": samples, "n_recordings": len(scored), "hours": hours}


def _total(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return {name: sum(one[name] for one in counts) for name in counts[0]}


def macro_of(scores: Iterable[float | None]) -> Any:
    """Return the mean over the subjects for whom a score is defined, their number, or why there
    is none.
    """
    values = [value for value in scores if value is not None]
    if not values:
        return {"value": None, "n_subjects": 0, "reason": "defined for no subject"}
    return {"value": float(np.mean(values)), "n_subjects": len(values), "reason": None}


def _by_length(seizures: Sequence[Scores]) -> list[Scores]:
    """Return a row a bin of length.

    ``from_s``, ``to_s`` (None: no end), ``n``, ``n_detected``, ``sensitivity``, ``reason``.
    """
    rows = []
    for low, high in pairwise(LENGTH_BINS_S):
        inside = [s for s in seizures if low <= s["offset_s"] - s["onset_s"] < high]
        found = [s for s in inside if s["detected"]]
        rows.append(
            {
                "from_s": low,
                "to_s": None if math.isinf(high) else high,
                "n": len(inside),
                "n_detected": len(found),
                "sensitivity": len(found) / len(inside) if inside else None,
                "reason": None if inside else "no seizure of this length",
                "median_latency_s": float(np.median([s["latency_s"] for s in found])) if found else None,
            }
        )
    return rows
