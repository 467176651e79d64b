"""The strongest links between channels on a head, from above and from the side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import ArrayLike, NDArray

from biot_bd.figure_sheet import DPI, NARROW_PX, bare, sheet
from biot_bd.probes.figures._links import Links
from biot_bd.probes.figures._places import LINE, Places, places_of
from biot_bd.probes.figures._scales import Scale, ratio_scale
from biot_bd.probes.figures.alt_texts import alt_text_of_links

TITLE = "Attention flow between channels: the strongest links on the head"
VIEWS = {"from above": (0.0, 90.0), "from the left": (90.0, 12.0), "from the right": (-90.0, 12.0)}
"""Turns about the vertical axis and upwards, in degrees."""
ARROW = 0.085
FAR = -0.12
"""What lies farther from the eye, in radii of the head, is behind it."""


def head_figure(
    matrix: ArrayLike,
    ch_names: Sequence[str],
    *,
    strongest: int = 20,
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 1100,
) -> Figure:
    """Draw the strongest links between channels as arrows on a head, seen from three sides.

    Parameters
    ----------
    matrix : array-like, shape (n_chans, n_chans)
        Rows attend to columns and sum to 1; absent channels NaN.
    ch_names : sequence of str
        Names of the channels.
    strongest : int
        How many links are drawn; the picture says out of how many.
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
        The matrix is not one of attention, does not fit the names, or ``strongest`` is below 1.

    See Also
    --------
    head_html : The same to be turned by hand.
    circle_figure : All links.

    Examples
    --------
    >>> from biot_bd.probes.figures import head_figure
    >>> figure = head_figure([[0.2, 0.8], [0.5, 0.5]], ["C3", "C4"], strongest=1)
    >>> [axis.get_title() for axis in figure.axes[:3]]
    ['from above', 'from the left', 'from the right']
    """
    links = Links.of(matrix, ch_names)
    places = places_of(links.ch_names)
    xyz = on_surface(places)
    chosen = links.strongest(strongest)
    words = "times an even share of attention (blue: below, orange: above)"
    scale = ratio_scale([ratio for *_, ratio in chosen], words, depth="lines")
    width_in = width_px / DPI
    narrow = width_px < NARROW_PX
    # A ring has no sides.
    views = VIEWS if places.on_head else {"schematic ring": VIEWS["from above"]}
    panel_in = min(width_in if narrow else width_in / len(views), 4.4)
    body_in = panel_in * (len(views) if narrow else 1) + 0.7
    figure = sheet(
        width_px, body_in, title or TITLE, alt=alt_text_of_links(matrix, links.ch_names), caution=caution,
        notes=[said(links, chosen), places.note or "", links.flat_note() or ""], footnote=footnote,
    )  # fmt: skip
    grid = (len(views), 1) if narrow else (1, len(views))
    axes = figure.subplots(*grid, squeeze=False).ravel()
    for axis, (name, view) in zip(axes, views.items(), strict=True):
        _draw_view(axis, links, places, xyz, chosen, scale, view)
        axis.set_title(name, fontsize=9)
    scale.bar(figure, list(axes), width_in)
    return figure


def said(links: Links, chosen: Sequence[tuple[int, int, float]]) -> str:
    """Say how many links are shown, and of what size."""
    n = int(links.present.sum())
    if not chosen:
        return "No two channels are present, so there is no link."
    low, high = chosen[-1][2], chosen[0][2]
    return (
        f"The {len(chosen)} strongest of {n * (n - 1)} links, {low:.3g} to {high:.3g} times an even share; an arrow leads "
        "from the channel that looks to the one that it looks at."
    )


def on_surface(places: Places) -> NDArray[np.float64]:
    """Return a place on the sphere for each channel; unknown ones stand on a ring around it."""
    if not places.on_head:
        return np.c_[places.xy, np.zeros(len(places.xy))]
    xyz = places.xyz.copy()
    lost = np.flatnonzero(~places.known)
    xyz[lost] = np.c_[places.xy[lost], np.full(len(lost), -0.2)]
    return xyz


def arc(start: NDArray[np.float64], stop: NDArray[np.float64], steps: int = 60) -> NDArray[np.float64]:
    """Return points of an arc above the surface, higher for farther channels, bent to its left so
    that the way back is another one.
    """
    apart = float(np.linalg.norm(stop - start))
    middle = (start + stop) / 2
    up = middle + [0, 0, 0.35]  # of opposite channels the middle is that of the head
    up /= np.linalg.norm(up)
    along = (stop - start) / max(apart, 1e-6)
    control = middle + up * (0.2 + 0.5 * apart) + np.cross(up, along) * 0.16 * apart
    share = np.linspace(0, 1, steps)[:, None]
    way = (1 - share) ** 2 * start + 2 * share * (1 - share) * control + share**2 * stop
    # No arc runs through the head.
    far = np.linalg.norm(way, axis=1, keepdims=True)
    return np.asarray(way / far * np.maximum(far, np.where((share > 0) & (share < 1), 1.0, far)))


def turned(points: NDArray[np.float64], yaw_deg: float, pitch_deg: float) -> NDArray[np.float64]:
    """Return points (..., 3) as seen: x to the right, y up, z towards the eye.

    A pitch of 90 looks from above, 0 from the side; with a yaw of 0 the nose points up, or away.
    """
    yaw, pitch = np.radians([yaw_deg, pitch_deg])
    about = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.sin(pitch), np.cos(pitch)], [0, -np.cos(pitch), np.sin(pitch)]])
    return np.asarray(points @ (tilt @ about).T)


def in_front(seen: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which of the points (n, 3), as :func:`turned` gives them, no head hides."""
    return np.asarray((seen[:, 2] > FAR) | (np.hypot(seen[:, 0], seen[:, 1]) > 0.97))


