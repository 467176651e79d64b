"""Files of events: SzCORE TSV, TUSZ ``csv_bi``, EDF+ annotations and MNE annotations, each read
and written.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biot_bd.events.scoring import as_intervals
from biot_bd.events.szcore import COLUMNS, events_of
from biot_bd.events.tables import clock_time, number, read_table
from biot_bd.events.texts import SEIZURE, TUSZ_SEIZURES, judge_annotations, unread_notes
from biot_bd.events.types import Event
from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_times import unread_annotations, written_annotations
from biot_bd.io.fif_tags import check_fif
from biot_bd.io.files import fault_of
from biot_bd.io.notes import one_line
from biot_bd.runs import atomic_path, write_text

if TYPE_CHECKING:
    import mne

BACKGROUND, END = "bckg", "Recording ends"  # the last is a standard text of EDF+
TUSZ_COLUMNS = ("channel", "start_time", "stop_time", "label", "confidence")
SHORTEST_S = 0.01  # what a TSV resolves


@dataclass(frozen=True)
class EventFile:
    """What a file of events says.

    Parameters
    ----------
    events : list of Event
        Its seizures in the order of time; the confidence is None where the file has none.
    duration_s : float or None
        Length of the recording, where the file says it.
    start : datetime or None
        When the recording began, without a time zone.
    notes : tuple of str
        What a reader of the results should know, e.g. that the table is only a header.

    See Also
    --------
    read_event_file : Makes one.

    Examples
    --------
    >>> from biot_bd.events import Event, EventFile
    >>> EventFile([Event(10.0, 25.0)], duration_s=60.0).events[0].onset_s
    10.0
    """

    events: list[Event]
    duration_s: float | None
    start: datetime | None = None
    notes: tuple[str, ...] = ()


def write_event_file(
    path: str | os.PathLike[str],
    events: Iterable[Sequence[Any]],
    duration_s: float,
    *,
    start: datetime | None = None,
    format: str | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write the events of one recording, atomically.

    Parameters
    ----------
    path : path-like
        The file to write; an earlier one is replaced.
    events : iterable of (onset_s, offset_s) or (onset_s, offset_s, confidence)
        Sorted and not overlapping; may be empty: where nothing was found the file says so with a
        ``bckg`` row.
    duration_s : float
        Length of the recording.
    start : datetime, optional
        When the recording began.
    format : {"tsv", "csv_bi", "edf", "mne"}, optional
        Told from the ending by default (``.tsv``, ``.csv_bi``, ``.edf``, ``.fif``).
    facts : mapping of str to str, optional
        What else holds of the recording: further columns of a TSV, comments of a ``csv_bi``, extras
        of MNE annotations; of EDF+, whose header has little room, only ``model``.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        Unknown format, or an event that is not inside the recording or overlaps another.

    See Also
    --------
    read_event_file : Reads it.

    Notes
    -----
    A TSV holds times to a hundredth of a second.  EDF+ and MNE annotations have no place for the
    confidence.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.events import read_event_file, write_event_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_event_file(folder + "/rec01.tsv", [(10.0, 25.0, 0.9)], 60.0)
    ...     read_event_file(path).events
    [Event(onset_s=10.0, offset_s=25.0, confidence=0.9)]
    """
    path = Path(path)
    found = _sorted([Event(float(e[0]), float(e[1]), e[2] if len(e) > 2 else None) for e in events])
    as_intervals([(e.onset_s, e.offset_s) for e in found], duration_s, str(path))  # raises for what cannot be written
    overlapping = [(a, b) for a, b in pairwise(found) if b.onset_s < a.offset_s]
    if overlapping:
        raise ValueError(f"{path}: events overlap, first {overlapping[0]}; join them before writing")
    _format(path, format)[0](path, found, float(duration_s), _naive(start), facts or {})
    return path


