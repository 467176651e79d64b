"""EEG worth a look: single windows (a hit, a miss, a false alarm), and the gallery of detected,
missed and false events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biot_bd.events.detector import EventDetector
from biot_bd.exceptions import StoreError
from biot_bd.report.drawing.curves import Decision, EegExcerpt, eeg_picture
from biot_bd.report.drawing.svg import Picture
from biot_bd.report.gallery_viewer import viewer_data
from biot_bd.report.run_folder import Run
from biot_bd.windows import Windows
from biot_bd.windows.store import read_manifest

SPAN_S = 60.0
EXAMPLES = {  # kind -> title, what it was chosen out of, how
    "hit": ("A detected seizure", "seizure windows that were found", "the one with the median probability"),
    "miss": ("A missed seizure window", "seizure windows that were missed", "the one with the lowest probability"),
    "false alarm": ("A false alarm", "false alarms", "the one with the highest probability"),
}

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
    """

    kind: str
    window: pd.Series
    of: int

    @property
    def place(self) -> str:
        """Where the window lies, in words."""
        if pd.isna(self.window["start_s"]):
            return f"window {self.window['window']}"
        return f"{self.window['recording']}, {self.window['start_s']:g} to {self.window['stop_s']:g} s"

    @property
    def title(self) -> str:
        """What it is, and where."""
        return f"{EXAMPLES[self.kind][0]}: {self.place}"


def choose_examples(test: pd.DataFrame) -> list[Example]:
    """Choose one hit, and a miss and a false alarm if there are any, by a fixed rule.

    Parameters
    ----------
    test : DataFrame
        Predictions on test windows.

    Returns
    -------
    list of Example
        The hit with the median probability among hits (a typical one, not the best), the seizure
        window with the lowest probability, the background window with the highest.
    """
    called = test["proba"] >= test["threshold"]
    seizure = test["y_true"] == 1
    ordered = test.sort_values(["proba", "window"])
    found = []
    for kind, chosen in (("hit", seizure & called), ("miss", seizure & ~called), ("false alarm", ~seizure & called)):
        rows = ordered[chosen.loc[ordered.index]]
        if len(rows):
            place = {"hit": len(rows) // 2, "miss": 0, "false alarm": -1}[kind]
            found.append(Example(kind, rows.iloc[place], len(rows)))
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
    """Return the annotated seizures (onset_s, offset_s) of each recording, from the store's
    manifest.
    """
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


def example_picture(example: Example, run: Run, windows: Windows) -> Picture:
    """Draw an example amid its recording; raises as :func:`excerpt_around`."""
    excerpt = excerpt_around(windows, run.test, example, seizures_of(windows))
    recording, fold = str(example.window["recording"]), int(example.window["fold"])
    alarms = [(a, b) for a, b in _alarms(run, recording, fold) if b > excerpt.start_s and a < excerpt.stop_s]
    excerpt = replace(excerpt, decision=decision_of(run, recording, fold), alarms=alarms)
    return eeg_picture(f"eeg-{example.kind.replace(' ', '-')}", example.title, excerpt)


def decision_of(run: Run, recording: str, fold: int) -> Decision | None:
    """Return what the event detector of a fold decided on in a recording.

    Parameters
    ----------
    run : Run
    recording : str
    fold : int
        That tests the recording.

    Returns
    -------
    Decision or None
        None where the fold stores no event detector (a run of arrays).
    """
    found = run.fold(fold)
    events = (found.facts.get("events") or {}) if found is not None else {}
    if not events.get("detector"):
        return None
    detector = EventDetector.from_dict(events["detector"], f"fold {fold}")
    duration_s = ((events.get("recordings") or {}).get(recording) or {}).get("duration_s")
    rows = run.test[(run.test["recording"] == recording) & (run.test["fold"] == fold)]
    _, values = detector.curve(rows["proba"].to_numpy(), rows["start_s"].to_numpy(), duration_s)
    setting = detector.setting()
    return Decision(values, setting["threshold"], setting["release_fraction"] * setting["threshold"])


def _alarms(run: Run, recording: str, fold: int) -> list[tuple[float, float]]:
    rows = (run.metrics.get("events") or {}).get("detections") or []
    own = [row for row in rows if row["recording"] == recording and row.get("fold", fold) == fold]
    return [(row["onset_s"], row["offset_s"]) for row in own]


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
        signal_uv=stitched(_pieces(windows, np.flatnonzero(near)), len(info.ch_names), info.sfreq, low, high),
        sfreq=info.sfreq,
        start_s=low,
        ch_names=info.ch_names,
        centres_s=centres[inside],
        proba=shown["proba"].to_numpy()[inside],
        seizures=[(a, b) for a, b in seizures.get(recording, ()) if b > low and a < high],
        alarms=[(a, b) for a, b in alarms if b > low and a < high],
    )


