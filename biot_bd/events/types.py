"""What goes into an event detector and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypedDict

Scores: TypeAlias = dict[str, Any]
"""Scores by their names, as JSON holds them.

Numbers, None where undefined, lists, and scores inside scores.
"""


class Event(NamedTuple):
    """An event: seconds from the recording's start, and how sure.

    Of a detected event the confidence is the highest value of the smoothed curve in it; None where
    a file says nothing.

    Parameters
    ----------
    onset_s, offset_s : float
        Where it begins and ends, in seconds from the recording's start.
    confidence : float, optional
        From 0 to 1; None where nothing is known.

    See Also
    --------
    EventDetector.predict : Finds events.

    Examples
    --------
    >>> from biot_bd.events import Event
    >>> Event(10.0, 25.0, 0.9).offset_s
    25.0
    """

    onset_s: float
    offset_s: float
    confidence: float | None = None


class Alarm(NamedTuple):
    """An event that has begun, and may not have ended.

    Parameters
    ----------
    onset_s : float
        Where the event begins, in seconds from the recording's start.
    time_s : float
        When that was known, in seconds from the recording's start.
    confidence : float
        The highest value so far of the smoothed curve in it.

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


class Scorer(TypedDict):
    """What stands beside every score: who counted, and how."""

    name: str
    version: str
    parameters: dict[str, float]


class SeizureScore(TypedDict):
    """An annotated seizure: whether an alarm met it, how late, and how far from its onset."""

    onset_s: float
    offset_s: float
    detected: bool
    latency_s: float | None
    onset_error_s: float | None


@dataclass(frozen=True)
class RecordingScores:
    """What a model said of one recording, and what is true: the food of :meth:`EventDetector.fit`.

    Parameters
    ----------
    recording, subject : str
        The recording, and the subject that it is of.
    probabilities : array of shape (n,)
        Of a seizure, one a window.
    start_s : array of shape (n,)
        Starts of the windows.
    duration_s : float
        Length of the recording in seconds.
    reference : sequence of (onset_s, offset_s)
        Annotated seizures.

    See Also
    --------
    EventDetector.fit : What it is for.

    Examples
    --------
    >>> from biot_bd.events import RecordingScores
    >>> seen = RecordingScores("rec01", "site/01", [0.1, 0.9], [0, 10], 20.0, [(10, 20)])
    >>> seen.subject
    'site/01'
    """

    recording: str
    subject: str
    probabilities: Any
    start_s: Any
    duration_s: float
    reference: Sequence[Sequence[float]]
