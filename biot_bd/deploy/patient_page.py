"""A patient's page: one HTML file with the recordings, their events, the curves and the EEG of each event."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from biot_bd.runs import write_text


def page_path(folder: Path, patient: str) -> Path:
    """Return where a patient's page goes."""
    return folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', patient).lstrip('.') or 'patient'}_report.html"


def write_page(
    folder: Path, patient: str, parts: Sequence[dict[str, Any]], failures: Sequence[str], model: str
) -> Path:
    """Write a patient's page, atomically; it is one file, readable offline.

    Parameters
    ----------
    folder : Path
        Of the output.
    patient : str
        The patient.
    parts : sequence of dict
        What :func:`~biot_bd.deploy.results.page_part` returned for each recording.
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
    environment.filters["clock"] = _clock
    hours = sum(part["facts"]["duration_s"] for part in parts) / 3600
    page = {
        "patient": patient,
        "parts": [{**part, "name": Path(part["facts"]["source"]).name} for part in parts],
        "failures": failures,
        "model": model,
        "hours": hours,
        "n_events": sum(len(part["facts"]["events"]) for part in parts),
        "version": version("biot-bd"),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return write_text(page_path(folder, patient), environment.get_template("patient.html.j2").render(**page))


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
