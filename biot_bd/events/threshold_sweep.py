"""Event counts at every threshold that changes anything, exact and in one pass.

Thresholds go down through all distinct values; a cell that becomes an alarm changes one merged
event, whose counts alone are made anew.  The counts are those of ``timescoring`` (merging,
splitting, tolerances, any overlap), which would need a call a threshold.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biot_bd.events.intervals import merge
from biot_bd.events.scoring import RATE_HZ, ScoringParameters, as_intervals

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """A recording as cells of equal length, each with one value.

    Parameters
    ----------
    recording : str
        Named in messages.
    values : array of shape (n_cells,)
        Cell ``k`` lasts from ``k * cell_s`` to ``(k + 1) * cell_s`` seconds.
    cell_s : float
        Length of a cell.
    reference : sequence of (onset_s, offset_s)
        Annotated seizures.
    duration_s : float, optional
        Length of the recording; that of its cells by default.

    See Also
    --------
    sweep_thresholds : Counts their events.

    Examples
    --------
    >>> Cells("rec01", [0.1, 0.9], 10.0, [(10.0, 20.0)]).cell_s
    10.0
    """

    recording: str
    values: ArrayLike
    cell_s: float
    reference: Sequence[Sequence[float]]
    duration_s: float | None = None


@dataclass(frozen=True)
class Sweep:
    """Counts at every distinct threshold, from the highest down.

    Parameters
    ----------
    thresholds : ndarray of shape (n,)
        A cell is in alarm where its value is at least this; descending.
    tp, fp : ndarray of shape (n,), int64
        Detected seizures and false alarms, as the scorer counts them.
    n_reference : int
        Seizures, after merging and splitting.
    hours : float
        Length of the recordings.

    See Also
    --------
    sweep_thresholds : Makes one.

    Examples
    --------
    >>> sweep = Sweep(np.array([0.9]), np.array([1]), np.array([0]), n_reference=2, hours=1.0)
    >>> sweep.best_sensitivity([0.5]).tolist()
    [0.5]
    """

    thresholds: Floats
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    n_reference: int
    hours: float

    def steps(self) -> tuple[Floats, Floats]:
        """Return the rates of false alarms at which the best sensitivity rises, and that
        sensitivity.

        Returns
        -------
        fa_per_h, sensitivity : ndarray of shape (n_steps,)
            Ascending, the first at 0 false alarms; sensitivity NaN where there is no seizure.

        Notes
        -----
        Thresholds below the lowest one with the most false alarms are left out: there alarms grow
        together until a whole recording is one of them, which finds all and is counted once.
        """
        if not self.n_reference:
            return np.zeros(1), np.full(1, np.nan)
        kept = len(self.fp) - int(np.argmax(self.fp[::-1])) if len(self.fp) else 0
        fp, tp = np.append(0, self.fp[:kept]), np.append(0, self.tp[:kept])  # no alarm at all is always possible
        order = np.lexsort((-tp, fp))
        best = np.maximum.accumulate(tp[order])
        rates, first = np.unique(fp[order], return_index=True)  # the most seizures stand first
        rises = np.concatenate([[True], np.diff(best[first]) > 0])
        return rates[rises] / self.hours, best[first][rises] / self.n_reference

    def best_sensitivity(self, fa_per_h: ArrayLike) -> Floats:
        """Return the highest sensitivity of any threshold with at most so many false alarms an
        hour.

        Parameters
        ----------
        fa_per_h : array of shape (m,)

        Returns
        -------
        ndarray of shape (m,)
            NaN where there is no seizure.
        """
        rates, sensitivity = self.steps()
        # Rates are counts over hours: what is equal to 12 digits is equal.
        wanted = np.asarray(fa_per_h, dtype=np.float64) * (1 + 1e-12)
        return sensitivity[np.searchsorted(rates, wanted, side="right") - 1]


def sweep_thresholds(recordings: Sequence[Cells], parameters: ScoringParameters | None = None) -> Sweep:
    """Count events at every distinct value of the recordings' cells.

    Parameters
    ----------
    recordings : sequence of Cells
        Their counts are summed.
    parameters : ScoringParameters, optional
        SzCORE's by default; ``min_overlap`` must be 0 (any overlap).

    Returns
    -------
    Sweep

    Raises
    ------
    ValueError
        No recordings, values that are not finite, or a reference outside of its recording.

    See Also
    --------
    score_events : The same counts of one list of events.

    Examples
    --------
    >>> sweep = sweep_thresholds([Cells("rec01", [0.1, 0.9, 0.5], 300.0, [(300.0, 360.0)])])
    >>> sweep.thresholds.tolist(), sweep.tp.tolist(), sweep.fp.tolist()
    ([0.9, 0.5, 0.1], [1, 1, 1], [0, 1, 1])
    """
    parameters = parameters or ScoringParameters()
    if parameters.min_overlap != 0:
        raise ValueError(f"a sweep counts any overlap: min_overlap must be 0, got {parameters.min_overlap!r}")
    if not recordings:
        raise ValueError("no recordings to score")
    swept = [_Recording(one, parameters) for one in recordings]
    values = np.concatenate([one.values for one in swept])
    owner = np.repeat(np.arange(len(swept)), [len(one.values) for one in swept])
    cell = np.concatenate([np.arange(len(one.values)) for one in swept])
    order = np.argsort(-values, kind="stable")
    last = np.flatnonzero(np.append(np.diff(values[order]) != 0, True)) if len(order) else np.zeros(0, np.int64)
    tp = fp = 0
    counts = np.zeros((len(order), 2), dtype=np.int64)
    for at, (which, k) in enumerate(zip(owner[order].tolist(), cell[order].tolist(), strict=True)):
        found, false = swept[which].add(k)
        tp, fp = tp + found, fp + false
        counts[at] = tp, fp
    return Sweep(
        values[order][last],
        counts[last, 0],
        counts[last, 1],
        sum(one.n_reference for one in swept),
        sum(one.n_samples for one in swept) / RATE_HZ / 3600,
    )


class _Recording:
    """The merged events of one recording while the threshold goes down."""

    def __init__(self, source: Cells, parameters: ScoringParameters) -> None:
        self.values = np.asarray(source.values, dtype=np.float64)
        if self.values.ndim != 1 or not np.isfinite(self.values).all():
            raise ValueError(f"recording {source.recording}: values must be finite and of shape (n_cells,)")
        self._cell_s, self._gap_s, self._longest_s = source.cell_s, parameters.min_between_s, parameters.max_event_s
        cells_s = len(self.values) * source.cell_s
        duration = cells_s if source.duration_s is None else float(source.duration_s)
        self.n_samples = round(duration * RATE_HZ)
        self._end_s = min(cells_s, duration)
        reference = as_intervals(source.reference, duration, f"reference of {source.recording}")
        joined, _ = merge(reference, float(np.nextafter(self._gap_s, 0)))
        split = [piece for event in joined.tolist() for piece in self._pieces(*event)]
        self.n_reference = len(split)
        wide = np.reshape(split, (-1, 2)) + [-parameters.tolerance_start_s, parameters.tolerance_end_s]
        samples = np.round(np.clip(wide, 0, self.n_samples / RATE_HZ) * RATE_HZ)
        self._starts, self._stops = samples[:, 0].tolist(), samples[:, 1].tolist()
        self._undetected = set(range(self.n_reference))
        self._onsets: list[float] = []
        self._events: list[tuple[float, int]] = []  # offset, false alarms

    def add(self, k: int) -> tuple[int, int]:
        """Put cell ``k`` in alarm; return how many seizures more are found, and how many more
        false alarms there are.
        """
        onset, offset = k * self._cell_s, min((k + 1) * self._cell_s, self._end_s)
        if round(offset * RATE_HZ) <= round(onset * RATE_HZ):
            return 0, 0  # beyond the recording, or no sample of the scorer
        right = left = bisect_right(self._onsets, onset)
        if left and onset - self._events[left - 1][0] < self._gap_s:
            left -= 1
            if offset <= self._events[left][0]:
                return 0, 0  # inside of an event already
            onset = self._onsets[left]
        if right < len(self._onsets) and self._onsets[right] - offset < self._gap_s:
            offset = self._events[right][0]
            right += 1
        before = sum(false for _, false in self._events[left:right])
        false = sum(not self._reaches(*piece) for piece in self._pieces(onset, offset))
        self._onsets[left:right] = [onset]
        self._events[left:right] = [(offset, false)]
        return self._newly_found(onset, offset), false - before

    def _pieces(self, onset: float, offset: float) -> list[tuple[float, float]]:
        """Split an event as the scorer does, from its onset on."""
        pieces = []
        while offset - onset > self._longest_s:
            pieces.append((onset, onset + self._longest_s))
            onset += self._longest_s
        return [*pieces, (onset, offset)]

    def _reaches(self, onset: float, offset: float) -> bool:
        """Return whether an event overlaps a widened seizure."""
        at = bisect_right(self._stops, round(onset * RATE_HZ))
        return at < len(self._starts) and self._starts[at] < round(offset * RATE_HZ)

    def _newly_found(self, onset: float, offset: float) -> int:
        start, stop = round(onset * RATE_HZ), round(offset * RATE_HZ)
        found = {i for i in self._undetected if self._stops[i] > start and self._starts[i] < stop}
        self._undetected -= found
        return len(found)
