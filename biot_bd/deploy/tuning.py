"""A new operating point for a saved model, chosen on what a reviewer read, without training."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, cast

from scipy.stats import binomtest
from sklearn.base import clone

from biot_bd.anonymous import NOT_TOLD
from biot_bd.deploy.detection_record import model_facts
from biot_bd.deploy.detector import Detector
from biot_bd.deploy.engine_candidates import EXPORTS
from biot_bd.deploy.reviewed_scores import ReviewedScores
from biot_bd.deploy.tuned_on import TUNING_JSON
from biot_bd.events.chosen_on import ChosenOn
from biot_bd.events.detector import EVENTS_JSON, EventDetector, load_event_detector, save_event_detector
from biot_bd.events.subject_scores import ScoredRecording, score_subjects
from biot_bd.events.types import RecordingScores
from biot_bd.exceptions import ContaminationError, ReviewError
from biot_bd.export.artifact import PROBE
from biot_bd.models.checkpoints.demonstration import demonstration_note
from biot_bd.models.checkpoints.pipeline_folder import ARTIFACT, description_file, is_exported
from biot_bd.models.checkpoints.provenance import some
from biot_bd.models.checkpoints.seen_recordings import SeenRecordings
from biot_bd.number_texts import count_text
from biot_bd.runs import atomic_path, read_json, write_json

FORMAT, VERSION = "biot_bd tuning", 1
LEVEL = 0.95
FEW_SEIZURES, FEW_SUBJECTS = 20, 5
_OF_THE_OLD_POINT = ("metrics.json", EXPORTS)  # exported models have their own events.json, under a checksum
_OF_THE_REGISTRY = (ARTIFACT, PROBE, "README.md")  # what a registered version says of itself is not true of another


class Point(TypedDict):
    """An operating point and what it does on the reviewed recordings."""

    setting: dict[str, float]
    n_reference: int
    tp: int
    fp: int
    sensitivity: float | None
    sensitivity_interval: list[float] | None
    precision: float | None
    f1: float | None
    fa_per_24h: float


class TuningFacts(TypedDict):
    """``tuning.json``: on what an operating point was chosen, and what it replaced."""

    format: str
    version: int
    software: str
    date: str
    reviewer: str
    model: dict[str, str | None]
    target: str
    target_value: float | None
    chosen_on: ChosenOn
    reason: str | None
    before: Point
    after: Point
    n_recordings: int
    n_partly_read: int
    contamination: str | None
    notes: list[str]
    recordings: dict[str, Any]


@dataclass(frozen=True)
class Tuning:
    """A new operating point, the former one, and on what they were compared.

    Parameters
    ----------
    offline, causal : EventDetector
        The new ones, for whole recordings and for live use.
    facts : TuningFacts
        What ``tuning.json`` holds.

    See Also
    --------
    tune : Makes one.
    save_tuned : Writes a model folder with it.
    """

    offline: EventDetector
    causal: EventDetector
    facts: TuningFacts = field(repr=False)


def tune(
    model: str | os.PathLike[str],
    reviewed: Sequence[ReviewedScores],
    *,
    reviewer: str,
    target: EventDetector | None = None,
    allow_contaminated: bool = False,
    dated: bool = True,
) -> Tuning:
    """Choose an operating point on reviewed recordings, as training does on validation subjects.

    Parameters
    ----------
    model : path
        Folder of a saved model.
    reviewed : sequence of ReviewedScores
        The recordings.
    reviewer : str
        Who read them.
    target : EventDetector, optional
        Whose ``target`` is looked for; what the model was trained with by default.
    allow_contaminated : bool, default=False
        Go on where recordings, or their subjects, trained the model; the facts then say so.
    dated : bool, default=True
        Whether the new model says when the point was chosen.

    Returns
    -------
    Tuning

    Raises
    ------
    FileNotFoundError
        There is no saved model.
    biot_bd.exceptions.ContaminationError
        A recording, or its subject, trained the model.
    biot_bd.exceptions.ReviewError
        The recordings do not let the target choose: no seizure in them, or none is ever found.

    See Also
    --------
    biot_bd.deploy.reviewed_scores.scores_of_reviews : The recordings.
    biot_bd.EventDetector.fit : What chooses.
    """
    folder = Path(model)
    if is_exported(folder):
        raise ReviewError(
            f"{model}: an exported model; tune the saved model that it was made of, and export that one (`biot-bd export`)"
        )
    described = description_file(folder)
    if described is None:
        raise FileNotFoundError(f"{model}: no saved model (pipeline.json) here; expected a folder of `biot-bd train`")
    contamination, notes = _training_overlap(reviewed, allow_contaminated)
    told = demonstration_note(read_json(described).get("record"))
    notes += [] if told is None else [told]
    recordings = [one.scores for one in reviewed]
    before = _event_detector(folder)
    after = _fitted(before, recordings, target)
    if after.chosen_on_ is None:
        raise ReviewError(f"no operating point can be chosen on these reviews: {_reason(after)}")
    causal_before = _event_detector(folder, causal=True)
    causal = _fitted(causal_before, recordings, target)
    if causal.chosen_on_ is None:
        causal = causal_before
        notes.append("the operating point for live use stays as it was: on these recordings none could be chosen")
    date = datetime.now(UTC).date().isoformat() if dated else NOT_TOLD
    what = f"recordings reviewed by {reviewer}{f', {date}' if dated else ''}"
    for one in [after] if causal is causal_before else [after, causal]:
        one.chosen_on_ = {**cast("ChosenOn", one.chosen_on_), "what": what}
        one.reason_ = None if one.reason_ is None else _reason(one)
    chosen: ChosenOn = after.chosen_on_
    point = point_of(after, recordings)
    notes += _few(chosen, point)
    n_partly = sum(not one.read_whole for one in reviewed)
    if n_partly:
        notes.append(f"{count_text(n_partly, 'recording')} not read whole: missed seizures there count as false alarms")
    facts: TuningFacts = {
        "format": FORMAT,
        "version": VERSION,
        "software": _software(),
        "date": date,
        "reviewer": reviewer,
        # Not its path: the folder may be given to others.
        "model": {name: value for name, value in model_facts(folder).items() if name != "path"},  # type: ignore[misc]
        "target": str(after.target),
        "target_value": after.target_fa_per_24h if after.target == "fa_per_24h" else after.target_sensitivity,
        "chosen_on": chosen,
        "reason": after.reason_,
        "before": point_of(before, recordings),
        "after": point,
        "n_recordings": len(recordings),
        "n_partly_read": n_partly,
        "contamination": contamination,
        "notes": notes,
        # Salted: whoever has a recording can ask, nobody else learns anything.
        "recordings": SeenRecordings.of(
            [(one.scores.subject, one.digest) for one in reviewed if one.digest is not None]
        ).to_dict(),
    }
    return Tuning(after, causal, facts)


def point_of(detector: EventDetector, recordings: Sequence[RecordingScores]) -> Point:
    """Return what a detector's setting does on recordings, their counts summed.

    Parameters
    ----------
    detector : EventDetector
        The detector.
    recordings : sequence of RecordingScores
        The recordings.

    Returns
    -------
    Point
        ``sensitivity_interval`` is exact (Clopper and Pearson) at 95 %, as if seizures were
        independent; None without a seizure.
    """
    scored = [
        ScoredRecording(
            r.recording,
            r.subject,
            r.reference,
            detector.predict(r.probabilities, r.start_s, r.duration_s),
            r.duration_s,
        )
        for r in recordings
    ]
    found = score_subjects(scored)["pooled"]["events"]
    interval = None
    if found["n_reference"]:
        exact = binomtest(found["tp"], found["n_reference"]).proportion_ci(LEVEL, method="exact")
        interval = [float(exact.low), float(exact.high)]
    return {
        "setting": detector.setting(),
        **{name: found[name] for name in ("n_reference", "tp", "fp", "sensitivity", "precision", "f1", "fa_per_24h")},  # type: ignore[typeddict-item]
        "sensitivity_interval": interval,
    }


def save_tuned(tuning: Tuning, model: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Write a copy of a model with another operating point.

    Parameters
    ----------
    tuning : Tuning
        The operating point.
    model : path
        The model that it was chosen for.
    folder : path
        Folder of the new model; new or empty.

    Returns
    -------
    Path
        The folder: the model's files but those of the old point, ``metrics.json`` and ``exports/``
        (export it again), and what a registered version says of itself; with another
        ``events.json``, and ``tuning.json``.

    Raises
    ------
    FileExistsError
        The folder holds something.
    ValueError
        The folder lies in the model's own.
    OSError
        It cannot be written; nothing is left of it.

    See Also
    --------
    tune : Chooses the point.
    """
    source, folder = Path(model), Path(folder)
    check_new_folder(source, folder)
    with atomic_path(folder) as temporary:
        shutil.copytree(
            source, temporary, ignore=shutil.ignore_patterns(".*", *_OF_THE_OLD_POINT, *_OF_THE_REGISTRY, TUNING_JSON)
        )
        save_event_detector(tuning.offline, temporary, tuning.causal)
        write_json(temporary / TUNING_JSON, tuning.facts)
    return folder


