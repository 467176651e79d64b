"""Events of one recording scored as SzCORE prescribes, by ``timescoring``, with defined outcomes
for every input.

What is added to the package: events are checked, sorted and joined first (unsorted or nested ones
give it wrong counts), a score that is undefined is None with a reason (it gives NaN), and latencies
by seizure, which it has not.

References
----------
Dan, J. et al. (2025). SzCORE: Seizure Community Open-Source Research Evaluation framework.
Epilepsia, 66, 14-24.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring, SampleScoring

from biot_bd.events.intervals import OVERLAPPING, merge, overlap, total
from biot_bd.events.types import Scorer, Scores, SeizureScore

RATE_HZ = 10
SAMPLE_RATE_HZ = 1
SHORTEST_S = 1 / RATE_HZ
"""Of a recording shorter than this no file of events can speak."""
LONGEST_S = 31 * 86_400
ROUNDING_S = 0.1  # files round to hundredths, the scorer to tenths of a second


@dataclass(frozen=True)
class ScoringParameters:
    """Parameters of event scoring; the defaults are SzCORE's.

    Parameters
    ----------
    tolerance_start_s, tolerance_end_s : float
        A seizure counts this much before and after its annotation.
    min_overlap : float
        Share of the widened seizure that must be covered; 0 for any overlap.
    max_event_s : float
        Longer events are split.
    min_between_s : float
        Events closer than this are merged.

    See Also
    --------
    score_events : Takes them.

    Examples
    --------
    >>> from biot_bd.events import ScoringParameters
    >>> ScoringParameters().tolerance_start_s
    30.0
    """

    tolerance_start_s: float = 30.0
    tolerance_end_s: float = 60.0
    min_overlap: float = 0.0
    max_event_s: float = 300.0
    min_between_s: float = 90.0

    def timescoring(self) -> EventScoring.Parameters:
        """Return them in the form of the package."""
        return EventScoring.Parameters(
            toleranceStart=self.tolerance_start_s,
            toleranceEnd=self.tolerance_end_s,
            minOverlap=self.min_overlap,
            maxEventDuration=self.max_event_s,
            minDurationBetweenEvents=self.min_between_s,
        )


def scorer(parameters: ScoringParameters | None = None) -> Scorer:
    """Return what stands beside every score: the scorer's name, version and parameters."""
    return {
        "name": "timescoring",
        "version": version("timescoring"),
        "parameters": {
            **asdict(parameters or ScoringParameters()),
            "event_rate_hz": RATE_HZ,
            "sample_rate_hz": SAMPLE_RATE_HZ,
        },
    }


def scorer_text(scorer: Mapping[str, Any]) -> str:
    """Return :func:`scorer` in words: name, version and parameters."""
    p = scorer["parameters"]
    known = {
        "tolerance_start_s": "counts {:g} s before",
        "tolerance_end_s": "and {:g} s after a seizure",
        "min_overlap": "least overlap {:g}",
        "max_event_s": "longer events are split at {:g} s",
        "min_between_s": "events closer than {:g} s are merged",
        "event_rate_hz": "events at {:g} Hz",
        "sample_rate_hz": "samples at {:g} Hz",
    }
    said = [text.format(p[name]) for name, text in known.items() if name in p]
    said += [f"{name} {value}" for name, value in p.items() if name not in known]
    return f"{scorer['name']} {scorer['version']} ({', '.join(said)})"


def as_intervals(events: Iterable[Sequence[Any]], duration_s: float, what: str = "events") -> NDArray[np.float64]:
    """Return events sorted, overlapping ones joined.

    Parameters
    ----------
    events : iterable of (onset_s, offset_s, ...)
        In any order; further items of an event are ignored.
    duration_s : float
        Length of the recording.
    what : str
        Named in messages, e.g. ``"reference of chb01_03"``.

    Returns
    -------
    ndarray of shape (n, 2)

    Raises
    ------
    ValueError
        A time is not finite, an event ends before it begins, or is not inside the recording (0.1 s
        of rounding apart).
    """
    if not np.isfinite(duration_s) or duration_s < SHORTEST_S:
        raise ValueError(f"{what}: duration_s must be at least {SHORTEST_S} s, got {duration_s!r}")
    pairs = np.array([(float(event[0]), float(event[1])) for event in events], dtype=np.float64).reshape(-1, 2)
    for onset, offset in pairs:
        if not (np.isfinite(onset) and np.isfinite(offset)):
            raise ValueError(f"{what}: event ({onset}, {offset}) has a time that is not finite")
        if offset <= onset:
            raise ValueError(f"{what}: event ({onset}, {offset}) does not end after its onset")
        if onset < -ROUNDING_S or offset > duration_s + ROUNDING_S or onset >= duration_s:
            raise ValueError(f"{what}: event ({onset}, {offset}) is not inside the recording of {duration_s} s")
    return merge(np.clip(pairs, 0.0, duration_s), OVERLAPPING)[0]


