"""The Helsinki neonatal set as Zenodo publishes it: ``eeg1.edf`` ... beside three experts' files.

References
----------
Stevenson, N. J., Tapani, K., Lauronen, L., Vanhatalo, S. (2019). A dataset of neonatal EEG
recordings with seizure annotations. Scientific Data 6, 190039.
https://zenodo.org/records/4940267 (version 2), https://zenodo.org/records/2547147 (1), CC BY 4.0
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mne
import numpy as np
from braindecode.datasets import BaseConcatDataset, RawDataset
from numpy.typing import NDArray

from biot_bd.datasets.channel_types import set_channel_types
from biot_bd.datasets.helsinki_annotations import CONSENSUS, EXPERTS, Vectors, agreed, read_expert, runs_of
from biot_bd.datasets.layouts import recognised_by
from biot_bd.datasets.recordings import Outcomes, check_choice, list_subjects, make_dataset, set_seizures
from biot_bd.events.tables import number
from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_header import read_edf_header
from biot_bd.io.files import fault_of
from biot_bd.io.notes import counted
from biot_bd.io.walk import Found, open_found

NAME = "helsinki"
_FILE = re.compile(r"eeg(\d{1,3})\.edf", re.IGNORECASE)
_CLINICAL = {
    "sex": "Gender",
    "birth_weight_g": "BW (g)",
    "gestational_age_weeks": "GA (weeks)",
    "postmenstrual_age_weeks": "EEG to PMA (weeks)",
    "diagnosis": "Diagnosis",
    "neuroimaging": "Neuroimaging Findings",
    "localization": "Primary Localisation",
}


def _looks_like(folder: Path) -> str:
    """Say how many recordings and experts a folder holds."""
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except OSError:
        return ""
    experts = [expert for expert in EXPERTS if _table(folder, expert) is not None]
    n = sum(bool(_FILE.fullmatch(name)) for name in names)
    if not n or not experts:
        return ""
    return f"{counted(n, 'recording')} of the Helsinki neonatal set, annotated by {', '.join(experts)}"


@recognised_by(_looks_like)
def load_helsinki(
    root: str | os.PathLike[str],
    *,
    subjects: Iterable[str | int] | str | int | None = None,
    consensus: str = "all",
    on_missing: str = "warn",
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load the Helsinki neonatal set (79 neonates, 19 referential channels, 256 Hz).

    Parameters
    ----------
    root : path-like
        Folder with ``eeg1.edf``, ... and ``annotations_2017_A.csv`` (version 2) or ``.mat``
        (version 1; read where there is no ``.csv``), of all three experts.
    subjects : iterable of str or int, optional
        ``"eeg4"``, ``"04"``, ``4`` or ``"helsinki/04"``; all by default.
    consensus : {"all", "majority", "any", "A", "B", "C"}, default="all"
        Which seconds are a seizure: those of all three experts, of two at least, of one at least,
        or of one expert alone.  Published numbers differ by it; say which.
    on_missing : {"warn", "raise", "ignore"}, default="warn"
        When annotations name recordings that are not on the disk.
    on_error : {"raise", "skip"}, default="raise"
        When a file cannot be read; ``"skip"`` notes it in ``outcomes``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts.  ``description``: ``subject`` (``helsinki/04``), ``session``, ``run``,
        ``recording`` (``eeg4``), ``consensus``, ``n_experts``, and the texts of
        ``clinical_information.csv``: ``sex``, ``birth_weight_g``, ``gestational_age_weeks``, ...
        A recording ends where the shortest of the experts' vectors that count ends, as what lies
        behind was judged by nobody; ``outcomes`` says so.

    Raises
    ------
    FileNotFoundError
        There is no recording, an expert's file is missing, or recordings are and
        ``on_missing="raise"``.
    RecordingError
        A file is damaged and ``on_error="raise"``, or annotations are of another form.
    ValueError
        An option has an unknown value, or nothing could be loaded.

    See Also
    --------
    biot_bd.datasets.helsinki_annotations.agreed : The consensus.
    """
    check_choice("consensus", consensus, (*CONSENSUS, *EXPERTS))
    check_choice("on_missing", on_missing, ("warn", "raise", "ignore"))
    check_choice("on_error", on_error, ("raise", "skip"))
    root = Path(root)
    files = _files(root)
    experts = _experts(root, (consensus,) if consensus in EXPERTS else EXPERTS)
    clinical = _clinical(root)
    listed = set(files).union(*experts.values())
    wanted = _numbers(subjects)
    if wanted is not None and (absent := sorted(wanted - listed)):
        raise FileNotFoundError(f"{root}: no eeg{', eeg'.join(map(str, absent))} here")
    outcomes, parts = Outcomes("helsinki-neonatal"), list[RawDataset]()
    for n in sorted(listed if wanted is None else wanted):
        known: dict[str, Any] = {"subject": f"{NAME}/{n:02d}", "path": files.get(n)}
        without = [expert for expert, vectors in experts.items() if not len(vectors.get(n, ()))]
        if n not in files:
            outcomes.add(f"eeg{n}", "missing-file", f"annotated; {root / f'eeg{n}.edf'} is not there", **known)
        elif without:
            detail = f"not annotated by {', '.join(without)}, so its labels by {consensus!r} are unknown"
            outcomes.add(f"eeg{n}", "unlisted", detail, **known)
        else:
            vectors = {expert: found[n] for expert, found in experts.items()}
            try:
                part, detail = _load_recording(files[n], n, vectors, consensus, clinical.get(n, {}))
            except RecordingError as error:
                outcomes.add_error(f"eeg{n}", error, on_error, **known)
            else:
                parts.append(part)
                outcomes.add(f"eeg{n}", "loaded", detail)
    if on_missing == "raise" and (missing := outcomes.of("missing-file")):
        raise FileNotFoundError(f"{root}: {len(missing)} recordings are not on the disk: {', '.join(missing[:5])}")
    dataset = make_dataset(parts, outcomes.frame())
    said = {"unlisted": "are not annotated by all who count: left out"}
    outcomes.warn({"missing-file": "are not on the disk", **said} if on_missing == "warn" else said)
    return dataset


