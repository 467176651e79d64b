"""The time line of a recording: stretches without a gap, each with its true start.

Formats tell of pauses in their own ways: EDF+ and BDF+ by the time stamp of each record (also where
the header says "continuous"), BioSemi by a bit of the status channel, BrainVision by ``New
Segment`` markers, Persyst by ``[SampleTimes]``, Nihon Kohden by the clock of each block, EEGLAB by
``boundary`` events; MNE marks splices with ``BAD boundary`` and ``EDGE boundary``, a reader may add
``BAD boundary: 60 s missing``, and samples that
stand for a pause with ``BAD_ACQ_SKIP``. :func:`timeline_of` reads them all.  Every other room asks
the :class:`TimeLine` that it returns.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.io.channel_readers import source_file
from biot_bd.io.edf_times import edf_timeline, parse_number
from biot_bd.io.readers import is_raw, open_raw
from biot_bd.io.segments import (
    BOUNDARY,
    MOST_DRIFT,
    SKIP,
    TOLERANCE_S,
    Segment,
    TimeLine,
    cut,
    exact,
    from_stamps,
    part_of,
    tells_of_time,
    without,
)

if TYPE_CHECKING:
    import mne

DAY_S = 86_400.0


def timeline_of(source: str | os.PathLike[str] | mne.io.BaseRaw, *, samples: bool = True) -> TimeLine:
    """Return the time line of a recording.

    Parameters
    ----------
    source : path or mne.io.BaseRaw
        A file in a format that MNE reads, or an MNE recording; where that is read from one file,
        what the file says of time is read again, as MNE joins what a pause divides.
    samples : bool, default=True
        Read the status channel of BioSemi files, which tells of pauses; False reads no more than
        header and time stamps.

    Returns
    -------
    TimeLine
        One segment where there is no gap.

    Raises
    ------
    biot_bd.exceptions.RecordingError
        The file cannot be read, or its records are out of order, or those of an EDF+D file do not
        say when they begin; the message names the file.

    See Also
    --------
    biot_bd.io.recordings.open_recording : Opens a recording with its time line.

    References
    ----------
    https://www.edfplus.info/specs/edfplus.html

    Examples
    --------
    >>> import mne, numpy as np
    >>> from biot_bd.io.timeline import timeline_of
    >>> info = mne.create_info(["Fp1"], 100.0, "eeg")
    >>> raws = [mne.io.RawArray(np.zeros((1, n)), info, verbose="error") for n in (500, 300)]
    >>> line = timeline_of(mne.concatenate_raws(raws, verbose="error"))
    >>> [(segment.first_sample, segment.n_samples) for segment in line.segments]
    [(0, 500), (500, 300)]
    >>> line.segments[1].spliced
    True
    """
    if is_raw(source):
        return _of_raw(source, samples)
    path = Path(source)
    if path.suffix.lower() in (".edf", ".bdf") and path.is_file() and _is_edf(path):
        return edf_timeline(path, samples=samples)
    return _of_raw(open_raw(path)[0], samples, path)


# What MNE holds


def _of_raw(raw: mne.io.BaseRaw, samples: bool, path: Path | None = None) -> TimeLine:
    sfreq, n_samples, first = float(raw.info["sfreq"]), int(raw.n_times), int(raw.first_samp)
    path = path or source_file(raw)
    told = None
    reader = _FILE_READERS.get(type(raw).__name__)
    if path is not None and path.is_file() and reader is not None:
        whole = reader(path, raw, samples)
        told = None if whole is None else _fitted(whole, sfreq, first, n_samples)
    if told is None:
        start = raw.info["meas_date"]
        clock = None if start is None else start + dt.timedelta(seconds=first / sfreq)
        told = replace(TimeLine.continuous(n_samples, sfreq, clock), first_sample=first)
    return _with_annotations(told, raw)


def _fitted(whole: TimeLine, sfreq: float, first: int, n_samples: int) -> TimeLine | None:
    """Return a file's time line for what was cropped or resampled from it, None for others."""
    line = whole.at_rate(sfreq)
    if first == 0 and n_samples > line.n_samples:  # more than the header declares: they count on
        last = line.segments[-1]
        last = part_of(last, last.first_sample, last.stop_sample + n_samples - line.n_samples)
        return replace(line, segments=exact([*line.segments[:-1], last], sfreq), n_samples=n_samples)
    if first == 0 and abs(line.n_samples - n_samples) <= 1:
        return whole.at_rate(sfreq, n_samples)
    if first < 0 or first + n_samples > line.n_samples + 1:
        return None
    return line.crop(first, first + n_samples)