def outlines() -> list[NDArray[np.float64]]:
    """Return the lines of a head: its greatest width, and the nose."""
    turn = np.linspace(0, 2 * np.pi, 60)
    nose = np.array([[-0.12, 0.99, -0.05], [0.0, 1.16, -0.05], [0.12, 0.99, -0.05]])
    return [np.c_[np.cos(turn), np.sin(turn), np.zeros_like(turn)], nose]


def _draw_view(
    axis: Axes, links: Links, places: Places, xyz: NDArray, chosen: Sequence, scale: Scale, view: tuple[float, float]
) -> None:
    bare(axis)
    axis.set(xlim=(-1.42, 1.42), ylim=(-1.22, 1.45))
    if places.on_head:
        # What lies behind the head shows through it.
        axis.add_patch(Circle((0, 0), 1, facecolor=(1, 1, 1, 0.7), edgecolor=LINE, lw=1.2, zorder=2))
        for line in outlines():
            axis.plot(*turned(line, *view)[:, :2].T, color="#b9c1c9" if len(line) > 3 else LINE, lw=0.9, zorder=2)
    at = turned(xyz, *view)
    seen = in_front(at) if places.on_head else np.ones(len(at), dtype=bool)
    here = links.present
    for chosen_ones, face, edge in ((here, "#3a424c", "#3a424c"), (~here, "none", "#9aa2ab")):
        axis.scatter(
            at[chosen_ones & seen, 0], at[chosen_ones & seen, 1], s=18, facecolors=face, edgecolors=edge, zorder=4
        )
        axis.scatter(
            at[chosen_ones & ~seen, 0],
            at[chosen_ones & ~seen, 1],
            s=10,
            facecolors=face,
            edgecolors=edge,
            zorder=1,
            alpha=0.4,
        )
    for i, j, ratio in reversed(chosen):
        way = turned(arc(xyz[i], xyz[j]), *view)
        colour, before = scale.colours([ratio])[0], in_front(way) | (not places.on_head)
        # The line ends where the arrowhead begins.
        line = way[:, :2][np.hypot(*(way[:, :2] - way[-1, :2]).T) > ARROW]
        look = {"color": colour, "lw": 1.7, "solid_capstyle": "butt"}
        axis.plot(*line.T, zorder=1, label=f"{links.ch_names[i]} to {links.ch_names[j]}", **look)
        axis.plot(*np.where(before[: len(line), None], line, np.nan).T, zorder=3, **look)
        tip = _arrowhead(line[-1] if len(line) else way[0, :2], way[-1, :2])
        axis.add_patch(Polygon(tip, color=colour, zorder=3 if before[-1] else 1))
    shown = {k for i, j, _ in chosen for k in (i, j)}
    # Names on the far side would be read as being on this one.
    named = [k for k in range(len(xyz)) if seen[k] and (k in shown or len(xyz) <= 24)]
    _name_places(axis, {k: links.ch_names[k] if here[k] else f"{links.ch_names[k]}\nabsent" for k in named}, at[:, :2])


def _name_places(axis: Axes, names: dict[int, str], at: NDArray[np.float64]) -> None:
    """Name channels at their outer side, farther out where another name lies already."""
    taken: list[tuple[float, float, float]] = []
    for k, name in sorted(names.items(), key=lambda one: -float(np.hypot(*at[one[0]]))):
        out = at[k] / max(float(np.hypot(*at[k])), 1e-6)
        across = "left" if out[0] > 0.4 else "right" if out[0] < -0.4 else "center"
        wide = 0.05 * max(map(len, name.split("\n")))
        shift = {"left": wide / 2, "right": -wide / 2, "center": 0.0}[across]
        for step in range(4):
            x, y = at[k] + (0.06 + 0.1 * step) * out
            if all(abs(x + shift - u) > (wide + w) / 2 or abs(y - v) > 0.09 for u, v, w in taken):
                break
        taken.append((float(x + shift), float(y), wide))
        axis.text(
            x, y, name, fontsize=6.5, parse_math=False, zorder=5, ha=across, va="center",
            path_effects=[Stroke(linewidth=2, foreground="white"), Normal()],
        )  # fmt: skip


def _arrowhead(before: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    along = (end - before) / max(float(np.hypot(*(end - before))), 1e-6)
    aside = np.array([-along[1], along[0]])
    back = end - along * ARROW
    return np.stack([end, back + aside * ARROW / 2, back - aside * ARROW / 2])
