"""Reviews on disk: below ``RESULTS/reviews/<reviewer>/`` a SzCORE TSV and a sidecar a recording.

The sidecar ``<stem>_review.json`` holds the marks; ``<stem>_events.tsv`` is what they say, for
whoever reads event files.  The sidecar is written first, so a TSV that a killed process left behind
is older, never newer; :func:`mend_tables` writes it again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from filelock import FileLock

from biot_bd.anonymous import NOT_TOLD
from biot_bd.deploy.review.marks import Mark, MarkFacts, Review
from biot_bd.events.files import BACKGROUND, SHORTEST_S
from biot_bd.exceptions import ReviewConflictError, ReviewError
from biot_bd.json_values import check_values, naming
from biot_bd.runs import atomic_path, read_json

FORMAT, VERSION = "biot_bd review", 1
REVIEWS = "reviews"
SIDECAR, TABLE = "_review.json", "_events.tsv"
COLUMNS = ("onset", "duration", "eventType", "confidence", "channels", "dateTime", "recordingDuration")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class _ReviewFacts(TypedDict):
    format: str
    version: int
    reviewer: str
    revision: int
    read_whole: bool
    blind: NotRequired[bool]
    started: str
    saved: str
    software: str
    recording: str
    source: str
    digest: str | None
    duration_s: float
    start_time: str | None
    model: dict[str, Any]
    detections: list[list[float]]
    marks: list[MarkFacts]


def check_reviewer(name: str, results: str | os.PathLike[str] | None = None) -> str:
    """Return a reviewer's name if it can be that of a folder on every disk.

    Parameters
    ----------
    name : str
        Of a reviewer.
    results : path, optional
        Folder of results, where another reviewer's name may differ in case alone.

    Returns
    -------
    str
        The name.

    Raises
    ------
    biot_bd.exceptions.ReviewError
        It is no such name.

    See Also
    --------
    find_reviews : Lists reviews by these names.

    Examples
    --------
    >>> check_reviewer("anna.b-2")
    'anna.b-2'
    >>> check_reviewer("../anna")
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ReviewError: reviewer '../anna': expected 1 to 64 letters of A-Z, ...
    """
    if not _NAME.fullmatch(name) or name.endswith(".") or _RESERVED.fullmatch(name):
        raise ReviewError(
            f"reviewer {name[:80]!r}: expected 1 to 64 letters of A-Z, a-z, 0-9, '.', '_' and '-', beginning with "
            "a letter or digit; a folder is named so"
        )
    folder = Path(results or "", REVIEWS)
    others = [one.name for one in folder.iterdir() if one.is_dir()] if results and folder.is_dir() else []
    if name not in others and (same := [one for one in others if one.casefold() == name.casefold()]):
        raise ReviewError(
            f"reviewer {name!r}: there are reviews of {same[0]!r}, which not every disk tells apart; write it so"
        )
    return name


def review_paths(results: str | os.PathLike[str], reviewer: str, recording: str) -> tuple[Path, Path]:
    """Return where the sidecar and the TSV of a review are.

    Parameters
    ----------
    results : path
        Folder that ``biot-bd detect`` wrote.
    reviewer, recording : str
        Whose, and of which recording: its path below the results, without an ending.

    Returns
    -------
    sidecar, table : Path
        ``..._review.json`` and ``..._events.tsv``.

    See Also
    --------
    save_review : Writes both.

    Examples
    --------
    >>> review_paths("results", "anna", "sub-01/run-1")[1].as_posix()
    'results/reviews/anna/sub-01/run-1_events.tsv'
    """
    stem = Path(results, REVIEWS, reviewer, recording)
    return stem.with_name(stem.name + SIDECAR), stem.with_name(stem.name + TABLE)


def read_review(path: str | os.PathLike[str]) -> Review:
    """Read a review.

    Parameters
    ----------
    path : path
        Its sidecar, ``..._review.json``.

    Returns
    -------
    Review
        With the events that its marks say.

    Raises
    ------
    FileNotFoundError
        It is not there.
    biot_bd.exceptions.ReviewError
        It is damaged, or of another version; one line that names it.

    See Also
    --------
    find_reviews : Reads all below a folder of results.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.deploy.review import Mark, Review, read_review, save_review
    >>> with tempfile.TemporaryDirectory() as results:
    ...     review = Review("anna", "rec01", 600.0, marks=(Mark("added", 10.0, 20.0),))
    ...     read_review(save_review(results, review)).events
    [ReviewedEvent(onset_s=10.0, offset_s=20.0, type='sz')]
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such review; expected a file that ends in {SIDECAR}")
    with naming(path, ReviewError):
        facts = read_json(path)
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise ReviewError(f"{path}: no review of biot_bd; expected format {FORMAT!r}")
        if facts.get("version") != VERSION:
            raise ReviewError(
                f"{path}: version {facts.get('version')!r} of a review; this biot_bd reads {VERSION}, install a newer one"
            )
        check_values(facts, _ReviewFacts)
        start = facts["start_time"]
        return Review(
            reviewer=facts["reviewer"],
            recording=facts["recording"],
            duration_s=facts["duration_s"],
            detections=tuple((one[0], one[1]) for one in facts["detections"]),
            marks=tuple(map(Mark.from_dict, facts["marks"])),
            read_whole=facts["read_whole"],
            blind=facts.get("blind", False),
            revision=facts["revision"],
            digest=facts["digest"],
            source=facts["source"],
            start_time=None if start is None else datetime.fromisoformat(start),
            model=facts["model"],
            started=facts["started"],
            saved=facts["saved"],
            software=facts["software"],
        )


