"""What goes into an event detector and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Event(NamedTuple):
    """An event: seconds from the recording's start, and how sure.

    Of a detected event the confidence is the highest value of the smoothed curve in it; None where a file says nothing.
    """

    onset_s: float
    offset_s: float
    confidence: float | None = None


class Alarm(NamedTuple):
    """An event that has begun: its onset, the time at which that was known, and the highest value so far.

    See Also
    --------
    EventStream.take_alarms : Where alarms come from.

    Examples
    --------
    >>> Alarm(onset_s=10.0, time_s=20.0, confidence=0.9).time_s
    20.0
    """

    onset_s: float
    time_s: float
    confidence: float


@dataclass(frozen=True)
class RecordingScores:
    """What a model said of one recording, and what is true: the food of :meth:`EventDetector.fit`.

    Parameters
    ----------
    recording, subject : str
    probabilities : array of shape (n,)
        Of a seizure, one a window.
    start_s : array of shape (n,)
        Starts of the windows.
    duration_s : float
    reference : sequence of (onset_s, offset_s)
        Annotated seizures.
    """

    recording: str
    subject: str
    probabilities: Any
    start_s: Any
    duration_s: float
    reference: Sequence[Sequence[float]]
