"""Importance under the EEG: each channel's signal over cells shaded by what a probe gave them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray

from biot_bd.figure_sheet import DPI, name_columns, name_rows, sheet, wrapped
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.plots import GREY, SEIZURE, TRACE, channel_distance_uv
from biot_bd.probes.figures._scales import FLAT, Scale, ratio_to_average, rising_scale, signed_scale, spread
from biot_bd.probes.figures._words import meaning, title_of, window_of
from biot_bd.probes.figures.alt_texts import alt_text


def traces_figure(
    found: TokenMap,
    x: ArrayLike,
    sfreq: float,
    *,
    window: int = 0,
    start_s: float = 0.0,
    events: Sequence[tuple[float, float]] = (),
    ch_names: Sequence[str] | None = None,
    target_name: str | None = None,
    unit: str | None = "uV",
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 1100,
) -> Figure:
    """Draw the EEG of a window over cells shaded by their importance.

    Traces have negative up, as EEG is read.  Values without a sign are drawn as times their
    average, pale up to 1; signed ones in blue (against) and orange (for).  Frequency bands are
    added up under the traces, and stand beside them by channel.

    Parameters
    ----------
    found : TokenMap
        What a probe gave.
    x : array-like, shape (n_chans, n_times) or (n, n_chans, n_times)
        The signal of the window, or of all windows of the map; absent channels NaN.
    sfreq : float
        Samples a second.
    window : int
        Which window of the map.
    start_s : float
        When the window begins, for the axis.
    events : sequence of (onset_s, offset_s)
        Annotated seizures in seconds of that axis, drawn as a bar above the traces.
    ch_names : sequence of str, optional
        Names of the rows of ``x``, where they are not the map's.
    target_name : str, optional
        The class explained, in words, e.g. ``"seizure"``.
    unit : str or None
        Of the signal; None: scaled.
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
        Signal and map do not fit, or there is no such window.

    See Also
    --------
    scalp_figure : The same by channel on the head.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.models import TokenLayout, TokenMap
    >>> from biot_bd.probes.figures import traces_figure
    >>> layout = TokenLayout(("C3", "C4"), [0.0, 0.5], [1.0, 1.5])
    >>> found = TokenMap(np.array([[[1.0, 2.0], [3.0, 4.0]]]), layout, probe="mine")
    >>> figure = traces_figure(found, np.random.default_rng(0).normal(size=(2, 150)), sfreq=100)
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['C3', 'C4']
    """
    signal = _signal(x, found, window)
    names = tuple(ch_names) if ch_names is not None else found.layout.ch_names
    cells, notes = _cells(found, window, sfreq, signal.shape[1])
    if len(cells) == 1 < len(signal):
        cells = np.repeat(cells, len(signal), axis=0)
        names = names if len(names) == len(signal) else tuple(f"channel {i}" for i in range(len(signal)))
        notes.append("The model mixes channels before it cuts time: shading is by moment only, equal for all channels.")
    if not len(names) == len(signal) == len(cells):
        raise ValueError(f"the map has {len(cells)} channels, x {len(signal)}, and there are {len(names)} names")
    words = meaning(found, window, target_name, "all channels and moments")
    if found.signed:
        scale = signed_scale(cells, words, depth="soft")
    else:
        if spread(cells) < FLAT:
            notes.append(f"All cells are within {100 * spread(cells):.2g} % of the average: nothing is preferred.")
        scale = rising_scale(cells, words, depth="soft")
    row_in = float(np.clip(5.5 / len(signal), 0.16, 0.6))
    figure = sheet(
        width_px, row_in * len(signal) + 1.25, title or title_of(found),
        alt=alt_text(found, window=window, start_s=start_s), caution=caution, notes=notes, footnote=footnote,
    )  # fmt: skip
    width_in = width_px / DPI
    if found.bands is None:
        axis = figure.subplots()
    else:
        share = [1.0, float(np.clip(0.22 * len(found.bands) / width_in, 0.15, 0.6))]
        axis, beside = figure.subplots(1, 2, gridspec_kw={"width_ratios": share})
        _draw_bands(figure, beside, found, window, target_name, row_in, width_in * share[1] / sum(share))
    step = _draw_traces(axis, signal, cells, scale, sfreq, start_s)
    _mark_events(axis, events)
    name_rows(axis, [-float(k) for k in range(len(names))], names, row_in, 8 if row_in > 0.17 else 7)
    when = "time in the recording (s)" if start_s else "time in the window (s)"
    said = f"{when}; channels {step:g} {unit or '(scaled)'} apart, negative up"
    axis.set_xlabel("\n".join(wrapped(said, width_in * (0.85 if found.bands is None else 0.5), 8)), fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    scale.bar(figure, axis, width_in if found.bands is None else width_in * 0.75)
    return figure


def _signal(x: ArrayLike, found: TokenMap, window: int) -> NDArray[np.float64]:
    signal = np.asarray(x, dtype=float)
    if signal.ndim == 3:
        if len(signal) != len(found):
            raise ValueError(f"x has {len(signal)} windows, the map {len(found)}; give the one window, or all")
        signal = window_of(signal, window)
    if signal.ndim != 2 or not signal.shape[1]:
        raise ValueError(f"x must have the shape (n_chans, n_times) or (n, n_chans, n_times), got {np.shape(x)}")
    return signal


def _cells(found: TokenMap, window: int, sfreq: float, n_times: int) -> tuple[NDArray[np.float64], list[str]]:
    """Return what to shade, (n_chans, n_columns) over the whole window, and what to say of it."""
    whole, notes = found.without_bands(), []
    values = window_of(whole.values, window)
    values = values.astype(float) if found.signed else ratio_to_average(values)
    if found.bands is not None:
        notes.append(f"Under the traces: all {len(found.bands)} frequency bands together; at the right, one by one.")
    if whole.layout.n_frames == 1:
        notes.append("The probe gives one value a channel, for the whole window.")
        return values, notes
    if not whole.layout.knows_time:
        notes.append("What seconds a moment covers is not known: moments are drawn as equal parts of the window.")
        return values, notes
    shown = TokenMap(values[None], whole.layout, probe=found.probe)
    return shown.to_samples(sfreq, n_times)[0], notes


def _draw_traces(axis: Axes, signal: NDArray, cells: NDArray, scale: Scale, sfreq: float, start_s: float) -> float:
    """Draw shades and traces, and return the distance between channels."""
    n_chans, n_times = signal.shape
    stop_s = start_s + n_times / sfreq
    absent = ~np.isfinite(signal).any(axis=1) | ~np.isfinite(cells).any(axis=1)
    shaded = np.where(absent[:, None], np.nan, cells)
    axis.imshow(
        scale.colours(shaded), extent=(start_s, stop_s, -n_chans + 0.5, 0.5), aspect="auto", interpolation="nearest"
    )
    step = channel_distance_uv(signal)
    times_s = start_s + np.arange(n_times) / sfreq
    for row, values in enumerate(signal):
        if absent[row]:
            axis.text(start_s, -row, " absent", color="#3a424c", fontsize=8, va="center", style="italic")
        else:
            axis.plot(times_s, (np.nanmedian(values) - values) / step - row, color=TRACE, linewidth=0.6)
    for row in range(1, n_chans):
        axis.axhline(0.5 - row, color="white", linewidth=0.8, zorder=1)
    axis.set(xlim=(start_s, stop_s), ylim=(-n_chans + 0.4, 0.6))
    for side in axis.spines.values():
        side.set_color(GREY)
    return step


def _mark_events(axis: Axes, events: Sequence[tuple[float, float]]) -> None:
    low, high = axis.get_xlim()
    shown = [(max(onset, low), min(offset, high)) for onset, offset in events if onset < high and offset > low]
    above = axis.get_xaxis_transform() + ScaledTranslation(0, 4 / 72, axis.figure.dpi_scale_trans)
    for onset, offset in shown:
        axis.plot(
            [onset, offset], [1, 1], transform=above, color=SEIZURE, linewidth=4, solid_capstyle="butt", clip_on=False,
            label="seizure",
        )  # fmt: skip
    if shown:
        axis.annotate(
            "annotated seizure", (shown[0][0], 1), (0, 7.5), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=7, color=SEIZURE, weight="bold",
        )  # fmt: skip


def _draw_bands(
    figure: Figure,
    axis: Axes,
    found: TokenMap,
    window: int,
    target_name: str | None,
    row_in: float,
    width_in: float,
) -> None:
    bands: Any = found.bands
    values = window_of(found.by_channel(), window).T  # (n_chans, n_bands)
    if found.signed:
        scale = signed_scale(values, "as at the left")
    else:
        values = ratio_to_average(values)
        scale = rising_scale(values, "times the average")
    axis.imshow(
        scale.colours(values), aspect="auto", interpolation="nearest", extent=(0, len(bands), -len(values) + 0.5, 0.5)
    )
    axis.set_ylim(-len(values) + 0.4, 0.6)
    axis.set_yticks([])
    axis.set_title("by band", fontsize=8)
    name_columns(axis, [k + 0.5 for k in range(len(bands))], bands, width_in / len(bands))
    if width_in < 1:  # too narrow for a bar
        axis.set_xlabel(f"full colour:\n{scale.marks[-1]}", fontsize=7)
    else:
        scale.bar(figure, axis, width_in)
