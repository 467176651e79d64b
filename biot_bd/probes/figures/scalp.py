"""Importance by channel on the head: derivations as lines between their electrodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from biot_bd.figure_sheet import DPI, bare, sheet
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.figures._places import LINE, Places, draw_head, places_of
from biot_bd.probes.figures._scales import FLAT, Scale, signed_scale
from biot_bd.probes.figures._words import listed, target_of, title_of, window_of
from biot_bd.probes.figures.alt_texts import alt_text
from biot_bd.signals.names import parse_name

LEAST_FOR_MAP = 12
"""Channels below this are drawn as discs alone: a surface between so few is invented."""
LEAST_PERCENT = 10.0


def scalp_figure(
    found: TokenMap,
    *,
    window: int | None = 0,
    target_name: str | None = None,
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 560,
) -> Figure:
    """Draw importance by channel on a head seen from above, one head a frequency band.

    Derivations are lines between their two electrodes; single electrodes are discs, with the
    usual surface between them where there are twelve or more.  Values without a sign are drawn as
    percent above or below the median channel, so that what differs is seen; signed ones as they
    are.  Where all channels are equal within 5 percent, or within the scatter over windows, the
    picture says so.

    Parameters
    ----------
    found : TokenMap
        What a probe gave.
    window : int or None
        Which window; None: the mean of all.
    target_name : str, optional
        The class explained, in words, e.g. ``"seizure"``.
    title, caution, footnote : str, optional
        Words: the title is the probe's own by default; the caution stands in amber under it.
    width_px : int
        Width of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There is no such window.

    See Also
    --------
    traces_figure : By channel and time.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.models import TokenMap, whole_layout
    >>> from biot_bd.probes.figures import scalp_figure
    >>> layout = whole_layout(2, 200, 200, ["FP1-F7", "F7-T7"])
    >>> figure = scalp_figure(TokenMap(np.array([[[1.0], [3.0]]]), layout, probe="mine"))
    >>> figure.get_label()
    'Importance by the probe mine, 2 channels: highest at F7-T7 (1.5 times the average).'
    """
    names = found.layout.ch_names
    places = places_of(names)
    every = found.by_channel()  # (n, [bands,] n_chans)
    every = every if found.bands is not None else every[:, None]
    shown = window_of(every, window).astype(float)
    notes = [places.note]
    if found.signed:
        target = target_of(found, window, target_name)
        words = f"blue: speaks against {target}; orange: speaks for {target} ({found.unit})"
        scale = signed_scale(shown, words)
    else:
        shown = _percent(shown)
        words = f"{found.unit}: percent above (orange) or below (blue) the median channel"
        scale = signed_scale(shown, words, least=LEAST_PERCENT, lowest=100.0)
    notes.append(_flat_note(found, every, shown, window))
    absent = [name for name, column in zip(names, shown.T, strict=True) if not np.isfinite(column).any()]
    notes.append(f"Absent (grey, dashed): {listed(absent)}." if absent else None)
    width_in = width_px / DPI
    columns = max(1, min(len(shown), int(width_in // 1.5)))
    rows = -(-len(shown) // columns)
    head_in = min(width_in / columns, 6.0)
    figure = sheet(
        width_px, rows * head_in * 1.02 + 0.6, title or title_of(found), alt=alt_text(_by_channel(found), window=window),
        caution=caution, notes=[note for note in notes if note], footnote=footnote,
    )  # fmt: skip
    axes = figure.subplots(rows, columns, squeeze=False)
    for number, axis in enumerate(axes.flat):
        bare(axis)
        if number < len(shown):
            _draw_channels(axis, places, shown[number], scale, head_in)
            if found.bands is not None:
                axis.set_title(found.bands[number], fontsize=9)
    scale.bar(figure, list(axes.flat), width_in)
    return figure


def _by_channel(found: TokenMap) -> TokenMap:
    """Return the map of one value a channel, which is what the picture shows."""
    layout = found.layout
    whole = replace(layout, frame_start_s=layout.frame_start_s[:1], frame_stop_s=layout.frame_stop_s[-1:])
    return replace(found, values=found.by_channel()[..., None], layout=whole)


def _percent(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return percent above the median channel, by band."""
    sizes = np.abs(values)
    known = np.isfinite(sizes).any(axis=1)
    middle = np.full(len(sizes), np.nan)
    middle[known] = np.nanmedian(sizes[known], axis=1)
    # A median of 0: most channels have nothing, so the rest is compared with the largest.
    highest = np.nanmax(sizes, axis=1, initial=0.0, where=np.isfinite(sizes))
    unit = np.where(middle > 0, middle, np.where(highest > 0, highest, 1.0))
    return 100 * (sizes - middle[:, None]) / unit[:, None]


