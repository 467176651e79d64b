"""Detections of many recordings and what is written of them.

Every file atomically, and none that fails stops the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from biot_bd.deploy.detection_record import ENDING as RECORD
from biot_bd.deploy.detection_record import write_detection_record
from biot_bd.deploy.detector import Detection, DetectionFacts, Detector
from biot_bd.deploy.recording_files import Item
from biot_bd.exceptions import DetectionError
from biot_bd.io.walk import label_tables
from biot_bd.models.checkpoints.demonstration import IN_SHORT, demonstration_among
from biot_bd.runs import make_folder, write_json, write_text
from biot_bd.signals.montages import Montage

FORMATS = {"tsv": ".tsv", "csv_bi": ".csv_bi", "edf": ".edf", "mne": ".fif", "json": ".json"}
"""Formats of event files, and how their names end."""
PROBABILITIES = "_probabilities.tsv"
# A temporary file as old as this was left by a process that was killed.
LEFTOVER_S = 3600


@dataclass(frozen=True)
class Outputs:
    """What is wanted beside each other.

    Parameters
    ----------
    folder : Path
        Where everything goes.
    formats : tuple of str
        Event files, of :data:`FORMATS`.
    probabilities, plot, html, viewer : bool
        A table of window probabilities; a picture of each event; a page a patient; viewers of the
        whole recording.
    """

    folder: Path
    formats: tuple[str, ...] = ("tsv",)
    probabilities: bool = False
    plot: bool = False
    html: bool = False
    viewer: bool = False

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise ValueError(f"no format {name!r} for events; there are {', '.join(FORMATS)}")
        if not self.formats:
            raise ValueError(f"name at least one format of {', '.join(FORMATS)}")


def event_paths(item: Item, outputs: Outputs) -> dict[str, Path]:
    """Return the path of each event file, by its format."""
    if item.target is not None:
        return {outputs.formats[0]: item.target}
    endings = FORMATS | {"mne": "_annot.fif"}  # by which MNE knows annotations
    return {name: item.output(outputs.folder, f"_events{endings[name]}") for name in outputs.formats}


def record_path(item: Item, outputs: Outputs) -> Path:
    """Return where the record of a recording's detection goes; a named event file has none."""
    return item.output(outputs.folder, RECORD)


def check_apart_from_labels(recording: Path, results: Iterable[Path]) -> None:
    """Raise where a result would be taken for the labels of its recording, or replace them.

    Parameters
    ----------
    recording : Path
        The recording.
    results : iterable of Path
        What would be written of it.

    Raises
    ------
    ValueError
        The message names both.
    """
    labels = {table.resolve() for table in label_tables(recording)}
    for path in results:
        if path.resolve() in labels:
            raise ValueError(
                f"{path}: detections would lie where the labels of {recording} are looked for"
                f"{', and replace what is there' if path.exists() else ''}; name another folder for results"
            )


def is_done(item: Item, outputs: Outputs) -> bool:
    """Return whether everything that is wanted of a recording, pictures, viewers and pages apart,
    is there.
    """
    wanted = list(event_paths(item, outputs).values())
    if item.target is None:
        wanted.append(record_path(item, outputs))
    if outputs.probabilities:
        wanted.append(item.output(outputs.folder, PROBABILITIES))
    return all(path.is_file() for path in wanted)


def write_detection(
    detection: Detection, item: Item, outputs: Outputs, montage: Montage, model: str | os.PathLike[str]
) -> list[Path]:
    """Write all that is wanted of one recording; existing files are replaced.

    Parameters
    ----------
    detection : Detection
        What was found in it.
    item : Item
        The recording.
    outputs : Outputs
        What is wanted.
    montage : Montage
        In which pictures show the EEG.
    model : path
        Folder of the model, for the record that lies beside the event file.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    OSError
        A file cannot be written; none is left half written.
    """
    written = []
    if outputs.probabilities:
        written.append(_write_probabilities(item.output(outputs.folder, PROBABILITIES), detection))
    if outputs.plot:
        from biot_bd.deploy.event_figures import event_figures, write_event_pictures

        pictures = item.output(outputs.folder, "_event")
        make_folder(pictures.parent)
        written += write_event_pictures(event_figures(detection, montage, source=item.path), pictures)
    if outputs.viewer:
        # Pages need templates, events do not.
        from biot_bd.deploy.eeg_views import EegReader
        from biot_bd.deploy.viewer_files import write_viewers
        from biot_bd.io.recordings import open_recording

        reader = EegReader(open_recording(item.path), montage)
        written += write_viewers(detection, reader, item.output(outputs.folder, ""))
    if item.target is None:
        path = record_path(item, outputs)
        _remove_leftovers(path)
        unnamed = item.own is not None
        written.append(
            write_detection_record(
                path, detection, model, patient=item.patient, subject=item.subject, anonymous=unnamed
            )
        )
    # The event files last: where they are, the rest is.
    for name, path in event_paths(item, outputs).items():
        _remove_leftovers(path)
        written.append(write_events(path, detection, name))
    return written


