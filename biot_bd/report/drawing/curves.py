"""The pictures of a report, from arrays: score curves, training curves, EEG with probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from biot_bd.plots import channel_distance_uv
from biot_bd.report.drawing.chains import in_chains, side_of
from biot_bd.report.drawing.svg import Panel, Picture, envelope, line_style, nice_ticks

MOST_POINTS = 400
EEG_COLUMNS = 900

Scored = tuple[NDArray, NDArray]


def _thin(x: NDArray, y: NDArray) -> Scored:
    """Keep at most MOST_POINTS points, the ends among them."""
    if x.size <= MOST_POINTS:
        return x, y
    keep = np.unique(np.linspace(0, x.size - 1, MOST_POINTS).astype(int))
    return x[keep], y[keep]


def _pr_curve(y_true: NDArray, proba: NDArray) -> Scored:
    """Return the staircase of precision over recall whose area is the average precision."""
    precision, recall, _ = precision_recall_curve(y_true, proba)
    x, y = _thin(recall[::-1], precision[::-1])
    return np.repeat(x, 2)[:-1], np.repeat(y, 2)[1:]


def _roc_curve(y_true: NDArray, proba: NDArray) -> Scored:
    false_rate, true_rate, _ = roc_curve(y_true, proba)
    return _thin(false_rate, true_rate)


def curves_of(y_true: NDArray, proba: NDArray) -> list[dict[str, float | None]]:
    """Return the points of both curves, by threshold from high to low.

    Parameters
    ----------
    y_true : ndarray, shape (n_windows,)
        0 and 1, both among them.
    proba : ndarray, shape (n_windows,)

    Returns
    -------
    list of dict
        As the columns of :func:`curve_columns`.
    """
    columns = curve_columns(y_true, proba)
    return [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]


def curve_columns(y_true: NDArray, proba: NDArray) -> dict[str, NDArray]:
    """Return the points of both curves, by threshold from high to low.

    Parameters
    ----------
    y_true : ndarray, shape (n_windows,)
        0 and 1, both among them.
    proba : ndarray, shape (n_windows,)

    Returns
    -------
    dict of str to ndarray
        ``threshold`` (a window is called at and above it), ``recall``, ``precision``,
        ``false_positive_rate``.
    """
    false_rate, true_rate, threshold = roc_curve(y_true, proba, drop_intermediate=False)
    n_positive = float(np.sum(y_true))
    found, false = true_rate * n_positive, false_rate * (len(y_true) - n_positive)
    precision = found / np.maximum(found + false, 1)
    columns = {"threshold": threshold, "recall": true_rate, "precision": precision, "false_positive_rate": false_rate}
    return {name: np.asarray(column[1:], dtype=np.float64) for name, column in columns.items()}


def pr_picture(subjects: Mapping[str, Scored], pooled: Scored) -> Picture:
    """Draw precision against recall.

    A thin line a subject, the pooled one thick, prevalence dashed.

    Parameters
    ----------
    subjects : mapping of str to (y_true, proba)
        Windows of each subject who has both classes.
    pooled : (y_true, proba)
        All test windows, both classes among them.
    """
    prevalence = float(np.mean(pooled[0]))
    chance = (prevalence, prevalence, f"prevalence {prevalence:.3f}")
    said = ("Precision-recall curves", f"the dashed line is the prevalence, {prevalence:.3f}.")
    return _curves_picture("pr", said, ("Recall (sensitivity)", "Precision"), chance, _pr_curve, subjects, pooled)


def roc_picture(subjects: Mapping[str, Scored], pooled: Scored) -> Picture:
    """Draw sensitivity against 1 - specificity; parameters as in :func:`pr_picture`."""
    said = ("ROC curves", "the dashed diagonal is chance.")
    return _curves_picture(
        "roc", said, ("1 - specificity", "Sensitivity"), (0, 1, "chance"), _roc_curve, subjects, pooled
    )


def _curves_picture(
    name: str,
    said: tuple[str, str],
    labels: tuple[str, str],
    chance: tuple[float, float, str],
    curve: Callable[[NDArray, NDArray], Scored],
    subjects: Mapping[str, Scored],
    pooled: Scored,
) -> Picture:
    """Draw one thin line a subject and the pooled one thick, over the line of chance (left and
    right end, tip).
    """
    title, about = said
    lines = f"One thin line for each of {len(subjects)} subjects, a thick line for all test windows pooled; {about}"
    picture = Picture(name, 440, 380, title, lines)
    panel = Panel(52, 12, 372, 318, (0, 1), (0, 1))
    picture.axes(panel, *labels)
    picture.path([panel.left, panel.right], panel.y(chance[:2]), css="reference", tip=chance[2])
    for index, (subject, scored) in enumerate(subjects.items()):
        x, y = curve(*scored)
        picture.path(panel.x(x), panel.y(y), css="line thin", style=line_style(index), tip=subject)
    x, y = curve(*pooled)
    picture.path(panel.x(x), panel.y(y), css="line pooled", tip="pooled")
    return picture


def training_picture(name: str, title: str, series: Mapping[str, NDArray], ylabel: str, best: int | None) -> Picture:
    """Draw values by epoch, e.g. the losses of one fold.

    Parameters
    ----------
    name : str
        Identifier, unique in the page.
    title : str
        What is drawn, e.g. ``"Fold 0: loss"``.
    series : mapping of str to ndarray, shape (n_epochs,)
        NaN where an epoch has no value.
    ylabel : str
        Label of the vertical axis.
    best : int or None
        Epoch (from 1) whose weights were kept, if known.
    """
    longest = max(values.size for values in series.values())
    known = np.concatenate([values[np.isfinite(values)] for values in series.values()])
    if known.size == 0:
        raise ValueError(f"{title}: no finite value to draw")
    low, high = min(0.0, float(known.min())), float(known.max())
    high = high if high > low else low + 1
    picture = Picture(name, 340, 236, title, f"{', '.join(series)} by epoch, {longest} epochs.")
    panel = Panel(50, 26, 278, 170, (0.5, longest + 0.5), (low, high + 0.05 * (high - low)))
    ticks = [t for t in nice_ticks(1, longest + 1, 6) if t == int(t) and 1 <= t <= longest]
    picture.axes(panel, "Epoch", ylabel, xticks=ticks or [1])
    if best is not None:
        at = float(panel.x(best))
        picture.path([at, at], [panel.top, panel.bottom], css="reference", tip=f"epoch {best}: weights kept")
    left = panel.left
    for index, (label, values) in enumerate(series.items()):
        epochs = panel.x(np.arange(1, values.size + 1))
        picture.path(epochs, panel.y(values), style=line_style(index), tip=label)
        for x, y in zip(epochs, panel.y(values), strict=True):
            if np.isfinite(y):
                picture.dot(float(x), float(y), 1.8, css=f"dot colour{index}")
        picture.path([left, left + 18], [14, 14], style=line_style(index))
        picture.text(left + 22, 18, label, css="tick")
        left += 34 + 6.2 * len(label)
    return picture


@dataclass(frozen=True)
class EegExcerpt:
    """A piece of continuous EEG with what is known about it.

    Parameters
    ----------
    signal_uv : ndarray, shape (n_chans, n_times)
        Microvolts; NaN where a channel is absent or nothing is stored.
    sfreq : float
        Sampling rate in Hz.
    start_s : float
        Time of the first sample from the start of the recording.
    ch_names : sequence of str
        Channel names.
    centres_s, proba : ndarray, shape (n_windows,)
        Middle of each scored window and its probability of a seizure.
    seizures : list of (onset_s, offset_s)
        Annotated seizures, times from the start of the recording.
    alarms : list of (onset_s, offset_s)
        Detected events.
    window : tuple of float or None
        Start and stop of the window in question, if one is.
    threshold : float or None
        What windows are called by, where one window is in question.
    decision : Decision or None
        The curve that the event detector decides on.
    """

    signal_uv: NDArray
    sfreq: float
    start_s: float
    ch_names: Sequence[str]
    centres_s: NDArray
    proba: NDArray
    seizures: list[tuple[float, float]] = field(default_factory=list)
    alarms: list[tuple[float, float]] = field(default_factory=list)
    window: tuple[float, float] | None = None
    threshold: float | None = None
    decision: Decision | None = None

    @property
    def stop_s(self) -> float:
        """Time of the end of the last sample."""
        return self.start_s + self.signal_uv.shape[1] / self.sfreq


@dataclass(frozen=True)
class Decision:
    """What an event detector decides on.

    Parameters
    ----------
    values : ndarray, shape (n_seconds,)
        The smoothed curve: second ``k`` of the recording is the time from ``k`` to ``k + 1`` s.
    threshold : float
        Where the curve reaches it, an event begins.
    release : float
        Where the curve falls below it, the event ends.
    """

    values: NDArray
    threshold: float
    release: float


SPACING, BETWEEN_CHAINS = 25.0, 13.0


def eeg_picture(name: str, title: str, excerpt: EegExcerpt, columns: int = EEG_COLUMNS) -> Picture:
    """Draw EEG as it is read, and below it what decided.

    Negative is up, chains stand apart and are coloured by side.  The annotated seizure is shaded,
    alarms are bars above.  Below: the curve that the event detector meets its threshold with, and
    the probability of each window as a dot.

    Parameters
    ----------
    name : str
        Identifier, unique in the page.
    title : str
        What is shown.
    excerpt : EegExcerpt
        The EEG and what is known about it.
    columns : int
        Pieces that a trace is thinned to (its lowest and highest value in each).
    """
    n_chans, chains = len(excerpt.ch_names), in_chains(excerpt.ch_names)
    xlim = (excerpt.start_s, excerpt.stop_s)
    eeg = Panel(72, 28, 960, SPACING * (n_chans + 1) + BETWEEN_CHAINS * (len(chains) - 1), xlim, (0, 1))
    below = Panel(72, eeg.bottom + 26, 960, 110, xlim, (0, 1))
    scale = _row_uv(excerpt.signal_uv)
    window = f" the window from {excerpt.window[0]:g} to {excerpt.window[1]:g} s is outlined;" if excerpt.window else ""
    alarms = f" alarms: {_spans(excerpt.alarms)};" if excerpt.alarms or excerpt.window is None else ""
    picture = Picture(
        name,
        1140,
        below.bottom + 40,
        title,
        f"{n_chans} channels of EEG from {xlim[0]:g} to {xlim[1]:g} s, negative up;{window}{alarms} annotated seizures in this "
        f"span: {_spans(excerpt.seizures)}. Below: {_said(excerpt)}.",
    )
    for panel in (eeg, below):
        _shade(picture, panel, excerpt)
    _bars(picture, eeg, excerpt)
    _seconds(picture, eeg)
    _traces(picture, eeg, excerpt, [own for _, own in chains], scale, columns)
    picture.rect(eeg.left, eeg.top, eeg.width, eeg.height, css="frame")
    _calibration_bar(picture, eeg, scale)
    _decision(picture, below, excerpt)
    return picture


def _said(excerpt: EegExcerpt) -> str:
    if excerpt.decision is None:
        return "probability of a seizure by window"
    peak = _in_span(excerpt).max(initial=0.0)
    return (
        f"the curve that decides, with its highest value of {peak:.3f} in this span and the threshold at "
        f"{excerpt.decision.threshold:.3f}, and the probability of each window as a dot"
    )


def _in_span(excerpt: EegExcerpt) -> NDArray:
    if excerpt.decision is None:
        return np.zeros(0)
    return excerpt.decision.values[int(excerpt.start_s) : int(np.ceil(excerpt.stop_s))]


def _spans(events: Sequence[tuple[float, float]]) -> str:
    return "; ".join(f"{a:g} to {b:g} s" for a, b in events) or "none"


def _row_uv(signal_uv: NDArray) -> float:
    """Return the microvolts that the distance of two rows stands for.

    Chosen by the usual channel, so that one full of artefacts does not flatten the rest.
    """
    own = [channel_distance_uv(signal[None]) for signal in signal_uv if np.isfinite(signal).any()]
    return float(np.sort(own)[len(own) // 2]) if own else 1.0


def _decision(picture: Picture, panel: Panel, excerpt: EegExcerpt) -> None:
    """Draw the curve as the steps that it is: it reaches the threshold where an alarm begins."""
    ticks = nice_ticks(*panel.xlim, most=12)
    picture.axes(panel, "Time from the start of the recording (s)", "Probability", xticks=ticks, yticks=[0, 0.5, 1])
    _thresholds(picture, panel, excerpt)
    decision, called = excerpt.decision, excerpt.threshold
    for centre, p in zip(excerpt.centres_s, excerpt.proba, strict=True):
        css = "dot" if called is None or p < called else "dot above"
        tip = f"window around {centre:g} s: {p:.3f}"
        picture.dot(float(panel.x(centre)), float(panel.y(p)), 2.6, css=css, tip=tip)
    if decision is None:
        picture.path(panel.x(excerpt.centres_s), panel.y(excerpt.proba), css="line proba thin")
        return
    seconds = np.arange(len(decision.values) + 1, dtype=float)
    x, y = np.repeat(seconds, 2)[1:-1], np.repeat(decision.values, 2)
    near = (x >= panel.xlim[0] - 1) & (x <= panel.xlim[1] + 1)
    clip = picture.clip(panel)
    picture.path(panel.x(x[near]), panel.y(y[near]), css="line proba", tip="the curve that decides", clip=clip)


def _thresholds(picture: Picture, panel: Panel, excerpt: EegExcerpt) -> None:
    lines = []
    if (decision := excerpt.decision) is not None:
        lines.append((decision.threshold, "alarm threshold", "of the curve", "reference threshold"))
        if decision.release < decision.threshold:
            lines.append((decision.release, "alarm release", "of the curve", "reference"))
    if excerpt.threshold is not None:
        lines.append((excerpt.threshold, "window threshold", "of single windows", "reference"))
    free = panel.bottom + 8
    for value, label, tip, css in sorted(lines):
        at = float(panel.y(value))
        picture.path([panel.left, panel.right], [at, at], css=css, tip=f"{label} {tip}: {value:.3g}")
        free = min(at + 4, free - 12)  # labels of lines close together stand above each other
        picture.text(panel.right + 4, free, label, css="tick")


def _bars(picture: Picture, panel: Panel, excerpt: EegExcerpt) -> None:
    """Draw annotated seizures and alarms as named bars above the EEG, told apart by place and by
    name, not by colour alone.
    """
    for events, top, css, name in (
        (excerpt.seizures, 2, "seizure-bar", "seizure"),
        (excerpt.alarms, 15, "alarm-bar", "alarm"),
    ):
        if not excerpt.alarms and name == "alarm":
            continue
        for onset, offset in events:
            left, right = (float(v) for v in panel.x(np.clip([onset, offset], *panel.xlim)))
            picture.rect(left, top, max(right - left, 2), 8, css=css, tip=f"{name}, {onset:g} to {offset:g} s")
        if events:
            picture.text(panel.left - 5, top + 8, name, css="tick", anchor="end")


def _shade(picture: Picture, panel: Panel, excerpt: EegExcerpt) -> None:
    for onset, offset in excerpt.seizures:
        left, right = panel.x([max(onset, panel.xlim[0]), min(offset, panel.xlim[1])])
        picture.rect(float(left), panel.top, float(right - left), panel.height, css="seizure", tip="annotated seizure")
    if excerpt.window is not None:
        left, right = panel.x(np.clip(excerpt.window, *panel.xlim))
        picture.rect(float(left), panel.top, float(right - left), panel.height, css="window", tip="the window shown")


def _seconds(picture: Picture, panel: Panel) -> None:
    """Draw a faint line a second, and a stronger one where ten seconds are over."""
    first, last = (int(np.ceil(panel.xlim[0])), int(np.floor(panel.xlim[1])))
    for css, step in (("second", 1), ("ten-seconds", 10)):
        marks = [k for k in range(first, last + 1) if k % step == 0 and (step > 1 or k % 10)]
        x = np.ravel([[at, at, np.nan] for at in panel.x(marks)])
        picture.path(x, np.tile([panel.top, panel.bottom, np.nan], len(marks)), css=css)


def _traces(
    picture: Picture, panel: Panel, excerpt: EegExcerpt, chains: Sequence[Sequence[int]], scale: float, columns: int
) -> None:
    clip, base = picture.clip(panel), panel.top
    for place, own in enumerate(chains):
        base += BETWEEN_CHAINS if place else 0
        for index in own:
            base += SPACING
            name, signal = excerpt.ch_names[index], excerpt.signal_uv[index]
            absent = not np.isfinite(signal).any()
            picture.text(panel.left - 5, base + 4, name, css="tick absent" if absent else "tick", anchor="end")
            if absent:
                picture.text(panel.left + 6, base + 4, "absent", css="tick absent")
                continue
            position, value = envelope(signal - np.nanmedian(signal), columns)
            x = panel.x(excerpt.start_s + position / excerpt.sfreq)
            # Pixels grow downwards, and so does the voltage: negative is up.
            picture.path(x, base + value / scale * SPACING, css=f"trace {side_of(name)}", clip=clip)


def _calibration_bar(picture: Picture, panel: Panel, scale: float) -> None:
    """Draw a second and the microvolts of a row's height, beside the panel, and say what is up."""
    second = panel.width / (panel.xlim[1] - panel.xlim[0])
    x, top = panel.right + 8, panel.top + SPACING
    picture.path([x, x, x + second], [top, top + SPACING, top + SPACING], css="bar")
    picture.text(x + 6, top + SPACING / 2 + 3, f"{scale:g} µV")
    picture.text(x, top + SPACING + 14, "1 s")
    picture.text(x, top + SPACING + 40, "negative")
    picture.text(x, top + SPACING + 53, "is up")
