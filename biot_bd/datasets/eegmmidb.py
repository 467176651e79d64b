"""EEGMMIDB as PhysioNet publishes it: rest, movements and imagined movements of 109 subjects.

References
----------
Schalk, G., McFarland, D. J., Hinterberger, T., Birbaumer, N., & Wolpaw, J. R. (2004). BCI2000: a
general-purpose brain-computer interface (BCI) system. IEEE Transactions on Biomedical Engineering
51(6), 1034-1043. https://physionet.org/content/eegmmidb/1.0.0/
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import mne
import numpy as np
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets.layouts import recognised_by
from biot_bd.datasets.recordings import Outcomes, check_choice, list_subjects, make_dataset
from biot_bd.exceptions import RecordingError
from biot_bd.io.edf import open_edf
from biot_bd.io.segments import annotations_of, set_annotations
from biot_bd.signals.names import canonical_name

N_SUBJECTS, N_RUNS = 109, 14
SFREQ_HZ = 160.0
_FISTS = {"T0": "rest", "T1": "left-fist", "T2": "right-fist"}
_BOTH = {"T0": "rest", "T1": "both-fists", "T2": "both-feet"}


def _imagined(names: Mapping[str, str]) -> dict[str, str]:
    return {mark: name if name == "rest" else f"imagined-{name}" for mark, name in names.items()}


CLASSES_OF_RUN: dict[int, dict[str, str]] = {
    1: {"T0": "eyes-open"},
    2: {"T0": "eyes-closed"},
    **dict.fromkeys((3, 7, 11), _FISTS),
    **dict.fromkeys((4, 8, 12), _imagined(_FISTS)),
    **dict.fromkeys((5, 9, 13), _BOTH),
    **dict.fromkeys((6, 10, 14), _imagined(_BOTH)),
}
"""Run -> what its marks mean, as PhysioNet's page says."""
ODD_SUBJECTS = (88, 89, 92, 100)
"""Subjects that published work leaves out: three at 128 Hz with trials of other lengths, one (89)
whose marks are in doubt."""
_TRIAL_S = (3.9, 4.4)  # 4.1 and 4.2 s in the files
_FILE = re.compile(r"S(\d{3})R(\d{2})\.edf", re.IGNORECASE)


def _looks_like(folder: Path) -> str:
    """Say by what EEGMMIDB is told; the folder itself and its subjects' folders are looked at."""
    found = [*folder.glob("S[0-9][0-9][0-9]R[0-9][0-9].edf"), *folder.glob("S[0-9]*/S[0-9]*R[0-9]*.edf")]
    names = sorted(path.name for path in found if _FILE.fullmatch(path.name))
    return f"{len(names)} runs of EEGMMIDB, such as {names[0]}" if names else ""


@recognised_by(_looks_like)
def load_eegmmidb(
    root: str | os.PathLike[str],
    *,
    subjects: Iterable[str | int] | str | int | None = None,
    runs: Iterable[int] | int | None = None,
    irregular: str = "exclude",
    on_error: str = "raise",
    download: bool = False,
) -> BaseConcatDataset:
    """Load EEGMMIDB: 64 referential channels at 160 Hz, one to two minutes a run.

    Parameters
    ----------
    root : path-like
        Folder with ``S001/S001R01.edf``, ...; the files may lie deeper, as MNE downloads them, or
        directly in it.
    subjects : iterable of str or int, optional
        ``1``, ``"S001"`` or ``"eegmmidb/001"``; all on the disk by default.
    runs : iterable of int, optional
        1 to 14; all on the disk by default.  1 is rest with eyes open, 2 with eyes closed; 3, 7, 11
        move the left or right fist and 4, 8, 12 imagine it; 5, 9, 13 move both fists or both feet
        and 6, 10, 14 imagine it.
    irregular : {"exclude", "keep"}, default="exclude"
        What becomes of subjects 88, 89, 92 and 100, which published work leaves out, and of files
        at another rate than 160 Hz or with trials of another length than 4.1 s: left out, with the
        reason in ``outcomes``, or loaded.
    on_error : {"raise", "skip"}, default="raise"
        When a file cannot be read; ``"skip"`` notes it in ``outcomes``.
    download : bool, default=False
        Let MNE download the asked runs that are not there to ``root``; ``subjects`` must be given.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts, channels in our spelling (``Fp1`` for ``Fp1.``).  Annotations bear the names
        of tasks: ``eyes-open``, ``eyes-closed``, ``rest``, ``left-fist``, ``right-fist``,
        ``both-fists``, ``both-feet``, and ``imagined-left-fist`` and so on.  There are no seizures.

    Raises
    ------
    FileNotFoundError
        No run is there, or one that was asked for by ``subjects`` and ``runs`` is not.
    RecordingError
        A file is damaged, or has marks that its run cannot have, and ``on_error="raise"``.
    ValueError
        An option makes no sense.

    See Also
    --------
    biot_bd.windows.Annotated : Labels windows by these tasks.
    """
    check_choice("irregular", irregular, ("exclude", "keep"))
    check_choice("on_error", on_error, ("raise", "skip"))
    root = Path(root)
    wanted, asked_runs = _subjects(subjects), _runs(runs)
    if download:
        _download(root, wanted, asked_runs)
    files = _files(root, wanted, asked_runs)
    outcomes, parts = Outcomes("eegmmidb"), list[RawDataset]()
    for (number, run), path in sorted(files.items()):
        subject = f"eegmmidb/{number:03d}"
        known: dict[str, Any] = {"subject": subject, "path": path}
        try:
            raw, detail, odd = _open(path, run)
        except RecordingError as error:
            outcomes.add_error(path.stem, error, on_error, **known)
            continue
        if number in ODD_SUBJECTS:
            odd.insert(0, "published work leaves this subject out")
        if odd and irregular == "exclude":
            outcomes.add(path.stem, "irregular", "; ".join(odd), **known)
            continue
        task = "rest" if run < 3 else "movement" if run % 2 else "imagery"
        about = {"session": "1", "run": f"{run:02d}", "recording": path.stem, "path": str(path), "task": task}
        parts.append(RawDataset(raw, {"subject": subject, **about}))
        outcomes.add(path.stem, "loaded", "; ".join([*detail, *odd]))
    dataset = make_dataset(parts, outcomes.frame())
    outcomes.warn({"irregular": "have another rate or other trials, or published work leaves them out: left out"})
    return dataset


