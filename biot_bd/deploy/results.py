"""What is written of a detection: event files, probabilities, pictures, facts; every file atomically."""

from __future__ import annotations

import base64
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biot_bd.deploy.detector import Detection
from biot_bd.deploy.recording_files import Item
from biot_bd.runs import write_json, write_text
from biot_bd.signals.montages import Montage

FORMATS = ("tsv", "csv_bi", "edf", "mne", "json")
_ENDINGS = {"tsv": ".tsv", "csv_bi": ".csv_bi", "edf": ".edf", "mne": "_annot.fif", "json": ".json"}
MOST_PICTURES = 20  # of events in a page; all are in its table
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
    probabilities, plot, html : bool
        A table of window probabilities; a picture of each event; a page a patient.
    """

    folder: Path
    formats: tuple[str, ...] = ("tsv",)
    probabilities: bool = False
    plot: bool = False
    html: bool = False

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
    return {name: item.output(outputs.folder, _ENDINGS[name]) for name in outputs.formats}


def is_done(item: Item, outputs: Outputs) -> bool:
    """Return whether everything that is wanted of a recording, pictures and pages apart, is there."""
    wanted = list(event_paths(item, outputs).values())
    if outputs.probabilities:
        wanted.append(_probabilities_path(item, outputs))
    return all(path.is_file() for path in wanted)


def write_detection(detection: Detection, item: Item, outputs: Outputs, montage: Montage) -> list[Path]:
    """Write all that is wanted of one recording; existing files are replaced.

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
        written.append(_write_probabilities(_probabilities_path(item, outputs), detection))
    if outputs.plot:
        from biot_bd.deploy.event_figures import event_figures, write_event_pictures

        base = item.output(outputs.folder, "")
        base.parent.mkdir(parents=True, exist_ok=True)
        pictures = base.with_name(base.name.removesuffix("s"))
        written += write_event_pictures(event_figures(detection, montage), pictures)
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

    return write_event_file(path, detection.events, detection.duration_s, start=detection.start_time, format=format)


def page_part(detection: Detection, montage: Montage) -> dict[str, Any]:
    """Return what a patient's page shows of one recording: facts, and pictures as data URIs."""
    from biot_bd.deploy.event_figures import event_figures, overview_figure, png_bytes

    figures = event_figures(detection, montage, most=MOST_PICTURES)
    return {
        "facts": detection.as_dict(),
        "overview": _data_uri(png_bytes(overview_figure(detection))),
        "pictures": [_data_uri(png_bytes(figure)) for figure in figures],
    }


def _probabilities_path(item: Item, outputs: Outputs) -> Path:
    path = item.output(outputs.folder, "")
    return path.with_name(path.name.removesuffix("_events") + "_probabilities.tsv")


def _write_probabilities(path: Path, detection: Detection) -> Path:
    rows = ["start_s\tstop_s\tprobability"]
    for start, proba in zip(detection.start_s, detection.probabilities, strict=True):
        value = "n/a" if np.isnan(proba) else f"{proba:.6f}"
        rows.append(f"{start:.4f}\t{start + detection.window_s:.4f}\t{value}")
    return write_text(path, "\n".join(rows) + "\n")


def _remove_leftovers(path: Path) -> None:
    """Remove what a killed process left of this output; a living one would have renamed it long ago."""
    from glob import escape

    for leftover in path.parent.glob(f".{escape(path.stem)}.*.tmp{escape(path.suffix)}"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_S:
                leftover.unlink()


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
