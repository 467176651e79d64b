"""Two conditions compared: what differs, and what of it is beyond chance by subject."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from biot_bd.figure_sheet import DPI, name_columns, name_rows, say_absent, sheet
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.probes.figures._scales import signed_scale
from biot_bd.probes.figures._words import capitalised
from biot_bd.probes.surrogates import SubjectDifference

Cells = Literal["channel-frame", "channel-channel", "channel", "channel-band"]


def difference_figure(
    difference: SubjectDifference,
    layout: TokenLayout,
    *,
    cells: Cells = "channel-frame",
    bands: tuple[str, ...] | None = None,
    conditions: tuple[str, str] = ("seizure", "background"),
    what: str = "attention",
    unit: str = "share of attention",
    level: float = 0.05,
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 1100,
) -> Figure:
    """Draw the mean difference over subjects, cells beyond chance framed, all others
    paler than the colour bar.

    Parameters
    ----------
    difference : SubjectDifference
        Of :func:`biot_bd.probes.subject_difference`.
    layout : TokenLayout
        Of the cells.
    cells : {"channel-frame", "channel-channel", "channel", "channel-band"}
        What the axes of the difference are; channels that look are rows.
    bands : tuple of str, optional
        Names of the frequency bands, for ``"channel-band"``.
    conditions : tuple of str
        The first minus the second.
    what, unit : str
        What differs, and in which unit.
    level : float
        Family-wise level below which a cell is framed.
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
        The difference does not have these axes.

    See Also
    --------
    biot_bd.probes.subject_difference : The statistics.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.models import whole_layout
    >>> from biot_bd.probes import subject_difference
    >>> from biot_bd.probes.figures import difference_figure
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(2, 8, 2)) + [[[5.0, 0.0]], [[0.0, 0.0]]]
    >>> layout = whole_layout(2, 200, 200, ["C3", "C4"])
    >>> figure = difference_figure(subject_difference(a, b), layout, cells="channel")
    >>> figure.get_label()
    'Difference in attention, seizure minus background, 8 subjects: 1 of 2 cells beyond chance...'
    """
    mean, columns, xlabel = _table(difference, layout, cells, bands)
    beyond = np.where(np.isfinite(difference.p), difference.p, 1.0).reshape(mean.shape) <= level
    first, second = conditions
    scale = signed_scale(
        mean, f"blue: less in {first}; orange: more in {first} than in {second} (difference in {unit})"
    )
    notes = [_chance_note(difference, int(beyond.sum()), level)]
    width_in = width_px / DPI
    wide_in = min(width_in, max(3.0, 1.4 + 0.45 * mean.shape[1])) if mean.shape[1] < 12 else width_in
    row_in = float(np.clip(5.5 / len(mean), 0.15, 0.4))
    start = f"Difference in {what}, {first} minus {second}"
    figure = sheet(
        width_px, row_in * len(mean) + 1.5, title or capitalised(start),
        alt=f"{start}, {difference.n_subjects} subjects: {_alt(mean, beyond, layout.ch_names, columns)}",
        caution=caution, notes=notes, footnote=footnote,
    )  # fmt: skip
    axis = figure.subplots()
    colours = scale.colours(mean)
    faded = ~beyond & np.isfinite(mean)
    colours[faded, :3] = 1 - 0.45 * (1 - colours[faded, :3])
    axis.imshow(colours, aspect="auto", interpolation="nearest")
    say_absent(axis, mean)
    for row, column in np.argwhere(beyond):
        axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#111111", linewidth=1.4))
    name_rows(axis, list(range(len(mean))), layout.ch_names, row_in)
    if columns != [""]:
        name_columns(axis, list(range(len(columns))), columns, (wide_in - 1.0) / max(len(columns), 1))
        axis.set_xlabel(xlabel, fontsize=8)
    else:
        axis.set_xticks([])
    if wide_in < width_in:
        axis.set_box_aspect(row_in * len(mean) / (wide_in - 1.0))
        axis.set_anchor("W")
    scale.bar(figure, axis, width_in)
    return figure


def _table(
    difference: SubjectDifference, layout: TokenLayout, cells: Cells, bands: tuple[str, ...] | None
) -> tuple[NDArray[np.float64], list[str], str]:
    n_chans, n_frames = layout.n_chans, layout.n_frames
    shape: tuple[int, ...]
    if cells == "channel-frame":
        known = layout.knows_time
        columns = [f"{s:.3g}" if known else str(k + 1) for k, s in enumerate(layout.frame_start_s)]
        shape, label = (n_chans, n_frames), "start of the moment (s)" if known else "moment"
    elif cells == "channel-channel":
        shape, columns, label = (n_chans, n_chans), list(layout.ch_names), "channel that is looked at (rows look)"
    elif cells == "channel":
        shape, columns, label = (n_chans,), [""], ""
    elif cells == "channel-band" and bands:
        shape, columns, label = (n_chans, len(bands)), list(bands), "frequency band"
    else:
        raise ValueError(
            f"cells must be 'channel-frame', 'channel-channel', 'channel', or 'channel-band' with bands; got {cells!r}"
        )
    if difference.mean.shape != shape:
        raise ValueError(
            f"cells {cells!r} of this layout have the shape {shape}, the difference {difference.mean.shape}"
        )
    return np.asarray(difference.mean, dtype=float).reshape(n_chans, -1), columns, label


def _chance_note(difference: SubjectDifference, n_beyond: int, level: float) -> str:
    n = difference.n_subjects
    if difference.smallest_p > level:
        return (
            f"With {n} subjects no cell can be told from chance: the smallest p that they can give is "
            f"{difference.smallest_p:.2g}."
        )
    flips = f"{'all ' if difference.exact else ''}{difference.n_permutations} surrogates"
    found = f"Framed: {n_beyond} cells" if n_beyond else "No cell is"
    return f"{found} beyond chance at p ≤ {level:g} over all cells together ({n} subjects as units, {flips}); others are pale."


def _alt(mean: NDArray, beyond: NDArray, names: tuple[str, ...], columns: list[str]) -> str:
    if not np.isfinite(mean).any():
        return "nothing is known."
    row, column = np.unravel_index(int(np.nanargmax(np.abs(mean))), mean.shape)
    where = names[row] + (f", {columns[column]}" if columns[column] else "")
    return f"{beyond.sum()} of {np.isfinite(mean).sum()} cells beyond chance; largest at {where} ({mean[row, column]:.3g})."
