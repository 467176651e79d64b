"""The window of a recording that ``biot-bd explain`` is about: read and cut as ``detect`` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.model import ModelScorer
from biot_bd.deploy.recording_windows import RecordingWindows
from biot_bd.deploy.training_overlap import digest_of, training_overlap
from biot_bd.exceptions import DetectionError
from biot_bd.io.recordings import open_recording
from biot_bd.models.checkpoints.config import provenance_of
from biot_bd.report.explain.model import Model, Signal
from biot_bd.report.explain.source import Source
from biot_bd.report.explain.window import CONTEXT_S, MOST_AROUND, ExplainedWindow, Step
from biot_bd.signals.info import SignalInfo

if TYPE_CHECKING:
    from biot_bd.signals.planning import OnMissing


def window_of_recording(
    model: Model,
    source: Source,
    path: Path,
    *,
    at_s: float | None,
    stride_s: float,
    on_missing: str,
    step: Step,
) -> ExplainedWindow:
    """Choose a window of a recording: the one around a moment, else the most probable seizure.

    The recording is read twice, so that memory holds some minutes of it only: once for the
    probabilities (where no moment is named), once for the windows around the chosen one.

    Raises
    ------
    DetectionError
        The recording cannot be read, lacks channels, or no window covers the moment.
    """
    scorer = ModelScorer(model.steps, model.classifier)
    recording = open_recording(path)
    try:
        windows = RecordingWindows(recording, scorer, stride_s, cast("OnMissing", on_missing))
        begin_s, how = _chosen(windows, at_s, step)
        around, starts, proba = _around(windows, begin_s)
        digest, fault = digest_of(recording)
        _, told = training_overlap(_provenance(source), digest, fault)
        notes = [*told, *recording.notes]
    finally:
        recording.close()
    info = SignalInfo(scorer.montage.ch_names, scorer.sfreq, scorer.n_times, "uV")
    return ExplainedWindow(
        around=Signal(around, info),
        row=int(np.argmin(np.abs(starts - begin_s))),
        start_s=starts,
        proba=proba,
        label=None,
        recording=path.name,
        subject=None,
        how=how,
        notes=notes,
    )


def _chosen(windows: RecordingWindows, at_s: float | None, step: Step) -> tuple[float, str]:
    """Return the start of the window, and how it was chosen."""
    window_s, where = windows.scorer.window_s, windows.recording.where
    total = max(1, int((windows.recording.duration_s - window_s) / windows.stride_s) + 1)
    starts: list[float] = []
    proba: list[float] = []
    for batch in windows:
        if at_s is None:
            proba += windows.scorer.score(batch).tolist()
        starts += batch.start_s.tolist()
        step(len(starts), max(total, len(starts)))
        if at_s is not None and starts[-1] > at_s:
            break
    if at_s is not None:
        far = [abs(s + window_s / 2 - at_s) if s <= at_s < s + window_s else np.inf for s in starts]
        if not np.isfinite(far).any():
            raise DetectionError(
                f"{where}: no window covers {at_s:g} s; its windows lie between {starts[0]:g} and {starts[-1] + window_s:g} s"
            )
        return starts[int(np.argmin(far))], f"the window around {at_s:g} s, as asked for"
    if not np.isfinite(proba).any():
        raise DetectionError(f"{where}: the model gives no window a probability: no channel is usable")
    how = f"the window with the highest probability of a seizure out of all {len(proba):,}; recordings have no labels here"
    return starts[int(np.nanargmax(proba))], how


def _around(
    windows: RecordingWindows, begin_s: float
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Return the windows around one, their starts and their probabilities."""
    x: list[Any] = []
    starts: list[float] = []
    proba: list[float] = []
    for batch in windows:
        near = np.abs(batch.start_s - begin_s) <= CONTEXT_S
        if near.any():
            proba += windows.scorer.score(batch)[near].tolist()
            x += list(batch.x[near].copy())
            starts += batch.start_s[near].tolist()
        if batch.start_s[-1] > begin_s + CONTEXT_S:
            break
    nearest = np.sort(np.argsort(np.abs(np.array(starts) - begin_s), kind="stable")[:MOST_AROUND])
    return np.stack(x)[nearest], np.array(starts)[nearest], np.array(proba)[nearest]


def _provenance(source: Source) -> Any:
    try:
        return provenance_of(source.folder)
    except (OSError, ValueError):
        return None