def event_counts(
    reference: NDArray[np.float64], hypothesis: NDArray[np.float64], duration_s: float, parameters: ScoringParameters
) -> dict[str, int]:
    """Return timescoring's counts of events.

    ``tp``, ``fp``, ``n_reference``, ``n_samples`` (at 10 Hz).
    """
    return counts_of(EventScoring(*_annotations(reference, hypothesis, duration_s), parameters.timescoring()))


def sample_counts(reference: NDArray[np.float64], hypothesis: NDArray[np.float64], duration_s: float) -> dict[str, int]:
    """Return timescoring's counts of seconds.

    ``tp``, ``fp``, ``n_reference``, ``n_samples`` (at 1 Hz).
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # its own rates of nothing; only counts are taken
        return counts_of(SampleScoring(*_annotations(reference, hypothesis, duration_s), fs=SAMPLE_RATE_HZ))


def event_extents(
    reference: NDArray[np.float64], duration_s: float, parameters: ScoringParameters
) -> list[tuple[float, float]]:
    """Return timescoring's seizures, merged, split and widened by the tolerances, in seconds."""
    scoring = EventScoring(*_annotations(reference, np.zeros((0, 2)), duration_s), parameters.timescoring())
    return EventScoring._extendEvents(scoring.ref, parameters.tolerance_start_s, parameters.tolerance_end_s).events


def _annotations(
    reference: NDArray[np.float64], hypothesis: NDArray[np.float64], duration_s: float
) -> list[Annotation]:
    _check_length(duration_s)
    n = round(duration_s * RATE_HZ)
    return [Annotation([tuple(pair) for pair in pairs.tolist()], RATE_HZ, n) for pairs in (reference, hypothesis)]


def _check_length(duration_s: float) -> None:
    """Raise for a length that is mistyped: the scorer holds masks of all samples."""
    if duration_s > LONGEST_S:
        raise ValueError(
            f"the recording lasts {duration_s:g} s; at most {LONGEST_S} s (31 days) are scored, is the length right?"
        )


def counts_of(scoring: EventScoring | SampleScoring) -> dict[str, int]:
    """Return the counts of a timescoring result as plain integers."""
    return {
        "tp": int(scoring.tp),
        "fp": int(scoring.fp),
        "n_reference": int(scoring.refTrue),
        "n_samples": int(scoring.numSamples),
    }


def scores_of(counts: dict[str, int], rate_hz: int) -> Scores:
    """Return timescoring's scores of counts, which may be sums over recordings.

    Returns
    -------
    dict
        ``tp``, ``fp``, ``n_reference``, ``sensitivity``, ``precision``, ``f1``, ``fa_per_24h`` and
        ``reasons`` ``{score: why it is None}``.
    """
    scoring = EventScoring.__new__(EventScoring)
    scoring.tp, scoring.fp, scoring.refTrue = counts["tp"], counts["fp"], counts["n_reference"]
    # Less than half a second has no sample at 1 Hz: nothing to divide by, and no alarm either.
    scoring.numSamples, scoring.fs = max(1, counts["n_samples"]), rate_hz
    scoring.computeScores()
    reasons = {
        "sensitivity": "no seizure in the reference",
        "precision": "no detection",
        "f1": "neither a seizure nor a detection",
    }
    values = {"sensitivity": scoring.sensitivity, "precision": scoring.precision, "f1": scoring.f1}
    return {
        **{name: counts[name] for name in ("tp", "fp", "n_reference")},
        **{name: float(value) if np.isfinite(value) else None for name, value in values.items()},
        "fa_per_24h": float(scoring.fpRate),
        "reasons": {name: reasons[name] for name, value in values.items() if not np.isfinite(value)},
    }


