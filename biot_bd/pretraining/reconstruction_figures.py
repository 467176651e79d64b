"""Pictures of reconstructions: what was there, what the model saw, and what it made of it.

Each function returns a :class:`matplotlib.figure.Figure` made without pyplot, as wide as asked,
whose label (``figure.get_label()``) says in words what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from biot_bd.figure_sheet import NARROW_PX, name_rows, sheet
from biot_bd.plots import GREY, PALETTE, TRACE, channel_distance_uv
from biot_bd.pretraining.reconstruction import Reconstruction
from biot_bd.pretraining.reconstruction_scores import ReconstructionScores

RECONSTRUCTED, INTERPOLATED = PALETTE[1], PALETTE[2]
HIDDEN = "#dfe3e8"
PANELS = ("original", "what the model saw", "reconstructed")


def reconstruction_figure(
    found: Reconstruction,
    *,
    window: int = 0,
    ch_names: Sequence[str] | None = None,
    window_s: float | None = None,
    top_hz: float | None = None,
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 1100,
) -> Figure:
    """Draw a window as it is, as the model saw it, and with hidden tokens as predicted.

    Signals are traces, negative up; spectra are heat maps by channel, low frequencies at the bottom
    of each row.  Hidden tokens are grey in the middle.

    Parameters
    ----------
    found : Reconstruction
        Of one window or more.
    window : int
        Which of its windows.
    ch_names : sequence of str, optional
        Of the rows.
    window_s : float, optional
        Length of a window in s, for the axis; tokens are counted without it.
    top_hz : float, optional
        Frequency of the last feature of a spectrum, told in a note.
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
        There is no such window, or names do not fit.

    See Also
    --------
    reconstruction_spectra_figure : Many windows, by frequency.
    reconstruction_scores_figure : Skill and correlation by channel and by subject.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import Reconstruction
    >>> from biot_bd.pretraining.reconstruction_figures import reconstruction_figure
    >>> x, hidden = torch.randn(1, 2, 4, 25), torch.tensor([[[False, True] * 2] * 2])
    >>> found = Reconstruction(x, 0.9 * x, 0 * x, hidden, None, "signal", "scaled")
    >>> figure = reconstruction_figure(found, ch_names=["C3", "C4"], window_s=1.0)
    >>> [axis.get_title() for axis in figure.axes]
    ['original', 'what the model saw', 'reconstructed']
    """
    original, predicted, interpolated, hidden = _window(found, window)
    n_chans = len(original)
    names = list(ch_names) if ch_names is not None else [f"channel {number}" for number in range(n_chans)]
    if len(names) != n_chans:
        raise ValueError(f"the reconstruction has {n_chans} channels, and there are {len(names)} names")
    narrow = width_px < NARROW_PX
    row_in = float(np.clip(5.0 / n_chans, 0.16, 0.8))
    body_in = (row_in * n_chans + 0.3) * (3 if narrow else 1) + 0.6
    signal = found.kind == "signal"
    notes = [_about(found.unit, hidden, signal, top_hz)]
    figure = sheet(
        width_px, body_in, title or f"Reconstruction of hidden {'signal' if signal else 'spectra'}",
        alt=_alt(original, predicted, interpolated, hidden, signal), caution=caution, notes=notes, footnote=footnote,
    )  # fmt: skip
    axes = figure.subplots(*((3, 1) if narrow else (1, 3)), squeeze=False, sharex=True, sharey=True).ravel()
    length = float(hidden.shape[1]) if window_s is None else window_s
    draw = _draw_signals if signal else _draw_spectra
    draw(axes, original, predicted, interpolated, hidden, length)
    for axis, name in zip(axes, PANELS, strict=True):
        axis.set_title(name, fontsize=9)
        axis.tick_params(axis="x", labelsize=8)
        for side in axis.spines.values():
            side.set_color(GREY)
    letters = 8 if row_in > 0.17 else 7
    name_rows(axes[0], [-float(k) for k in range(n_chans)], names, row_in, letters)
    for axis in axes:
        axis.tick_params(axis="y", length=0, labelsize=letters, labelleft=narrow or axis is axes[0])
    for axis in axes[-1:] if narrow else axes:
        axis.set_xlabel("token of the window" if window_s is None else "time in the window (s)", fontsize=8)
    return figure


def _window(found: Reconstruction, window: int) -> tuple[Any, Any, Any, NDArray[np.bool_]]:
    """Return original, predicted, interpolated (n_chans, n_frames, n_features) and hidden."""
    n = len(found.original)
    if not -n <= window < n:
        raise ValueError(f"there is no window {window}: the reconstruction has {n}")
    original, predicted, interpolated = (
        part[window].double().numpy() for part in (found.original, found.predicted, found.interpolated)
    )
    if found.present is not None:
        original = np.where(found.present[window].numpy()[:, None, None], original, np.nan)
    return original, predicted, interpolated, found.hidden[window].numpy()


def _about(unit: str, hidden: NDArray[np.bool_], signal: bool, top_hz: float | None) -> str:
    share = 100 * hidden.mean()
    said = f"{share:.0f} % of the tokens were hidden. Values: {unit}."
    if signal:
        return f"{said} Orange: predicted; green, dashed: interpolated from what is visible."
    reach = "" if top_hz is None else f", from 0 Hz at its bottom to {top_hz:g} Hz at its top"
    return f"{said} A row is the spectrum of a channel{reach}; brighter is more."


def _alt(original: NDArray, predicted: NDArray, interpolated: NDArray, hidden: NDArray, signal: bool) -> str:
    known = hidden & np.isfinite(original).all(axis=2)
    what = "signals" if signal else "spectra"
    said = f"Original, masked and reconstructed {what} of {len(original)} channels; {int(hidden.sum())} of {hidden.size} tokens are hidden."
    if not known.any():
        return said
    error, guessed = ((part[known] - original[known]) ** 2 for part in (predicted, interpolated))
    skill = f"{1 - error.mean() / guessed.mean():.2f}" if guessed.mean() > 0 else "undefined"
    return f"{said} Skill over interpolation in this window: {skill}."


def _draw_signals(
    axes: Any, original: NDArray, predicted: NDArray, interpolated: NDArray, hidden: NDArray, length: float
) -> None:
    n_chans, n_frames, n_samples = original.shape
    step = channel_distance_uv(original.reshape(n_chans, -1))
    there = np.isfinite(original).any(axis=(1, 2))[:, None, None]
    middle = np.nanmedian(np.where(there, original, 0.0), axis=(1, 2), keepdims=True)
    times = np.linspace(0, length, n_frames * n_samples, endpoint=False)
    whole = (middle - original) / step
    seen = np.where(hidden[..., None], np.nan, whole)
    mended, guess = ((middle - part) / step for part in (predicted, interpolated))
    at = hidden[..., None]
    for axis, lines in zip(
        axes,
        (
            [(whole, TRACE, "-", 0.6)],
            [(seen, TRACE, "-", 0.6)],
            [
                (np.where(at, whole, np.nan), "#a8b0b9", "-", 0.6),
                (seen, TRACE, "-", 0.6),
                (np.where(at, guess, np.nan), INTERPOLATED, "--", 0.6),
                (np.where(at, mended, np.nan), RECONSTRUCTED, "-", 0.9),
            ],
        ),
        strict=True,
    ):
        for values, colour, dash, width in lines:
            for row, trace in enumerate(values.reshape(n_chans, -1)):
                axis.plot(times, trace - row, color=colour, linestyle=dash, linewidth=width)
        _say_absent(axis, original)
        axis.set(xlim=(0, length), ylim=(-n_chans + 0.4, 0.6))
    shade = np.where(hidden, 1.0, np.nan)
    for axis in axes[1:]:
        _rows_image(axis, shade[:, None, :], length, cmap=_one_colour(HIDDEN))


def _draw_spectra(
    axes: Any, original: NDArray, predicted: NDArray, interpolated: NDArray, hidden: NDArray, length: float
) -> None:
    del interpolated  # a third heat map beside two would hide what differs; its error is in the skill
    known = original[np.isfinite(original)]
    low, high = (float(v) for v in np.percentile(known, [2, 98])) if known.size else (0.0, 1.0)
    at = hidden[..., None]
    shown = (original, np.where(at, np.nan, original), np.where(at, predicted, original))
    for axis, values in zip(axes, shown, strict=True):
        _rows_image(axis, values.transpose(0, 2, 1), length, vmin=low, vmax=max(high, low + 1e-9), cmap=_spectra())
        for row in range(1, len(values)):
            axis.axhline(0.5 - row, color="white", linewidth=0.8)
        _say_absent(axis, original)
        axis.set(xlim=(0, length), ylim=(-len(values) + 0.5, 0.5))


def _rows_image(axis: Axes, values: NDArray, length: float, **how: Any) -> None:
    """Draw (n_rows, n_lines, n_columns): each row from its lowest line up."""
    lines = values[:, ::-1].reshape(-1, values.shape[2])
    extent = (0.0, length, -len(values) + 0.5, 0.5)
    axis.imshow(np.ma.masked_invalid(lines), extent=extent, aspect="auto", interpolation="nearest", zorder=0, **how)


def _spectra() -> Any:
    import matplotlib

    made = matplotlib.colormaps["cividis"].copy()
    made.set_bad(HIDDEN)
    return made


def _one_colour(colour: str) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap([colour])


def _say_absent(axis: Axes, original: NDArray) -> None:
    for row in np.flatnonzero(~np.isfinite(original).any(axis=(1, 2))):
        axis.text(0, -float(row), " absent", color="#3a424c", fontsize=7, va="center", style="italic")


def reconstruction_spectra_figure(
    found: Reconstruction,
    *,
    feature_hz: ArrayLike | None = None,
    sfreq: float | None = None,
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 1100,
) -> Figure:
    """Draw mean spectra of originals, predictions and interpolations, and their errors.

    Of spectra, hidden tokens alone count.  Of signals, a spectrum is that of a window whose hidden
    patches are filled by the prediction or by interpolation, as a patch alone is too short.

    Parameters
    ----------
    found : Reconstruction
        All its windows and present channels count alike.
    feature_hz : array-like, shape (n_features,), optional
        Frequencies of the features of spectra; they are counted without.
    sfreq : float, optional
        Samples a second of signals.
    title, caution, footnote : str, optional
        Words.
    width_px : int
        Width of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Nothing is hidden in a channel that is present.

    See Also
    --------
    reconstruction_figure : One window.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import Reconstruction
    >>> from biot_bd.pretraining.reconstruction_figures import reconstruction_spectra_figure
    >>> x, hidden = torch.randn(3, 2, 4, 25), torch.ones(3, 2, 4, dtype=torch.bool)
    >>> found = Reconstruction(x, 0.9 * x, 0 * x, hidden, None, "signal", "scaled")
    >>> reconstruction_spectra_figure(found, sfreq=100).axes[0].get_xlabel()
    'frequency (Hz)'
    """
    spectra, freqs, unit = _mean_spectra(found, feature_hz, sfreq)
    narrow = width_px < NARROW_PX
    of = "hidden tokens" if found.kind == "spectrum" else "windows with hidden patches filled"
    figure = sheet(
        width_px, 5.6 if narrow else 3.4, title or f"Spectra of {of}",
        alt=_spectra_alt(spectra, freqs, unit, of), caution=caution,
        notes=[f"Means over {len(found.original)} windows and their channels. Values: {found.unit}."], footnote=footnote,
    )  # fmt: skip
    left, right = figure.subplots(*((2, 1) if narrow else (1, 2)), squeeze=False).ravel()
    order = np.argsort(freqs, kind="stable")
    looks = ((TRACE, "-", 1.4), (RECONSTRUCTED, "-", 1.4), (INTERPOLATED, "--", 1.2))
    for (name, values), (colour, dash, width) in zip(spectra.items(), looks, strict=False):
        if not name.startswith("error"):
            left.plot(freqs[order], values[order], color=colour, linestyle=dash, linewidth=width, label=name)
    for name, (colour, dash, width) in zip(("predicted", "interpolated"), looks[1:], strict=True):
        right.plot(
            freqs[order], spectra[f"error of {name}"][order], color=colour, linestyle=dash, linewidth=width, label=name
        )
    _label(left, unit, "mean value" if found.kind == "spectrum" else "mean power")
    _label(right, unit, "mean squared error" if found.kind == "spectrum" else "power of the error")
    if found.kind == "signal":
        for axis in (left, right):
            axis.set_yscale("log")
    right.set_ylim(bottom=None if found.kind == "signal" else 0)
    return figure


def _label(axis: Axes, xlabel: str, ylabel: str) -> None:
    axis.set_xlabel(xlabel, fontsize=8)
    axis.set_ylabel(ylabel, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def _mean_spectra(
    found: Reconstruction, feature_hz: ArrayLike | None, sfreq: float | None
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64], str]:
    """Return means by frequency, the frequencies, and what they are called."""
    hidden = found.hidden.numpy()
    if not hidden.any():
        raise ValueError("no token was hidden: there is no spectrum of hidden tokens")
    original, predicted, interpolated = (
        part.double().numpy() for part in (found.original, found.predicted, found.interpolated)
    )
    if found.kind == "spectrum":
        parts = [part[hidden] for part in (original, predicted, interpolated)]
        known = np.full(original.shape[-1], np.nan) if feature_hz is None else np.asarray(feature_hz, dtype=float)
        freqs = np.arange(original.shape[-1], dtype=float) if feature_hz is None else known
        means = [part.mean(axis=0) for part in parts]
        errors = [((part - parts[0]) ** 2).mean(axis=0) for part in parts[1:]]
        unit = "feature" if feature_hz is None else "frequency (Hz)"
    else:
        whole = original.reshape(*original.shape[:2], -1)[hidden.any(axis=2)]
        filled = [
            np.where(hidden[..., None], part, original).reshape(*original.shape[:2], -1)[hidden.any(axis=2)]
            for part in (predicted, interpolated)
        ]
        freqs = np.fft.rfftfreq(whole.shape[-1], 1 / (sfreq or 1.0))[1:]
        means = [_power(part) for part in (whole, *filled)]
        errors = [_power(part - whole) for part in filled]
        unit = "frequency (cycles a sample)" if sfreq is None else "frequency (Hz)"
    names = ("original", "predicted", "interpolated")
    spectra = dict(zip(names, means, strict=True))
    return spectra | {f"error of {name}": one for name, one in zip(names[1:], errors, strict=True)}, freqs, unit


def _power(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean periodogram of signals (n, n_times), Hann window, without its mean."""
    x = (x - x.mean(axis=-1, keepdims=True)) * np.hanning(x.shape[-1])
    power: NDArray[np.float64] = (np.abs(np.fft.rfft(x, axis=-1)) ** 2).mean(axis=0)[1:] / x.shape[-1]
    return power


