"""The ``Seizures-list-PNxx.txt`` files of the Siena Scalp EEG Database, with their known typos.

Times in them are clock times of the day, of seizures and of the registration that holds them.

References
----------
Detti, P. (2020). Siena Scalp EEG Database 1.0.0. PhysioNet.
https://physionet.org/content/siena-scalp-eeg/1.0.0/
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from biot_bd.exceptions import RecordingError

DAY_S = 86400
LONGEST_SEIZURE_S = 1800.0  # published ones last minutes; a wrong hour makes more of them
_CLOCK = re.compile(r"(\d{1,2})[.:](\d{1,2})[.:](\d{1,2})(?:\(.*\))?")
_KEY = re.compile(r"(file name|(?:registration |seizure )?(?:start|end) time)\s*:(.*)", re.IGNORECASE)
_HEADING = re.compile(r"seizure\s+n\b", re.IGNORECASE)
_CHANNELS = re.compile(r"channel(\s+\d+\s*:|s\b)|data sampling rate|pn\d\d\s*$", re.IGNORECASE)
_FILE = re.compile(r"PN\d\d-[\d.]*\d\.edf", re.IGNORECASE)
_LETTER_O = re.compile(r"^PNO(?=\d)", re.IGNORECASE)
_FILES = {"PN01.edf": "PN01-1.edf", "PN11-.edf": "PN11-1.edf"}
# (file, end as listed): the true end.  One hour too late; the seizure began at 18.28.29.
_ENDS = {("PN00-3.edf", 19 * 3600 + 29 * 60 + 29): 18 * 3600 + 29 * 60 + 29}


@dataclass
class ListedRecording:
    """What a list says of one EDF file.

    Attributes
    ----------
    file : str
        Name of the EDF file, typos corrected.
    start_s : int
        Clock time of the registration's start, in seconds from midnight.
    duration_s : int or None
        From the registration's start to its end, None where the list does not say.
    seizures : list of (int, int)
        Onset and offset of each seizure in seconds from the registration's start.
    corrections : list of str
        Typos that were corrected, and lines that were not understood.
    """

    file: str
    start_s: int = -1
    duration_s: int | None = None
    seizures: list[tuple[int, int]] = field(default_factory=list)
    corrections: list[str] = field(default_factory=list)


class _Parser:
    """Reads one list line by line; ``fail`` names file and line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.records: dict[str, ListedRecording] = {}
        self.record: ListedRecording | None = None
        self.has_registration = False
        self.onset_s: int | None = None

    def fail(self, message: str) -> NoReturn:
        raise RecordingError("bad-annotation", f"{self.path}, line {self.number}: {message}; correct the list")

    def parse(self, text: str) -> list[ListedRecording]:
        for self.number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                self.take(line.strip())
        self.close_seizure()
        if not self.records:
            self.fail("no 'File name:' line; expected a list of seizures of the Siena database")
        if without := [record.file for record in self.records.values() if not record.seizures]:
            self.fail(f"{', '.join(without)}: listed without a seizure")
        return list(self.records.values())

    def take(self, line: str) -> None:
        match = _KEY.match(line)
        if match is None:
            self.take_other(line)
            return
        key, value = match[1].lower(), match[2].strip()
        if key == "file name":
            self.open_record(value)
        elif self.record is None:
            self.fail(f"{line!r} stands before the first 'File name:'")
        elif key == "registration start time":
            self.take_start(self.record, self.to_clock(value))
        elif key == "registration end time":
            if self.record.start_s < 0:
                self.fail(f"{self.record.file}: a registration end before its start")
            self.record.duration_s = (self.to_clock(value) - self.record.start_s) % DAY_S
        elif key.endswith("start time"):
            self.take_onset(self.record, self.to_clock(value))
        else:
            self.take_offset(self.record, self.to_clock(value))

    def take_other(self, line: str) -> None:
        """Pass over headings and channels; times that are not understood are an error."""
        if _HEADING.match(line):
            self.close_seizure()
        elif self.record is None or _CHANNELS.match(line):
            return
        elif re.search(r"\d[.:]\d\d[.:]\d", line):
            self.fail(f"expected 'name: time', found {line!r}")
        else:
            self.record.corrections.append(f"line {self.number} of {self.path.name} not understood: {line[:60]!r}")

    def open_record(self, listed: str) -> None:
        self.close_seizure()
        file = _FILES.get(listed, _LETTER_O.sub("PN0", listed))
        if _FILE.fullmatch(file) is None:
            self.fail(f"{listed!r} is no file of the database; expected e.g. PN00-1.edf")
        self.record = self.records.setdefault(file, ListedRecording(file))
        self.has_registration = False
        if file != listed and (said := f"{listed} of the list is {file}") not in self.record.corrections:
            self.record.corrections.append(said)

    def take_start(self, record: ListedRecording, clock_s: int) -> None:
        if record.start_s >= 0 and record.start_s != clock_s:
            self.fail(f"{record.file}: two registration starts, {clock(record.start_s)} and {clock(clock_s)}")
        record.start_s = clock_s
        self.has_registration = True

    def take_onset(self, record: ListedRecording, clock_s: int) -> None:
        if record.start_s < 0:
            self.fail(f"{record.file}: a seizure, and no registration start that its time counts from")
        if self.onset_s is not None:
            self.fail(f"{record.file}: two seizure starts without an end between")
        said = "a seizure without registration lines of its own counts from those above"
        if not self.has_registration and said not in record.corrections:
            record.corrections.append(said)
        self.onset_s = clock_s

    def take_offset(self, record: ListedRecording, clock_s: int) -> None:
        if self.onset_s is None:
            self.fail(f"{record.file}: a seizure end without a start")
        true_s = _ENDS.get((record.file, clock_s), clock_s)
        if true_s != clock_s:
            record.corrections.append(f"seizure end {clock(clock_s)} of the list is {clock(true_s)}")
        onset_s = (self.onset_s - record.start_s) % DAY_S
        duration_s = (true_s - self.onset_s) % DAY_S
        if not 0 < duration_s <= LONGEST_SEIZURE_S:
            self.fail(
                f"{record.file}: a seizure from {clock(self.onset_s)} to {clock(clock_s)} would last {duration_s:,} s; "
                f"expected 1 to {LONGEST_SEIZURE_S:,.0f} s"
            )
        record.seizures.append((onset_s, onset_s + duration_s))
        self.onset_s = None

    def close_seizure(self) -> None:
        if self.onset_s is not None and self.record is not None:
            self.fail(f"{self.record.file}: a seizure start without an end")

    def to_clock(self, value: str) -> int:
        text = re.sub(r"\s+", "", value)
        match = _CLOCK.fullmatch(text)
        if match is None:
            self.fail(f"expected a clock time such as 19.58.36 or 19:58:36, found {value!r}")
        hours, minutes, seconds = map(int, match.groups())
        if hours > 23 or minutes > 59 or seconds > 59:
            self.fail(f"{value!r} is no time of the day")
        if self.record is not None and re.search(r"\d\s+\d", value):
            self.record.corrections.append(f"{value!r} of the list read as {match[0]}")
        return hours * 3600 + minutes * 60 + seconds