def _subjects(subjects: Any) -> list[int] | None:
    listed = list_subjects(subjects)
    if listed is None:
        return None
    found = []
    for subject in listed:
        match = re.fullmatch(r"(?:S|eegmmidb/)?(\d{1,3})", str(subject).strip())
        if match is None or not 1 <= int(match[1]) <= N_SUBJECTS:
            raise ValueError(f"subject {subject!r}: expected 1 to {N_SUBJECTS}, 'S001' or 'eegmmidb/001'")
        found.append(int(match[1]))
    return sorted(set(found))


def _runs(runs: Any) -> list[int] | None:
    if runs is None:
        return None
    listed = [runs] if isinstance(runs, (Integral, str)) else list(runs)
    words = [str(run).strip() for run in listed]
    wrong = [word for word in words if not word.isdecimal() or not 1 <= int(word) <= N_RUNS]
    if wrong or not words:
        raise ValueError(f"runs={runs!r}: expected whole numbers from 1 to {N_RUNS}")
    return sorted({int(word) for word in words})


def _download(root: Path, subjects: list[int] | None, runs: list[int] | None) -> None:
    """Let MNE fetch what is not there; it checks what it fetched."""
    if subjects is None:
        raise ValueError("download=True needs subjects, e.g. subjects=[1, 2]; all of them are 3.4 GB")
    there = _found(root) if root.is_dir() else {}
    root.mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        missing = [run for run in runs or range(1, N_RUNS + 1) if (subject, run) not in there]
        if missing:
            mne.datasets.eegbci.load_data(subject, missing, path=str(root), update_path=False, verbose="error")


def _found(root: Path) -> dict[tuple[int, int], Path]:
    found: dict[tuple[int, int], Path] = {}
    for path in sorted(root.rglob("S*R*.edf")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            continue
        key = int(match[1]), int(match[2])
        if key in found:
            raise ValueError(
                f"{root}: {path.name} is there twice, {found[key]} and {path}; give the folder of one copy"
            )
        found[key] = path
    return {key: path for key, path in found.items() if key[1] in CLASSES_OF_RUN}


def _files(root: Path, subjects: list[int] | None, runs: list[int] | None) -> dict[tuple[int, int], Path]:
    """Return the runs by subject and number."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; download=True lets MNE fetch the subjects that you name")
    found = _found(root)
    if subjects is not None:
        there = {subject for subject, _ in found}
        gone = [f"S{s:03d}" for s in subjects if s not in there]
        if runs is not None:
            gone = [f"S{s:03d}R{r:02d}.edf" for s in subjects for r in runs if (s, r) not in found]
        if gone:
            named = ", ".join(gone[:5])
            raise FileNotFoundError(f"{root}: {named} not here; download=True lets MNE fetch what is missing")
    kept = {
        key: path
        for key, path in found.items()
        if (subjects is None or key[0] in subjects) and (runs is None or key[1] in runs)
    }
    if not kept:
        raise FileNotFoundError(f"{root}: holds no run of EEGMMIDB that was asked for (expected e.g. S001/S001R01.edf)")
    return kept


def _open(path: Path, run: int) -> tuple[mne.io.BaseRaw, list[str], list[str]]:
    """Open a run; return it, notes, and what is irregular about it."""
    notes: list[str] = []
    raw = open_edf(path, notes=notes)
    names = {name: canonical_name(name.rstrip(".")) or name for name in raw.ch_names}
    raw.rename_channels(names, verbose="ERROR")
    meaning = CLASSES_OF_RUN[run]
    rows = annotations_of(raw)
    if unknown := sorted({text for *_, text in rows} - set(meaning)):
        raise RecordingError(
            "bad-annotation",
            f"{path}: marks {', '.join(unknown)}; expected {', '.join(meaning)} in run {run}, "
            "so the file is another run or another data set",
        )
    odd = [] if raw.info["sfreq"] == SFREQ_HZ else [f"rate {raw.info['sfreq']:g} Hz instead of {SFREQ_HZ:g} Hz"]
    lengths_s = np.array([duration_s for _, duration_s, text in rows if text != "T0"])
    if len(lengths_s) and not ((lengths_s > _TRIAL_S[0]) & (lengths_s < _TRIAL_S[1])).all():
        odd.append(f"trials of {lengths_s.min():g} to {lengths_s.max():g} s instead of 4.1 s")
    set_annotations(raw, [(onset_s, duration_s, meaning[text]) for onset_s, duration_s, text in rows])
    return raw, notes, odd
