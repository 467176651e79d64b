"""Score a folder of predictions against a folder of annotations, file by file."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from biot_bd.events.files import EventFile, read_event_file
from biot_bd.events.scoring import ROUNDING_S, ScoringParameters, as_intervals
from biot_bd.events.subject_scores import ScoredRecording, score_subjects
from biot_bd.events.tables import read_table
from biot_bd.events.types import Scores
from biot_bd.exceptions import MissingPredictionError
from biot_bd.io.walk import TABLE_ENDINGS, find_tables

LENGTH_SLACK_S = 1.0
_IN_TRAINING = "inTraining"  # `biot-bd detect` writes it where the model has seen the recording
_REVIEWS = "reviews"  # what reviewers made of detections lies in there


def score_folders(
    reference: str | os.PathLike[str],
    hypothesis: str | os.PathLike[str],
    *,
    same_subject: Mapping[str, str] | None = None,
    parameters: ScoringParameters | None = None,
) -> Scores:
    """Score files of events by subject.

    Parameters
    ----------
    reference, hypothesis : path
        Folders, e.g. BIDS trees, of SzCORE TSV or TUSZ ``csv_bi`` files; of the folder of a run its
        ``events`` are taken.  Where there are files ``*_events.tsv`` only those count, and what
        lies in ``reviews`` does not.  Two files belong together by their path without ending,
        ``_events`` and ``_eeg``, or by their name where the folders differ and the name is unique.
    same_subject : mapping, optional
        Which names are one child, other name -> name (``{"sub-21": "sub-01"}``).  The name is
        ``sub-...`` in the path, else the first folder, else the file's name.
    parameters : ScoringParameters, optional
        How events are matched; SzCORE's by default.

    Returns
    -------
    dict
        As :func:`~biot_bd.events.subject_scores.score_subjects`, and ``recordings``: ``{name:
        {"subject", "duration_s", "reference", "hypothesis"}}``, ``unused``, predictions without
        annotations, ``folders``, where the files of both
        were found, and ``notes``: tables of other tasks (``*_events.tsv`` without ``eventType``
        that nothing was predicted for), which are left alone, and what the files say beside events.

    Raises
    ------
    MissingPredictionError
        A recording has no prediction.
    FileNotFoundError, NotADirectoryError
        A folder does not exist or holds no files of events.
    ValueError
        A file is not understood, says no length, or the lengths of a pair differ.

    Warns
    -----
    UserWarning
        The two look swapped, or the annotations look like detections (confidences below 1, a column
        ``inTraining``).

    See Also
    --------
    score_subjects : The same without files.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.events import score_folders, write_event_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_event_file(folder + "/true/sub-01.tsv", [(100, 130)], 600.0)
    ...     _ = write_event_file(folder + "/said/sub-01.tsv", [(105, 140)], 600.0)
    ...     scores = score_folders(folder + "/true", folder + "/said")
    >>> scores["macro"]["events"]["sensitivity"]["value"]
    1.0
    """
    places = {"reference": events_folder(Path(reference)), "hypothesis": events_folder(Path(hypothesis))}
    wanted, found = _files(places["reference"]), _files(places["hypothesis"])
    pairs, missing = {}, []
    by_name: dict[str, list[str]] = {}
    for key in found:
        by_name.setdefault(key.rpartition("/")[2], []).append(key)
    for key in wanted:
        name = key.rpartition("/")[2]
        unique = by_name.get(name, []) if sum(other.rpartition("/")[2] == name for other in wanted) == 1 else []
        match = key if key in found else unique[0] if len(unique) == 1 else None
        if match is None:
            missing.append(key)
        else:
            pairs[key] = match
    foreign = [key for key in missing if _is_of_another_task(wanted[key])]
    notes = [f"{wanted[key]}: has no column eventType, taken as of another task and left alone" for key in foreign]
    if missing := [key for key in missing if key not in foreign]:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise MissingPredictionError(
            f"{hypothesis}: no prediction for {len(missing)} of {len(wanted) - len(foreign)} recordings: {', '.join(missing[:5])}{more}; "
            "write a file with a bckg row where nothing was found"
        )
    if not pairs:
        raise FileNotFoundError(f"{reference}: no annotations of seizures in it; {notes[0]}")
    scored, signs = [], (_Signs(places["reference"]), _Signs(places["hypothesis"]))
    for key, match in pairs.items():
        truth, said = read_event_file(wanted[key]), read_event_file(found[match])
        notes += [f"{path}: {note}" for path, one in ((wanted[key], truth), (found[match], said)) for note in one.notes]
        for sign, path, one in zip(signs, (wanted[key], found[match]), (truth, said), strict=True):
            sign.look(path, one)
        duration = _duration(truth, said, wanted[key], found[match])
        for path, one in ((wanted[key], truth), (found[match], said)):
            try:
                as_intervals(_pairs(one, duration), duration, "table")
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
        name = _subject(key)
        subject = (same_subject or {}).get(name, name)
        scored.append(ScoredRecording(key, subject, _pairs(truth, duration), _pairs(said, duration), duration))
    _warn(*signs)
    return {
        **score_subjects(scored, parameters=parameters),
        "folders": {name: str(place) for name, place in places.items()},
        "recordings": {
            r.recording: {name: value for name, value in vars(r).items() if name != "recording"} for r in scored
        },
        "unused": sorted(set(found) - set(pairs.values())),
        "notes": notes,
    }


def events_folder(folder: Path) -> Path:
    """Return where the files of events of a folder lie: of a run that ``biot-bd cv`` made, its
    ``events``.
    """
    return folder / "events" if (folder / "run.json").is_file() and (folder / "events").is_dir() else folder


class _Signs:
    """What shows that the files of a folder were made by a detector."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: str | None = None

    def look(self, path: Path, file: EventFile) -> None:
        """Look at one file, if there was no sign in those before."""
        if self.found is not None:
            return
        unsure = [e.confidence for e in file.events if e.confidence is not None and 0 < e.confidence < 1]
        if unsure:
            self.found = f"confidence {unsure[0]:g} in {path.name}"
        elif path.suffix.lower() == ".tsv" and _IN_TRAINING in read_table(path, ()).columns:
            self.found = f"the column {_IN_TRAINING} in {path.name}"


