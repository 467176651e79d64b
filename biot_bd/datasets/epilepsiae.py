"""EPILEPSIAE: ``pat_102/adm_1/rec_1/1_0000.head`` and ``.data``, one pair a block of a recording.

References
----------
Klatt, J. et al. (2012). The EPILEPSIAE database: an extensive electroencephalography database of
epilepsy patients. Epilepsia, 53, 1669-1676.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import mne
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets.epilepsiae_seizures import COLUMNS, ListedSeizure, read_seizure_table
from biot_bd.datasets.layouts import recognised_by
from biot_bd.datasets.recordings import Outcomes, check_choice, list_subjects, make_dataset, set_seizures, set_types
from biot_bd.datasets.unknown_stops import EXCLUDE, Marked, check_unknown_stop, close_seizures
from biot_bd.events.texts import SEIZURE
from biot_bd.exceptions import RecordingError
from biot_bd.io.epilepsiae import EpilepsiaeHead, read_epilepsiae_head
from biot_bd.io.notes import counted
from biot_bd.io.readers import open_raw
from biot_bd.io.segments import TOLERANCE_S
from biot_bd.io.timeline import timeline_of

_BLOCK = re.compile(r"(.+)_(\d+)\.(?:data|head)", re.IGNORECASE)
_TYPES = {"ECG": "ecg", "EKG": "ecg", "EMG": "emg", "EOG": "eog", "PHO": "misc", "RS": "misc"}


@dataclass
class _Block:
    """A block that can be read."""

    head: EpilepsiaeHead
    raw: mne.io.BaseRaw
    n_samples: int
    notes: list[str]

    @property
    def name(self) -> str:
        return self.head.path.stem

    @property
    def stop(self) -> dt.datetime:
        return self.head.start_time + dt.timedelta(seconds=self.n_samples / self.head.sfreq)

    @property
    def form(self) -> tuple[object, ...]:
        """What blocks must share to be read as one recording."""
        return self.head.ch_names, self.head.sfreq, self.head.uv_per_step


@dataclass
class _Folder:
    """A recording's folder, whose it is, and the names of its blocks."""

    path: Path
    variant: str
    patient: str
    admission: str
    recording: str
    blocks: list[str] = field(default_factory=list)

    @property
    def subject(self) -> str:
        return f"epilepsiae/{self.patient}"


def _looks_like(folder: Path) -> str:
    try:
        patients = sorted({p.name for p in [*folder.glob("pat_*"), *folder.glob("*/pat_*")] if any(p.glob("adm_*"))})
    except OSError:  # it cannot be searched
        return ""
    named = ", ".join(patients[:3]) + (", ..." if len(patients) > 3 else "")
    return f"{counted(len(patients), 'patient')} of EPILEPSIAE: {named}" if patients else ""


