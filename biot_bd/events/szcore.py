"""Event tables of SzCORE and BIDS.

``..._events.tsv`` with ``onset``, ``duration`` and ``eventType``.

References
----------
Dan, J. et al. (2025). SzCORE: Seizure Community Open-Source Research Evaluation framework.
Epilepsia, 66, 14-24.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from biot_bd.exceptions import RecordingError

SEIZURE = "sz"
"""How the description of a seizure begins."""
COLUMNS = ("onset", "duration", "eventType")
OTHER_KINDS = ("bckg", "impd")  # background, impedance check


def seizure_kind(text: str) -> str | None:
    """Return the description of a seizure so that it begins with ``sz``.

    None where the text is no seizure.

    ``sz...`` and ``seiz...`` are seizures in any case (``SZ``, ``Seizure``), except where the text
    says ``free``.

    Parameters
    ----------
    text : str
        An event type or annotation.

    Returns
    -------
    str or None

    See Also
    --------
    read_event_file : Reads files of events.

    Examples
    --------
    >>> seizure_kind("Seizure"), seizure_kind("sz_foc"), seizure_kind("seizure free")
    ('sz', 'sz_foc', None)
    """
    text = text.strip()
    low = text.lower()
    if low.startswith(SEIZURE):
        return SEIZURE + text[len(SEIZURE) :]
    return SEIZURE if low.startswith("seiz") and "free" not in low else None


class TableRow(NamedTuple):
    """One row of an event table: seconds from the recording's start, and the SzCORE type."""

    onset_s: float
    duration_s: float
    kind: str


def read_events(path: str | os.PathLike[str]) -> list[TableRow]:
    """Read a SzCORE event table.

    Parameters
    ----------
    path : path-like
        Tab-separated, with the columns ``onset``, ``duration`` (seconds) and ``eventType``.

    Returns
    -------
    list of TableRow
        Every row: types that begin with ``sz`` are seizures, ``bckg`` is background, ``impd`` an
        impedance check.  Case does not matter, and ``seizure`` is read as ``sz``.

    Raises
    ------
    RecordingError
        ``bad-annotation``: a column is missing, a number is none, or a type is empty or unknown;
        names file and row.
    """
    path = Path(path)
    return rows_of(read_table(path), path)


def read_table(path: Path) -> pd.DataFrame:
    """Return a SzCORE table as texts, with at least its three columns.

    Errors as in :func:`read_events`.
    """
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
    return table


def rows_of(table: pd.DataFrame, path: Path) -> list[TableRow]:
    """Return the rows of a table of :func:`read_table`; errors as in :func:`read_events`."""
    rows = zip(table["onset"], table["duration"], table["eventType"], strict=True)
    return [_event(path, line, *row) for line, row in enumerate(rows, start=2)]


def _event(path: Path, line: int, onset: str, duration: str, kind: str) -> TableRow:
    try:
        event = TableRow(float(onset), float(duration), kind.strip())
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
    return TableRow(event.onset_s, event.duration_s, known)
