"""Pictures from arrays: attention maps, score curves, confusion matrix, EEG with probabilities, training curves.

Every function takes arrays and returns a :class:`matplotlib.figure.Figure` made without pyplot, so nothing
stays open and no display is needed; ``figure.savefig(path)`` writes it.  Colours are those of Okabe and Ito [1]_
and the map ``cividis``, which colour-blind readers tell apart; lines differ in style as well.

References
----------
.. [1] Okabe, M. and Ito, K. (2008). Color Universal Design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

__all__ = [
    "COLOURS",
    "attention_figure",
    "confusion_figure",
    "eeg_figure",
    "history_figure",
    "pr_figure",
    "roc_figure",
    "timeline_figure",
]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", "-.", ":")
GREY = "#767676"
SEIZURE = "#D55E00"
MOST_TICKS = 24
MOST_MARKERS = 200

Curves = Mapping[str, tuple[ArrayLike, ArrayLike]]


def _figure(width: float, height: float, title: str | None) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _style(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number // len(COLOURS) % len(STYLES)]}


# --- attention --------------------------------------------------------------------------------------------


def attention_figure(
    maps: Mapping[str, ArrayLike],
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    bar_label: str = "attention",
) -> Figure:
    """Draw attention maps side by side with one colour scale.

    Parameters
    ----------
    maps : mapping of str to array, shape (n_queries, n_keys)
        One map a layer, by its name; NaN (absent channels) stays grey.
    labels : sequence of str, optional
        Names of the rows and columns, e.g. channels.
    title : str, optional
        Above the panel.
    bar_label : str
        What the colours mean.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There is no map, a map is not two-dimensional, or ``labels`` does not fit.
    """
    if not maps:
        raise ValueError("attention_figure needs one map or more, found none")
    arrays = {name: np.asarray(values, dtype=float) for name, values in maps.items()}
    for name, values in arrays.items():
        if values.ndim != 2:
            raise ValueError(f"map {name!r} has shape {values.shape}; expected (n_queries, n_keys)")
        if labels is not None and values.shape != (len(labels), len(labels)):
            raise ValueError(f"map {name!r} has shape {values.shape}, but there are {len(labels)} labels")
    finite = np.concatenate([values[np.isfinite(values)] for values in arrays.values()])
    top = float(finite.max()) if finite.size else 1.0
    figure = _figure(3.4 * len(arrays) + 1.2, 3.8, title)
    axes = figure.subplots(1, len(arrays), squeeze=False)[0]
    image: Any = None
    for axis, (name, values) in zip(axes, arrays.items(), strict=True):
        axis.set_facecolor("#BBBBBB")
        image = axis.imshow(values, cmap="cividis", vmin=0, vmax=top, interpolation="nearest", aspect="auto")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("key")
        _name_ticks(axis, labels)
    axes[0].set_ylabel("query")
    figure.colorbar(image, ax=list(axes), label=bar_label, shrink=0.9)
    return figure


def _name_ticks(axis: Axes, labels: Sequence[str] | None) -> None:
    if labels is None:
        return
    step = -(-len(labels) // MOST_TICKS)
    at = range(0, len(labels), step)
    names = [labels[i] for i in at]
    axis.set_xticks(at, names, rotation=90, fontsize=6)
    axis.set_yticks(at, names, fontsize=6)


# --- scores -----------------------------------------------------------------------------------------------


def _curve_data(name: str, pair: tuple[ArrayLike, ArrayLike]) -> tuple[NDArray, NDArray]:
    y, proba = np.asarray(pair[0]), np.asarray(pair[1], dtype=float)
    if y.ndim != 1 or y.shape != proba.shape:
        raise ValueError(f"curve {name!r}: y_true has shape {y.shape} and proba {proba.shape}; expected (n,) twice")
    if set(np.unique(y)) != {0, 1}:
        raise ValueError(f"curve {name!r}: y_true holds {np.unique(y).tolist()}; a curve needs both classes 0 and 1")
    return y, proba


def _unit_square(axis: Axes, x: str, y: str) -> None:
    axis.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axis.grid(color="#E4E4E4", linewidth=0.6)
    axis.set_axisbelow(True)


def pr_figure(curves: Curves, *, title: str | None = None) -> Figure:
    """Draw precision against recall, with the prevalence of each curve as a dotted line.

    Parameters
    ----------
    curves : mapping of str to (y_true, proba)
        Labels 0/1 and probabilities of class 1, each of shape ``(n,)``, by name.
    title : str, optional
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        A curve has one class only, or its shapes differ.
    """
    figure = _figure(5, 4.4, title)
    axis = figure.subplots()
    for number, (name, pair) in enumerate(curves.items()):
        y, proba = _curve_data(name, pair)
        precision, recall, _ = precision_recall_curve(y, proba)
        label = f"{name}: AUC-PR {average_precision_score(y, proba):.3f} (prevalence {y.mean():.3f})"
        # Average precision sums steps, so steps are drawn.
        axis.step(recall, precision, where="post", label=label, **_style(number))
        axis.axhline(y.mean(), color=_style(number)["color"], linestyle=":", linewidth=0.8)
    _unit_square(axis, "recall (sensitivity)", "precision")
    if curves:
        axis.legend(fontsize=8, loc="best")
    return figure


def roc_figure(curves: Curves, *, title: str | None = None) -> Figure:
    """Draw sensitivity against 1 - specificity; parameters and errors as in :func:`pr_figure`."""
    figure = _figure(5, 4.4, title)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=0.8)
    for number, (name, pair) in enumerate(curves.items()):
        y, proba = _curve_data(name, pair)
        false_rate, true_rate, _ = roc_curve(y, proba)
        axis.plot(false_rate, true_rate, label=f"{name}: AUROC {auc(false_rate, true_rate):.3f}", **_style(number))
    _unit_square(axis, "1 - specificity", "sensitivity")
    if curves:
        axis.legend(fontsize=8, loc="lower right")
    return figure


def confusion_figure(counts: ArrayLike, classes: Sequence[object], *, title: str | None = None) -> Figure:
    """Draw a confusion matrix: counts as text, share of the true class as colour.

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
    """
    counts = np.asarray(counts)
    n = len(classes)
    if counts.shape != (n, n):
        raise ValueError(f"counts has shape {counts.shape}; expected {(n, n)} for the classes {list(classes)}")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _figure(2.2 + 0.9 * n, 1.9 + 0.8 * n, title)
    axis = figure.subplots()
    axis.imshow(share, cmap="cividis", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        # White on the dark end of the map, black on the light one.
        colour = "white" if share[row, column] < 0.6 else "black"
        text = f"{count:,}\n{100 * share[row, column]:.1f} %"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axis.set_xticks(range(n), [str(c) for c in classes])
    axis.set_yticks(range(n), [str(c) for c in classes])
    axis.set(xlabel="predicted", ylabel="true")
    return figure


# --- EEG --------------------------------------------------------------------------------------------------


def eeg_figure(
    x: ArrayLike,
    sfreq: float,
    ch_names: Sequence[str],
    *,
    start_s: float = 0.0,
    events: Sequence[tuple[float, float]] = (),
    proba_times_s: ArrayLike | None = None,
    proba: ArrayLike | None = None,
    threshold: float | None = None,
    scale: float | None = None,
    unit: str = "uV",
    title: str | None = None,
) -> Figure:
    """Draw EEG channels one below the other, annotated seizures shaded, with probabilities underneath.

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
    threshold : float, optional
        Drawn across the probabilities.
    scale : float, optional
        Distance between channels in ``unit``; from the signal by default.
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
        Shapes do not fit, or only one of ``proba`` and ``proba_times_s`` is given.
    """
    signal = np.asarray(x, dtype=float)
    if signal.ndim != 2 or len(signal) != len(ch_names):
        raise ValueError(
            f"x has shape {signal.shape}; expected ({len(ch_names)}, n_times) for {len(ch_names)} channels"
        )
    if (proba is None) != (proba_times_s is None):
        raise ValueError("give both proba and proba_times_s, or neither")
    n_chans, n_times = signal.shape
    absent = np.isnan(signal).all(axis=1)
    step = scale or _channel_distance(signal[~absent])
    figure = _figure(11, 1.6 + 0.3 * n_chans + (1.3 if proba is not None else 0), title)
    if proba is None:
        traces = figure.subplots()
    else:
        grid = {"height_ratios": [0.3 * n_chans + 0.8, 1.3]}
        traces, below = figure.subplots(2, 1, sharex=True, gridspec_kw=grid)
        _draw_probabilities(below, np.asarray(proba_times_s, float), np.asarray(proba, float), threshold, events)
    times = start_s + np.arange(n_times) / sfreq
    for channel, (values, missing) in enumerate(zip(signal, absent, strict=True)):
        if missing:
            traces.text(times[0], -channel * step, " absent", color=GREY, fontsize=7, va="center")
        else:
            traces.plot(times, values - np.nanmean(values) - channel * step, color="#222222", linewidth=0.5)
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
    threshold: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the probabilities of a whole recording, with events shaded and stretches without a probability hatched.

    Parameters
    ----------
    times_s, proba : array-like, shape (n,)
        Times in s (centres of the windows) and probabilities of class 1.
    duration_s : float
        Length of the recording.
    events, gaps : sequence of (start_s, stop_s)
        Detected events; stretches that nothing is known of.
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
    """
    unit_s, unit = next(((s, u) for s, u in ((3600.0, "h"), (60.0, "min")) if duration_s >= 2 * s), (1.0, "s"))
    figure = _figure(11, 2.0, title)
    axis = figure.subplots()
    spans = [(a / unit_s, b / unit_s) for a, b in events]
    _draw_probabilities(axis, np.asarray(times_s, float) / unit_s, np.asarray(proba, float), threshold, spans)
    if np.size(proba) > MOST_MARKERS:
        axis.lines[0].set(marker="", linewidth=0.8)
    for onset, offset in spans:  # a short event in a day would be too thin to see
        axis.plot((onset + offset) / 2, 1.0, marker="v", color=SEIZURE, markersize=6)
    for start, stop in gaps:
        axis.axvspan(start / unit_s, stop / unit_s, facecolor="none", edgecolor=GREY, hatch="///", linewidth=0)
    axis.set(xlabel=f"time ({unit})", xlim=(0, duration_s / unit_s))
    return figure


