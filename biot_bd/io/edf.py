"""Opening EDF and BDF files by MNE's lazy reader, after a look at header, length and times."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_header import ANNOTATIONS, EdfHeader, read_edf_header
from biot_bd.io.edf_times import annotations_outside, edf_annotations, edf_timeline, length_note, unread_annotations
from biot_bd.io.notes import collecting, counted, without_time
from biot_bd.io.segments import TimeLine, set_annotations
from biot_bd.io.unusable import correct_units

if TYPE_CHECKING:
    import mne

_SAID_BETTER = ("start of the recording", "outside the recording", "beyond the end of the recording")
LARGEST = 1e30  # of a range in a header; in microvolts it must fit float32


def open_edf(path: str | Path, *, allow_truncated: bool = False, notes: list[str] | None = None) -> mne.io.BaseRaw:
    """Open an EDF or BDF file without reading its samples.

    Parameters
    ----------
    path : str or Path
        The file.  Its first byte says whether it is EDF or BDF, whatever its ending.
    allow_truncated : bool, default=False
        Accept a file that holds fewer records than its header declares
        (:attr:`EdfHeader.cut_short`).
    notes : list of str, optional
        Grows by what MNE warns of, in our words, by pauses, and by what the file holds less or more
        than its header declares.

    Returns
    -------
    mne.io.BaseRaw
        Lazy, in volts.  Pauses are left out, in annotations too;
        :func:`biot_bd.io.timeline.timeline_of` has them.

    Raises
    ------
    RecordingError
        The file is not EDF or BDF, is damaged, empty, shorter than its header says, or EDF+D whose
        records are out of order or do not say when they begin.

    See Also
    --------
    biot_bd.io.open_recording : Any registered format.

    Examples
    --------
    >>> import tempfile, edfio, numpy as np
    >>> x = np.sin(np.arange(512))
    >>> signal = edfio.EdfSignal(x, 256, label="EEG Cz-REF", physical_dimension="uV")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     edfio.Edf([signal]).write(f"{folder}/x.edf")
    ...     raw = open_edf(f"{folder}/x.edf")
    >>> raw.ch_names, len(raw.times), raw.preload
    (['EEG Cz-REF'], 512, False)
    """
    from mne.io.edf.edf import RawBDF, RawEDF

    path = Path(path)
    header, line = checked_edf(path, allow_truncated=allow_truncated)
    told = list[str]()
    # The classes, for MNE's functions go by the ending; 24 bits of a BDF read as 16 become noise.
    read = RawEDF if header.sample_bytes == 2 else RawBDF
    try:
        with collecting(told), _start_if_told(line):
            try:
                raw = read(path, verbose="WARNING")
            # The first of a header, the other of annotations.
            except Exception as error:
                if not isinstance(error, UnicodeDecodeError) and "encoding=" not in str(error):
                    raise
                raw = read(path, verbose="WARNING", encoding="latin1")
        _correct(raw, path, line)
        correct_units(raw)
    except Exception as error:  # MNE fails in many ways on damaged files
        raise RecordingError("unreadable", f"{path}: MNE cannot read it ({type(error).__name__}: {error})") from error
    if notes is not None:
        notes += [note for note in (length_note(header), *line.notes) if note]
        notes += _notes(told, path, line)
    return raw


def checked_edf(path: Path, *, allow_truncated: bool) -> tuple[EdfHeader, TimeLine]:
    """Return the header of an EDF or BDF file that holds a recording, and its time line.

    Raises
    ------
    RecordingError
        As :func:`open_edf`.
    """
    header = read_edf_header(path)
    if set(header.labels) <= set(ANNOTATIONS):
        raise RecordingError("unreadable", f"{path}: holds annotations and no signal")
    if header.present < 1:
        raise RecordingError("unreadable", f"{path}: holds no samples (the header declares {header.declared} records)")
    if header.cut_short and not allow_truncated:
        raise RecordingError("unreadable", f"{path}: incomplete: {header.cut_short}; copy or download it again")
    _check_ranges(path, header)
    return header, edf_timeline(path, samples=False)


def _check_ranges(path: Path, header: EdfHeader) -> None:
    """Raise where a range would make every sample of a channel infinite or NaN."""
    for name in ("physical_min", "physical_max", "digital_min", "digital_max"):
        for label, text in zip(header.labels, header.field(name), strict=True):
            if label not in ANNOTATIONS and not _fits(text):
                raise RecordingError(
                    "unreadable",
                    f"{path}: channel {label!r} has {name} {text!r}; expected a finite number below {LARGEST:g}: "
                    "correct the header or export the file again",
                )


def _fits(text: str) -> bool:
    try:
        return abs(float(text)) < LARGEST and "_" not in text
    except ValueError:
        return True  # no number: MNE says so


class _NoDate(dt.datetime):
    """What MNE makes of a date that is none."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        raise ValueError("no date")

    @classmethod
    def strptime(cls, *args: Any) -> Self:
        raise ValueError("no date")


@contextmanager
def _start_if_told(line: TimeLine) -> Iterator[None]:
    """Keep MNE from the header's start where that is none: it fails on hour 24.

    Within :func:`collecting`, which one thread enters at a time.
    """
    if line.start_time is not None:
        yield
        return
    from mne.io.edf import edf

    edf.datetime = _NoDate
    try:
        yield
    finally:
        edf.datetime = dt.datetime


def _correct(raw: mne.io.BaseRaw, path: Path, line: TimeLine) -> None:
    """Leave out what is no record, and give start and annotations as the time line has them."""
    if raw.n_times > line.n_samples:
        raw.crop(tmax=(line.n_samples - 1) / raw.info["sfreq"], verbose="ERROR")
    if raw.info["meas_date"] != line.start_time:
        raw.set_meas_date(line.start_time)
    rows = edf_annotations(path, line)
    # MNE counts no pauses, leaves out texts of two lines, and reads some as Latin-1.
    if not line.is_continuous or _texts(row[2] for row in _within(rows, line)) != _texts(raw.annotations.description):
        set_annotations(raw, rows)


def _texts(texts: Iterable[str]) -> list[str]:
    """Return texts without their channels, which MNE keeps apart, in the order of the alphabet."""
    return sorted(str(text).partition("@@")[0].strip() for text in texts)


def _within(rows: list[tuple[float, float, str]], line: TimeLine) -> list[tuple[float, float, str]]:
    """Return the annotations that MNE keeps: those of which some lies in the recording."""
    last_s = (line.n_samples - 1) / line.sfreq
    return [row for row in rows if row[0] + row[1] >= 0 and row[0] <= last_s]


def _notes(told: list[str], path: Path, line: TimeLine) -> list[str]:
    """Return what MNE told and the time line does not say better."""
    kept = [note for note in told if not any(said in note for said in _SAID_BETTER)]
    if unread := unread_annotations(path):
        kept.append(without_time(unread))
    if line.is_continuous and len(kept) == len(told) + bool(unread):
        return kept
    outside = annotations_outside(path, line)
    left_out = [row for row in outside if not 0 <= row[0] <= line.duration_s]
    for rows, became in (
        (left_out, f"outside the recording of {line.duration_s:g} s left out"),
        ([row for row in outside if row not in left_out], "beyond the end of the recording cut there"),
    ):
        if rows:
            kept.append(f"{counted(len(rows), 'annotation')} {became}, the first {rows[0][2]!r} at {rows[0][0]:g} s")
    return kept
