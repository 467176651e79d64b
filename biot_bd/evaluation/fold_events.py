"""Events inside a cross-validation.

The operating point of a fold, the events of its test subjects, their scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from sklearn.base import clone

from biot_bd.evaluation.run_facts import Cells, FoldEvents, FoldFacts, RecordingEvents
from biot_bd.events.chosen_on import chosen_on_of, chosen_on_text
from biot_bd.events.detector import EventDetector
from biot_bd.events.files import write_event_file
from biot_bd.events.intervals import merge, total
from biot_bd.events.operating_point import TimeLine
from biot_bd.events.scoring import RATE_HZ, scorer_text, scores_of
from biot_bd.events.subject_scores import ScoredRecording, score_subjects
from biot_bd.events.types import Event, RecordingScores
from biot_bd.number_texts import percent_text, seconds_text, text_of
from biot_bd.windows import Windows
from biot_bd.windows.store import safe_name

if TYPE_CHECKING:
    from biot_bd.evaluation.data import Data

EVENTS_FOLDER = "events"
CURVE_THRESHOLDS = np.round(1 / (1 + np.exp(-np.linspace(-7, 7, 57))), 6)
"""Thresholds of the curve of the test subjects; the same in all folds, dense at both ends."""
COVERED = 0.9
_SHOWN = (("sensitivity", "sensitivity"), ("f1", "F1"), ("fa_per_24h", "false alarms per 24 h"))


class Detectors(NamedTuple):
    """The two detectors of a fold: for whole recordings and for live use."""

    offline: EventDetector
    causal: EventDetector


def detector_parameters(detector: EventDetector | None) -> Cells:
    """Return what of a template decides the events of a study.

    All but the window, which the data has, and ``causal``.

    Raises
    ------
    TypeError
        Not an :class:`~biot_bd.events.EventDetector`.
    ValueError
        A parameter of it has no meaning.
    """
    detector = EventDetector() if detector is None else detector
    if not isinstance(detector, EventDetector):
        raise TypeError(f"event_detector takes an EventDetector, not {type(detector).__name__}")
    detector.setting()
    grid = None if detector.grid is None else {name: list(values) for name, values in detector.grid.items()}
    left_out = ("window_s", "causal")
    return {n: v for n, v in detector.get_params().items() if n not in left_out} | {"grid": grid}


class KnownRecording(Protocol):
    """What events need to know of a recording."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""

    @property
    def events(self) -> Sequence[Sequence[float]]:
        """Annotated seizures ``(onset_s, offset_s)``."""


def recording_scores(data: Data, predictions: pd.DataFrame) -> list[RecordingScores] | None:
    """Return the predictions by recording, with the recordings' lengths and seizures.

    Parameters
    ----------
    data : Data
    predictions : pandas.DataFrame
        Of one part of a fold.

    Returns
    -------
    list of RecordingScores or None
        A recording without any window is not there.  None where the data names no recordings.
    """
    if not isinstance(data.X, Windows):
        return None
    return scores_by_recording({r.recording: r for r in data.X.entries}, predictions)


def scores_by_recording(known: Mapping[str, KnownRecording], predictions: pd.DataFrame) -> list[RecordingScores]:
    """Return the predictions by recording, with the lengths and seizures that are known of them.

    Raises
    ------
    KeyError
        Nothing is known of a recording.
    """
    out = []
    for name, rows in predictions.groupby("recording", sort=True):
        recording = known[str(name)]
        duration = recording.duration_s
        reference = [(float(on), min(float(off), duration)) for on, off in recording.events]
        subject, starts = str(rows["subject"].iloc[0]), rows["start_s"].to_numpy(dtype=np.float64)
        out.append(RecordingScores(str(name), subject, rows["proba"].to_numpy(), starts, duration, reference))
    return out


def window_length_s(table: pd.DataFrame) -> float:
    """Return the length of the windows of a table with ``start_s`` and ``stop_s``."""
    return float(np.round(np.median((table["stop_s"] - table["start_s"]).to_numpy(dtype=np.float64)), 6))


def fit_detectors(template: EventDetector, data: Data, valid: pd.DataFrame) -> Detectors | None:
    """Choose the operating points on validation predictions, which is all that is looked at.

    Parameters
    ----------
    template : EventDetector
        Cloned; its ``window_s`` becomes that of the data.
    data : Data
        Says the lengths and seizures of the validation recordings.
    valid : pandas.DataFrame
        Predictions of the validation windows; may be empty.

    Returns
    -------
    Detectors or None
        None where the data names no recordings, or its classes are not background and seizure.
    """
    recordings = recording_scores(data, valid) if data.of_seizures else None
    if recordings is None:
        return None
    return fitted_detectors(template, recordings, window_length_s(data.table))