def read_event_file(path: str | os.PathLike[str], *, format: str | None = None) -> EventFile:
    """Read the seizures in a file of events.

    Parameters
    ----------
    path : path-like
        The file to read.
    format : {"tsv", "csv_bi", "edf", "mne"}, optional
        Told from the ending by default.

    Returns
    -------
    EventFile

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not what its format says, or a time in it is not finite; one line that names
        file and row.

    See Also
    --------
    write_event_file : Writes it.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.events import read_event_file, write_event_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_event_file(folder + "/rec01.csv_bi", [], 60.0)
    ...     read_event_file(path).duration_s
    60.0
    """
    path = Path(path)
    if fault := fault_of(path):
        raise FileNotFoundError(f"{path}: no such file of events; it {fault}")
    found = _format(path, format)[1](path)
    if found.duration_s is not None and not 0 < found.duration_s < math.inf:
        raise RecordingError(
            "bad-annotation",
            f"{path}: the recording lasts {found.duration_s:g} s by this file; expected more than 0 s, correct the length",
        )
    return found


def to_annotations(
    events: Iterable[Sequence[Any]],
    duration_s: float | None = None,
    *,
    orig_time: datetime | None = None,
    start_time: datetime | None = None,
) -> mne.Annotations:
    """Return events as MNE annotations ``sz``.

    Parameters
    ----------
    events : iterable of (onset_s, offset_s, ...)
    duration_s : float, optional
        Where given, and there are no events, the whole is marked ``bckg``; its end is marked
        ``Recording ends``.
    orig_time : datetime, optional
        From when the annotations count; for a ``Raw`` its ``annotations.orig_time``.
        ``raw.set_annotations`` counts from the first sample where it is left out.
    start_time : datetime, optional
        When the first sample was measured, as :attr:`biot_bd.Detection.start_time` says; by default
        at ``orig_time``.  A ``Raw`` that was cropped begins ``raw.first_time`` seconds later.

    Returns
    -------
    mne.Annotations

    See Also
    --------
    from_annotations : The way back.

    Examples
    --------
    >>> import mne, numpy as np
    >>> from datetime import UTC, datetime
    >>> from biot_bd.events.files import to_annotations
    >>> raw = mne.io.RawArray(
    ...     np.zeros((1, 900)), mne.create_info(1, 10.0, "eeg"), verbose="error"
    ... )
    >>> raw = raw.set_meas_date(datetime(2020, 3, 2, 10, tzinfo=UTC)).crop(40)
    >>> when = {
    ...     "orig_time": raw.annotations.orig_time,
    ...     "start_time": datetime(2020, 3, 2, 10, 0, 40),
    ... }
    >>> annotations = to_annotations([(10, 30)], **when)
    >>> float(raw.set_annotations(annotations).annotations.onset[0] - raw.first_time)
    10.0
    """
    import mne

    rows = [(float(e[0]), float(e[1]) - float(e[0]), SEIZURE) for e in events]
    if duration_s is not None:
        rows = rows or [(0.0, float(duration_s), BACKGROUND)]
        rows.append((float(duration_s), 0.0, END))
    onsets, durations, texts = zip(*rows, strict=True) if rows else ((), (), ())
    orig_time = _utc(orig_time if orig_time is not None else start_time)
    late_s = _late_s(orig_time, start_time)
    return mne.Annotations([onset + late_s for onset in onsets], durations, texts, orig_time=orig_time)


def from_annotations(annotations: mne.Annotations, *, start_time: datetime | None = None) -> EventFile:
    """Return what MNE annotations say of seizures.

    Parameters
    ----------
    annotations : mne.Annotations
        Judged by their words, as :func:`~biot_bd.events.texts.judge_annotations` does.
    start_time : datetime, optional
        When the recording began; at ``annotations.orig_time`` by default, as in files of
        annotations.  Those of a ``Raw`` that was cropped count from before its first sample; where
        it has no date, by ``raw.first_time`` seconds.

    Returns
    -------
    EventFile
        Its length is that of a ``bckg`` from 0, or where ``Recording ends``; None without either.
        ``notes`` name what is not clearly a seizure.

    Raises
    ------
    RecordingError
        A begin of a seizure has no end, or the other way round, or a time is not finite.

    See Also
    --------
    to_annotations : The way there.
    """
    return _from_annotations(annotations, "annotations", start_time)


def _late_s(orig_time: datetime | None, start_time: datetime | None) -> float:
    """Return by how many seconds a recording begins behind that from which annotations count."""
    told = _utc(start_time), _utc(orig_time)
    return 0.0 if told[0] is None or told[1] is None else (told[0] - told[1]).total_seconds()


