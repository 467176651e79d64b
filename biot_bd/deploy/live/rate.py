"""At which rate samples really come: a line through their time stamps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_S = 0.25  # stamps are averaged over this
HISTORY_S = 60.0  # the line goes through so much
SHORTEST_S = 2.0  # and through no less
# A true stretch of this length holds enough to call a large difference steady.
STEADY_S = 10.0
LEAST_SHARE = 0.0025  # smaller differences of rates are the drift of ordinary clocks
LARGEST_SHARE = 0.06
LEAST_EXPLAINED = 0.85  # a step explains 0.75 at most
LEAST_SPAN_UNSEEN_S = 30.0  # of a difference that never shows as a stamp out of place


@dataclass(frozen=True)
class RateLine:
    """A straight line through time stamps.

    Parameters
    ----------
    sfreq : float
        Nominal rate in Hz.
    rate_hz : float
        Measured rate.
    next_s : float
        Stamp that the line gives the next sample.
    span_s : float
        How much signal it goes through.
    residual_s : float
        Root mean square of what stamps, averaged over 0.25 s, are off it.
    explained : float
        Share of what the stamps are off the nominal rate that the line explains, 0 to 1.
    """

    sfreq: float
    rate_hz: float
    next_s: float
    span_s: float
    residual_s: float
    explained: float

    @property
    def share(self) -> float:
        """By which share the source is faster than its nominal rate."""
        return self.rate_hz / self.sfreq - 1

    def is_straight(self, jitter_s: float) -> bool:
        """Return whether the stamps lie on it, for long enough to believe what it says."""
        needed_s = SHORTEST_S if abs(self.share) <= LARGEST_SHARE else STEADY_S
        return self.span_s >= needed_s and self.residual_s <= jitter_s / 2

    def is_another_rate(self, jitter_s: float) -> bool:
        """Return whether the stamps say, beyond jitter and drift, that the rate is not nominal."""
        return self.is_straight(jitter_s) and abs(self.share) >= LEAST_SHARE and self.explained >= LEAST_EXPLAINED


class RateMeter:
    """Measure the rate of samples by the last minute of their stamps.

    Parameters
    ----------
    sfreq : float
        Nominal rate in Hz.
    """

    def __init__(self, sfreq: float) -> None:
        self.sfreq = sfreq
        self._size = max(1, round(BLOCK_S * sfreq))
        self._n, self._origin = 0, 0.0
        self.forget()

    def forget(self) -> None:
        """Begin anew: what follows has nothing to do with what was."""
        self._blocks: deque[tuple[float, float]] = deque(maxlen=max(8, round(HISTORY_S * self.sfreq / self._size)))
        self._sum, self._have = 0.0, 0

    def keep(self, span_s: float) -> None:
        """Forget what is older."""
        while len(self._blocks) > self._count(span_s):
            self._blocks.popleft()

    def add(self, times_s: NDArray[np.float64]) -> bool:
        """Take finite stamps of samples that follow each other; return whether there is more to
        measure.
        """
        if not self._blocks and not self._have and len(times_s):
            self._n, self._origin = 0, float(times_s[0])
        ahead = times_s - self._origin - (self._n + np.arange(len(times_s))) / self.sfreq
        grown, begin = False, 0
        while begin < len(ahead):
            part = ahead[begin : begin + self._size - self._have]
            self._sum += float(part.sum())
            self._have += len(part)
            self._n += len(part)
            begin += len(part)
            if self._have == self._size:
                self._blocks.append((self._n - (self._size + 1) / 2, self._sum / self._size))
                self._sum, self._have, grown = 0.0, 0, True
        return grown

    def line(self, span_s: float = HISTORY_S) -> RateLine | None:
        """Return the line through at most so much of the newest, None where that is too little."""
        n = min(self._count(span_s), len(self._blocks))
        if n < 3:
            return None
        samples, ahead = np.array(list(self._blocks)[-n:]).T
        nominal_s = samples / self.sfreq
        middle, mean = nominal_s.mean(), ahead.mean()
        x, y = nominal_s - middle, ahead - mean
        slope = float(x @ y / (x @ x))
        if slope <= -0.99:  # stamps that do not go on are no rate
            return None
        now = self._n / self.sfreq
        rest = float(np.mean((y - slope * x) ** 2))
        spread = float(np.mean(y**2))
        return RateLine(
            sfreq=self.sfreq,
            rate_hz=self.sfreq / (1 + slope),
            next_s=float(self._origin + now + mean + slope * (now - middle)),
            span_s=n * self._size / self.sfreq,
            residual_s=rest**0.5,
            explained=1 - rest / spread if spread else 0.0,
        )

    def lines(self) -> list[RateLine]:
        """Return lines through all, half, a quarter... of what is known, longest first."""
        span_s, found = len(self._blocks) * self._size / self.sfreq, list[RateLine]()
        while (line := self.line(span_s)) is not None and line.span_s >= SHORTEST_S:
            found.append(line)
            # A pause of the sender's program makes a short ramp, too.
            if span_s / 2 < 2 * SHORTEST_S:
                break
            span_s /= 2
        return found

    def _count(self, span_s: float) -> int:
        return max(3, round(span_s * self.sfreq / self._size))
