"""Pieces of a recording as the review page asks for them; nothing else of it is read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np

from biot_bd.deploy.detector import Detection
from biot_bd.deploy.eeg_views import EegReader, detected_montage, viewed_recording
from biot_bd.io.recordings import OpenRecording
from biot_bd.viewer import Traces, samples_message, viewer_about
from biot_bd.viewer.traces import DISPLAY_HZ

EDGE_S = 1e-5
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
    biot_bd.deploy.eeg_views.EegReader : Reads them.

    Examples
    --------
    >>> import mne, numpy as np
    >>> from biot_bd.deploy import Detection
    >>> from biot_bd.io import open_recording
    >>> info = mne.create_info(["Fp1-F7", "F7-T7"], 256.0, "eeg")
    >>> raw = mne.io.RawArray(np.zeros((2, 2560)), info, verbose="error")
    >>> channels = {"Fp1-F7": "Fp1-F7", "F7-T7": "F7-T7"}
    >>> found = Detection(
    ...     "x", [], [], [], 10.0, 5.0, 10.0, 256.0, channels, [], {"montage": ""}
    ... )
    >>> pieces = EegPieces(open_recording(raw), found)
    >>> pieces.traces(3.0, 5.0).values_uv.shape
    (2, 256)
    """

    def __init__(self, recording: OpenRecording, detection: Detection) -> None:
        self.recording, self.detection = recording, detection
        self._reader = EegReader(recording, detected_montage(detection))
        self.sfreq = min(self._reader.sfreq or DISPLAY_HZ, DISPLAY_HZ)
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
        plan = self._reader.plan
        values = np.full((plan.montage.n_chans, n), np.nan, np.float32)
        # From a whole second on, so that samples lie where they lie in every other piece; in that
        # sample, not at its edge.
        begin_s = max(0.0, np.floor(from_s) - MARGIN_S) + EDGE_S
        for part in self._reader.read(begin_s, min(to_s + MARGIN_S, duration_s)):
            at = round(part.start_s * self.sfreq) - first
            skip, stop = max(0, -at), min(part.values_uv.shape[1], n - at)
            if stop > skip:
                values[:, at + skip : at + stop] = part.values_uv[:, skip:stop]
        return Traces(values, self.sfreq, first / self.sfreq, plan.montage.ch_names, tuple(plan.origins.values()))

    def message(self, from_s: float, to_s: float) -> bytes:
        """Return a piece as the page reads it; errors as in :meth:`traces`."""
        with self._lock:
            found = self._messages.pop((from_s, to_s), None) or samples_message(self.traces(from_s, to_s))
            self._messages[from_s, to_s] = found
            while len(self._messages) > MESSAGES_KEPT:
                self._messages.popitem(last=False)
        return found

    def about(self, name: str, *, blind: bool = False) -> dict[str, Any]:
        """Return what the page must know beside the samples; its events are those of the review.

        ``blind`` leaves out all that the detector said.
        """
        detection, plan = self.detection, self._reader.plan
        notes = [*detection.notes, *(note for note in self.recording.notes if note not in detection.notes)]
        viewed = replace(viewed_recording(detection), name=name, events=(), notes=notes)
        if blind:
            hidden: dict[str, Any] = dict.fromkeys(
                ("gaps", "curve_times_s", "curve", "window_times_s", "window_probabilities"), ()
            )
            viewed = replace(viewed, threshold=None, notes=self.recording.notes, **hidden)
        return viewer_about(viewed, plan.montage.ch_names, tuple(plan.origins.values()), self.sfreq)