def fitted_detectors(template: EventDetector, recordings: Sequence[RecordingScores], window_s: float) -> Detectors:
    """Choose the operating points on validation recordings; see :func:`fit_detectors`."""
    fitted = [clone(template).set_params(window_s=window_s, causal=causal).fit(recordings) for causal in (False, True)]
    return Detectors(*fitted)


def event_facts(detectors: Detectors, data: Data, test: pd.DataFrame) -> FoldEvents:
    """Apply a fold's detector to its test subjects.

    Returns
    -------
    dict
        The ``events`` entry of ``fold.json``: ``detector`` and ``causal``
        (:meth:`EventDetector.as_dict`), ``recordings`` ``{recording: {"subject", "duration_s",
        "covered_s", "reference", "events"}}`` with events ``[onset_s, offset_s, confidence]``,
        ``without_windows`` (recordings of these subjects that have none), and ``curve``, counts of
        the test subjects at other thresholds.
    """
    recordings = recording_scores(data, test) or []
    without = _without_windows(data, {r.recording for r in recordings}, {r.subject for r in recordings})
    return facts_of_events(detectors, recordings, without)


def facts_of_events(detectors: Detectors, recordings: Sequence[RecordingScores], without: list[str]) -> FoldEvents:
    """Apply detectors to recordings; ``without`` are those that have no windows.

    See :func:`event_facts`.
    """
    detector = detectors.offline
    found: dict[str, RecordingEvents] = {
        r.recording: {
            "subject": r.subject,
            "duration_s": r.duration_s,
            "covered_s": _covered_s(r, detector.window_s),
            "reference": [list(pair) for pair in r.reference],
            "events": [list(event) for event in detector.predict(r.probabilities, r.start_s, r.duration_s)],
        }
        for r in recordings
    }
    return {
        "detector": detector.as_dict(),
        "causal": detectors.causal.as_dict(),
        "recordings": found,
        "without_windows": without,
        "curve": _curve(detector, recordings),
    }


def _without_windows(data: Data, found: set[str], subjects: set[str]) -> list[str]:
    return sorted(r.recording for r in data.X.entries if r.subject in subjects and r.recording not in found)


def _covered_s(recording: RecordingScores, window_s: float) -> float:
    """Return how many seconds of a recording any window covers."""
    starts = np.asarray(recording.start_s, dtype=np.float64)
    return total(merge(np.stack([starts, np.minimum(starts + window_s, recording.duration_s)], axis=1))[0])


def _curve(detector: EventDetector, recordings: Sequence[RecordingScores]) -> list[dict[str, float]]:
    setting = detector.setting()
    line = TimeLine(recordings, setting["merge_gap_s"])
    values = line.place([detector.curve(r.probabilities, r.start_s, r.duration_s)[1] for r in recordings])
    points = line.points(values, CURVE_THRESHOLDS, [setting])[0]
    return [{name: point[name] for name in ("threshold", "tp", "fp", "n_reference")} for point in points]


def aggregate_events(facts: Sequence[FoldFacts]) -> Cells | None:
    """Bring the events of all folds together: the ``events`` entry of ``metrics.json``.

    Parameters
    ----------
    facts : sequence of dict
        Content of each ``fold.json``.

    Returns
    -------
    dict or None
        As :func:`~biot_bd.events.subject_scores.score_subjects`, and ``coverage`` (share of the
        recordings' time that windows cover), ``without_windows`` (recordings of the test subjects
        that have none and are not scored), ``detections`` (a row a detected event: ``fold``,
        ``recording``, ``subject``, ``onset_s``, ``offset_s``, ``confidence``), ``operating_points``
        (a row a fold) and ``curve`` (sensitivity and false alarms of the test subjects at other
        thresholds, the folds' counts summed).  None where the data names no recordings.
    """
    tested = [(fact["fold"], events) for fact in facts if (events := fact.get("events")) is not None]
    if not tested:
        return None
    rows = [(fold, name, one) for fold, events in tested for name, one in events["recordings"].items()]
    scored = [
        ScoredRecording(name, one["subject"], one["reference"], one["events"], one["duration_s"])
        for _, name, one in rows
    ]
    hours = sum(one["duration_s"] for _, _, one in rows) / 3600
    return {
        **score_subjects(scored),
        "coverage": sum(one["covered_s"] for _, _, one in rows) / 3600 / hours,
        "without_windows": sorted({name for _, events in tested for name in events["without_windows"]}),
        "detections": [
            {"fold": fold, "recording": name, "subject": one["subject"], **dict(zip(Event._fields, event, strict=True))}
            for fold, name, one in rows
            for event in one["events"]
        ],
        "operating_points": [
            {"fold": fold, **operating_point(EventDetector.from_dict(events["detector"]))} for fold, events in tested
        ],
        "curve": _summed_curve([events["curve"] for _, events in tested], hours),
    }


