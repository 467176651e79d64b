"""Tables of events as text: no quote rules, every number checked with its line.

SzCORE and BIDS tables (TSV) and TUSZ ``csv_bi`` know no quoting: a quotation mark in a nurse's note
is part of the note.
"""

from __future__ import annotations

import codecs
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path

from biot_bd.exceptions import RecordingError
from biot_bd.io.notes import one_line

ABSENT = ("", "n/a")
"""What stands for no value in a cell."""

# As the standards write numbers; Python's float() would take "6_0", too, and "infinity".
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(:\d\d(\.\d+)?)?)\s*(Z|[+-]\d\d:?\d\d)?")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Parameters
    ----------
    table : str
        The file, for messages.
    line : int
        Where it stands in the file, from 1.
    cells : dict of str
        By column, without blanks around; a cell that the row lacks is ``""``.

    Examples
    --------
    >>> row = Row("x.tsv", 2, {"onset": "60.00", "duration": "nan"})
    >>> row.seconds("onset")
    60.0
    >>> try:
    ...     row.seconds("duration")
    ... except ValueError as error:
    ...     print(error)
    x.tsv, line 2: duration is 'nan', which is not finite; expected seconds
    """

    table: str
    line: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def get(self, column: str) -> str | None:
        """Return a cell; None where there is no such column or it says ``n/a`` or nothing."""
        cell = self.cells.get(column, "")
        return None if cell.lower() in ABSENT else cell

    def seconds(self, column: str) -> float:
        """Return a cell as a finite number.

        Raises
        ------
        RecordingError
            ``bad-annotation``: it is no number, or not finite; names file, line, column and what
            was found.
        """
        value = number(self.cells[column])
        if value is None:
            raise self.error(f"{column} is {self.cells[column]!r}{_why(self.cells[column])}; expected seconds")
        return value

    def error(self, message: str) -> RecordingError:
        """Return an error that names file and line."""
        return RecordingError("bad-annotation", f"{self.table}, line {self.line}: {message}")


@dataclass(frozen=True)
class Table:
    """What a table holds.

    Parameters
    ----------
    path : Path
        The file.
    columns : tuple of str
        Of its first line.
    rows : tuple of Row
        In the order of the file; empty where there is only a first line.
    comments : tuple of str
        Lines before the columns that begin with ``#``.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    comments: tuple[str, ...] = ()

    @property
    def is_header_only(self) -> bool:
        """Whether there is no row at all."""
        return not self.rows


def read_table(path: str | os.PathLike[str], required: Sequence[str] = (), *, separator: str = "\t") -> Table:
    r"""Read a table of text.

    Parameters
    ----------
    path : path-like
        UTF-8 with or without its mark, UTF-16 with it, else Latin-1; line ends of any system.
    required : sequence of str
        Columns that must be there.
    separator : str, default="\t"
        Between cells; a separator behind the last cell means nothing, and quotation marks are
        letters like others.

    Returns
    -------
    Table
        Empty lines are left out.

    Raises
    ------
    RecordingError
        ``bad-annotation``: no text, no columns, one that is required is missing or stands twice, or
        a row has more cells than there are columns.  Names file and line.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "x_events.tsv")
    ...     _ = path.write_text('onset\tduration\tnote\n60\t20\t"aura\n')
    ...     table = read_table(path, ["onset", "duration"])
    >>> table.rows[0]["note"]
    '"aura'
    """
    path = Path(path)
    lines = [(number, line) for number, line in enumerate(_lines(path), start=1) if line.strip()]
    # Only before the columns: a row may begin with any note.
    comments = tuple(line for _, line in takewhile(lambda numbered: numbered[1].startswith("#"), lines))
    lines = lines[len(comments) :]
    if not lines:
        raise RecordingError("bad-annotation", f"{path}: the table is empty; expected a line of columns")
    columns = _columns(path, _cells(lines[0][1], separator), required)
    rows = tuple(_row(path, number, _cells(line, separator), columns) for number, line in lines[1:])
    return Table(path, columns, rows, comments)


def number(text: str) -> float | None:
    """Return a text as a finite number; None where it is none.

    Examples
    --------
    >>> number("60.5"), number("60,5"), number("6_0"), number("inf"), number("1e999")
    (60.5, None, None, None, None)
    """
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def clock_time(text: str) -> datetime | None:
    """Return a date and time as SzCORE tables write them; None where it is written otherwise.

    Parameters
    ----------
    text : str
        Year first, as in ``2020-03-02 10:11:12``; whether 02.03.2020 is in February or March is not
        guessed.  A time zone is left out: what counts is the clock on the wall.

    Returns
    -------
    datetime or None

    Examples
    --------
    >>> clock_time("2020-03-02 10:11:12.5")
    datetime.datetime(2020, 3, 2, 10, 11, 12, 500000)
    >>> clock_time("02.03.2020 10:11:12") is None
    True
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return datetime.fromisoformat(f"{match[1]} {match[2]}")
    except ValueError:
        return None


def _lines(path: Path) -> list[str]:
    data = path.read_bytes()
    if data.startswith(_UTF16):
        text = data.decode("utf-16", errors="replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    if "\0" in text:
        raise RecordingError("bad-annotation", f"{path}: is no text; expected a table")
    # Not splitlines(): it also breaks at letters that occur in notes.
    return re.split(r"\r\n|\n|\r", text)


def _cells(line: str, separator: str) -> list[str]:
    cells = [cell.strip() for cell in line.split(separator)]
    while len(cells) > 1 and not cells[-1]:
        cells.pop()
    return cells


def _columns(path: Path, columns: list[str], required: Sequence[str]) -> tuple[str, ...]:
    missing = [name for name in required if name not in columns]
    if missing:
        advice = ""
        if len(columns) == 1 and re.search("[,;\t]", columns[0]):
            advice = "; other characters stand between the cells than are expected, which are tabs in .tsv and commas in .csv_bi"
        elif any(column.startswith('"') for column in columns):
            advice = "; write it without quotation marks, which are letters in such tables"
        raise RecordingError(
            "bad-annotation",
            f"{path}: has no column {', '.join(missing)}; expected {', '.join(required)}, found {one_line(', '.join(columns))}{advice}",
        )
    twice = [name for name in required if columns.count(name) > 1]
    if twice:
        raise RecordingError("bad-annotation", f"{path}: the column {twice[0]!r} stands there more than once; keep one")
    return tuple(columns)


def _row(path: Path, line: int, cells: list[str], columns: tuple[str, ...]) -> Row:
    if len(cells) > len(columns):
        raise RecordingError(
            "bad-annotation", f"{path}, line {line}: has {len(cells)} cells for {len(columns)} columns; correct the row"
        )
    return Row(str(path), line, dict(zip(columns, [*cells, *[""] * (len(columns) - len(cells))], strict=True)))


def _why(text: str) -> str:
    """Say why a text is no number of seconds."""
    if _NOT_FINITE.fullmatch(text) or _NUMBER.fullmatch(text):
        return ", which is not finite"
    if re.fullmatch(r"[+-]?\d+,\d+", text):
        return ", with a comma for the decimal point"
    return ", which is no number"
