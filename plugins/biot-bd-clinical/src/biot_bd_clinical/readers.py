"""Readers of three clinical formats: what their files begin with, and how eeg2edf opens them."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biot_bd.io import Reader

if TYPE_CHECKING:
    import mne

# The GUID {1C7BC30F-2DCF-4B6D-8AEA-1F64CED2B917} as it lies in the file.
NICOLET_MAGIC = bytes.fromhex("0fc37b1ccf2d6d4b8aea1f64ced2b917")
# A Micromed header has a table of 29 segments, 16 bytes each, that begin with their names.
SEGMENTS_AT, SEGMENT_BYTES, N_SEGMENTS = 176, 16, 29
SHORTEST_PAUSE_S = 0.001


def is_nicolet(head: bytes) -> bool:
    """Return whether a file begins as a Nicolet recording."""
    return head.startswith(NICOLET_MAGIC)


def is_micromed(head: bytes) -> bool:
    """Return whether a file has the table of segments of a Micromed recording."""
    starts = range(SEGMENTS_AT, SEGMENTS_AT + N_SEGMENTS * SEGMENT_BYTES, SEGMENT_BYTES)
    names = {head[at : at + 8].split(b"\0")[0].strip() for at in starts}
    return {b"ORDER", b"LABCOD"} <= names


def is_nihon_kohden(head: bytes) -> bool:
    """Return whether a file begins as a recording of an EEG-1100 or EEG-1200A."""
    return head.startswith((b"EEG-1100", b"EEG-1200A"))


def read_nicolet(path: Path) -> mne.io.BaseRaw:
    """Open all segments of a Nicolet recording, joined; marks tell the pauses."""
    return _read(path)


def read_micromed(path: Path) -> mne.io.BaseRaw:
    """Open a Micromed recording."""
    return _read(path)


def read_nihon_kohden(path: Path) -> mne.io.BaseRaw:
    """Open all blocks of a Nihon Kohden recording, joined, with the events of its ``.LOG``.

    Marks tell the pauses.  eeg2edf needs the ``.21E`` beside the file, MNE does not: a recording
    without it is read as if the plugin were not there.
    """
    if not any(path.with_suffix(ending).is_file() for ending in (".21E", ".21e")):
        import mne

        return mne.io.read_raw_nihon(path, verbose="WARNING")
    return _read(path, block="all")


def pauses_of(segments: list[dict[str, Any]], sfreq: float) -> list[tuple[float, float]]:
    """Return (where, how long) of the pauses between the parts of a recording, both in seconds.

    Parameters
    ----------
    segments : list of dict
        Of eeg2edf's sidecar: ``offset_s`` and ``duration_s``, and ``start`` (date and time) or
        ``original_frame``.
    sfreq : float
        Rate in Hz.

    Returns
    -------
    list of (float, float)
        Place in the joined recording, length of the pause.

    Examples
    --------
    >>> parts = [
    ...     {"start": "2020-03-02T10:00:00", "offset_s": 0.0, "duration_s": 20.0},
    ...     {"start": "2020-03-02T10:01:00", "offset_s": 20.0, "duration_s": 5.0},
    ... ]
    >>> pauses_of(parts, 200.0)
    [(20.0, 40.0)]
    """

    def began_s(segment: dict[str, Any]) -> float:
        if "original_frame" in segment:
            return float(segment["original_frame"]) / sfreq
        # Only differences count, and the clock on the wall has no time zone.
        return (datetime.fromisoformat(segment["start"]) - datetime(1970, 1, 1)).total_seconds()

    # A Micromed table of cuts begins with the first cut.
    if segments and "original_frame" in segments[0] and segments[0]["offset_s"] > 0:
        segments = [{"original_frame": 0, "offset_s": 0.0, "duration_s": segments[0]["offset_s"]}, *segments]
    found = []
    for before, after in pairwise(segments):
        length = began_s(after) - began_s(before) - before["duration_s"]
        if length > SHORTEST_PAUSE_S:
            found.append((float(after["offset_s"]), round(length, 3)))
    return found


def _read(path: Path, **options: Any) -> mne.io.BaseRaw:
    import eeg2edf
    from eeg2edf.mne import get_sidecar

    raw = eeg2edf.read_raw(path, verbose="WARNING", **options)
    for at_s, length_s in pauses_of(get_sidecar(raw).get("segments") or [], raw.info["sfreq"]):
        # eeg2edf marks the join; this tells biot_bd's time line how much is missing there.
        raw.annotations.append(at_s + raw.first_time, 0.0, f"BAD boundary: {length_s:.3f} s missing")
    return raw


NICOLET = Reader((".e",), is_nicolet, read_nicolet)
MICROMED = Reader((".vwr",), is_micromed, read_micromed)
NIHON_KOHDEN = Reader((".eeg",), is_nihon_kohden, read_nihon_kohden, search="probe")