def _utc(time: datetime | None) -> datetime | None:
    """Give a time without a zone that of MNE."""
    return time if time is None or time.tzinfo is not None else time.replace(tzinfo=UTC)


def _from_annotations(annotations: mne.Annotations, where: str, start_time: datetime | None = None) -> EventFile:
    late_s = _late_s(annotations.orig_time, start_time)
    rows = [(float(row["onset"]) - late_s, float(row["duration"]), str(row["description"])) for row in annotations]
    return _from_rows(rows, _naive(start_time or annotations.orig_time), where)


def _from_rows(rows: list[tuple[float, float, str]], start: datetime | None, where: str) -> EventFile:
    end: float | None = None
    for onset, duration, text in rows:
        if text == END:
            end = onset
        elif text == BACKGROUND and onset == 0 and end is None:
            end = duration
    judged = judge_annotations([(onset, onset + duration, text) for onset, duration, text in rows], where)
    events = [Event(onset, offset, None) for onset, offset, _ in judged.seizures]
    return EventFile(_sorted(events), end, start, tuple(judged.notes))


def _sorted(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event[:2])


def _write_tsv(
    path: Path, events: list[Event], duration_s: float, start: datetime | None, facts: Mapping[str, str]
) -> None:
    told = "n/a" if start is None else start.strftime("%Y-%m-%d %H:%M:%S")
    ends = ["n/a", told, f"{duration_s:.2f}", *facts.values()]
    # Never a row of no length: the scorer of the public board refuses it.
    rows = [
        [f"{e.onset_s:.2f}", f"{max(e.offset_s, e.onset_s + SHORTEST_S) - e.onset_s:.2f}", SEIZURE, _share(e), *ends]
        for e in events
    ] or [["0.00", f"{duration_s:.2f}", BACKGROUND, "n/a", *ends]]
    header = [*COLUMNS, "confidence", "channels", "dateTime", "recordingDuration", *facts]
    write_text(path, "".join("\t".join(row) + "\n" for row in [header, *rows]))


def _share(event: Event) -> str:
    return "n/a" if event.confidence is None else f"{event.confidence:.2f}"


def _read_tsv(path: Path) -> EventFile:
    table = read_table(path, COLUMNS)
    notes = ["the table is only a header, no row says what was found"] if table.is_header_only else []
    events = [
        Event(row.onset_s, row.onset_s + row.duration_s, row.confidence)
        for row in events_of(table)
        if row.kind.startswith(SEIZURE)
    ]
    lengths = {row.seconds("recordingDuration") for row in table.rows if row.get("recordingDuration") is not None}
    if len(lengths) > 1:
        raise RecordingError("bad-annotation", f"{path}: recordingDuration differs between rows: {sorted(lengths)}")
    start = None
    if told := next((text for row in table.rows if (text := row.get("dateTime")) is not None), None):
        start = clock_time(told)
        if start is None:
            notes.append(f"dateTime {told!r} is not written as 2020-03-02 10:11:12, so the start is not known")
    return EventFile(_sorted(events), next(iter(lengths), None), start, tuple(notes))


def _write_csv_bi(
    path: Path, events: list[Event], duration_s: float, start: datetime | None, facts: Mapping[str, str]
) -> None:
    lines = ["# version = csv_v1.0.0", f"# bname = {path.stem}", f"# duration = {duration_s:.4f} secs"]
    lines += [] if start is None else [f"# start = {start:%Y-%m-%d %H:%M:%S}"]
    lines += [f"# {name} = {value}" for name, value in facts.items()]
    lines += ["#", ",".join(TUSZ_COLUMNS)]
    at = 0.0
    for event in [*events, Event(duration_s, duration_s, None)]:
        if event.onset_s > at:
            lines.append(f"TERM,{at:.4f},{event.onset_s:.4f},bckg,1.0000")
        if event.offset_s > event.onset_s:
            confidence = 1.0 if event.confidence is None else event.confidence
            lines.append(f"TERM,{event.onset_s:.4f},{event.offset_s:.4f},seiz,{confidence:.4f}")
        at = event.offset_s
    write_text(path, "\n".join(lines) + "\n")


