"""The two event scores of NEDC's evaluation software that papers on the Temple corpora report.

OVERLAP (any overlap, whole events) and TAES (time-aligned event scoring, fractions of events), of
seizures alone, without merging, splitting or tolerance.  Counts are summed over all recordings, as
that software does; scores by subject stand beside.

References
----------
Shah, V., Golmohammadi, M., Obeid, I. and Picone, J. (2021). Objective evaluation metrics for
automatic classification of EEG events. Biomedical Signal Processing, Springer, 223-255.
Software: nedc_eeg_eval 6.0.0 (Neural Engineering Data Consortium, Temple University).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.events.intervals import overlap
from biot_bd.events.scoring import as_intervals
from biot_bd.events.subject_scores import ScoredRecording, macro_of
from biot_bd.events.types import Scores

METHODS = {
    "nedc-ovlp": "OVERLAP of nedc_eeg_eval 6.0.0: any overlap, no merging, no tolerance",
    "nedc-taes": "TAES of nedc_eeg_eval 6.0.0: fractions of seizures, no merging, no tolerance",
}
"""Ways to count, by name."""
SCORES = ("sensitivity", "precision", "f1", "fa_per_24h")
_REASONS = {
    "sensitivity": "no seizure in the reference",
    "precision": "no detection",
    "f1": "neither a seizure nor a detection",
}


def score_nedc(
    reference: Iterable[Sequence[Any]], hypothesis: Iterable[Sequence[Any]], duration_s: float, method: str
) -> Scores:
    """Score the seizures of one recording as NEDC's software does.

    Parameters
    ----------
    reference, hypothesis : iterable of (onset_s, offset_s, ...)
        Annotated and detected seizures, in any order; what overlaps is joined, further items of an
        event are ignored.
    duration_s : float
        Length of the recording in seconds.
    method : {"nedc-ovlp", "nedc-taes"}
        How seizures are counted, see Notes.

    Returns
    -------
    dict
        ``tp``, ``fn``, ``fp`` (whole numbers, with TAES fractions), ``sensitivity``, ``precision``,
        ``f1`` (None where undefined, ``reasons`` says why), ``fa_per_24h``.

    Raises
    ------
    ValueError
        An unknown method, or events that :func:`~biot_bd.events.score_events` refuses.

    See Also
    --------
    score_events : As SzCORE prescribes.
    score_nedc_subjects : Many recordings.

    Notes
    -----
    OVERLAP: a seizure that any detection overlaps is a hit, another one a miss; a detection that
    overlaps no seizure is a false alarm.

    TAES, seizure by seizure in the order of time: a detection that overlaps it gives a hit of their
    common time and a false alarm of the time outside, both as shares of the seizure's length, the
    latter at most 1; what is missing of a hit is a miss.  Where the first of them reaches to the
    seizure's end or further, it belongs to that seizure alone: other seizures under it are whole
    misses.  Seizures without a detection are whole misses, detections without a seizure whole false
    alarms.

    The software calls two events overlapping in TAES where whole seconds that they touch are one,
    so that detections up to a second away from a seizure lower its hit; here they must overlap.

    Examples
    --------
    >>> from biot_bd.events import score_nedc
    >>> seizures, detected = [(100, 120), (200, 220)], [(110, 125)]
    >>> scores = score_nedc(seizures, detected, 600, "nedc-taes")
    >>> scores["tp"], scores["fn"], scores["fp"]
    (0.5, 1.5, 0.25)
    >>> scores = score_nedc(seizures, detected, 600, "nedc-ovlp")
    >>> scores["tp"], scores["fn"], scores["fp"]
    (1, 1, 0)
    """
    _check(method)
    ref = as_intervals(reference, duration_s, "reference")
    hyp = as_intervals(hypothesis, duration_s, "hypothesis")
    return _scores_of(*_counts(ref, hyp, method), float(duration_s))


def score_nedc_subjects(recordings: Sequence[ScoredRecording], method: str) -> Scores:
    """Score seizures of many recordings as NEDC's software does, with scores by subject beside.

    Parameters
    ----------
    recordings : sequence of ScoredRecording
        Annotated and detected seizures; a recording that was tested several times counts as often.
    method : {"nedc-ovlp", "nedc-taes"}
        How seizures are counted, see :func:`score_nedc`.

    Returns
    -------
    dict
        ``scorer`` (``name``, ``about``), ``pooled`` (all counts summed, as the software scores),
        ``subjects`` (subject -> the same of their counts) and ``macro`` (score -> ``value``,
        ``n_subjects``, ``reason``: the mean over the subjects for whom it is defined).

    Raises
    ------
    ValueError
        An unknown method, no recordings, or an event that is refused; the recording is named.

    See Also
    --------
    score_nedc : One recording.
    score_subjects : As SzCORE prescribes.

    Examples
    --------
    >>> from biot_bd.events import ScoredRecording, score_nedc_subjects
    >>> one = ScoredRecording("rec01", "site/01", [(100, 130)], [(105, 140)], 600.0)
    >>> score_nedc_subjects([one], "nedc-ovlp")["macro"]["sensitivity"]["value"]
    1.0
    """
    _check(method)
    if not recordings:
        raise ValueError("no recordings to score")
    rows: dict[str, list[tuple[float, ...]]] = {}
    for one in recordings:
        try:
            ref, hyp = (as_intervals(events, one.duration_s, what) for events, what in _named(one))
        except ValueError as error:
            raise ValueError(f"recording {one.recording}: {error}") from None
        rows.setdefault(str(one.subject), []).append((*_counts(ref, hyp, method), one.duration_s))
    subjects = {subject: _summed(counts) for subject, counts in sorted(rows.items())}
    return {
        "scorer": {"name": method, "about": METHODS[method]},
        "pooled": _summed([row for counts in rows.values() for row in counts]),
        "subjects": subjects,
        "macro": {name: macro_of(one[name] for one in subjects.values()) for name in SCORES},
    }


def _check(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")


def _named(one: ScoredRecording) -> list[tuple[Any, str]]:
    return [(one.reference, "reference"), (one.hypothesis, "hypothesis")]


def _counts(ref: NDArray[np.float64], hyp: NDArray[np.float64], method: str) -> tuple[float, float, float]:
    """Return hits, misses and false alarms."""
    return _overlap_counts(ref, hyp) if method == "nedc-ovlp" else _taes_counts(ref, hyp)


def _overlap_counts(ref: NDArray[np.float64], hyp: NDArray[np.float64]) -> tuple[int, int, int]:
    meet = overlap(ref, hyp) > 0
    hits = int(meet.any(axis=1).sum())
    return hits, len(ref) - hits, int((~meet.any(axis=0)).sum())


def _taes_counts(ref: NDArray[np.float64], hyp: NDArray[np.float64]) -> tuple[float, float, float]:
    common = overlap(ref, hyp)
    lengths, ends = ref[:, 1] - ref[:, 0], hyp[:, 1]
    open_ref, open_hyp = np.ones(len(ref), dtype=bool), np.ones(len(hyp), dtype=bool)
    tp = fn = fp = 0.0
    for i in range(len(ref)):
        mine = np.flatnonzero((common[i] > 0) & open_hyp)
        if not open_ref[i] or not len(mine):
            continue
        reaches_end = ends[mine[0]] >= ref[i, 1]
        mine = mine[:1] if reaches_end else mine
        hit = float(common[i, mine].sum() / lengths[i])
        outside = (hyp[mine, 1] - hyp[mine, 0] - common[i, mine]) / lengths[i]
        tp, fn, fp = tp + hit, fn + 1 - hit, fp + float(np.minimum(outside, 1.0).sum())
        open_ref[i], open_hyp[mine] = False, False
        if reaches_end:
            under = np.flatnonzero((common[:, mine[0]] > 0) & (np.arange(len(ref)) > i))
            open_ref[under] = False
            fn += len(under)
    return tp, fn + float(open_ref.sum()), fp + float(open_hyp.sum())


def _summed(rows: Sequence[tuple[float, ...]]) -> Scores:
    return _scores_of(*(sum(column) for column in zip(*rows, strict=True)))


def _scores_of(tp: float, fn: float, fp: float, duration_s: float) -> Scores:
    shares = {"sensitivity": (tp, tp + fn), "precision": (tp, tp + fp), "f1": (2 * tp, 2 * tp + fn + fp)}
    values = {name: part / whole if whole else None for name, (part, whole) in shares.items()}
    return {
        "tp": tp,
        "fn": fn,
        "fp": fp,
        **values,
        "fa_per_24h": fp / duration_s * 86400,
        "reasons": {name: _REASONS[name] for name, value in values.items() if value is None},
    }
