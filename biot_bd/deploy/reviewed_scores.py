"""What a model says of reviewed recordings: from the records of detections, or computed anew."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biot_bd.deploy.detection_record import ENDING, DetectionRecord, model_facts, read_detection
from biot_bd.deploy.detector import STRIDE_S, Detection, Detector
from biot_bd.deploy.recording_files import find_items, patient_of
from biot_bd.deploy.review.marks import Review
from biot_bd.deploy.review.review_files import REVIEWS, check_reviewer, find_reviews
from biot_bd.deploy.training_overlap import InTraining, training_overlap
from biot_bd.events.types import RecordingScores
from biot_bd.exceptions import DetectionError, ReviewError
from biot_bd.models.checkpoints.config import provenance_of


@dataclass(frozen=True)
class ReviewedScores:
    """One reviewed recording: the model's probabilities, and what the reviewer says is true.

    Parameters
    ----------
    scores : RecordingScores
        Probabilities of the windows; the reference is the reviewer's.
    digest : str or None
        What tells the recording.
    read_whole : bool
        Whether the reviewer read it from beginning to end.
    in_training : InTraining
        Whether it, or its subject, trained the model.
    computed : bool
        Whether the model was run for it, as no record of a detection fits.

    See Also
    --------
    scores_of_reviews : Makes them.
    biot_bd.deploy.tuning.tune : Takes them.
    """

    scores: RecordingScores
    digest: str | None
    read_whole: bool
    in_training: InTraining
    computed: bool = False


def reviews_of(
    reviewed: str | os.PathLike[str], reviewer: str | None = None, partly_read: bool = False
) -> tuple[Path, list[Review], list[Review]]:
    """Find the reviews of one reviewer.

    Parameters
    ----------
    reviewed : path
        Folder that ``biot-bd detect`` wrote, its ``reviews``, or a reviewer's folder in there.
    reviewer : str, optional
        Whose; needed where several reviewed.
    partly_read : bool, default=False
        Take reviews of recordings that were not read whole, too.

    Returns
    -------
    results : Path
        Folder of the results.
    reviews, left_out : list of Review
        Those to take, and those that are not as they were not read whole.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    biot_bd.exceptions.ReviewError
        Nobody reviewed, it is not clear whose reviews are meant, or none was read whole.
    """
    results, named = _results_of(Path(reviewed))
    if None not in (reviewer, named) and reviewer != named:
        raise ReviewError(f"{reviewed}: is the folder of {named}, not of {reviewer}; name one of the two")
    found, reviewer = find_reviews(results), reviewer or named
    if not found:
        raise ReviewError(f"{results}: holds no reviews; make them with `biot-bd review {results} --reviewer NAME`")
    if reviewer is None and len(found) > 1:
        raise ReviewError(
            f"{results}: was reviewed by {', '.join(found)}; say whose reviews count with --reviewer NAME"
        )
    reviewer = next(iter(found)) if reviewer is None else check_reviewer(reviewer)
    if reviewer not in found:
        raise ReviewError(f"{results}: no reviews by {reviewer}; there are those of {', '.join(found)}")
    taken = [one for one in found[reviewer] if one.read_whole or partly_read]
    if not taken:
        raise ReviewError(
            f"{results}: none of {len(found[reviewer])} recordings was read whole by {reviewer}, so nobody knows which "
            "seizures were missed; mark them as read whole in biot-bd review, or take them with --partly-read"
        )
    return results, taken, [one for one in found[reviewer] if one not in taken]


def _results_of(reviewed: Path) -> tuple[Path, str | None]:
    """Return the folder of results, and the reviewer that a path names."""
    path = reviewed.absolute()
    if not path.is_dir():
        raise FileNotFoundError(f"{reviewed}: no such folder; expected the results of `biot-bd detect`, with reviews")
    if path.parent.name == REVIEWS:
        return path.parent.parent, path.name
    return (path.parent if path.name == REVIEWS else path), None


def scores_of_reviews(
    results: Path,
    reviews: Sequence[Review],
    model: str | os.PathLike[str],
    *,
    stride_s: float | None = None,
    recordings: str | os.PathLike[str] | None = None,
) -> Iterator[ReviewedScores]:
    """Yield what a model says of reviewed recordings.

    Where the record of a detection is of this model's weights, decided on whole recordings at this
    stride and in single precision, its probabilities are taken; else the model is run.

    Parameters
    ----------
    results : Path
        Folder that ``biot-bd detect`` wrote.
    reviews : sequence of Review
        Of recordings in it.
    model : path
        Folder of a saved model.
    stride_s : float, optional
        From one window's start to the next; that of most records by default.
    recordings : path, optional
        Where recordings are looked for that were moved since.

    Yields
    ------
    ReviewedScores
        In the order of the reviews.

    Raises
    ------
    biot_bd.exceptions.ReviewError
        A review is of another recording than the record, or the recording is gone.
    biot_bd.exceptions.DetectionError
        A recording cannot be read.
    ValueError
        A record or the model is damaged.
    """
    records = {one.recording: _record(results, one) for one in reviews}
    if stride_s is None:
        strides = Counter(one.detection.stride_s for one in records.values() if one is not None)
        stride_s = strides.most_common(1)[0][0] if strides else STRIDE_S
    provenance, weights = provenance_of(Path(model).absolute()), model_facts(model)["weights"]
    moved = None if recordings is None else {str(item.stem): item.path for item in find_items([recordings])}
    for review in reviews:
        record = records[review.recording]
        patient = patient_of(Path(review.recording)) if record is None else record.patient
        subject = None if record is None else record.subject
        computed = record is None or not _fits(record, weights, stride_s)
        if record is None or computed:
            detection = _detected(review, record, model, stride_s, subject, moved)
        else:
            detection = record.detection
        yield ReviewedScores(
            _scores(review, detection, subject or patient),
            review.digest,
            review.read_whole,
            training_overlap(provenance, review.digest, None, subject)[0],
            computed,
        )


def _record(results: Path, review: Review) -> DetectionRecord | None:
    stem = results / review.recording
    path = stem.with_name(stem.name + ENDING)
    if not path.is_file():
        return None
    record = read_detection(path)
    digest = record.recording["digest"]
    if None not in (digest, review.digest) and digest != review.digest:
        raise ReviewError(
            f"{path}: is of another recording than the review by {review.reviewer} (channels or samples differ); "
            "review it again"
        )
    return record


def _fits(record: DetectionRecord, weights: str | None, stride_s: float) -> bool:
    setting = record.detection.setting
    return (
        weights is not None
        and record.model["weights"] == weights
        and not setting["causal"]
        and setting["precision"] == "fp32"
        and abs(record.detection.stride_s - stride_s) < 1e-9
    )


def _detected(
    review: Review,
    record: DetectionRecord | None,
    model: str | os.PathLike[str],
    stride_s: float,
    subject: str | None,
    moved: Mapping[str, Path] | None,
) -> Detection:
    """Run the model over a recording."""
    places = [Path(review.source)] if record is None else [record.source, Path(review.source)]
    places = [place for place in places if place.exists()]
    if moved is not None and review.recording in moved:
        places.append(moved[review.recording])
    if not places:
        raise ReviewError(
            f"{review.recording}: no record of this model's detection fits, and the recording is not at "
            f"{review.source or 'any place that is known'}; name the folder of recordings with --recordings"
        )
    on_missing = "raise" if record is None else record.detection.setting["on_missing"]
    found = Detector.load(model, stride_s=stride_s, on_missing=on_missing).detect(places[0], subject=subject)
    if None not in (found.digest, review.digest) and found.digest != review.digest:
        raise DetectionError(f"{places[0]}: is not the recording that {review.reviewer} reviewed (channels or samples)")
    return found


def _scores(review: Review, detection: Detection, subject: str) -> RecordingScores:
    known = ~np.isnan(detection.probabilities)
    events = [(event.onset_s, min(event.offset_s, detection.duration_s)) for event in review.events]
    return RecordingScores(
        review.recording,
        subject,
        detection.probabilities[known],
        detection.start_s[known],
        detection.duration_s,
        events,
    )
