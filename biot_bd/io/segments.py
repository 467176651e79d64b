"""Stretches of a recording without a gap, and the time line that they make.

:func:`biot_bd.io.timeline.timeline_of` makes one of what a format tells of pauses.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import mne

# A record's stamp may be this late or early and there is no gap.  Recorders stamp records when they
# come in, up to 20 ms off either way (40 ms from one to the next), and an event shall be within
# 0.1 s of its true time.
TOLERANCE_S = 0.05
# A late stamp that the next records take back is jitter; a clock that goes back by more is out of
# order.
MOST_JITTER_S = 0.25
JITTER_RECORDS = 8
# A crystal is 100 ppm off; a header's record duration of few digits, 500 ppm.
MOST_DRIFT = 1e-3
# Annotations that tell of time: of MNE, of our readers, of samples that stand for a pause.
BOUNDARY = re.compile(r"(?:(?:bad |edge )?boundary|bad boundary: (\d+(?:\.\d+)?) s missing)", re.IGNORECASE)
SKIP = "BAD_ACQ_SKIP"


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

    See Also
    --------
    TimeLine : What segments make.

    Examples
    --------
    >>> from biot_bd.io import Segment
    >>> after_a_minute = Segment(first_sample=1000, n_samples=500, start_s=70.0, duration_s=5.0)
    >>> after_a_minute.stop_sample, after_a_minute.stop_s
    (1500, 75.0)
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

    See Also
    --------
    timeline_of : Makes it of a recording.

    Examples
    --------
    Twenty seconds at 100 Hz with a pause of a minute in the middle:

    >>> from biot_bd.io.segments import Segment, TimeLine
    >>> line = TimeLine(
    ...     (Segment(0, 1000, 0.0, 10.0), Segment(1000, 1000, 70.0, 10.0)), 100.0, 2000
    ... )
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
                part = part_of(segment, a, b)
                spliced = segment.spliced and a == segment.first_sample > start
                kept.append(replace(part, first_sample=a - start, start_s=part.start_s - begin_s, spliced=spliced))
        return replace(
            self,
            segments=exact(kept, self.sfreq),
            n_samples=stop - start,
            start_time=self.clock_time(begin_s),
            first_sample=self.first_sample + start,
        )

    def at_rate(self, sfreq: float, n_samples: int | None = None) -> TimeLine:
        """Return the same times for ``n_samples`` at another rate (as many as last as long)."""
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
        return replace(self, segments=exact(kept, sfreq), sfreq=sfreq, n_samples=total, first_sample=first)

    def as_list(self) -> list[list[float]]:
        """Return (start_s, duration_s) of each segment, as results hold them."""
        return [[round(s.start_s, 6), round(s.duration_s, 6)] for s in self.segments]

    def _columns(self) -> tuple[NDArray[np.float64], ...]:
        rows = [(s.first_sample, s.n_samples, s.start_s, s.duration_s) for s in self.segments]
        return tuple(np.array(rows, np.float64).T)


# Parts of segments


def cut(line: TimeLine, cuts: dict[int, float]) -> TimeLine:
    """Divide segments before samples; the seconds lost there (0: unknown) move what follows."""
    kept: list[Segment] = []
    moved_s = 0.0
    for segment in line.segments:
        inside = sorted(at for at in cuts if segment.first_sample < at < segment.stop_sample)
        for a, b in pairwise([segment.first_sample, *inside, segment.stop_sample]):
            moved_s += cuts[a] if a in inside else 0.0
            part = part_of(segment, a, b)
            spliced = not cuts[a] if a in inside else segment.spliced
            kept.append(replace(part, start_s=part.start_s + moved_s, spliced=spliced))
    return replace(line, segments=exact(kept, line.sfreq))


def part_of(segment: Segment, start: int, stop: int) -> Segment:
    """Return samples ``start`` to ``stop`` of a segment."""
    a_sample_s = segment.duration_s / segment.n_samples
    start_s = segment.start_s + (start - segment.first_sample) * a_sample_s
    return replace(
        segment, first_sample=start, n_samples=stop - start, start_s=start_s, duration_s=(stop - start) * a_sample_s
    )


def without(line: TimeLine, spans: Iterable[tuple[int, int]]) -> TimeLine:
    """Take samples that stand for a pause out of the segments."""
    kept = list(line.segments)
    for a, b in spans:
        kept = [
            part_of(s, first, last)
            for s in kept
            for first, last in ((s.first_sample, min(a, s.stop_sample)), (max(b, s.first_sample), s.stop_sample))
            if first < last
        ]
    return replace(line, segments=exact(kept, line.sfreq))


def exact(segments: Sequence[Segment], sfreq: float) -> tuple[Segment, ...]:
    """Let durations be samples over the rate where they differ by rounding alone."""
    exact = []
    for s in segments:
        plain = s.n_samples / sfreq
        exact.append(replace(s, duration_s=plain) if abs(s.duration_s - plain) < 1e-9 * max(1.0, plain) else s)
    return tuple(exact)


# Samples with time stamps


def from_stamps(stamps_s: NDArray[np.float64], at: NDArray[np.int64], n_samples: int, sfreq: float) -> TimeLine:
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


# Annotations


def tells_of_time(text: str) -> bool:
    """Return whether an annotation marks a pause or a splice, and so belongs to the time line."""
    return bool(BOUNDARY.fullmatch(text)) or text.startswith("New Segment/") or text.upper().startswith(SKIP)


def annotations_of(raw: mne.io.BaseRaw) -> list[tuple[float, float, str]]:
    """Return annotations as (onset, duration, text), in seconds since the first sample."""
    return [(float(a["onset"]) - raw.first_time, float(a["duration"]), str(a["description"])) for a in raw.annotations]


def set_annotations(raw: mne.io.BaseRaw, rows: Sequence[tuple[float, float, str]]) -> None:
    """Replace annotations by (onset, duration, text), in seconds since the first sample.

    MNE counts them from the measurement date, where there is one, and a recording may begin later
    (a crop).
    """
    import mne

    shift_s = raw.first_time if raw.annotations.orig_time is not None else 0.0
    onsets = [onset_s + shift_s for onset_s, _, _ in rows]
    durations, texts = [row[1] for row in rows], [row[2] for row in rows]
    added = mne.Annotations(onsets, durations, texts, orig_time=raw.annotations.orig_time)
    raw.set_annotations(added, verbose="ERROR")
