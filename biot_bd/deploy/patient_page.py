"""A patient's page: one HTML file with the recordings, their events, the curves and the EEG of
each event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from biot_bd.deploy.detector import Detection, DetectionFacts
from biot_bd.deploy.event_figures import event_figures, overview_figure, png_uri
from biot_bd.plots import css_colours
from biot_bd.runs import write_text
from biot_bd.signals.montages import Montage

MOST_PICTURES = 20  # of events in a page; all are in its table


@dataclass(frozen=True)
class PagePart:
    """What a patient's page shows of one recording.

    Parameters
    ----------
    facts : DetectionFacts
        Of its detection.
    overview : str
        Picture of the whole curve, as a data URI.
    pictures : list of str
        Of the first events.
    """

    facts: DetectionFacts
    overview: str
    pictures: list[str]

    @property
    def name(self) -> str:
        """The recording's file."""
        return Path(self.facts["source"]).name


def page_part(detection: Detection, montage: Montage) -> PagePart:
    """Return what a patient's page shows of one recording; the EEG is drawn in ``montage``."""
    figures = event_figures(detection, montage, most=MOST_PICTURES)
    return PagePart(detection.as_dict(), png_uri(overview_figure(detection)), [png_uri(figure) for figure in figures])


def write_page(path: Path, patient: str, parts: Sequence[PagePart], failures: Sequence[str], model: str) -> Path:
    """Write a patient's page, atomically; it is one file, readable offline.

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

    Returns
    -------
    Path
        The file.
    """
    environment = Environment(
        loader=PackageLoader("biot_bd.deploy"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clock": _clock, "date": _date}
    page = {
        "patient": patient,
        "colours": css_colours(),
        "parts": parts,
        "failures": failures,
        "model": model,
        "hours": sum(part.facts["duration_s"] for part in parts) / 3600,
        "n_events": sum(len(part.facts["events"]) for part in parts),
        "version": version("biot-bd"),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return write_text(path, environment.get_template("patient.html.j2").render(**page))


def _clock(seconds: float, digits: int = 0) -> str:
    """Return seconds since the recording's start as hours, minutes and seconds."""
    ticks = round(seconds * 10**digits)
    whole, rest = divmod(ticks, 10**digits)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}" + (f".{rest:0{digits}d}" if digits else "")


def _date(seconds: float, start_time: str) -> str:
    """Return date and time so long after the recording's start, to a tenth of a second."""
    at = datetime.fromisoformat(start_time) + timedelta(seconds=round(seconds, 6) + 0.05)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 100_000}"