def _spectra_alt(spectra: dict[str, NDArray[np.float64]], freqs: NDArray[np.float64], unit: str, of: str) -> str:
    error, guessed = spectra["error of predicted"], spectra["error of interpolated"]
    better = freqs[error < guessed]
    said = f"Mean spectra of {of}: original, predicted and interpolated, and their errors by {unit}."
    if not len(better):
        return f"{said} The prediction's error is nowhere below that of interpolation."
    return f"{said} The prediction's error is below that of interpolation at {len(better)} of {len(freqs)} places, from {better.min():g} to {better.max():g}."


def reconstruction_scores_figure(
    scores: ReconstructionScores,
    *,
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
    width_px: int = 1100,
) -> Figure:
    """Draw skill over interpolation and correlation, by channel and by subject.

    Parameters
    ----------
    scores : ReconstructionScores
        Where subjects trained, the picture says so.
    title, caution, footnote : str, optional
        Words.
    width_px : int
        Width of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    See Also
    --------
    score_reconstruction : Makes the scores.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import Reconstruction, scores_of
    >>> from biot_bd.pretraining.reconstruction_figures import reconstruction_scores_figure
    >>> x, hidden = torch.randn(3, 2, 4, 25), torch.ones(3, 2, 4, dtype=torch.bool)
    >>> found = Reconstruction(x, 0.9 * x, 0 * x, hidden, None, "signal", "scaled")
    >>> figure = reconstruction_scores_figure(scores_of([found], ["site/01"] * 3))
    >>> [axis.get_title() for axis in figure.axes]
    ['by channel', 'by subject']
    """
    parts = {"by channel": scores.rows("channel"), "by subject": scores.rows("subject")}
    narrow = width_px < NARROW_PX
    n_rows = {name: len(rows) for name, rows in parts.items()}
    longest = max(n_rows.values())
    row_in = float(np.clip(5.0 / longest, 0.05, 0.3))
    body_in = (row_in * (sum(n_rows.values()) if narrow else longest)) + (1.8 if narrow else 0.9)
    if scores.seen_subjects:
        told = f"{len(scores.seen_subjects)} of these subjects trained, or are not known: this is no test"
        caution = told if caution is None else f"{told}. {caution}"
    notes = [
        "Filled dots: skill over interpolation (1: perfect, 0: as the guess from visible neighbours). Open squares: "
        f"correlation. Hidden tokens only, {scores.n_windows} windows.",
    ]
    figure = sheet(
        width_px, body_in, title or "Reconstruction by channel and by subject", alt=_scores_alt(scores),
        caution=caution, notes=notes, footnote=footnote,
    )  # fmt: skip
    ratios = {"height_ratios": [max(1, n) for n in n_rows.values()]} if narrow else None
    axes = figure.subplots(*((2, 1) if narrow else (1, 2)), squeeze=False, gridspec_kw=ratios).ravel()
    for axis, (name, rows) in zip(axes, parts.items(), strict=True):
        _dots(axis, rows, name.removeprefix("by "), row_in * (1 if narrow else longest / max(len(rows), 1)))
        axis.set_title(name, fontsize=9)
    return figure


