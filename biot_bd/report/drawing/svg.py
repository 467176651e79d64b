"""Small inline SVG pictures: panels with scales, axes, lines, bars of colour.

Kept apart from :mod:`biot_bd.plots` (matplotlib, for TensorBoard and PNG): text in a report stays
text, so it can be searched, read aloud and enlarged, and a report of 24 subjects stays small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

from biot_bd.plots import PALETTE

# Pixels an SVG unit at most, so that text has one size in all pictures of a wide page.
ZOOM = 1.25
DASHES = ("", "6 3", "2 2", "8 3 2 3")


def line_style(index: int) -> str:
    """Return the SVG style of the ``index``-th line: a colour, and a dash once colours run out."""
    dash = DASHES[(index // len(PALETTE)) % len(DASHES)]
    style = f"stroke:var(--colour{index % len(PALETTE)})"  # the page gives it, for light and dark
    return f"{style};stroke-dasharray:{dash}" if dash else style


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round tick values inside ``[low, high]``.

    Raises
    ------
    ValueError
        The limits are not finite or not in order.
    """
    from matplotlib.ticker import MaxNLocator

    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"an axis needs finite limits in order, found {low} and {high}")
    ticks = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    slack = 1e-9 * (high - low)
    return [float(t) for t in ticks if low - slack <= t <= high + slack]


@dataclass(frozen=True)
class Panel:
    """A rectangle of the picture with linear scales.

    Parameters
    ----------
    left, top, width, height : float
        Place in the picture, in SVG units.
    xlim, ylim : tuple of float
        Data limits; ``ylim[0]`` lies at the bottom.
    """

    left: float
    top: float
    width: float
    height: float
    xlim: tuple[float, float]
    ylim: tuple[float, float] = (0.0, 1.0)

    @property
    def bottom(self) -> float:
        """Lower edge in SVG units."""
        return self.top + self.height

    @property
    def right(self) -> float:
        """Right edge in SVG units."""
        return self.left + self.width

    def x(self, values: ArrayLike) -> NDArray[np.float64]:
        """Place data values on the horizontal axis."""
        low, high = self.xlim
        return self.left + (np.asarray(values, dtype=float) - low) / (high - low) * self.width

    def y(self, values: ArrayLike) -> NDArray[np.float64]:
        """Place data values on the vertical axis."""
        low, high = self.ylim
        return self.bottom - (np.asarray(values, dtype=float) - low) / (high - low) * self.height


