"""Viewers of whole recordings: one file an hour, readable offline."""

from __future__ import annotations

import glob
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from biot_bd.deploy.detector import Detection
from biot_bd.deploy.eeg_views import EegReader, hours, viewed_recording
from biot_bd.models.checkpoints.demonstration import demonstration_among
from biot_bd.viewer import Traces, write_viewer

VIEWER = "_viewer"


def viewer_paths(output: Path) -> list[Path]:
    """Return the viewers that lie there, in the order of hours.

    Parameters
    ----------
    output : Path
        Path of the recording's results, without an ending.

    Returns
    -------
    list of Path
        ``<output>_viewer-01.html`` and so on.
    """
    found = output.parent.glob(f"{glob.escape(output.name)}{VIEWER}-*.html")
    return sorted(path for path in found if re.fullmatch(r"\d+", path.stem.rpartition("-")[2]))


def viewer_links(page: Path, paths: list[Path]) -> list[tuple[str, str]]:
    """Return address and text of viewers, for a page that lies in a folder above them."""
    return [(quote(path.relative_to(page.parent).as_posix()), f"hour {number}") for number, path in enumerate(paths, 1)]


def write_viewers(detection: Detection, reader: EegReader, output: Path) -> list[Path]:
    """Write the viewers of a recording, an hour each; those of earlier runs beyond it go.

    Parameters
    ----------
    detection : Detection
        What was found in it.
    reader : EegReader
        Reads its EEG, an hour at a time.
    output : Path
        Path of its results, without an ending.

    Returns
    -------
    list of Path
        ``<output>_viewer-01.html`` and so on.

    Raises
    ------
    DetectionError
        The recording cannot be read.
    OSError
        A file cannot be written.
    """
    stretches = list(hours(detection.duration_s))
    told = demonstration_among(detection.notes)
    notes = () if told is None else (told,)
    paths = [output.with_name(f"{output.name}{VIEWER}-{number:02d}.html") for number in range(1, len(stretches) + 1)]
    for number, (path, (start_s, stop_s)) in enumerate(zip(paths, stretches, strict=True)):
        links = [
            (quote(paths[other].name), text)
            for other, text in ((number - 1, "hour before"), (number + 1, "next hour"))
            if 0 <= other < len(paths)
        ]
        pieces = reader.read(start_s, stop_s) or [_nothing(reader, start_s)]
        viewed = replace(viewed_recording(detection, (start_s, stop_s)), notes=notes)
        write_viewer(path, viewed, pieces, links=links)
    for path in viewer_paths(output):
        if path not in paths:
            path.unlink(missing_ok=True)
    return paths


def _nothing(reader: EegReader, start_s: float) -> Traces:
    """Return a second without signal, for an hour in which nothing was recorded."""
    names = reader.plan.montage.ch_names
    return Traces(np.full((len(names), 1), np.nan), 1.0, start_s, names)
