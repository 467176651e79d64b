"""CHB-MIT and Siena in their BIDS editions, with the seizures that mne-bids loses.

mne-bids gives every event the description ``n/a``, because SzCORE names the column ``eventType``;
the event table is therefore read here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from braindecode.datasets import CHBMIT, SIENA, BaseConcatDataset, RawDataset

from biot_bd.datasets.recordings import Outcomes, check_choice, list_subjects, make_dataset, set_events, set_seizures
from biot_bd.exceptions import RecordingError
from biot_bd.io.edf import check_continuous, read_edf_header


def load_chbmit_bids(
    root: str | os.PathLike[str],
    *,
    subjects: Iterable[str] | str | None = None,
    unlisted: str = "exclude",
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load the BIDS edition of CHB-MIT (18 bipolar channels, 256 Hz).

    Parameters
    ----------
    root : path-like
        Folder with ``participants.tsv`` and ``sub-01``, ...
    subjects : iterable of str, optional
        ``"01"``, ``"sub-01"`` or ``"chb-mit/01"``; all by default.
    unlisted : {"exclude", "background"}, default="exclude"
        What becomes of recordings without an event table: their labels are unknown.
    on_error : {"raise", "skip"}, default="raise"
        When an event table is wrong or a recording has gaps (EDF+D); ``"skip"`` notes it in
        ``outcomes``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts.  ``description``: ``subject`` (``chb-mit/01``, the same subject as chb01 and
        chb21 of the original edition), ``session``, ``run``, ``recording`` and ``zero_is_missing``
        True: this edition fills missing channels with zeros, and :func:`biot_bd.prepare` takes such
        channels as missing (they follow ``on_missing``).

    Raises
    ------
    FileNotFoundError
        The folder, its ``participants.tsv`` or a subject is not there.
    RecordingError
        An event table is wrong and ``on_error="raise"``, or a recording cannot be read.

    References
    ----------
    https://zenodo.org/records/10259996
    """
    return _load(CHBMIT, "chb-mit", root, subjects, unlisted, on_error)


def load_siena(
    root: str | os.PathLike[str],
    *,
    subjects: Iterable[str] | str | None = None,
    unlisted: str = "exclude",
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load the BIDS edition of the Siena database (19 referential channels, 256 or 512 Hz).

    Parameters
    ----------
    root, subjects, unlisted, on_error
        As in :func:`load_chbmit_bids`; subjects are ``siena/00``, ...

    Returns
    -------
    BaseConcatDataset of RawDataset
        As :func:`load_chbmit_bids` returns it; the same converter made this edition, so
        ``zero_is_missing`` is True too.

    Raises
    ------
    FileNotFoundError, RecordingError
        As :func:`load_chbmit_bids`.

    References
    ----------
    https://zenodo.org/records/10640762
    """
    return _load(SIENA, "siena", root, subjects, unlisted, on_error)


def _load(
    reader: Any,
    name: str,
    root: str | os.PathLike[str],
    subjects: Iterable[str] | str | None,
    unlisted: str,
    on_error: str,
) -> BaseConcatDataset:
    check_choice("unlisted", unlisted, ("exclude", "background"))
    check_choice("on_error", on_error, ("raise", "skip"))
    root = Path(root)
    participants = _participants(root)
    wanted = _labels(subjects, name)
    if wanted is not None and (absent := sorted(s for s in wanted if not (root / f"sub-{s}").is_dir())):
        raise FileNotFoundError(f"{root}: no sub-{', sub-'.join(absent)} here")
    found = _read(reader, root, wanted)
    outcomes, parts = Outcomes(name), list[RawDataset]()
    for old in sorted(found, key=lambda part: str(part.description["path"])):
        path = Path(old.description["path"])
        recording = path.stem.removesuffix("_eeg")
        table = path.with_name(f"{recording}_events.tsv")
        try:
            check_continuous(read_edf_header(path))
            if table.is_file():
                set_events(old.raw, table)
            elif unlisted == "background":
                set_seizures(old.raw, [], where=str(path))
        except RecordingError as error:
            outcomes.add_error(recording, error, on_error)
            continue
        if not table.is_file() and unlisted == "exclude":
            outcomes.add(recording, "unlisted", f"no event table {table.name}, so its labels are unknown")
            continue
        parts.append(RawDataset(old.raw, _describe(old.description, name, recording)))
        outcomes.add(recording, "loaded", "" if table.is_file() else "no event table, taken as free of seizures")
    seen = {str(part.description["subject"]) for part in found}
    for label in participants:
        if label not in seen and (wanted is None or label in wanted):
            outcomes.add(f"sub-{label}", "missing-file", "participants.tsv names it, no recording is there")
    dataset = make_dataset(parts, outcomes.frame())
    unlisted = "have no event table, so their labels are unknown: left out"
    outcomes.warn({"unlisted": unlisted, "missing-file": "are not on the disk"})
    return dataset


def _participants(root: Path) -> list[str]:
    path = root / "participants.tsv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; give the folder of the BIDS data set, which holds it")
    table = pd.read_csv(path, sep="\t", dtype=str)
    if "participant_id" not in table:
        raise ValueError(f"{path}: has no column participant_id; found {list(table.columns)}")
    return [str(label).removeprefix("sub-") for label in table["participant_id"]]


def _labels(subjects: Iterable[str] | str | None, name: str) -> set[str] | None:
    listed = list_subjects(subjects)
    if listed is None:
        return None
    return {str(s).removeprefix(f"{name}/").removeprefix("sub-") for s in listed}


def _read(reader: Any, root: Path, wanted: set[str] | None) -> list[RawDataset]:
    folders = [f"sub-{s}" for s in sorted(wanted)] if wanted is not None else ["sub-*"]
    if not any(path for folder in folders for path in root.glob(f"{folder}/**/*.edf")):
        raise FileNotFoundError(f"{root}: no EDF files below {', '.join(folders)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # sidecars that BIDS asks for and these editions lack
        try:
            return reader(root=root, subjects=None if wanted is None else sorted(wanted)).datasets
        except Exception as error:  # mne-bids fails in many ways on damaged trees
            raise RecordingError(
                "unreadable",
                f"{root}: braindecode's {reader.__name__} cannot read it ({type(error).__name__}: {error})",
            ) from error


def _describe(description: pd.Series, name: str, recording: str) -> dict[str, Any]:
    found = {key: description.get(key) for key in ("subject", "session", "run", "path")}
    texts = {key: "" if pd.isna(value) else str(value) for key, value in found.items()}
    return texts | {"subject": f"{name}/{texts['subject']}", "recording": recording, "zero_is_missing": True}