def _pieces(windows: Windows, rows: NDArray[np.int64]) -> Iterator[tuple[float, NDArray[np.float32]]]:
    starts = windows.metadata["start_s"].to_numpy()[rows]
    for row, start in zip(rows, starts, strict=True):
        yield float(start), np.asarray(windows[int(row)])


def stitched(
    pieces: Iterable[tuple[float, NDArray[np.float32]]], n_chans: int, sfreq: float, low: float, high: float
) -> NDArray[np.float32]:
    """Lay overlapping windows side by side; NaN where no window lies.

    Parameters
    ----------
    pieces : iterable of (float, ndarray of shape (n_chans, n_times))
        Start in seconds, and signal.
    n_chans : int
        Number of channels.
    sfreq : float
        Samples a second.
    low, high : float
        From when to when, in seconds.

    Returns
    -------
    ndarray of float32, shape (n_chans, n)
    """
    signal = np.full((n_chans, round((high - low) * sfreq)), np.nan, dtype=np.float32)
    for start, piece in pieces:
        at = round((start - low) * sfreq)
        first, last = max(at, 0), min(at + piece.shape[1], signal.shape[1])
        if first < last:
            signal[:, first:last] = piece[:, first - at : last - at]
    return signal


# --- the gallery of events ------------------------------------------------------------------------

EACH = 4
"""Pictures of each kind: a picture of EEG weighs about 150 kB."""
MARGIN_S = 20.0
LONGEST_S = 120.0
COLUMNS = 480

KINDS = {  # title of the row, where there is none, title of a picture
    "hit": ("Detected seizures", "No seizure was detected.", "Detected seizure"),
    "miss": ("Missed seizures", "No seizure was missed.", "Missed seizure"),
    "false alarm": ("False alarms", "There was no false alarm.", "False alarm"),
}


@dataclass(frozen=True)
class Item:
    """An event to be shown.

    Attributes
    ----------
    kind : {"hit", "miss", "false alarm"}
    subject, recording : str
    onset_s, offset_s : float
        Of the seizure, or of the false alarm.
    latency_s : float or None
        Of a hit.
    confidence : float or None
        Of a false alarm.
    """

    kind: str
    subject: str
    recording: str
    onset_s: float
    offset_s: float
    latency_s: float | None = None
    confidence: float | None = None

    @property
    def place(self) -> str:
        """Where it lies, in words."""
        return f"{self.recording}, {self.onset_s:.0f} to {self.offset_s:.0f} s"


