"""The times of EDF and BDF files: stamps of records, BioSemi's status channel, start, annotations.

References
----------
https://www.edfplus.info/specs/edfplus.html
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_header import ANNOTATIONS, EdfHeader, read_edf_header
from biot_bd.io.notes import one_line
from biot_bd.io.segments import MOST_DRIFT, TOLERANCE_S, TimeLine, cut, from_stamps

STAMP_BYTES = 32
MOST_RECORDS = 2**25
AT_ONCE_BYTES = 2**24
# Where the bit is set more often than once in ten seconds it is not BioSemi's.
SHORTEST_EPOCH_S = 10.0
# Onset, duration, texts; annotations end with a byte 0.
_TAL = re.compile(rb"([+-]\d+\.?\d*)(?:\x15(\d*\.?\d*))?\x14([^\x00]*)")
SLOWEST_HZ = 1e-6
MOST_MISTAKEN = 0.1  # of the duration of a record
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def _place(header: EdfHeader, index: int) -> tuple[int, int]:
    """Return where a signal's bytes begin and end within a record."""
    before = header.sample_bytes * sum(header.samples[:index])
    return before, before + header.sample_bytes * header.samples[index]


def _records(header: EdfHeader, n_records: int) -> NDArray[np.uint8]:
    """Map the records ``(n_records, bytes)``; nothing is read yet."""
    return np.memmap(header.path, np.uint8, "r", header.n_bytes, (n_records, header.record_bytes))


def _stamped(header: EdfHeader) -> int | None:
    """Return which signal holds the time stamps of records, None where no signal does.

    Files that have it without saying that they are EDF+ are read as EDF+C.
    """
    return next((i for i, label in enumerate(header.labels) if label in ANNOTATIONS), None)


def counted_records(header: EdfHeader) -> int:
    """Return how many records are read.

    Those that the header declares, for what lies behind them may be anything, unless their time
    stamps go on; all where it declares none.
    """
    if header.declared < 1 or header.present <= header.declared:
        return header.present
    index = _stamped(header)
    if index is None:
        return header.declared
    stamps_s = _stamps(header, index, header.present)[header.declared - 1 :]
    going_on = np.abs(np.diff(stamps_s) - header.record_s) <= TOLERANCE_S + MOST_DRIFT * header.record_s
    return header.declared + (len(going_on) if going_on.all() else int(going_on.argmin()))


def length_note(header: EdfHeader) -> str | None:
    """Say where a file does not hold what its header declares; None where it does."""
    if header.cut_short:
        return f"cut short: {header.cut_short}; what is there was used"
    counted = counted_records(header)
    surplus = header.path.stat().st_size - header.n_bytes - counted * header.record_bytes
    told = []
    if header.declared < 1:
        told.append(f"the header does not say how many records there are; {counted} were found")
    elif counted > header.declared:
        told.append(f"the header declares {header.declared} records; time stamps go on, and {counted} were read")
    if surplus:
        told.append(f"{surplus} bytes behind the {counted} records are not of the recording by its header: not read")
    return "; ".join(told) or None


