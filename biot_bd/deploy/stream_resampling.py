"""Resampling of signals that arrive in pieces; what comes out does not depend on how they were cut.

:class:`FftStream` gives what :func:`biot_bd.signals.resample_fft` gives for the whole signal, in
blocks of fixed places, for files; :class:`FirStream` gives what
:func:`biot_bd.signals.resample_polyphase` gives, sample by sample with a fixed delay, for live
signals and their replay.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.ring_buffer import RollingBuffer
from biot_bd.signals.resampling import GUARD_S, SEGMENT_S, resample_fft, resampling_ratio

BLOCK_S = 256.0
# Where the segments of resample_fft do not fit the rates, blocks share this much with their
# neighbours.
OVERLAP_S = 16.0
HALF_ZEROS = 10  # of the filter of scipy.signal.resample_poly


class ResamplingStream(ABC):
    """What :func:`make_stream` returns.

    Parameters
    ----------
    n_chans : int
        Channels.
    sfreq_in, sfreq_out : float
        Rates in Hz.
    """

    def __init__(self, n_chans: int, sfreq_in: float, sfreq_out: float) -> None:
        self.n_chans, self.sfreq_in, self.sfreq_out = n_chans, sfreq_in, sfreq_out
        self._up, self._down = resampling_ratio(sfreq_in, sfreq_out)
        self._buffer = RollingBuffer(n_chans)

    @abstractmethod
    def push(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples ``(n_chans, n)`` at the rate of the source.

        Return those that are ready ``(n_chans, m)``.
        """

    @abstractmethod
    def finish(self) -> NDArray[np.float32]:
        """Say that nothing follows; return the rest."""


def make_stream(n_chans: int, sfreq_in: float, sfreq_out: float, causal: bool) -> ResamplingStream:
    """Return a resampler for signals in pieces.

    Parameters
    ----------
    n_chans : int
        Channels.
    sfreq_in, sfreq_out : float
        Rates in Hz.
    causal : bool
        With a fixed, short delay (polyphase filter), or in blocks of minutes (FFT).

    Raises
    ------
    ValueError
        The rates make no usable ratio.
    """
    return (FirStream if causal else FftStream)(n_chans, sfreq_in, sfreq_out)