def _warn(reference: _Signs, hypothesis: _Signs) -> None:
    """Warn where what was given as the truth looks like a detector's."""
    if reference.found is None:
        return
    text = f"{reference.folder}, given as the reference, looks like detections ({reference.found})"
    if hypothesis.found is None:
        text += f", and {hypothesis.folder}, given as the detections, does not: are the two swapped? The reference comes first"
    else:
        text += "; then the scores say how far two detectors agree, not what is right"
    warnings.warn(text, stacklevel=3)


def _pairs(file: EventFile, duration_s: float) -> list[list[float]]:
    """Return the events.

    What the file's own length has beyond the pair's (a second at most) is cut off.
    """
    events = [[event.onset_s, event.offset_s] for event in file.events]
    if file.duration_s is None or any(offset > file.duration_s + ROUNDING_S for _, offset in events):
        return events  # nothing to cut, or a damaged file, which the scorer refuses
    return [[onset, min(offset, duration_s)] for onset, offset in events if onset < duration_s]


def _files(folder: Path) -> dict[str, Path]:
    if folder.is_file():
        raise NotADirectoryError(
            f"{folder}: is a file; expected a folder of event files, such as {folder.absolute().parent}"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found = find_tables(folder)
    if faulty := [one for one in found if one.fault is not None]:
        raise FileNotFoundError(f"{faulty[0]}" + (f" ({len(faulty)} such files)" if len(faulty) > 1 else ""))
    paths = [one.path for one in found if one.fault is None and one.path.relative_to(folder).parts[0] != _REVIEWS]
    chosen = [path for path in paths if path.stem.endswith("_events")] or paths
    if not chosen:
        raise FileNotFoundError(f"{folder}: no files of events ({', '.join(TABLE_ENDINGS)}) in it")
    files: dict[str, Path] = {}
    for path in chosen:
        stem = re.sub(r"(_events|_eeg)+$", "", path.stem)
        key = (path.relative_to(folder).parent / stem).as_posix()
        if key in files:
            raise ValueError(f"{files[key]} and {path} are both of recording {key}; keep one")
        files[key] = path
    return files


def _is_of_another_task(path: Path) -> bool:
    """Return whether a table is one of BIDS's events, but not of seizures."""
    return path.suffix.lower() == ".tsv" and "eventtype" not in map(str.lower, read_table(path, ()).columns)


def _subject(key: str) -> str:
    named = re.search(r"(?:^|/)(sub-[A-Za-z0-9]+)", key)
    return named[1] if named else key.partition("/")[0]


def _duration(truth: EventFile, said: EventFile, first: Path, second: Path) -> float:
    told = [one.duration_s for one in (truth, said) if one.duration_s is not None]
    if not told:
        only_header = "; it is only a header" if truth.notes and not truth.events else ""
        raise ValueError(
            f"{first}: says no recordingDuration, nor does {second}; the rate of false alarms needs it{only_header}"
        )
    if abs(told[0] - told[-1]) > LENGTH_SLACK_S:
        raise ValueError(
            f"{second}: recordingDuration is {told[1]:g} s, but {told[0]:g} s in {first}: not one recording"
        )
    return float(told[0])
