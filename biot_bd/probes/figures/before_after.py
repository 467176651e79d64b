"""One window explained by two models, such as before and after fine-tuning."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from biot_bd.figure_sheet import DPI, NARROW_PX, name_columns, name_rows, say_absent, sheet
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.figures._scales import Scale, ratio_scale, ratio_to_average, rising_scale, signed_scale
from biot_bd.probes.figures._words import meaning, title_of, window_of
from biot_bd.probes.figures.alt_texts import alt_text


def before_after_figure(
    before: TokenMap,
    after: TokenMap,
    *,
    window: int | None = 0,
    names: tuple[str, str] = ("before fine-tuning", "after fine-tuning"),
    target_name: str | None = None,
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 1100,
) -> Figure:
    """Draw a probe's map of two models on one scale, and how it changed.

    Parameters
    ----------
    before, after : TokenMap
        Of the same probe, windows, channels and frames; :meth:`TokenMap.on` brings one to the
        frames of the other.
    window : int or None
        Which window; None: the mean of all.
    names : tuple of str
        What the two are called.
    target_name : str, optional
        The class explained, in words.
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
        Probes, channels or frames differ, or there is no such window.

    See Also
    --------
    layers_figure : Maps of attention side by side, such as those of two models.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.models import TokenLayout, TokenMap
    >>> from biot_bd.probes.figures import before_after_figure
    >>> layout = TokenLayout(("C3", "C4"), [0.0, 0.5], [1.0, 1.5])
    >>> one, two = (
    ...     TokenMap(np.full((1, 2, 2), k) + np.eye(2), layout, probe="mine")
    ...     for k in (1.0, 2.0)
    ... )
    >>> [axis.get_title() for axis in before_after_figure(one, two).axes[:3]]
    ['before fine-tuning', 'after fine-tuning', 'change']
    """
    first, second = before.without_bands(), after.without_bands()
    layout = first.layout
    if (first.probe, first.signed, first.unit) != (second.probe, second.signed, second.unit):
        raise ValueError(f"the maps are of different probes: {first.probe} and {second.probe}")
    if layout.ch_names != second.layout.ch_names or layout.n_frames != second.layout.n_frames:
        raise ValueError("the maps have other channels or frames; bring one to the other's by TokenMap.on(layout)")
    pair = [window_of(one.values, window).astype(float) for one in (first, second)]
    words = meaning(first, window, target_name, "each panel")
    if first.signed:
        scale, change = signed_scale(np.stack(pair), words), pair[1] - pair[0]
        moved = signed_scale(change, f"{names[1]} minus {names[0]} ({first.unit})")
    else:
        pair = [ratio_to_average(one) for one in pair]
        scale = rising_scale(np.stack(pair), words)
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.where((pair[0] == 0) & (pair[1] == 0), 1.0, pair[1] / pair[0])
        change[np.isinf(change)] = np.nan
        moved = ratio_scale(change, f"{names[1]} to {names[0]}: times as much (orange: more, blue: less)")
    width_in, narrow = width_px / DPI, width_px < NARROW_PX
    row_in = float(np.clip(4.5 / layout.n_chans, 0.13, 0.35))
    body_in = (row_in * layout.n_chans + 0.5) * (3 if narrow else 1) + (1.9 if narrow else 1.2)
    figure = sheet(
        width_px, body_in, title or f"{title_of(first)}: {names[0]} and {names[1]}",
        alt=f"{names[0]}: {alt_text(first, window=window)} {names[1]}: {alt_text(second, window=window)}",
        caution=caution, notes=[_change_note(pair, names)], footnote=footnote,
    )  # fmt: skip
    axes = figure.subplots(*((3, 1) if narrow else (1, 3)), squeeze=False).ravel()
    panel_in = width_in - 0.8 if narrow else (width_in - 0.8) / 3
    for number, (axis, name, cells, colours) in enumerate(
        zip(axes, (*names, "change"), (*pair, change), (scale, scale, moved), strict=True)
    ):
        _draw(axis, cells, colours, layout, row_in, panel_in, narrow or number == 0)
        axis.set_title(name, fontsize=9)
    scale.bar(figure, list(axes[:2]), width_in if narrow else 2 * panel_in)
    moved.bar(figure, axes[2], panel_in)
    return figure


def _draw(
    axis: Axes, cells: NDArray, scale: Scale, layout: TokenLayout, row_in: float, panel_in: float, named: bool
) -> None:
    axis.imshow(scale.colours(cells), aspect="auto", interpolation="nearest")
    say_absent(axis, cells)
    if named:
        name_rows(axis, list(range(layout.n_chans)), layout.ch_names, row_in, 7)
    else:
        axis.set_yticks([])
    if layout.n_frames == 1:
        axis.set_xticks([])
        return
    known = layout.knows_time
    starts = [f"{start:.3g}" if known else str(k + 1) for k, start in enumerate(layout.frame_start_s)]
    name_columns(axis, list(range(layout.n_frames)), starts, panel_in / layout.n_frames, 7)
    axis.set_xlabel("start of the moment (s)" if known else "moment", fontsize=7)


def _change_note(pair: list[NDArray[Any]], names: tuple[str, str]) -> str:
    from scipy.stats import spearmanr

    both = np.isfinite(pair[0]) & np.isfinite(pair[1])
    first, second = pair[0][both], pair[1][both]
    if both.sum() < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return ""
    return f"Rank correlation of the cells, {names[0]} with {names[1]}: {spearmanr(first, second).statistic:.2f}."
