"""Colours with a meaning: one scale for all cells of a picture, told in words beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from biot_bd.figure_sheet import wrapped

ABSENT = "#bdc2c8"
LEAST_RATIO = 1.25
"""A scale of ratios reaches at least to this, so that noise around 1 stays pale."""
FLAT = 0.05
# Blue and orange differ for every kind of colour vision.  Soft: a trace is read above.
_ENDS = {
    "soft": ("#5aa0d8", "#ffffff", "#f39b3d"),
    "strong": ("#0a5aa8", "#f7f7f7", "#c44e00"),
    "lines": ("#0a5aa8", "#d9dce0", "#c44e00"),
}
_RISING = {"soft": ("#ffffff", "#ffe3bd", "#f08a24"), "strong": ("#f7f7f7", "#f3b56a", "#a63a00")}

Depth = Literal["soft", "strong", "lines"]


@dataclass(frozen=True)
class Scale:
    """Colours of values and what to say of them.

    Parameters
    ----------
    cmap, norm
        As matplotlib takes them.
    ticks : sequence of float
        Where the bar is marked.
    marks : sequence of str
        What stands there.
    words : str
        What the colours mean.
    """

    cmap: Colormap
    norm: Normalize
    ticks: tuple[float, ...]
    marks: tuple[str, ...]
    words: str

    def colours(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return RGBA, grey where a value is not known."""
        return np.asarray(self.cmap(self.norm(np.ma.masked_invalid(np.asarray(values, dtype=float)))))

    def bar(self, figure: Figure, axes: Axes | Sequence[Axes], width_in: float) -> None:
        """Draw the bar below some axes."""
        wide = figure.get_figwidth()
        shown = figure.colorbar(
            ScalarMappable(self.norm, self.cmap),
            ax=axes,
            location="bottom",
            shrink=min(1.0, 3.6 / width_in),
            aspect=min(3.6, width_in) / 0.13,
            pad=0.03,
        )
        shown.set_ticks(list(self.ticks), labels=list(self.marks))
        shown.ax.tick_params(labelsize=8)
        shown.ax.minorticks_off()
        shown.set_label("\n".join(wrapped(self.words, min(wide * 0.85, width_in), 8)), fontsize=8)


@lru_cache(maxsize=8)
def colour_map(depth: Depth, *, diverging: bool) -> Colormap:
    """Return a colour map: from blue over pale to orange, or from pale to orange."""
    ends = (_ENDS if diverging else _RISING)[depth]
    made = LinearSegmentedColormap.from_list(f"biot_bd {depth} {diverging}", ends)
    made.set_bad(ABSENT)
    return made


def signed_scale(
    values: ArrayLike, words: str, *, depth: Depth = "strong", least: float = 0.0, lowest: float = np.inf
) -> Scale:
    """Return a scale around 0, equal to both sides; but values are never below ``-lowest``."""
    known = _known(values)
    high = max(_high(np.abs(known), least or 1.0), least) or 1.0
    low = min(high, lowest)
    below, above = _or_more(-known, low)[0], _or_more(known, high)[1]
    marks = (f"{below}−{short(low)}", "0", f"{above}+{short(high)}")
    return Scale(colour_map(depth, diverging=True), TwoSlopeNorm(0.0, -low, high), (-low, 0.0, high), marks, words)


def rising_scale(ratios: ArrayLike, words: str, *, depth: Depth = "strong") -> Scale:
    """Return a scale of ratios to the average, pale up to 1."""
    known = _known(ratios)
    limit = max(_high(known, LEAST_RATIO), LEAST_RATIO)
    middle = (1 + limit) / 2
    marks = ("≤ 1", short(middle), f"{_or_more(known, limit)[1]}{short(limit)} x")
    cmap = colour_map(depth, diverging=False)
    return Scale(cmap, Normalize(1.0, limit, clip=True), (1.0, middle, limit), marks, words)


def ratio_scale(ratios: ArrayLike, words: str, *, depth: Depth = "strong") -> Scale:
    """Return a logarithmic scale of ratios, equal to both sides of 1."""
    known = _known(ratios)
    limit = max(float(2 ** _high(np.abs(np.log2(known[known > 0])), 0.0)), LEAST_RATIO)
    cmap = colour_map(depth, diverging=True)
    low, high = _or_more(1 / known[known > 0], limit)[0], _or_more(known, limit)[1]
    marks = (f"{low}1/{short(limit)}", "1", f"{high}{short(limit)} x")
    return Scale(cmap, _Ratios(limit), (1 / limit, 1.0, limit), marks, words)


class _Ratios(Normalize):
    """Logarithm of a ratio, 1 in the middle; 0 is at the lower end."""

    def __init__(self, limit: float) -> None:
        super().__init__(1 / limit, limit, clip=True)

    def __call__(self, value: Any, clip: bool | None = None) -> Any:
        values, is_scalar = self.process_value(value)
        top = float(np.log2(self.vmax or 1.0))
        inside = np.ma.array(np.clip(np.ma.filled(values, 1.0), self.vmin, self.vmax), mask=np.ma.getmask(values))
        shares = np.ma.asarray(0.5 + 0.5 * np.ma.log2(inside) / top)
        return shares[0] if is_scalar else shares

    def inverse(self, value: Any) -> Any:
        return np.asarray(self.vmax, dtype=float) ** (2 * np.asarray(value) - 1)


def short(value: float) -> str:
    """Return a number above 0 in three digits, without an exponent where it has few zeros."""
    return f"{value:.0f}" if 100 <= value < 1e6 else f"{value:.3g}"


def ratio_to_average(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return sizes as times their average, which is 1; zeros stay."""
    sizes = np.abs(values.astype(float))
    known = sizes[np.isfinite(sizes)]
    average = float(known.mean()) if known.size else 1.0
    return sizes / (average or 1.0)


def spread(ratios: NDArray[Any]) -> float:
    """Return by how much the known ratios leave 1 at most."""
    known = _known(ratios)
    return float(np.abs(known - 1).max()) if known.size else 0.0


def _or_more(sizes: NDArray[Any], limit: float) -> tuple[str, str]:
    """Return what stands before the ends of a bar where some cell lies beyond them."""
    return ("≤ ", "≥ ") if sizes.size and sizes.max() > limit * 1.005 else ("", "")


def _known(values: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=float)
    return values[np.isfinite(values)]


def _high(values: NDArray[Any], otherwise: float) -> float:
    """Return a limit that one extreme cell does not set alone."""
    return float(np.quantile(values, 0.995)) if values.size else otherwise
