"""The Siena Scalp EEG Database as PhysioNet publishes it: ``PNxx/PNxx-n.edf`` beside a list.

References
----------
Detti, P., Vatti, G., Zabalo Manrique de Lara, G. (2020). EEG synchronization analysis for seizure
prediction: a study on data of noninvasive recordings. Processes 8(7), 846.
https://physionet.org/content/siena-scalp-eeg/1.0.0/ (CC BY 4.0)
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets.channel_types import set_channel_types
from biot_bd.datasets.layouts import recognised_by
from biot_bd.datasets.recordings import Outcomes, check_choice, list_subjects, make_dataset, set_seizures
from biot_bd.datasets.siena_lists import DAY_S, ListedRecording, clock, read_seizure_list
from biot_bd.events.tables import number
from biot_bd.events.texts import SEIZURE
from biot_bd.exceptions import RecordingError
from biot_bd.io.files import fault_of
from biot_bd.io.notes import counted
from biot_bd.io.timeline import timeline_of
from biot_bd.io.walk import Found, open_found

NAME = "siena"
START_SLACK_S = 2.0  # lists are in whole seconds
LENGTH_SLACK_S = 5.0
_PATIENT = re.compile(r"PN(\d\d)")
_KINDS = {"IAS": "sz_foc_ia", "WIAS": "sz_foc_a", "FBTC": "sz_foc_f2b"}
_SEXES = {"male": "m", "female": "f"}


def _looks_like(folder: Path) -> str:
    """Say which patients a folder holds."""
    try:
        found = sorted(_patient_folders(folder))
    except OSError:  # no patient, or the folder cannot be searched
        return ""
    named = ", ".join(f"PN{label}" for label in found[:3]) + (", ..." if len(found) > 3 else "")
    return f"{counted(len(found), 'patient')} of Siena as on PhysioNet: {named}"


@dataclass(frozen=True)
class _Options:
    """What becomes of recordings without labels, and of faults."""

    unlisted: str
    on_error: str


@recognised_by(_looks_like)
def load_siena_physionet(
    root: str | os.PathLike[str],
    *,
    subjects: Iterable[str | int] | str | int | None = None,
    unlisted: str = "exclude",
    on_missing: str = "warn",
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load the Siena Scalp EEG Database in PhysioNet's layout (29 referential channels, 512 Hz).

    Seizures come from the lists of clock times; an onset is the seizure's clock time minus the
    registration's start, of the next day where it would be negative.

    Parameters
    ----------
    root : path-like
        Folder with ``PN00``, ``PN01``, ... and ``subject_info.csv``; or the folder of one patient.
    subjects : iterable of str or int, optional
        ``"PN00"``, ``"00"``, ``0`` or ``"siena/00"``; all on the disk by default.
    unlisted : {"exclude", "background"}, default="exclude"
        What becomes of EDF files that no list names: their labels are unknown.
    on_missing : {"warn", "raise", "ignore"}, default="warn"
        When a list names files that are not on the disk.
    on_error : {"raise", "skip"}, default="raise"
        When a file cannot be read, or contradicts its list; ``"skip"`` notes it in ``outcomes``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts.  ``description``: ``subject`` (``siena/00``, as in the BIDS edition),
        ``session``, ``run``, ``recording``, and from ``subject_info.csv`` ``age_years``, ``sex``,
        ``seizure_type``, ``localization``, ``lateralization``.  Seizures bear SzCORE's type
        (``sz_foc_ia``, ...), as in the BIDS edition.  ``outcomes`` names every typo that was
        corrected.

    Raises
    ------
    FileNotFoundError
        There is no patient, or files are missing and ``on_missing="raise"``.
    RecordingError
        A file is damaged, begins at another time than its list says, or ends before a seizure; or a
        list is not understood; and ``on_error="raise"``.
    ValueError
        An option has an unknown value, or nothing could be loaded.

    See Also
    --------
    biot_bd.datasets.bids.load_siena : The BIDS edition of the same recordings.
    biot_bd.datasets.siena_lists.read_seizure_list : Reads the lists.
    """
    check_choice("unlisted", unlisted, ("exclude", "background"))
    check_choice("on_missing", on_missing, ("warn", "raise", "ignore"))
    check_choice("on_error", on_error, ("raise", "skip"))
    root = Path(root)
    folders = _patient_folders(root)
    wanted = _labels(subjects)
    if wanted is not None and (absent := sorted(wanted - set(folders))):
        raise FileNotFoundError(f"{root}: no PN{', PN'.join(absent)} here")
    outcomes, parts = Outcomes("siena-physionet"), list[RawDataset]()
    rows = _subject_rows(root)
    for label, folder in sorted(folders.items()):
        if wanted is None or label in wanted:
            parts += _load_patient(label, folder, rows.get(label, {}), _Options(unlisted, on_error), outcomes)
    if wanted is None and root not in folders.values():
        for label in sorted(set(rows) - set(folders)):
            detail = f"subject_info.csv names PN{label}, its folder is not there"
            outcomes.add(f"PN{label}", "missing-file", detail, subject=f"{NAME}/{label}")
    if on_missing == "raise" and (missing := outcomes.of("missing-file")):
        raise FileNotFoundError(f"{root}: {len(missing)} recordings are not on the disk: {', '.join(missing[:5])}")
    dataset = make_dataset(parts, outcomes.frame())
    said = {
        "unlisted": "are named by no list, so their labels are unknown: left out",
        "no-summary": "have no list beside them: left out",
    }
    outcomes.warn({"missing-file": "are not on the disk", **said} if on_missing == "warn" else said)
    return dataset


