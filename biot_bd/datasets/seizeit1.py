"""SeizeIT1: ``P_ID01/P_ID01_r1.edf`` beside the tables of two neurologists, ``_a1`` and ``_a2``.

References
----------
Vandecasteele, K. et al. (2020). Visual seizure annotation and automated seizure detection using
behind-the-ear electroencephalographic channels. Epilepsia, 61, 766-775.
https://doi.org/10.48804/P5Q0OJ (KU Leuven RDR, on request)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import mne
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets.layouts import recognised_by
from biot_bd.datasets.recordings import Outcomes, check_choice, list_subjects, make_dataset, set_seizures, set_types
from biot_bd.datasets.unknown_stops import EXCLUDE, Marked, check_unknown_stop, close_seizures
from biot_bd.events.intervals import merge
from biot_bd.events.tables import number
from biot_bd.events.texts import SEIZURE
from biot_bd.exceptions import RecordingError
from biot_bd.io.notes import counted
from biot_bd.io.readers import open_raw
from biot_bd.io.timeline import timeline_of

EXPERTS = {"a1": ("a1",), "a2": ("a2",), "both": ("a1", "a2"), "either": ("a1", "a2")}
# Types of the tables, as SzCORE names them.
KINDS = {"FIA": "sz_foc_ia", "FIAS": "sz_foc_ia", "FA": "sz_foc_a", "F-BTC": "sz_foc_f2b"}
ROUNDING_S = 1.0  # tables have whole seconds
_FOLDER = re.compile(r"P_ID(\d+)")
_FILE = re.compile(r"(P_ID(\d+)_(r\d+))(?:\.(edf)|_(a[12])\.tsv)", re.IGNORECASE)
_TYPES = {"ECG": "ecg"}


@dataclass
class _Files:
    """What lies on the disk of one recording."""

    subject: str
    run: str
    folder: Path
    edf: Path | None = None
    tables: dict[str, Path] = field(default_factory=dict)


def _looks_like(folder: Path) -> str:
    try:
        found = _subject_folders(folder)
    except OSError:  # no such folder, or it cannot be searched
        return ""
    names = sorted(f"P_ID{subject}" for subject in found)
    named = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{counted(len(names), 'subject')} of SeizeIT1: {named}" if names else ""


@recognised_by(_looks_like)
def load_seizeit1(
    root: str | os.PathLike[str],
    *,
    subjects: Iterable[str | int] | str | int | None = None,
    expert: str = "a1",
    unknown_stop: str = EXCLUDE,
    unlisted: str = "exclude",
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load SeizeIT1 (19 electrodes of the 10-20 system and four behind the ears, 250 Hz).

    Parameters
    ----------
    root : path-like
        Folder with ``P_ID01``, ...; or the folder of one subject.
    subjects : iterable of str or int, optional
        ``"P_ID64"``, ``"64"``, ``64`` or ``"seizeit1/64"``; all on the disk by default.
    expert : {"a1", "a2", "both", "either"}, default="a1"
        Whose seizures count: one neurologist's, the times that both marked, or those that at least
        one marked.  ``"both"`` and ``"either"`` need the tables of both.
    unknown_stop : str, default="exclude-recording"
        What becomes of seizures without a stop (twelve): ``"exclude-recording"`` leaves their
        recording out as ``unlisted``, ``"raise"`` refuses it, ``"assume-30s"`` (any number of
        seconds) ends them so, as the converter of the BIDS edition does.
    unlisted : {"exclude", "background"}, default="exclude"
        What becomes of recordings without a table of that expert: their labels are unknown.
    on_error : {"raise", "skip"}, default="raise"
        When a file cannot be read, or a seizure is not inside it; ``"skip"`` notes it in
        ``outcomes``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts.  ``description``: ``subject`` (``seizeit1/64``), ``session``, ``run``
        (``r1``), ``recording``, ``expert``.  Channels keep their names; those behind the ears
        (``OorLiAchter``, ``OorReAchter``, ``OorLiTop``, ``OorReTop``) are EEG, ``ECG`` is not.
        A table of comments only says that there is no seizure.  ``outcomes``: ``loaded``,
        ``missing-file`` (a table without its EDF), ``unlisted``, ``unreadable``,
        ``bad-annotation``.

    Raises
    ------
    FileNotFoundError
        There is no such folder, no recording in it, or a subject is not on the disk.
    RecordingError
        A file or table is damaged or a seizure outside its recording, and ``on_error="raise"``.
    ValueError
        An option has an unknown value, or nothing could be loaded.
    """
    check_choice("expert", expert, tuple(EXPERTS))
    check_choice("unlisted", unlisted, ("exclude", "background"))
    check_choice("on_error", on_error, ("raise", "skip"))
    check_unknown_stop(unknown_stop, 30)
    files = _find(Path(root), subjects)
    outcomes, parts = Outcomes("seizeit1"), list[RawDataset]()
    for name, one in sorted(files.items(), key=lambda item: (item[1].subject, int(item[1].run[1:]))):
        subject = f"seizeit1/{one.subject}"
        if one.edf is None:
            table = next(iter(one.tables.values()))
            outcomes.add(name, "missing-file", f"{table} is there, {name}.edf is not", subject=subject)
            continue
        try:
            raw, details = open_raw(one.edf)
            set_types(raw, _TYPES)
            labelled = _label(raw, name, one, expert, unknown_stop, unlisted == "background", details)
        except RecordingError as error:
            how = "skip" if error.outcome == "unlisted" else on_error
            outcomes.add_error(name, error, how, subject=subject, path=one.edf)
            continue
        description = {
            "subject": subject,
            "session": "01",
            "run": one.run,
            "recording": name,
            "path": str(one.edf),
            "expert": expert,
            "labels_from": "event table" if labelled else "none",
        }
        parts.append(RawDataset(raw, description))
        outcomes.add(name, "loaded", "; ".join(details))
    dataset = make_dataset(parts, outcomes.frame())
    outcomes.warn(
        {
            "missing-file": "are not on the disk",
            "unlisted": "have labels that are not known (no table, or a seizure without a stop): left out",
        }
    )
    return dataset


