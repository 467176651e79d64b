"""The gallery of the report: seizures found, seizures missed and false alarms over the EEG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from biot_bd.exceptions import StoreError
from biot_bd.report.drawing.curves import eeg_picture
from biot_bd.report.drawing.svg import Picture
from biot_bd.report.examples import Seizures, excerpt_of, seizures_of
from biot_bd.report.run_folder import Run
from biot_bd.windows import Windows

EACH = 4
"""Pictures of each kind: a picture of EEG weighs about 150 kB."""
MARGIN_S = 20.0
LONGEST_S = 120.0
COLUMNS = 480

KINDS = (
    ("hit", "Detected seizures", "No seizure was detected."),
    ("miss", "Missed seizures", "No seizure was missed."),
    ("false alarm", "False alarms", "There was no false alarm."),
)


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


def choose_items(events: Mapping[str, Any], each: int = EACH) -> dict[str, tuple[list[Item], int]]:
    """Choose events of each kind by a fixed rule.

    Parameters
    ----------
    events : mapping
        ``events`` of ``metrics.json``: ``seizures``, ``detections``, ``scorer``, whose parameters say how far from a seizure an alarm
        still belongs to it.
    each : int
        Most of a kind.

    Returns
    -------
    dict
        Kind -> (items, number of all of that kind).  Subjects take turns, each with the longest seizure first (false alarms: the most confident).
    """
    before, after = (float(events["scorer"]["parameters"][name]) for name in ("tolerance_start_s", "tolerance_end_s"))
    found: dict[str, list[Item]] = {kind: [] for kind, *_ in KINDS}
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
    chosen = choose_items(events)
    message = no_eeg
    annotated = seizures_of(windows) if windows is not None else {}
    kinds = []
    for kind, title, none in KINDS:
        items, total = chosen[kind]
        shown = []
        for index, item in enumerate(items):
            entry: dict[str, Any] = {"title": _title(item), "caption": _caption(item), "picture": None}
            if windows is not None and message is None:
                try:
                    name = f"gallery-{kind.replace(' ', '-')}-{index}"
                    entry["picture"] = _picture(name, item, windows, run, annotated)
                except (StoreError, OSError) as error:
                    message = str(error)
            shown.append(entry)
        kinds.append(
            {
                "kind": kind,
                "id": f"gallery-{kind.replace(' ', '-')}",
                "title": title,
                "none": none,
                "shown": shown,
                "total": total,
            }
        )
    return {"message": message, "kinds": kinds}


def _title(item: Item) -> str:
    return f"{item.recording}, {item.onset_s:.0f} to {item.offset_s:.0f} s"


def _caption(item: Item) -> str:
    text = f"Subject {item.subject}. "
    length = f"{item.offset_s - item.onset_s:.0f} s"
    if item.kind == "hit":
        return f"{text}Seizure of {length}, alarm {_latency(item.latency_s)}."
    if item.kind == "miss":
        return f"{text}Seizure of {length} without an alarm."
    sure = "" if item.confidence is None else f", confidence {item.confidence:.2f}"
    return f"{text}Alarm of {length}{sure}, with no annotated seizure near."


def _latency(latency_s: float | None) -> str:
    if latency_s is None:
        return "at an unknown time"
    return f"{abs(latency_s):.1f} s {'after' if latency_s >= 0 else 'before'} its onset"


def _picture(name: str, item: Item, windows: Windows, run: Run, annotated: Seizures) -> Picture:
    shown = run.test[run.test["recording"] == item.recording]
    if len(shown) == 0:
        raise StoreError(f"the run has no test windows of recording {item.recording}")
    fold = int(np.asarray(shown["fold"])[0])
    rows = [row for row in run.metrics["events"]["detections"] if row["recording"] == item.recording]
    alarms = [(row["onset_s"], row["offset_s"]) for row in rows if row.get("fold", fold) == fold]
    low = item.onset_s - MARGIN_S
    span = (low, min(item.offset_s + MARGIN_S, low + LONGEST_S))
    excerpt = excerpt_of(windows, shown[shown["fold"] == fold], item.recording, span, annotated, alarms)
    kind = {"hit": "Detected seizure", "miss": "Missed seizure", "false alarm": "False alarm"}[item.kind]
    return eeg_picture(name, f"{kind}: {_title(item)}", excerpt, columns=COLUMNS)