def _with_annotations(line: TimeLine, raw: mne.io.BaseRaw) -> TimeLine:
    """Cut where annotations tell of a splice; leave samples out that stand for a pause."""
    named = [(i, str(text)) for i, text in enumerate(raw.annotations.description)]
    if type(raw).__name__ == "RawEEGLAB":  # which calls boundaries so where all its events are numbers
        named = [(i, "boundary" if text in ("-99", "-99.0") else text) for i, text in named]
    found = {i: BOUNDARY.fullmatch(text) for i, text in named}
    skips = [i for i, text in named if text.upper().startswith(SKIP)]
    marks = [i for i, text in named if tells_of_time(text) and i not in skips]
    if not marks and not skips:
        return line
    onset = (raw.annotations.onset - raw.first_time) * line.sfreq
    missing_s = np.nan_to_num(raw.annotations.duration)
    if type(raw).__name__ == "RawEEGLAB" and marks:
        missing_s = _eeglab_durations(raw, missing_s)
    told_s = {i: float(match[1]) for i, match in found.items() if match and match[1]}
    told_s |= {i: float(missing_s[i]) for i in marks if named[i][1] == "boundary" and missing_s[i] > 0}
    # MNE sets a mark on the first sample behind the splice, or half a sample before it.
    cuts: dict[int, float] = {}
    for i in marks:
        at = int(np.ceil(onset[i] - 1e-3))
        cuts[at] = max(cuts.get(at, 0.0), told_s.get(i, 0.0))
    # MNE's reader of Neuralynx ends each of them a sample early.
    early = int(type(raw).__name__ == "RawNeuralynx")
    spans = [
        (int(np.ceil(onset[i] - 1e-3)), int(np.ceil(onset[i] + missing_s[i] * line.sfreq - 1e-3)) + early)
        for i in skips
    ]
    return cut(without(line, spans), cuts)


def _eeglab_durations(raw: mne.io.BaseRaw, durations_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the file says; MNE cuts annotations at the recording's end."""
    path = source_file(raw)
    ends = raw.annotations.onset - raw.first_time + durations_s
    clipped = (durations_s > 0) & (ends >= (raw.n_times - 1) / raw.info["sfreq"])
    if path is None or not clipped.any() or not path.with_suffix(".set").is_file():
        return durations_s
    import mne

    told = mne.read_annotations(path.with_suffix(".set"))
    found = {(round(float(a["onset"]), 6), str(a["description"])): float(a["duration"]) for a in told}
    keys = [(round(float(a["onset"]), 6), str(a["description"])) for a in raw.annotations]
    return np.nan_to_num([found.get(key, own) for key, own in zip(keys, durations_s, strict=True)])


# Formats that MNE joins


def _is_edf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) in (b"0", b"\xff")


def _brainvision(path: Path, raw: mne.io.BaseRaw, samples: bool) -> TimeLine | None:
    """Read the dates of ``New Segment`` markers, of which MNE keeps the first alone."""
    header = _brainvision_header(path)
    if header is None:
        return None
    named = re.search(r"^MarkerFile\s*=\s*(.+?)\s*$", _text(header), re.MULTILINE)
    if named is None:
        return None
    markers = header.with_name(named[1].replace("$b", header.stem))
    if not markers.is_file():
        markers = header.with_suffix(".vmrk")
        if not markers.is_file():
            return None
    sfreq, n_samples = float(raw.info["sfreq"]), _whole_length(raw)
    found = re.findall(r"^Mk\d+=New Segment,[^,\n]*,(\d+),[^,\n]*,[^,\n]*(?:,(\d*))?", _text(markers), re.MULTILINE)
    stamps = sorted(((int(at) - 1, _brainvision_date(date)) for at, date in found), key=lambda stamp: stamp[0])
    stamps = [(at, date) for at, date in stamps if 0 <= at < n_samples]
    if not stamps or stamps[0][0] != 0:
        stamps.insert(0, (0, None))
    return _from_clock_times(stamps, n_samples, sfreq, TOLERANCE_S)


def _brainvision_header(path: Path) -> Path | None:
    if path.suffix.lower() in (".vhdr", ".ahdr"):
        return path
    own = path.with_suffix(".vhdr")
    candidates = [own] if own.is_file() else []
    candidates += [p for p in path.parent.glob("*.vhdr") if p != own]
    for header in candidates:
        named = re.search(r"^DataFile\s*=\s*(.+?)\s*$", _text(header), re.MULTILINE)
        if named and named[1].replace("$b", header.stem) == path.name:
            return header
    return own if own.is_file() else None


def _brainvision_date(text: str) -> dt.datetime | None:
    if not re.fullmatch(r"\d{20}", text) or not text.strip("0"):
        return None
    try:
        return dt.datetime.strptime(text, "%Y%m%d%H%M%S%f").replace(tzinfo=dt.UTC)
    except ValueError:
        return None


def _nihon(path: Path, raw: mne.io.BaseRaw, samples: bool) -> TimeLine | None:
    """Read the clock of each block of a Nihon Kohden file, which MNE does not."""
    blocks = raw._raw_extras[0]["header"]["controlblocks"][0]["datablocks"]
    stamps, at = [], 0
    with path.open("rb") as file:
        for block in blocks:
            file.seek(int(block["address"]) + 0x14)
            stamps.append((at, _decimal_date(file.read(6))))
            at += int(block["n_samples"])
    # Their clock shows whole seconds, and so tells less than the samples where there is no pause.
    return _from_clock_times(stamps, at, float(raw.info["sfreq"]), coarse_s=1.0)