def _subject_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each subject: below the root, or the root itself."""
    if match := _FOLDER.fullmatch(root.name):
        return {match[1]: root} if any(_FILE.fullmatch(p.name) for p in root.iterdir()) else {}
    found = {}
    for path in root.iterdir():
        match = _FOLDER.fullmatch(path.name)
        if match and path.is_dir() and any(_FILE.fullmatch(p.name) for p in path.iterdir()):
            found[match[1]] = path
    return found


def _find(root: Path, subjects: Iterable[str | int] | str | int | None) -> dict[str, _Files]:
    """Return the files of each recording, by its name."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    folders = _subject_folders(root)
    if not folders:
        raise FileNotFoundError(f"{root}: holds no recording of SeizeIT1 (expected e.g. P_ID01/P_ID01_r1.edf)")
    wanted = list_subjects(subjects)
    if wanted is not None:
        labels = {_label_of(subject) for subject in wanted}
        if absent := sorted(labels - set(folders)):
            raise FileNotFoundError(f"{root}: no P_ID{', P_ID'.join(absent)} here")
        folders = {label: folder for label, folder in folders.items() if label in labels}
    files = dict[str, _Files]()
    for folder in folders.values():
        for path in sorted(folder.iterdir()):
            if match := _FILE.fullmatch(path.name):
                one = files.setdefault(match[1], _Files(match[2], match[3].lower(), folder))
                if match[4]:
                    one.edf = path
                else:
                    one.tables[match[5].lower()] = path
    return files


def _label_of(subject: str | int) -> str:
    text = str(subject).strip().removeprefix("seizeit1/").removeprefix("P_ID")
    if not text.isdigit():
        raise ValueError(f"subject {subject!r}: expected P_ID64, 64 or seizeit1/64")
    return text.zfill(2)


