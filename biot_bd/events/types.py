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
