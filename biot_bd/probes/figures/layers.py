"""Attention maps of early, middle and late layers, side by side on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from biot_bd.figure_sheet import DPI, NARROW_PX, name_columns, name_rows, sheet
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.probes.figures._scales import FLAT, ratio_scale, spread
from biot_bd.probes.figures._words import listed

TITLE = "Attention flow, layer by layer: what looks at what"


def layers_figure(
    maps: Mapping[str, ArrayLike],
    *,
    layout: TokenLayout | None = None,
    ch_names: Sequence[str] | None = None,
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 1100,
) -> Figure:
    """Draw attention maps as times an even share, all on one logarithmic scale.

    Parameters
    ----------
    maps : mapping of str to array-like, shape (n, n)
        By title, such as ``"early"``: rows attend to columns and sum to 1; of tokens or of
        channels; NaN where absent, or columns of 0, as recorded maps have them.
    layout : TokenLayout, optional
        Of the tokens, where maps are of tokens: channels are named and set apart.
    ch_names : sequence of str, optional
        Of the channels, where maps are of channels.
    title, caution, footnote : str, optional
        Words, e.g. module paths in the footnote; the caution stands in amber under the title.
    width_px : int
        Width of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There is no map, a map is not square, or fits neither the layout nor the names.

    See Also
    --------
    circle_figure : One matrix between channels as links.

    Examples
    --------
    >>> from biot_bd.probes.figures import layers_figure
    >>> maps = {"early": [[0.5, 0.5], [0.4, 0.6]], "late": [[0.1, 0.9], [0.2, 0.8]]}
    >>> figure = layers_figure(maps, ch_names=["C3", "C4"])
    >>> [axis.get_title() for axis in figure.axes[:2]]
    ['early', 'late']
    """
    if not maps:
        raise ValueError("layers_figure needs one map or more, found none")
    ratios = {name: _ratio(name, matrix, layout, ch_names) for name, matrix in maps.items()}
    every = np.concatenate([ratio.ravel() for ratio in ratios.values()])
    scale = ratio_scale(every, "times an even share of attention (blue: less, orange: more)")
    notes = ["Each row looks at the columns; all panels have one colour scale."]
    if spread(every) < FLAT:
        notes.append(f"All are within {100 * spread(every):.2g} % of an even share: nothing is preferred.")
    absent = _absent(ratios, layout, ch_names)
    if absent:
        notes.append(f"Grey: absent ({listed(absent)}).")
    narrow = width_px < NARROW_PX
    width_in = width_px / DPI
    columns = 1 if narrow else min(3, len(ratios))
    rows = -(-len(ratios) // columns)
    panel_in = min(width_in / columns - 0.3, 5.0)
    body_in = rows * (panel_in + (0.1 if narrow else 0.5)) + 0.6
    figure = sheet(
        width_px, body_in, title or TITLE, alt=_alt(ratios, layout, ch_names), caution=caution, notes=notes,
        footnote=footnote,
    )  # fmt: skip
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, axis in enumerate(axes):
        if number >= len(ratios):
            axis.set_axis_off()
            continue
        name, ratio = list(ratios.items())[number]
        axis.imshow(scale.colours(ratio), interpolation="nearest" if len(ratio) <= 64 else "auto")
        axis.set_title(name, fontsize=10)
        _name_cells(axis, len(ratio), layout, ch_names, (panel_in - 0.7), number % columns == 0)
    scale.bar(figure, list(axes), width_in)
    return figure


def _absent(ratios: Mapping[str, NDArray], layout: TokenLayout | None, ch_names: Sequence[str] | None) -> list[str]:
    """Return the channels that some map does not know."""
    found: dict[str, None] = {}
    for ratio in ratios.values():
        for number in np.flatnonzero(~np.isfinite(ratio).any(axis=1)):
            if layout is not None and len(ratio) == layout.n_tokens and number >= layout.n_special:
                found[layout.ch_names[layout.channel[number]]] = None
            elif ch_names is not None and len(ratio) == len(ch_names):
                found[str(ch_names[int(number)])] = None
    return list(found)


def _ratio(
    name: str, matrix: ArrayLike, layout: TokenLayout | None, ch_names: Sequence[str] | None
) -> NDArray[np.float64]:
    values = np.asarray(matrix, dtype=float)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"map {name!r} has shape {values.shape}; expected a square one, mean over heads and windows")
    if layout is not None and len(values) != layout.n_tokens and (ch_names is None or len(values) != len(ch_names)):
        raise ValueError(f"map {name!r} has {len(values)} rows, its layout {layout.n_tokens} tokens")
    if layout is None and ch_names is not None and len(values) != len(ch_names):
        raise ValueError(f"map {name!r} has {len(values)} rows, but there are {len(ch_names)} channels")
    # A recorded map of a window with an absent channel holds 0 where nothing may look.
    hidden = np.flatnonzero((values == 0).all(axis=0))
    if len(hidden):
        values = values.copy()
        values[hidden] = values[:, hidden] = np.nan
    return values * np.isfinite(values).sum(axis=1, keepdims=True)


def _name_cells(
    axis: Axes, n: int, layout: TokenLayout | None, ch_names: Sequence[str] | None, side_in: float, first: bool
) -> None:
    if layout is not None and n == layout.n_tokens and layout.order == "channel":
        size = layout.n_frames
        edges = layout.n_special + size * np.arange(layout.n_chans + 1)
        at = [*range(layout.n_special), *(edges[:-1] + (size - 1) / 2)]
        names = [*layout.special, *layout.ch_names]
        for edge in edges[:-1] if size > 1 else ():
            axis.axhline(edge - 0.5, color="white", linewidth=0.4)
            axis.axvline(edge - 0.5, color="white", linewidth=0.4)
        apart = side_in / max(len(names), 1)
    elif layout is not None and n == layout.n_tokens:
        size = layout.n_chans
        at = [*range(layout.n_special), *(layout.n_special + size * np.arange(layout.n_frames) + (size - 1) / 2)]
        starts = [f"{s:.3g} s" for s in layout.frame_start_s] if layout.knows_time else map(str, range(layout.n_frames))
        names = [*layout.special, *starts]
        apart = side_in / max(len(names), 1)
    elif ch_names is not None:
        at, names, apart = list(range(n)), list(ch_names), side_in / n
    else:
        axis.set(xlabel="token that is looked at", ylabel="token that looks" if first else "")
        axis.tick_params(labelsize=8)
        return
    name_columns(axis, at, names, apart, 7)
    if first:
        name_rows(axis, at, names, apart, 7)
    else:
        axis.set_yticks([])


def _alt(ratios: Mapping[str, NDArray], layout: TokenLayout | None, ch_names: Sequence[str] | None) -> str:
    parts = []
    for name, ratio in ratios.items():
        if not np.isfinite(ratio).any():
            parts.append(f"{name}: nothing is known")
            continue
        row, column = np.unravel_index(int(np.nanargmax(ratio)), ratio.shape)
        where = f"{_token(int(row), layout, ch_names)} to {_token(int(column), layout, ch_names)}"
        parts.append(f"{name}: most from {where} ({ratio[row, column]:.3g} times an even share)")
    return f"Attention maps of {len(ratios)} layers. {'; '.join(parts)}."


def _token(number: int, layout: TokenLayout | None, ch_names: Sequence[str] | None) -> str:
    if ch_names is not None and (layout is None or len(ch_names) != layout.n_tokens):
        return str(ch_names[number])
    if layout is None:
        return f"token {number}"
    if number < layout.n_special:
        return layout.special[number]
    channel, frame = layout.ch_names[layout.channel[number]], int(layout.frame[number])
    return (
        f"{channel} at {layout.frame_start_s[frame]:.3g} s" if layout.knows_time else f"{channel}, moment {frame + 1}"
    )
