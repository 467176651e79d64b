"""Event tables of SzCORE and BIDS: ``..._events.tsv`` with ``onset``, ``duration`` and ``eventType``.

References
----------
Dan, J. et al. (2025). SzCORE: Seizure Community Open-Source Research Evaluation framework.
Epilepsia, 66, 14-24.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import mne
import pandas as pd

from biot_bd.datasets.recordings import SEIZURE, recorded, seizure_kind, set_seizures
from biot_bd.exceptions import RecordingError
from biot_bd.io.timeline import set_annotations, timeline_of

COLUMNS = ("onset", "duration", "eventType")
OTHER_KINDS = ("bckg", "impd")  # background, impedance check


@dataclass(frozen=True)
class Event:
    """One row of an event table: seconds from the recording's start, and the SzCORE type."""

    onset_s: float
    duration_s: float
    kind: str


def read_events(path: str | os.PathLike[str]) -> list[Event]:
    """Read a SzCORE event table.

    Parameters
    ----------
    path : path-like
        Tab-separated, with the columns ``onset``, ``duration`` (seconds) and ``eventType``.

    Returns
    -------
    list of Event
        Every row: types that begin with ``sz`` are seizures, ``bckg`` is background, ``impd`` an
        impedance check.  Case does not matter, and ``seizure`` is read as ``sz``.

    Raises
    ------
    RecordingError
        ``bad-annotation``: a column is missing, a number is none, or a type is empty or unknown;
        names file and row.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise RecordingError("bad-annotation", f"{path}: not a tab-separated table ({error})") from error
    table.columns = table.columns.str.strip()
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise RecordingError(
            "bad-annotation", f"{path}: has no column {missing}; expected {list(COLUMNS)}, found {list(table.columns)}"
        )
    rows = zip(table["onset"], table["duration"], table["eventType"], strict=True)
    return [_event(path, line, *row) for line, row in enumerate(rows, start=2)]


def _event(path: Path, line: int, onset: str, duration: str, kind: str) -> Event:
    try:
        event = Event(float(onset), float(duration), kind.strip())
    except ValueError:
        raise RecordingError(
            "bad-annotation", f"{path}, line {line}: onset {onset!r} and duration {duration!r} are not both numbers"
        ) from None
    if event.kind in ("", "n/a"):
        raise RecordingError("bad-annotation", f"{path}, line {line}: eventType is {kind!r}; expected e.g. sz or bckg")
    known = seizure_kind(event.kind) or event.kind.lower()
    if not known.startswith(SEIZURE) and known not in OTHER_KINDS:
        raise RecordingError(
            "bad-annotation",
            f"{path}, line {line}: unknown eventType {event.kind!r}; expected sz (or sz_..., seizure), "
            f"{', '.join(OTHER_KINDS)}; rename it, or remove the row",
        )
    return Event(event.onset_s, event.duration_s, known)


def set_events(raw: mne.io.BaseRaw, path: str | os.PathLike[str]) -> None:
    """Replace the annotations of ``raw`` by an event table, the type as description.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Changed in place.
    path : path-like
        The table.

    Raises
    ------
    RecordingError
        The table is not understood, or a seizure is not inside the recording.
    """
    events = read_events(path)
    others = [e for e in events if not e.kind.startswith(SEIZURE)]
    line = timeline_of(raw, samples=False)
    rows = [(e.onset_s, e.onset_s + max(0.0, e.duration_s), e.kind) for e in others]
    set_annotations(raw, recorded(line, rows))
    seizures = [e for e in events if e.kind.startswith(SEIZURE)]
    set_seizures(
        raw,
        [(e.onset_s, e.onset_s + e.duration_s) for e in seizures],
        where=str(path),
        kinds=[e.kind for e in seizures],
    )