def _patient_folders(root: Path) -> dict[str, Path]:
    """Find the folder of each patient: below the root, or the root itself."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    below = [p for p in root.iterdir() if p.is_dir() and _PATIENT.fullmatch(p.name)]
    found = {p.name[2:]: p for p in below if _list_of(p) is not None or _edf_files(p)}
    if not found and _PATIENT.fullmatch(root.resolve().name) and _list_of(root) is not None:
        found = {root.resolve().name[2:]: root}
    if not found:
        raise FileNotFoundError(
            f"{root}: holds no patient of Siena (expected e.g. PN00/PN00-1.edf and PN00/Seizures-list-PN00.txt)"
        )
    return found


def _list_of(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("Seizures-list-PN*.txt"))), None)


def _edf_files(folder: Path) -> dict[str, Path]:
    return {
        p.name: p for p in sorted(folder.iterdir()) if p.suffix.lower() == ".edf" and p.name.startswith(folder.name)
    }


def _labels(subjects: Iterable[str | int] | str | int | None) -> set[str] | None:
    listed = list_subjects(subjects)
    if listed is None:
        return None
    labels = set()
    for subject in listed:
        match = re.fullmatch(rf"(?:PN|{NAME}/)?(\d{{1,2}})", str(subject).strip())
        if match is None:
            raise ValueError(f"subject {subject!r}: expected a patient (PN00, 00, 0) or a subject ({NAME}/00)")
        labels.add(match[1].zfill(2))
    return labels


def _subject_rows(root: Path) -> dict[str, dict[str, str]]:
    """Return the rows of ``subject_info.csv`` by patient; its columns begin with blanks."""
    path = next(
        (p for p in (root / "subject_info.csv", root.resolve().parent / "subject_info.csv") if p.is_file()), None
    )
    if path is None:
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [{str(k).strip(): str(v or "").strip() for k, v in row.items()} for row in csv.DictReader(file)]
    if rows and "patient_id" not in rows[0]:
        raise ValueError(f"{path}: has no column patient_id; found {', '.join(rows[0])}")
    found = ((_PATIENT.fullmatch(row["patient_id"]), row) for row in rows)
    return {match[1]: row for match, row in found if match}


def _load_patient(
    label: str, folder: Path, row: dict[str, str], options: _Options, outcomes: Outcomes
) -> list[RawDataset]:
    on_disk, path, subject = _edf_files(folder), _list_of(folder), f"{NAME}/{label}"
    listed, fault = dict[str, ListedRecording](), None
    try:
        listed = {} if path is None else {record.file: record for record in read_seizure_list(path)}
        if foreign := [file for file in listed if not file.startswith(f"PN{label}-")]:
            raise RecordingError("bad-annotation", f"{path}: lists files of another patient: {', '.join(foreign[:3])}")
    except RecordingError as error:
        listed, fault = {}, error
    total = _total_note(listed, row)
    parts = []
    for file in [*listed, *sorted(set(on_disk) - set(listed))]:
        name, record = Path(file).stem, listed.get(file)
        known: dict[str, Any] = {
            "subject": subject,
            "path": on_disk.get(file),
            "seizures": record.seizures if record else (),
        }
        if fault is not None:
            outcomes.add_error(name, fault, options.on_error, **known)
        elif path is None:
            outcomes.add(name, "no-summary", f"{folder}: no Seizures-list, so its labels are unknown", **known)
        elif file not in on_disk:
            outcomes.add(name, "missing-file", f"{path.name} lists it, {folder / file} is not there", **known)
        elif record is None and options.unlisted == "exclude":
            outcomes.add(name, "unlisted", f"absent from {path.name}, so its labels are unknown", **known)
        else:
            try:
                part, detail = _load_recording(on_disk[file], record, label, row)
            except RecordingError as error:
                outcomes.add_error(name, error, options.on_error, **known)
            else:
                parts.append(part)
                outcomes.add(name, "loaded", "; ".join(filter(None, [detail, total])))
    return parts


def _total_note(listed: dict[str, ListedRecording], row: dict[str, str]) -> str:
    """Say where ``subject_info.csv`` counts other seizures than the list."""
    found, told = sum(len(record.seizures) for record in listed.values()), row.get("number_seizures", "")
    if not told.isdecimal() or int(told) == found:
        return ""
    return f"subject_info.csv counts {told} seizures of the patient, the list {found}"


def _load_recording(
    path: Path, record: ListedRecording | None, label: str, row: dict[str, str]
) -> tuple[RawDataset, str]:
    raw, details = open_found(Found(path, fault_of(path)))
    set_channel_types(raw)
    if record is None:
        details.append("absent from its list, taken as free of seizures")
    else:
        details += [*record.corrections, *_check_times(raw, record, path)]
    kind = _KINDS.get(row.get("seizure", ""), SEIZURE)
    if row and kind == SEIZURE:
        details.append(f"seizure type {row.get('seizure')!r} of subject_info.csv is not known")
    seizures = record.seizures if record else []
    set_seizures(raw, seizures, where=f"{path} (by its list)", kinds=[kind] * len(seizures), slack_s=START_SLACK_S)
    description = {
        "subject": f"{NAME}/{label}",
        "session": "01",
        "run": path.stem.partition("-")[2],
        "recording": path.stem,
        "path": str(path),
        "labels_from": "list" if record else "none",
        "age_years": number(row.get("age_years", "")),
        "sex": _SEXES.get(row.get("gender", "").lower(), ""),
        "seizure_type": row.get("seizure", ""),
        "localization": row.get("localization", ""),
        "lateralization": row.get("lateralization", ""),
    }
    return RawDataset(raw, description), "; ".join(details)


def _check_times(raw: mne.io.BaseRaw, record: ListedRecording, path: Path) -> list[str]:
    """Compare start and length with the list's; raise where onsets would be wrong."""
    line, notes = timeline_of(raw, samples=False), []
    start = line.start_time
    if start is None:
        notes.append(f"the header tells no start, that of the list is taken, {clock(record.start_s)}")
    else:
        started_s = start.hour * 3600 + start.minute * 60 + start.second + start.microsecond / 1e6
        apart_s = (started_s - record.start_s + DAY_S / 2) % DAY_S - DAY_S / 2
        if abs(apart_s) > START_SLACK_S:
            raise RecordingError(
                "bad-annotation",
                f"{path}: begins at {clock(started_s)} by its header and at {clock(record.start_s)} by the list, so the "
                "times of its seizures are not known; correct the list or the header",
            )
    if record.duration_s is not None and abs(record.duration_s - line.duration_s) > LENGTH_SLACK_S:
        notes.append(f"lasts {line.duration_s:,.0f} s, by the list {record.duration_s:,} s")
    return notes