def check_new_folder(model: Path, folder: Path) -> None:
    """Raise where a folder cannot become a model's, as :func:`save_tuned` does."""
    if folder.resolve().is_relative_to(model.resolve()):
        raise ValueError(f"{folder}: lies in the folder of the model itself; name another folder for the new model")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder}: is there already and not empty; name a new folder for the new model")


def _event_detector(model: Path, causal: bool = False) -> EventDetector:
    """Return what a model makes events with: where it has no events.json, by default values."""
    if (model / EVENTS_JSON).is_file():
        return load_event_detector(model, causal=causal)
    return Detector.load(model, causal=causal).event_detector


def _fitted(
    before: EventDetector, recordings: Sequence[RecordingScores], target: EventDetector | None
) -> EventDetector:
    """Fit a copy, from the values that are in use and not those that training began with."""
    wanted = before if target is None else target
    names = ("target", "target_fa_per_24h", "target_sensitivity")
    asked = {name: getattr(wanted, name) for name in names}
    if asked["target"] is None:
        asked |= {"target": "f1"}
    return clone(before).set_params(**before.setting(), **asked).fit(recordings)


def _reason(detector: EventDetector) -> str:
    """Return why nothing was chosen, in words of reviews."""
    told = detector.reason_ or "no recordings"
    return told.replace("validation recordings", "reviewed recordings").removesuffix("; parameters kept")


