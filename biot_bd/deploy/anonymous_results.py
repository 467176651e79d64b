"""Results of detections that name nobody: numbers for names, no dates, no paths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from biot_bd.anonymous import (
    NUMBERS,
    is_anonymous,
    is_published,
    read_numbers,
    subjects_of_key,
    without_quotes,
    write_numbers,
)
from biot_bd.deploy.detection_record import ENDING
from biot_bd.deploy.detector import Detection
from biot_bd.deploy.recording_files import Item
from biot_bd.io.recordings import open_recording
from biot_bd.models.checkpoints.anonymous_facts import Replaced
from biot_bd.models.checkpoints.provenance import Provenance

A_SUBJECT = "a subject of its training"


def anonymous_items(items: Sequence[Item], folder: Path, key: Path | None = None) -> list[Item]:
    """Name recordings by numbers, those that they had in earlier results of the folder.

    Parameters
    ----------
    items : sequence of Item
        As they were given.
    folder : Path
        Of the results; gets the numbers, which no name is in.
    key : Path, optional
        A table that tells who is who, if it is there: its subjects keep their numbers.

    Returns
    -------
    list of Item
        Each keeps the own one.

    Raises
    ------
    ValueError
        The folder holds results with names, or subjects are divided otherwise than before.
    """
    numbers = read_numbers(folder)  # and refuses what is damaged
    if not (folder / NUMBERS).is_file() and (named := next(folder.glob(f"**/*{ENDING}"), None)) is not None:
        raise ValueError(
            f"{folder} holds results with names, such as {named.name}; with --anonymous choose another folder"
        )
    rows = [(item.subject or item.patient, _content(item.path)) for item in items]
    names = numbers.names_of(rows, {} if key is None else subjects_of_key(key))
    write_numbers(folder, numbers)
    return [
        Item(
            item.path,
            Path(one.recording),
            one.subject.rpartition("/")[2],
            target=item.target,
            subject=one.subject,
            own=item,
        )
        for item, one in zip(items, names, strict=True)
    ]


def check_named(folder: Path) -> None:
    """Raise where results with names would come to lie among anonymous ones.

    Raises
    ------
    ValueError
        What to do.
    """
    if (folder / NUMBERS).is_file():
        raise ValueError(f"{folder} holds anonymous results: add --anonymous, or choose another folder")


def _content(path: Path) -> str | None:
    try:
        return open_recording(path).digest()
    except Exception:  # what is wrong with it is told when it is detected in
        return None


def key_rows(items: Iterable[Item]) -> list[dict[str, str]]:
    """Return who is who, for the owner's own table."""
    return [
        {
            "recording": item.stem.name,
            "subject": item.subject or item.patient,
            "name": item.own.stem.as_posix(),
            "subject_name": item.own.subject or item.own.patient,
            "file": str(item.path.absolute()),
        }
        for item in items
        if item.own is not None
    ]


def without_names(detection: Detection, item: Item, provenance: Provenance | None) -> Detection:
    """Return a detection of a recording that is named by a number.

    Parameters
    ----------
    detection : Detection
        As it was made.
    item : Item
        The recording.
    provenance : Provenance, optional
        What the model was trained on: subjects of it that notes name become
        ``"a subject of its training"``.

    Returns
    -------
    Detection
        Without the clock's time of its start; in notes, what was quoted from the file is left out.
    """
    names = _names_in(item, provenance)
    trained = dict(detection.in_training)
    subject = detection.in_training["subject"]
    trained["subject"] = None if subject is None else names.text(subject)
    return replace(
        detection,
        source=item.stem.name,
        start_time=None,
        notes=[without_quotes(names.text(note)) for note in detection.notes],
        in_training=trained,  # type: ignore[arg-type]  # the same keys
    )


def _names_in(item: Item, provenance: Provenance | None) -> Replaced:
    own = item.own or item
    files = {own.path.name, own.path.stem, str(own.path), own.stem.name, own.stem.as_posix()}
    recordings = dict.fromkeys(files, item.stem.name)
    subjects = {name: item.subject or item.patient for name in (own.patient, own.subject) if name}
    seen = set() if provenance is None else {name for one in provenance.trained_on for name in one.subjects or ()}
    for name in seen:
        if not is_published(name) and not is_anonymous(name):
            subjects[name] = A_SUBJECT
    return Replaced(subjects, recordings)
