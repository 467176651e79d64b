"""EEG of a recording as a reader sees it beside a detection: which channels, which stretches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from biot_bd import registry
from biot_bd.deploy.decided_curve import curve_of
from biot_bd.deploy.detector import Detection
from biot_bd.events.intervals import merge
from biot_bd.io.recordings import OpenRecording, read_excerpt
from biot_bd.signals.montages import Montage, montage_of, parse_name, plan_montage
from biot_bd.viewer import Traces, ViewedRecording, derived_traces, reading_montage

AROUND_S = 60.0


def detected_montage(detection: Detection) -> Montage:
    """Return the montage that the model saw, from a detection alone.

    Parameters
    ----------
    detection : Detection
        Of a file or of a record.

    Returns
    -------
    Montage
        The registered one of its name where the channels are the same.

    See Also
    --------
    EegReader : Reads a recording as a reader of EEG needs it.
    """
    names, name = tuple(detection.channels), detection.setting["montage"]
    known = registry.montages[name] if name in registry.montages else montage_of(names)
    if known is not None and known.ch_names == names:
        return known
    bipolar = all(parsed is not None and parsed.bipolar for parsed in map(parse_name, names))
    return Montage(name, names, "bipolar" if bipolar else "referential")


class EegReader:
    """Read stretches of a recording: the model's channels, and the midline where the file has it.

    Parameters
    ----------
    recording : OpenRecording
        What to read; nothing is read but what is asked for.
    montage : Montage
        What the model sees, e.g. :func:`detected_montage`.

    See Also
    --------
    biot_bd.viewer.reading_montage : The channels.
    """

    def __init__(self, recording: OpenRecording, montage: Montage) -> None:
        names = recording.ch_names
        self.recording = recording
        self.plan = plan_montage(reading_montage(montage, names, recording.unusable), names, recording.unusable)
        self.sfreq, self._line = 0.0, None
        if self.plan.needed:
            reader, self._line = recording.reader(self.plan.needed)
            self.sfreq = reader.sfreq

    def read(self, start_s: float, stop_s: float) -> list[Traces]:
        """Return the EEG from one time to another, a stretch for each part between pauses.

        Parameters
        ----------
        start_s, stop_s : float
            Seconds since the recording's start.

        Returns
        -------
        list of Traces
            At most 128 Hz; empty where nothing was recorded.

        Raises
        ------
        DetectionError
            The file cannot be read.
        """
        if self._line is None:
            return []
        found = []
        for segment in self._line.segments:
            begin_s, end_s = max(start_s, segment.start_s), min(stop_s, segment.stop_s)
            if end_s - begin_s < 2 / self.sfreq:
                continue
            x, first_s, sfreq = read_excerpt(self.recording, self.plan.needed, begin_s, end_s)
            if x.shape[1]:
                found.append(derived_traces(x, sfreq, first_s, self.plan))
        return found


def neighbourhoods(
    spans_s: Sequence[tuple[float, float]], duration_s: float, around_s: float = AROUND_S
) -> list[tuple[float, float]]:
    """Return the stretches around events, those that meet joined.

    Parameters
    ----------
    spans_s : sequence of (float, float)
        Onset and offset of each event in seconds.
    duration_s : float
        Length of the recording.
    around_s : float
        Seconds on either side.

    Returns
    -------
    list of (float, float)
        In the order of time, whole seconds, within the recording.

    Examples
    --------
    >>> neighbourhoods([(30, 40), (130, 140), (400, 420)], 450.0)
    [(0.0, 200.0), (340.0, 450.0)]
    """
    around = [(np.floor(max(a - around_s, 0)), np.ceil(min(b + around_s, duration_s))) for a, b in spans_s]
    joined, _ = merge(np.array(around, float).reshape(-1, 2))
    return [(float(a), min(float(b), duration_s)) for a, b in joined]


def hours(duration_s: float) -> Iterator[tuple[float, float]]:
    """Yield start and stop of each hour of a recording, in seconds."""
    for start_s in np.arange(0.0, duration_s, 3600.0):
        yield float(start_s), min(float(start_s) + 3600.0, duration_s)


def viewed_recording(detection: Detection, within_s: tuple[float, float] | None = None) -> ViewedRecording:
    """Return what a viewer says of a detection beside the EEG.

    Parameters
    ----------
    detection : Detection
        What was found.
    within_s : (float, float), optional
        Only events that reach into this stretch are listed; all by default.

    Returns
    -------
    ViewedRecording
        With the curve that decided, the windows, the threshold and gaps.
    """
    curve = curve_of(detection)
    from_s, to_s = within_s or (0.0, np.inf)
    return ViewedRecording(
        Path(detection.source).name,
        detection.duration_s,
        None if detection.start_time is None else detection.start_time.isoformat(),
        sfreq=detection.sfreq,
        events=[
            {**event._asdict(), "label": f"event {number}"}
            for number, event in enumerate(detection.events, 1)
            if event.onset_s < to_s and event.offset_s > from_s
        ],
        gaps=detection.gaps,
        curve_times_s=curve.times_s,
        curve=curve.drawn,
        window_times_s=detection.start_s + detection.window_s / 2,
        window_probabilities=detection.probabilities,
        threshold=detection.setting["events"]["threshold"],
    )
