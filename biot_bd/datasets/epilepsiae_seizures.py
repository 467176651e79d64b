"""The seizure table of EPILEPSIAE, which lies in its database and not beside the recordings."""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
from dataclasses import dataclass
from pathlib import Path

from biot_bd.exceptions import RecordingError
from biot_bd.io.epilepsiae import epilepsiae_clock

COLUMNS = ("pat_id", "eeg_onset", "eeg_offset", "clin_onset", "clin_offset")
_NULL = ("", "null", "\\n", "none", "n/a", "nan")


@dataclass(frozen=True)
class ListedSeizure:
    """A seizure of the table, in clock time.

    Parameters
    ----------
    patient : str
        ``pat_id``, without what stands before it in folders (``pat_``).
    onset : datetime.datetime
        By EEG, else clinical.
    stop : datetime.datetime or None
        By EEG, else clinical; None where neither is known.
    notes : tuple of str
        Which of them are clinical.
    where : str
        File and line.
    """

    patient: str
    onset: dt.datetime
    stop: dt.datetime | None
    notes: tuple[str, ...]
    where: str


def read_seizure_table(path: str | os.PathLike[str]) -> list[ListedSeizure]:
    r"""Read the seizures that the database lists, exported as CSV.

    Parameters
    ----------
    path : path-like
        With a line of columns, ``pat_id``, ``eeg_onset``, ``eeg_offset``, ``clin_onset`` and
        ``clin_offset`` among them, between commas, semicolons or tabs.  Times are clock times, year
        first; empty cells, ``NULL`` and ``\N`` are not known.

    Returns
    -------
    list of ListedSeizure

    Raises
    ------
    FileNotFoundError
        There is no such file.
    RecordingError
        ``bad-annotation``: a column is missing, a time is none, a seizure has no onset or ends
        before it begins; names file and line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "seizures.csv")
    ...     _ = path.write_text(",".join(COLUMNS) + "\n1,NULL,NULL,2008-11-03 12:30:00,NULL\n")
    ...     seizure = read_seizure_table(path)[0]
    >>> str(seizure.onset), seizure.stop, seizure.notes
    ('2008-11-03 12:30:00+00:00', None, ('onset is clinical',))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"seizures={path}: no such file; expected a CSV with the columns {', '.join(COLUMNS)}")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    columns = [str(name).strip().lower() for name in rows.fieldnames or ()]
    if missing := [name for name in COLUMNS if name not in columns]:
        raise RecordingError(
            "bad-annotation",
            f"{path}: has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}, found {', '.join(columns) or 'none'}",
        )
    rows.fieldnames = columns
    found = []
    for row in rows:
        cells = {name: (row[name] or "").strip() for name in COLUMNS}
        if any(cells.values()):
            found.append(_seizure(cells, f"{path}, line {rows.line_num}"))
    return found


def _seizure(cells: dict[str, str], where: str) -> ListedSeizure:
    patient = cells["pat_id"].removeprefix("pat_")
    if patient.lower() in _NULL:
        raise RecordingError("bad-annotation", f"{where}: pat_id is {cells['pat_id']!r}; expected a patient, e.g. 102")
    times = {name: _time(cells[name], name, where) for name in COLUMNS[1:]}
    onset, notes = times["eeg_onset"], list[str]()
    if onset is None:
        onset = times["clin_onset"]
        notes.append("onset is clinical")
    if onset is None:
        raise RecordingError("bad-annotation", f"{where}: neither eeg_onset nor clin_onset is known; remove the row")
    stop = times["eeg_offset"]
    if stop is None and times["clin_offset"] is not None:
        stop = times["clin_offset"]
        notes.append("stop is clinical")
    if stop is not None and stop <= onset:
        raise RecordingError("bad-annotation", f"{where}: begins at {onset} and ends at {stop}; correct the row")
    return ListedSeizure(patient, onset, stop, tuple(notes), where)


def _time(text: str, column: str, where: str) -> dt.datetime | None:
    if text.lower() in _NULL:
        return None
    found = epilepsiae_clock(text)
    if found is None:
        raise RecordingError(
            "bad-annotation", f"{where}: {column} is {text!r}; expected e.g. 2008-11-03 12:28:32, or NULL"
        )
    return found
