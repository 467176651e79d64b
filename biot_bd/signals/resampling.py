"""Resampling along the last axis: by FFT (brick-wall) and by a polyphase FIR filter.

All functions put output sample ``k`` at the time ``k / sfreq_out``, keep float32 or float64, and
pass channels that are NaN throughout as they are; a channel with some values that are not finite
raises.

Long signals are resampled part by part, so that memory does not grow with their length.  A plan
says which stretch of the input (:class:`Part`) gives which stretch of the output; ``apply`` does
one of them.  Parts hold some 65,000 samples of input, so that what is worked on at once stays in
the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

# Of many short signals, what is worked on at once should fit in the processor's cache.
SHORT_SAMPLES_AT_ONCE = 400_000
SIGNALS_AT_ONCE = 16
SEGMENT_S = 40.0
GUARD_S = 4.0
# At a quarter of 200 Hz the rhythms of seizures, up to 25 Hz, are no longer in the signal.
LOWEST_SHARE = 0.25
# Beyond this a block matrix is mostly zeros and scipy's polyphase loop is quicker.
LARGEST_BLOCK = 256
# OpenBLAS starts its threads for products of more than 2**18 multiplications; here they would only
# cost.
LARGEST_PRODUCT = 250_000
# A block this long keeps the zeros in its matrices few and its rows long enough for vector
# registers.
FIR_BLOCK = 32
# So many signals of a part stay in the cache from the product to the sum.
FILTERED_AT_ONCE = 4
SEGMENTS_AT_ONCE = 8
SAMPLES_AT_ONCE = 65_536


def resampled_length(n: int, sfreq_in: float, sfreq_out: float) -> int:
    """Return how many samples ``n`` samples become.

    Parameters
    ----------
    n : int
        Samples at ``sfreq_in``.
    sfreq_in, sfreq_out : float
        Sampling rates in Hz.

    Returns
    -------
    int
        ``ceil(n * sfreq_out / sfreq_in)``: the samples whose time lies before the end of the
        signal.

    Raises
    ------
    ValueError
        A rate is not a positive number, or no fraction with a denominator below 100,000 is as near
        to the ratio as 1e-7.

    See Also
    --------
    resample_fft, resample_polyphase : Give so many samples.

    Examples
    --------
    >>> from biot_bd.signals import resampled_length
    >>> resampled_length(2560, 256, 200), resampled_length(2561, 256, 200)
    (2000, 2001)
    """
    up, down = resampling_ratio(sfreq_in, sfreq_out)
    return -(-n * up // down)


def resample_fft(x: NDArray, sfreq_in: float, sfreq_out: float) -> NDArray:
    """Resample by FFT; long signals in segments of 40 s with guards of 4 s.

    The response is a brick wall at ``w = min(sfreq_in, sfreq_out) / 2``.  Signals of at most 40 s
    are resampled whole, which is :func:`scipy.signal.resample`.  In longer ones the wall has a
    finite steepness: the gain is 1 within 2e-3 up to ``w - 1`` Hz and below -50 dB from ``w + 1``
    Hz.  Signals without power within 1 Hz of the wall equal :func:`scipy.signal.resample` of the
    whole within 5e-3 of their standard deviation, further than 10 s from both ends (there ``scipy``
    joins the end to the start, this function continues by point reflection); EEG differs by less,
    as it holds little near the wall.

    Parameters
    ----------
    x : ndarray, shape (..., n)
        Signals; float32 stays float32, float64 stays float64, integers become float32.
    sfreq_in, sfreq_out : float
        Sampling rates in Hz.

    Returns
    -------
    ndarray, shape (..., resampled_length(n, sfreq_in, sfreq_out))
        The signals at ``sfreq_out``; always a new array.

    Raises
    ------
    ValueError
        See :func:`resampled_length`; or a channel has some values that are not finite.

    See Also
    --------
    resample_polyphase : With a FIR filter instead of a brick wall.
    resample_fft_window : To a number of samples.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import resample_fft
    >>> x = np.sin(2 * np.pi * 10 * np.arange(2560) / 256)
    >>> y = resample_fft(x, 256, 200)
    >>> bool(np.allclose(y, np.sin(2 * np.pi * 10 * np.arange(2000) / 200)))
    True
    """
    return _resample("fft", x, sfreq_in, sfreq_out)


def resample_fft_window(x: NDArray, n_out: int) -> NDArray:
    """Resample windows by FFT to ``n_out`` samples, as published pipelines do on reading.

    Parameters
    ----------
    x : ndarray, shape (..., n)
        Windows; float32 stays float32, float64 stays float64, integers become float32.
    n_out : int
        Samples a window afterwards.

    Returns
    -------
    ndarray, shape (..., n_out)
        ``scipy.signal.resample(x, n_out, axis=-1)``; always a new array.

    Raises
    ------
    ValueError
        ``n_out`` is below 1, or a channel has some values that are not finite.

    See Also
    --------
    resample_fft : Signals of any length, by their rates.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import resample_fft_window
    >>> resample_fft_window(np.ones((2, 2560)), 2000).shape
    (2, 2000)
    """
    if n_out < 1:
        raise ValueError(f"n_out must be at least 1, found {n_out}")
    rows, absent, shape = _rows(x)
    out = np.empty((len(rows), n_out), rows.dtype)
    out[absent] = np.nan
    if not absent.all():
        out[~absent] = _by_spectrum(rows if not absent.any() else rows[~absent], n_out)
    return out.reshape(*shape[:-1], n_out)


def resample_polyphase(x: NDArray, sfreq_in: float, sfreq_out: float) -> NDArray:
    """Resample with the FIR filter of :func:`scipy.signal.resample_poly` (Kaiser window, beta 5).

    Equal to ``scipy`` within 1e-4 uV for EEG in float32.  The filter has linear phase, gain 1
    within 3e-3 up to 0.8 of ``w = min(sfreq_in, sfreq_out) / 2``, half its gain (-6 dB) at ``w``
    and a wide transition: for 256 to 200 Hz -0.7 dB at 90 Hz, still -8 dB at 102 Hz, below -40 dB
    from 115 Hz.  Signals are taken as zero beyond their ends.

    Parameters
    ----------
    x : ndarray, shape (..., n)
        Signals; float32 stays float32, float64 stays float64, integers become float32.
    sfreq_in, sfreq_out : float
        Sampling rates in Hz.

    Returns
    -------
    ndarray, shape (..., resampled_length(n, sfreq_in, sfreq_out))
        The signals at ``sfreq_out``; always a new array.

    Raises
    ------
    ValueError
        See :func:`resampled_length`; or a channel has some values that are not finite.

    See Also
    --------
    resample_fft : A brick wall instead.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import resample_polyphase
    >>> resample_polyphase(np.zeros((16, 2560), np.float32), 256, 200).shape
    (16, 2000)
    """
    return _resample("polyphase", x, sfreq_in, sfreq_out)


def _resample(how: str, x: NDArray, sfreq_in: float, sfreq_out: float) -> NDArray:
    resampling_ratio(sfreq_in, sfreq_out)  # bad rates are told before bad signals
    rows, absent, shape = _rows(x)
    plan = make_plan(how, shape[-1], sfreq_in, sfreq_out)
    out = np.empty((len(rows), plan.n_out), rows.dtype)
    out[absent] = np.nan
    there = np.flatnonzero(~absent)
    at_once = max(1, SHORT_SAMPLES_AT_ONCE // shape[-1]) if isinstance(plan, WholePlan) else SIGNALS_AT_ONCE
    for start in range(0, len(there), at_once):
        # A slice spares copies.
        some = there[start : start + at_once] if absent.any() else slice(start, start + at_once)
        for part in plan.parts:
            made = out[some, part.out_start : part.out_stop]
            plan.apply(part, rows[some, part.start : part.stop], made)
            if absent.any():
                out[some, part.out_start : part.out_stop] = made
    return out.reshape(*shape[:-1], plan.n_out)


def _rows(x: NDArray) -> tuple[NDArray, NDArray[np.bool_], tuple[int, ...]]:
    """Return the signals as rows of floats, which of them are absent, and the shape they had."""
    x = np.asarray(x)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"nothing to resample: shape {x.shape}")
    if x.dtype not in (np.float32, np.float64):
        if x.dtype.kind not in "biuf":
            raise ValueError(f"expected real numbers, found dtype {x.dtype}")
        x = x.astype(np.float32)
    rows = x.reshape(-1, x.shape[-1])
    absent = np.zeros(len(rows), bool)
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = np.flatnonzero(~np.isfinite(rows.sum(axis=-1)))
    for row in suspects:
        absent[row] = np.isnan(rows[row]).all()
        if not absent[row] and not np.isfinite(rows[row]).all():
            place = tuple(int(i) for i in np.unravel_index(row, x.shape[:-1])) if x.ndim > 1 else ()
            raise ValueError(
                f"channel {place} has values that are not finite; a channel is either finite or, where it is absent, NaN throughout"
            )
    return rows, absent, x.shape


Signals = NDArray | Sequence[NDArray]
Each = NDArray | None  # one number a signal


class Part(NamedTuple):
    """A stretch ``[start, stop)`` of the input, and that of the output which it gives."""

    start: int
    stop: int
    out_start: int
    out_stop: int


def make_plan(how: str, n: int, sfreq_in: float, sfreq_out: float, context: int = 0) -> ResamplingPlan:
    """Plan the resampling of a signal of ``n`` samples.

    Parameters
    ----------
    how : {"fft", "polyphase", "none"}
        As :func:`resample_fft`, as
        :func:`resample_polyphase`, or not at all (the rates then do not matter).
    n : int
        Samples of the input.
    sfreq_in, sfreq_out : float
        Sampling rates in Hz.
    context : int
        Neighbouring parts of the input overlap by at least twice this many samples.

    Returns
    -------
    ResamplingPlan
        One part where the rates have no common grid to cut at, or the signal is short.

    Raises
    ------
    ValueError
        The rates cannot be, see :func:`resampled_length`; or ``how`` is unknown.
    """
    if how == "none":
        return CopyPlan(n, context)
    up, down = resampling_ratio(sfreq_in, sfreq_out)
    if how not in ("fft", "polyphase"):
        raise ValueError(f"how must be 'fft', 'polyphase' or 'none', found {how!r}")
    if up == down:
        return CopyPlan(n, context)
    if how == "polyphase":
        return FirPlan(n, up, down, context) if max(up, down) <= LARGEST_BLOCK else WholePlan(n, up, down, _scipy_fir)
    # A segment is a whole number of periods of the two grids, and even in both.
    blocks = max(2, 2 * round(SEGMENT_S * sfreq_in / down / 2))
    guard = max(1, round(GUARD_S * sfreq_in / down))
    if n <= SEGMENT_S * sfreq_in or 4 * guard >= blocks or n <= blocks * down:
        return WholePlan(n, up, down, _scipy_fft)
    return SegmentPlan(n, up, down, blocks, guard, context)


def check_rate(sfreq: float, wanted: float) -> None:
    """Raise a ValueError where a rate is so far below the wanted one that no EEG is left.

    A header that is wrong by much would else make hours of signal out of seconds.
    """
    if sfreq < LOWEST_SHARE * wanted:
        raise ValueError(
            f"sampled at {sfreq:g} Hz, less than a quarter of the {wanted:g} Hz that are needed; is the header right?"
        )


def resampling_ratio(sfreq_in: float, sfreq_out: float) -> tuple[int, int]:
    """Return the reduced fraction ``sfreq_out / sfreq_in`` as (up, down).

    An error of 1e-7 is 0.4 ms an hour.

    Raises
    ------
    ValueError
        A rate is not a positive number, or no fraction with a denominator below 100,000 is as near
        as that.
    """
    for name, value in (("sfreq_in", sfreq_in), ("sfreq_out", sfreq_out)):
        if not (isinstance(value, (int, float, np.number)) and math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number of Hz, found {value!r}")
    ratio = Fraction(float(sfreq_out)) / Fraction(float(sfreq_in))
    fraction = ratio.limit_denominator(100_000)
    if fraction == 0 or abs(float(fraction / ratio) - 1) > 1e-7:
        raise ValueError(
            f"cannot resample from {sfreq_in} to {sfreq_out} Hz: no fraction with a denominator below 100,000 is near enough"
        )
    return fraction.numerator, fraction.denominator


class CopyPlan:
    """Hand the signal on as it is.

    Every plan has ``n_out``, the samples of the output, and ``parts``, a tuple of :class:`Part` in
    order whose outputs follow one another without a gap; its ``apply`` takes what this one takes.
    """

    def __init__(self, n: int, context: int) -> None:
        self.n_out = n
        starts = range(0, n, SAMPLES_AT_ONCE)
        ends = [min(start + SAMPLES_AT_ONCE, n) for start in starts]
        self.parts = tuple(
            Part(max(0, a - context), min(n, b + context), a, b) for a, b in zip(starts, ends, strict=True)
        )

    def apply(self, part: Part, x: Signals, out: NDArray, gain: Each = None, offset: Each = None) -> None:
        """Resample one part of several signals: ``out = gain * resampled(x + offset)``.

        Parameters
        ----------
        part : Part
            One of the plan's.
        x : ndarray or sequence of ndarray, shape (n_signals, part.stop - part.start)
            The input there, in the dtype of ``out`` or int16; it is not changed.
        out : ndarray of float32 or float64, shape (n_signals, part.out_stop - part.out_start)
            Written, each row contiguous.
        gain, offset : ndarray, shape (n_signals,), optional
            1 and 0 where they are not given.
        """
        for signal, target in zip(x, out, strict=True):
            target[:] = signal[part.out_start - part.start : part.out_stop - part.start]
        if offset is not None:
            out += offset[:, None].astype(out.dtype)
        if gain is not None:
            out *= gain[:, None].astype(out.dtype)


class WholePlan:
    """Resample at once with a function of scipy."""

    def __init__(self, n: int, up: int, down: int, function: Callable[[NDArray, int, int], NDArray]) -> None:
        self.n_out = -(-n * up // down)
        self.parts: tuple[Part, ...] = (Part(0, n, 0, self.n_out),)
        self._up, self._down, self._function = up, down, function

    def apply(self, part: Part, x: Signals, out: NDArray, gain: Each = None, offset: Each = None) -> None:
        """Resample ``x`` along its last axis."""
        signals = np.asarray(x, out.dtype)
        if offset is not None:
            signals = signals + offset[:, None].astype(out.dtype)
        out[...] = self._function(signals, self._up, self._down)[..., : self.n_out]
        if gain is not None:
            out *= gain[:, None].astype(out.dtype)


def _scipy_fir(x: NDArray, up: int, down: int) -> NDArray:
    import scipy.signal

    return np.asarray(scipy.signal.resample_poly(x, up, down, axis=-1))


def _scipy_fft(x: NDArray, up: int, down: int) -> NDArray:
    """Resample at once; where the grids do not meet at the end the signal is lengthened first."""
    rest = -x.shape[-1] % down
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, rest)], mode="edge") if rest else x
    return _by_spectrum(padded, padded.shape[-1] * up // down)


def _by_spectrum(x: NDArray, n_out: int) -> NDArray:
    """Return what :func:`scipy.signal.resample` does, whose module takes a second to load."""
    n = x.shape[-1]
    shorter = min(n, n_out)
    spectrum = scipy.fft.rfft(x)[..., : shorter // 2 + 1]
    if shorter % 2 == 0 and n_out != n:  # the bin at the lower rate's wall stands for two, or for half
        spectrum[..., -1] *= 2 if n_out < n else 0.5
    return np.asarray(scipy.fft.irfft(spectrum / (n / n_out), n_out))


class Scratch:
    """Memory that keeps its place from part to part: fresh pages take longer than the work."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, str], NDArray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
        """Return an array, as another call of that name and type left it."""
        flat, size = self._flat.get((name, dtype.str)), math.prod(shape)
        if flat is None or flat.size < size:
            flat = self._flat[name, dtype.str] = np.empty(size, dtype)
        return flat[:size].reshape(shape)