def _training_overlap(reviewed: Sequence[ReviewedScores], allow: bool) -> tuple[str | None, list[str]]:
    """Refuse recordings that trained the model; return what to say of those that were allowed, and
    notes.
    """
    own = [one.scores.recording for one in reviewed if one.in_training["recording"]]
    subjects = sorted({str(name) for one in reviewed if (name := one.in_training["subject"]) is not None})
    notes = []
    if any(one.in_training["recording"] is None and one.in_training["subject"] is None for one in reviewed):
        notes.append(
            "nobody can tell of all recordings whether they trained the model; if they did, this is optimistic"
        )
    if not own and not subjects:
        return None, notes
    what = f"{count_text(len(own), 'reviewed recording')} trained the model ({some(own, 3)})" if own else ""
    if not own:
        what = f"subjects of the reviewed recordings trained the model ({some(subjects, 3)})"
    text = f"{what}, so an operating point chosen on them is optimistic"
    if not allow:
        raise ContaminationError(
            f"{text}; review recordings of other subjects, or go on with --allow-contaminated, which the new model then says"
        )
    return f"contaminated: {text}", notes


def _few(chosen_on: ChosenOn, point: Point) -> list[str]:
    n_seizures, n_subjects = chosen_on["n_seizures"] or 0, chosen_on["n_subjects"]
    notes = ["both points are scored on the recordings that the new one was chosen on: expect less on others"]
    if n_seizures < FEW_SEIZURES or n_subjects < FEW_SUBJECTS:
        few = f"{count_text(n_seizures, 'seizure')} of {count_text(n_subjects, 'subject')} are few"
        low_high = point["sensitivity_interval"]
        said = "" if low_high is None else f": its sensitivity may truly be {low_high[0]:.2f} to {low_high[1]:.2f}"
        notes.append(few + said)
    if point["n_reference"] != n_seizures:
        notes.append(
            f"the scorer merges events closer than 90 s and splits long ones: {n_seizures} annotated seizures count as "
            f"{point['n_reference']}"
        )
    return notes


def _software() -> str:
    from biot_bd import __version__

    return f"biot_bd {__version__}"
