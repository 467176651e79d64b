"""CHB-MIT as PhysioNet publishes it: ``chbNN/chbNN_MM.edf`` beside ``chbNN/chbNN-summary.txt``.

References
----------
Shoeb, A. (2009). Application of machine learning to epileptic seizure onset detection and
treatment. PhD thesis, MIT. https://physionet.org/content/chbmit/1.0.0/ (Open Data Commons
Attribution License 1.0)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mne
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets.chbmit_summary import SummaryRecord, read_summary
from biot_bd.datasets.layouts import recognised_by
from biot_bd.datasets.recordings import Outcomes, check_choice, list_subjects, make_dataset, set_seizures
from biot_bd.exceptions import RecordingError
from biot_bd.io.edf import open_edf
from biot_bd.io.notes import counted

SUMMARY_SLACK_S = 1.0  # summaries round to whole seconds
_DUMMY = re.compile(r"[-.](-\d+)?")  # MNE numbers repeated names: "--0", "--1"
_CS2 = re.compile(r"([A-Za-z]+\d*)-CS2")
_TYPES = {"ECG": "ecg", "EKG1-CHIN": "ecg", "EKG1-EKG2": "ecg", "LOC-ROC": "eog", "VNS": "misc", "LUE-RAE": "misc"}


@dataclass(frozen=True)
class Layout:
    """Names of a data set kept as case folders with summaries.

    Parameters
    ----------
    name : str
        Name space of the subjects.
    prefix : str
        What case names begin with; two digits follow.
    same_subject : dict, optional
        Case number -> (subject, session) where a case is a later visit of another one; sessions are
        named as in the BIDS edition.
    """

    name: str
    prefix: str
    same_subject: dict[str, tuple[str, str]] = field(default_factory=dict)

    def case_of(self, file: str) -> str | None:
        """Return the case number that a file's name begins with."""
        match = re.match(rf"{self.prefix}(\d\d)", file)
        return match[1] if match else None


CHB_MIT = Layout("chb-mit", "chb", {"21": ("01", "02")})


def _looks_like(folder: Path) -> str:
    """Say which cases a folder holds."""
    try:
        cases = sorted(case_folders(folder, CHB_MIT))
    except OSError:  # no case, or the folder cannot be searched
        return ""
    named = ", ".join(f"{CHB_MIT.prefix}{case}" for case in cases[:3]) + (", ..." if len(cases) > 3 else "")
    return f"{counted(len(cases), 'case')} of CHB-MIT as on PhysioNet: {named}"


