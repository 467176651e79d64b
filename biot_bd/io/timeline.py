"""The time line of a recording: stretches without a gap, each with its true start.

Formats tell of pauses in their own ways: EDF+ and BDF+ by the time stamp of each record (also where
the header says "continuous"), BioSemi by a bit of the status channel, BrainVision by ``New
Segment`` markers, Persyst by ``[SampleTimes]``, Nihon Kohden by the clock of each block, EEGLAB by
``boundary`` events; MNE marks splices with ``BAD boundary`` and ``EDGE boundary``, and samples that
stand for a pause with ``BAD_ACQ_SKIP``. :func:`timeline_of` reads them all.  Every other room asks
the :class:`TimeLine` that it returns.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import mne
import numpy as np
from numpy.typing import ArrayLike, NDArray

from biot_bd.exceptions import RecordingError
from biot_bd.io.channel_readers import source_file
from biot_bd.io.edf_header import ANNOTATIONS, EdfHeader, read_edf_header

# A record's stamp may be this late or early and there is no gap.  Recorders stamp records when they come in, up to 20 ms
# off either way (40 ms from one to the next), and an event shall be within 0.1 s of its true time.
TOLERANCE_S = 0.05
# A late stamp that the next records take back is jitter; a clock that goes back by more is out of order.
MOST_JITTER_S = 0.25
JITTER_RECORDS = 8
# A crystal is 100 ppm off; a header's record duration of few digits, 500 ppm.
MOST_DRIFT = 1e-3
STAMP_BYTES = 32
PLUS = ("EDF+C", "EDF+D", "BDF+C", "BDF+D")
MOST_RECORDS = 2**25
AT_ONCE_BYTES = 2**24
# Where the bit is set more often than once in ten seconds it is not BioSemi's.
SHORTEST_EPOCH_S = 10.0
DAY_S = 86_400.0
_ANNOTATION = re.compile(rb"([+-]\d+\.?\d*)(?:\x15(\d*\.?\d*))?\x14([^\x00]*?)\x14?\x00")
SLOWEST_HZ = 1e-6
_BOUNDARIES = ("bad boundary", "edge boundary", "boundary")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording without a gap.

    Parameters
    ----------
    first_sample : int
        Its first sample, counted from the recording's first.
    n_samples : int
        Its length.
    start_s : float
        When it begins, in seconds since the recording's start, pauses included.
    duration_s : float
        How long it lasts: ``n_samples`` over the rate, unless the recorder's clock ran off by more
        than 50 ms.
    spliced : bool, default=False
        Something is missing before it, and the recording does not say how much: ``start_s`` counts
        nothing for it.
    """

    first_sample: int
    n_samples: int
    start_s: float
    duration_s: float
    spliced: bool = False

    @property
    def stop_sample(self) -> int:
        """The sample behind its last."""
        return self.first_sample + self.n_samples

    @property
    def stop_s(self) -> float:
        """When it ends, in seconds since the recording's start."""
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class TimeLine:
    """When each sample of a recording was measured.

    Parameters
    ----------
    segments : tuple of Segment
        Stretches without a gap, in order.  Samples that belong to none stand for a pause (zeros
        that MNE reads there).
    sfreq : float
        Rate of the samples that are counted, in Hz.
    n_samples : int
        Samples of the recording.
    start_time : datetime.datetime or None
        Clock time of the first sample, to the microsecond where the file tells it; None where it
        does not.
    first_sample : int, default=0
        Number of the first sample since the measurement date, as ``raw.first_samp``; ``start_time``
        has it in already.
    remarks : tuple of str
        What a reader should know beside the segments, e.g. a date that is none.

    Examples
    --------
    Twenty seconds at 100 Hz with a pause of a minute in the middle:

    >>> from biot_bd.io.timeline import Segment, TimeLine
    >>> line = TimeLine((Segment(0, 1000, 0.0, 10.0), Segment(1000, 1000, 70.0, 10.0)), 100.0, 2000)
    >>> line.gaps
    [(10.0, 70.0)]
    >>> line.time_of([0, 999, 1000]).tolist()
    [0.0, 9.99, 70.0]
    >>> line.sample_of([5.0, 30.0, 71.0]).tolist()
    [500, 1000, 1100]
    """

    segments: tuple[Segment, ...]
    sfreq: float
    n_samples: int
    start_time: dt.datetime | None = None
    first_sample: int = 0
    remarks: tuple[str, ...] = field(default=())

    @classmethod
    def continuous(cls, n_samples: int, sfreq: float, start_time: dt.datetime | None = None) -> Self:
        """Return the time line of a recording without a gap."""
        return cls((Segment(0, n_samples, 0.0, n_samples / sfreq),), sfreq, n_samples, start_time)

    @property
    def is_continuous(self) -> bool:
        """Whether every sample ``k`` was measured ``k / sfreq`` seconds after the first."""
        return self.segments == (Segment(0, self.n_samples, 0.0, self.n_samples / self.sfreq),)

    @property
    def duration_s(self) -> float:
        """Seconds from the first sample to the end of the last segment, pauses included."""
        return self.segments[-1].stop_s if self.segments else 0.0

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """Pauses (start_s, stop_s) of known length."""
        ends = [0.0, *(segment.stop_s for segment in self.segments[:-1])]
        return [
            (end, segment.start_s)
            for end, segment in zip(ends, self.segments, strict=True)
            if segment.start_s > end + 0.5 / self.sfreq
        ]

    @property
    def notes(self) -> tuple[str, ...]:
        """The remarks; gaps, splices of unknown length, a clock that ran off."""
        notes = list(self.remarks)
        gaps = self.gaps
        if len(gaps) == 1:
            notes.append(f"has a gap of {gaps[0][1] - gaps[0][0]:.6g} s at {gaps[0][0]:.6g} s")
        elif gaps:
            total_s = sum(stop - start for start, stop in gaps)
            notes.append(f"has {len(gaps)} gaps, together {total_s:.6g} s, the first at {gaps[0][0]:.6g} s")
        splices = [segment.start_s for segment in self.segments if segment.spliced]
        if splices:
            times = f" {len(splices)} times, first" if len(splices) > 1 else ""
            notes.append(
                f"is spliced{times} at {splices[0]:.6g} s; how much is missing there is not told, "
                "so times behind it count what was recorded"
            )
        off_s = max((abs(s.duration_s - s.n_samples / self.sfreq) for s in self.segments), default=0.0)
        if off_s > TOLERANCE_S:
            notes.append(
                f"the recorder's clock and its samples differ by up to {off_s:.3g} s; times follow the clock, windows the rate"
            )
        return tuple(notes)

    def time_of(self, sample: ArrayLike, *, stop: bool = False) -> NDArray[np.float64]:
        """Return when samples (or fractions) were measured, in seconds since the start.

        Samples that stand for a pause count on from the segment before them.  With ``stop=True``
        the sample behind a segment's last is its end, not the start of the next.
        """
        sample = np.asarray(sample, np.float64)
        if self.is_continuous:  # to the last digit what callers without gaps compute
            return sample / self.sfreq
        first, length, start, duration = self._columns()
        at = np.clip(np.searchsorted(first, sample, "left" if stop else "right") - 1, 0, None)
        return start[at] + (sample - first[at]) * (duration[at] / length[at])

    def sample_of(self, time_s: ArrayLike) -> NDArray[np.int64]:
        """Return the samples nearest to these times; times in a pause give what follows it.

        Times before the recording give numbers below 0, times behind it such from ``n_samples`` on.
        """
        position = self.position_of(time_s)
        return np.rint(position).astype(np.int64)

    def position_of(self, time_s: ArrayLike) -> NDArray[np.float64]:
        """Return :meth:`sample_of` with fractions of a sample."""
        time_s = np.asarray(time_s, np.float64)
        if self.is_continuous:
            return time_s * self.sfreq
        first, length, start, duration = self._columns()
        at = np.clip(np.searchsorted(start, time_s, "right") - 1, 0, None)
        inside = (time_s - start[at]) / duration[at] * length[at]
        last = at == len(first) - 1
        # In a pause: the first sample behind it.
        following = np.append(first[1:], np.inf)[at]
        return np.where(last | (inside < length[at]), first[at] + inside, following)

    def clock_times(self, spans_s: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Turn (onset, offset) in seconds of what was recorded into seconds since the start."""
        if self.is_continuous:
            return list(spans_s)
        found = []
        for onset, offset in spans_s:
            onset_s = float(self.time_of(onset * self.sfreq))
            found.append((onset_s, max(onset_s, float(self.time_of(offset * self.sfreq, stop=True)))))
        return found

    def clock_time(self, time_s: float) -> dt.datetime | None:
        """Return the clock time so long after the start, None where its date is not known."""
        return None if self.start_time is None else self.start_time + dt.timedelta(seconds=time_s)

    def crop(self, start: int, stop: int) -> TimeLine:
        """Return the time line of samples ``start`` to ``stop``, counted from the first of them."""
        if (start, stop) == (0, self.n_samples):
            return self
        begin_s = float(self.time_of(start))
        kept = []
        for segment in self.segments:
            a, b = max(segment.first_sample, start), min(segment.stop_sample, stop)
            if a < b:
                part = _part(segment, a, b)
                spliced = segment.spliced and a == segment.first_sample > start
                kept.append(replace(part, first_sample=a - start, start_s=part.start_s - begin_s, spliced=spliced))
        return replace(
            self,
            segments=_exact(kept, self.sfreq),
            n_samples=stop - start,
            start_time=self.clock_time(begin_s),
            first_sample=self.first_sample + start,
        )

    def at_rate(self, sfreq: float, n_samples: int | None = None) -> TimeLine:
        """Return the same times for ``n_samples`` at another rate (as many as last equally long)."""
        total = round(self.n_samples * sfreq / self.sfreq) if n_samples is None else n_samples
        if sfreq == self.sfreq and total == self.n_samples:
            return self
        kept = []
        for segment in self.segments:
            a = min(round(segment.first_sample * sfreq / self.sfreq), total)
            b = min(round(segment.stop_sample * sfreq / self.sfreq), total)
            b = total if segment.stop_sample == self.n_samples else b
            if a < b:
                whole = abs(segment.duration_s - segment.n_samples / self.sfreq) < 1e-9
                duration_s = (b - a) / sfreq if whole else segment.duration_s
                kept.append(replace(segment, first_sample=a, n_samples=b - a, duration_s=duration_s))
        first = round(self.first_sample * sfreq / self.sfreq)
        return replace(self, segments=_exact(kept, sfreq), sfreq=sfreq, n_samples=total, first_sample=first)

    def as_list(self) -> list[list[float]]:
        """Return (start_s, duration_s) of each segment, as results hold them."""
        return [[round(s.start_s, 6), round(s.duration_s, 6)] for s in self.segments]

    def _columns(self) -> tuple[NDArray[np.float64], ...]:
        rows = [(s.first_sample, s.n_samples, s.start_s, s.duration_s) for s in self.segments]
        return tuple(np.array(rows, np.float64).T)


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
    if isinstance(source, mne.io.BaseRaw):
        return _of_raw(source, samples)
    path = Path(source)
    if path.is_file() and _is_edf(path):
        return edf_timeline(path, samples=samples)
    try:
        raw = mne.io.read_raw(path, preload=False, verbose="ERROR")
    except Exception as error:  # MNE fails in many ways on damaged files
        text = " ".join(str(error).split())[:300]
        raise RecordingError("unreadable", f"{path}: cannot be read as EEG ({type(error).__name__}: {text})") from error
    return _of_raw(raw, samples, path)


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
        last = _part(last, last.first_sample, last.stop_sample + n_samples - line.n_samples)
        return replace(line, segments=_exact([*line.segments[:-1], last], sfreq), n_samples=n_samples)
    if first == 0 and abs(line.n_samples - n_samples) <= 1:
        return whole.at_rate(sfreq, n_samples)
    if first < 0 or first + n_samples > line.n_samples + 1:
        return None
    return line.crop(first, first + n_samples)


def _with_annotations(line: TimeLine, raw: mne.io.BaseRaw) -> TimeLine:
    """Cut where annotations tell of a splice; leave samples out that stand for a pause."""
    named = [(i, str(text)) for i, text in enumerate(raw.annotations.description)]
    marks = [i for i, text in named if text.lower() in _BOUNDARIES or text.startswith("New Segment/")]
    skips = [i for i, text in named if text.upper().startswith("BAD_ACQ_SKIP")]
    if not marks and not skips:
        return line
    onset = (raw.annotations.onset - raw.first_time) * line.sfreq
    missing_s = np.nan_to_num(raw.annotations.duration)
    if type(raw).__name__ == "RawEEGLAB" and marks:
        missing_s = _eeglab_durations(raw, missing_s)
    eeglab = {i for i in marks if named[i][1] == "boundary" and missing_s[i] > 0}
    # MNE sets a mark on the first sample behind the splice, or half a sample before it.
    cuts: dict[int, float] = {}
    for i in marks:
        at = int(np.ceil(onset[i] - 1e-3))
        cuts[at] = max(cuts.get(at, 0.0), float(missing_s[i]) if i in eeglab else 0.0)
    # MNE's reader of Neuralynx ends each of them a sample early.
    early = int(type(raw).__name__ == "RawNeuralynx")
    spans = [
        (int(np.ceil(onset[i] - 1e-3)), int(np.ceil(onset[i] + missing_s[i] * line.sfreq - 1e-3)) + early)
        for i in skips
    ]
    return _cut(_without(line, spans), cuts)


def _eeglab_durations(raw: mne.io.BaseRaw, durations_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the file says; MNE cuts annotations at the recording's end."""
    path = source_file(raw)
    ends = raw.annotations.onset - raw.first_time + durations_s
    clipped = (durations_s > 0) & (ends >= (raw.n_times - 1) / raw.info["sfreq"])
    if path is None or not clipped.any() or not path.with_suffix(".set").is_file():
        return durations_s
    told = mne.read_annotations(path.with_suffix(".set"))
    found = {(round(float(a["onset"]), 6), str(a["description"])): float(a["duration"]) for a in told}
    keys = [(round(float(a["onset"]), 6), str(a["description"])) for a in raw.annotations]
    return np.nan_to_num([found.get(key, own) for key, own in zip(keys, durations_s, strict=True)])


def _cut(line: TimeLine, cuts: dict[int, float]) -> TimeLine:
    """Divide segments before samples; the seconds lost there (0: unknown) move what follows."""
    kept: list[Segment] = []
    moved_s = 0.0
    for segment in line.segments:
        inside = sorted(at for at in cuts if segment.first_sample < at < segment.stop_sample)
        for a, b in pairwise([segment.first_sample, *inside, segment.stop_sample]):
            moved_s += cuts[a] if a in inside else 0.0
            part = _part(segment, a, b)
            spliced = not cuts[a] if a in inside else segment.spliced
            kept.append(replace(part, start_s=part.start_s + moved_s, spliced=spliced))
    return replace(line, segments=_exact(kept, line.sfreq))


def _part(segment: Segment, start: int, stop: int) -> Segment:
    """Return samples ``start`` to ``stop`` of a segment."""
    a_sample_s = segment.duration_s / segment.n_samples
    start_s = segment.start_s + (start - segment.first_sample) * a_sample_s
    return replace(
        segment, first_sample=start, n_samples=stop - start, start_s=start_s, duration_s=(stop - start) * a_sample_s
    )


def _without(line: TimeLine, spans: Iterable[tuple[int, int]]) -> TimeLine:
    """Take samples that stand for a pause out of the segments."""
    kept = list(line.segments)
    for a, b in spans:
        kept = [
            _part(s, first, last)
            for s in kept
            for first, last in ((s.first_sample, min(a, s.stop_sample)), (max(b, s.first_sample), s.stop_sample))
            if first < last
        ]
    return replace(line, segments=_exact(kept, line.sfreq))


def _exact(segments: Sequence[Segment], sfreq: float) -> tuple[Segment, ...]:
    """Let durations be samples over the rate where they differ by rounding alone."""
    exact = []
    for s in segments:
        plain = s.n_samples / sfreq
        exact.append(replace(s, duration_s=plain) if abs(s.duration_s - plain) < 1e-9 * max(1.0, plain) else s)
    return tuple(exact)


def annotations_of(raw: mne.io.BaseRaw) -> list[tuple[float, float, str]]:
    """Return annotations as (onset, duration, text), in seconds since the first sample."""
    return [(float(a["onset"]) - raw.first_time, float(a["duration"]), str(a["description"])) for a in raw.annotations]


def set_annotations(raw: mne.io.BaseRaw, rows: Sequence[tuple[float, float, str]]) -> None:
    """Replace annotations by (onset, duration, text), in seconds since the first sample.

    MNE counts them from the measurement date, where there is one, and a recording may begin later
    (a crop).
    """
    shift_s = raw.first_time if raw.annotations.orig_time is not None else 0.0
    onsets = [onset_s + shift_s for onset_s, _, _ in rows]
    durations, texts = [row[1] for row in rows], [row[2] for row in rows]
    added = mne.Annotations(onsets, durations, texts, orig_time=raw.annotations.orig_time)
    raw.set_annotations(added, verbose="ERROR")


# Stamped samples: EDF+, Persyst


def _from_stamps(stamps_s: NDArray[np.float64], at: NDArray[np.int64], n_samples: int, sfreq: float) -> TimeLine:
    """Make a time line of the times at which samples ``at`` (the first of them 0) were measured.

    Raises
    ------
    ValueError
        The clock goes back.
    """
    due_s = at / sfreq
    late_s = stamps_s - stamps_s[0] - due_s
    spacing_s = np.diff(due_s)
    back = np.flatnonzero(np.diff(late_s) < -(MOST_JITTER_S + MOST_DRIFT * spacing_s))
    if len(back):
        k = int(back[0])
        raise ValueError(
            f"stamp {k + 2} says {stamps_s[k + 1]:.6g} s, expected {stamps_s[k] + spacing_s[k]:.6g} s or later"
        )
    settled = _settled(late_s)
    gaps = np.flatnonzero(np.diff(settled) > TOLERANCE_S + MOST_DRIFT * spacing_s) + 1
    edges = [0, *gaps.tolist(), len(at)]
    segments = []
    for a, b in pairwise(edges):
        first, last = int(at[a]), int(at[b]) if b < len(at) else n_samples
        length_s = (last - first) / sfreq
        off_s = _drift(due_s[a:b], settled[a:b]) * length_s
        start_s = float(stamps_s[a] - stamps_s[0])
        segments.append(Segment(first, last - first, start_s, length_s + (off_s if abs(off_s) > TOLERANCE_S else 0.0)))
    return TimeLine(tuple(segments), sfreq, n_samples)


def _settled(late_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take jitter away: a stamp is as late as the earliest of it and the next few."""
    n = min(JITTER_RECORDS, len(late_s))
    if n < 2:
        return late_s
    padded = np.concatenate([late_s, np.full(n - 1, late_s[-1])])
    return np.lib.stride_tricks.sliding_window_view(padded, n).min(axis=1)


def _drift(due_s: NDArray[np.float64], late_s: NDArray[np.float64]) -> float:
    """Return by how much a clock runs off, in seconds a second, by the least squares."""
    if len(due_s) < 2:
        return 0.0
    x = due_s - due_s.mean()
    return float((x @ (late_s - late_s.mean())) / (x @ x))


# EDF and BDF


def _is_edf(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(8)
    return head == b"0       " or head == b"\xffBIOSEMI"


def _place(header: EdfHeader, index: int) -> tuple[int, int]:
    """Return where a signal's bytes begin and end within a record."""
    before = header.sample_bytes * sum(header.samples[:index])
    return before, before + header.sample_bytes * header.samples[index]


def _records(header: EdfHeader) -> NDArray[np.uint8]:
    """Map the records ``(n_records, bytes)``; nothing is read yet."""
    shape = (_n_records(header), header.sample_bytes * sum(header.samples))
    return np.memmap(header.path, np.uint8, "r", header.n_bytes, shape)


def _n_records(header: EdfHeader) -> int:
    """Return how many records count: bytes behind those that were declared do not."""
    return header.present if header.declared < 0 else min(header.declared, header.present)


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
    n_records = _n_records(header)
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
    stamped = next((i for i, label in enumerate(header.labels) if label in ANNOTATIONS), None)
    if header.kind in PLUS and stamped is not None:
        line, first_s, told = _edf_stamped(header, stamped, line)
        notes += told
    elif header.kind in PLUS and header.kind.endswith("D"):
        raise RecordingError("unreadable", f"{path}: is {header.kind} without a signal of annotations: {_ADVICE}")
    clock = None if start is None else start + dt.timedelta(seconds=first_s)
    line = replace(line, start_time=clock, remarks=(*notes, *line.remarks))
    if samples and header.sample_bytes == 3 and "Status" in header.labels:
        line = _with_status(header, line)
    return line


_ADVICE = "its times cannot be told; export it as a continuous file, or one file for each stretch"


def _edf_stamped(header: EdfHeader, index: int, plain: TimeLine) -> tuple[TimeLine, float, list[str]]:
    """Return the time line by the records' stamps, the first of them, and notes."""
    stamps_s = _stamps(header, index)
    known = np.flatnonzero(np.isfinite(stamps_s))
    strict = header.kind.endswith("D")
    if strict and len(known) < _n_records(header):
        number = int(np.flatnonzero(~np.isfinite(stamps_s))[0]) + 1
        raise RecordingError(
            "unreadable", f"{header.path}: is {header.kind}, and record {number} does not say when it begins: {_ADVICE}"
        )
    if not len(known):
        return plain, 0.0, []
    if known[0]:  # records before the first stamp are counted back from it
        known = np.insert(known, 0, 0)
        stamps_s[0] = stamps_s[known[1]] - known[1] * header.record_s
    each = plain.n_samples // _n_records(header)
    try:
        line = _from_stamps(stamps_s[known], known * each, plain.n_samples, plain.sfreq)
    except ValueError as error:
        if strict:
            raise RecordingError(
                "unreadable", f"{header.path}: is {header.kind}, and its records are out of order: {error}"
            ) from error
        return plain, 0.0, [f"is {header.kind}, and the time stamps of its records are not used: {error}"]
    return line, float(stamps_s[0]), []


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
    header = read_edf_header(path)
    records, found = _records(header), []
    first_s = None
    for index, label in enumerate(header.labels):
        if label not in ANNOTATIONS:
            continue
        begin, end = _place(header, index)
        for onset, duration, texts in _ANNOTATION.findall(np.ascontiguousarray(records[:, begin:end]).tobytes()):
            first_s = float(onset) if first_s is None else first_s
            for text in filter(None, texts.split(b"\x14")):
                at = line.position_of(float(onset) - first_s)
                stop = line.position_of(float(onset) - first_s + float(duration or 0))
                found.append((float(at), float(stop - at), text.decode("utf-8", "replace")))
    return [(at / line.sfreq, length / line.sfreq, text) for at, length, text in sorted(found)]


def _stamps(header: EdfHeader, index: int) -> NDArray[np.float64]:
    """Return when each record begins, in seconds; NaN where it has no time stamp."""
    begin, end = _place(header, index)
    width = min(end - begin, STAMP_BYTES)
    stamps = np.full(_n_records(header), np.nan)
    if width < 4:
        return stamps
    records = _records(header)
    rows = max(1, AT_ONCE_BYTES // STAMP_BYTES)
    for i in range(0, _n_records(header), rows):
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
                stamps[i + rows_of] = [_number(value) for value in written.tolist()]
    return stamps


def _number(text: bytes) -> float:
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
    records = _records(header)
    rows = max(1, AT_ONCE_BYTES // max(1, n))
    found: list[int] = []
    before: NDArray[np.uint8] = np.ones(1, np.uint8)  # the file's first sample begins no second stretch
    for i in range(0, _n_records(header), rows):
        bits: NDArray[np.uint8] = (records[i : i + rows, begin + 2 : end : 3] & np.uint8(1)).ravel()
        rising = np.flatnonzero(bits > np.concatenate([before, bits[:-1]]))
        found += (rising + i * n).tolist()
        before = bits[-1:]
    if not found:
        return line
    if len(found) > line.n_samples / line.sfreq / SHORTEST_EPOCH_S:
        told = f"bit 16 of the status channel is set {len(found)} times: not taken for pauses"
        return replace(line, remarks=(*line.remarks, told))
    at = [round(sample * line.n_samples / (n * _n_records(header))) for sample in found]
    return _cut(line, dict.fromkeys(at, 0.0))


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


# Other formats that MNE joins


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
    stamps = sorted((int(position) - 1, _brainvision_date(date)) for position, date in found)
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
            if told_s < last_s - max(coarse_s, MOST_DRIFT * last_s):
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
    at, times_s = np.array([int(a) for a, _ in found]), np.array([_number(t.encode()) for _, t in found])
    order = np.argsort(at, kind="stable")
    at, times_s = at[order], times_s[order]
    if at[0] != 0 or at[-1] >= n_samples or not np.isfinite(times_s).all():
        told = f"[SampleTimes] begins at sample {at[0]} and ends at {at[-1]} of {n_samples}: not used"
        return replace(plain, remarks=(told,))
    # Seconds of the day begin anew at midnight.
    times_s = times_s + DAY_S * np.concatenate([[0], np.cumsum(np.diff(times_s) < -DAY_S / 2)])
    try:
        line = _from_stamps(times_s, at, n_samples, sfreq)
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