class Picture:
    """One SVG picture that grows piece by piece; ``str(picture)`` is its markup.

    Parameters
    ----------
    name : str
        Identifier, unique in the page (letters, digits, ``-``).
    width, height : float
        Size in SVG units; the page scales it.
    title, description : str
        Read aloud instead of the picture.
    """

    def __init__(self, name: str, width: float, height: float, title: str, description: str) -> None:
        self.name, self.width, self.height = name, width, height
        self.title, self.description = title, description
        self._parts: list[str] = []
        self._clips = 0

    def path(
        self, x: ArrayLike, y: ArrayLike, css: str = "line", style: str = "", tip: str | None = None, clip: str = ""
    ) -> None:
        """Draw a line through points in SVG units; a NaN breaks it."""
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        good = np.isfinite(x) & np.isfinite(y)
        starts = good & ~np.concatenate([[False], good[:-1]]) if good.size else good
        points = [
            f"{'M' if start else ''}{a:.1f} {b:.1f}" for a, b, start in zip(x[good], y[good], starts[good], strict=True)
        ]
        if points:
            self._add("path", f'd="{" ".join(points)}" class="{css}"', style, tip, clip)

    def rect(
        self, x: float, y: float, width: float, height: float, css: str = "", style: str = "", tip: str | None = None
    ) -> None:
        """Draw a rectangle; places in SVG units."""
        place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.2f}" height="{max(height, 0):.2f}"'
        self._add("rect", f'{place} class="{css}"' if css else place, style, tip)

    def dot(self, x: float, y: float, radius: float = 3, css: str = "dot", tip: str | None = None) -> None:
        """Draw a filled circle; places in SVG units."""
        self._add("circle", f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{css}"', "", tip)

    def text(self, x: float, y: float, text: str, css: str = "tick", anchor: str = "start", turn: float = 0) -> None:
        """Write text at a place in SVG units, ``turn`` degrees clockwise."""
        turned = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}"{turned}>{escape(text)}</text>'
        )

    def clip(self, panel: Panel) -> str:
        """Define a clipping rectangle and return its identifier for :meth:`path`."""
        self._clips += 1
        name = f"{self.name}-clip{self._clips}"
        place = f'x="{panel.left:g}" y="{panel.top:g}" width="{panel.width:g}" height="{panel.height:g}"'
        self._parts.append(f'<clipPath id="{name}"><rect {place}/></clipPath>')
        return name

    def axes(
        self,
        panel: Panel,
        xlabel: str = "",
        ylabel: str = "",
        xticks: Sequence[float] | None = None,
        yticks: Sequence[float] | None = None,
        xlabels: Mapping[float, str] | None = None,
        ylabels: Mapping[float, str] | None = None,
    ) -> None:
        """Draw the frame, grid lines, ticks and labels of a panel.

        ``xlabels`` and ``ylabels`` name ticks otherwise than by value.
        """
        for tick in nice_ticks(*panel.xlim) if xticks is None else xticks:
            at = float(panel.x(tick))
            self.path([at, at], [panel.top, panel.bottom], css="grid")
            self.text(at, panel.bottom + 14, (xlabels or {}).get(tick, f"{tick:g}"), anchor="middle")
        for tick in nice_ticks(*panel.ylim) if yticks is None else yticks:
            at = float(panel.y(tick))
            self.path([panel.left, panel.right], [at, at], css="grid")
            self.text(panel.left - 5, at + 4, (ylabels or {}).get(tick, f"{tick:g}"), anchor="end")
        self.rect(panel.left, panel.top, panel.width, panel.height, css="frame")
        if xlabel:
            self.text(panel.left + panel.width / 2, panel.bottom + 31, xlabel, css="label", anchor="middle")
        if ylabel:
            x, y = panel.left - 38, panel.top + panel.height / 2
            self.text(x, y, ylabel, css="label", anchor="middle", turn=-90)

    def __str__(self) -> str:
        name = f"{self.name}-title {self.name}-desc"
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" style="max-width:{self.width * ZOOM:.0f}px" '
            f'role="img" aria-labelledby="{name}">'
            f'<title id="{self.name}-title">{escape(self.title)}</title>'
            f'<desc id="{self.name}-desc">{escape(self.description)}</desc>'
            f"{''.join(self._parts)}</svg>"
        )

    def __html__(self) -> Markup:
        return Markup(str(self))  # every text above went through escape

    def _add(self, tag: str, attributes: str, style: str, tip: str | None, clip: str = "") -> None:
        style = f' style="{style}"' if style else ""
        clip = f' clip-path="url(#{clip})"' if clip else ""
        inside = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(f"<{tag} {attributes}{style}{clip}>{inside}</{tag}>")


def envelope(signal: ArrayLike, columns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Thin a signal for drawing: the lowest and highest value of each of ``columns`` pieces.

    Parameters
    ----------
    signal : array_like, shape (n_times,)
        NaN where nothing is known.
    columns : int
        Number of pieces; a signal shorter than twice that stays as it is.

    Returns
    -------
    position, value : ndarray, shape (n_points,)
        Positions are fractions of samples from the start.
    """
    signal = np.asarray(signal, dtype=float)
    if signal.size <= 2 * columns:
        return np.arange(signal.size, dtype=float), signal
    edges = np.linspace(0, signal.size, columns + 1).astype(int)
    position, value = [], []
    for low, high in pairwise(edges):
        piece = signal[low:high]
        if np.isnan(piece).any():
            position.append([float(low)])
            value.append([np.nan])
            continue
        first, last = sorted((int(piece.argmin()), int(piece.argmax())))
        position.append([float(low + first), float(low + last)])
        value.append([piece[first], piece[last]])
    return np.concatenate(position), np.concatenate(value)