@recognised_by(_looks_like)
def load_chbmit(
    root: str | os.PathLike[str],
    *,
    subjects: Iterable[str | int] | str | int | None = None,
    unlisted: str = "exclude",
    on_missing: str = "warn",
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load CHB-MIT in PhysioNet's layout.

    Parameters
    ----------
    root : path-like
        Folder with ``chb01``, ``chb02``, ...; or the folder of one case.
    subjects : iterable of str or int, optional
        Cases (``"chb01"``, ``"01"``, ``1``) or subjects (``"chb-mit/01"``: cases 1 and 21); all on
        the disk by default.
    unlisted : {"exclude", "background"}, default="exclude"
        What becomes of EDF files that are absent from their summary (ten of case 24): their labels
        are unknown.
    on_missing : {"warn", "raise", "ignore"}, default="warn"
        When a summary lists files that are not on the disk.
    on_error : {"raise", "skip"}, default="raise"
        When a file cannot be read, or a seizure is not inside it; ``"skip"`` notes it in
        ``outcomes``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts.  ``description``: ``subject`` (case 21 is ``chb-mit/01``), ``case``,
        ``session``, ``run``, ``recording``.  Seizures are annotations ``sz``.  Dummy channels are
        dropped; channels against CS2 and the misspelt ``01`` (case 12) bear the electrode's name.
        ``outcomes``: one row for every file of a summary, of RECORDS (cases on the disk) or of a
        case folder, with outcome ``loaded``, ``missing-file``, ``unlisted``, ``no-summary``,
        ``unreadable`` or ``bad-annotation``.

    Raises
    ------
    FileNotFoundError
        No summary is found, a subject is not on the disk, or files are missing and
        ``on_missing="raise"``.
    RecordingError
        A file is damaged or a seizure is outside it, and ``on_error="raise"``.
    ValueError
        An option has an unknown value, a summary is not understood, or nothing could be loaded.
    """
    return load_layout(
        root, CHB_MIT, subjects=subjects, unlisted=unlisted, on_missing=on_missing, on_error=on_error, generated=False
    )


def load_layout(
    root: str | os.PathLike[str],
    layout: Layout,
    *,
    subjects: Iterable[str | int] | str | int | None,
    unlisted: str,
    on_missing: str,
    on_error: str,
    generated: bool,
) -> BaseConcatDataset:
    """Load a data set kept as CHB-MIT is; see :func:`load_chbmit` for parameters and errors."""
    check_choice("unlisted", unlisted, ("exclude", "background"))
    check_choice("on_missing", on_missing, ("warn", "raise", "ignore"))
    check_choice("on_error", on_error, ("raise", "skip"))
    root = Path(root)
    folders = case_folders(root, layout)
    wanted = select_cases(subjects, layout)
    if wanted is not None:
        if absent := sorted(wanted - set(folders)):
            raise FileNotFoundError(f"{root}: no {', '.join(layout.prefix + case for case in absent)} here")
        folders = {case: folder for case, folder in folders.items() if case in wanted}

    outcomes, parts = Outcomes(layout.name), list[RawDataset]()
    mentioned = _records_of(root)
    for case, folder in sorted(folders.items()):
        parts += _load_case(case, folder, layout, mentioned, unlisted, on_error, outcomes)
    if on_missing == "raise" and (missing := outcomes.of("missing-file")):
        raise FileNotFoundError(f"{root}: {len(missing)} recordings are not on the disk: {', '.join(missing[:5])}")
    dataset = make_dataset(parts, outcomes.frame(), generated=generated)
    said = {
        "unlisted": "are absent from their summary, so their labels are unknown: left out",
        "no-summary": "have no summary beside them: left out",
    }
    outcomes.warn({"missing-file": "are not on the disk", **said} if on_missing == "warn" else said)
    return dataset


def select_cases(subjects: Iterable[str | int] | str | int | None, layout: Layout = CHB_MIT) -> set[str] | None:
    """Turn cases and subjects into case numbers of two digits.

    Parameters
    ----------
    subjects : iterable of str or int, str, int or None
        ``"chb21"``, ``"21"``, ``21`` (a case), ``"chb-mit/01"`` (a subject: all its cases).
    layout : Layout, default=CHB_MIT
        Whose names.

    Returns
    -------
    set of str or None
        None where ``subjects`` is None: all.

    Raises
    ------
    ValueError
        A text is no case and no subject, or ``subjects`` is empty or of another type.
    """
    listed = list_subjects(subjects)
    if listed is None:
        return None
    cases = set[str]()
    for subject in listed:
        text = str(subject).strip()
        match = re.fullmatch(rf"({layout.prefix}|{re.escape(layout.name)}/)?(\d{{1,2}})", text)
        if match is None:
            raise ValueError(
                f"subject {subject!r}: expected a case ({layout.prefix}01, 01, 1) or a subject ({layout.name}/01)"
            )
        number = match[2].zfill(2)
        cases.add(number)
        if match[1] == f"{layout.name}/":
            cases |= {case for case, (subject, _) in layout.same_subject.items() if subject == number}
    return cases


def case_folders(root: Path, layout: Layout) -> dict[str, Path]:
    """Find the folder of each case: below the root, or the root itself."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    names = {p.name: p for p in root.iterdir() if p.is_dir()}
    found = {name[-2:]: p for name, p in names.items() if re.fullmatch(rf"{layout.prefix}\d\d", name)}
    found = {case: p for case, p in found.items() if any(p.glob("*-summary.txt")) or _edf_files(p, case, layout)}
    if not found:
        pattern = re.compile(rf"{layout.prefix}(\d\d)-summary\.txt")
        found = {match[1]: root for p in root.iterdir() if (match := pattern.fullmatch(p.name))}
    if not found:
        example = f"{layout.prefix}01/{layout.prefix}01-summary.txt"
        raise FileNotFoundError(f"{root}: holds no case of {layout.name} (expected e.g. {example})")
    return found


def _edf_files(folder: Path, case: str, layout: Layout) -> dict[str, Path]:
    return {
        p.name: p for p in sorted(folder.iterdir()) if p.suffix.lower() == ".edf" and layout.case_of(p.name) == case
    }


def _records_of(root: Path) -> list[str]:
    """Return the file names in PhysioNet's RECORDS, none where it is not there."""
    path = root / "RECORDS"
    if not path.is_file():
        return []
    return [line.strip().rpartition("/")[2] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _load_case(
    case: str,
    folder: Path,
    layout: Layout,
    mentioned: list[str],
    unlisted: str,
    on_error: str,
    outcomes: Outcomes,
) -> list[RawDataset]:
    summary = folder / f"{layout.prefix}{case}-summary.txt"
    records = {record.file: record for record in read_summary(summary)} if summary.is_file() else {}
    if foreign := [file for file in records if layout.case_of(file) != case]:
        raise ValueError(f"{summary}: lists files of another case: {', '.join(foreign[:3])}")
    on_disk = _edf_files(folder, case, layout)
    extra = {file for file in [*on_disk, *mentioned] if layout.case_of(file) == case} - set(records)
    parts = []
    for file in [*records, *sorted(extra)]:
        name, record = Path(file).stem, records.get(file)
        known: dict[str, Any] = {
            "subject": _visit(case, layout)[0],
            "path": on_disk.get(file),
            "seizures": record.seizures if record else (),
        }
        if record is None and not summary.is_file():
            outcomes.add(name, "no-summary", f"{summary} is not there, so its labels are unknown", **known)
        elif record is None and (unlisted == "exclude" or file not in on_disk):
            absent = "" if file in on_disk else "; not on the disk either"
            outcomes.add(name, "unlisted", f"absent from {summary.name}, so its labels are unknown{absent}", **known)
        elif file not in on_disk:
            outcomes.add(name, "missing-file", f"{summary.name} lists it, {folder / file} is not there", **known)
        else:
            try:
                part, detail = _load_recording(on_disk[file], record, case, layout)
            except RecordingError as error:
                outcomes.add_error(name, error, on_error, **known)
            else:
                parts.append(part)
                outcomes.add(name, "loaded", detail)
    return parts


def _load_recording(path: Path, record: SummaryRecord | None, case: str, layout: Layout) -> tuple[RawDataset, str]:
    raw = open_edf(path)
    details = _tidy_channels(raw)
    if record is None:
        details.append("absent from its summary, taken as free of seizures")
    set_seizures(raw, record.seizures if record else [], where=str(path), slack_s=SUMMARY_SLACK_S)
    subject, session = _visit(case, layout)
    description = {
        "subject": subject,
        "case": f"{layout.prefix}{case}",
        "session": session,
        "run": path.stem[len(layout.prefix) + 2 :].lstrip("_"),
        "recording": path.stem,
        "path": str(path),
        "labels_from": "summary" if record else "none",
    }
    return RawDataset(raw, description), "; ".join(details)


def _visit(case: str, layout: Layout) -> tuple[str, str]:
    """Return subject and session of a case."""
    subject, session = layout.same_subject.get(case, (case, "01"))
    return f"{layout.name}/{subject}", session


def _tidy_channels(raw: mne.io.BaseRaw) -> list[str]:
    """Drop dummy channels, name electrodes, type what is no EEG; return what was done."""
    details = []
    dummies = [name for name in raw.ch_names if _DUMMY.fullmatch(name)]
    if dummies and len(dummies) < len(raw.ch_names):
        raw.drop_channels(dummies)
        details.append(f"{len(dummies)} dummy channels dropped")
    renamed = {name: match[1] for name in raw.ch_names if (match := _CS2.fullmatch(name))}
    if renamed:
        details.append("reference CS2")
    if "01" in raw.ch_names and "O1" not in raw.ch_names:
        renamed["01"] = "O1"
        details.append("channel 01 read as O1")
    raw.rename_channels(renamed, verbose="ERROR")
    types = {name: _TYPES[name.upper()] for name in raw.ch_names if name.upper() in _TYPES}
    raw.set_channel_types(types, on_unit_change="ignore", verbose="ERROR")
    return details