def _decimal_date(text: bytes) -> dt.datetime | None:
    """Return a date of six bytes of two decimal digits each, from year to second."""
    try:
        year, month, day, hour, minute, second = (int(f"{byte:02x}") for byte in text)
        year += 1900 if year >= 70 else 2000
        return dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
    except (ValueError, TypeError):
        return None


def _from_clock_times(
    stamps: Sequence[tuple[int, dt.datetime | None]], n_samples: int, sfreq: float, coarse_s: float
) -> TimeLine:
    """Make a time line of samples at which recording went on and the clock there, if known."""
    start = stamps[0][1]
    kept: list[Segment] = []
    remarks: list[str] = []
    for (at, clock), (stop, _) in pairwise([*stamps, (n_samples, None)]):
        last_s = kept[-1].stop_s if kept else 0.0
        at_s, spliced = last_s, bool(kept)
        if clock is not None and start is not None:
            told_s, spliced = (clock - start).total_seconds(), False
            if told_s < last_s - max(coarse_s, MOST_DRIFT * at / sfreq):
                remarks.append(
                    f"the clock goes back by {last_s - told_s:.6g} s at {last_s:.6g} s; times count on there"
                )
                spliced = True
            elif told_s >= last_s + coarse_s:
                at_s = told_s
        if stop > at:
            kept.append(Segment(at, stop - at, at_s, (stop - at) / sfreq, spliced))
    return TimeLine(tuple(kept), sfreq, n_samples, start, remarks=tuple(remarks))


def _persyst(path: Path, raw: mne.io.BaseRaw, samples: bool) -> TimeLine | None:
    """Read ``[SampleTimes]`` (sample = seconds since midnight), which MNE does not use."""
    layout = path if path.suffix.lower() == ".lay" else _persyst_layout(path)
    if layout is None:
        return None
    rows = re.search(r"^\[SampleTimes\]\s*$(.*?)(?=^\[|\Z)", _text(layout), re.MULTILINE | re.DOTALL | re.IGNORECASE)
    found = [] if rows is None else re.findall(r"^\s*(\d+)\s*=\s*([\d.]+)\s*$", rows[1], re.MULTILINE)
    sfreq, n_samples = float(raw.info["sfreq"]), _whole_length(raw)
    date = raw.info["meas_date"]
    plain = TimeLine.continuous(n_samples, sfreq, date)
    if not found:
        return plain
    at, times_s = np.array([int(a) for a, _ in found]), np.array([parse_number(t.encode()) for _, t in found])
    order = np.argsort(at, kind="stable")
    at, times_s = at[order], times_s[order]
    if at[0] != 0 or at[-1] >= n_samples or not np.isfinite(times_s).all():
        told = f"[SampleTimes] begins at sample {at[0]} and ends at {at[-1]} of {n_samples}: not used"
        return replace(plain, remarks=(told,))
    # Seconds of the day begin anew at midnight.
    times_s = times_s + DAY_S * np.concatenate([[0], np.cumsum(np.diff(times_s) < -DAY_S / 2)])
    try:
        line = from_stamps(times_s, at, n_samples, sfreq)
    except ValueError as error:
        return replace(plain, remarks=(f"[SampleTimes] is out of order and not used: {error}",))
    if date is not None:
        midnight = date.replace(hour=0, minute=0, second=0, microsecond=0)
        line = replace(line, start_time=midnight + dt.timedelta(seconds=float(times_s[0])))
    return line


def _persyst_layout(path: Path) -> Path | None:
    own = path.with_suffix(".lay")
    for layout in [own, *path.parent.glob("*.lay")]:
        if layout.is_file():
            named = re.search(r"^File\s*=\s*(.+?)\s*$", _text(layout), re.MULTILINE | re.IGNORECASE)
            if named and re.split(r"[\\/]", named[1])[-1] == path.name:
                return layout
    return None


def _edf(path: Path, raw: mne.io.BaseRaw, samples: bool) -> TimeLine | None:
    return edf_timeline(path, samples=samples) if _is_edf(path) else None


def _whole_length(raw: mne.io.BaseRaw) -> int:
    """Return how many samples the file has, of which a cropped recording knows."""
    bounds: Any = raw._raw_extras[0] if raw._raw_extras else None
    n = bounds.get("n_samples") if isinstance(bounds, dict) else None
    return int(n) if isinstance(n, (int, np.integer)) else int(raw.first_samp + raw.n_times)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")


_FILE_READERS = {
    "RawEDF": _edf,
    "RawBDF": _edf,
    "RawBrainVision": _brainvision,
    "RawPersyst": _persyst,
    "RawNihon": _nihon,
}
