"""Any folder of recordings, each beside a SzCORE event table or without one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import mne
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets.demo import holds_demo
from biot_bd.datasets.event_tables import EventTables
from biot_bd.datasets.recordings import (
    Outcomes,
    check_choice,
    check_text,
    entity,
    list_words,
    make_dataset,
    set_events,
    set_seizures,
)
from biot_bd.events.texts import SEIZURE, Meaning, judge_annotations, meaning_of, unread_notes
from biot_bd.exceptions import EmptyDatasetError, RecordingError
from biot_bd.io.edf_times import annotations_outside, edf_timeline, unread_annotations
from biot_bd.io.segments import annotations_of
from biot_bd.io.timeline import tells_of_time, timeline_of
from biot_bd.io.walk import Found, find_recordings, label_tables, open_found, searched_endings, stem_of


def load_recordings_folder(
    root: str | os.PathLike[str],
    *,
    subject: str | None = None,
    namespace: str | None = None,
    unlisted: str = "exclude",
    on_error: str = "raise",
    seizure_words: Sequence[str] | str | None = None,
    events: str | os.PathLike[str] | None = None,
    partly_read: bool = False,
) -> BaseConcatDataset:
    """Load every recording below a folder, of all formats that are registered.

    Labels come from the event table beside the file (``x_events.tsv`` or ``x.tsv`` for ``x.edf``;
    for ``..._eeg.edf`` BIDS's ``..._events.tsv``), else from annotations within the file that are
    ``bckg``, or whose words say that there is a seizure (``sz_foc``, ``EEG seizure``), that it
    begins or that it ends (``Seizure start``, ``Seizure end``), in any case; what is not clear
    (``seizure?``) is noted, other annotations mean nothing.

    Parameters
    ----------
    root : path-like
        Searched with its subfolders, as :func:`biot_bd.io.walk.find_recordings` does: hidden files,
        ``derivatives``, ``sourcedata``, files of annotations only and what BIDS names another
        modality than EEG are left alone.
    subject : str, optional
        Regular expression, searched in the path below ``root`` (with ``/``); its first group is the
        subject.  By default the ``sub-`` of a BIDS name or of the path, else the folder that holds
        the file; needed where files without ``sub-`` lie more than one folder below ``root``, as a
        folder of days would be taken for a subject.
    namespace : str, optional
        Stands before the subject, as in ``"clinic/01"``; the name of ``root`` by default.
    unlisted : {"exclude", "background"}, default="exclude"
        What becomes of recordings without labels.  ``"background"`` takes them as free of seizures:
        for detection, or where that is known.
    on_error : {"raise", "skip"}, default="raise"
        When a file or table is damaged, or marks of begin and end do not pair; ``"skip"`` notes it
        in ``outcomes``.
    seizure_words : sequence of str, str or None, default=None
        Own words or phrases that mean a seizure in annotations within files, beside the English
        ones, e.g. ``["Anfall"]``.
    events : path-like, optional
        Folder of event tables, laid out as ``root`` is, e.g. ``RESULTS/reviews/anna`` of
        ``biot-bd review``.  They alone are the labels then: recordings without a table are
        unlisted, whatever lies beside them.
    partly_read : bool, default=False
        Whether a review counts whose recording was not read from beginning to end: what was not
        read counts as free of seizures then.  Otherwise such recordings are unlisted.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts.  ``recording`` is the file's BIDS name, else its path below ``root`` joined
        with ``__``. ``outcomes``: ``loaded``, ``unlisted``, ``unreadable``, ``bad-annotation``, or
        ``missing-file`` for links to files that were not fetched; with what the reader noted.

    Raises
    ------
    FileNotFoundError
        The folder is not there, or holds no recording.
    RecordingError
        A file or a table is damaged, and ``on_error="raise"``.
    ValueError
        No recording has labels, the subject of a file is not found or not certain, two files have
        one name, or ``events`` holds detections or reviews of several reviewers.
    """
    check_choice("unlisted", unlisted, ("exclude", "background"))
    check_choice("on_error", on_error, ("raise", "skip"))
    check_text("subject", subject, r"P_ID(\d+)")
    check_text("namespace", namespace, "clinic")
    words = list_words("seizure_words", seizure_words)
    tables = _tables(events, partly_read, unlisted)
    root = Path(root).absolute()
    pattern = _pattern(subject)
    space = _space(namespace or root.name)
    files = _find(root)
    outcomes, parts = Outcomes("recordings-folder"), list[RawDataset]()
    assigned = {} if tables is None else tables.assign(found.path.relative_to(root) for found in files)
    for found, name in files.items():
        path, relative = found.path, found.path.relative_to(root).as_posix()
        try:
            raw, details = open_found(found)
            table = _table(path) if tables is None else assigned.get(Path(relative))
            labels_from, unknown = _label(raw, path, table, tables, details, words)
        except RecordingError as error:
            outcomes.add_error(
                name, error, on_error, subject=_subject_if_certain(path, root, pattern, space), path=path
            )
            continue
        if labels_from is None and unlisted == "exclude":
            outcomes.add(
                name,
                "unlisted",
                "; ".join([f"{relative}: {unknown}", *details]),
                subject=_subject_if_certain(path, root, pattern, space),
                path=path,
            )
            continue
        details += [_free(raw)] if labels_from is None else []
        description = _describe(path, root, name, pattern, space) | {"labels_from": labels_from or "none"}
        if namespace is None:  # another data set may lie in a folder of the same name
            description["namespace_from"] = "folder"
        parts.append(RawDataset(raw, description))
        outcomes.add(name, "loaded", "; ".join(details))
    for key, table in () if tables is None else tables.paths.items():
        if table not in assigned.values():
            outcomes.add(key.replace("/", "__"), "missing-file", f"{table}: no recording of this name below {root}")
    if not parts and outcomes.of("unlisted"):
        raise EmptyDatasetError(_none_labelled(root, files, events, outcomes), outcomes.frame())
    # Demo recordings stay generated ones, whoever labels them.
    dataset = make_dataset(parts, outcomes.frame(), generated=bool(holds_demo(root)))
    outcomes.warn({"unlisted": "have no labels: left out", "missing-file": "are not on the disk: left out"})
    return dataset


def _pattern(subject: str | None) -> re.Pattern[str] | None:
    if subject is None:
        return None
    try:
        pattern = re.compile(subject)
    except re.error as error:
        raise ValueError(f"subject={subject!r} is not a regular expression: {error}") from error
    if pattern.groups < 1:
        raise ValueError(f"subject={subject!r}: put the subject in parentheses, e.g. 'P_ID(\\d+)'")
    return pattern


def _space(text: str) -> str:
    return re.sub(r"[\s/]+", "-", text) or "recordings-folder"


def _find(root: Path) -> dict[Found, str]:
    """Return what the walk finds -> recording name, sorted; names are unique."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    names, owners = dict[Found, str](), dict[str, Path]()
    for found in find_recordings(root):
        path = found.path
        relative, stem = path.relative_to(root), stem_of(path.name)
        is_bids = stem.endswith("_eeg") and stem.startswith("sub-")
        name = stem.removesuffix("_eeg") if is_bids else "__".join([*relative.parent.parts, stem])
        name = re.sub(r"[\\:]", "-", name)
        # Case matters not on every disk, and the name becomes a file's.
        if (other := owners.setdefault(name.lower(), path)) is not path:
            raise ValueError(f"{other} and {path} are both called {name!r}; rename one of them")
        names[found] = name
    if not names:
        raise FileNotFoundError(
            f"{root}: holds no recording; files of these endings are looked for: {', '.join(searched_endings())}"
        )
    return names


def _table(path: Path) -> Path | None:
    found = sorted(table for table in label_tables(path) if table.is_file())
    if len(found) > 1:
        raise RecordingError(
            "bad-annotation", f"{path}: several event tables: {', '.join(p.name for p in found)}; keep one"
        )
    return found[0] if found else None


def _tables(events: str | os.PathLike[str] | None, partly_read: bool, unlisted: str) -> EventTables | None:
    """Return the tables of the option ``events``; raise for options that contradict each other."""
    if not isinstance(partly_read, bool):
        raise ValueError(f"partly_read={partly_read!r}: expected True or False")
    if events is None:
        if partly_read:
            raise ValueError("partly_read=True is said of reviews; name their folder by events=, RESULTS/reviews/NAME")
        return None
    if not isinstance(events, (str, os.PathLike)):
        raise ValueError(f"events={events!r}: expected a folder, e.g. events='results/reviews/anna'")
    if unlisted == "background":
        raise ValueError(
            "unlisted='background' and events exclude each other: of recordings without a review nobody knows "
            "that they are free of seizures"
        )
    return EventTables(events, partly_read)


def _none_labelled(
    root: Path, files: dict[Found, str], events: str | os.PathLike[str] | None, outcomes: Outcomes
) -> str:
    """Say that no recording has labels, and what to do."""
    if events is not None:
        first = next(detail for _, outcome, detail in outcomes.rows if outcome == "unlisted")
        return f"{root}: none of {len(files)} recordings has labels in events={events}; the first: {first}"
    return (
        f"{root}: none of {len(files)} recordings has labels (e.g. {stem_of(next(iter(files)).path.name)}_events.tsv); write such "
        "tables, or, where the recordings are known to be free of seizures, say unlisted='background' (--option unlisted=background)"
    )


def _label(
    raw: mne.io.BaseRaw,
    path: Path,
    table: Path | None,
    tables: EventTables | None,
    details: list[str],
    seizure_words: list[str],
) -> tuple[str | None, str]:
    """Set or check the annotations; return where labels come from, or None and why they are
    unknown.
    """
    if tables is None and table is None:
        labelled = _annotate(raw, path, details, seizure_words)
        return (
            ("annotations", "")
            if labelled
            else (None, "no event table and no sz, seizure or bckg annotation, labels unknown")
        )
    if table is None:
        return None, "no event table in the folder of events, labels unknown"
    labels_from, unknown = ("event table", "") if tables is None else tables.labels_of(raw, table, details)
    if labels_from is not None:
        details += set_events(raw, table)
    return labels_from, unknown


def _annotate(raw: mne.io.BaseRaw, path: Path, details: list[str], seizure_words: list[str]) -> bool:
    """Check the annotations within a file; return whether they are labels."""
    if _is_edf(raw):  # what speaks of no seizure was noted when the file was opened
        unread_notes(unread_annotations(path), str(path), seizure_words)
    # MNE drops what is not inside; it is an error, as in a table.
    seizures, notes = judge_annotations([*_inside(raw), *_outside(raw, path)], str(path), seizure_words)
    details += notes
    raw.annotations.rename({text: _renamed(text, seizure_words) for text in set(map(str, raw.annotations.description))})
    set_seizures(
        raw, [row[:2] for row in seizures], where=str(path), kinds=[description for _, _, description in seizures]
    )
    return bool(seizures) or "bckg" in raw.annotations.description


def _inside(raw: mne.io.BaseRaw) -> list[tuple[float, float, str]]:
    """Return (onset_s, offset_s, text) since the start, pauses included; MNE keeps ``@@`` apart."""
    rows = annotations_of(raw)
    spans = timeline_of(raw, samples=False).clock_times([(onset, onset + length) for onset, length, _ in rows])
    channels = ["@@" + ",".join(names) if names else "" for names in raw.annotations.ch_names]
    return [(*span, text + channel) for span, (_, _, text), channel in zip(spans, rows, channels, strict=True)]


def _renamed(text: str, seizure_words: list[str]) -> str:
    """Return how an annotation is called: what begins with ``sz`` is a seizure for everybody."""
    if text.strip().lower() == "bckg":
        return "bckg"
    if meaning_of(text, seizure_words) in (Meaning.SEIZURE, Meaning.BEGIN, Meaning.END):
        return SEIZURE  # replaced by the seizures found
    return f"other: {text}" if text.startswith(SEIZURE) else text


def _free(raw: mne.io.BaseRaw) -> str:
    """Say that a recording has no labels, and which texts of annotations were not taken for any."""
    texts = sorted({str(text) for text in raw.annotations.description if not tells_of_time(str(text))})
    shown = ", ".join(repr(" ".join(text.split())[:40]) for text in texts[:3]) + (", ..." if len(texts) > 3 else "")
    told = f"; its annotations are {shown}, own words for seizures are named by seizure_words" if texts else ""
    return f"no labels, taken as free of seizures{told}"


def _is_edf(raw: mne.io.BaseRaw) -> bool:
    return type(raw).__name__ in ("RawEDF", "RawBDF")


def _outside(raw: mne.io.BaseRaw, path: Path) -> list[tuple[float, float, str]]:
    return annotations_outside(path, edf_timeline(path, samples=False)) if _is_edf(raw) else []


def _subject(path: Path, root: Path) -> str:
    """Return the ``sub-`` of name or path, else the folder.

    Raise where it is not certain which folder.
    """
    relative = path.relative_to(root)
    if label := entity("sub", path.name) or entity("sub", relative.as_posix()):
        return label
    if len(relative.parts) > 2:
        raise ValueError(
            f"{path}: not certain which of the folders {', '.join(relative.parent.parts)} is the subject; say it by "
            f"subject=, e.g. subject='^([^/]+)/' for {relative.parts[0]!r} or subject='([^/]+)/[^/]+$' for {path.parent.name!r}"
        )
    return path.parent.name


def _subject_if_certain(path: Path, root: Path, pattern: re.Pattern[str] | None, space: str) -> str | None:
    try:
        return _describe(path, root, "", pattern, space)["subject"]
    except ValueError:  # of what is left out it need not be certain
        return None


def _describe(path: Path, root: Path, name: str, pattern: re.Pattern[str] | None, space: str) -> dict[str, str]:
    relative = path.relative_to(root).as_posix()
    if pattern is not None:
        match = pattern.search(relative)
        if match is None or not match[1]:
            raise ValueError(f"{path}: the subject is not found by subject={pattern.pattern!r} in {relative!r}")
        subject = match[1]
    else:
        subject = _subject(path, root)
    return {
        "subject": f"{space}/{_space(subject)}",
        "session": entity("ses", relative),
        "run": entity("run", path.stem),
        "recording": name,
        "path": str(path),
    }
