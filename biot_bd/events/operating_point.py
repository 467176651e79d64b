"""The search for an operating point.

Every setting of a grid is scored by ``timescoring`` on validation recordings.

All recordings lie on one time line, with pauses between them that are longer than anything the
scorer merges or tolerates.  One call then counts them all, with the counts that one call a
recording would sum up to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biot_bd.events.curve import Floats, n_seconds, runs_at
from biot_bd.events.event_counter import EventCounter, joined
from biot_bd.events.scoring import RATE_HZ, ScoringParameters, as_intervals, scores_of
from biot_bd.events.types import RecordingScores, Scores

if TYPE_CHECKING:
    import pandas as pd

TARGETS = ("f1", "fa_per_24h", "sensitivity")
DEFAULT_GRID: dict[str, tuple[float, ...]] = {
    "smoothing_s": (0.0, 10.0, 30.0),
    "release_fraction": (1.0, 0.75),
    "min_duration_s": (0.0, 10.0, 20.0),
}
"""What is tried beside the detector's own parameters.

Merging is left alone, as the scorer merges within 90 s itself.
"""
SETTINGS = ("smoothing_s", "release_fraction", "min_duration_s", "merge_gap_s")
CURVE_COLUMNS = ("threshold", "tp", "fp", "n_reference", "sensitivity", "precision", "f1", "fa_per_24h")
N_THRESHOLDS = 40


class Choice(NamedTuple):
    """The setting that was chosen, its row of the curve, and why if not by the target alone."""

    setting: dict[str, float]
    threshold: float
    reason: str | None = None


class TimeLine:
    """Recordings one after another, with pauses.

    Parameters
    ----------
    recordings : sequence of RecordingScores
        Whose lengths and seizures count.
    longest_gap_s : float
        The largest ``merge_gap_s`` that is tried; pauses are longer.
    """

    def __init__(self, recordings: Sequence[RecordingScores], longest_gap_s: float = 0.0) -> None:
        p = ScoringParameters()
        pause = math.ceil(max(p.min_between_s, longest_gap_s) + p.tolerance_start_s + p.tolerance_end_s) + 1
        lengths = [n_seconds(r.duration_s) for r in recordings]
        self.starts = np.cumsum([0, *(length + pause for length in lengths)])[: len(lengths)]
        self.n = int(self.starts[-1] + lengths[-1] + pause) if lengths else 0
        # The true lengths count for the rate of false alarms, as the scorer counts them.
        self._n_samples = sum(round(r.duration_s * RATE_HZ) for r in recordings)
        placed = [
            as_intervals(r.reference, r.duration_s, f"reference of {r.recording}") + start
            for r, start in zip(recordings, self.starts, strict=True)
        ]
        self._counter = EventCounter(np.concatenate(placed) if placed else np.zeros((0, 2)), self.n, p)
        self._known: dict[bytes, Scores] = {}

    def place(self, curves: Sequence[Floats]) -> Floats:
        """Return the curves of the recordings on the time line, 0 in the pauses."""
        line = np.zeros(self.n)
        for start, curve in zip(self.starts, curves, strict=True):
            line[start : start + len(curve)] = curve
        return line

    def score(self, events: NDArray[np.int64]) -> Scores:
        """Score events (in seconds of the time line, ascending and apart)."""
        key = events.tobytes()
        if key not in self._known:
            counts = self._counter.counts(events)
            self._known[key] = scores_of({**counts, "n_samples": self._n_samples}, RATE_HZ)
        return self._known[key]

    def points(self, line: Floats, thresholds: Floats, settings: Sequence[Mapping[str, float]]) -> list[list[Scores]]:
        """Score settings that share their smoothing at each threshold, ascending."""
        rows: list[list[Scores]] = [[] for _ in settings]
        for release in dict.fromkeys(setting["release_fraction"] for setting in settings):
            chosen = [(s, own) for s, own in zip(settings, rows, strict=True) if s["release_fraction"] == release]
            for threshold, runs in zip(thresholds.tolist(), runs_at(line, thresholds, release), strict=True):
                length = runs[:, 1] - runs[:, 0]
                for setting, own in chosen:
                    kept = runs[length >= max(1, math.ceil(setting["min_duration_s"]))]
                    scores = self.score(joined(kept, setting["merge_gap_s"]))
                    own.append({"threshold": threshold, **{name: scores[name] for name in CURVE_COLUMNS[1:]}})
        return rows


def candidates(line: Floats, n: int = N_THRESHOLDS) -> Floats:
    """Return thresholds worth trying, ascending.

    Dense where few seconds are above, the last above all of them.

    Parameters
    ----------
    line : ndarray of shape (n_seconds,)
        Smoothed values; 0 is no value.
    n : int
        About how many.

    Returns
    -------
    ndarray
        Each halfway between two neighbouring values, so that rounding changes no decision.
    """
    values = np.sort(line[line > 0])
    if not len(values):
        return np.array([0.5])
    ranks = np.unique(np.round(np.geomspace(1, len(values), n)).astype(np.int64))
    cuts = np.unique(values[len(values) - ranks])
    below = np.concatenate([[0.0], values])[np.searchsorted(values, cuts)]
    middle = np.where((cuts + below) / 2 > below, (cuts + below) / 2, cuts)
    above = (values[-1] + 1) / 2 if values[-1] < 1 else np.nextafter(1.0, 2.0)
    return np.append(middle, above)


def settings_of(own: Mapping[str, float], grid: Mapping[str, Sequence[float]] | None) -> Iterator[dict[str, float]]:
    """Yield every setting of a grid, the detector's own values first.

    Raises
    ------
    ValueError
        The grid names something else.
    """
    grid = DEFAULT_GRID if grid is None else grid
    unknown = sorted(set(grid) - set(SETTINGS))
    if unknown:
        raise ValueError(f"grid: {unknown[0]!r} is not searched; there are {', '.join(SETTINGS)}")
    lists = [tuple(dict.fromkeys([float(own[name]), *map(float, grid.get(name, ()))])) for name in SETTINGS]
    for values in itertools.product(*lists):
        yield dict(zip(SETTINGS, values, strict=True))


def search(
    timeline: TimeLine, lines: Mapping[float, Floats], settings: Sequence[dict[str, float]], *, target: str, wanted: Any
) -> Choice:
    """Score every setting at every threshold and choose.

    The best point by the target is taken; among equals the earliest setting, and of its thresholds
    the middle of those that do equally well.  ``"fa_per_24h"`` takes the highest sensitivity at no
    more than the wanted rate (without seizures the lowest threshold from which on all keep the
    rate), ``"sensitivity"`` the lowest rate at no less than the wanted sensitivity.

    Parameters
    ----------
    timeline : TimeLine
    lines : mapping of smoothing_s to ndarray
        The smoothed curves on the time line.
    settings : sequence of dict
    target : {"f1", "fa_per_24h", "sensitivity"}
    wanted : float or None
        The rate or sensitivity wanted.
    """
    scored: dict[int, list[Scores]] = {}
    for smoothing, line in lines.items():
        places = [i for i, s in enumerate(settings) if s["smoothing_s"] == smoothing]
        points_of = timeline.points(line, candidates(line), [settings[i] for i in places])
        scored |= dict(zip(places, points_of, strict=True))
    found = [scored[i] for i in range(len(settings))]
    no_seizure = found[0][0]["n_reference"] == 0
    reason = None
    if no_seizure and target != "fa_per_24h":
        return Choice(dict(settings[0]), math.nan, "no seizure in the validation recordings; parameters kept")
    wanted = 0.0 if wanted is None else wanted
    if no_seizure:
        points = found[0]
        kept = list(itertools.takewhile(lambda i: points[i]["fa_per_24h"] <= wanted, reversed(range(len(points)))))
        return _chosen(settings[0], points, kept[-1:], "no seizure in the validation recordings: the rate alone chose")

    def key(point: Scores) -> tuple[float, ...]:
        rate, sensitivity, f1 = point["fa_per_24h"], point["sensitivity"], point["f1"]
        if target == "f1":
            return (f1, -rate)
        if target == "fa_per_24h":
            return (float(rate <= wanted), sensitivity, -rate)
        reached = sensitivity >= wanted
        return (float(reached), -rate if reached else sensitivity, sensitivity if reached else -rate)

    best = max(key(point) for points in found for point in points)
    where = next(i for i, points in enumerate(found) if any(key(point) == best for point in points))
    rows = [i for i, point in enumerate(found[where]) if key(point) == best]
    point = found[where][rows[0]]
    if target == "f1" and point["f1"] == 0:
        return Choice(dict(settings[0]), math.nan, "no setting finds a validation seizure; parameters kept")
    if target == "fa_per_24h" and point["sensitivity"] == 0:
        reason = f"no seizure is found at {wanted} false alarms per 24 h or fewer"
    if target == "sensitivity" and point["sensitivity"] < wanted:
        reason = f"no setting reaches a sensitivity of {wanted}; the highest is {point['sensitivity']:.3f}"
    return _chosen(settings[where], found[where], rows, reason)


def _chosen(setting: dict[str, float], points: Sequence[Scores], rows: Sequence[int], reason: str | None) -> Choice:
    first = list(itertools.takewhile(lambda pair: pair[1] == rows[0] + pair[0], enumerate(rows)))
    return Choice(dict(setting), points[first[len(first) // 2][1]]["threshold"], reason)


def curve_table(points: Sequence[Scores]) -> pd.DataFrame:
    """Return the operating curve of one setting, a row a threshold.

    Undefined scores are ``<NA>``.
    """
    import pandas as pd

    table = pd.DataFrame(list(points), columns=list(CURVE_COLUMNS))
    types = dict.fromkeys(("sensitivity", "precision", "f1"), "Float64")
    return table.astype({**types, "threshold": "float64", "fa_per_24h": "float64"})
