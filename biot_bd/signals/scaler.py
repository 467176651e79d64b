"""Scaling by a percentile of each window and channel, as BIOT's inputs are scaled."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.base import Marked, SignalInfo, WindowTransformer, check_shapes, describe_channels
from biot_bd.signals.offset import without_offsets

FLAT_UV = 1e-3
"""A channel that moves by less than this in a window is flat.

No amplifier's EEG does (and volts do).
"""

EPSILON_UV = 1e-8
# Looking at every 64th sample finds the few channels that may be flat.
STRIDE = 64
# What is selected at once stays in the cache.
VALUES_AT_ONCE = 2**18
# The longest row that numpy sorts in vector registers alone, 10 times as fast as a longer one.
SORTED_AT_ONCE = 512


@dataclass(eq=False, repr=False)
class PercentileScaler(WindowTransformer):
    """Divide each channel of each window by a percentile of its absolute values.

    The formula is ``x / (quantile(|x|, q / 100, linear) + 1e-8)`` with ``x`` in microvolts, that of
    BIOT (Yang et al. 2023, Biosignal Transformer, NeurIPS).  The output has no unit.  Where a
    constant outweighs the EEG in a window (DC amplifiers; the mean is above 50 uV and above half of
    the 95th percentile), the least-squares line is taken off that channel first.

    Parameters
    ----------
    q : float
        Percentile, above 0 and at most 100.
    on_bad : {"raise", "warn", "drop"}
        What to do about a channel that is flat in a window (it, or its percentile, stays below
        ``FLAT_UV``, 0.001 uV) or holds values that are not finite: raise naming window and channel;
        drop it (NaN throughout, False in ``present``) with a warning; drop it.  It is never divided
        by 1e-8.

    See Also
    --------
    MontageMapper : Comes before it.
    FixedScaler, Standardizer : What other models want instead.

    Notes
    -----
    Signals in volts given as an array look flat, so the factor of a million shows as an error.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import PercentileScaler
    >>> x = np.linspace(-100, 100, 2001)[None, None]
    >>> out = PercentileScaler(95).transform(x)
    >>> round(float(out.max()), 3), round(float(np.quantile(abs(out), 0.95)), 3)
    (1.053, 1.0)
    """

    q: float = 95
    on_bad: Literal["raise", "warn", "drop"] = "raise"

    def output_info(self, info: SignalInfo) -> SignalInfo:
        """Say what comes out: the same without a unit.

        Raises where the input is scaled already or a parameter is wrong.
        """
        self._check_params()
        if info.unit is None:
            raise ValueError("the signals are scaled already (unit None); use one PercentileScaler only")
        return replace(info, unit=None, scale=f"percentile-{self.q:g}")

    def apply(self, x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> Marked:
        """Scale windows in microvolts."""
        self._check_params()
        check_shapes(x, present, info)
        x, _ = without_offsets(x)
        percentiles = window_percentiles(x, self.q)
        faulty = present & ~np.isfinite(percentiles)
        flat = present & ~faulty & flat_channels(x, percentiles)
        bad = faulty | flat
        if bad.any():
            self._tell(faulty, flat, info.ch_names)
        kept = present & ~bad
        scale = np.where(kept, percentiles + EPSILON_UV, np.nan).astype(x.dtype)
        with np.errstate(invalid="ignore"):
            out = x / scale[..., None]
        return out, kept

    def _tell(self, faulty: NDArray[np.bool_], flat: NDArray[np.bool_], names: tuple[str, ...] | None) -> None:
        if self.on_bad == "drop":
            return
        kinds = {f"flat within {FLAT_UV:g} uV": flat, "values that are not finite": faulty}
        text = "; ".join(f"{kind}: {describe_channels(mask, names)}" for kind, mask in kinds.items() if mask.any())
        if self.on_bad == "warn":
            warnings.warn(f"channels were dropped (NaN, not present): {text}", stacklevel=3)
            return
        hint = " (are the signals in volts? arrays must be in uV)" if flat.all() else ""
        raise ValueError(
            f"channels that cannot be scaled: {text}{hint}; choose on_bad='drop' or 'warn' to leave them out"
        )

    def _check_params(self) -> None:
        if not (isinstance(self.q, (int, float, np.number)) and 0 < self.q <= 100):
            raise ValueError(f"q must be above 0 and at most 100, found {self.q!r}")
        if self.on_bad not in ("raise", "warn", "drop"):
            raise ValueError(f"on_bad must be 'raise', 'warn' or 'drop', found {self.on_bad!r}")


def window_percentiles(x: NDArray[Any], q: float) -> NDArray[Any]:
    """Return ``numpy.quantile(|x|, q / 100, axis=-1)`` for many windows, several times faster.

    The two neighbours are selected in a buffer that stays in the cache.

    Parameters
    ----------
    x : ndarray, shape (n, n_chans, n_times)
        Windows, float32 or float64; or int16, as a store holds them.
    q : float
        Percentile, 0 to 100.

    Returns
    -------
    ndarray, shape (n, n_chans)
        In the dtype of ``x`` (float64 for int16), equal to ``numpy.quantile`` (linear) within 1e-6
        of its value; NaN where a value is not finite.
    """
    n_times = x.shape[-1]
    place = q / 100 * (n_times - 1)
    lower = min(math.floor(place), n_times - 1)
    fraction = place - lower
    digital = x.dtype == np.int16
    at_once = max(1, VALUES_AT_ONCE // max(1, math.prod(x.shape[1:])))
    # Seen without sign, the absolute value of -32768 is right, too.
    buffers = np.empty((at_once, *x.shape[1:]), np.uint16 if digital else x.dtype)
    neighbours = np.empty((2, *x.shape[:2]), buffers.dtype)
    select = _by_sorting if _sorting_pays(n_times, n_times - lower, buffers.dtype.str) else _by_partition
    for start in range(0, len(x), at_once):
        some = x[start : start + at_once]
        buffer = buffers[: len(some)]
        np.abs(some, out=buffer.view(x.dtype))
        neighbours[:, start : start + at_once] = select(buffer, lower)
    low = neighbours[0].astype(np.float64)
    if fraction > 0:  # infinity less infinity where the upper neighbour does not count would be NaN
        with np.errstate(invalid="ignore"):
            low += fraction * (neighbours[1] - low)
    if digital:
        return low
    out = low.astype(x.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = np.nonzero(~np.isfinite(x.sum(axis=-1)))
    if suspects[0].size:
        out[suspects] = np.where(np.isfinite(x[suspects]).all(axis=-1), out[suspects], np.nan)
    return out


def _by_partition(buffer: NDArray[Any], lower: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the order statistics ``lower`` and ``lower + 1`` (the last where there is none)."""
    buffer.partition(lower, axis=-1)
    rest = buffer[..., min(lower + 1, buffer.shape[-1] - 1) :]
    return buffer[..., lower], np.minimum.reduce(rest, axis=-1)


