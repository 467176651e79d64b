"""Windows worth a look: a detected seizure, a missed one, a false alarm, with the EEG around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biot_bd.exceptions import StoreError
from biot_bd.report.drawing.curves import EegExcerpt
from biot_bd.report.run_folder import Run
from biot_bd.windows import Windows
from biot_bd.windows.store import read_manifest

SPAN_S = 60.0

Seizures = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Example:
    """A test window chosen to be shown.

    Parameters
    ----------
    kind : {"hit", "miss", "false alarm"}
        What became of it.
    window : pandas.Series
        Its row in the predictions.
    of : int
        Number of test windows of that kind.
    how : str
        How it was chosen.
    """

    kind: str
    window: pd.Series
    of: int
    how: str

    @property
    def place(self) -> str:
        """Where the window lies, in words."""
        if pd.isna(self.window["start_s"]):
            return f"window {self.window['window']}"
        return f"{self.window['recording']}, {self.window['start_s']:g} to {self.window['stop_s']:g} s"


def choose_examples(test: pd.DataFrame) -> list[Example]:
    """Choose one hit, and a miss and a false alarm if there are any, by a fixed rule.

    Parameters
    ----------
    test : DataFrame
        Predictions on test windows.

    Returns
    -------
    list of Example
        The hit with the median probability among hits (a typical one, not the best), the seizure window with
        the lowest probability, the background window with the highest.
    """
    called = test["proba"] >= test["threshold"]
    seizure = test["y_true"] == 1
    hits, misses, alarms = test[seizure & called], test[seizure & ~called], test[~seizure & called]
    found = []
    order = ["proba", "window"]
    if len(hits):
        typical = hits.sort_values(order).iloc[len(hits) // 2]
        found.append(Example("hit", typical, len(hits), "the one with the median probability"))
    if len(misses):
        worst = misses.sort_values(order).iloc[0]
        found.append(Example("miss", worst, len(misses), "the one with the lowest probability"))
    if len(alarms):
        worst = alarms.sort_values(order).iloc[-1]
        found.append(Example("false alarm", worst, len(alarms), "the one with the highest probability"))
    return found


def open_store(run: Run) -> Windows:
    """Open the prepared windows that a run was scored on.

    Raises
    ------
    StoreError
        The folder is not known, is gone, or cannot be read.
    """
    folder = run.data.get("folder")
    if not folder:
        raise StoreError("run.json names no folder of prepared windows (the run was made from arrays)")
    if not Path(folder).is_dir():
        raise StoreError(
            f"the prepared windows are no longer at {folder}; prepare them again there and run `biot-bd report` again"
        )
    try:
        return Windows.open(folder)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"the prepared windows at {folder} cannot be read: {error}") from error


@dataclass(frozen=True)
class Described:
    """Windows of known channels and rate, in uV, as pictures need them."""

    ch_names: list[str]
    sfreq: float
    duration_s: float


def described(windows: Windows) -> Described:
    """Check that windows can be drawn: in uV, with channel names and a rate.

    Raises
    ------
    StoreError
        They are scaled, or do not say their channels or rate.
    """
    if windows.unit != "uV":
        raise StoreError(f"the windows given are not in uV (their unit is {windows.unit}); pass them unscaled")
    if windows.ch_names is None or windows.sfreq is None:
        raise StoreError("the windows do not say their channel names and sampling rate")
    return Described(list(windows.ch_names), float(windows.sfreq), windows.shape[2] / windows.sfreq)


def seizures_of(windows: Windows) -> dict[str, list[tuple[float, float]]]:
    """Return the annotated seizures (onset_s, offset_s) of each recording, from the store's manifest."""
    if windows.folder is None:
        return {}
    entries = read_manifest(Path(windows.folder))["recordings"]
    return {entry["recording"]: [(a, b) for a, b in entry.get("events", [])] for entry in entries}


def find_rows(windows: Windows, recording: str, starts_s: Sequence[float]) -> NDArray[np.int64]:
    """Return the rows of a recording's windows by their start.

    Raises
    ------
    StoreError
        A window of the run is not in the store: it was prepared otherwise since.
    """
    metadata = windows.metadata
    of_recording = np.flatnonzero((metadata["recording"] == recording).to_numpy())
    known = metadata["start_s"].to_numpy()[of_recording]
    rows = []
    for start in starts_s:
        match = of_recording[np.isclose(known, start, atol=1e-6)]
        if not len(match):
            raise StoreError(
                f"recording {recording}: no window starts at {start:g} s in the prepared windows; they were prepared "
                "with other parameters since this run"
            )
        rows.append(match[0])
    return np.asarray(rows, dtype=np.int64)


