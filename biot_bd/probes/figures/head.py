"""The strongest links between channels on a head, from above and from the side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from biot_bd.probes.figures._links import Links
from biot_bd.probes.figures._places import Places, places_of
from biot_bd.probes.figures._scales import Scale, ratio_scale
from biot_bd.probes.figures._sheet import DPI, NARROW_PX, sheet
from biot_bd.probes.figures.alt_texts import alt_text_of_links

TITLE = "Attention flow between channels: the strongest links on the head"
VIEWS = {"from above": (90.0, -90.0), "from the left": (12.0, 180.0), "from the right": (12.0, 0.0)}


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
    panel_in = min(panel_in, 4.2)
    body_in = panel_in * (len(VIEWS) if narrow else 1) + 0.7
    figure = sheet(
        width_px, body_in, title or TITLE, alt=alt_text_of_links(matrix, links.ch_names), caution=caution,
        notes=[said(links, chosen), places.note or "", links.flat_note() or ""], footnote=footnote,
    )  # fmt: skip
    grid = (len(VIEWS), 1) if narrow else (1, len(VIEWS))
    axes = figure.subplots(*grid, squeeze=False, subplot_kw={"projection": "3d"}).ravel()
    for axis, (view, (elevation, azimuth)) in zip(axes, VIEWS.items(), strict=True):
        _draw_view(axis, links, places, xyz, chosen, scale, np.radians([elevation, azimuth]))
        axis.view_init(elevation, azimuth)
        axis.set_title(view, fontsize=9, y=0.97)
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
    up = middle / max(float(np.linalg.norm(middle)), 1e-6)
    along = (stop - start) / max(apart, 1e-6)
    control = middle + up * (0.25 + 0.55 * apart) + np.cross(up, along) * 0.16 * apart
    share = np.linspace(0, 1, steps)[:, None]
    return np.asarray((1 - share) ** 2 * start + 2 * share * (1 - share) * control + share**2 * stop)


def _draw_view(
    axis: Any, links: Links, places: Places, xyz: NDArray, chosen: Sequence, scale: Scale, angles: NDArray
) -> None:
    elevation, azimuth = angles
    to_eye = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    axis.set_axis_off()
    axis.set(xlim=(-0.85, 0.85), ylim=(-0.85, 0.85), zlim=(-0.55, 1.15))
    axis.set_box_aspect((1, 1, 1), zoom=1.45)
    if places.on_head:
        _draw_outline(axis, to_eye)
    shown = {k for i, j, _ in chosen for k in (i, j)}
    here = links.present
    axis.scatter(*xyz[here].T, s=16, c="#3a424c", depthshade=False)
    if (~here).any():
        axis.scatter(*xyz[~here].T, s=16, facecolors="none", edgecolors="#9aa2ab", depthshade=False)
    for k, name in enumerate(links.ch_names):
        # Names on the far side would be read as being on this one.
        if (k in shown or len(xyz) <= 24) and xyz[k] @ to_eye > -0.25:
            text = name if here[k] else f"{name} (absent)"
            axis.text(*(xyz[k] * 1.08), text, fontsize=6.5, ha="center", va="bottom", parse_math=False, zorder=20)
    for i, j, ratio in reversed(chosen):
        way = arc(xyz[i], xyz[j])
        colour = scale.colours([ratio])[0]
        axis.plot(*way[:-4].T, color=colour, linewidth=1.8, label=f"{links.ch_names[i]} to {links.ch_names[j]}")
        tip = way[-1] - way[-6]
        axis.quiver(*way[-6], *tip, color=colour, linewidth=1.8, arrow_length_ratio=0.75)


def _draw_outline(axis: Any, to_eye: NDArray[np.float64]) -> None:
    """Draw the head: the circle that is seen, the line of its greatest width, and the nose."""
    turn = np.linspace(0, 2 * np.pi, 120)
    beside = np.cross(to_eye, [0.0, 0.0, 1.0] if abs(to_eye[2]) < 0.9 else [0.0, 1.0, 0.0])
    beside /= np.linalg.norm(beside)
    above = np.cross(to_eye, beside)
    ring = np.cos(turn)[:, None] * beside + np.sin(turn)[:, None] * above
    low = ring[:, 2] > -0.55
    axis.plot(*np.where(low[:, None], ring, np.nan).T, color="#8b949e", linewidth=1.2)
    axis.plot(np.cos(turn), np.sin(turn), np.zeros_like(turn), color="#c9d0d7", linewidth=0.8)
    axis.plot([-0.12, 0, 0.12], [0.99, 1.16, 0.99], [-0.05] * 3, color="#8b949e", linewidth=1.2)
