"""A patient's page: one HTML file with the recordings, what was found, the curve that decided, and
the EEG around each event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from biot_bd.deploy.counted_notes import counted_notes, said_once
from biot_bd.deploy.decided_curve import curve_of
from biot_bd.deploy.detection_record import DetectionRecord
from biot_bd.deploy.detector import Detection
from biot_bd.deploy.eeg_views import EegReader, detected_montage, neighbourhoods, viewed_recording
from biot_bd.deploy.operating_point import in_words
from biot_bd.deploy.page_drawings import (
    STILL_FINE,
    STILL_ROW,
    Overview,
    Still,
    clock,
    overview_of,
    sessions_of,
    still_of,
)
from biot_bd.exceptions import DetectionError
from biot_bd.io.recordings import open_recording
from biot_bd.models.checkpoints.demonstration import demonstration_among
from biot_bd.plots import css_colours
from biot_bd.runs import write_text
from biot_bd.viewer import Traces, viewer_assets, viewer_fragment, viewer_json
from biot_bd.viewer.page import CLOCK_NOTE

MOST_EVENTS = 20  # of a page with EEG; all are in its tables
PAGE_BYTES = 4_950_000  # of a page that shows EEG
SAMPLE_BYTES = 0.75  # what a sample of EEG takes at the coarsest


@dataclass(frozen=True)
class PagePart:
    """What a patient's page is told of one recording.

    Parameters
    ----------
    detection : Detection
        What was found in it.
    record : DetectionRecord, optional
        Where the detection was read from one: the recording may have moved since, or changed.
    links : sequence of (str, str)
        Address and text of pages with the EEG of all of it.
    remarks : sequence of str
        What a reader should know beside the detection's own notes.
    source : Path, optional
        The recording, where it was just read or the record does not say where it lies.
    """

    detection: Detection
    record: DetectionRecord | None = None
    links: Sequence[tuple[str, str]] = ()
    remarks: Sequence[str] = ()
    source: Path | None = None

    @property
    def name(self) -> str:
        """The recording's file."""
        return Path(self.detection.source).name

    @property
    def notes(self) -> list[str]:
        """All that a reader should know, each once."""
        return list(dict.fromkeys([*self.remarks, *self.detection.notes]))

    def reader(self) -> EegReader:
        """Return what reads its EEG; DetectionError where the recording is gone or another one."""
        if self.record is None or self.source is not None:
            recording = open_recording(self.detection.source if self.source is None else self.source)
        else:
            recording = self.record.open_recording()
        return EegReader(recording, detected_montage(self.detection))


@dataclass
class _Section:
    """What the template draws of one recording."""

    part: PagePart
    overview: Overview
    highest: float
    notes: list[str]
    pieces: list[Traces] = field(default_factory=list)
    n_shown: int = 0
    no_eeg: str | None = None
    viewer: Markup | None = None
    stills: list[Still | None] = field(default_factory=list)

    @property
    def detection(self) -> Detection:
        return self.part.detection


