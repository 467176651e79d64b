"""Event tables in a folder of their own, beside no recording: a reviewer's, or anybody's."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

import mne
import numpy as np

from biot_bd.events.files import read_event_file
from biot_bd.events.intervals import merge
from biot_bd.exceptions import RecordingError
from biot_bd.io.digest import recording_digest
from biot_bd.io.walk import find_tables, stem_of
from biot_bd.json_values import check_values, naming
from biot_bd.runs import read_json

SIDECAR, RECORD = "_review.json", "_detection.json"
FORMAT, VERSION = "biot_bd review", 1
ROUNDING_S = 0.015  # marks and tables are kept to hundredths


class _Mark(TypedDict):
    kind: str
    onset_s: float
    offset_s: float


class _Review(TypedDict):
    """What labels need of a reviewer's sidecar; ``biot_bd.deploy.review`` writes more."""

    reviewer: str
    read_whole: bool
    digest: str | None
    marks: list[_Mark]


class EventTables:
    """Tables of events, found by the path of their recording.

    Parameters
    ----------
    folder : path-like
        Laid out as the recordings are: ``p1/night_events.tsv`` belongs to ``p1/night.edf``.  Where
        a reviewer's sidecar ``p1/night_review.json`` lies beside it, the table is checked against
        it.
    partly_read : bool
        Whether recordings count that the reviewer did not read from beginning to end.

    Raises
    ------
    FileNotFoundError
        The folder is not there, or holds no table.
    ValueError
        It holds detections, tables of several reviewers, or two of one recording.

    See Also
    --------
    biot_bd.datasets.recordings_folder.load_recordings_folder : Its option ``events``.
    """

    def __init__(self, folder: str | os.PathLike[str], partly_read: bool = False) -> None:
        self.folder, self.partly_read = Path(folder), partly_read
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"events={self.folder}: no such folder; expected one of event tables (x_events.tsv)"
            )
        paths = [found.path for found in find_tables(self.folder, (".tsv",)) if found.fault is None]
        paths = [path for path in paths if path.stem.endswith("_events")] or paths
        if not paths:
            raise FileNotFoundError(f"events={self.folder}: holds no event table (x_events.tsv)")
        self.paths: dict[str, Path] = {}
        for path in paths:
            key = self._key(path.relative_to(self.folder).with_suffix(""))
            if (other := self.paths.setdefault(key, path)) is not path:
                raise ValueError(f"{other} and {path} are both of recording {key}; keep one")
        self._check_kind()

    def assign(self, recordings: Iterable[Path]) -> dict[Path, Path]:
        """Return the table of each recording that has one.

        Parameters
        ----------
        recordings : iterable of Path
            Relative to their folder.  Where the tables lie otherwise, a name that is unique among
            recordings and tables counts.
        """
        keys = {one: self._key(one.with_name(stem_of(one.name))) for one in recordings}
        alike = Counter(key.rpartition("/")[2] for key in keys.values())
        tables: dict[str, list[Path]] = {}
        for key, table in self.paths.items():
            tables.setdefault(key.rpartition("/")[2], []).append(table)
        found = {}
        for one, key in keys.items():
            same = tables.get(name := key.rpartition("/")[2], [])
            if key in self.paths:
                found[one] = self.paths[key]
            elif len(same) == alike[name] == 1:
                found[one] = same[0]
        return found

    def labels_of(self, raw: mne.io.BaseRaw, table: Path, details: list[str]) -> tuple[str | None, str]:
        """Return where a recording's labels come from, or None and why they are not known.

        Parameters
        ----------
        raw : mne.io.BaseRaw
            The recording.
        table : Path
            Its table.
        details : list of str
            What a reader should know is added.

        Raises
        ------
        RecordingError
            ``bad-annotation``: the review is of another recording or damaged, or the table does not
            say what its marks say.
        """
        review = _review_beside(table)
        if review is None:
            return "event table", ""
        reviewer = f"review by {review['reviewer']}"
        if not review["read_whole"] and not self.partly_read:
            return None, f"{table}: {reviewer}, not read whole, so seizures may be missing; partly_read=True takes it"
        _check_table(table, review)
        wanted, found = review["digest"], recording_digest(raw)
        if wanted is None or found is None:
            details.append(f"{reviewer}: nothing tells whether it is of this recording")
        elif wanted != found:
            raise RecordingError(
                "bad-annotation",
                f"{table}: the {reviewer} is of another recording (its channels or samples differ); review this one",
            )
        details.append(
            f"labels: {reviewer}" + ("" if review["read_whole"] else ", not read whole, seizures may be missing")
        )
        return reviewer, ""

    @staticmethod
    def _key(stem: Path) -> str:
        name = re.sub(r"_(eeg|ieeg|raw)$", "", stem.name.removesuffix("_events"))
        return stem.with_name(name or stem.name).as_posix()

    def _check_kind(self) -> None:
        """Raise where the folder is one of detections, or of several reviewers."""
        reviewers = set()
        for path in self.paths.values():
            sidecar, record = (path.with_name(_base(path) + ending) for ending in (SIDECAR, RECORD))
            if sidecar.is_file():
                with suppress(RecordingError):  # said when its recording is loaded
                    if (review := _review_beside(path)) is not None:
                        reviewers.add(review["reviewer"])
            elif record.is_file():
                raise ValueError(
                    f"events={self.folder}: {path.name} is what a detector found, no label; "
                    f"reviews of it lie in {self.folder / 'reviews'}/NAME"
                )
        if len(reviewers) > 1:
            raise ValueError(
                f"events={self.folder}: holds reviews of {', '.join(sorted(reviewers))}; name the folder of one of them"
            )


def _base(table: Path) -> str:
    return table.stem.removesuffix("_events")


def _review_beside(table: Path) -> _Review | None:
    path = table.with_name(_base(table) + SIDECAR)
    if not path.is_file():
        return None
    try:
        with naming(path):
            facts = read_json(path)
            if not isinstance(facts, dict) or facts.get("format") != FORMAT:
                raise ValueError(f"{path}: not a review of biot-bd")
            if facts.get("version") != VERSION:
                raise ValueError(
                    f"{path}: version {facts.get('version')!r}, this biot_bd reads version {VERSION}: update it"
                )
            check_values(facts, _Review)
    except ValueError as error:
        raise RecordingError("bad-annotation", str(error)) from error
    return facts  # type: ignore[return-value]


def _check_table(table: Path, review: _Review) -> None:
    """Raise where the table does not say what the marks say: it was changed, or is older."""
    marked = [[m["onset_s"], m["offset_s"]] for m in review["marks"] if m["kind"] != "rejected"]
    wanted = merge(np.array(marked, dtype=np.float64).reshape(-1, 2), ROUNDING_S)[0]
    events = [event[:2] for event in read_event_file(table).events]
    found = merge(np.array(events, dtype=np.float64).reshape(-1, 2), ROUNDING_S)[0]
    if wanted.shape != found.shape or (np.abs(wanted - found) > ROUNDING_S).any():
        raise RecordingError(
            "bad-annotation",
            f"{table}: has {len(found)} seizures, its marks in {_base(table)}{SIDECAR} say {len(wanted)} or other times; "
            "open it with biot-bd review, or, if it was corrected by hand, remove the sidecar",
        )