def _flat_note(found: TokenMap, every: NDArray[Any], shown: NDArray[np.float64], window: int | None) -> str | None:
    known = shown[np.isfinite(shown)]
    if not known.size:
        return "No channel is present."
    if not found.signed and np.abs(known).max() < 100 * FLAT:
        return f"All channels are within {np.abs(known).max():.2g} % of the median channel: none stands out."
    everywhere = np.isfinite(every).all(axis=(0, 1))
    if window is None and len(every) > 2 and everywhere.any():
        # Each window's deviation from its own median channel, so that loud windows are no scatter.
        own = every[..., everywhere] - np.median(every[..., everywhere], axis=-1, keepdims=True)
        error = own.std(axis=0, ddof=1) / np.sqrt(len(own))
        if (np.abs(own.mean(axis=0)) <= 2 * error).all():
            return f"Over {len(every)} windows no channel differs from the median by more than two standard errors."
    return None


def _draw_channels(axis: Axes, places: Places, values: NDArray[np.float64], scale: Scale, head_in: float) -> None:
    if places.on_head:
        draw_head(axis)
    else:
        axis.add_patch(Circle((0, 0), 1, fill=False, edgecolor=LINE, lw=0.8, linestyle=(0, (4, 4))))
    absent = ~np.isfinite(values)
    lines: NDArray[np.bool_] = np.asarray(np.isfinite(places.ends).all(axis=(1, 2)))
    points = ~lines
    letters = 7.0 if head_in > 3.5 else 5.5
    if (points & places.known & ~absent).sum() >= LEAST_FOR_MAP:
        _draw_surface(axis, places.xy[points & places.known & ~absent], values[points & places.known & ~absent], scale)
    thick = 2.2 * head_in
    # Lines end short of their electrodes, so that those of a chain stay apart.
    segments = places.ends + 0.1 * (places.xy[:, None] - places.ends)
    order = np.argsort(np.abs(np.where(absent, -1, values)), kind="stable")
    drawn = [int(k) for k in order if lines[k] and not absent[k]]
    if drawn:
        outline = LineCollection(list(segments[drawn]), colors="#59636e", linewidths=thick + 1.2, capstyle="round")
        filled = LineCollection(
            list(segments[drawn]), colors=scale.colours(values[drawn]), linewidths=thick, capstyle="round", zorder=3
        )
        filled.set_label("derivations")
        axis.add_collection(outline)
        axis.add_collection(filled)
    missing = np.flatnonzero(lines & absent)
    if len(missing):
        gone = LineCollection(list(segments[missing]), colors="#9aa2ab", linewidths=1.5, linestyles=(0, (3, 2)))
        gone.set_label("absent derivations")
        axis.add_collection(gone)
    if points.any():
        edge = ["#9aa2ab" if gone else "#3a424c" for gone in absent[points]]
        axis.scatter(
            places.xy[points, 0], places.xy[points, 1], c=scale.colours(values[points]), s=(11 * head_in) * (2.5 if points.sum() <= 32 else 1),
            edgecolors=edge, linewidths=0.8, zorder=4, label="channels",
        )  # fmt: skip
    for (x, y), name in _labels(places, lines):
        axis.text(
            x, y, name, fontsize=letters, ha="center", va="center", zorder=5, parse_math=False,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4},
        )  # fmt: skip
    reach = 1.22 if places.on_head else 1.35
    low = min(-reach, float(np.nanmin(places.xy[:, 1])) - 0.25)
    axis.set(xlim=(-reach, reach), ylim=(low, reach))


def _labels(places: Places, lines: NDArray[np.bool_]) -> list[tuple[tuple[float, float], str]]:
    """Return each electrode of a derivation once, and the names of the other channels beside
    them.
    """
    found: dict[str, tuple[float, float]] = {}
    others: list[tuple[tuple[float, float], str]] = []
    for row, name in enumerate(places.ch_names):
        parsed = parse_name(name)
        if lines[row] and parsed is not None:
            for electrode, end in zip((parsed.electrode, str(parsed.reference)), places.ends[row], strict=True):
                found[electrode] = (float(end[0]), float(end[1]))
            continue
        x, y = places.xy[row]
        short = parsed.electrode if parsed is not None and places.known[row] else name
        others.append(((float(x), float(y) - 0.09), short))
    return [(place, name) for name, place in found.items()] + others


def _draw_surface(axis: Axes, xy: NDArray[np.float64], values: NDArray[np.float64], scale: Scale) -> None:
    from mne.viz import plot_topomap

    # Where no electrode is near, nothing is drawn.
    clear = scale.cmap.with_extremes(bad=(0, 0, 0, 0))
    image, _ = plot_topomap(
        values, xy, axes=axis, show=False, sensors=False, contours=0, cmap=clear, cnorm=scale.norm, res=160,
        sphere=(0.0, 0.0, 0.0, 1.0), outlines=None, extrapolate="local",
    )  # fmt: skip
    edge = Circle((0, 0), max(1.0, 1.06 * float(np.hypot(*xy.T).max())), transform=axis.transData)
    image.set_clip_path(edge)
