"""The TUH EEG Seizure Corpus: ``edf/{train,dev,eval}/<patient>/<session>/<montage>/``.

References
----------
Shah, V. et al. (2018). The Temple University Hospital seizure detection corpus. Frontiers in
Neuroinformatics 12, 83. https://isip.piconepress.com/projects/nedc/html/tuh_eeg/ (by request)
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets.channel_types import set_channel_types
from biot_bd.datasets.layouts import recognised_by
from biot_bd.datasets.recordings import Outcomes, check_choice, list_subjects, list_words, make_dataset, set_seizures
from biot_bd.datasets.tusz_labels import read_tusz_labels
from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_header import read_edf_header
from biot_bd.io.files import fault_of
from biot_bd.io.timeline import timeline_of
from biot_bd.io.walk import Found, open_found

NAME = "tusz"
SPLITS = ("train", "dev", "eval")
"""The official split: patients that train, that validate, and that are tested once."""
_PATIENT = re.compile(r"[a-z]{8}|\d{8}")
_FILE = re.compile(r"([a-z]{8}|\d{8})_(s\d+)_(t\d+)")
_LENGTH_SLACK_S = 1.0
_COMPARED_BYTES = 2**20
# Corrections of later versions that show in the files: (session, what an older copy lacks).
_CORRECTED = {"aaaaadkj_s002": "no seizure in this session: TUSZ 2.0.2 added one, these labels are older"}


def _looks_like(folder: Path) -> str:
    """Say which parts of the official split a folder holds."""
    counts = {split: len(_patients(path)) for split, path in _split_folders(folder).items()}
    told = ", ".join(f"{split} {n:,}" for split, n in counts.items() if n)
    return f"patients of TUSZ by split: {told}" if told else ""


@dataclass(frozen=True)
class _File:
    """One EDF of the corpus, by its path."""

    path: Path
    split: str
    patient: str
    session: str
    token: str

    @property
    def known(self) -> dict[str, Any]:
        return {"subject": f"{NAME}/{self.patient}", "path": self.path}


@recognised_by(_looks_like)
def load_tusz(
    root: str | os.PathLike[str],
    *,
    split: Sequence[str] | str | None = None,
    subjects: Iterable[str] | str | None = None,
    labels: str = "csv_bi",
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load the TUH EEG Seizure Corpus, versions 2.0 and later.

    Parameters
    ----------
    root : path-like
        The folder ``edf`` or the one that holds it.
    split : {"train", "dev", "eval"} or several, optional
        Part of the official split; all that are on the disk by default.
    subjects : iterable of str, optional
        ``"aaaaaaac"`` or ``"tusz/aaaaaaac"``; all by default.
    labels : {"csv_bi", "csv"}, default="csv_bi"
        Seizures of all channels together, or of each channel with their type: what overlaps over
        channels is one seizure, annotated ``sz_fnsz``, ``sz_gnsz``, ...
    on_error : {"raise", "skip"}, default="raise"
        When a file cannot be read or contradicts its labels; ``"skip"`` notes it in ``outcomes``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts.  ``description``: ``subject`` (``tusz/aaaaaaac``), ``session`` (``s001``),
        ``run`` (``t000``), ``recording``, ``split``, ``montage`` (``01_tcp_ar``, ...),
        ``age_years`` and ``sex`` of the header (NaN and ``""`` where it does not tell).
        ``outcomes`` names sessions that are there twice, and labels of older versions.

    Raises
    ------
    FileNotFoundError
        There is no part of the official split, or not the one, or the patient, that is asked for.
    RecordingError
        A file is damaged, or its labels are of another length; and ``on_error="raise"``.
    ValueError
        An option has an unknown value, a patient is in two parts of the split, or nothing could be
        loaded.

    See Also
    --------
    biot_bd.datasets.tusz_labels.read_tusz_labels : Reads the labels.
    biot_bd.evaluation.cross_validate : Takes the official split as ``cv="tusz-official"``.
    """
    check_choice("labels", labels, ("csv_bi", "csv"))
    check_choice("on_error", on_error, ("raise", "skip"))
    root = Path(root)
    files = _wanted(_files(root, _asked(split)), subjects, root)
    doubled, outcomes, parts = _doubled(files), Outcomes("tusz"), list[RawDataset]()
    without = _sessions_without(files, labels)
    for file in files:
        name = file.path.stem
        table = file.path.with_suffix(f".{labels}")
        if not table.is_file():
            detail = f"no {table.name} beside it, so its labels are unknown"
            outcomes.add(name, "unlisted", detail, **file.known)
            continue
        try:
            part, details = _load_recording(file, table)
        except RecordingError as error:
            outcomes.add_error(name, error, on_error, **file.known)
            continue
        details += [f"the same EEG as {doubled[name]}: counts twice"] if name in doubled else []
        session = f"{file.patient}_{file.session}"
        details += [_CORRECTED[session]] if session in without else []
        parts.append(part)
        outcomes.add(name, "loaded", "; ".join(details))
    dataset = make_dataset(parts, outcomes.frame())
    outcomes.warn({"unlisted": "have no file of labels, so their labels are unknown: left out"})
    return dataset


def _asked(split: Sequence[str] | str | None) -> list[str]:
    words = list_words("split", split) or list(SPLITS)
    for word in words:
        check_choice("split", word, SPLITS)
    return words


