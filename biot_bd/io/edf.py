"""Opening EDF and BDF files: what their header promises, what the file holds, gaps, and MNE's lazy reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
from mne.io.edf.edf import RawBDF, RawEDF

from biot_bd.exceptions import RecordingError
from biot_bd.io.notes import collecting

TIMEKEEPING_S = 0.01  # records may start off by this


def count_edf_records(path: str | Path) -> tuple[int, int]:
    """Count the data records of an EDF or BDF file.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    declared : int
        What the header says, -1 where the recorder never wrote it.
    present : int
        Whole records that the file's size holds.

    Raises
    ------
    RecordingError
        The header is not that of an EDF or BDF file.

    References
    ----------
    https://www.edfplus.info/specs/edf.html
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(256)
            n_signals = int(head[252:256])
            signals = file.read(256 * n_signals)
        samples = signals[216 * n_signals : 224 * n_signals]
        per_record = sum(int(samples[i : i + 8]) for i in range(0, 8 * n_signals, 8))
        sample_bytes = 3 if head[0] == 0xFF else 2
        header = 256 * (n_signals + 1)
        if int(head[184:192]) != header:
            raise ValueError(
                f"it says that it is {int(head[184:192])} bytes long; with {n_signals} signals it has {header}"
            )
        return int(head[236:244]), (path.stat().st_size - header) // (sample_bytes * per_record)
    except (ValueError, IndexError, ZeroDivisionError, OSError) as error:
        raise RecordingError(
            "unreadable", f"{path}: the header is not that of an EDF or BDF file ({type(error).__name__}: {error})"
        ) from error


def check_continuous(path: str | Path) -> None:
    """Refuse EDF+D and BDF+D files with gaps: MNE joins their records, so everything after a gap would shift.

    Parameters
    ----------
    path : str or Path
        Of an EDF or BDF file; only those whose header says that they are discontinuous are read further.

    Raises
    ------
    RecordingError
        ``unreadable``: a record does not begin where the one before it ends, or does not say when it begins.

    References
    ----------
    https://www.edfplus.info/specs/edfplus.html
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(256)
        kind = head[192:197].decode("latin1")
        if kind not in ("EDF+D", "BDF+D"):
            return
        advice = "export it as a continuous file, or one file for each stretch"
        try:
            onsets, record_s = _record_onsets(file, head)
        except (ValueError, IndexError) as error:
            raise RecordingError(
                "unreadable", f"{path}: is {kind}, and its records do not say when they begin ({error}); {advice}"
            ) from error
    for number, onset in enumerate(onsets):
        expected = onsets[0] + number * record_s
        if abs(onset - expected) > TIMEKEEPING_S:
            raise RecordingError(
                "unreadable",
                f"{path}: is {kind} with a gap: record {number + 1} begins at {onset:g} s, expected {expected:g} s; {advice}",
            )


def _record_onsets(file: Any, head: bytes) -> tuple[list[float], float]:
    """Return when each record begins, by the first annotation in it, and the length of a record in seconds."""
    n_signals, n_bytes = int(head[252:256]), 3 if head[0] == 0xFF else 2
    fields = file.read(256 * n_signals)
    labels = [fields[16 * i : 16 * (i + 1)].strip() for i in range(n_signals)]
    counts = fields[216 * n_signals : 224 * n_signals]
    sizes = [n_bytes * int(counts[8 * i : 8 * (i + 1)]) for i in range(n_signals)]
    index = next((i for i, label in enumerate(labels) if label in (b"EDF Annotations", b"BDF Annotations")), None)
    if index is None:
        raise ValueError("no signal of annotations")
    header, record, before = int(head[184:192]), sum(sizes), sum(sizes[:index])
    onsets = []
    for start in range(header, file.seek(0, 2) - record + 1, record):
        file.seek(start + before)
        onsets.append(float(file.read(sizes[index]).split(b"\x14", 1)[0]))
    return onsets, float(head[244:252])


def open_edf(path: str | Path, *, allow_truncated: bool = False, notes: list[str] | None = None) -> mne.io.BaseRaw:
    """Open an EDF or BDF file without reading its samples.

    Parameters
    ----------
    path : str or Path
        The file.  Its first byte says whether it is EDF or BDF, whatever its ending.
    allow_truncated : bool, default=False
        Accept a file that holds fewer records than its header declares.
    notes : list of str, optional
        Grows by what MNE warns of, in our words.

    Returns
    -------
    mne.io.BaseRaw
        Lazy, in volts.

    Raises
    ------
    RecordingError
        The file is not EDF or BDF, is damaged, empty, discontinuous (EDF+D with gaps), or shorter than its header says.
    """
    path = Path(path)
    declared, present = count_edf_records(path)
    if present < 1:
        raise RecordingError("unreadable", f"{path}: holds no samples (the header declares {declared} records)")
    if present < declared and not allow_truncated:
        raise RecordingError(
            "unreadable",
            f"{path}: incomplete: the header declares {declared} records, the file holds {present}; copy or download it again",
        )
    check_continuous(path)
    try:
        # The classes, for MNE's functions go by the ending; read as EDF, 24 bits of a BDF become noise.
        with path.open("rb") as file:
            read = RawBDF if file.read(1) == b"\xff" else RawEDF
        with collecting([] if notes is None else notes):
            try:
                return read(path, verbose="WARNING")
            except UnicodeDecodeError:
                return read(path, verbose="WARNING", encoding="latin1")
    except Exception as error:  # MNE fails in many ways on damaged files
        raise RecordingError("unreadable", f"{path}: MNE cannot read it ({type(error).__name__}: {error})") from error