def edf_timeline(path: str | os.PathLike[str], *, samples: bool = True) -> TimeLine:
    """Return the time line of an EDF or BDF file, by stamps of records and the status channel.

    Parameters
    ----------
    path : path
        The file.
    samples : bool, default=True
        Read BioSemi's status channel.

    Returns
    -------
    TimeLine
        Samples are counted at the rate of the fastest signal, as MNE does.

    Raises
    ------
    RecordingError
        The header is not that of an EDF or BDF file, records of an EDF+D file are out of order or
        without a stamp.
    """
    path = Path(path)
    header = read_edf_header(path)
    ordinary = [n for label, n in zip(header.labels, header.samples, strict=True) if label not in ANNOTATIONS]
    n_records = counted_records(header)
    wrong = None
    if min(header.samples) < 0 or not ordinary or max(ordinary) < 1 or n_records < 1:
        wrong = "it holds no samples"
    elif not (np.isfinite(header.record_s) and header.record_s > 0):
        wrong = f"records last {header.record_s:g} s"
    elif n_records > MOST_RECORDS:
        wrong = f"{n_records} records; at most {MOST_RECORDS} are read"
    elif not SLOWEST_HZ < max(ordinary) / header.record_s < 1 / SLOWEST_HZ:
        wrong = f"{max(ordinary)} samples in records of {header.record_s:g} s are no rate of EEG"
    if wrong:
        raise RecordingError("unreadable", f"{path}: the header is not that of an EDF or BDF file ({wrong})")
    each = max(ordinary)
    sfreq, n_samples = each / header.record_s, each * n_records
    start, notes = _edf_start(path)
    line = TimeLine.continuous(n_samples, sfreq)
    first_s = 0.0
    stamped = _stamped(header)
    if stamped is not None:
        line, first_s, told = _edf_stamped(header, stamped, line)
        notes += told
    elif _is_interrupted(header):
        raise RecordingError("unreadable", f"{path}: is {header.kind} without a signal of annotations: {_ADVICE}")
    clock = None if start is None else start + dt.timedelta(seconds=first_s)
    line = replace(line, start_time=clock, remarks=(*notes, *line.remarks))
    if samples and header.sample_bytes == 3 and "Status" in header.labels:
        line = _with_status(header, line)
    return line


_ADVICE = "its times cannot be told; export it as a continuous file, or one file for each stretch"


def _is_interrupted(header: EdfHeader) -> bool:
    return header.kind.upper() in ("EDF+D", "BDF+D")


def _edf_stamped(header: EdfHeader, index: int, plain: TimeLine) -> tuple[TimeLine, float, list[str]]:
    """Return the time line by the records' stamps, the first of them, and notes."""
    n_records = counted_records(header)
    stamps_s = _stamps(header, index, n_records)
    known = np.flatnonzero(np.isfinite(stamps_s))
    strict = _is_interrupted(header)
    if strict and len(known) < n_records:
        number = int(np.flatnonzero(~np.isfinite(stamps_s))[0]) + 1
        raise RecordingError(
            "unreadable", f"{header.path}: is {header.kind}, and record {number} does not say when it begins: {_ADVICE}"
        )
    if not len(known):
        return plain, 0.0, []
    if known[0]:  # records before the first stamp are counted back from it
        known = np.insert(known, 0, 0)
        stamps_s[0] = stamps_s[known[1]] - known[1] * header.record_s
    _check_duration(header, stamps_s[known], known)
    each = plain.n_samples // n_records
    try:
        line = from_stamps(stamps_s[known], known * each, plain.n_samples, plain.sfreq)
    except ValueError as error:
        if strict:
            raise RecordingError(
                "unreadable", f"{header.path}: is {header.kind}, and its records are out of order: {error}"
            ) from error
        return plain, 0.0, [f"is {header.kind}, and the time stamps of its records are not used: {error}"]
    return line, float(stamps_s[0]), []


def _check_duration(header: EdfHeader, stamps_s: NDArray[np.float64], records: NDArray[np.int64]) -> None:
    """Raise where records follow each other faster than the header says that they last."""
    lasting_s = np.diff(stamps_s) / np.diff(records)
    if not len(lasting_s):
        return
    usual_s = float(np.median(lasting_s))
    # A stamp that repeats or goes back is another fault, which is told where it is.
    if 0 < usual_s < header.record_s * (1 - MOST_MISTAKEN) - TOLERANCE_S:
        raise RecordingError(
            "unreadable",
            f"{header.path}: records last {header.record_s:g} s by the header and {usual_s:g} s by their time stamps, so the "
            "rate cannot be told; correct the header or export the file again",
        )


def edf_annotations(path: str | Path, line: TimeLine) -> list[tuple[float, float, str]]:
    """Return the annotations of an EDF+ or BDF+ file in seconds of what was recorded.

    The file gives times by the clock; these leave the pauses out, as MNE counts.  An annotation
    within a pause has no length and stands where recording went on.

    Parameters
    ----------
    path : path
        The file.
    line : TimeLine
        Of the file, by :func:`edf_timeline`.
    """
    found = []
    for onset_s, offset_s, text in written_annotations(path):
        at, stop = float(line.position_of(onset_s)), float(line.position_of(offset_s))
        found.append((at / line.sfreq, (stop - at) / line.sfreq, text))
    return sorted(found)