def excerpt_around(windows: Windows, test: pd.DataFrame, example: Example, seizures: Seizures) -> EegExcerpt:
    """Put together the continuous EEG around an example from the windows of its recording.

    Parameters
    ----------
    windows : Windows
        In microvolts.
    test : DataFrame
        Predictions on test windows.
    example : Example
        The window in the middle.
    seizures : mapping
        Recording -> annotated seizures (onset_s, offset_s).

    Raises
    ------
    StoreError
        The store does not hold the window.
    """
    window = example.window
    recording = window["recording"]
    find_rows(windows, recording, [window["start_s"]])
    middle = (window["start_s"] + window["stop_s"]) / 2
    shown = test[(test["recording"] == recording) & (test["fold"] == window["fold"])]
    span = (middle - SPAN_S / 2, middle + SPAN_S / 2)
    excerpt = excerpt_of(windows, shown, recording, span, seizures)
    return replace(
        excerpt, window=(float(window["start_s"]), float(window["stop_s"])), threshold=float(window["threshold"])
    )


def excerpt_of(
    windows: Windows,
    shown: pd.DataFrame,
    recording: str,
    span: tuple[float, float],
    seizures: Seizures,
    alarms: Sequence[tuple[float, float]] = (),
) -> EegExcerpt:
    """Put together a piece of continuous EEG from the windows of its recording.

    Parameters
    ----------
    windows : Windows
        In microvolts.
    shown : DataFrame
        Predictions on the recording's windows, of one fold.
    recording : str
    span : (start_s, stop_s)
        Moved, and shortened, to where the recording's windows lie.
    seizures : mapping
        Recording -> annotated seizures (onset_s, offset_s).
    alarms : sequence of (onset_s, offset_s)
        Detected events of the recording.

    Raises
    ------
    StoreError
        The store holds nothing of the recording there.
    """
    info, metadata = described(windows), windows.metadata
    same = (metadata["recording"] == recording).to_numpy()
    if not same.any():
        raise StoreError(f"the prepared windows hold nothing of recording {recording}")
    first, last = float(metadata["start_s"][same].min()), float(metadata["stop_s"][same].max())
    low = max(first, span[0])
    high = min(last, low + span[1] - span[0])
    low = max(first, high - (span[1] - span[0]))
    near = same & (metadata["stop_s"] > low).to_numpy() & (metadata["start_s"] < high).to_numpy()
    if not near.any():
        raise StoreError(f"recording {recording}: no prepared window lies at {span[0]:g} to {span[1]:g} s")
    centres = ((shown["start_s"] + shown["stop_s"]) / 2).to_numpy()
    order = np.argsort(centres)
    inside = order[(centres[order] >= low) & (centres[order] <= high)]
    return EegExcerpt(
        signal_uv=_stitched(windows, np.flatnonzero(near), low, high),
        sfreq=info.sfreq,
        start_s=low,
        ch_names=info.ch_names,
        centres_s=centres[inside],
        proba=shown["proba"].to_numpy()[inside],
        seizures=[(a, b) for a, b in seizures.get(recording, ()) if b > low and a < high],
        alarms=[(a, b) for a, b in alarms if b > low and a < high],
    )


def _stitched(windows: Windows, rows: NDArray[np.int64], low: float, high: float) -> NDArray[np.float32]:
    """Lay overlapping windows side by side; NaN where no window lies."""
    info = described(windows)
    sfreq = info.sfreq
    signal = np.full((len(info.ch_names), round((high - low) * sfreq)), np.nan, dtype=np.float32)
    starts = windows.metadata["start_s"].to_numpy()[rows]
    for row, start in zip(rows, starts, strict=True):
        piece = np.asarray(windows[int(row)])
        at = round((float(start) - low) * sfreq)
        first, last = max(at, 0), min(at + piece.shape[1], signal.shape[1])
        if first < last:
            signal[:, first:last] = piece[:, first - at : last - at]
    return signal
