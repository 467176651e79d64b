"""The strongest links between channels on a head, from above and from the side."""

from __future__ import annotations

from collections.abc import Sequence
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import ArrayLike, NDArray

from biot_bd.probes.figures._links import Links
from biot_bd.probes.figures._places import LINE, Places, places_of
from biot_bd.probes.figures._scales import Scale, ratio_scale
from biot_bd.probes.figures._sheet import DPI, NARROW_PX, bare, sheet
from biot_bd.probes.figures.alt_texts import alt_text_of_links

TITLE = "Attention flow between channels: the strongest links on the head"
VIEWS = {"from above": (0.0, 90.0), "from the left": (90.0, 12.0), "from the right": (-90.0, 12.0)}
"""Turns about the vertical axis and upwards, in degrees."""
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
    scale = ratio_scale([ratio for *_, ratio in chosen] or [1.0], "times an even share of attention (blue: below, orange: above)")
    width_in = width_px / DPI
    narrow = width_px < NARROW_PX
    panel_in = width_in if narrow else width_in / len(VIEWS)
    panel_in = min(panel_in, 4.4)
    body_in = panel_in * (len(VIEWS) if narrow else 1) + 0.7
    figure = sheet(
        width_px, body_in, title or TITLE, alt=alt_text_of_links(matrix, links.ch_names), caution=caution,
        notes=[said(links, chosen), places.note or "", links.flat_note() or ""], footnote=footnote,
    )  # fmt: skip
    grid = (len(VIEWS), 1) if narrow else (1, len(VIEWS))
    axes = figure.subplots(*grid, squeeze=False).ravel()
    for axis, (name, view) in zip(axes, VIEWS.items(), strict=True):
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


def arc(start: NDArray[np.float64], stop: NDArray[np.float64], steps: int = 24) -> NDArray[np.float64]:
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
    return np.asarray((1 - share) ** 2 * start + 2 * share * (1 - share) * control + share**2 * stop)


def turned(points: NDArray[np.float64], yaw_deg: float, pitch_deg: float) -> NDArray[np.float64]:
    """Return points (..., 3) as seen: x to the right, y up, z towards the eye.

    A pitch of 90 looks from above, 0 from the side; with a yaw of 0 the nose points up, or away.
    """
    yaw, pitch = np.radians([yaw_deg, pitch_deg])
    about = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.sin(pitch), np.cos(pitch)], [0, -np.cos(pitch), np.sin(pitch)]])
    return np.asarray(points @ (tilt @ about).T)


def outlines() -> list[NDArray[np.float64]]:
    """Return the lines of a head: its greatest width, and the nose."""
    turn = np.linspace(0, 2 * np.pi, 60)
    nose = np.array([[-0.12, 0.99, -0.05], [0.0, 1.16, -0.05], [0.12, 0.99, -0.05]])
    return [np.c_[np.cos(turn), np.sin(turn), np.zeros_like(turn)], nose]


def _draw_view(
    axis: Axes, links: Links, places: Places, xyz: NDArray, chosen: Sequence, scale: Scale, view: tuple[float, float]
) -> None:
    bare(axis)
    axis.set(xlim=(-1.42, 1.42), ylim=(-1.3, 1.42))
    if places.on_head:
        # What lies behind the head shows through it.
        axis.add_patch(Circle((0, 0), 1, facecolor=(1, 1, 1, 0.7), edgecolor=LINE, lw=1.2, zorder=2))
        for line in outlines():
            axis.plot(*turned(line, *view)[:, :2].T, color="#b9c1c9" if len(line) > 3 else LINE, lw=0.9, zorder=2)
    at = turned(xyz, *view)
    seen = at[:, 2] > FAR if places.on_head else np.ones(len(at), dtype=bool)
    here = links.present
    for chosen_ones, face, edge in ((here, "#3a424c", "#3a424c"), (~here, "none", "#9aa2ab")):
        axis.scatter(*at[chosen_ones & seen, :2].T, s=18, facecolors=face, edgecolors=edge, zorder=4)
        axis.scatter(*at[chosen_ones & ~seen, :2].T, s=10, facecolors=face, edgecolors=edge, zorder=1, alpha=0.4)
    for i, j, ratio in reversed(chosen):
        way = turned(arc(xyz[i], xyz[j]), *view)
        before = way[len(way) // 2, 2] > FAR or not places.on_head
        look = {"color": scale.colours([ratio])[0], "zorder": 3 if before else 1}
        axis.plot(*way[:-2, :2].T, lw=1.7, solid_capstyle="butt", label=f"{links.ch_names[i]} to {links.ch_names[j]}", **look)
        axis.add_patch(Polygon(_arrowhead(way[-4, :2], way[-1, :2]), **look))
    shown = {k for i, j, _ in chosen for k in (i, j)}
    for k, name in enumerate(links.ch_names):
        # Names on the far side would be read as being on this one.
        if seen[k] and (k in shown or len(xyz) <= 24):
            out = at[k, :2] / max(float(np.hypot(*at[k, :2])), 1e-6)
            axis.text(
                *(at[k, :2] + 0.06 * out), name if here[k] else f"{name}\nabsent", fontsize=6.5, parse_math=False, zorder=5,
                ha="left" if out[0] > 0.4 else "right" if out[0] < -0.4 else "center",
                va="bottom" if out[1] > 0.4 else "top" if out[1] < -0.4 else "center",
                path_effects=[Stroke(linewidth=2, foreground="white"), Normal()],
            )  # fmt: skip


def _arrowhead(before: NDArray[np.float64], end: NDArray[np.float64], size: float = 0.038) -> NDArray[np.float64]:
    along = (end - before) / max(float(np.hypot(*(end - before))), 1e-6)
    aside = np.array([-along[1], along[0]])
    back = end - along * 2.2 * size
    return np.stack([end, back + aside * size, back - aside * size])
