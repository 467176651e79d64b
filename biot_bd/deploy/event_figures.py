"""Pictures of detections: the whole recording's curve, and each event over the EEG."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biot_bd.deploy.decided_curve import curve_of
from biot_bd.deploy.detector import Detection
from biot_bd.io.recordings import open_recording, read_excerpt
from biot_bd.models.checkpoints.demonstration import IN_SHORT, demonstration_among
from biot_bd.runs import atomic_path
from biot_bd.signals.montages import Montage
from biot_bd.signals.planning import plan_recording

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONTEXT_S = 10.0
LONGEST_S = 60.0
DPI = 100


def overview_figure(detection: Detection) -> Figure:
    """Draw the curve of a whole recording with its windows, events and gaps."""
    from biot_bd.plots import timeline_figure

    known = ~np.isnan(detection.probabilities)
    curve = curve_of(detection)
    return timeline_figure(
        detection.start_s[known] + detection.window_s / 2,
        detection.probabilities[known],
        detection.duration_s,
        events=[(event.onset_s, event.offset_s) for event in detection.events],
        gaps=detection.gaps,
        curve_times_s=curve.times_s,
        curve=curve.drawn,
        threshold=detection.setting["events"]["threshold"],
        title=_told(detection).strip() or None,
    )


def _told(detection: Detection) -> str:
    """Say in a line of its own that the model is a demonstration."""
    return "" if demonstration_among(detection.notes) is None else f"\n{IN_SHORT}"


def event_figures(
    detection: Detection, montage: Montage, most: int | None = None, source: Path | None = None
) -> Iterator[Figure]:
    """Draw each event over the EEG of the model's montage, from 10 s before its onset.

    Of long ones the first minute.

    Parameters
    ----------
    detection : Detection
        Of a file.
    montage : Montage
        Channels to draw.
    most : int, optional
        How many events to draw; all by default.
    source : Path, optional
        The recording, where the detection does not name it.

    Yields
    ------
    matplotlib.figure.Figure
        In the order of the events, each drawn when it is asked for: a day may hold hundreds.

    Raises
    ------
    DetectionError
        The file cannot be read any more.
    """
    from biot_bd.plots import eeg_figure

    if not detection.events:
        return
    recording = open_recording(detection.source if source is None else source)
    curve = curve_of(detection)
    on_missing: Any = detection.setting["on_missing"]
    plan = plan_recording(montage, recording.ch_names, on_missing, recording.where, recording.unusable)
    for number, event in enumerate(detection.events[:most], 1):
        stop_s = min(event.offset_s + CONTEXT_S, event.onset_s + LONGEST_S)
        x, start_s, sfreq = read_excerpt(recording, plan.needed, event.onset_s - CONTEXT_S, stop_s)
        centre_s = detection.start_s + detection.window_s / 2
        seconds = (curve.times_s >= start_s - 1) & (curve.times_s <= stop_s)
        shown = ~np.isnan(detection.probabilities) & (centre_s >= start_s) & (centre_s <= stop_s)
        length = f"{event.offset_s - event.onset_s:.0f} s"
        signal = plan.reduced().apply(x)
        yield eeg_figure(
            np.where(np.isfinite(signal), signal, np.nan),  # which a picture leaves blank
            sfreq,
            montage.ch_names,
            start_s=start_s,
            events=[(event.onset_s, min(event.offset_s, stop_s))],
            proba_times_s=centre_s[shown],
            proba=detection.probabilities[shown],
            curve_times_s=curve.times_s[seconds],
            curve=curve.drawn[seconds],
            threshold=detection.setting["events"]["threshold"],
            title=f"{Path(detection.source).name}: event {number} at {event.onset_s:.0f} s, {length}{_told(detection)}",
        )


def write_event_pictures(figures: Iterable[Figure], output: Path) -> list[Path]:
    """Write ``<output>-01.png``, ... and remove pictures of earlier runs that have no event now.

    Parameters
    ----------
    figures : iterable of Figure
        In the order of the events.
    output : Path
        Path without number and ending.
    """
    written = []
    for number, figure in enumerate(figures, 1):
        path = output.with_name(f"{output.name}-{number:02d}.png")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=DPI, format="png")
        written.append(path)
    for path in output.parent.glob(f"{glob.escape(output.name)}-*.png"):
        if path not in written and path.stem.removeprefix(f"{output.name}-").isdigit():
            path.unlink(missing_ok=True)
    return written