def _by_sorting(buffer: NDArray[Any], lower: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the same: the ends of short sorted pieces hold all that can be that large."""
    tail = buffer.shape[-1] - lower
    while (n := buffer.shape[-1]) > SORTED_AT_ONCE:
        n_pieces = -(-n // SORTED_AT_ONCE)
        even = n - n % n_pieces
        pieces = buffer[..., :even].reshape(*buffer.shape[:-1], n_pieces, -1)
        pieces.sort(axis=-1)
        ends = pieces[..., -tail:].reshape(*buffer.shape[:-1], -1)
        buffer = ends if even == n else np.concatenate([ends, buffer[..., even:]], axis=-1)
    buffer.sort(axis=-1)
    return buffer[..., -tail], buffer[..., -max(tail - 1, 1)]


@lru_cache(maxsize=64)
def _sorting_pays(n_times: int, tail: int, dtype: str) -> bool:
    """Return whether sorting short pieces is quicker here than a selection among all values.

    It is where numpy sorts them without a branch (AVX-512, AVX2, NEON), which depends on the type.
    """
    if n_times <= SORTED_AT_ONCE or 5 * tail > 2 * SORTED_AT_ONCE:  # a piece has half of that or more
        return False
    x = np.random.default_rng(0).integers(0, 4000, (16, n_times)).astype(dtype)

    def seconds(select: Callable[[NDArray[Any], int], Any]) -> float:
        copies = [x.copy() for _ in range(3)]
        taken = []
        for copy in copies:
            start = time.perf_counter()
            select(copy, n_times - tail)
            taken.append(time.perf_counter() - start)
        return min(taken)

    return seconds(_by_sorting) < seconds(_by_partition)


def flat_channels(x: NDArray[Any], percentiles: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which channels are flat, ``(n, n_chans)``.

    Only those that look so at every 64th sample are read in full.
    """
    with np.errstate(invalid="ignore"):
        flat = percentiles < FLAT_UV
        few = x[..., ::STRIDE]
        suspects = np.nonzero((few.max(axis=-1) - few.min(axis=-1) < FLAT_UV) & ~flat)
        if suspects[0].size:
            rows = x[suspects]
            flat[suspects] = rows.max(axis=-1) - rows.min(axis=-1) < FLAT_UV
    return flat
