"""The record of a detection: what was found in one recording, by what, and from which windows.

Later pages, reviews and new operating points are made from records, without detecting again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from biot_bd.anonymous import NOT_TOLD
from biot_bd.deploy.decided_curve import curve_of
from biot_bd.deploy.detector import Detection, DetectionFacts
from biot_bd.deploy.saved_weights import saved_weights
from biot_bd.deploy.training_overlap import digest_of
from biot_bd.deploy.version_folder import is_version, read_version
from biot_bd.events.types import Event
from biot_bd.exceptions import DetectionError
from biot_bd.io.recordings import OpenRecording, open_recording
from biot_bd.json_values import check_values, naming
from biot_bd.runs import read_json, write_json

FORMAT, VERSION = "biot_bd detection", 1
ENDING = "_detection.json"
SLACK_S = 0.5  # a window may end this much after the recording, as for events


class RecordingFacts(TypedDict):
    """Where a recording lay (``relative`` to the record's folder, None on another drive), and what
    tells it by its content.
    """

    path: str
    relative: str | None
    digest: str | None


class ModelFacts(TypedDict):
    """Which model: its folder, and the checksum of its weights, None where it names none."""

    name: str
    path: str
    weights: str | None


class SegmentFacts(TypedDict):
    """A stretch without a pause."""

    start_s: float
    length_s: float
    n_samples: int


class WindowFacts(TypedDict):
    """Every window: when it starts and its probability, null where no channel was usable."""

    window_s: float
    stride_s: float
    start_s: list[float]
    probabilities: list[float | None]
    segments: list[SegmentFacts]


class RecordFacts(TypedDict):
    """A record as its file holds it."""

    format: str
    version: int
    biot_bd: str
    written: str
    patient: str
    subject: str | None
    recording: RecordingFacts
    model: ModelFacts
    detection: DetectionFacts
    windows: WindowFacts


@dataclass(frozen=True)
class DetectionRecord:
    """A detection as it was recorded.

    Parameters
    ----------
    path : Path
        The record's file.
    detection : Detection
        All that the detector said, its windows included; ``curve_of(record.detection)`` is the
        curve on which it was decided.
    recording : RecordingFacts
        Where the recording lay and what tells it.
    model : ModelFacts
        What looked at it.
    patient : str
        Whose page it is on.
    subject : str or None
        The subject's full name, as a data set has it.
    written : str
        When, in ISO 8601.

    See Also
    --------
    read_detection : Reads one.
    write_detection_record : Writes one.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.deploy import Detection
    >>> record = DetectionRecord(
    ...     path=Path("out/night_detection.json"),
    ...     detection=Detection("night.edf", [], [], [], 10.0, 5.0, 60.0, 256.0, {}, [], {}),
    ...     recording={"path": "/eeg/night.edf", "relative": "../night.edf", "digest": None},
    ...     model={"name": "mine", "path": "/models/mine", "weights": None},
    ...     patient="night",
    ...     subject=None,
    ...     written="2026-01-01T00:00:00+00:00",
    ... )
    >>> record.stem
    'night'
    """

    path: Path
    detection: Detection
    recording: RecordingFacts
    model: ModelFacts
    patient: str
    subject: str | None
    written: str

    @property
    def stem(self) -> str:
        """Name of the recording's results, without an ending."""
        return self.path.name.removesuffix(ENDING)

    @property
    def source(self) -> Path:
        """Where the recording lies now, by its relative path, else by its absolute one.

        The absolute path where it lies at neither.
        """
        relative = self.recording["relative"]
        places = [] if relative is None else [(self.path.parent / relative).resolve()]
        places.append(Path(self.recording["path"]))
        return next((place for place in places if place.exists()), places[-1])

    @property
    def is_anonymous(self) -> bool:
        """Whether it was written without names, places and dates."""
        return self.recording["path"] == NOT_TOLD

    def open_recording(self) -> OpenRecording:
        """Open the recording, and look whether it is the one that was recorded.

        Returns
        -------
        OpenRecording

        Raises
        ------
        DetectionError
            It is not there, cannot be read, or has other samples.
        """
        source = self.source
        if self.is_anonymous:
            raise DetectionError(f"{self.path}: does not say where its recording lies (--anonymous)")
        if not source.exists():
            raise DetectionError(f"{source}: the recording is gone; put it back, or run biot-bd detect where it lies")
        opened = open_recording(source)
        digest, fault = digest_of(opened)
        if fault is None and digest != self.recording["digest"]:
            raise DetectionError(
                f"{source}: not the recording of {self.path} (other channels or samples); run biot-bd detect again"
            )
        return opened


def write_detection_record(
    path: str | os.PathLike[str],
    detection: Detection,
    model: str | os.PathLike[str],
    *,
    patient: str,
    subject: str | None = None,
    anonymous: bool = False,
) -> Path:
    """Write the record of a detection, atomically.

    Parameters
    ----------
    path : path
        The file, ``..._detection.json``.
    detection : Detection
        Of a file.
    model : path
        Folder of the model.
    patient : str
        Whose recording it is.
    subject : str, optional
        The full name of its subject.
    anonymous : bool
        Leave out where recording and model lie, and when it was written; the names in what is given
        are numbers already.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OSError
        It cannot be written.

    See Also
    --------
    read_detection : Reads it.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import Event, EventDetector
    >>> from biot_bd.deploy import Detection, read_detection, write_detection_record
    >>> found = Detection(
    ...     source="night.edf",
    ...     events=[Event(10.0, 20.0, 0.9)],
    ...     start_s=np.array([0.0, 10.0, 20.0]),
    ...     probabilities=np.array([0.1, 0.9, np.nan]),
    ...     window_s=10.0,
    ...     stride_s=10.0,
    ...     duration_s=30.0,
    ...     sfreq=256.0,
    ...     channels={"Fp1-F7": "FP1-F7"},
    ...     notes=[],
    ...     setting={
    ...         "montage": "biot-16",
    ...         "sfreq": 200.0,
    ...         "window_s": 10.0,
    ...         "stride_s": 10.0,
    ...         "on_missing": "raise",
    ...         "causal": False,
    ...         "precision": "fp32",
    ...         "smoothing": "mean",
    ...         "events": EventDetector(smoothing_s=0).setting(),
    ...     },
    ...     segments=[(0.0, 30.0)],
    ... )
    >>> path = write_detection_record(
    ...     "results/night_detection.json", found, "models/mine", patient="night"
    ... )
    >>> read_detection(path).detection.probabilities
    array([0.1, 0.9, nan])
    """
    path = Path(path)
    source = Path(detection.source).absolute()
    counts = detection.segment_samples or [round(length * detection.sfreq) for _, length in detection.segments]
    facts: RecordFacts = {
        "format": FORMAT,
        "version": VERSION,
        "biot_bd": version("biot-bd"),
        "written": NOT_TOLD if anonymous else datetime.now(UTC).isoformat(timespec="seconds"),
        "patient": patient,
        "subject": subject,
        "recording": {
            "path": NOT_TOLD if anonymous else str(source),
            "relative": None if anonymous else _relative(source, path),
            "digest": detection.digest,
        },
        "model": {**model_facts(model), "path": NOT_TOLD} if anonymous else model_facts(model),
        "detection": detection.as_dict(),
        "windows": {
            "window_s": detection.window_s,
            "stride_s": detection.stride_s,
            # All digits: a threshold is a value of some curve, which a rounded one may miss.
            "start_s": detection.start_s.tolist(),
            "probabilities": [None if np.isnan(p) else p for p in detection.probabilities.tolist()],
            "segments": [
                {"start_s": float(start), "length_s": float(length), "n_samples": n}
                for (start, length), n in zip(detection.segments, counts, strict=True)
            ],
        },
    }
    return write_json(path, facts)


def model_facts(model: str | os.PathLike[str]) -> ModelFacts:
    """Return what tells a model's folder, and the checksum of weights that its description names.

    A version of the model registry is called ``NAME/VERSION``.

    Parameters
    ----------
    model : path
        The folder.

    Returns
    -------
    ModelFacts
    """
    folder = Path(model).absolute()
    name = read_version(folder).label if is_version(folder) else folder.name
    return {"name": name, "path": str(folder), "weights": saved_weights(folder)}


def _relative(source: Path, record: Path) -> str | None:
    try:
        return Path(os.path.relpath(source.resolve(), record.absolute().parent.resolve())).as_posix()
    except ValueError:  # another drive
        return None


def read_detection(path: str | os.PathLike[str]) -> DetectionRecord:
    """Read the record of a detection and check it.

    Parameters
    ----------
    path : path
        A file ``..._detection.json`` beside an event file that ``biot-bd detect`` wrote.

    Returns
    -------
    DetectionRecord

    Raises
    ------
    ValueError
        It is no such record, of another version, or damaged: values that are missing, of another
        kind, or contradict each other.
    OSError
        It cannot be read.

    See Also
    --------
    write_detection_record : Writes it.
    curve_of : The curve on which its detection was decided.

    Examples
    --------
    >>> from biot_bd.deploy import read_detection
    >>> from biot_bd.runs import write_json
    >>> read_detection(write_json("results/x_detection.json", {"format": "biot_bd detection"}))
    Traceback (most recent call last):
    ...
    ValueError: results/x_detection.json: version None, this biot_bd reads version 1: ...
    """
    path = Path(path)
    data = read_json(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"{path}: not the record of a detection; run biot-bd detect, which writes one")
    if data.get("version") != VERSION:
        raise ValueError(
            f"{path}: version {data.get('version')!r}, this biot_bd reads version {VERSION}: update it, or detect again"
        )
    with naming(path):
        try:
            check_values(data, RecordFacts)
            detection = _detection_of(data["detection"], data["windows"])
        except ValueError as error:
            raise ValueError(f"{path}: damaged ({error}); run biot-bd detect again") from error
        return DetectionRecord(
            path,
            detection,
            recording=data["recording"],
            model=data["model"],
            patient=data["patient"],
            subject=data["subject"],
            written=data["written"],
        )


def _detection_of(facts: dict[str, Any], windows: WindowFacts) -> Detection:
    """Make a detection of a record's parts."""
    started = facts["start_time"]
    detection = Detection(
        source=facts["source"],
        events=[Event(e["onset_s"], e["offset_s"], e["confidence"]) for e in facts["events"]],
        start_s=np.array(windows["start_s"], np.float64),
        probabilities=np.array([np.nan if p is None else p for p in windows["probabilities"]], np.float64),
        window_s=float(windows["window_s"]),
        stride_s=float(windows["stride_s"]),
        duration_s=float(facts["duration_s"]),
        sfreq=float(facts["sfreq"]),
        channels=facts["channels"],
        notes=facts["notes"],
        setting={"engine": "torch", **facts["setting"]},  # type: ignore[typeddict-item]  # checked by its declared form
        start_time=None if started is None else datetime.fromisoformat(started),
        seconds=facts["seconds"],
        segments=[(s["start_s"], s["length_s"]) for s in windows["segments"]],
        in_training=facts["in_training"],
        segment_samples=[s["n_samples"] for s in windows["segments"]],
        operating_point=facts["operating_point"],
        digest=facts["digest"],
    )
    _check(detection, facts["n_windows"])
    return detection


def _check(detection: Detection, n_windows: int) -> None:
    """Raise where the values of a record contradict each other."""
    lengths = {"start_s": len(detection.start_s), "probabilities": len(detection.probabilities)}
    for name, n in lengths.items():
        if n != n_windows:
            raise ValueError(f"windows.{name}: expected {n_windows} values, one a window, found {n}")
    for name in ("window_s", "stride_s", "duration_s", "sfreq"):
        if not getattr(detection, name) > 0:
            raise ValueError(f"{name}: expected a positive number, found {getattr(detection, name)!r}")
    known = detection.probabilities[~np.isnan(detection.probabilities)]
    if known.size and (known.min() < 0 or known.max() > 1):
        raise ValueError("windows.probabilities: expected numbers from 0 to 1")
    starts = detection.start_s
    last_s = detection.duration_s + SLACK_S - detection.window_s
    if starts.size and (starts.min() < -1e-6 or starts.max() > last_s or (np.diff(starts) <= 0).any()):
        raise ValueError("windows.start_s: expected ascending times within the recording")
    end_s = 0.0
    for begin_s, length_s in detection.segments:
        if length_s <= 0 or begin_s < end_s - 1e-6 or begin_s + length_s > detection.duration_s + SLACK_S:
            raise ValueError("windows.segments: expected stretches of the recording, one behind another")
        end_s = begin_s + length_s
    if not detection.segments or min(detection.segment_samples) < 1:
        raise ValueError("windows.segments: expected one or more, each with its number of samples")
    for number, event in enumerate(detection.events, 1):
        if not 0 <= event.onset_s < event.offset_s <= detection.duration_s + SLACK_S:
            raise ValueError(f"events: number {number} does not lie within the recording")
    curve_of(detection)  # its setting makes an event detector, which takes the windows