class SegmentPlan:
    """FFT in overlapping segments; what lies between the guards of each is kept."""

    def __init__(self, n: int, up: int, down: int, blocks: int, guard: int, context: int) -> None:
        self.n_out = -(-n * up // down)
        self._n, self._core, self._guard, self._up, self._down = n, blocks - 2 * guard, guard, up, down
        self.memory = Scratch()
        n_segments = -(-n // (self._core * down))
        at_once = min(SEGMENTS_AT_ONCE, max(1, SAMPLES_AT_ONCE // (self._core * down)))
        parts = []
        for first in range(0, n_segments, at_once):
            last = min(first + at_once, n_segments)
            start, stop = self._range(first, last)
            if stop > n:  # the end is continued by reflecting what lies before it
                start = min(start, 2 * n - 1 - stop)
            start = max(0, min(start, first * self._core * down - context))
            stop = min(n, max(stop, last * self._core * down + context))
            parts.append(Part(start, stop, first * self._core * up, min(last * self._core * up, self.n_out)))
        self.parts = tuple(parts)

    def _range(self, first: int, last: int) -> tuple[int, int]:
        """Return the stretch that segments ``first`` to ``last`` see.

        It may go beyond the signal.
        """
        core, guard = self._core * self._down, self._guard * self._down
        return first * core - guard, last * core + guard

    def apply(self, part: Part, x: Signals, out: NDArray, gain: Each = None, offset: Each = None) -> None:
        """Resample the segments of one part."""
        core, guard, kept_size = self._core * self._down, self._guard * self._down, self._core * self._up
        first, n_segments = part.out_start // kept_size, -(-out.shape[1] // kept_size)
        segments = self.memory.array("segments", (len(x), n_segments, core + 2 * guard), out.dtype)
        for signal, rows in zip(x, segments, strict=True):
            seen = np.ascontiguousarray(self._continued(part, signal, *self._range(first, first + n_segments)))
            item = seen.dtype.itemsize
            # The segments overlap in memory; numpy's own helpers for that take longer than the
            # work.
            rows[...] = np.ndarray(rows.shape, seen.dtype, seen, 0, (core * item, item))
        # Fading the outer half of both guards to the mean lets the segment join its own start
        # without a step.
        ramp = _ramp(guard // 2 or 1, out.dtype.str)
        level = np.einsum("ijk->ij", segments)[..., None] / out.dtype.type(segments.shape[-1])
        for outer, weights in ((segments[..., : ramp.size], ramp), (segments[..., -ramp.size :], ramp[::-1])):
            outer -= level
            outer *= weights
            outer += level
        n_out = (self._core + 2 * self._guard) * self._up
        y = _fft_rows(segments, n_out, None if offset is None else offset[:, None].astype(out.dtype))
        y = y[..., self._guard * self._up : (self._guard + self._core) * self._up]
        gains = np.ones((len(x), 1), out.dtype) if gain is None else gain[:, None].astype(out.dtype)
        n_whole = out.shape[1] // kept_size
        whole = out[:, : n_whole * kept_size].reshape(len(x), n_whole, kept_size)
        np.multiply(y[:, :n_whole], gains[..., None], out=whole)
        if n_whole < n_segments:
            np.multiply(y[:, -1, : out.shape[1] - n_whole * kept_size], gains, out=out[:, n_whole * kept_size :])

    def _continued(self, part: Part, x: NDArray, start: int, stop: int) -> NDArray:
        """Return the signal from ``start`` to ``stop``, beyond its ends by point reflection."""
        inside = x[max(start, 0) - part.start : min(stop, self._n) - part.start]
        lead, tail = max(0, -start), max(0, stop - self._n)
        if not lead and not tail:
            return inside
        x = x.astype(np.float32) if x.dtype == np.int16 else x  # a reflection may leave the range of int16
        seen = np.empty(stop - start, x.dtype)
        seen[lead : seen.size - tail] = inside
        if lead:
            seen[:lead] = 2 * x[0] - x[lead:0:-1]
        if tail:
            seen[seen.size - tail :] = 2 * x[-1] - x[-2 : -2 - tail : -1]
        return seen


@lru_cache(maxsize=16)
def _ramp(size: int, dtype: str) -> NDArray:
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(size) + 0.5) / size)).astype(dtype)


def _fft_rows(x: NDArray, n_out: int, shift: NDArray | None) -> NDArray:
    """Resample rows, of even lengths, as ``scipy.signal.resample`` does, and add ``shift``."""
    n = x.shape[-1]
    shorter = min(n, n_out)
    # Divided by n on the way there and by nothing on the way back, as the gain of n_out / n wants.
    spectrum = np.asarray(scipy.fft.rfft(x, norm="forward", workers=1))[..., : shorter // 2 + 1]
    if n_out != n:
        # The bin at the lower Nyquist frequency stands for two in one grid and for one in the
        # other.
        spectrum[..., shorter // 2] *= 2.0 if n_out < n else 0.5
    if shift is not None:
        spectrum[..., 0] += shift
    return np.asarray(scipy.fft.irfft(spectrum, n_out, norm="forward", workers=1))


class FirPlan:
    """A polyphase FIR filter as products of blocks of the signal with matrices."""

    def __init__(self, n: int, up: int, down: int, context: int) -> None:
        self.n_out = -(-n * up // down)
        self._n, self._up, self._down = n, up, down
        self.memory = Scratch()
        _, block_in, block_out, lead = _block_matrices(up, down, "<f4")
        n_blocks, at_once = -(-n // block_in), max(1, SAMPLES_AT_ONCE // block_in)
        reach = max(context, lead, _width(up, down) - lead)
        self.parts = tuple(
            Part(
                max(0, first * block_in - reach),
                min(n, (first + at_once) * block_in + reach),
                first * block_out,
                min((first + at_once) * block_out, self.n_out),
            )
            for first in range(0, n_blocks, at_once)
            if first * block_out < self.n_out
        )

    def apply(self, part: Part, x: Signals, out: NDArray, gain: Each = None, offset: Each = None) -> None:
        """Filter the blocks of one part; the signal is zero beyond its ends."""
        for i in range(0, len(x), FILTERED_AT_ONCE):
            some = slice(i, i + FILTERED_AT_ONCE)
            gains, offsets = (None if each is None else each[some, None].astype(out.dtype) for each in (gain, offset))
            self._filter(part, x[some], out[some], gains, offsets)

    def _filter(self, part: Part, x: Signals, out: NDArray, gain: Each, offset: Each) -> None:
        matrices, block_in, block_out, lead = _block_matrices(self._up, self._down, out.dtype.str)
        n_blocks = -(-out.shape[1] // block_out)
        tile = min(n_blocks, max(1, LARGEST_PRODUCT // (block_in * block_out)))
        n_tiles = -(-n_blocks // tile)
        n_used = n_tiles * tile * block_in
        buffer = self.memory.array("input", (len(x), n_used + len(matrices) * block_in), out.dtype)
        begin = part.out_start // block_out * block_in - lead - part.start
        first = max(-begin, 0)
        last = min(buffer.shape[1], part.stop - part.start - begin)
        buffer[:, :first] = 0
        buffer[:, last:] = 0
        inside = buffer[:, first:last]
        for signal, row in zip(x, inside, strict=True):
            row[...] = signal[begin + first : begin + last]
        if offset is not None:
            inside += offset
        products = [self.memory.array(f"{k}", (len(x), n_tiles, tile, block_out), out.dtype) for k in range(2)]
        for k, matrix in enumerate(matrices):
            blocks = buffer[:, k * block_in :][:, :n_used].reshape(len(x), n_tiles, tile, block_in)
            np.matmul(blocks[..., : len(matrix)], matrix, out=products[min(k, 1)])
            if k:
                products[0] += products[1]
        made = products[0].reshape(len(x), -1)[:, : out.shape[1]]
        np.multiply(made, 1 if gain is None else gain, out=out)


def _times(down: int) -> int:
    return max(1, round(FIR_BLOCK / down))


def _width(up: int, down: int) -> int:
    """Return how many samples of input a block of output depends on."""
    half = 10 * max(up, down)
    return ((up * _times(down) - 1) * down + half) // up + half // up + 1


@lru_cache(maxsize=16)
def _block_matrices(up: int, down: int, dtype: str) -> tuple[tuple[NDArray, ...], int, int, int]:
    """Write the filter of :func:`scipy.signal.resample_poly` as matrices between blocks.

    Returns
    -------
    matrices : tuple of ndarray, shape (block_in, block_out), the last shorter
        Output block ``r`` is the sum over ``k`` of input block ``r + k`` times ``matrices[k]``.
    block_in, block_out : int
        Samples a block.
    lead : int
        Zeros in front of the signal before it is cut into blocks.
    """
    import scipy.signal

    half = 10 * max(up, down)
    taps = scipy.signal.firwin(2 * half + 1, 1.0 / max(up, down), window=("kaiser", 5.0)) * up
    block_in, block_out = down * _times(down), up * _times(down)
    lead = half // up
    # Output sample p of a block needs input samples j with |p * down - j * up| <= half.
    j = np.arange(_width(up, down))[:, None] - lead
    tap = np.arange(block_out)[None] * down - j * up + half
    inside = (tap >= 0) & (tap < taps.size)
    dense = np.where(inside, taps[np.where(inside, tap, 0)], 0.0).astype(dtype)
    matrices = tuple(np.ascontiguousarray(dense[i : i + block_in]) for i in range(0, len(dense), block_in))
    return matrices, block_in, block_out, lead


class PiecewisePlan:
    """Resample pieces of a signal, each by its own plan, as if nothing were beside it.

    Parameters
    ----------
    starts : sequence of int
        Where each piece begins in the input.
    plans : sequence of ResamplingPlan
        Of each piece.
    """

    def __init__(self, starts: Sequence[int], plans: Sequence[ResamplingPlan]) -> None:
        self.n_out = 0
        self._own: dict[Part, tuple[ResamplingPlan, Part]] = {}
        memory = Scratch()
        for start, plan in zip(starts, plans, strict=True):
            if isinstance(plan, (SegmentPlan, FirPlan)):
                plan.memory = memory  # with one each, memory would grow with the number of pauses
            for part in plan.parts:
                moved = Part(
                    part.start + start, part.stop + start, part.out_start + self.n_out, part.out_stop + self.n_out
                )
                self._own[moved] = plan, part
            self.n_out += plan.n_out
        self.parts: tuple[Part, ...] = tuple(self._own)

    def apply(
        self, part: Part, x: Signals, out: NDArray, gain: NDArray | None = None, offset: NDArray | None = None
    ) -> None:
        """Resample one part, as :meth:`CopyPlan.apply`."""
        plan, own = self._own[part]
        plan.apply(own, x, out, gain, offset)


ResamplingPlan = CopyPlan | WholePlan | SegmentPlan | FirPlan | PiecewisePlan