def _channel_distance(signal: NDArray) -> float:
    """Return a round number about the height of the signal, for the distance between channels."""
    if signal.size == 0:
        return 1.0
    height = 2 * float(np.nanpercentile(np.abs(signal - np.nanmean(signal, axis=1, keepdims=True)), 98))
    if height <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(height))
    return float(next(power * m for m in (1, 2, 5, 10) if power * m >= height * 0.999))


def _draw_probabilities(
    axis: Axes, times: NDArray, proba: NDArray, threshold: float | None, events: Sequence[tuple[float, float]]
) -> None:
    if times.shape != proba.shape or times.ndim != 1:
        raise ValueError(f"proba_times_s has shape {times.shape} and proba {proba.shape}; expected (n,) twice")
    axis.plot(times, proba, color=COLOURS[0], marker="o", markersize=2.5, linewidth=1)
    if threshold is not None:
        axis.axhline(threshold, color=GREY, linestyle="--", linewidth=0.8)
        axis.annotate(
            "threshold", (1, threshold), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7
        )
    for onset, offset in events:
        axis.axvspan(onset, offset, color=SEIZURE, alpha=0.15, linewidth=0)
    axis.set(xlabel="time (s)", ylabel="P(seizure)", ylim=(-0.03, 1.03))


# --- training ---------------------------------------------------------------------------------------------


def history_figure(
    series: Mapping[str, Sequence[float | None]],
    *,
    ylabel: str = "value",
    best_epoch: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw values by epoch.

    Parameters
    ----------
    series : mapping of str to sequence of float or None
        One value an epoch, by name; None where it is not defined.
    ylabel : str
        What the values are.
    best_epoch : int, optional
        Epoch (from 1) whose weights were taken; marked by a line.
    title : str, optional
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = _figure(6, 3.6, title)
    axis = figure.subplots()
    for number, (name, values) in enumerate(series.items()):
        y = np.array([np.nan if value is None else value for value in values], dtype=float)
        axis.plot(np.arange(1, len(y) + 1), y, label=name, marker="." if len(y) < 30 else None, **_style(number))
    if best_epoch is not None:
        axis.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1)
        axis.annotate(
            "taken", (best_epoch, 1), xycoords=("data", "axes fraction"), va="bottom", ha="center", fontsize=7
        )
    axis.set(xlabel="epoch", ylabel=ylabel)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(color="#E4E4E4", linewidth=0.6)
    if series:
        axis.legend(fontsize=8)
    return figure