def _split_folders(root: Path) -> dict[str, Path]:
    base = root / "edf" if (root / "edf").is_dir() else root
    return {split: base / split for split in SPLITS if (base / split).is_dir()}


def _patients(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if _PATIENT.fullmatch(p.name) and p.is_dir())
    except OSError:  # said by whoever reads it
        return []


def _files(root: Path, splits: list[str]) -> list[_File]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    folders = _split_folders(root)
    if not any(map(_patients, folders.values())):
        raise FileNotFoundError(
            f"{root}: holds no part of TUSZ; expected e.g. edf/train/aaaaaaac/s001_2002/02_tcp_le/aaaaaaac_s001_t000.edf"
        )
    found, owners = list[_File](), dict[str, str]()
    for split, folder in folders.items():
        for patient in _patients(folder):
            if (other := owners.setdefault(patient.name, split)) != split:
                raise ValueError(
                    f"{root}: patient {patient.name} is in {other} and in {split}; the parts of the official split share "
                    "nobody: copy the corpus again"
                )
            if split in splits:
                found += [_file_of(path, split, patient.name) for path in sorted(patient.glob("*/*/*.edf"))]
    if not found:
        raise FileNotFoundError(f"{root}: no EDF file of {', '.join(splits)} here; there are {', '.join(folders)}")
    return found


def _file_of(path: Path, split: str, patient: str) -> _File:
    match = _FILE.fullmatch(path.stem)
    if match is None or match[1] != patient or not path.parent.parent.name.startswith(match[2]):
        raise ValueError(f"{path}: expected <patient>/<session>_<year>/<montage>/<patient>_<session>_<token>.edf")
    return _File(path, split, patient, match[2], match[3])


def _wanted(files: list[_File], subjects: Iterable[str] | str | None, root: Path) -> list[_File]:
    listed = list_subjects(subjects)
    if listed is None:
        return files
    labels = {str(subject).removeprefix(f"{NAME}/") for subject in listed}
    if absent := sorted(labels - {file.patient for file in files}):
        raise FileNotFoundError(f"{root}: no patient {', '.join(absent)} here")
    return [file for file in files if file.patient in labels]


def _doubled(files: list[_File]) -> dict[str, str]:
    """Return recordings that hold the EEG of another one of the patient -> the other one.

    Copies before 2.0.2 hold sessions of aaaaaqvx twice.
    """
    sizes: dict[tuple[str, int], list[_File]] = {}
    for file in files:
        if fault_of(file.path) is None:
            sizes.setdefault((file.patient, file.path.stat().st_size), []).append(file)
    found = {}
    for alike in sizes.values():
        first: dict[str, str] = {}
        for file in alike if len(alike) > 1 else ():
            name = file.path.stem
            if (other := first.setdefault(_beginning(file.path), name)) != name:
                found[name] = other
    return found


def _beginning(path: Path) -> str:
    """Return a digest of what stands behind names and dates of a header."""
    with path.open("rb") as file:
        file.seek(184)
        return hashlib.blake2b(file.read(_COMPARED_BYTES)).hexdigest()


def _sessions_without(files: list[_File], labels: str) -> set[str]:
    """Return the sessions that a later version corrected and whose labels have no seizure here."""
    found = set()
    for session in _CORRECTED:
        tables = [f.path.with_suffix(f".{labels}") for f in files if f.path.stem.startswith(f"{session}_")]
        texts = [table.read_text(encoding="utf-8", errors="replace") for table in tables if table.is_file()]
        if texts and not any("sz," in text or "seiz," in text for text in texts):
            found.add(session)
    return found


def _load_recording(file: _File, table: Path) -> tuple[RawDataset, list[str]]:
    raw, details = open_found(Found(file.path, fault_of(file.path)))
    set_channel_types(raw)
    found, length_s = read_tusz_labels(table), timeline_of(raw, samples=False).duration_s
    if found.duration_s is not None and abs(found.duration_s - length_s) > _LENGTH_SLACK_S:
        raise RecordingError(
            "bad-annotation",
            f"{table}: is of a recording of {found.duration_s:g} s, {file.path.name} lasts {length_s:g} s; "
            "copy both again from one version of the corpus",
        )
    spans, kinds = [span[:2] for span in found.seizures], [kind for *_, kind in found.seizures]
    set_seizures(raw, spans, where=str(table), kinds=kinds, slack_s=_LENGTH_SLACK_S)
    age_years, sex = _patient_facts(file.path)
    description = {
        "subject": f"{NAME}/{file.patient}",
        "session": file.session,
        "run": file.token,
        "recording": file.path.stem,
        "path": str(file.path),
        "labels_from": table.suffix.removeprefix("."),
        "split": file.split,
        "montage": file.path.parent.name,
        "age_years": age_years,
        "sex": sex,
    }
    return RawDataset(raw, description), [*details, *found.notes]


def _patient_facts(path: Path) -> tuple[float | None, str]:
    """Return age and sex of the header's patient field; 999 stands for an age that is not known."""
    text = read_edf_header(path).patient.decode("latin-1")
    age = re.search(r"\bAge:\s*(\d{1,3})\b", text)
    sex = re.match(r"\S+\s+([MF])\b", text)
    known = age is not None and int(age[1]) < 120
    return float(age[1]) if age is not None and known else None, sex[1].lower() if sex else ""
