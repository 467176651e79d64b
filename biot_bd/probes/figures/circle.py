"""Who attends to whom, as directed links around a circle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.path import Path
from numpy.typing import ArrayLike, NDArray

from biot_bd.figure_sheet import DPI, bare, sheet
from biot_bd.probes.figures._links import WORDS, Links
from biot_bd.probes.figures._places import around, places_of
from biot_bd.probes.figures._scales import ratio_scale
from biot_bd.probes.figures.alt_texts import alt_text_of_links

TITLE = "Attention flow between channels: which channel looks at which"
READ = (
    "An arrow leads from the channel that looks to the one that it looks at; a loop outside is a channel's own share."
)
_BEND, _TO_MIDDLE = 0.13, 0.3


def circle_figure(
    matrix: ArrayLike,
    ch_names: Sequence[str],
    *,
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 700,
) -> Figure:
    """Draw all links between channels around a circle, each direction by an arrow of its own.

    Left channels stand at the left and frontal ones at the top, as on the head seen from above.
    Links above an even share are the wider the more they are, and lie on top; none is left out.

    Parameters
    ----------
    matrix : array-like, shape (n_chans, n_chans)
        Rows attend to columns and sum to 1 (:meth:`biot_bd.AttentionTrace.channel_matrix`); absent
        channels NaN.
    ch_names : sequence of str
        Names of the channels.
    title, caution, footnote : str, optional
        Words; the caution stands in amber under the title.
    width_px : int
        Width of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The matrix is not one of attention, or does not fit the names.

    See Also
    --------
    head_figure : The strongest links on a head.
    difference_figure : Two conditions, which may be below 0.

    Examples
    --------
    >>> from biot_bd.probes.figures import circle_figure
    >>> figure = circle_figure([[0.2, 0.8], [0.5, 0.5]], ["C3", "C4"])
    >>> len(figure.axes[0].collections[0].get_paths())
    4
    """
    links = Links.of(matrix, ch_names)
    places = places_of(links.ch_names)
    angles = around(places)
    scale = ratio_scale(links.ratio, WORDS, depth="lines")
    ring = "Left channels at the left, frontal ones at the top." if places.on_head else places.note
    notes = [READ, f"{ring or ''}", links.flat_note() or ""]
    side_in = min(width_px / DPI, 7.5)
    figure = sheet(
        width_px, side_in + 0.6, title or TITLE, alt=alt_text_of_links(matrix, links.ch_names),
        caution=caution, notes=notes, footnote=footnote,
    )  # fmt: skip
    axis = figure.subplots()
    bare(axis)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    pairs = [(i, j) for i in range(len(points)) for j in range(len(points)) if np.isfinite(links.ratio[i, j])]
    pairs.sort(key=lambda pair: links.ratio[pair])
    # Width tells how much attention there is, so what is below an even share stays thin.
    limit = float(np.log2(scale.ticks[-1]))
    share = {pair: float(np.clip(np.log2(max(links.ratio[pair], 1e-6)) / limit, 0, 1)) for pair in pairs}
    thin = min(1.0, 12 / max(len(points), 1)) + 0.25
    colours = scale.colours(np.array([links.ratio[pair] for pair in pairs]))
    widths = [thin * (0.35 + 2.6 * share[pair]) for pair in pairs]
    curves = PathCollection(
        [_curve(points[i], points[j]) for i, j in pairs], facecolors="none", edgecolors=colours, linewidths=widths
    )
    curves.set_label("links")
    curves.set_capstyle("butt")
    axis.add_collection(curves)
    between = [number for number, (i, j) in enumerate(pairs) if i != j]
    if between:
        heads = PolyCollection(
            [_arrowhead(points[pairs[n][0]], points[pairs[n][1]], thin * (0.012 + 0.025 * share[pairs[n]])) for n in between],
            facecolors=np.asarray(colours)[between], edgecolors="none", zorder=2,
        )  # fmt: skip
        heads.set_label("arrowheads")
        axis.add_collection(heads)
    received = scale.colours(links.received())
    axis.scatter(
        points[:, 0],
        points[:, 1],
        s=(170 if len(points) <= 24 else 45) * min(1.0, side_in / 6) ** 2,
        c=received,
        edgecolors="#3a424c",
        linewidths=0.8,
        zorder=3,
    )
    size = float(np.clip(side_in * 72 * 2.2 / max(len(points), 8) * 0.55, 5, 9 if side_in > 4 else 7.5))
    for name, here, point, angle in zip(links.ch_names, links.present, points, angles, strict=True):
        turned = np.degrees(angle) % 360
        flipped = 90 < turned < 270
        axis.text(
            float(point[0] * 1.2), float(point[1] * 1.2), name if here else f"{name}\nabsent", fontsize=size, va="center",
            ha="right" if flipped else "left", rotation=turned - 180 if flipped else turned, rotation_mode="anchor",
            color="#1b1f24" if here else "#69717a", style="normal" if here else "italic", parse_math=False,
        )  # fmt: skip
    longest = max(len(name) for name in (*links.ch_names, "absent"))
    reach = 1.24 / max(0.4, 1 - 2 * longest * size * 0.62 / 72 / side_in)
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach))
    scale.bar(figure, axis, side_in)
    return figure


def _controls(start: NDArray[np.float64], stop: NDArray[np.float64]) -> tuple[NDArray, NDArray, NDArray]:
    """Return a Bezier curve from a channel to another, bent to the left of its way, so that the way
    back is another one.
    """
    along = stop - start
    aside = np.array([-along[1], along[0]]) * _BEND
    control = (start + stop) / 2 * _TO_MIDDLE + aside
    return start * 0.94, control, stop * 0.94


def _curve(start: NDArray[np.float64], stop: NDArray[np.float64]) -> Path:
    if start is stop or np.array_equal(start, stop):
        loop = Path.circle(tuple(start * 1.11), 0.055)
        return Path(loop.vertices, loop.codes)
    return Path(list(_controls(start, stop)), [Path.MOVETO, Path.CURVE3, Path.CURVE3])


def _arrowhead(start: NDArray[np.float64], stop: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    _, control, end = _controls(start, stop)
    along = (end - control) / np.linalg.norm(end - control)
    aside = np.array([-along[1], along[0]])
    back = end - along * 2.2 * size
    return np.stack([end, back + aside * size, back - aside * size])