def operating_point(detector: EventDetector) -> Cells:
    """Return what a fitted detector was asked for, what it chose, and what that does on
    validation.
    """
    return {
        **{name: getattr(detector, name) for name in ("target", "target_fa_per_24h", "target_sensitivity")},
        **detector.setting(),
        "reason": detector.reason_,
        "chosen_on": detector.chosen_on_,
        "validation": detector.validation_,
    }


def _summed_curve(curves: Sequence[Sequence[Mapping[str, Any]]], hours: float) -> list[Cells]:
    out = []
    for points in zip(*curves, strict=True):
        counts = {name: sum(point[name] for point in points) for name in ("tp", "fp", "n_reference")}
        scores = scores_of({**counts, "n_samples": round(hours * 3600 * RATE_HZ)}, RATE_HZ)
        shown = ("tp", "fp", "n_reference", "sensitivity", "precision", "f1", "fa_per_24h")
        out.append({"threshold": points[0]["threshold"], **{name: scores[name] for name in shown}})
    return out


def event_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return the event scores in lines of text, with the scorer and the two baselines beside
    them.
    """
    events = metrics.get("events")
    if events is None:
        return []
    rows = {"events": events["macro"]}
    rows |= {f"  {name}": one["macro"] for name, one in events["baselines"].items()}
    lines = []
    for name, macro in rows.items():
        cells = []
        for score, label in _SHOWN:
            one = macro["events"][score]
            value = f"– ({one['reason']})" if one["value"] is None else text_of(score, one["value"])
            cells.append(f"{label} {value} ({one['n_subjects']} subjects)")
        lines.append(f"{name}: {', '.join(cells)}")
    found = events["pooled"]["events"]
    latency = found["median_latency_s"]
    lines[0] += f"; {found['tp']} of {found['n_reference']} seizures"
    lines[0] += "" if latency is None else f", median latency {seconds_text(latency)} s"
    lines.append(f"  macro over subjects, by {scorer_text(events['scorer'])}")
    return lines + _chosen_lines(events["operating_points"])


def _chosen_lines(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say on how much the operating points of the folds were chosen."""
    chosen = [found for point in points if (found := chosen_on_of(point)) is not None]
    if not chosen:
        return ["  operating points: chosen on no recording"]
    one = [chosen_on_text(found) for found in chosen]
    if len(set(one)) > 1:
        least, most = (
            chosen_on_text(
                {
                    name: pick([found[name] for found in chosen], key=lambda v: -1 if v is None else v)
                    for name in chosen[0]
                }
            )
            for pick in (min, max)
        )
        one = [f"from {least} to {most}"]
    where = f"{len(chosen)} of {len(points)} folds" if len(chosen) < len(points) else "each fold"
    return [f"  operating point of {where} chosen on validation: {one[0]}"]


def event_notes(metrics: Mapping[str, Any]) -> list[str]:
    """Return what a reader of event scores must know."""
    events = metrics.get("events")
    if events is None:
        return []
    notes = []
    if events["coverage"] < COVERED:
        notes.append(
            f"events: windows cover {percent_text(events['coverage'])} of the recordings' time; the rest counts as time without "
            "alarm, so event scores are not those of a detector that sees all"
        )
    lost = events["without_windows"]
    if lost:
        more = ", ..." if len(lost) > 3 else ""
        notes.append(
            f"events: {len(lost)} recording(s) of test subjects have no windows and are not scored: {', '.join(lost[:3])}{more}"
        )
    folds: dict[str, list[int]] = {}
    for point in events["operating_points"]:
        if point["reason"]:
            folds.setdefault(point["reason"], []).append(point["fold"])
    if folds:
        told = [f"{_which(numbers, len(events['operating_points']))}: {reason}" for reason, numbers in folds.items()]
        more = f" (and {len(told) - 3} more reasons in other folds)" if len(told) > 3 else ""
        notes.append(f"events, operating point: {'; '.join(told[:3])}{more}")
    return notes


def _which(numbers: Sequence[int], n_folds: int) -> str:
    """Name some folds of a run."""
    if len(numbers) == n_folds > 1:
        return "each fold"
    listed = ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
    return f"fold{'' if len(numbers) == 1 else 's'} {listed}"


def write_events(run: Path, facts: Sequence[FoldFacts]) -> None:
    """Write ``events/<recording>.tsv`` of all test recordings of a run.

    Where a recording is tested in several folds, each fold has its folder, ``events/fold-NN/``.
    """
    tested = [(fact["fold"], events["recordings"]) for fact in facts if (events := fact.get("events")) is not None]
    names = [name for _, recordings in tested for name in recordings]
    repeated = len(set(names)) < len(names)
    for fold, recordings in tested:
        folder = run / EVENTS_FOLDER / f"fold-{fold:02d}" if repeated else run / EVENTS_FOLDER
        for name, one in recordings.items():
            write_event_file(folder / f"{safe_name(name)}.tsv", one["events"], one["duration_s"])