def write_page(
    path: Path, patient: str, parts: Sequence[PagePart], failures: Sequence[str], model: str, *, dated: bool = True
) -> Path:
    """Write a patient's page, atomically; it is one file, readable offline.

    Of the first 20 events it holds the EEG from 60 s before to 60 s after; only that is read.

    Parameters
    ----------
    path : Path
        The file to write.
    patient : str
        The patient.
    parts : sequence of PagePart
        One for each recording.
    failures : sequence of str
        One line for each recording that failed.
    model : str
        The model's name.
    dated : bool
        Whether the page says when it was written.

    Returns
    -------
    Path
        The file.
    """
    detections = [part.detection for part in parts]
    demonstrations = sorted({found for part in parts if (found := demonstration_among(part.notes)) is not None})
    notes = [
        note
        for note in counted_notes((part.name, part.notes) for part in parts)
        if note.text not in demonstrations  # which are notices
    ]
    shared = [note for note in notes if note.n > 1 or len(parts) == 1]
    told = {*demonstrations, *(note.text for note in shared)}
    sections = [_section(part, told) for part in parts]
    _read_eeg(sections)
    hours = sum(one.duration_s for one in detections) / 3600
    points = counted_notes(
        (part.name, [in_words(part.detection.operating_point, part.detection.setting["events"]["threshold"])])
        for part in parts
    )
    css, js = viewer_assets() if any(section.pieces for section in sections) else ("", "")
    page: dict[str, Any] = {
        "patient": patient,
        "colours": Markup(css_colours()),
        "viewer_css": Markup(css),
        "viewer_js": Markup(js),
        "sections": sections,
        "failures": failures,
        "model": model,
        "hours": hours,
        "n_events": sum(len(one.events) for one in detections),
        "trained_on": [part.name for part in parts if part.detection.in_training["recording"]],
        "same_subject": [
            part.name
            for part in parts
            if part.detection.in_training["subject"] is not None and not part.detection.in_training["recording"]
        ],
        "demonstrations": demonstrations,
        "points": [point.text if point.n == len(parts) else said_once(point, len(parts)) for point in points],
        "notes": [said_once(note, len(parts)) for note in shared],
        "sessions": sessions_of(detections) if hours >= 2 or len(parts) > 1 else [],
        "has_clock": any(one.start_time is not None for one in detections),
        "clock_note": CLOCK_NOTE,
        "still_row": STILL_ROW,
        "still_fine": STILL_FINE,
        "version": version("biot-bd"),
        "written": datetime.now(UTC).strftime("; written %Y-%m-%d %H:%M UTC") if dated else "",
    }
    template = _environment().get_template("patient.html.j2")
    for section in sections:
        section.viewer = Markup(" ") if section.pieces else None
    n_samples = sum(piece.values_uv.size for section in sections for piece in section.pieces)
    budget = PAGE_BYTES - len(template.render(**page).encode())
    if budget < SAMPLE_BYTES * n_samples:  # what viewers hold comes first
        for section in sections:
            section.stills = []
        budget = PAGE_BYTES - len(template.render(**page).encode())
    _encode(sections, budget)
    return write_text(path, template.render(**page))


def _section(part: PagePart, told: set[str]) -> _Section:
    curve = curve_of(part.detection)
    notes = [note for note in part.notes if note not in told]
    return _Section(part, overview_of(part.detection, curve), float(curve.values.max(initial=0.0)), notes)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("biot_bd.deploy"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clock": clock, "when": _when, "span": span_in_words}
    return environment


def _read_eeg(sections: Sequence[_Section]) -> None:
    """Read the EEG around the first events of all recordings."""
    left = MOST_EVENTS
    for section in sections:
        detection = section.detection
        chosen = detection.events[:left]
        if not chosen:
            continue
        try:
            reader = section.part.reader()
            for start_s, stop_s in neighbourhoods([e[:2] for e in chosen], detection.duration_s):
                section.pieces += reader.read(start_s, stop_s)
        except (DetectionError, OSError, ValueError) as error:
            section.pieces, section.no_eeg = [], " ".join(str(error).split())
            continue
        section.n_shown = len(chosen)
        left -= len(chosen)
        section.stills = [still_of(section.pieces, event.onset_s) for event in chosen]


def _encode(sections: Sequence[_Section], budget: int) -> None:
    """Make the viewers; each recording has its share of the page's size."""
    size = {id(s): sum(piece.values_uv.size for piece in s.pieces) for s in sections}
    total = sum(size.values())
    for section in sections:
        if not section.pieces:
            continue
        viewed = viewed_recording(section.detection)
        try:
            data = viewer_json(viewed, section.pieces, budget_bytes=int(budget * size[id(section)] / total))
        except ValueError as error:
            section.viewer, section.no_eeg = None, str(error)
            continue
        section.viewer = viewer_fragment(data, section.part.name)


def span_in_words(seconds: float) -> str:
    """Return a length as a reader says it: seconds, minutes, or hours.

    Examples
    --------
    >>> span_in_words(28), span_in_words(360), span_in_words(28800)
    ('28 s', '6 min', '8.0 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _when(seconds: float, start_time: datetime, form: str) -> str:
    """Return the clock's time so long after the recording's start."""
    return format(start_time + timedelta(seconds=round(seconds)), form)
