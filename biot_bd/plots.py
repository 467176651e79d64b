"""Pictures from arrays: attention maps, confusion matrix, EEG with probabilities.

The colours and scale of all pictures.

A ``..._figure`` function takes arrays and returns a :class:`matplotlib.figure.Figure` made without
pyplot, so nothing stays open and no display is needed; ``figure.savefig(path)`` writes it.
:data:`PALETTE`, the colours with a meaning (:func:`css_colours`) and :func:`channel_distance_uv`
hold in HTML pages, too, and cost no import of matplotlib.  Curves of one's own scores are drawn by
scikit-learn's ``PrecisionRecallDisplay`` and ``RocCurveDisplay``; those of a run stand in its
report (:func:`biot_bd.write_report`).

The palette is that of Okabe and Ito [1]_, darkened to a contrast of 3:1 on white; maps of shares
are in ``cividis``, of ratios around 1 in ``PuOr``.  Colour-blind readers tell them apart, and lines
differ in dashes as well.

References
----------
.. [1] Okabe, M. and Ito, K. (2008). Color Universal Design.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "PALETTE",
    "attention_figure",
    "channel_distance_uv",
    "confusion_figure",
    "css_colours",
    "eeg_figure",
    "timeline_figure",
]

PALETTE = ("#0072b2", "#c44e00", "#007a58", "#a8508a", "#5b5b5b", "#8a6d00")
"""Colours of lines, in this order."""
PROBABILITY, SEIZURE = PALETTE[:2]
TRACE, GREY, UNKNOWN = "#26323f", "#6a737d", "#bbbbbb"
MOST_CARD_TICKS = 5
CARD_INCHES = (3.5, 2.15)
"""At 100 dots an inch what a card of TensorBoard shows without scaling, which coarsens letters."""
LEAST_RATIO = 1 / 3
ALIKE = 1.2
"""Rows of a map whose cells differ by less than this factor look the same."""
MOST_MARKERS = 200


def css_colours() -> str:
    """Return the colours as CSS declarations, for the ``:root`` of a page.

    Returns
    -------
    str
        ``--colour0`` to ``--colour5`` (lines), ``--seizure``, ``--proba``, ``--trace``, ``--grey``.

    See Also
    --------
    channel_distance_uv : The scale of EEG in pictures.

    Examples
    --------
    >>> css_colours()
    '--colour0: #0072b2; --colour1: #c44e00; ... --seizure: #c44e00; ...'
    """
    named = {f"colour{number}": colour for number, colour in enumerate(PALETTE)}
    named |= {"seizure": SEIZURE, "proba": PROBABILITY, "trace": TRACE, "grey": GREY}
    return " ".join(f"--{name}: {colour};" for name, colour in named.items())


def channel_distance_uv(x: ArrayLike) -> float:
    """Return how much signal the distance between two channels of a picture stands for.

    Parameters
    ----------
    x : array_like, shape (n_chans, n_times)
        Signal in microvolts (or any unit); what is not finite counts for nothing.

    Returns
    -------
    float
        1, 2 or 5 times a power of ten that is at least twice the 98th percentile of the distance
        from the channels' medians; 1 for a signal that is flat or unknown.

    See Also
    --------
    eeg_figure : EEG drawn with this distance.

    Examples
    --------
    >>> import numpy as np
    >>> channel_distance_uv(30 * np.sin(np.linspace(0, 60, 2000))[None])
    100.0
    """
    x = np.asarray(x, dtype=float)
    known = x[np.isfinite(x).any(axis=1)] if x.size else x
    known = np.where(np.isfinite(known), known, np.nan)
    height = (
        2 * float(np.nanpercentile(np.abs(known - np.nanmedian(known, axis=1, keepdims=True)), 98)) if known.size else 0
    )
    if height <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(height))
    return float(next(power * m for m in (1, 2, 5, 10) if power * m >= height * 0.999))


def _figure(width: float, height: float, title: str | None) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


# --- attention ------------------------------------------------------------------------------------


def attention_figure(ratio: ArrayLike, *, labels: Sequence[str] | None = None, title: str | None = None) -> Figure:
    """Draw who attends to whom, as a multiple of uniform attention.

    As large as a card of TensorBoard.  Colours are logarithmic around 1 and end at a third and at 3
    in every picture, so that layers, epochs and runs can be compared by eye.

    Parameters
    ----------
    ratio : array, shape (n_queries, n_keys)
        Attention of each row to each column, divided by what it would be if the row attended to all
        columns alike; NaN (absent channels) stays grey.
    labels : sequence of str, optional
        Names of the rows and columns, e.g. channels; at most five of them are written.
    title : str, optional
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The map is not two-dimensional, or ``labels`` does not fit.

    See Also
    --------
    biot_bd.record_attention : Exact attention of a model.

    Examples
    --------
    >>> figure = attention_figure(
    ...     [[1.2, 0.8], [1.0, 1.0]], labels=["FP1-F7", "F7-T7"], title="early"
    ... )
    >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    ['FP1-F7', 'F7-T7']
    """
    from matplotlib.colors import LogNorm

    values = np.asarray(ratio, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"the map has shape {values.shape}; expected (n_queries, n_keys)")
    if labels is not None and values.shape != (len(labels), len(labels)):
        raise ValueError(f"the map has shape {values.shape}, but there are {len(labels)} labels")
    figure = _figure(*CARD_INCHES, None)
    axis = figure.subplots()
    axis.set_facecolor(UNKNOWN)
    low, high = LEAST_RATIO, 1 / LEAST_RATIO
    shown = np.maximum(values, low / 10)  # 0 has no logarithm
    known = shown[~np.isnan(shown).all(axis=1)][:, ~np.isnan(shown).all(axis=0)]
    image = axis.imshow(shown, cmap="PuOr_r", norm=LogNorm(low, high), interpolation="nearest", aspect="auto")
    if title:
        axis.set_title(title, fontsize=8.5)
    axis.set_ylabel("from", fontsize=8.5)
    alike = known.shape[0] > 1 and bool((np.nanmax(known, axis=0) < ALIKE * np.nanmin(known, axis=0)).all())
    axis.set_xlabel("attends to (rows are alike)" if alike else "attends to", fontsize=8.5)
    for ticks, n in ((axis.set_xticks, values.shape[1]), (axis.set_yticks, values.shape[0])):
        at = range(0, n, -(-n // MOST_CARD_TICKS))
        ticks(at, [str(i) if labels is None else labels[i] for i in at], fontsize=7)
    bar = figure.colorbar(image, ax=axis, extend="both")
    bar.set_ticks([low, 1, high], labels=["⅓", "1", "3"], fontsize=8.5)
    bar.minorticks_off()
    bar.set_label("times uniform", fontsize=8.5)
    return figure


def confusion_figure(counts: ArrayLike, classes: Sequence[object], *, title: str | None = None) -> Figure:
    r"""Draw a confusion matrix: counts as text, share of the true class as colour.

    Parameters
    ----------
    counts : array-like of int, shape (n_classes, n_classes)
        Rows are true classes, columns predicted ones.
    classes : sequence
        Names of the classes.
    title : str, optional
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The matrix is not square or does not fit ``classes``.

    See Also
    --------
    sklearn.metrics.confusion_matrix : Makes the counts.

    Examples
    --------
    >>> figure = confusion_figure([[90, 10], [1, 3]], ["background", "seizure"])
    >>> figure.axes[0].texts[0].get_text()
    '90\n90.0 %'
    """
    counts = np.asarray(counts)
    n = len(classes)
    if counts.shape != (n, n):
        raise ValueError(f"counts has shape {counts.shape}; expected {(n, n)} for the classes {list(classes)}")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    width, height = CARD_INCHES
    figure = _figure(max(width, 0.8 + 0.9 * n), max(height, 0.65 + 0.75 * n), None)
    axis = figure.subplots()
    axis.imshow(share, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    if title:
        axis.set_title(title, fontsize=8.5)
    for (row, column), count in np.ndenumerate(counts):
        # White on the dark end of the map, black on the light one.
        colour = "white" if share[row, column] < 0.6 else "black"
        text = f"{count:,}\n{100 * share[row, column]:.1f} %"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
    axis.set_xticks(range(n), [str(c) for c in classes])
    axis.set_yticks(range(n), [str(c) for c in classes])
    axis.set(xlabel="predicted", ylabel="true")
    return figure


# --- EEG ------------------------------------------------------------------------------------------


def eeg_figure(
    x: ArrayLike,
    sfreq: float,
    ch_names: Sequence[str],
    *,
    start_s: float = 0.0,
    events: Sequence[tuple[float, float]] = (),
    proba_times_s: ArrayLike | None = None,
    proba: ArrayLike | None = None,
    curve_times_s: ArrayLike | None = None,
    curve: ArrayLike | None = None,
    threshold: float | None = None,
    scale: float | None = None,
    unit: str = "uV",
    title: str | None = None,
) -> Figure:
    """Draw EEG channels one below the other, annotated seizures shaded, with probabilities
    underneath.

    Parameters
    ----------
    x : array-like, shape (n_chans, n_times)
        Signal; channels that are NaN throughout are named as absent.
    sfreq : float
        Sampling rate in Hz.
    ch_names : sequence of str
        Names of the channels.
    start_s : float
        Time of the first sample in s.
    events : sequence of (onset_s, offset_s)
        Annotated seizures in s.
    proba_times_s, proba : array-like, shape (n,), optional
        Times in s (centres of the windows) and probabilities of class 1.
    curve_times_s, curve : array-like, shape (n_seconds,), optional
        Starts of the seconds in s, and the smoothed value of each, which the threshold meets; NaN
        where nothing is known.  It is the line then, and the windows are dots beside it.
    threshold : float, optional
        Drawn across the probabilities.
    scale : float, optional
        Distance between channels in ``unit``; :func:`channel_distance_uv` by default.
    unit : str
        Of the signal.
    title : str, optional
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Shapes do not fit, or only one of ``proba`` and ``proba_times_s``, or of ``curve`` and
        ``curve_times_s``, is given.

    See Also
    --------
    timeline_figure : The curve of a whole recording.

    Examples
    --------
    >>> import numpy as np
    >>> figure = eeg_figure(
    ...     np.zeros((2, 500)), 100.0, ["FP1-F7", "F7-T7"], start_s=60, events=[(61, 63)]
    ... )
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['FP1-F7', 'F7-T7']
    """
    signal = np.asarray(x, dtype=float)
    if signal.ndim != 2 or len(signal) != len(ch_names):
        raise ValueError(
            f"x has shape {signal.shape}; expected ({len(ch_names)}, n_times) for {len(ch_names)} channels"
        )
    if (proba is None) != (proba_times_s is None):
        raise ValueError("give both proba and proba_times_s, or neither")
    smoothed = _curve(curve_times_s, curve)
    n_chans, n_times = signal.shape
    absent = np.isnan(signal).all(axis=1)
    step = scale or channel_distance_uv(signal)
    figure = _figure(11, 1.6 + 0.3 * n_chans + (1.3 if proba is not None else 0), title)
    if proba is None:
        traces = figure.subplots()
    else:
        grid = {"height_ratios": [0.3 * n_chans + 0.8, 1.3]}
        traces, below = figure.subplots(2, 1, sharex=True, gridspec_kw=grid)
        _draw_probabilities(
            below, np.asarray(proba_times_s, float), np.asarray(proba, float), threshold, events, smoothed
        )
    times = start_s + np.arange(n_times) / sfreq
    for channel, (values, missing) in enumerate(zip(signal, absent, strict=True)):
        if missing:
            traces.text(times[0], -channel * step, " absent", color=GREY, fontsize=7, va="center")
        else:
            traces.plot(times, values - np.nanmean(values) - channel * step, color=TRACE, linewidth=0.5)
    for onset, offset in events:
        traces.axvspan(onset, offset, color=SEIZURE, alpha=0.15, linewidth=0)
    traces.set_yticks(-step * np.arange(n_chans), list(ch_names), fontsize=7)
    traces.set(xlim=(times[0], times[-1]), ylim=(-(n_chans - 0.2) * step, 0.8 * step))
    traces.annotate(f"channels {step:g} {unit} apart", (1, 1.01), xycoords="axes fraction", ha="right", fontsize=7)
    if proba is None:
        traces.set_xlabel("time (s)")
    return figure


def timeline_figure(
    times_s: ArrayLike,
    proba: ArrayLike,
    duration_s: float,
    *,
    events: Sequence[tuple[float, float]] = (),
    gaps: Sequence[tuple[float, float]] = (),
    curve_times_s: ArrayLike | None = None,
    curve: ArrayLike | None = None,
    threshold: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the probabilities of a whole recording, with events shaded and stretches without a
    probability hatched.

    Parameters
    ----------
    times_s, proba : array-like, shape (n,)
        Times in s (centres of the windows) and probabilities of class 1.
    duration_s : float
        Length of the recording.
    events, gaps : sequence of (start_s, stop_s)
        Detected events; stretches that nothing is known of.
    curve_times_s, curve : array-like, shape (n_seconds,), optional
        The smoothed curve, as for :func:`eeg_figure`.
    threshold : float, optional
        Drawn across.
    title : str, optional
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Shapes do not fit.

    See Also
    --------
    eeg_figure : The EEG of an event.

    Examples
    --------
    >>> figure = timeline_figure(
    ...     [5.0, 15.0, 25.0], [0.1, 0.9, 0.2], 30.0, events=[(10, 20)], threshold=0.5
    ... )
    >>> figure.axes[0].get_xlabel()
    'time (s)'
    """
    unit_s, unit = next(((s, u) for s, u in ((3600.0, "h"), (60.0, "min")) if duration_s >= 2 * s), (1.0, "s"))
    figure = _figure(11, 2.0, title)
    axis = figure.subplots()
    spans = [(a / unit_s, b / unit_s) for a, b in events]
    smoothed = _curve(curve_times_s, curve)
    if smoothed is not None:
        smoothed = smoothed[0] / unit_s, smoothed[1]
    windows = np.asarray(times_s, float) / unit_s, np.asarray(proba, float)
    _draw_probabilities(axis, *windows, threshold, spans, smoothed, second=1 / unit_s)
    if np.size(proba) > MOST_MARKERS:
        axis.lines[0].set(**({"marker": "", "linewidth": 0.8} if smoothed is None else {"markersize": 1.2}))
    for onset, offset in spans:  # a short event in a day would be too thin to see
        axis.plot((onset + offset) / 2, 1.0, marker="v", color=SEIZURE, markersize=6)
    for start, stop in gaps:
        axis.axvspan(start / unit_s, stop / unit_s, facecolor="none", edgecolor=GREY, hatch="///", linewidth=0)
    axis.set(xlabel=f"time ({unit})", xlim=(0, duration_s / unit_s))
    return figure