def written_annotations(path: str | Path) -> list[tuple[float, float, str]]:
    """Return the annotations of an EDF+ or BDF+ file as it has them.

    Parameters
    ----------
    path : path
        The file; one without signals, too.

    Returns
    -------
    list of (onset_s, offset_s, text)
        Since the recording's start, which the first time stamp tells, pauses included.

    Raises
    ------
    RecordingError
        The header is not that of an EDF or BDF file.
    """
    found = []
    first_s = None
    for data in _annotation_bytes(read_edf_header(path)):
        for match in filter(None, map(_TAL.fullmatch, data.split(b"\0"))):
            onset, duration, texts = match.groups(b"")
            first_s = float(onset) if first_s is None else first_s
            onset_s = float(onset) - first_s
            for text in filter(None, texts.split(b"\x14")):
                found.append((onset_s, onset_s + _seconds(duration), text.decode("utf-8", "replace")))
    return found


def _seconds(text: bytes) -> float:
    """Return a duration; nothing, and a point alone, are none."""
    return float(text) if text.strip(b".") else 0.0


def _annotation_bytes(header: EdfHeader) -> Iterator[bytes]:
    """Yield what signals of annotations hold, without records of a time stamp alone."""
    n_records = counted_records(header)
    records = _records(header, n_records)
    for index, label in enumerate(header.labels):
        if label not in ANNOTATIONS:
            continue
        begin, end = _place(header, index)
        rows = max(1, AT_ONCE_BYTES // max(1, end - begin))
        for i in range(0, n_records, rows):
            text = np.array(records[i : i + rows, begin:end])
            if not text.size:
                continue
            more = (text != 0).sum(axis=1) > (text == 0x14).argmax(axis=1) + 2
            more[0] |= i == 0  # times count from the first stamp
            yield text[more].tobytes()


def unread_annotations(path: str | Path) -> list[str]:
    """Return what stands among the annotations of an EDF+ or BDF+ file and is none by the standard.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    list of str
        Each as the file has it, for messages.
    """
    found = []
    for data in _annotation_bytes(read_edf_header(path)):
        found += [piece for piece in data.split(b"\0") if piece and not _TAL.fullmatch(piece)]
    return [one_line(piece.replace(b"\x14", b" ").replace(b"\x15", b" ").decode("utf-8", "replace")) for piece in found]


def annotations_outside(path: str | Path, line: TimeLine) -> list[tuple[float, float, str]]:
    """Return annotations (onset_s, offset_s, text) that begin or end outside the recording."""
    length_s = line.n_samples / line.sfreq
    # A hundredth of a second is what event tables resolve.
    outside = [
        row for row in edf_annotations(path, line) if row[0] < 0 or max(row[0], row[0] + row[1] - 0.011) > length_s
    ]
    times_s = [
        line.time_of([onset * line.sfreq, (onset + length) * line.sfreq]).tolist() for onset, length, _ in outside
    ]
    return [(onset_s, offset_s, row[2]) for (onset_s, offset_s), row in zip(times_s, outside, strict=True)]


def _stamps(header: EdfHeader, index: int, n_records: int) -> NDArray[np.float64]:
    """Return when each record begins, in seconds; NaN where it has no time stamp."""
    begin, end = _place(header, index)
    width = min(end - begin, STAMP_BYTES)
    stamps = np.full(n_records, np.nan)
    if width < 4:
        return stamps
    records = _records(header, n_records)
    rows = max(1, AT_ONCE_BYTES // STAMP_BYTES)
    for i in range(0, n_records, rows):
        text = np.array(records[i : i + rows, begin : begin + width])
        # A time stamp is a signed number and an empty text: "+12.5", two bytes 20.
        ends = text == 0x14
        stop = np.where(ends.any(axis=1), ends.argmax(axis=1), 0)
        digits = ((text >= 0x30) & (text <= 0x39)) | (text == 0x2E)
        inside = np.arange(width) < stop[:, None]
        signed = (text[:, 0] == 0x2B) | (text[:, 0] == 0x2D)
        good = signed & (stop > 1) & (digits[:, 1:] | ~inside[:, 1:]).all(axis=1)
        good &= ((text == 0x2E) & inside).sum(axis=1) <= 1
        text[~inside] = 0
        rows_of = np.flatnonzero(good)
        written = np.ascontiguousarray(text[rows_of]).view(f"S{width}").ravel()
        with np.errstate(over="ignore"):
            try:
                stamps[i + rows_of] = written.astype(np.float64)
            except ValueError:  # a sign and a point alone
                stamps[i + rows_of] = [parse_number(value) for value in written.tolist()]
    return stamps


def parse_number(text: bytes) -> float:
    """Return a number, NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _with_status(header: EdfHeader, line: TimeLine) -> TimeLine:
    """Cut where BioSemi's status channel says that saving went on after a pause.

    Bit 16 is set in the first sample of a file and in the first one after each pause.  Bits 17 to
    23 (speed, whether CMS is in range, battery) tell nothing of time.

    References
    ----------
    https://www.biosemi.com/faq/trigger_signals.htm
    """
    index = header.labels.index("Status")
    begin, end = _place(header, index)
    n = header.samples[index]
    n_records = counted_records(header)
    records = _records(header, n_records)
    rows = max(1, AT_ONCE_BYTES // max(1, n))
    found: list[int] = []
    before: NDArray[np.uint8] = np.ones(1, np.uint8)  # the file's first sample begins no second stretch
    for i in range(0, n_records, rows):
        bits: NDArray[np.uint8] = (records[i : i + rows, begin + 2 : end : 3] & np.uint8(1)).ravel()
        rising = np.flatnonzero(bits > np.concatenate([before, bits[:-1]]))
        found += (rising + i * n).tolist()
        before = bits[-1:]
    if not found:
        return line
    if len(found) > line.n_samples / line.sfreq / SHORTEST_EPOCH_S:
        told = f"bit 16 of the status channel is set {len(found)} times: not taken for pauses"
        return replace(line, remarks=(*line.remarks, told))
    at = [round(sample * line.n_samples / (n * n_records)) for sample in found]
    return cut(line, dict.fromkeys(at, 0.0))


def _edf_start(path: Path) -> tuple[dt.datetime | None, list[str]]:
    """Return date and time of an EDF header, or None and a note."""
    with path.open("rb") as file:
        head = file.read(256)
    date, clock = (head[a:b].decode("latin-1").strip() for a, b in ((168, 176), (176, 184)))
    told = f"the header's start {date!r}, {clock!r} is no date and time"
    day = re.fullmatch(r"(\d{1,2})[.:/-](\d{1,2})[.:/-](\d{2}|yy)", date)
    time = re.fullmatch(r"(\d{1,2})[.:/-](\d{1,2})[.:/-](\d{1,2})", clock)
    if day is None or time is None:
        return None, [told]
    named = re.match(r"Startdate (\d{1,2})-([A-Z]{3})-(\d{4})\b", head[88:168].decode("latin-1"), re.IGNORECASE)
    year = None if day[3] == "yy" else int(day[3]) + (1900 if int(day[3]) >= 85 else 2000)
    if named and named[2].upper() in _MONTHS:
        same = (int(named[1]), _MONTHS.index(named[2].upper()) + 1) == (int(day[1]), int(day[2]))
        # Two digits of a year end in 2084; EDF+ tells it whole.
        if same and (year is None or int(named[3]) % 100 == year % 100):
            year = int(named[3])
    try:
        if year is None:
            raise ValueError(told)
        return dt.datetime(year, int(day[2]), int(day[1]), int(time[1]), int(time[2]), int(time[3]), tzinfo=dt.UTC), []
    except ValueError:
        return None, [told]
