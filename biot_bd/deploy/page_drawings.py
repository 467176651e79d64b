"""Drawings of a patient's page as paths and places: the curve, the night, the EEG of an event.

Widths are shares of the drawing, so that it is as wide as its place; text stands beside it in HTML
and keeps its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.decided_curve import DecidedCurve
from biot_bd.deploy.detector import Detection
from biot_bd.plots import channel_distance_uv
from biot_bd.signals.resampling import resample_polyphase
from biot_bd.viewer import Traces

WIDE, HIGH = 1000.0, 100.0
MOST_TICKS = 8
TICKS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
SESSION_GAP_S = 3 * 3600.0
STILL_BEFORE_S, STILL_S, STILL_HZ = 2.0, 10.0, 50.0
STILL_ROW, STILL_FINE = 22, 4  # units a channel; steps of a unit


@dataclass(frozen=True)
class Tick:
    """A label on the axis of time.

    Parameters
    ----------
    at : float
        Where, in percent.
    text : str
        Time since the recording's start, or of the day.
    clock : str
        Time of the day below it, or nothing.
    """

    at: float
    text: str
    clock: str = ""


@dataclass(frozen=True)
class Overview:
    """The curve of a recording, drawn.

    Parameters
    ----------
    curve, windows : str
        Paths in a box of 1000 by 100.
    threshold : float
        Its height in that box.
    events, gaps : list of (float, float)
        Left edge and width in that box.
    ticks : list of Tick
        Of the axis of time.
    """

    curve: str
    windows: str
    threshold: float
    events: list[tuple[float, float]]
    gaps: list[tuple[float, float]]
    ticks: list[Tick]


def overview_of(detection: Detection, curve: DecidedCurve) -> Overview:
    """Draw the curve that decided, the windows beside it, events and gaps of a recording."""
    scale = WIDE / detection.duration_s
    known = ~np.isnan(detection.probabilities)
    centres = (detection.start_s[known] + detection.window_s / 2) * scale
    return Overview(
        curve_path(curve, scale),
        _dots(centres, detection.probabilities[known]),
        round(HIGH * (1 - detection.setting["events"]["threshold"]), 2),
        [(event.onset_s * scale, (event.offset_s - event.onset_s) * scale) for event in detection.events],
        [(a * scale, (b - a) * scale) for a, b in detection.gaps],
        ticks_of(0.0, detection.duration_s, detection.start_time),
    )


def curve_path(curve: DecidedCurve, scale: float) -> str:
    """Return the path of a curve: a step a second, or the extremes of each of 1000 columns.

    Parameters
    ----------
    curve : DecidedCurve
        Of a recording.
    scale : float
        Units a second.

    Returns
    -------
    str
        Empty where nothing is known.
    """
    height = HIGH * (1 - curve.values)
    if scale < 1:
        return _columns(np.floor(curve.times_s * scale).astype(int), height, curve.known)
    parts, end_s = [], None
    for time_s, y, known in zip(curve.times_s.tolist(), height.tolist(), curve.known.tolist(), strict=True):
        if not known:
            end_s = None
            continue
        goes_on = end_s is not None and time_s - end_s < 0.5
        parts.append(f"{'V' if goes_on else f'M{time_s * scale:.6g} '}{y:.4g}H{min((time_s + 1) * scale, WIDE):.6g}")
        end_s = time_s + 1
    return "".join(parts)


def _columns(column: NDArray[np.int64], height: NDArray[np.float64], known: NDArray[np.bool_]) -> str:
    parts, last = [], None
    column, height = column[known], height[known]
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    if not starts.size:
        return ""
    low, high = np.maximum.reduceat(height, starts), np.minimum.reduceat(height, starts)
    for x, top, bottom in zip(column[starts].tolist(), high.tolist(), low.tolist(), strict=True):
        begin = f"H{x}" if last == x - 1 else f"M{x} {bottom:.4g}"
        parts.append(f"{begin}V{top:.4g}V{bottom:.4g}")
        last = x
    return "".join(parts)


def _dots(x: NDArray[np.float64], values: NDArray[np.float64]) -> str:
    """Return a path of points; those of one place are one."""
    places = dict.fromkeys(
        (round(a, 1), round(b, 1)) for a, b in zip(x.tolist(), (HIGH * (1 - values)).tolist(), strict=True)
    )
    return "".join(f"M{a:g} {b:g}h0" for a, b in places)


def ticks_of(start_s: float, stop_s: float, begins: datetime | None) -> list[Tick]:
    """Return labels of an axis: time since the recording's start, and the clock's below it."""
    step = next((s for s in TICKS_S if (stop_s - start_s) / s <= MOST_TICKS), TICKS_S[-1])
    times = np.arange(np.ceil(start_s / step) * step, stop_s + 1e-6, step)
    form = "%H:%M:%S" if step < 60 or (begins is not None and begins.second) else "%H:%M"
    return [
        Tick(
            round(100 * (time_s - start_s) / (stop_s - start_s), 3),
            clock(time_s),
            "" if begins is None else format(begins + timedelta(seconds=float(time_s)), form),
        )
        for time_s in times.tolist()
    ]


def clock(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds.

    Examples
    --------
    >>> clock(3725.4)
    '1:02:05'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


# --- a night --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """Recordings that follow each other, on one axis.

    Parameters
    ----------
    title : str
        The day, or how the recordings were placed.
    recorded, events : list of (float, float)
        Left edge and width in a box of 1000.
    bars : list of (float, float, int)
        Left edge, width and number of events of each hour; none of a session below two hours.
    ticks : list of Tick
        Of the axis.
    by_clock : bool
        Whether the axis is that of the clock.
    n_events : int
        In all.
    most : int
        Events in the hour that has most.
    """

    title: str
    recorded: list[tuple[float, float]]
    events: list[tuple[float, float]]
    bars: list[tuple[float, float, int]]
    ticks: list[Tick]
    by_clock: bool
    n_events: int
    most: int


def sessions_of(detections: Sequence[Detection]) -> list[Session]:
    """Place recordings by the clock, a session for each stretch without a pause of three hours.

    Recordings whose headers say no time, or times at which several were recorded at once, are
    placed one behind another.
    """
    starts = [one.start_time for one in detections]
    told = [start for start in starts if start is not None]
    if len(told) == len(detections):
        first = min(told)
        placed = sorted(
            (((start - first).total_seconds(), one) for start, one in zip(told, detections, strict=True)),
            key=lambda pair: pair[0],
        )
        ends = [begin_s + one.duration_s for begin_s, one in placed]
        if all(begin_s >= end_s - 1 for (begin_s, _), end_s in zip(placed[1:], ends, strict=False)):
            return [_session(group, first) for group in _by_pauses(placed)]
    begin_s, behind = 0.0, []
    for one in detections:
        behind.append((begin_s, one))
        begin_s += one.duration_s
    return [_session(behind, None)]


def _by_pauses(placed: Sequence[tuple[float, Detection]]) -> list[list[tuple[float, Detection]]]:
    groups: list[list[tuple[float, Detection]]] = []
    end_s = -np.inf
    for begin_s, one in placed:
        if begin_s - end_s > SESSION_GAP_S:
            groups.append([])
        groups[-1].append((begin_s, one))
        end_s = begin_s + one.duration_s
    return groups


def _session(placed: Sequence[tuple[float, Detection]], first: datetime | None) -> Session:
    start_s, stop_s = placed[0][0], placed[-1][0] + placed[-1][1].duration_s
    base_s = 0.0
    if first is not None:  # hours and ticks are those of the clock
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        base_s = (first - midnight).total_seconds()
    left_s, right_s = start_s + base_s, stop_s + base_s
    long = right_s - left_s >= 7200
    if long:
        left_s, right_s = np.floor(left_s / 3600) * 3600, np.ceil(right_s / 3600) * 3600
    scale = WIDE / (right_s - left_s)
    onsets = [(b + base_s + e.onset_s, e.offset_s - e.onset_s) for b, one in placed for e in one.events]
    recorded = [
        ((b + base_s + at_s - left_s) * scale, length_s * scale)
        for b, one in placed
        for at_s, length_s in one.segments or [(0.0, one.duration_s)]
    ]
    edges = np.arange(left_s, right_s + 1, 3600.0) if long else np.zeros(0)
    counts = np.histogram([at for at, _ in onsets], edges)[0].tolist() if long else []
    ticks = _day_ticks(left_s, right_s) if first is not None else ticks_of(left_s, right_s, None)
    if first is None:
        title = "recordings one behind another"
    else:
        from_day, to_day = (first + timedelta(seconds=s) for s in (start_s, stop_s))
        title = f"{from_day:%Y-%m-%d %H:%M} to {to_day:%Y-%m-%d %H:%M}"
        if from_day.date() == to_day.date():
            title = f"{from_day:%Y-%m-%d %H:%M} to {to_day:%H:%M}"
    return Session(
        title,
        recorded,
        [((at - left_s) * scale, length_s * scale) for at, length_s in onsets],
        [((edge - left_s) * scale, 3600 * scale, n) for edge, n in zip(edges.tolist(), counts, strict=False)],
        ticks,
        first is not None,
        len(onsets),
        max(counts, default=0),
    )


def _day_ticks(left_s: float, right_s: float) -> list[Tick]:
    step = next((s for s in TICKS_S if (right_s - left_s) / s <= MOST_TICKS), TICKS_S[-1])
    form = "%H:%M" if step >= 60 else "%H:%M:%S"
    return [
        Tick(
            round(100 * (at - left_s) / (right_s - left_s), 3),
            f"{datetime(2000, 1, 1) + timedelta(seconds=at % 86400):{form}}",
        )
        for at in np.arange(np.ceil(left_s / step) * step, right_s + 1e-6, step).tolist()
    ]


# --- EEG ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Still:
    """Ten seconds of EEG at an event's onset, for print and for who has no scripts.

    Parameters
    ----------
    rows : list of (str, str)
        Name of each channel and its path: a unit a sample across, a quarter of a unit down.
    n_samples : int
        Width of a row.
    onset : float
        Where the event begins, in samples.
    distance_uv : float
        What the distance of two rows stands for.
    """

    rows: list[tuple[str, str]]
    n_samples: int
    onset: float
    distance_uv: float

    @property
    def height(self) -> int:
        """Height of all rows."""
        return STILL_ROW * len(self.rows)


def still_of(pieces: Sequence[Traces], onset_s: float) -> Still | None:
    """Draw the EEG from 2 s before an onset for 10 s, negative up; None where it was not read."""
    from_s = max(0.0, onset_s - STILL_BEFORE_S)
    piece = next((one for one in pieces if one.start_s - 1 <= from_s and onset_s < one.stop_s), None)
    if piece is None:
        return None
    first = max(0, round((from_s - piece.start_s) * piece.sfreq))
    x = piece.values_uv[:, first : first + round(STILL_S * piece.sfreq)]
    known: NDArray[np.bool_] = np.asarray(np.isfinite(x).all(axis=1))
    if piece.sfreq > STILL_HZ:
        x = resample_polyphase(np.where(known[:, None], x, 0), piece.sfreq, STILL_HZ)
    rate = min(piece.sfreq, STILL_HZ)
    distance_uv = channel_distance_uv(np.where(known[:, None], x, np.nan))
    rows = []
    for name, values, there in zip(piece.ch_names, x, known, strict=True):
        if not there:
            rows.append((name, ""))
            continue
        away = (values - np.median(values)) / distance_uv * STILL_ROW * STILL_FINE
        steps = np.round(np.clip(away, -2 * STILL_ROW * STILL_FINE, 2 * STILL_ROW * STILL_FINE)).astype(int)
        moves = " ".join(f"1 {step}" for step in np.diff(steps).tolist()).replace(" -", "-")
        rows.append((name, f"M0 {steps[0]}l{moves}"))
    return Still(rows, x.shape[1], (onset_s - (piece.start_s + first / piece.sfreq)) * rate, distance_uv)