def choose_items(events: Mapping[str, Any], each: int = EACH) -> dict[str, tuple[list[Item], int]]:
    """Choose events of each kind by a fixed rule.

    Parameters
    ----------
    events : mapping
        ``events`` of ``metrics.json``: ``seizures``, ``detections``, ``scorer``, whose parameters
        say how far from a seizure an alarm still belongs to it.
    each : int
        Most of a kind.

    Returns
    -------
    dict
        Kind -> (items, number of all of that kind).  Subjects take turns, each with the longest
        seizure first (false alarms: the most confident).
    """
    before, after = (float(events["scorer"]["parameters"][name]) for name in ("tolerance_start_s", "tolerance_end_s"))
    found: dict[str, list[Item]] = {kind: [] for kind in KINDS}
    near: dict[str, list[tuple[float, float]]] = {}
    for row in events["seizures"]:
        near.setdefault(row["recording"], []).append((row["onset_s"] - before, row["offset_s"] + after))
        kind = "hit" if row["detected"] else "miss"
        found[kind].append(Item(kind, *_place(row), latency_s=row["latency_s"]))
    for row in events["detections"]:
        if not any(row["onset_s"] < high and row["offset_s"] > low for low, high in near.get(row["recording"], ())):
            found["false alarm"].append(Item("false alarm", *_place(row), confidence=row["confidence"]))
    return {kind: (_in_turns(items)[:each], len(items)) for kind, items in found.items()}


def _place(row: Mapping[str, Any]) -> tuple[str, str, float, float]:
    return str(row["subject"]), str(row["recording"]), float(row["onset_s"]), float(row["offset_s"])


def _in_turns(items: Sequence[Item]) -> list[Item]:
    def rank(item: Item) -> tuple[float, ...]:
        confidence = item.confidence if item.confidence is not None else 0.0
        return (-confidence, -(item.offset_s - item.onset_s), item.onset_s)

    of_subject: dict[str, list[Item]] = {}
    for item in sorted(items, key=rank):
        of_subject.setdefault(item.subject, []).append(item)
    turns = zip_longest(*(of_subject[subject] for subject in sorted(of_subject)))
    return [item for turn in turns for item in turn if item is not None]


def gallery_page(run: Run, windows: Windows | None, no_eeg: str | None) -> dict[str, Any]:
    """Return the gallery.

    Parameters
    ----------
    run : Run
    windows : Windows or None
        In uV; None where the EEG is out of reach.
    no_eeg : str or None
        Why.
    """
    events = run.metrics.get("events") or {}
    if not events.get("subjects"):
        return {"message": events.get("reason") or "this run has no event scores", "kinds": []}
    message, kinds = no_eeg, []
    annotated = seizures_of(windows) if windows is not None else {}
    for kind, (items, total) in choose_items(events).items():
        shown: list[tuple[Item, Picture | None, str | None]] = []
        name = f"gallery-{kind.replace(' ', '-')}"
        for index, item in enumerate(items):
            picture, data = None, None
            if windows is not None and message is None:
                try:
                    picture, data = _item_eeg(f"{name}-{index}", item, windows, run, annotated)
                except (StoreError, OSError) as error:
                    message = str(error)
            shown.append((item, picture, data))
        kinds.append((name, *KINDS[kind][:2], shown, total))
    return {"message": message, "kinds": kinds}


def _item_eeg(name: str, item: Item, windows: Windows, run: Run, annotated: Seizures) -> tuple[Picture, str]:
    """Return an event's picture, and its EEG for the viewer."""
    recording = item.recording
    shown = run.test[run.test["recording"] == recording]
    if len(shown) == 0:
        raise StoreError(f"the run has no test windows of recording {recording}")
    fold = int(np.asarray(shown["fold"])[0])
    shown, alarms = shown[shown["fold"] == fold], _alarms(run, recording, fold)
    low = item.onset_s - MARGIN_S
    span = (low, min(item.offset_s + MARGIN_S, low + LONGEST_S))
    excerpt = excerpt_of(windows, shown, recording, span, annotated, alarms)
    excerpt = replace(excerpt, decision=decision_of(run, recording, fold))
    last = len(excerpt.decision.values) if excerpt.decision is not None else float(shown["stop_s"].max())
    data = viewer_data(recording, last, excerpt, shown, annotated.get(recording, ()), alarms)
    return eeg_picture(name, f"{KINDS[item.kind][2]}: {item.place}", excerpt, columns=COLUMNS), data