def find_reviews(results: str | os.PathLike[str]) -> dict[str, list[Review]]:
    """Read all reviews of a folder of results.

    Parameters
    ----------
    results : path
        Folder that ``biot-bd detect`` wrote.

    Returns
    -------
    dict of str to list of Review
        By reviewer, each in the order of the recordings; empty where nothing was reviewed.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    biot_bd.exceptions.ReviewError
        One is damaged.

    See Also
    --------
    read_review : Reads one.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.deploy.review import Review, find_reviews, save_review
    >>> with tempfile.TemporaryDirectory() as results:
    ...     for name in ("rec02", "rec01"):
    ...         _ = save_review(results, Review("anna", name, 600.0))
    ...     [review.recording for review in find_reviews(results)["anna"]]
    ['rec01', 'rec02']
    """
    if not Path(results).is_dir():
        raise FileNotFoundError(f"{results}: no such folder of results")
    folder = Path(results, REVIEWS)
    reviewers = sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    found = {one.name: [read_review(path) for path in sorted(one.rglob(f"*{SIDECAR}"))] for one in reviewers}
    return {name: reviews for name, reviews in found.items() if reviews}


def save_review(results: str | os.PathLike[str], review: Review) -> Path:
    """Write a review as the next revision of what is on disk.

    When it returns, sidecar and TSV are on the disk, not only with the system.

    Parameters
    ----------
    results : path
        Folder that ``biot-bd detect`` wrote.
    review : Review
        Its ``revision`` is that of the review on disk that was changed; 0 for a new one.

    Returns
    -------
    Path
        The sidecar.

    Raises
    ------
    biot_bd.exceptions.ReviewConflictError
        Somebody saved since; nothing was written.
    biot_bd.exceptions.ReviewError
        The reviewer's name is none, or what is on disk is damaged.
    OSError
        It cannot be written.

    See Also
    --------
    read_review : Reads it.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.deploy.review import Review, save_review
    >>> with tempfile.TemporaryDirectory() as results:
    ...     _ = save_review(results, Review("anna", "rec01", 600.0))
    ...     save_review(results, Review("anna", "rec01", 600.0))
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ReviewConflictError: rec01: saved elsewhere since (revision 1, not 0); ...
    """
    from biot_bd import __version__

    check_reviewer(review.reviewer, results)
    sidecar, table = review_paths(results, review.reviewer, review.recording)
    with _locked(results, review.reviewer):
        found = read_review(sidecar).revision if sidecar.is_file() else 0
        if found != review.revision:
            raise ReviewConflictError(
                f"{review.recording}: saved elsewhere since (revision {found}, not {review.revision}); read it again"
            )
        now = NOT_TOLD if review.source == NOT_TOLD else datetime.now(UTC).isoformat(timespec="seconds")
        review = replace(
            review, revision=found + 1, started=review.started or now, saved=now, software=f"biot_bd {__version__}"
        )
        _write_durably(sidecar, json.dumps(_as_dict(review), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        _write_durably(table, _table_of(review))
    return sidecar


def mend_tables(results: str | os.PathLike[str], reviewer: str) -> list[Path]:
    """Write the TSVs again that differ from their sidecars: a process was killed between the two.

    Parameters
    ----------
    results : path
        Folder that ``biot-bd detect`` wrote.
    reviewer : str
        Whose reviews.

    Returns
    -------
    list of Path
        The TSVs that were written.

    See Also
    --------
    save_review : Writes them in the first place.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.deploy.review import Review, save_review
    >>> with tempfile.TemporaryDirectory() as results:
    ...     sidecar = save_review(results, Review("anna", "rec01", 600.0))
    ...     sidecar.with_name("rec01_events.tsv").unlink()
    ...     [path.name for path in mend_tables(results, "anna")]
    ['rec01_events.tsv']
    """
    mended = []
    folder = Path(results, REVIEWS, reviewer)
    if not folder.is_dir():
        return []
    with _locked(results, reviewer):
        for sidecar in sorted(folder.rglob(f"*{SIDECAR}")):
            review = read_review(sidecar)
            table = review_paths(results, reviewer, review.recording)[1]
            text = _table_of(review)
            if not table.is_file() or table.read_text(encoding="utf-8") != text:
                _write_durably(table, text)
                mended.append(table)
    return mended


@contextmanager
def _locked(results: str | os.PathLike[str], reviewer: str) -> Iterator[None]:
    folder = Path(results, REVIEWS, reviewer)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        yield


def _write_durably(path: Path, text: str) -> None:
    """Write text atomically; when this returns, it outlives the machine's next fault."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if os.name == "posix":  # the name is on the disk, too; elsewhere no folder can be asked for it
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _table_of(review: Review) -> str:
    """Return a SzCORE TSV of a review's events; one without events has a row that says so."""
    start = "n/a" if review.start_time is None else f"{review.start_time:%Y-%m-%d %H:%M:%S}"
    rows = [(e.onset_s, max(e.offset_s - e.onset_s, SHORTEST_S), e.type) for e in review.events]
    lines = ["\t".join(COLUMNS)]
    for onset_s, duration_s, kind in rows or [(0.0, review.duration_s, BACKGROUND)]:
        lines.append(f"{onset_s:.2f}\t{duration_s:.2f}\t{kind}\tn/a\tn/a\t{start}\t{review.duration_s:.2f}")
    return "\n".join(lines) + "\n"


def _as_dict(review: Review) -> _ReviewFacts:
    start = review.start_time
    return {
        "format": FORMAT,
        "version": VERSION,
        "reviewer": review.reviewer,
        "revision": review.revision,
        "read_whole": review.read_whole,
        "blind": review.blind,
        "started": review.started or "",
        "saved": review.saved or "",
        "software": review.software,
        "recording": review.recording,
        "source": review.source,
        "digest": review.digest,
        "duration_s": review.duration_s,
        "start_time": None if start is None else start.isoformat(),
        "model": review.model,
        "detections": [list(one) for one in review.detections],
        "marks": [mark.as_dict() for mark in review.marks],
    }
