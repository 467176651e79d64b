"""EDF files that say everything as the standard wants it, opened without MNE.

MNE, which takes half a second to be ready, gives of such a file what its header says.  Whatever is
doubtful is left to it, so that every file is read, refused and noted of in one way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from biot_bd.io.edf import checked_edf
from biot_bd.io.edf_header import ANNOTATIONS, EdfHeader
from biot_bd.io.edf_times import annotations_outside, edf_annotations, length_note, unread_annotations
from biot_bd.io.notes import in_our_words, without_time
from biot_bd.io.segments import TimeLine, tells_of_time

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
# What MNE takes for triggers, and its word for them.
_OF_TRIGGERS = ("status", "trigger", "auto")
_YEARS = range(1970, 2100)


@dataclass(frozen=True)
class PlainEdf:
    """What there is to know of a plain EDF file before a sample is read.

    Parameters
    ----------
    header : EdfHeader
        Whose ranges are numbers, none of them empty.
    timeline : TimeLine
        When its samples were measured.
    notes : tuple of str
        What a reader of the results should know.
    """

    header: EdfHeader
    timeline: TimeLine
    notes: tuple[str, ...]


def read_plain_edf(path: Path) -> PlainEdf | None:
    """Read header, times and annotations of an EDF file; None where MNE is to open it.

    Parameters
    ----------
    path : Path
        A file that begins as EDF.

    Returns
    -------
    PlainEdf or None
        None where anything is not as the standard wants it, or MNE reads it in a way of its own.

    Raises
    ------
    biot_bd.exceptions.RecordingError
        As :func:`biot_bd.io.open_edf`, in the same words.
    """
    header, line = checked_edf(path, allow_truncated=True)
    if not (_is_plain(header) and line.start_time is not None and line.start_time.year in _YEARS):
        return None
    rows = edf_annotations(path, line)
    if any(tells_of_time(text.partition("@@")[0].strip()) for _, _, text in rows) or annotations_outside(path, line):
        return None
    notes = [length_note(header), *line.notes]
    if unread := unread_annotations(path):
        notes.append(without_time(unread))
    told = (in_our_words(note) for note in notes if note)
    return PlainEdf(header, line, tuple(dict.fromkeys(note for note in told if note)))


def _is_plain(header: EdfHeader) -> bool:
    """Return whether MNE would read a header as it is written, and warn of nothing."""
    ordinary = [i for _, i in header.channels]
    bounds = [header.field(name) for name in ("physical_min", "physical_max", "digital_min", "digital_max")]
    return (
        header.sample_bytes == 2
        and header.declared == header.present
        and b"=" not in header.patient  # further facts of the patient
        and header.texts_are_ascii
        and len(dict(header.channels)) == len(ordinary)
        and not any(label.lower() in _OF_TRIGGERS for label in header.labels)
        and min(header.samples) >= 1
        # Repeated labels of different rates are stretched by MNE.
        and len(set(header.labels)) == len(set(zip(header.labels, header.samples, strict=True)))
        and all(_NUMBER.fullmatch(text) for of_all in bounds for text in of_all)
        and all(float(low[i]) != float(high[i]) for low, high in (bounds[:2], bounds[2:]) for i in ordinary)
        and any(label not in ANNOTATIONS for label in header.labels)
    )