def clock(seconds: float) -> str:
    """Return seconds from midnight as the lists write them.

    Examples
    --------
    >>> clock(71916), clock(86400 + 60)
    ('19.58.36', '00.01.00')
    """
    whole = round(seconds) % DAY_S
    return f"{whole // 3600:02d}.{whole // 60 % 60:02d}.{whole % 60:02d}"


def read_seizure_list(path: str | os.PathLike[str]) -> list[ListedRecording]:
    r"""Read one ``Seizures-list-PNxx.txt``.

    Parameters
    ----------
    path : path-like
        The list.

    Returns
    -------
    list of ListedRecording
        One a file, in the order of the list.

    Raises
    ------
    RecordingError
        ``bad-annotation``: a time is not understood, a start or end is missing, two lines
        contradict each other, or a seizure would last longer than half an hour, as with a wrong
        hour.  Names file and line.

    Notes
    -----
    Typos of the published lists that are corrected: ``PN01.edf`` for PN01-1, ``PNO6`` with the
    letter O, ``PN11-.edf``, a blank within a time (PN10), the end of the seizure of PN00-3 (an hour
    late), and seizures without registration lines of their own (PN01, PN12).

    Examples
    --------
    >>> import tempfile
    >>> lines = ["File name: PN11-.edf ", "Registration start time: 23.59.00"]
    >>> lines += ["Seizure start time: 00:01:00", "Seizure end time:00.02.10"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "Seizures-list-PN11.txt")
    ...     _ = path.write_text("\n".join(lines))
    ...     found = read_seizure_list(path)
    >>> found[0].file, found[0].seizures, found[0].corrections
    ('PN11-1.edf', [(120, 190)], ['PN11-.edf of the list is PN11-1.edf'])
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = path.read_text(encoding="latin-1")
    return _Parser(path).parse(text)
