"""Bursts: short, loud stretches that are no rhythm, such as movements and pops of an electrode."""

from __future__ import annotations

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
RHYTHMIC = 0.5
"""Agreement with itself from which on a stretch is a rhythm."""
_CONTEXT_S = 0.5
_FEWEST_PIECES = 20
_LEAST_SPREAD = 0.1  # of log10 amplitudes; real EEG has more
_LEAST_RATIO = 4.0
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


def find_loud_stretches(x: NDArray[Any], sfreq: float, z: float, least: float | None = None) -> list[LoudStretch]:
    """Find stretches that are far louder than a channel usually is, and judge which are bursts.

    A burst is over within 2 s, lies inside what is given (of one that is cut nobody knows how long
    it is) and is no rhythm.  Everything else, seizures first of all, is kept.

    Parameters
    ----------
    x : ndarray, shape (n_chans, n_times)
        Signals, all finite.
    sfreq : float
        Their rate in Hz.
    z : float
        Robust z-score of the log peak-to-peak amplitude of pieces of 0.25 s from which on one is
        loud; it must also be four times the median.
    least : float, optional
        A peak-to-peak amplitude instead, in the unit of ``x``, which others found.

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
    n_pieces = x.shape[-1] // n
    if n_pieces < _FEWEST_PIECES:
        return []
    found = []
    for channel, signal in enumerate(x):
        pieces = signal[: n_pieces * n].reshape(n_pieces, n)
        height = np.asarray(pieces.max(axis=1) - pieces.min(axis=1), np.float64)
        usual = float(np.median(height))
        if usual <= 0:
            continue
        logs = np.log10(np.maximum(height, 1e-3 * usual) / usual)
        scores = logs / max(_MAD * float(np.median(np.abs(logs))), _LEAST_SPREAD)
        loud = (scores > z) & (height > _LEAST_RATIO * usual) if least is None else height > least
        for a, b in _runs(np.flatnonzero(loud), round(APART_S / PIECE_S)):
            start, stop = a * n, (b + 1) * n
            why = _why_kept(signal, start, stop, n_pieces * n, sfreq)
            found.append(LoudStretch(channel, start, stop, float(scores[a : b + 1].max()), why))
    return found


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
