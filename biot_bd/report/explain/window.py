"""The window that is explained, amid those around it: chosen from a store, or handed over by
whoever read a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biot_bd.report.drawing.curves import EegExcerpt
from biot_bd.report.examples import described, seizures_of, stitched
from biot_bd.report.explain.model import Model, Signal, model_input_uv, seizure_probability, signal_of
from biot_bd.report.explain.source import Source, subject_of
from biot_bd.windows import Windows

CONTEXT_S = 30.0
BATCH = 64
MOST_AROUND = 64

Step = Callable[[int, int], None]
"""Told how many windows are done, of how many."""


@dataclass(frozen=True)
class ExplainedWindow:
    """A window and those around it, of one recording.

    Parameters
    ----------
    around : Signal
        Windows (n, n_chans, n_times) in microvolts, the explained one among them.
    row : int
        Which one is explained.
    start_s : ndarray, shape (n,)
        Start of each, in seconds since the recording's start.
    proba : ndarray, shape (n,)
        Probability of a seizure of each; NaN where no channel was usable.
    label : int or None
        1 where the window is labelled seizure, 0 where not; None where nobody says.
    recording : str
        Its name.
    subject : str or None
        Whose it is.
    how : str
        How the window was chosen, in words.
    seizures : sequence of (onset_s, offset_s)
        Annotated seizures of the recording.
    generated : bool
        Whether the recording was made by a program.
    notes : sequence of str
        What a reader should know of the recording.
    anonymous : bool
        Whether it has a number for its name; what is written then says neither dates nor places.
    """

    around: Signal
    row: int
    start_s: NDArray[np.float64]
    proba: NDArray[np.float64]
    label: int | None
    recording: str
    subject: str | None
    how: str
    seizures: Sequence[tuple[float, float]] = ()
    generated: bool = False
    notes: Sequence[str] = ()
    anonymous: bool = False

    @property
    def duration_s(self) -> float:
        """Length of a window."""
        return self.around.info.n_times / float(self.around.info.sfreq or 1.0)

    @property
    def begin_s(self) -> float:
        """Start of the explained window."""
        return float(self.start_s[self.row])

    @property
    def end_s(self) -> float:
        """End of the explained window."""
        return self.begin_s + self.duration_s

    @property
    def probability(self) -> float:
        """Probability of a seizure of the explained window."""
        return float(self.proba[self.row])

    @property
    def place(self) -> str:
        """Where the window lies, in words."""
        return f"{self.recording}, {self.begin_s:g} to {self.end_s:g} s"

    def explained(self) -> Signal:
        """Return the explained window alone, in microvolts."""
        return Signal(self.around.x[self.row : self.row + 1], self.around.info)

    def inside(self) -> list[tuple[float, float]]:
        """Return the parts of annotated seizures in the window, in seconds from its start."""
        spans = [(max(a, self.begin_s), min(b, self.end_s)) for a, b in self.seizures]
        return [(a - self.begin_s, b - self.begin_s) for a, b in spans if b > a]

    def excerpt(self, model: Model, threshold: float) -> EegExcerpt:
        """Return the EEG around the window in the channels that the network sees, with the
        probabilities of the windows around.
        """
        signal = model_input_uv(model, self.around)
        sfreq = float(signal.info.sfreq or 1.0)
        middle = (self.begin_s + self.end_s) / 2
        low = max(float(self.start_s.min()), middle - CONTEXT_S)
        high = min(float(self.start_s.max()) + self.duration_s, middle + CONTEXT_S)
        centres = self.start_s + self.duration_s / 2
        shown = np.isfinite(self.proba) & (centres >= low) & (centres <= high)
        return EegExcerpt(
            signal_uv=stitched(zip(self.start_s, signal.x, strict=True), signal.x.shape[1], sfreq, low, high),
            sfreq=sfreq,
            start_s=low,
            ch_names=signal.ch_names,
            centres_s=centres[shown],
            proba=self.proba[shown],
            seizures=[(a, b) for a, b in self.seizures if b > low and a < high],
            window=(self.begin_s, self.end_s),
            threshold=threshold,
        )


def window_of_store(
    model: Model,
    source: Source,
    windows: Windows,
    *,
    recording: str | None = None,
    at_s: float | None = None,
    step: Step | None = None,
) -> ExplainedWindow:
    """Choose a window of a store: the one that covers a moment, else the one labelled seizure that
    the model is most certain of.

    Parameters
    ----------
    model : Model
        Gives the probabilities.
    source : Source
        Says whose windows it may explain.
    windows : Windows
        In uV.
    recording : str, optional
        Choose among its windows only.
    at_s : float, optional
        Seconds since the recording's start.
    step : callable, optional
        Told how far the search is.

    Returns
    -------
    ExplainedWindow

    Raises
    ------
    biot_bd.exceptions.StoreError
        The windows are not in uV, or do not say their channels and rate.
    ValueError
        There is no such window, or a moment is named without a recording where there are several.
    """
    described(windows)
    rows = _candidates(source, windows, recording)
    labels = np.asarray(windows.y)[rows]
    if at_s is not None:
        row = _covering(windows, rows, at_s)
        how = f"the window around {at_s:g} s, as asked for"
    else:
        seizure = labels == 1
        searched = rows[seizure] if seizure.any() else rows
        row, of = _most_certain(model, windows, searched, step)
        among = f"{of:,} labelled seizure" if seizure.any() else f"all {of:,}, none of which is labelled seizure"
        how = f"the window with the highest probability of a seizure out of {among}"
    return _amid(model, windows, row, how)


def _candidates(source: Source, windows: Windows, recording: str | None) -> NDArray[np.int64]:
    if recording is not None:
        subject_of(windows, recording)
        rows = np.flatnonzero((windows.metadata["recording"] == recording).to_numpy())
    elif source.subjects is not None:
        rows = np.flatnonzero(np.isin(windows.groups.astype(str), source.subjects))
    else:
        rows = np.arange(len(windows))
    if not len(rows):
        raise ValueError(
            f"there are no windows of the subjects {', '.join(source.subjects or ())}; choose another --fold"
        )
    return rows


def _covering(windows: Windows, rows: NDArray[np.int64], at_s: float) -> int:
    """Return the window whose middle is nearest to a moment that it covers."""
    metadata = windows.metadata.iloc[rows]
    names = metadata["recording"].unique()
    if len(names) > 1:
        raise ValueError(
            f"--at-s {at_s:g}: there are {len(names)} recordings ({', '.join(map(str, names[:3]))}, ...); name one with --recording"
        )
    start, stop = metadata["start_s"].to_numpy(), metadata["stop_s"].to_numpy()
    covers = (start <= at_s) & (at_s < stop)
    if not covers.any():
        raise ValueError(
            f"{names[0]}: no window covers {at_s:g} s; its windows lie between {start.min():g} and {stop.max():g} s"
        )
    far = np.where(covers, np.abs((start + stop) / 2 - at_s), np.inf)
    return int(rows[int(np.argmin(far))])


def _most_certain(model: Model, windows: Windows, rows: NDArray[np.int64], step: Step | None) -> tuple[int, int]:
    """Return the window with the highest probability of a seizure, and out of how many."""
    best, at = -1.0, -1
    for begin in range(0, len(rows), BATCH):
        batch = rows[begin : begin + BATCH]
        proba = seizure_probability(model, signal_of(windows[batch]))
        proba = np.where(np.isfinite(proba), proba, -1.0)
        if proba.max() > best:
            best, at = float(proba.max()), int(batch[int(proba.argmax())])
        if step is not None:
            step(begin + len(batch), len(rows))
    if at < 0:
        raise ValueError("the model gives no window a probability: no channel is usable")
    return at, len(rows)


def _amid(model: Model, windows: Windows, row: int, how: str) -> ExplainedWindow:
    metadata = windows.metadata
    window = metadata.iloc[row]
    recording = str(window["recording"])
    middle = (metadata["start_s"] + metadata["stop_s"]) / 2
    distance = (middle - (window["start_s"] + window["stop_s"]) / 2).abs()
    near = np.flatnonzero(((metadata["recording"] == recording) & (distance <= CONTEXT_S)).to_numpy())
    near = np.sort(near[np.argsort(distance.to_numpy()[near], kind="stable")[:MOST_AROUND]])
    around = signal_of(windows[near])
    return ExplainedWindow(
        around=around,
        row=int(np.flatnonzero(near == row)[0]),
        start_s=metadata["start_s"].to_numpy(dtype=float)[near],
        proba=seizure_probability(model, around),
        label=int(windows.y[row]),
        recording=recording,
        subject=str(window["subject"]),
        how=how,
        seizures=seizures_of(windows).get(recording, []),
        generated=bool(windows.generated),
        anonymous=bool(windows.anonymous),
    )