def _files(root: Path) -> dict[int, Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    found = {int(match[1]): path for path in root.iterdir() if (match := _FILE.fullmatch(path.name))}
    if not found:
        raise FileNotFoundError(f"{root}: holds no recording of the Helsinki neonatal set (expected e.g. eeg1.edf)")
    return found


def _table(root: Path, expert: str) -> Path | None:
    paths = (root / f"annotations_2017_{expert}{ending}" for ending in (".csv", ".mat"))
    return next((path for path in paths if path.is_file()), None)


def _experts(root: Path, wanted: Iterable[str]) -> dict[str, Vectors]:
    """Return what each of the experts who count says."""
    found = {}
    for expert in wanted:
        path = _table(root, expert)
        if path is None:
            raise FileNotFoundError(
                f"{root}: annotations_2017_{expert}.csv (or .mat) is not there; fetch it, or say whose annotations "
                "count, as in consensus='A'"
            )
        found[expert] = read_expert(path)
    return found


def _numbers(subjects: Iterable[str | int] | str | int | None) -> set[int] | None:
    listed = list_subjects(subjects)
    if listed is None:
        return None
    numbers = set()
    for subject in listed:
        match = re.fullmatch(rf"(?:eeg|{NAME}/)?(\d{{1,3}})", str(subject).strip())
        if match is None:
            raise ValueError(f"subject {subject!r}: expected a recording (eeg4, 04, 4) or a subject ({NAME}/04)")
        numbers.add(int(match[1]))
    return numbers


def _clinical(root: Path) -> dict[int, dict[str, str]]:
    path = root / "clinical_information.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [{str(k).strip(): str(v or "").strip() for k, v in row.items()} for row in csv.DictReader(file)]
    if rows and "ID" not in rows[0]:
        raise ValueError(f"{path}: has no column ID; found {', '.join(rows[0])}")
    return {int(row["ID"]): row for row in rows if row["ID"].isdecimal()}


def _load_recording(
    path: Path, n: int, vectors: dict[str, NDArray[np.bool_]], consensus: str, row: dict[str, str]
) -> tuple[RawDataset, str]:
    raw, details = open_found(Found(path, fault_of(path)))
    details += _range_notes(path)
    set_channel_types(raw)
    seconds = agreed(vectors, consensus)
    details += _end_with_labels(raw, len(seconds))
    set_seizures(raw, runs_of(seconds), where=f"{path} (consensus {consensus!r})", slack_s=1.0)
    given = {name: row.get(column, "") for name, column in _CLINICAL.items()}
    description = {
        "subject": f"{NAME}/{n:02d}",
        "session": "01",
        "run": "01",
        "recording": f"eeg{n}",
        "path": str(path),
        "labels_from": f"experts {', '.join(vectors)}",
        "consensus": consensus,
        "n_experts": len(vectors),
        **{name: "" if text == "N/A" else text for name, text in given.items()},
    }
    return RawDataset(raw, description), "; ".join(details)


def _end_with_labels(raw: mne.io.BaseRaw, labelled_s: int) -> list[str]:
    """Cut what nobody judged."""
    duration_s = raw.n_times / raw.info["sfreq"]
    if labelled_s < duration_s:
        raw.crop(tmax=labelled_s, include_tmax=False, verbose="ERROR")
        return [f"ends where its labels do, at {labelled_s:,} s of {duration_s:,.1f} s"]
    if labelled_s >= duration_s + 1:
        return [f"annotated for {labelled_s:,} s, lasts {duration_s:,.1f} s"]
    return []


def _range_notes(path: Path) -> list[str]:
    """Name electrodes whose physical range is far from symmetric, as after a digit was cut off."""
    header = read_edf_header(path)
    lows, highs = ([number(text.strip("\0 ")) for text in header.field(f"physical_{end}")] for end in ("min", "max"))
    odd = [
        f"{label} ({low:g} to {high:g})"
        for label, low, high in zip(header.labels, lows, highs, strict=True)
        if low is not None
        and high is not None
        and label.upper().startswith("EEG")
        and abs(low + high) > 0.1 * abs(high)
    ]
    return [f"physical range not symmetric, check the amplitude: {', '.join(odd[:3])}"] if odd else []
