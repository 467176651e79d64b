"""The sheet that a picture is drawn on: title, caution and notes above, footnote below, at any
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from numpy.typing import NDArray

from biot_bd.plots import GREY

DPI = 100
NARROW_PX = 600
"""Below this, panels stand one below the other and words are fewer."""
AMBER, AMBER_PALE = "#8a4b00", "#fff1d6"
INK = "#1b1f24"
_MARGIN_IN = 0.1


def sheet(
    width_px: int,
    body_in: float,
    title: str,
    *,
    alt: str,
    caution: str | None = None,
    notes: Sequence[str] = (),
    footnote: str | None = None,
) -> Figure:
    """Return an empty figure with its words set, axes to be put in between.

    Parameters
    ----------
    width_px : int
        Width at the figure's own dpi.
    body_in : float
        Height that the axes get, in inches.
    title : str
        What is shown, in words.
    alt : str
        The same for those who cannot see it; becomes the figure's label.
    caution : str, optional
        Why not to trust it; in amber under the title.
    notes : sequence of str
        What a reader must know, under that.
    footnote : str, optional
        Small, at the bottom.

    Raises
    ------
    ValueError
        The width is below 240.
    """
    if width_px < 240:
        raise ValueError(f"width_px must be 240 or more, got {width_px}: no words fit on less")
    width_in = width_px / DPI
    size = 10.0 if width_px < NARROW_PX else 12.0
    # Text, size, weight, colour, background, from top to bottom.
    above: list[tuple[list[str], float, str, str, str | None]] = [
        (wrapped(title, width_in, size, "bold"), size, "bold", INK, None)
    ]
    if caution:
        above.append((wrapped(f"Caution: {caution}", width_in - 0.1, 9, "bold"), 9, "bold", AMBER, AMBER_PALE))
    above += [(wrapped(note, width_in, 9), 9, "normal", "#3a424c", None) for note in notes if note]
    below = wrapped(footnote, width_in, 7) if footnote else []
    above_in = sum(_height_in(lines, size) for lines, size, *_ in above) + _MARGIN_IN
    below_in = _height_in(below, 7) if below else 0.02
    height_in = above_in + body_in + below_in
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    figure.set_label(alt)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, below_in / height_in, 1, body_in / height_in), w_pad=0.05, h_pad=0.05)
    top = height_in - _MARGIN_IN
    for lines, letters, weight, colour, back in above:
        box = None if back is None else {"facecolor": back, "edgecolor": AMBER, "linewidth": 0.8, "pad": 2.5}
        _write(figure, lines, top / height_in, letters, color=colour, weight=weight, bbox=box)
        top -= _height_in(lines, letters)
    if below:
        _write(figure, below, (below_in - 0.02) / height_in, 7, color=GREY)
    return figure


def _write(figure: Figure, lines: Sequence[str], y: float, size: float, **how: Any) -> None:
    figure.text(
        _MARGIN_IN / figure.get_figwidth(), y, "\n".join(lines), size=size, va="top", linespacing=1.25,
        parse_math=False, **how,
    )  # fmt: skip


def _height_in(lines: Sequence[str], size: float) -> float:
    return len(lines) * size * 1.3 / 72 + 0.06


def wrapped(text: str, width_in: float, size: float, weight: str = "normal") -> list[str]:
    """Break a text into lines no wider than a figure of that width."""
    most_pt = (width_in - 2 * _MARGIN_IN) * 72
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and _width_pt(longer, size, weight) > most_pt:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


@lru_cache(maxsize=4096)
def _width_pt(text: str, size: float, weight: str) -> float:
    width, _, _ = TextToPath().get_text_width_height_descent(text, FontProperties(size=size, weight=weight), False)
    return float(width)


def name_rows(axis: Axes, places: Sequence[float], names: Sequence[str], row_in: float, size: float = 8) -> None:
    """Name rows at the left, every second or third where letters would touch."""
    axis.set_yticks(*_thinned(places, names, row_in, size), fontsize=size)
    _plainly(axis.get_yticklabels())
    axis.tick_params(axis="y", length=0, pad=3)


def name_columns(
    axis: Axes, places: Sequence[float], names: Sequence[str], column_in: float, size: float = 8, turned: bool = True
) -> None:
    """Name columns below, turned upright, every second or third where letters would touch."""
    axis.set_xticks(*_thinned(places, names, column_in, size), fontsize=size, rotation=90 if turned else 0)
    _plainly(axis.get_xticklabels())
    axis.tick_params(axis="x", length=2, pad=2)


def _thinned(
    places: Sequence[float], names: Sequence[str], apart_in: float, size: float
) -> tuple[list[float], list[str]]:
    every = max(1, int(np.ceil(size * 1.05 / 72 / max(apart_in, 1e-3))))
    return list(places)[::every], list(names)[::every]


def _plainly(labels: Sequence[Any]) -> None:
    for label in labels:  # a name with dollar signs is no formula
        label.set_parse_math(False)


def say_absent(axis: Axes, cells: NDArray[Any]) -> None:
    """Write "absent" into the rows of a heat map that hold nothing."""
    left = axis.get_xlim()[0]
    for row in np.flatnonzero(~np.isfinite(cells).any(axis=1)):
        axis.text(left, float(row), " absent", color="#3a424c", fontsize=7, va="center", style="italic")


def bare(axis: Axes) -> None:
    """Take frame and ticks away."""
    axis.set_axis_off()
    axis.set_aspect("equal")
