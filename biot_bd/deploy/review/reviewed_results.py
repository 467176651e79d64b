"""A folder of results as one reviewer works on it: records, recordings, and what was marked."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

from biot_bd.anonymous import NUMBERS
from biot_bd.deploy.detection_record import (
    ENDING,
    FORMAT,
    VERSION,
    DetectionRecord,
    ModelFacts,
    RecordingFacts,
    read_detection,
)
from biot_bd.deploy.detector import DetectionFacts
from biot_bd.deploy.review.eeg_pieces import EegPieces
from biot_bd.deploy.review.marks import Mark, Review
from biot_bd.deploy.review.review_files import (
    REVIEWS,
    check_reviewer,
    mend_tables,
    read_review,
    review_paths,
    save_review,
)
from biot_bd.deploy.training_overlap import digest_of
from biot_bd.exceptions import DetectionError, ReviewConflictError, ReviewError
from biot_bd.io.notes import one_line
from biot_bd.io.recordings import OpenRecording, open_recording
from biot_bd.io.walk import find_recordings
from biot_bd.json_values import check_values, naming
from biot_bd.runs import read_json

RECORDINGS_OPEN = 4


class _Summary(TypedDict):
    """A record but for its windows."""

    recording: RecordingFacts
    model: ModelFacts
    detection: DetectionFacts


class Progress(TypedDict):
    """How far a recording is reviewed; ``fault`` says why it cannot be."""

    recording: str
    n_events: int
    n_decided: int
    n_added: int
    read_whole: bool
    saved: str | None
    fault: str | None


class ReviewedResults:
    """A folder of results and one reviewer's marks in it.

    Nothing but caches is kept in memory: what is shown is what is on disk.

    Parameters
    ----------
    results : path
        Folder that ``biot-bd detect`` wrote.
    reviewer : str
        Who marks.
    recordings : path, optional
        Folder that is searched where a recording is no longer where it was detected; found by its
        content, whatever it is called there.
    blind : bool
        Whether detections, probabilities and threshold are kept from the reviewer.

    Attributes
    ----------
    names : list of str
        Recordings: paths of the results below the folder, without an ending.

    Raises
    ------
    FileNotFoundError
        A folder does not exist.
    biot_bd.exceptions.ReviewError
        The reviewer's name is none, or no detections are recorded there.

    See Also
    --------
    biot_bd.deploy.review.find_reviews : All reviewers' marks.
    """

    def __init__(
        self,
        results: str | os.PathLike[str],
        reviewer: str,
        recordings: str | os.PathLike[str] | None = None,
        *,
        blind: bool = False,
    ) -> None:
        self.results, self.reviewer, self.blind = Path(results), reviewer, blind
        for folder in (self.results, *([] if recordings is None else [Path(recordings)])):
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder}: no such folder")
        check_reviewer(reviewer, results)
        self.recordings = None if recordings is None else Path(recordings)
        found = (path.relative_to(self.results) for path in self.results.rglob(f"*{ENDING}"))
        self.names = sorted(
            path.as_posix().removesuffix(ENDING) for path in found if path.parts[0] != REVIEWS and path.name != ENDING
        )
        if not self.names:
            raise ReviewError(
                f"{results}: holds no detections to review (no file *{ENDING}); give a folder that biot-bd detect wrote, "
                "or run it again with this version"
            )
        if (self.results / NUMBERS).is_file() and not re.fullmatch(r"reviewer-\d+", reviewer):
            raise ReviewError(
                f"{results}: anonymous results, so the reviewer has a number, too: reviewer-1, reviewer-2, ...; found {reviewer!r}"
            )
        self._records: dict[str, tuple[int, DetectionRecord]] = {}
        self._summaries: dict[str, tuple[int, _Summary]] = {}
        self._digests: dict[Path, str | None] = {}
        self._opening = threading.Lock()
        self._pieces = lru_cache(maxsize=RECORDINGS_OPEN)(self._open)
        mend_tables(results, reviewer)

    def record(self, name: str) -> DetectionRecord:
        """Return what was detected in a recording.

        Raises
        ------
        KeyError
            There is no such recording in the results.
        ValueError, OSError
            Its record is damaged, or cannot be read.
        """
        path, written_ns = self._place(name)
        known = self._records.get(name)
        if known is None or known[0] != written_ns:
            known = written_ns, read_detection(path)
            self._records[name] = known
        return known[1]

    def _place(self, name: str) -> tuple[Path, int]:
        """Return a recording's record and when it was written."""
        if name not in self.names:
            raise KeyError(f"no recording {name[:200]!r} in these results")
        path = self.results / f"{name}{ENDING}"
        return path, path.stat().st_mtime_ns

    def _summary(self, name: str) -> _Summary:
        """Return what a list needs of a record: its windows are looked at on opening."""
        path, written_ns = self._place(name)
        known = self._summaries.get(name)
        if known is None or known[0] != written_ns:
            with naming(path):
                facts = read_json(path)
                if (facts.get("format"), facts.get("version")) != (FORMAT, VERSION):
                    read_detection(path)  # says what is wrong
                check_values(facts, _Summary)
            known = written_ns, facts
            self._summaries[name] = known
        return known[1]

    def review(self, name: str) -> Review:
        """Return what is on disk of the reviewer's marks; errors as in :meth:`record`, or
        ``ReviewError``.
        """
        facts = self._summary(name)
        detection, recording = facts["detection"], facts["recording"]
        found = [] if self.blind else [(event["onset_s"], event["offset_s"]) for event in detection["events"]]
        sidecar = review_paths(self.results, self.reviewer, name)[0]
        if not sidecar.is_file():
            start = detection["start_time"]
            return Review(
                self.reviewer,
                name,
                detection["duration_s"],
                detections=tuple(found),
                blind=self.blind,
                digest=recording["digest"],
                source=recording["path"],
                start_time=None if start is None else datetime.fromisoformat(start),
                model=dict(facts["model"]),
            )
        review = read_review(sidecar)
        if review.digest != recording["digest"]:
            raise ReviewError(f"{sidecar}: marks of another recording than {name} now is; move the review away")
        if self.blind and not review.blind:
            raise ReviewError(
                f"{sidecar}: begun with the detections in sight; take another reviewer's name for --blind"
            )
        return replace(review.detected_again(found), blind=self.blind)

    def save(self, name: str, revision: int, marks: Iterable[Mark], read_whole: bool) -> Review:
        """Write marks as the next revision; return the review as it is on disk.

        Raises
        ------
        biot_bd.exceptions.ReviewConflictError
            ``revision`` is no longer that on disk.
        ValueError
            A mark is not one of this recording.
        KeyError, OSError
            As in :meth:`record`, or the disk is full.
        """
        review = self.review(name)
        if review.revision != revision:
            raise ReviewConflictError(f"{name}: saved elsewhere since (revision {review.revision}, not {revision})")
        changed = replace(review.revised(marks, read_whole), model=dict(self._summary(name)["model"]))
        return read_review(save_review(self.results, changed))

    def progress(self) -> list[Progress]:
        """Return how far each recording is."""
        return [self._progress(name) for name in self.names]

    def warm_up(self) -> None:
        """Read what the page will ask for first: the list, and the first recording that is not
        done.
        """
        rows = self.progress()
        left = [row for row in rows if row["fault"] is None and not row["read_whole"]]
        if left:
            with suppress(ValueError, OSError):  # said when it is asked for
                self.pieces(left[0]["recording"])

    def _progress(self, name: str) -> Progress:
        try:
            review = self.review(name)
        except (ValueError, OSError) as error:
            nothing = {"n_events": 0, "n_decided": 0, "n_added": 0, "read_whole": False, "saved": None}
            return {"recording": name, **nothing, "fault": one_line(error)}  # type: ignore[typeddict-item]
        return {
            "recording": name,
            "n_events": len(review.detections),
            "n_decided": len(review.detections) - len(review.undecided),
            "n_added": sum(mark.kind == "added" for mark in review.marks),
            "read_whole": review.read_whole,
            "saved": review.saved,
            "fault": None,
        }

    def pieces(self, name: str) -> EegPieces:
        """Return the recording's EEG; the last few stay open.

        Raises
        ------
        DetectionError
            It is gone, or is not the recording that was detected in; the message says what to do.
        KeyError
            As in :meth:`record`.
        """
        written_ns = self._place(name)[1]
        with self._opening:
            return self._pieces(name, written_ns)

    def _open(self, name: str, written_ns: int) -> EegPieces:
        record = self.record(name)
        try:
            opened = record.open_recording()
        except DetectionError as error:
            found = self._found_elsewhere(record)
            if found is None:
                told = (
                    "; --recordings FOLDER looks for it elsewhere"
                    if self.recordings is None
                    else f"; nor is it below {self.recordings}"
                )
                raise DetectionError(f"{error}{told}") from error
            opened = found
        return EegPieces(opened, record.detection)

    def _found_elsewhere(self, record: DetectionRecord) -> OpenRecording | None:
        """Return a recording of the same content; those of its name are looked at first."""
        wanted, name = record.recording["digest"], Path(record.recording["path"]).name
        if self.recordings is None or wanted is None:
            return None
        candidates = [one.path for one in find_recordings(self.recordings) if one.fault is None]
        for path in sorted(candidates, key=lambda path: path.name != name):
            if path not in self._digests:
                try:
                    self._digests[path] = digest_of(open_recording(path))[0]
                except DetectionError:  # what is damaged is not what was detected in
                    self._digests[path] = None
            if self._digests[path] == wanted:
                return open_recording(path)
        return None
