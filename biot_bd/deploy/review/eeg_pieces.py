"""Pieces of a recording as the review page asks for them; nothing else of it is read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from biot_bd.deploy.decided_curve import curve_of
from biot_bd.deploy.detector import Detection
from biot_bd.deploy.model import montage_of_channels
from biot_bd.io.recordings import OpenRecording, read_excerpt
from biot_bd.signals.montages import plan_montage
from biot_bd.signals.resampling import resampling_ratio
from biot_bd.viewer import Traces, ViewedRecording, derived_traces, reading_montage, samples_message, viewer_about
from biot_bd.viewer.traces import DISPLAY_HZ

MARGIN_S = 2.0  # read on either side, so that a piece does not depend on where it is cut
LONGEST_S = 120.0
MESSAGES_KEPT = 64  # of half a minute each some 10 MB


class EegPieces:
    """A recording in the reader's montage, piece by piece.

    Parameters
    ----------
    recording : OpenRecording
        What to read.
    detection : Detection
        What was found in it; its channels are the model's montage.

    See Also
    --------
    biot_bd.viewer.reading_montage : What is added for readers.

    Examples
    --------
    >>> import mne, numpy as np
    >>> from biot_bd.deploy import Detection
    >>> from biot_bd.io import open_recording
    >>> info = mne.create_info(["Fp1-F7", "F7-T7"], 256.0, "eeg")
    >>> raw = mne.io.RawArray(np.zeros((2, 2560)), info, verbose="error")
    >>> channels = {"Fp1-F7": "Fp1-F7", "F7-T7": "F7-T7"}
    >>> found = Detection(
    ...     "x", [], [], [], 10.0, 5.0, 10.0, 256.0, channels, [], {}, segments=[(0.0, 10.0)]
    ... )
    >>> pieces = EegPieces(open_recording(raw), found)
    >>> pieces.traces(3.0, 5.0).values_uv.shape
    (2, 256)
    """

    def __init__(self, recording: OpenRecording, detection: Detection) -> None:
        self.recording, self.detection = recording, detection
        raw = recording.raw
        montage = reading_montage(montage_of_channels(tuple(detection.channels)), raw.ch_names, recording.unusable)
        self.plan = plan_montage(montage, raw.ch_names, recording.unusable)
        self.recorded_hz = float(recording.reader(self.plan.needed)[0].sfreq) if self.plan.needed else DISPLAY_HZ
        self.sfreq = min(self.recorded_hz, DISPLAY_HZ)
        self._lock = threading.Lock()  # MNE's readers are not made for threads
        self._messages: OrderedDict[tuple[float, float], bytes] = OrderedDict()

    def traces(self, from_s: float, to_s: float) -> Traces:
        """Read a piece.

        Parameters
        ----------
        from_s, to_s : float
            Seconds since the recording's start, pauses included.

        Returns
        -------
        Traces
            NaN where nothing was recorded.

        Raises
        ------
        ValueError
            They are no piece of the recording, or a longer one than ``LONGEST_S``.
        DetectionError
            It cannot be read.
        """
        duration_s = self.recording.duration_s
        if not (0 <= from_s < to_s <= duration_s + 1 and to_s - from_s <= LONGEST_S):
            raise ValueError(
                f"expected a piece of at most {LONGEST_S:g} s from 0 to {duration_s:g} s, found {from_s:g} to {to_s:g} s"
            )
        first = int(np.ceil(from_s * self.sfreq - 1e-6))
        n = max(1, int(np.ceil(min(to_s, duration_s) * self.sfreq - 1e-6)) - first)
        values = np.full((self.plan.montage.n_chans, n), np.nan, np.float32)
        for segment_s, stop_s in self._segments():
            if self.plan.needed and segment_s < to_s and stop_s > from_s:
                part = self._read(max(segment_s, from_s - MARGIN_S), min(stop_s, to_s + MARGIN_S), segment_s)
                at = round(part.start_s * self.sfreq) - first
                skip, stop = max(0, -at), min(part.values_uv.shape[1], n - at)
                if stop > skip:
                    values[:, at + skip : at + stop] = part.values_uv[:, skip:stop]
        origins = tuple(self.plan.origins.values())
        return Traces(values, self.sfreq, first / self.sfreq, self.plan.montage.ch_names, origins)

    def message(self, from_s: float, to_s: float) -> bytes:
        """Return a piece as the page reads it; errors as in :meth:`traces`."""
        with self._lock:
            found = self._messages.pop((from_s, to_s), None) or samples_message(self.traces(from_s, to_s))
            self._messages[from_s, to_s] = found
            while len(self._messages) > MESSAGES_KEPT:
                self._messages.popitem(last=False)
        return found

    def about(self, name: str) -> dict[str, Any]:
        """Return what the page must know beside the samples; its events are those of the review."""
        detection = self.detection
        curve = curve_of(detection)
        start = detection.start_time
        viewed = ViewedRecording(
            name,
            self.recording.duration_s,
            start_time=None if start is None else start.isoformat(),
            sfreq=self.recorded_hz,
            gaps=detection.gaps,
            curve_times_s=curve.times_s + 0.5,
            curve=curve.drawn,
            window_times_s=detection.start_s + detection.window_s / 2,
            window_probabilities=detection.probabilities,
            threshold=detection.setting["events"]["threshold"],
            notes=[*detection.notes, *(note for note in self.recording.notes if note not in detection.notes)],
        )
        origins = tuple(self.plan.origins.values())
        return viewer_about(viewed, self.plan.montage.ch_names, origins, self.sfreq)

    def _segments(self) -> list[tuple[float, float]]:
        return [(start, start + length) for start, length in self.detection.segments]

    def _read(self, from_s: float, to_s: float, segment_s: float) -> Traces:
        """Read from a sample on that is one of the displayed rate, too."""
        down = resampling_ratio(self.recorded_hz, self.sfreq)[1]
        begin = int((from_s - segment_s) * self.recorded_hz) // down * down
        begin_s = segment_s + (begin + 0.01) / self.recorded_hz  # in this sample, not at its edge
        x, start_s, sfreq = read_excerpt(self.recording, self.plan.needed, begin_s, to_s)
        return derived_traces(x, sfreq, start_s, self.plan)
