"""Bursts: short, loud stretches that are no rhythm, such as movements and pops of an electrode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.rhythm import rhythmicity

PIECE_S = 0.25
APART_S = 1.0
"""Loud stretches that are nearer to one another are one."""
LONGEST_S = 2.0
"""A loud stretch that is longer is no burst: movements end, seizures last."""
RHYTHMIC = 0.15
"""Agreement with itself from which on a stretch is a rhythm: single pops and movements stay below
0.05, two seconds of spikes and waves above 0.19."""
_CONTEXT_S = 0.5
_FEWEST_PIECES = 20
_LEAST_SPREAD = 0.1  # of log10 amplitudes; real EEG has more
_LEAST_RATIO = 4.0
_EDGE_RATIO = 2.0  # what stands beside a loud piece and is as loud belongs to it
_MAD = 1.4826


@dataclass(frozen=True)
class LoudStretch:
    """A stretch of a channel that is far louder than the rest of it.

    Parameters
    ----------
    channel : int
        Which.
    start, stop : int
        Its samples.
    z : float
        Robust z-score of its loudest piece, of log amplitudes.
    kept_because : str
        Why it is taken for no burst; empty of a burst.
    """

    channel: int
    start: int
    stop: int
    z: float
    kept_because: str

    @property
    def is_burst(self) -> bool:
        """Whether it is one."""
        return not self.kept_because


def find_loud_stretches(
    signals: Sequence[NDArray[Any]], sfreq: float, z: float, least: float | None = None
) -> list[LoudStretch]:
    """Find stretches that are far louder than a channel usually is, and judge which are bursts.

    A burst is over within 2 s, lies inside what is given (of one that is cut nobody knows how long
    it is) and is no rhythm.  Everything else, seizures first of all, is kept.

    Parameters
    ----------
    signals : sequence of ndarray, shape (n_times,)
        One a channel, all finite and of one length.
    sfreq : float
        Their rate in Hz.
    z : float
        Robust z-score of the log peak-to-peak amplitude of pieces of 0.25 s from which on one is
        loud; it must also be four times the median.
    least : float, optional
        A peak-to-peak amplitude instead, in their unit, which others found.

    Returns
    -------
    list of LoudStretch
        Channel by channel, in order; empty where there are fewer than 20 pieces (5 s).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(1, 5120))
    >>> x[0, 2000:2050] += 60
    >>> [(loud.start, loud.stop, loud.is_burst) for loud in find_loud_stretches(x, 256.0, 6.0)]
    [(1984, 2112, True)]
    """
    n = max(1, round(PIECE_S * sfreq))
    n_pieces = len(signals[0]) // n if len(signals) else 0
    if n_pieces < _FEWEST_PIECES:
        return []
    pieces = [signal[: n_pieces * n].reshape(n_pieces, n) for signal in signals]
    heights = np.array([piece.max(axis=1) - piece.min(axis=1) for piece in pieces], dtype=np.float64)
    usual = np.maximum(np.median(heights, axis=1, keepdims=True), np.finfo(float).tiny)
    logs = np.log10(np.maximum(heights / usual, 1e-3))
    scores = logs / np.maximum(_MAD * np.median(np.abs(logs), axis=1, keepdims=True), _LEAST_SPREAD)
    loud = (scores > z) & (heights > _LEAST_RATIO * usual) if least is None else heights > least
    loud &= usual > np.finfo(float).tiny  # beside a channel that is flat half of the time all is loud
    edge = heights > _EDGE_RATIO * usual
    found = []
    for channel in np.flatnonzero(loud.any(axis=1)).tolist():
        signal = signals[channel]
        for a, b in _runs(_grown(loud[channel], edge[channel]), round(APART_S / PIECE_S)):
            start, stop = a * n, (b + 1) * n
            why = _why_kept(signal, start, stop, n_pieces * n, sfreq)
            found.append(LoudStretch(channel, start, stop, float(scores[channel, a : b + 1].max()), why))
    return found


def _grown(loud: NDArray[np.bool_], edge: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the pieces of ``loud`` and those of ``edge`` that hang together with one."""
    either = loud | edge
    starts = np.flatnonzero(np.diff(np.concatenate([[False], either, [False]]).astype(np.int8)))
    kept = [np.arange(a, b) for a, b in starts.reshape(-1, 2) if loud[a:b].any()]
    return np.concatenate(kept) if kept else np.zeros(0, np.int64)


def _runs(pieces: NDArray[np.int64], apart: int) -> list[tuple[int, int]]:
    """Return (first, last) of runs of pieces that are at most ``apart`` pieces from one another."""
    if not len(pieces):
        return []
    cuts = np.flatnonzero(np.diff(pieces) > apart) + 1
    return [(int(run[0]), int(run[-1])) for run in np.split(pieces, cuts)]


def _why_kept(signal: NDArray[Any], start: int, stop: int, n_times: int, sfreq: float) -> str:
    if (stop - start) / sfreq > LONGEST_S:
        return f"longer than {LONGEST_S:g} s"
    if start == 0 or stop >= n_times:
        return "cut by the end of what was given"
    more = round(_CONTEXT_S * sfreq)
    if rhythmicity(signal[max(0, start - more) : stop + more], sfreq) >= RHYTHMIC:
        return "rhythmic"
    return ""