class FftStream(ResamplingStream):
    """Resample by FFT in blocks.

    Equal to :func:`~biot_bd.signals.resample_fft` of the whole within rounding.

    Blocks begin at multiples of that function's segments and overlap by one, so every segment sees
    the same samples as in the whole signal.  For rates whose common period is longer than some
    seconds there are no such segments; blocks overlap by 16 s then and, further than 10 s from the
    recording's ends, differ from the whole by less than 5e-3 of the signal's standard deviation
    where it has no power within 1 Hz of the wall.

    Notes
    -----
    Values that are not finite are bridged by straight lines within a block; whoever cuts windows
    masks them.
    """

    def __init__(self, n_chans: int, sfreq_in: float, sfreq_out: float) -> None:
        super().__init__(n_chans, sfreq_in, sfreq_out)
        self._unit = _unit(sfreq_in, self._up, self._down)
        self._block = self._unit * max(2, round(BLOCK_S * sfreq_in / self._unit))
        self._done = 0  # samples of the source whose counterparts were returned

    def push(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples; return whole blocks that are ready."""
        self._buffer.append(x)
        ready = []
        # Two units must follow a block: one as its neighbour, one so that the last block is never a
        # short one.
        while self._buffer.stop > self._done + self._block + 2 * self._unit:
            ready.append(self._resample(self._done + self._block))
        return np.concatenate([np.empty((self.n_chans, 0), np.float32), *ready], axis=1)

    def finish(self) -> NDArray[np.float32]:
        """Return what is left."""
        if self._buffer.stop == self._done:
            return np.empty((self.n_chans, 0), np.float32)
        return self._resample(self._buffer.stop, last=True)

    def _resample(self, stop: int, last: bool = False) -> NDArray[np.float32]:
        first = max(0, self._done - self._unit)
        beyond = self._buffer.stop if last else stop + self._unit
        x = _bridged(self._buffer.view(first, beyond))
        y = resample_fft(x, self.sfreq_in, self.sfreq_out)
        offset = first // self._down * self._up
        begin = self._done // self._down * self._up - offset
        end = y.shape[1] if last else stop // self._down * self._up - offset
        self._done = stop
        self._buffer.drop_before(self._done - self._unit)
        return y[:, begin:end]


def _unit(sfreq_in: float, up: int, down: int) -> int:
    """Return at which distance, in samples of the source, blocks may begin."""
    blocks = max(2, 2 * round(SEGMENT_S * sfreq_in / down / 2))
    guard = max(1, round(GUARD_S * sfreq_in / down))
    if up == down:
        return max(1, round(OVERLAP_S * sfreq_in))
    if 4 * guard < blocks:
        return (blocks - 2 * guard) * down
    return down * max(1, -(-int(OVERLAP_S * sfreq_in) // down))


class FirStream(ResamplingStream):
    """Resample by the polyphase filter of :func:`~biot_bd.signals.resample_polyphase`, as
    samples arrive.

    Each output is one sum in one order, whatever the pieces: the same bits for any cut.  It needs
    :func:`fir_delay_s` seconds of signal after its own time and nothing beyond.

    Notes
    -----
    A value that is not finite is replaced by the last finite one (zero before the first); whoever
    cuts windows masks it.
    """

    def __init__(self, n_chans: int, sfreq_in: float, sfreq_out: float) -> None:
        super().__init__(n_chans, sfreq_in, sfreq_out)
        from scipy.signal import upfirdn  # files need none of it, and it takes long to load

        self._upfirdn = upfirdn
        self._half, self._taps = _taps(self._up, self._down)
        self._held = np.zeros(n_chans, np.float32)
        self._made = 0

    def push(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples; return all that are ready."""
        if not x.shape[1]:
            return np.empty((self.n_chans, 0), np.float32)
        self._buffer.append(self._hold(x))
        if self._up == self._down:
            return self._filter(self._buffer.stop)
        return self._filter(max(0, (self._buffer.stop * self._up - self._half - 1) // self._down + 1))

    def finish(self) -> NDArray[np.float32]:
        """Return the rest; the signal counts as zero beyond its end."""
        return self._filter(-(-self._buffer.stop * self._up // self._down))

    def _hold(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        good = np.isfinite(x)
        if not good.all():
            # Position of the last finite sample at or before each one, 0 standing for the value
            # held from before.
            padded = np.concatenate([self._held[:, None], np.where(good, x, 0)], axis=1)
            place = np.where(good, np.arange(1, x.shape[1] + 1), 0)
            x = np.take_along_axis(padded, np.maximum.accumulate(place, axis=1), axis=1)
        self._held = x[:, -1].copy()
        return x

    def _filter(self, stop: int) -> NDArray[np.float32]:
        start, buffer = self._made, self._buffer
        if stop <= start:
            return np.empty((self.n_chans, 0), np.float32)
        self._made = stop
        up, down, half = self._up, self._down, self._half
        if up == down:
            y = buffer.view(start, stop).copy()
            buffer.drop_before(stop)
            return y
        first = max(0, -(-(start * down - half) // up))
        last = min(buffer.stop, ((stop - 1) * down + half) // up + 1)
        # Zeros in front of the filter move its grid onto the outputs that are wanted.
        place = start * down + half - first * up
        taps = np.concatenate([np.zeros(-place % down, np.float32), self._taps])
        y = self._upfirdn(taps, buffer.view(first, last), up, down)
        begin = -(-place // down)
        buffer.drop_before(-(-(stop * down - half) // up))
        return np.ascontiguousarray(y[:, begin : begin + stop - start])


def fir_delay_s(sfreq_in: float, sfreq_out: float) -> float:
    """Return how many seconds of signal after its own time an output of :class:`FirStream`
    needs.
    """
    up, down = resampling_ratio(sfreq_in, sfreq_out)
    return 0.0 if up == down else HALF_ZEROS * max(up, down) / up / sfreq_in


def _taps(up: int, down: int) -> tuple[int, NDArray[np.float32]]:
    from scipy.signal import firwin

    larger = max(up, down)
    half = HALF_ZEROS * larger
    taps = firwin(2 * half + 1, 1.0 / larger, window=("kaiser", 5.0)) * up if larger > 1 else np.ones(1)
    return half, taps.astype(np.float32)


def _bridged(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``x`` with straight lines across what is not finite.

    Channels without any finite value become zero.
    """
    good = np.isfinite(x)
    if good.all():
        return x
    x = x.copy()
    where = np.arange(x.shape[1])
    for row, there in zip(x, good, strict=True):
        if not there.all():
            row[:] = np.interp(where, where[there], row[there]) if there.any() else 0
    return x
