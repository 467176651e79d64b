"""Whether samples follow each other: gaps and jumps of the clock, found in time stamps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.live.rate import HISTORY_S, LEAST_SPAN_UNSEEN_S, RateLine, RateMeter

# Stamps are followed with this time constant: clocks that run at another rate make no jump.
FOLLOW_S = 30.0
# Between two samples; what comes out of place by less did so little by little, or by jitter.
SUDDEN_S = 0.2


@dataclass(frozen=True)
class Jump:
    """A place where time stamps do not go on.

    Parameters
    ----------
    kind : {"gap", "forward", "backward"}
        Samples are missing, or the source's clock was set.
    seconds : float
        By how much the stamp differs from the expected one.
    drift_s : float
        Of the clock before it.
    """

    kind: Literal["gap", "forward", "backward"]
    seconds: float
    drift_s: float = 0.0


class StreamClock:
    """Follow the stamps of a signal of constant rate.

    A stamp within ``jitter_s`` of the expected one belongs to the next sample; the expectation
    follows slowly, so that the difference between two clocks' rates does not pile up.  A later one
    is a gap, unless the sample would have been taken after it was received (as far as the shortest
    delay so far tells): then the source's clock was set forward.  An earlier one is a clock that
    was set back.

    Stamps that came out of place little by little, on a straight line, are no jump but another rate
    than the nominal one: from then on the expectation goes at the measured rate, which is measured
    further.

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
    rate_hz : float
        Measured rate, the nominal one where the stamps agree with it.
    is_measured : bool
        Whether the source was found to have another rate than the nominal one.

    Raises
    ------
    ValueError
        A parameter is not positive.
    """

    def __init__(self, sfreq: float, jitter_s: float = 0.2) -> None:
        if not (np.isfinite(jitter_s) and jitter_s > 0 and np.isfinite(sfreq) and sfreq > 0):
            raise ValueError(f"sfreq and jitter_s must be positive, found {sfreq!r} and {jitter_s!r}")
        self.sfreq, self.jitter_s = sfreq, max(jitter_s, 1 / sfreq)
        self.drift_s, self.rate_hz, self.is_measured = 0.0, sfreq, False
        self._expected: float | None = None
        self._least_delay = np.inf
        self._meter, self._last_s = RateMeter(sfreq), -np.inf  # stamp of the sample before

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
            steps = np.arange(n - begin) / self.rate_hz
            if self._expected is None:
                self._expected = _first_finite(times_s[begin:], self.sfreq)
            away = np.nan_to_num(times_s[begin:] - (self._expected + steps), nan=0.0, posinf=0.0, neginf=0.0)
            if abs(away[0]) > self.jitter_s:
                time_s = float(times_s[begin])
                sudden = abs(time_s - self._last_s - 1 / self.rate_hz) > max(self.jitter_s, SUDDEN_S)
                if not sudden and (line := self._line_to(time_s)) is not None:
                    self._follow(line)
                    continue
                if sudden:
                    self._meter.forget()
                jump = self._judge(float(away[0]), time_s, received_s)
                self._expected, self.drift_s, self._least_delay = time_s, 0.0, np.inf
                away = away - away[0]
            off = np.flatnonzero(np.abs(away) > self.jitter_s)
            length = int(off[0]) if len(off) else n - begin
            duration = length / self.rate_hz
            shift = float(away[:length].mean()) * min(1.0, duration / FOLLOW_S)
            stamps = self._expected + steps[:length] + away[:length]
            self._expected += duration + shift
            self.drift_s += shift + (duration - length / self.sfreq)
            self._last_s = float(stamps[-1])
            if received_s is not None:
                self._least_delay = min(self._least_delay, received_s - (self._expected - 1 / self.rate_hz))
            found.append((begin, begin + length, jump))
            begin += length
            if self._meter.add(stamps):
                self._measure()
        return found

    def _line_to(self, time_s: float) -> RateLine | None:
        """Return the line that leads to a stamp which is out of place."""
        for line in self._meter.lines():
            fits = line.is_straight(self.jitter_s) if self.is_measured else line.is_another_rate(self.jitter_s)
            if fits and abs(time_s - line.next_s) <= self.jitter_s / 2:
                return line
        return None

    def _measure(self) -> None:
        line = self._meter.line(HISTORY_S)
        if line is None:
            return
        if self.is_measured:
            if line.is_straight(self.jitter_s):
                self.rate_hz = line.rate_hz
        elif line.span_s >= LEAST_SPAN_UNSEEN_S and line.is_another_rate(self.jitter_s):
            self._follow(line)

    def _follow(self, line: RateLine) -> None:
        self._meter.keep(line.span_s)
        self.rate_hz, self.is_measured = line.rate_hz, True
        if self._expected is not None:
            self.drift_s += line.next_s - self._expected
        self._expected = line.next_s

    def _judge(self, away: float, time_s: float, received_s: float | None) -> Jump:
        if away < 0:
            return Jump("backward", away, self.drift_s)
        early = received_s is not None and received_s - time_s < self._least_delay - self.jitter_s
        return Jump("forward" if early else "gap", away, self.drift_s)


def _first_finite(times_s: NDArray[np.float64], sfreq: float) -> float:
    good = np.flatnonzero(np.isfinite(times_s))
    return float(times_s[good[0]] - good[0] / sfreq) if len(good) else 0.0