@recognised_by(_looks_like)
def load_epilepsiae(
    root: str | os.PathLike[str],
    *,
    seizures: str | os.PathLike[str] | None = None,
    subjects: Iterable[str | int] | str | int | None = None,
    unknown_stop: str = EXCLUDE,
    unlisted: str = "exclude",
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load surface recordings of EPILEPSIAE (256 Hz and more, 10-20 electrodes and others).

    Parameters
    ----------
    root : path-like
        Folder of ``pat_102``, ...; or of variants (``surf30``, ``surfPA``, ``surfCO``) that hold
        them; or the folder of one patient, admission or recording.
    seizures : path-like, optional
        The database's seizures as CSV (:func:`~biot_bd.datasets.epilepsiae_seizures.
        read_seizure_table` says which columns).  Without it the labels of all recordings are
        unknown.
    subjects : iterable of str or int, optional
        ``"pat_102"``, ``"102"``, ``102`` or ``"epilepsiae/102"``; all on the disk by default.
    unknown_stop : str, default="exclude-recording"
        What becomes of seizures that have no offset in the table: ``"exclude-recording"`` leaves
        their recording out as ``unlisted``, ``"raise"`` refuses it, ``"assume-60s"`` (any number of
        seconds) ends them so.
    unlisted : {"exclude", "background"}, default="exclude"
        What becomes of patients whom the table does not name: their labels are unknown.
    on_error : {"raise", "skip"}, default="raise"
        When a block cannot be read; ``"skip"`` notes it in ``outcomes``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts.  Blocks that follow one another with the same channels, rate and factor are
        one recording, which has the name of the first; what is missing between them is a pause of
        its time line.  ``description``: ``subject`` (``epilepsiae/102``), ``session`` (admission),
        ``run`` (recording), ``recording``, ``variant``.  ``outcomes``: ``loaded``,
        ``missing-file`` (a head without its data, a seizure that no recording covers),
        ``unlisted``, ``unreadable``, ``bad-annotation``; with clipped seizures, clinical times and
        short files.

    Raises
    ------
    FileNotFoundError
        There is no such folder, no block in it, no such table, or a subject is not on the disk.
    RecordingError
        The table is wrong, or a block is damaged and ``on_error="raise"``.
    ValueError
        An option has an unknown value, or nothing could be loaded.
    """
    check_choice("unlisted", unlisted, ("exclude", "background"))
    check_choice("on_error", on_error, ("raise", "skip"))
    check_unknown_stop(unknown_stop, 60)
    listed = None if seizures is None else read_seizure_table(seizures)
    folders = _wanted(_find(Path(root)), subjects, Path(root))
    outcomes, parts, covered = Outcomes("epilepsiae"), list[RawDataset](), set[str]()
    for folder in folders:
        own = None if listed is None else [one for one in listed if one.patient == folder.patient]
        for blocks in _joinable(_open_blocks(folder, on_error, outcomes)):
            parts += _load_recording(folder, blocks, own, covered, unknown_stop, unlisted, on_error, outcomes)
    patients = {folder.patient: folder.subject for folder in folders}
    for one in listed or ():
        if one.patient in patients and one.where not in covered:
            name = f"pat_{one.patient} seizure {one.onset:%Y-%m-%d %H.%M.%S}"
            outcomes.add(name, "missing-file", f"{one.where}: no recording covers it", subject=patients[one.patient])
    dataset = make_dataset(parts, outcomes.frame())
    outcomes.warn(
        {
            "missing-file": "or seizures are not on the disk",
            "unlisted": "have labels that are not known (no table of seizures, patient not in it, no stop): left out",
        }
    )
    return dataset


def _find(root: Path) -> list[_Folder]:
    """Return the folders of recordings, with their blocks in the order of names."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    found = []
    for place, _, names in sorted(os.walk(root.absolute())):
        stems = sorted({Path(name).stem for name in names if _BLOCK.fullmatch(name) and not name.startswith(".")})
        parts = Path(place).parts
        ids = {kind: [p for p in parts if p.startswith(kind)] for kind in ("pat_", "adm_", "rec_")}
        if stems and ids["pat_"]:
            patient = ids["pat_"][-1]
            variant = parts[parts.index(patient) - 1]
            adm, rec = ("".join(ids[kind][-1:]).removeprefix(kind) for kind in ("adm_", "rec_"))
            found.append(_Folder(Path(place), variant, patient.removeprefix("pat_"), adm, rec, stems))
    if not found:
        raise FileNotFoundError(
            f"{root}: holds no recording of EPILEPSIAE (expected e.g. pat_102/adm_1/rec_1/1_0000.head and .data)"
        )
    return found


def _wanted(folders: list[_Folder], subjects: Iterable[str | int] | str | int | None, root: Path) -> list[_Folder]:
    listed = list_subjects(subjects)
    if listed is None:
        return folders
    wanted = {str(s).strip().removeprefix("epilepsiae/").removeprefix("pat_") for s in listed}
    if absent := sorted(wanted - {folder.patient for folder in folders}):
        raise FileNotFoundError(f"{root}: no pat_{', pat_'.join(absent)} here")
    return [folder for folder in folders if folder.patient in wanted]


def _open_blocks(folder: _Folder, on_error: str, outcomes: Outcomes) -> list[_Block]:
    """Open the blocks of a recording in the order of their clocks; what cannot be read is noted."""
    blocks = []
    for stem in folder.blocks:
        path = folder.path / f"{stem}.data"
        try:
            if not path.is_file():
                raise RecordingError("missing-file", f"{path.with_suffix('.head')} is there, {path.name} is not")
            raw, notes = open_raw(path)
            blocks.append(_Block(read_epilepsiae_head(path.with_suffix(".head")), raw, raw.n_times, notes))
        except RecordingError as error:
            outcomes.add_error(stem, error, on_error, subject=folder.subject, path=path)
    return sorted(blocks, key=lambda block: (block.head.start_time, block.name))


def _joinable(blocks: list[_Block]) -> list[list[_Block]]:
    """Return runs of blocks that are one recording: of one form, none before the last one's end."""
    runs = list[list[_Block]]()
    for block in blocks:
        last = runs[-1][-1] if runs else None
        early_s = 0.0 if last is None else (last.stop - block.head.start_time).total_seconds()
        if last is None or last.form != block.form or early_s > TOLERANCE_S:
            if last is not None and early_s > TOLERANCE_S:
                block.notes.append(f"begins {early_s:g} s before block {last.name} ends, so both hold that time")
            runs.append([block])
        else:
            runs[-1].append(block)
    return runs


def _joined(blocks: Sequence[_Block]) -> mne.io.BaseRaw:
    """Return blocks as one lazy recording, its pauses told as our time line reads them."""
    if len(blocks) == 1:
        return blocks[0].raw
    raw = mne.concatenate_raws([block.raw for block in blocks], preload=False, verbose="ERROR")
    raw.set_annotations(None)  # MNE marks every join, also where nothing is missing
    n_samples = 0
    for before, after in pairwise(blocks):
        n_samples += before.n_samples
        missing_s = (after.head.start_time - before.stop).total_seconds()
        if missing_s > TOLERANCE_S:
            onset_s = n_samples / before.head.sfreq + raw.first_time
            raw.annotations.append(onset_s, 0.0, f"BAD boundary: {missing_s:.3f} s missing")
    return raw


def _load_recording(
    folder: _Folder,
    blocks: list[_Block],
    listed: list[ListedSeizure] | None,
    covered: set[str],
    unknown_stop: str,
    unlisted: str,
    on_error: str,
    outcomes: Outcomes,
) -> list[RawDataset]:
    """Return what a run of blocks is as a recording, or nothing; its outcome is noted."""
    name, path = blocks[0].name, blocks[0].head.path.with_suffix(".data")
    details = [f"{block.name}: {note}" for block in blocks for note in block.notes]
    if len(blocks) > 1:
        details.insert(0, f"{len(blocks)} blocks, {blocks[0].name} to {blocks[-1].name}")
    patients = {block.head.patient for block in blocks} - {""}
    if others := sorted(one for one in patients if one not in folder.patient):
        details.append(f"the head says patient {', '.join(others)}, the folder {folder.patient}")
    raw = _joined(blocks)
    set_types(raw, _TYPES)
    try:
        labelled = _label(raw, blocks[0].head.start_time, listed, covered, unknown_stop, unlisted, details, str(path))
    except RecordingError as error:
        how = "skip" if error.outcome == "unlisted" else on_error
        outcomes.add_error(name, error, how, subject=folder.subject, path=path)
        return []
    description = {
        "subject": folder.subject,
        "session": folder.admission,
        "run": folder.recording,
        "recording": name,
        "path": str(path),
        "variant": folder.variant,
        "labels_from": "seizure table" if labelled else "none",
    }
    outcomes.add(name, "loaded", "; ".join(details))
    return [RawDataset(raw, description)]


def _label(
    raw: mne.io.BaseRaw,
    start: dt.datetime,
    listed: list[ListedSeizure] | None,
    covered: set[str],
    unknown_stop: str,
    unlisted: str,
    details: list[str],
    where: str,
) -> bool:
    """Set the seizures that a recording holds; return whether the table names its patient."""
    if not listed:
        told = "no table of seizures is given" if listed is None else "the table of seizures does not name the patient"
        if unlisted == "exclude":
            advice = f"; seizures= names a CSV with the columns {', '.join(COLUMNS)}" if listed is None else ""
            raise RecordingError("unlisted", f"{where}: {told}, so the labels are unknown{advice}")
        set_seizures(raw, [], where=where)
        details.append(f"{told}, taken as free of seizures")
        return False
    line = timeline_of(raw, samples=False)
    inside = list[Marked]()
    for one in listed:
        onset_s = (one.onset - start).total_seconds()
        stop_s = None if one.stop is None else (one.stop - start).total_seconds()
        if not _is_recorded(onset_s, stop_s, [(s.start_s, s.stop_s) for s in line.segments]):
            continue
        covered.add(one.where)
        details += [f"seizure at {max(onset_s, 0.0):g} s: {note}" for note in one.notes]
        if onset_s < 0 or (stop_s is not None and stop_s > line.duration_s):
            details.append(f"seizure from {onset_s:g} s to {stop_s:g} s reaches out of the recording, clipped")
        inside.append((max(onset_s, 0.0), None if stop_s is None else min(stop_s, line.duration_s), SEIZURE))
    closed, notes = close_seizures(inside, unknown_stop, duration_s=line.duration_s, where=where)
    details += notes
    set_seizures(raw, [row[:2] for row in closed], where=where)
    return True


def _is_recorded(onset_s: float, stop_s: float | None, segments: list[tuple[float, float]]) -> bool:
    """Return whether some of a seizure, or its onset where the stop is not known, was recorded."""
    if stop_s is None:
        return any(start_s <= onset_s < end_s for start_s, end_s in segments)
    return any(onset_s < end_s and stop_s > start_s for start_s, end_s in segments)