def _dots(axis: Axes, rows: pd.DataFrame, by: str, row_in: float) -> None:
    """Draw a row of dots for each channel or subject; what lies left of the axis is an arrow."""
    places = -np.arange(len(rows), dtype=float)
    values = {name: rows[name].to_numpy(dtype=float) for name in ("skill", "correlation")}
    known = np.concatenate([part[np.isfinite(part)] for part in values.values()])
    low = -0.1 if not known.size else max(-1.0, min(-0.1, float(known.min()) - 0.05))
    axis.axvline(0, color=GREY, linewidth=0.8)
    looks = {"skill": ("o", PALETTE[0], PALETTE[0]), "correlation": ("s", PALETTE[1], "none")}
    for name, (marker, colour, face) in looks.items():
        inside = values[name] >= low
        axis.plot(values[name][inside], places[inside], marker, color=colour, markerfacecolor=face, markersize=4.5)
        beyond = values[name] < low
        axis.plot(np.full(beyond.sum(), low), places[beyond], "<", color=colour, markerfacecolor=face, markersize=5)
    for place in places[~np.isfinite(values["skill"]) & ~np.isfinite(values["correlation"])]:
        axis.text(0, place, " undefined", fontsize=7, color="#3a424c", va="center", style="italic")
    axis.set(xlim=(low, 1.02), ylim=(-len(rows) + 0.4, 0.6))
    axis.set_xlabel("skill and correlation", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", color="#e3e7eb", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    name_rows(axis, places.tolist(), rows[by].tolist(), row_in, 8)


def _scores_alt(scores: ReconstructionScores) -> str:
    overall = scores.overall
    said = [
        f"Skill over interpolation {overall['skill']:.2f} and correlation {overall['correlation']:.2f}, means over subjects"
    ]
    for by in ("channel", "subject"):
        rows = scores.rows("channel" if by == "channel" else "subject")
        known = rows[rows["skill"].notna()]
        if len(known) > 1:
            best, worst = (known.iloc[int(at)] for at in (known["skill"].argmax(), known["skill"].argmin()))
            said.append(f"by {by} skill is from {worst['skill']:.2f} ({worst[by]}) to {best['skill']:.2f} ({best[by]})")
    return "; ".join(said) + "."
