"""Whether samples follow each other: gaps and jumps of the clock, found in time stamps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# Stamps are followed with this time constant: clocks that run at another rate make no jump.
FOLLOW_S = 30.0


@dataclass(frozen=True)
class Jump:
    """A place where time stamps do not go on.

    Parameters
    ----------
    kind : {"gap", "forward", "backward"}
        Samples are missing, or the source's clock was set.
    seconds : float
        By how much the stamp differs from the expected one.
    """

    kind: Literal["gap", "forward", "backward"]
    seconds: float


class StreamClock:
    """Follow the stamps of a signal of constant rate.

    A stamp within ``jitter_s`` of the expected one belongs to the next sample; the expectation
    follows slowly, so that the difference between two clocks' rates does not pile up.  A later one
    is a gap, unless the sample would have been taken after it was received (as far as the shortest
    delay so far tells): then the source's clock was set forward.  An earlier one is a clock that
    was set back.

    Parameters
    ----------
    sfreq : float
        Rate in Hz.
    jitter_s : float
        What a stamp may be off, in seconds.

    Attributes
    ----------
    drift_s : float
        By how much the stamps have run ahead of the nominal rate since the last jump, in seconds.

    Raises
    ------
    ValueError
        A parameter is not positive.
    """

    def __init__(self, sfreq: float, jitter_s: float = 0.2) -> None:
        if not (np.isfinite(jitter_s) and jitter_s > 0 and np.isfinite(sfreq) and sfreq > 0):
            raise ValueError(f"sfreq and jitter_s must be positive, found {sfreq!r} and {jitter_s!r}")
        self.sfreq, self.jitter_s = sfreq, max(jitter_s, 1 / sfreq)
        self.drift_s = 0.0
        self._expected: float | None = None
        self._least_delay = np.inf

    def split(
        self, times_s: NDArray[np.float64], received_s: float | None = None
    ) -> list[tuple[int, int, Jump | None]]:
        """Return stretches of samples that follow each other.

        Parameters
        ----------
        times_s : ndarray, shape (n,)
            Stamps; one that is not finite counts as the expected one.
        received_s : float, optional
            When they came, on this machine's clock.

        Returns
        -------
        list of (start, stop, jump)
            Samples ``start`` to ``stop``, and what lies in front of them.
        """
        found: list[tuple[int, int, Jump | None]] = []
        begin, n = 0, len(times_s)
        while begin < n:
            jump = None
            steps = np.arange(n - begin) / self.sfreq
            if self._expected is None:
                self._expected = _first_finite(times_s[begin:], self.sfreq)
            away = np.nan_to_num(times_s[begin:] - (self._expected + steps), nan=0.0, posinf=0.0, neginf=0.0)
            if abs(away[0]) > self.jitter_s:
                jump = self._judge(float(away[0]), float(times_s[begin]), received_s)
                self._expected, self.drift_s, self._least_delay = float(times_s[begin]), 0.0, np.inf
                away = away - away[0]
            off = np.flatnonzero(np.abs(away) > self.jitter_s)
            length = int(off[0]) if len(off) else n - begin
            duration = length / self.sfreq
            shift = float(away[:length].mean()) * min(1.0, duration / FOLLOW_S)
            self._expected += duration + shift
            self.drift_s += shift
            if received_s is not None:
                self._least_delay = min(self._least_delay, received_s - (self._expected - 1 / self.sfreq))
            found.append((begin, begin + length, jump))
            begin += length
        return found

    def _judge(self, away: float, time_s: float, received_s: float | None) -> Jump:
        if away < 0:
            return Jump("backward", away)
        early = received_s is not None and received_s - time_s < self._least_delay - self.jitter_s
        return Jump("forward" if early else "gap", away)


def _first_finite(times_s: NDArray[np.float64], sfreq: float) -> float:
    good = np.flatnonzero(np.isfinite(times_s))
    return float(times_s[good[0]] - good[0] / sfreq) if len(good) else 0.0
