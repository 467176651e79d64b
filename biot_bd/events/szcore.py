"""Event tables of SzCORE and BIDS: ``onset``, ``duration`` and ``eventType``, between tabs.

References
----------
Dan, J. et al. (2025). SzCORE: Seizure Community Open-Source Research Evaluation framework.
Epilepsia, 66, 14-24.
"""

from __future__ import annotations

import math
import os
from typing import NamedTuple

from biot_bd.events.tables import Row, Table, number, read_table
from biot_bd.events.texts import SEIZURE, seizure_kind

COLUMNS = ("onset", "duration", "eventType")
OTHER_KINDS = ("bckg", "impd")  # background, impedance check


class TableRow(NamedTuple):
    """One row of an event table: seconds from the recording's start, SzCORE type, confidence."""

    onset_s: float
    duration_s: float
    kind: str
    confidence: float | None = None


def read_events(path: str | os.PathLike[str]) -> list[TableRow]:
    r"""Read a SzCORE event table.

    Parameters
    ----------
    path : path-like
        Tab-separated, with the columns ``onset``, ``duration`` (seconds) and ``eventType``.

    Returns
    -------
    list of TableRow
        Types that say so by their words (``sz``, ``sz_foc``, ``focal seizure``) are seizures,
        ``bckg`` is background, ``impd`` an impedance check.  Case does not matter, and ``seizure``
        is read as ``sz``.  Background and checks without times (``n/a``) are left out.

    Raises
    ------
    RecordingError
        ``bad-annotation``: a column is missing, a number is none or not finite, a duration is
        negative, or a type is empty or unknown; names file and line.

    See Also
    --------
    biot_bd.events.tables.read_table : The cells as they stand in the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "x_events.tsv")
    ...     _ = path.write_text("onset\tduration\teventType\n60\t20\tsz_foc\n")
    ...     read_events(path)
    [TableRow(onset_s=60.0, duration_s=20.0, kind='sz_foc', confidence=None)]
    """
    return events_of(read_table(path, COLUMNS))


def events_of(table: Table) -> list[TableRow]:
    """Return the events of a table with the :data:`COLUMNS`; errors as in :func:`read_events`."""
    events = []
    for row in table.rows:
        kind = _kind(row)
        timeless = row.get("onset") is None or row.get("duration") is None
        if kind.startswith(SEIZURE) or not timeless:
            onset_s, duration_s = row.seconds("onset"), row.seconds("duration")
            if (kind.startswith(SEIZURE) and duration_s < 0) or not math.isfinite(onset_s + duration_s):
                raise row.error(
                    f"from {onset_s:g} s for {duration_s:g} s; expected a duration of 0 s or more and a finite end"
                )
            events.append(TableRow(onset_s, duration_s, kind, number(row.get("confidence") or "")))
    return events


def _kind(row: Row) -> str:
    kind = row.get("eventType")
    if kind is None:
        raise row.error(f"eventType is {row['eventType']!r}; expected e.g. sz or bckg")
    # By whole words: what only begins with sz (Szene, szintigraphy) is none.
    known = seizure_kind(kind) or kind.lower()
    if known not in OTHER_KINDS and seizure_kind(kind) is None:
        raise row.error(
            f"unknown eventType {kind!r}; expected sz (or sz_..., seizure), {', '.join(OTHER_KINDS)}; rename it, or remove the row"
        )
    return known
