"""What a reviewer says of one recording: marks on detections and on events that were missed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict

from biot_bd.events.intervals import OVERLAPPING, merge
from biot_bd.events.texts import SEIZURE
from biot_bd.exceptions import MissingExtraError

KINDS = ("confirmed", "rejected", "moved", "added")
LONGEST_REMARK = 1000
MOST_MARKS = 10_000


class MarkFacts(TypedDict):
    """A mark as JSON holds it."""

    kind: str
    onset_s: float
    offset_s: float
    detected: list[float] | None
    type: str
    remark: str
    time: str


class ReviewedEvent(NamedTuple):
    """A seizure, as a reviewer says.

    Parameters
    ----------
    onset_s, offset_s : float
        Seconds since the recording's start.
    type : str
        One of :func:`seizure_types`.

    See Also
    --------
    Review : Has them as ``events``.

    Examples
    --------
    >>> ReviewedEvent(10.0, 25.0, "sz_foc").type
    'sz_foc'
    """

    onset_s: float
    offset_s: float
    type: str = SEIZURE


@lru_cache(maxsize=1)
def seizure_types() -> Mapping[str, str]:
    """Return the types of seizures that SzCORE knows, each with what it stands for.

    Returns
    -------
    mapping of str to str
        ``"sz"`` first, which says no more than that it is one.

    See Also
    --------
    Mark : Has one of them.

    Examples
    --------
    >>> seizure_types()["sz_foc_ia"]
    'Focal impaired-awareness seizure'
    """
    try:
        from epilepsy2bids import bids
    except ImportError as error:
        raise MissingExtraError(
            "epilepsy2bids is not installed, and reviews take the types of seizures from it: pip install epilepsy2bids"
        ) from error

    levels = json.loads(files(bids).joinpath("events.json").read_text(encoding="utf-8"))["Levels"]
    told = {name: text.split(" (")[0].rstrip(".") for name, text in levels.items() if name.startswith(SEIZURE)}
    return MappingProxyType({**told, SEIZURE: "Seizure, its type not said"})


@dataclass(frozen=True)
class Mark:
    """What a reviewer says of one detection, or an event that the detector missed.

    Parameters
    ----------
    kind : {"confirmed", "rejected", "moved", "added"}
        A seizure as detected; none; a seizure with another onset or offset; one that was missed.
    onset_s, offset_s : float
        Seconds since the recording's start, kept to a hundredth, as a TSV holds them.
    detected : (float, float), optional
        Onset and offset of the detection; None for what was added.
    type : str
        One of :func:`seizure_types`.
    remark : str
        One line of the reviewer.
    time : str
        When it was marked: ISO 8601 with a time zone.

    Raises
    ------
    ValueError
        One of them is not as said; the message names it.

    See Also
    --------
    Review : All marks of a recording.

    Examples
    --------
    >>> Mark("moved", 12.0, 40.0, detected=(10.004, 35.0)).detected
    (10.0, 35.0)
    """

    kind: str
    onset_s: float
    offset_s: float
    detected: tuple[float, float] | None = None
    type: str = SEIZURE
    remark: str = ""
    time: str = "1970-01-01T00:00:00+00:00"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a mark is one of {', '.join(KINDS)}, found {self.kind!r}")
        onset_s, offset_s = _stretch(self.onset_s, self.offset_s)
        object.__setattr__(self, "onset_s", onset_s)
        object.__setattr__(self, "offset_s", offset_s)
        if (self.detected is None) != (self.kind == "added"):
            raise ValueError(f"a mark has a detection unless it is 'added'; found {self.kind!r} with {self.detected}")
        if self.detected is not None:
            object.__setattr__(self, "detected", _stretch(*self.detected))
        if self.kind in ("confirmed", "rejected") and (onset_s, offset_s) != self.detected:
            raise ValueError(
                f"what is {self.kind} has the times of its detection, {self.detected}; found {onset_s} to {offset_s} s"
            )
        if self.type not in seizure_types():
            raise ValueError(f"no seizure type {self.type[:80]!r} in SzCORE's list; 'sz' says no more than a seizure")
        if len(self.remark) > LONGEST_REMARK or not self.remark.isprintable():
            raise ValueError(f"a remark is one line of at most {LONGEST_REMARK} letters; found {self.remark[:40]!r}")
        _check_time(self.time)

    def as_dict(self) -> MarkFacts:
        """Return it as JSON holds it."""
        detected = None if self.detected is None else list(self.detected)
        return {**asdict(self), "detected": detected}  # type: ignore[typeddict-item,return-value]

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Mark:
        """Return the mark that JSON holds.

        Raises
        ------
        ValueError
            It is none.
        """
        found = {name: facts[name] for name in MarkFacts.__annotations__}
        detected = found["detected"]
        if detected is not None and len(detected) != 2:
            raise ValueError(f"detected: expected onset and offset, found {len(detected)} numbers")
        return cls(**{**found, "detected": None if detected is None else tuple(detected)})


@dataclass(frozen=True)
class Review:
    """What one reviewer says of one recording.

    Parameters
    ----------
    reviewer : str
        Who it is.
    recording : str
        Path below the results, without an ending: ``sub-01/eeg/sub-01_run-01``.
    duration_s : float
        Length of the recording.
    detections : tuple of (float, float)
        Onset and offset of what the detector found, in seconds.
    marks : tuple of Mark
        In the order in which they were made; at most one of a detection.
    read_whole : bool
        The reviewer says that the whole recording was read; without it, whether seizures were
        missed is not known.
    blind : bool
        All of it was marked without sight of detections and probabilities.
    revision : int
        How often it was saved.
    digest : str or None
        Of the recording, as :func:`biot_bd.io.recording_digest` has it.
    source : str
        The file, where it lay when it was detected.
    start_time : datetime or None
        When the recording began, as its file says.
    model : dict
        Which model found the detections: ``name``, ``weights``, ``path``.
    started, saved : str or None
        When the review began and was last saved: ISO 8601 with a time zone.
    software : str
        Version of biot_bd that saved it.

    Raises
    ------
    ValueError
        A mark is not inside the recording, two are of one detection, or the whole was read with a
        detection undecided.

    See Also
    --------
    biot_bd.deploy.review.read_review : Reads one from disk.

    Examples
    --------
    >>> review = Review("anna", "rec01", 600.0, detections=((100.0, 130.0), (300.0, 310.0)))
    >>> review = review.revised(
    ...     [
    ...         Mark("moved", 95.0, 130.0, detected=(100.0, 130.0)),
    ...         Mark("added", 500.0, 520.0),
    ...     ]
    ... )
    >>> [(event.onset_s, event.offset_s) for event in review.events]
    [(95.0, 130.0), (500.0, 520.0)]
    >>> review.undecided
    [(300.0, 310.0)]
    """

    reviewer: str
    recording: str
    duration_s: float
    detections: tuple[tuple[float, float], ...] = ()
    marks: tuple[Mark, ...] = ()
    read_whole: bool = False
    blind: bool = False
    revision: int = 0
    digest: str | None = None
    source: str = ""
    start_time: datetime | None = None
    model: dict[str, Any] = field(default_factory=dict)
    started: str | None = None
    saved: str | None = None
    software: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise ValueError(f"duration_s: expected a positive number of seconds, found {self.duration_s}")
        object.__setattr__(self, "detections", tuple(_stretch(*one) for one in self.detections))
        if len(self.marks) > MOST_MARKS:
            raise ValueError(f"expected at most {MOST_MARKS} marks, found {len(self.marks)}")
        for mark in self.marks:
            if mark.offset_s > self.duration_s + 0.01 or mark.onset_s >= self.duration_s:
                raise ValueError(
                    f"{mark.onset_s:g} to {mark.offset_s:g} s is not inside the recording of {self.duration_s:g} s"
                )
        decided = [mark.detected for mark in self.marks if mark.detected is not None]
        if len(set(decided)) < len(decided):
            twice = next(one for one in decided if decided.count(one) > 1)
            raise ValueError(f"two marks are of one detection, {twice[0]:g} to {twice[1]:g} s; keep one")
        if self.read_whole and self.undecided:
            raise ValueError(
                f"{len(self.undecided)} detections are undecided; decide them before the recording counts as read whole"
            )

    @property
    def events(self) -> list[ReviewedEvent]:
        """The seizures that the reviewer confirmed, moved or added; those that overlap are one."""
        found = sorted(
            (m.onset_s, min(m.offset_s, self.duration_s), m.type) for m in self.marks if m.kind != "rejected"
        )
        joined, which = merge([one[:2] for one in found], OVERLAPPING)
        types: list[set[str]] = [set() for _ in joined]
        for number, one in zip(which, found, strict=True):
            types[number].add(one[2])
        return [
            ReviewedEvent(float(onset), float(offset), kinds.pop() if len(kinds) == 1 else SEIZURE)
            for (onset, offset), kinds in zip(joined, types, strict=True)
        ]

    @property
    def undecided(self) -> list[tuple[float, float]]:
        """The detections without a mark."""
        decided = {mark.detected for mark in self.marks}
        return [one for one in self.detections if one not in decided]

    def revised(self, marks: Iterable[Mark], read_whole: bool = False) -> Review:
        """Return it with other marks.

        Raises
        ------
        ValueError
            As for :class:`Review`, or a mark is of a detection that nobody made.
        """
        marks = tuple(marks)
        known = {*self.detections, *(mark.detected for mark in self.marks)}
        unknown = next((mark for mark in marks if mark.detected is not None and mark.detected not in known), None)
        if unknown is not None and unknown.detected is not None:
            onset_s, offset_s = unknown.detected
            raise ValueError(f"nothing was detected from {onset_s:g} to {offset_s:g} s; read the page again")
        return replace(self, marks=marks, read_whole=read_whole)

    def detected_again(self, detections: Sequence[tuple[float, float]]) -> Review:
        """Return it for other detections; marks stay, and new detections are undecided."""
        changed = replace(self, detections=(), read_whole=False)
        changed = replace(changed, detections=tuple(detections))
        return replace(changed, read_whole=self.read_whole and not changed.undecided)


def _stretch(onset_s: float, offset_s: float) -> tuple[float, float]:
    """Return times as a TSV holds them.

    Raises
    ------
    ValueError
        They are no stretch of time.
    """
    if not (math.isfinite(onset_s) and math.isfinite(offset_s) and onset_s >= 0):
        raise ValueError(f"an event lies at finite times from 0 s on, found {onset_s} to {offset_s}")
    onset_s, offset_s = round(float(onset_s), 2), round(float(offset_s), 2)
    if not onset_s < offset_s:
        raise ValueError(f"an event ends after its onset, found {onset_s:g} to {offset_s:g} s")
    return onset_s, offset_s


def _check_time(text: str) -> None:
    try:
        aware = datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        aware = False
    if not aware:
        raise ValueError(f"time: expected a date and time with a time zone in ISO 8601, found {text[:40]!r}")