def _read_csv_bi(path: Path) -> EventFile:
    table, events = read_table(path, TUSZ_COLUMNS, separator=","), []
    for row in table.rows:
        label = row["label"].lower()
        if label not in TUSZ_SEIZURES and label != BACKGROUND:
            raise row.error(f"unknown label {row['label']!r}; expected bckg or one of {sorted(TUSZ_SEIZURES)}")
        times = row.seconds("start_time"), row.seconds("stop_time")
        if label != BACKGROUND:
            events.append(Event(*times, number(row["confidence"])))
    notes = ("the table is only a header, no row says what was found",) if table.is_header_only else ()
    matches = (re.match(r"#\s*(\w+)\s*=\s*(.+)", line) for line in table.comments)
    told = {match[1]: match[2] for match in matches if match}
    length = number(told.get("duration", "").removesuffix("secs").strip())
    return EventFile(_sorted(events), length, clock_time(told.get("start", "")), notes)


def _write_edf(
    path: Path, events: list[Event], duration_s: float, start: datetime | None, facts: Mapping[str, str]
) -> None:
    import edfio

    texts = [(e.onset_s, e.offset_s - e.onset_s, SEIZURE) for e in events] or [(0.0, duration_s, BACKGROUND)]
    annotations = [edfio.EdfAnnotation(*row) for row in texts] + [edfio.EdfAnnotation(duration_s, None, END)]
    day: date | None = None if start is None else start.date()
    told = tuple(facts["model"].split()) if "model" in facts else ()  # subfields hold no spaces
    edf = edfio.Edf(
        [],
        annotations=annotations,
        starttime=None if start is None else start.time(),
        recording=edfio.Recording(startdate=day, additional=told),
    )
    with atomic_path(path) as temporary:
        edf.write(temporary)


def _read_edf(path: Path) -> EventFile:
    import edfio

    try:
        edf = edfio.read_edf(path)
        try:
            start = datetime.combine(edf.startdate, edf.starttime)
        except edfio.AnonymizedDateError:
            start = None
        # edfio passes over what is not written as the standard asks, and over texts of two lines.
        rows = [(onset, offset - onset, text) for onset, offset, text in written_annotations(path)]
        unread = unread_notes(unread_annotations(path), str(path))
        found = _from_rows(rows, start, str(path))
        return replace(found, notes=(*found.notes, *unread))
    except RecordingError:
        raise
    except Exception as error:  # edfio fails in many ways on damaged files
        raise ValueError(f"{path}: no readable EDF+ annotations ({type(error).__name__}: {one_line(error)})") from error


def _write_mne(
    path: Path, events: list[Event], duration_s: float, start: datetime | None, facts: Mapping[str, str]
) -> None:
    annotations = to_annotations(events, duration_s, orig_time=start)
    if facts:
        annotations.extras = [dict(facts) for _ in annotations]
    with atomic_path(path) as temporary:
        annotations.save(temporary, overwrite=True, verbose="ERROR")


def _read_mne(path: Path) -> EventFile:
    import mne

    try:
        if path.suffix.lower() == ".fif":
            check_fif(path)
        return _from_annotations(mne.read_annotations(path), str(path))
    except RecordingError:
        raise
    except Exception as error:  # MNE fails in many ways on damaged files
        raise ValueError(f"{path}: no readable MNE annotations ({type(error).__name__}: {one_line(error)})") from error


def _naive(start: datetime | None) -> datetime | None:
    return None if start is None else start.replace(tzinfo=None)


ENDINGS = {".tsv": "tsv", ".csv_bi": "csv_bi", ".edf": "edf", ".fif": "mne"}
FORMATS = {
    "tsv": (_write_tsv, _read_tsv),
    "csv_bi": (_write_csv_bi, _read_csv_bi),
    "edf": (_write_edf, _read_edf),
    "mne": (_write_mne, _read_mne),
}
"""What writes and what reads a format."""


def _format(path: Path, name: str | None) -> tuple[Callable[..., None], Callable[[Path], EventFile]]:
    name = ENDINGS.get(path.suffix.lower()) if name is None else name
    if name is None:
        raise ValueError(f"{path}: its ending tells no format; name one of {', '.join(FORMATS)}")
    if name not in FORMATS:
        raise ValueError(f"no format {name!r} for events; there are {', '.join(FORMATS)}")
    return FORMATS[name]