def _curve(times_s: ArrayLike | None, values: ArrayLike | None) -> tuple[NDArray, NDArray] | None:
    if (times_s is None) != (values is None):
        raise ValueError("give both curve and curve_times_s, or neither")
    if times_s is None or values is None:
        return None
    times, curve = np.asarray(times_s, float), np.asarray(values, float)
    if times.shape != curve.shape or times.ndim != 1:
        raise ValueError(f"curve_times_s has shape {times.shape} and curve {curve.shape}; expected (n,) twice")
    return times, curve


def _draw_probabilities(
    axis: Axes,
    times: NDArray,
    proba: NDArray,
    threshold: float | None,
    events: Sequence[tuple[float, float]],
    curve: tuple[NDArray, NDArray] | None = None,
    second: float = 1.0,
) -> None:
    if times.shape != proba.shape or times.ndim != 1:
        raise ValueError(f"proba_times_s has shape {times.shape} and proba {proba.shape}; expected (n,) twice")
    if curve is None:
        axis.plot(times, proba, color=PROBABILITY, marker="o", markersize=2.5, linewidth=1)
    else:
        axis.plot(times, proba, color=GREY, marker="o", markersize=2.5, linestyle="none", alpha=0.5, label="windows")
        edges, values = _steps(*curve, second)
        axis.plot(edges, values, color=PROBABILITY, linewidth=1.2, label="smoothed curve (decides)")
        axis.legend(loc="upper left", fontsize=7, ncols=2, frameon=False)
    if threshold is not None:
        axis.axhline(threshold, color=GREY, linestyle="--", linewidth=0.8)
        axis.annotate(
            "threshold", (1, threshold), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7
        )
    for onset, offset in events:
        axis.axvspan(onset, offset, color=SEIZURE, alpha=0.15, linewidth=0)
    axis.set(xlabel="time (s)", ylabel="P(seizure)", ylim=(-0.03, 1.03))


def _steps(times: NDArray, values: NDArray, second: float) -> tuple[NDArray, NDArray]:
    """Return the line of a curve whose values hold for a second each, broken at pauses."""
    if not times.size:
        return times, values
    width = np.minimum(np.diff(times, append=times[-1] + second), second * 1.001)
    edges = np.stack([times, times + width, times + width], axis=1)
    broken = np.append(np.diff(times) > 1.5 * second, True)
    return edges.ravel(), np.stack([values, values, np.where(broken, np.nan, values)], axis=1).ravel()