def score_events(
    reference: Iterable[Sequence[Any]],
    hypothesis: Iterable[Sequence[Any]],
    duration_s: float,
    *,
    parameters: ScoringParameters | None = None,
) -> Scores:
    """Score the events of one recording.

    Parameters
    ----------
    reference : iterable of (onset_s, offset_s)
        Annotated seizures, in any order.
    hypothesis : iterable of (onset_s, offset_s)
        Detected events; items after the first two (a confidence) are ignored.
    duration_s : float
        Length of the recording.
    parameters : ScoringParameters, optional
        SzCORE's by default.

    Returns
    -------
    dict
        ``tp``, ``fp``, ``n_reference`` (counts of ``timescoring`` after merging and splitting),
        ``sensitivity``, ``precision``, ``f1`` (None where undefined, ``reasons`` says why),
        ``fa_per_24h``; ``latency_s`` and ``onset_error_s`` (one number a detected seizure, in the
        order of time); ``seizures`` (a row an annotated seizure: ``onset_s``, ``offset_s``,
        ``detected``, ``latency_s``, ``onset_error_s``); ``false_alarm_s`` (time in alarm outside
        all seizures and their tolerance); ``n_detections``; ``duration_s``; ``scorer``.

    Raises
    ------
    ValueError
        An event ends before it begins, is not finite, or lies outside the recording.

    See Also
    --------
    score_samples : Seconds in place of events.
    score_subjects : Many recordings.

    Notes
    -----
    A seizure is detected where an alarm overlaps it, 30 s before to 60 s after included, as the
    scorer counts (with a ``min_overlap``: where alarms cover more than this share of it).  Its
    latency is the onset of the first such alarm minus its own, negative where the alarm came first;
    its onset error is the distance to the nearest onset of such an alarm.

    Examples
    --------
    >>> from biot_bd.events import score_events
    >>> scores = score_events([(100, 130)], [(105, 140), (400, 420)], duration_s=600)
    >>> scores["sensitivity"], scores["fp"], scores["latency_s"]
    (1.0, 1, [5.0])
    """
    parameters = parameters or ScoringParameters()
    _check_length(duration_s)
    ref = as_intervals(reference, duration_s, "reference")
    hyp = as_intervals(hypothesis, duration_s, "hypothesis")
    seizures = [_seizure(onset, offset, hyp, parameters, float(duration_s)) for onset, offset in ref.tolist()]
    found = [seizure for seizure in seizures if seizure["detected"]]
    wide = ref + [-parameters.tolerance_start_s, parameters.tolerance_end_s]
    near = as_intervals(np.clip(wide, 0.0, duration_s), duration_s, "reference")
    return {
        **scores_of(event_counts(ref, hyp, duration_s, parameters), RATE_HZ),
        "latency_s": [seizure["latency_s"] for seizure in found],
        "onset_error_s": [seizure["onset_error_s"] for seizure in found],
        "seizures": seizures,
        "false_alarm_s": max(0.0, total(hyp) - float(overlap(hyp, near).sum())),
        "n_detections": len(hyp),
        "duration_s": float(duration_s),
        "scorer": scorer(parameters),
    }


def score_samples(reference: Iterable[Sequence[Any]], hypothesis: Iterable[Sequence[Any]], duration_s: float) -> Scores:
    """Score the seconds of one recording (1 Hz).

    Parameters
    ----------
    reference, hypothesis : sequence of (onset_s, offset_s)
        Annotated and detected events, in seconds from the recording's start, in any order; items
        after the first two are ignored.
    duration_s : float
        Length of the recording in seconds.

    Returns
    -------
    dict
        ``tp``, ``fp``, ``n_reference`` in seconds, ``sensitivity``, ``precision``, ``f1``,
        ``fa_per_24h`` (seconds a day), ``reasons``, ``duration_s``, ``scorer``.

    Raises
    ------
    ValueError
        As in :func:`score_events`, or the recording is shorter than half a second.

    See Also
    --------
    score_events : Events in place of seconds.

    Examples
    --------
    >>> from biot_bd.events import score_samples
    >>> scores = score_samples([(100, 130)], [(105, 140)], duration_s=600)
    >>> scores["tp"], scores["fp"]
    (25, 10)
    """
    ref = as_intervals(reference, duration_s, "reference")
    hyp = as_intervals(hypothesis, duration_s, "hypothesis")
    if round(duration_s) < 1:
        raise ValueError(f"seconds are scored of recordings of at least half a second, got {duration_s} s")
    scores = _explained(scores_of(sample_counts(ref, hyp, duration_s), SAMPLE_RATE_HZ), ref, hyp)
    return {**scores, "duration_s": float(duration_s), "scorer": scorer()}


def _explained(scores: Scores, ref: NDArray[np.float64], hyp: NDArray[np.float64]) -> Scores:
    """Say where a score is undefined because what is there has no sample of the scorer."""
    short = f"too short or too badly placed for a sample of the scorer ({1 / SAMPLE_RATE_HZ:g} s)"
    told = {"sensitivity": f"seizures are {short}"} if len(ref) else {}
    told |= {"precision": f"detections are {short}"} if len(hyp) else {}
    told |= {"f1": f"seizures or detections are {short}"} if told else {}
    return {**scores, "reasons": {name: told.get(name, why) for name, why in scores["reasons"].items()}}


def _seizure(
    onset: float, offset: float, hyp: NDArray[np.float64], parameters: ScoringParameters, duration_s: float
) -> SeizureScore:
    # In the scorer's samples and by its sums, so that the row and the counts agree.
    start = max(0.0, onset - parameters.tolerance_start_s)
    stop = min(round(duration_s * RATE_HZ) / RATE_HZ, offset + parameters.tolerance_end_s)
    widened = round(start * RATE_HZ), round(stop * RATE_HZ)
    alarms_at = np.round(hyp * RATE_HZ)
    reaches = np.minimum(alarms_at[:, 1], widened[1]) > np.maximum(alarms_at[:, 0], widened[0])
    near, covered = hyp[reaches], float(overlap(alarms_at[reaches], [widened]).sum())
    detected = covered / RATE_HZ > (parameters.min_overlap + 1e-6) * (stop - start)
    alarms = near[:, 0] - onset
    return {
        "onset_s": onset,
        "offset_s": offset,
        "detected": detected,
        "latency_s": float(alarms[0]) if detected else None,
        "onset_error_s": float(np.abs(alarms).min()) if detected else None,
    }
