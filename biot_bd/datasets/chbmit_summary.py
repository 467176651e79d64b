"""The ``chbNN-summary.txt`` files of CHB-MIT."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

_LINE = re.compile(r"\s*([^:]+?)\s*:\s*(.*?)\s*$")
_SEIZURE = re.compile(r"Seizure(?:\s+\d+)?\s+(Start|End)\s+Time", re.IGNORECASE)
_CHANNEL = re.compile(r"Channel\s+\d+", re.IGNORECASE)
_DAY_S = 86400


@dataclass
class SummaryRecord:
    """What a summary says of one EDF file.

    Attributes
    ----------
    file : str
        Name of the EDF file.
    ch_names : tuple of str
        Channels as the summary names them, dummy channels (``-``, ``.``) and repeated names
        included.
    seizures : list of (int, int)
        Onset and offset of each seizure in seconds from the file's start.
    sfreq : float
        Sampling rate in Hz.
    start_s, end_s : int or None
        Start and end in seconds from midnight of the day it starts on, None where the summary has
        no times (case 24). Summaries write hours past 24 for some files; an end before the start is
        a midnight that was passed.
    """

    file: str
    ch_names: tuple[str, ...]
    sfreq: float
    seizures: list[tuple[int, int]] = field(default_factory=list)
    start_s: int | None = None
    end_s: int | None = None


class _Parser:
    """Reads one summary line by line; ``fail`` names file and line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.sfreq: float | None = None
        self.ch_names: list[str] = []
        self.records: list[SummaryRecord] = []
        self.declared: int | None = None
        self.onset: int | None = None

    def fail(self, message: str) -> ValueError:
        return ValueError(f"{self.path}, line {self.number}: {message}")

    def parse(self, text: str) -> list[SummaryRecord]:
        for self.number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or set(line.strip()) == {"*"}:
                continue
            match = _LINE.match(line)
            if match is None:
                raise self.fail(f"expected 'name: value', found {line.strip()!r}")
            self.take(match[1], match[2])
        self.finish_record()
        if not self.records:
            raise self.fail("no 'File Name:' entry; is this a CHB-MIT summary?")
        return self.records

    def take(self, key: str, value: str) -> None:
        name = key.lower()
        if name == "data sampling rate":
            self.sfreq = self.to_number(value, "Hz")
            if self.sfreq == 0:
                raise self.fail(f"expected a sampling rate above 0 Hz, found {value!r}")
        elif name in ("channels in edf files", "channels changed"):
            self.finish_record()
            self.ch_names = []
        elif _CHANNEL.fullmatch(key):
            self.ch_names.append(value)
        elif name == "file name":
            self.start_record(value)
        elif name == "file start time":
            self.record.start_s = self.to_clock(value)
        elif name == "file end time":
            self.record.end_s = self.to_clock(value)
        elif name == "number of seizures in file":
            self.declared = int(self.to_number(value, ""))
        elif match := _SEIZURE.fullmatch(key):
            self.take_seizure(match[1].lower(), int(self.to_number(value, "seconds")))
        else:
            raise self.fail(f"unknown entry {key!r}")

    @property
    def record(self) -> SummaryRecord:
        if not self.records:
            raise self.fail("an entry stands before the first 'File Name:'")
        return self.records[-1]

    def start_record(self, file: str) -> None:
        self.finish_record()
        if not file or re.search(r"[/\\]", file) or file.startswith("."):
            raise self.fail(f"{file!r} is not a plain file name")
        if any(record.file == file for record in self.records):
            raise self.fail(f"{file} is listed twice")
        if self.sfreq is None or not self.ch_names:
            raise self.fail(f"{file} is listed before the sampling rate and the channels")
        self.records.append(SummaryRecord(file, tuple(self.ch_names), self.sfreq))
        self.declared = None

    def take_seizure(self, which: str, seconds: int) -> None:
        if which == "start":
            if self.onset is not None:
                raise self.fail(f"{self.record.file}: two seizure starts without an end between")
            self.onset = seconds
            return
        if self.onset is None:
            raise self.fail(f"{self.record.file}: a seizure end without a start")
        self.record.seizures.append((self.onset, seconds))
        self.onset = None

    def finish_record(self) -> None:
        """Check the entry that ends here."""
        if not self.records:
            return
        record = self.records[-1]
        if self.onset is not None:
            raise self.fail(f"{record.file}: a seizure start without an end")
        # A channel block ends an entry as well, so an entry may be finished twice; its count stays.
        if self.declared != len(record.seizures):
            said = "not given" if self.declared is None else f"{self.declared}"
            raise self.fail(f"{record.file}: number of seizures is {said}, but {len(record.seizures)} are listed")
        if record.start_s is not None and record.end_s is not None and record.end_s < record.start_s:
            record.end_s += _DAY_S

    def to_number(self, value: str, unit: str) -> float:
        match = re.fullmatch(rf"(\d{{1,15}}(?:\.\d+)?)\s*(?:{unit})?", value, re.IGNORECASE)
        if match is None:
            raise self.fail(f"expected a number{f' of {unit}' if unit else ''}, found {value[:40]!r}")
        return float(match[1])

    def to_clock(self, value: str) -> int:
        match = re.fullmatch(r"(\d{1,2}):(\d{2}):(\d{2})", value)
        if match is None:
            raise self.fail(f"expected a time as hh:mm:ss, found {value!r}")
        hours, minutes, seconds = map(int, match.groups())
        return hours * 3600 + minutes * 60 + seconds


def read_summary(path: str | os.PathLike[str]) -> list[SummaryRecord]:
    """Read one ``chbNN-summary.txt``.

    Parameters
    ----------
    path : path-like
        The summary.

    Returns
    -------
    list of SummaryRecord
        One record a file, in the order of the summary, with ``file``, ``ch_names`` and
        ``seizures``.

    Raises
    ------
    ValueError
        A line is not understood, or the number of seizures is not that of the times listed; names
        file and line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error})") from error
    return _Parser(path).parse(text)