def write_events(path: Path, detection: Detection, format: str) -> Path:
    """Write one event file; a recording without events gets a row that says so.

    Raises
    ------
    OSError
        It cannot be written.
    """
    if format == "json":
        return write_json(path, detection.as_dict())
    from biot_bd.events.files import write_event_file

    found = detection.in_training
    # Nothing where there is nothing to say: an event file is a standard's.
    facts = {}
    if found["recording"] or found["subject"] is not None:
        facts["inTraining"] = "recording" if found["recording"] else "subject"
    if demonstration_among(detection.notes) is not None:
        facts["model"] = IN_SHORT
    return write_event_file(
        path, detection.events, detection.duration_s, start=detection.start_time, format=format, facts=facts
    )


def _write_probabilities(path: Path, detection: Detection) -> Path:
    rows = ["start_s\tstop_s\tprobability"]
    for start, proba in zip(detection.start_s, detection.probabilities, strict=True):
        value = "n/a" if np.isnan(proba) else f"{proba:.6f}"
        rows.append(f"{start:.4f}\t{start + detection.window_s:.4f}\t{value}")
    return write_text(path, "\n".join(rows) + "\n")


def _remove_leftovers(path: Path) -> None:
    """Remove what a killed process left of this output.

    A living one would have renamed it long ago.
    """
    from glob import escape

    for leftover in path.parent.glob(f".{escape(path.stem)}.*.tmp{escape(path.suffix)}"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_S:
                leftover.unlink()


# --- many recordings ------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What became of one recording.

    Parameters
    ----------
    item : Item
        The recording.
    facts : dict, optional
        :meth:`Detection.as_dict`, None where it failed.
    files : list of Path
        What was written.
    error : str, optional
        One line that names the file and the reason.
    detection : Detection, optional
        What was found, where a page is made of it.
    """

    item: Item
    facts: DetectionFacts | None = None
    files: list[Path] = field(default_factory=list)
    error: str | None = None
    detection: Detection | None = None


@lru_cache(maxsize=2)
def load_cached(model: str, **options: Any) -> Detector:
    """Load a detector once a process; ``options`` are those of :meth:`Detector.load`."""
    return Detector.load(model, **options)


def detect_items(
    items: Sequence[Item],
    model: str | os.PathLike[str],
    options: Mapping[str, Any],
    outputs: Outputs,
    n_jobs: int = 1,
) -> Iterator[Outcome]:
    """Detect and write, recording by recording.

    Parameters
    ----------
    items : sequence of Item
        The recordings.
    model : path
        Folder of a saved model.
    options : mapping
        Of :meth:`Detector.load`.
    outputs : Outputs
        What to write.
    n_jobs : int
        Processes; -1 for one a processor.

    Yields
    ------
    Outcome
        In the order of ``items``; failures are outcomes, too.

    Raises
    ------
    FileNotFoundError, ValueError
        The model cannot be loaded, a result would be taken for labels of its recording, or
        ``n_jobs`` is 0.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs is how many recordings at once, 1 or more, or -1 for one a processor; got 0")
    for item in items:
        check_apart_from_labels(item.path, event_paths(item, outputs).values())
    model = os.fspath(model)
    load_cached(model, **options)  # what is wrong with the model is no recording's fault
    if n_jobs == 1 or len(items) < 2:
        yield from (_detect_item(item, model, options, outputs) for item in items)
        return
    from joblib import Parallel, delayed, effective_n_jobs

    n_jobs = min(effective_n_jobs(n_jobs), len(items))
    done = 0
    try:
        # joblib shares the processors out: each process computes with its part of them.
        for outcome in Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(_detect_item)(item, model, options, outputs) for item in items
        ):
            done += 1
            yield outcome
    except RuntimeError as error:  # a process was killed, e.g. for its memory: the pool is gone
        for item in items[done:]:
            yield Outcome(item, error=f"{item.path}: a worker process ended ({_one_line(error)}); run it again")


def _detect_item(item: Item, model: str, options: Mapping[str, Any], outputs: Outputs) -> Outcome:
    """Do one recording; whatever goes wrong is its outcome."""
    try:
        detector = load_cached(model, **options)
        subject = item.subject if item.own is None else item.own.subject
        known = {} if subject is None else {"subject": subject}
        detection, montage = detector.detect(item.path, **known), detector.scorer.montage
        if item.own is not None:
            from biot_bd.deploy.anonymous_results import without_names

            detection = without_names(detection, item, detector.provenance)
        files = _written(detection, item, outputs, montage, model)
        return Outcome(item, detection.as_dict(), files, detection=detection if outputs.html else None)
    except DetectionError as error:
        return Outcome(item, error=_one_line(error))
    except Exception as error:
        return Outcome(item, error=f"{item.path}: {type(error).__name__}: {_one_line(error)}")


def _written(detection: Detection, item: Item, outputs: Outputs, montage: Montage, model: str) -> list[Path]:
    """Write a detection; an error of the system is that of the results, not of the recording."""
    try:
        return write_detection(detection, item, outputs, montage, model)
    except OSError as error:
        raise DetectionError(f"{item.path}: its results cannot be written ({_one_line(error)})") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
