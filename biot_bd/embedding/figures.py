"""Pictures of embeddings: the map of all windows, and a window beside its nearest ones.

Each function returns a :class:`matplotlib.figure.Figure` made without pyplot, as wide as asked,
whose label (``figure.get_label()``) says in words what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from biot_bd.figure_sheet import NARROW_PX, name_rows, sheet
from biot_bd.plots import GREY, PALETTE, SEIZURE, TRACE, channel_distance_uv

MARKERS = "osD^vP"
MOST_NAMES = 12


def map_figure(
    places: ArrayLike,
    names: ArrayLike,
    *,
    title: str,
    said: str = "",
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 620,
) -> Figure:
    """Draw windows as points, coloured and shaped by a name.

    Parameters
    ----------
    places : array-like, shape (n, 2)
        Of :func:`biot_bd.embedding.project`.
    names : array-like, shape (n,)
        Subject or class of each window; the most frequent twelve are told apart.
    title : str
        What is shown.
    said : str
        Numbers that go with the picture, for those who cannot see it, too.
    caution, footnote : str, optional
        Words; the caution stands in amber under the title.
    width_px : int
        Width of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Not one name a point.

    See Also
    --------
    project : Finds the places.
    cluster_facts : Numbers, which a map does not give.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.embedding import map_figure
    >>> figure = map_figure(np.eye(2), ["a", "b"], title="By subject")
    >>> figure.get_label()
    'Map of 2 windows: 1 of a, 1 of b.'
    """
    xy, of = np.asarray(places, dtype=float), np.asarray(names).astype(str)
    if xy.shape != (len(of), 2):
        raise ValueError(f"expected one place (x, y) and one name a window, found {xy.shape} and {of.shape}")
    found, counts = np.unique(of, return_counts=True)
    by_size = np.argsort(-counts, kind="stable")
    shown = sorted(by_size[:MOST_NAMES].tolist())
    listed = ", ".join(f"{counts[i]} of {found[i]}" for i in shown)
    rest = len(found) - len(shown)
    alt = f"Map of {len(of)} windows: {listed}{f', and of {rest} more' if rest else ''}.{f' {said}' if said else ''}"
    narrow = width_px < NARROW_PX
    body_in = width_px / 100 * (1.0 if narrow else 0.72) + 0.18 * (len(shown) + 1 if narrow else 0)
    notes = [said] if said else []
    figure = sheet(width_px, body_in, title, alt=alt, caution=caution, notes=notes, footnote=footnote)
    axis = figure.subplots()
    size = float(np.clip(2000 / max(len(of), 1), 3, 30))
    if rest:
        others = ~np.isin(of, found[shown])
        axis.scatter(xy[others, 0], xy[others, 1], s=size, color=GREY, alpha=0.4, linewidths=0, label=f"{rest} more")
    for number, i in enumerate(shown):
        own, colour, marker = xy[of == found[i]], PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        label = f"{found[i]} ({counts[i]})"
        axis.scatter(own[:, 0], own[:, 1], s=size, alpha=0.7, linewidths=0, label=label, color=colour, marker=marker)
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_color(GREY)
    where = (
        {"loc": "upper center", "bbox_to_anchor": (0.5, -0.01), "ncols": 1}
        if narrow
        else {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
    )
    legend = axis.legend(fontsize=8, frameon=False, borderaxespad=0, markerscale=1.5, **where)  # type: ignore[arg-type]
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def windows_figure(
    signals_uv: Sequence[NDArray[np.float32]],
    names: Sequence[str],
    ch_names: Sequence[str],
    sfreq: float,
    *,
    title: str,
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 1100,
) -> Figure:
    """Draw windows side by side, on a phone one below the other.

    Parameters
    ----------
    signals_uv : sequence of ndarray, shape (n_chans, n_times)
        Microvolts; NaN where a channel is absent.  The first is the one that the others are like.
    names : sequence of str
        Of the windows.
    ch_names : sequence of str
        Of the channels.
    sfreq : float
        In Hz.
    title : str
        What is shown.
    caution, footnote : str, optional
        Words.
    width_px : int
        Width of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Names do not fit.

    See Also
    --------
    nearest_windows : Finds windows that are alike.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.embedding import windows_figure
    >>> x = np.zeros((2, 100), np.float32)
    >>> figure = windows_figure(
    ...     [x, x], ["mine", "its nearest"], ["C3", "C4"], 100, title="Windows"
    ... )
    >>> [axis.get_title() for axis in figure.axes]
    ['mine', 'its nearest']
    """
    if len(signals_uv) != len(names) or any(len(one) != len(ch_names) for one in signals_uv):
        raise ValueError(f"{len(signals_uv)} windows and {len(names)} names, {len(ch_names)} names of channels")
    narrow = width_px < NARROW_PX
    n_chans, n = len(ch_names), len(signals_uv)
    row_in = float(np.clip(4.5 / n_chans, 0.16, 0.5))
    body_in = (row_in * (n_chans + 1) + 0.45) * (n if narrow else 1)
    distance_uv = max(channel_distance_uv(one) for one in signals_uv)
    note = f"Negative is up; channels are {distance_uv:.3g} µV apart in all windows."
    alt = f"{n_chans} channels of EEG of {n} windows: {'; '.join(names)}. {note}"
    figure = sheet(width_px, body_in, title, alt=alt, caution=caution, notes=[note], footnote=footnote)
    shape = (n, 1) if narrow else (1, n)
    axes = figure.subplots(*shape, squeeze=False, sharey=True, sharex=True).ravel()
    for number, (axis, signal, name) in enumerate(zip(axes, signals_uv, names, strict=True)):
        times_s = np.arange(signal.shape[1]) / sfreq
        for row, trace in enumerate(signal):
            axis.plot(times_s, row + np.clip(trace / distance_uv, -1.2, 1.2), color=TRACE, linewidth=0.5)
        axis.set_xlim(0, signal.shape[1] / sfreq)
        axis.set_ylim(n_chans - 0.2, -0.8)
        axis.set_title(name, fontsize=8, color=SEIZURE if number == 0 else TRACE, parse_math=False)
        axis.tick_params(axis="x", labelsize=8)
        if number == n - 1 or not narrow:
            axis.set_xlabel("s", fontsize=8)
        for side in axis.spines.values():
            side.set_color(GREY)
    for axis in axes[:: 1 if narrow else n]:
        name_rows(axis, range(n_chans), list(ch_names), row_in, 7)
    return figure