def _label(
    raw: mne.io.BaseRaw,
    name: str,
    files: _Files,
    expert: str,
    unknown_stop: str,
    is_free_unlisted: bool,
    details: list[str],
) -> bool:
    """Set the seizures of a recording; return whether an expert's table says them."""
    experts = EXPERTS[expert]
    if missing := [one for one in experts if one not in files.tables]:
        told = f"no table {name}_{missing[0]}.tsv beside it, so what expert {missing[0]} marked is unknown"
        if not is_free_unlisted:
            raise RecordingError("unlisted", f"{files.edf}: {told}")
        set_seizures(raw, [], where=str(files.edf))
        details.append(f"{told}; taken as free of seizures")
        return False
    duration_s = timeline_of(raw, samples=False).duration_s
    marked = []
    for one in experts:
        table = files.tables[one]
        closed, notes = close_seizures(
            read_seizures(table, name), unknown_stop, duration_s=duration_s, where=str(table)
        )
        details += notes
        details.append(f"expert {one}: {counted(len(closed), 'seizure')}")
        marked.append(closed)
    joined = _joined(marked, expert)
    where = f"{files.edf} by {', '.join(p.name for p in files.tables.values())}"
    spans = [(onset_s, stop_s) for onset_s, stop_s, _ in joined]
    set_seizures(raw, spans, where=where, kinds=[kind for *_, kind in joined], slack_s=ROUNDING_S)
    if len(experts) > 1:
        details.append(f"{expert}: {counted(len(joined), 'seizure')}")
    return True


def _joined(marked: list[list[tuple[float, float, str]]], expert: str) -> list[tuple[float, float, str]]:
    """Return what one expert marked, or the times that both, or either, marked."""
    if len(marked) == 1:
        return marked[0]
    spans = [merge([row[:2] for row in rows])[0].tolist() for rows in marked]
    if expert == "either":
        return [(onset, stop, SEIZURE) for onset, stop in merge(spans[0] + spans[1])[0].tolist()]
    shared = [(max(a, c), min(b, d)) for a, b in spans[0] for c, d in spans[1]]
    return [(onset, stop, SEIZURE) for onset, stop in shared if stop > onset]


def read_seizures(path: str | os.PathLike[str], recording: str) -> list[Marked]:
    r"""Read the seizures that one neurologist marked.

    Parameters
    ----------
    path : path-like
        Comments, empty lines, and rows ``start stop type comment`` between tabs; no line names the
        columns.
    recording : str
        What the comments must speak of, e.g. ``"P_ID64_r1"``.

    Returns
    -------
    list of (float, float or None, str)
        Onset and stop in seconds, and SzCORE's name of the type; the stop is None where the table
        says ``None``.  Empty where there are comments only: the recording is free of seizures.

    Raises
    ------
    RecordingError
        ``bad-annotation``: a row is no row of such a table, or the comments name another recording.
        Names file and line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "P_ID64_r1_a1.tsv")
    ...     _ = path.write_text("# Subject: P_ID64\n \n\n8971\tNone\tFIA\tHem:L, bhe: 0\n")
    ...     read_seizures(path, "P_ID64_r1")
    [(8971.0, None, 'sz_foc_ia')]
    """
    path = Path(path)
    rows, said = list[Marked](), dict[str, str]()
    for line, text in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if text.startswith("#"):
            key, _, value = text.lstrip("# ").partition(":")
            said[key.strip().lower()] = value.strip()
        elif text.strip():
            rows.append(_row(path, line, text))
    subject, _, run = recording.rpartition("_")
    for key, expected in (("subject", subject), ("recording", run)):
        if said.get(key, expected).lower() != expected.lower():
            raise RecordingError(
                "bad-annotation",
                f"{path}: its comments say {key} {said[key]!r}, its name {expected!r}; it belongs to another recording",
            )
    return rows


def _row(path: Path, line: int, text: str) -> Marked:
    cells = [cell.strip() for cell in text.split("\t")]
    onset_s = number(cells[0])
    stop_s = number(cells[1]) if len(cells) > 1 else None
    is_open = len(cells) > 1 and cells[1].lower() in ("none", "nan", "n/a", "")
    if onset_s is None or len(cells) < 3 or (stop_s is None and not is_open):
        raise RecordingError(
            "bad-annotation",
            f"{path}, line {line}: found {text[:80]!r}; expected start, stop (seconds or None), type and comment between tabs",
        )
    return onset_s, stop_s, KINDS.get(cells[2].upper(), SEIZURE)
