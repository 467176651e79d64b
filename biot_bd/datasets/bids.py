"""CHB-MIT and Siena in their BIDS editions, with the seizure annotations that mne-bids loses.

mne-bids gives every event the description ``n/a``, because SzCORE names the column ``eventType``;
names, tables and recordings are therefore read here, as in every other folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mne
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets.layouts import bids_title, recognised_by
from biot_bd.datasets.recordings import (
    Outcomes,
    check_choice,
    entity,
    list_subjects,
    make_dataset,
    set_events,
    set_seizures,
)
from biot_bd.events.tables import read_table
from biot_bd.exceptions import RecordingError
from biot_bd.io.walk import Found, find_recordings, open_found, stem_of


def named_like(word: str) -> Callable[[Path], str]:
    """Return a function that says whether a BIDS data set has a word in its name."""

    def looks_like(folder: Path) -> str:
        title = bids_title(folder)
        return title if title is not None and word in title.lower() else ""

    return looks_like


@recognised_by(named_like("chb"))
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
        When an event table is wrong or a recording has no times (EDF+D); ``"skip"`` notes it in
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
    return load_bids("chb-mit", root, subjects=subjects, unlisted=unlisted, on_error=on_error)


@recognised_by(named_like("siena"))
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
    return load_bids("siena", root, subjects=subjects, unlisted=unlisted, on_error=on_error)


def load_bids(
    name: str,
    root: str | os.PathLike[str],
    *,
    subjects: Iterable[str] | str | None,
    unlisted: str,
    on_error: str,
    zero_is_missing: bool = True,
    tidy: Callable[[mne.io.BaseRaw, Path], list[str]] | None = None,
) -> BaseConcatDataset:
    """Load a data set in BIDS whose event tables are SzCORE's.

    Parameters
    ----------
    name : str
        Name space of the subjects.
    root, subjects, unlisted, on_error
        As in :func:`load_chbmit_bids`.
    zero_is_missing : bool, default=True
        Whether an exactly-zero channel was never recorded.
    tidy : callable, optional
        ``(raw, path) -> notes``: changes a recording in place before its labels are set; may raise
        a RecordingError.

    Returns
    -------
    BaseConcatDataset of RawDataset
    """
    check_choice("unlisted", unlisted, ("exclude", "background"))
    check_choice("on_error", on_error, ("raise", "skip"))
    root = Path(root)
    participants = _participants(root)
    wanted = _labels(subjects, name)
    if wanted is not None and (absent := sorted(s for s in wanted if not (root / f"sub-{s}").is_dir())):
        raise FileNotFoundError(f"{root}: no sub-{', sub-'.join(absent)} here")
    found = _find(root, wanted)
    outcomes, parts = Outcomes(name), list[RawDataset]()
    for one in found:
        recording = stem_of(one.path.name).removesuffix("_eeg")
        subject = f"{name}/{entity('sub', one.path.name)}"
        try:
            raw, details = open_found(one)
            details += tidy(raw, one.path) if tidy else []
            known = _annotate(raw, one.path, unlisted)
        except RecordingError as error:
            outcomes.add_error(recording, error, on_error, subject=subject, path=one.path)
            continue
        if known is None:
            detail = f"no event table {events_table(one.path).name}, so its labels are unknown"
            outcomes.add(recording, "unlisted", detail, subject=subject, path=one.path)
            continue
        labels_from = "event table" if events_table(one.path).is_file() else "none"
        description = _describe(one.path, name, recording) | {"labels_from": labels_from}
        parts.append(RawDataset(raw, description | ({"zero_is_missing": True} if zero_is_missing else {})))
        outcomes.add(recording, "loaded", "; ".join([*details, *known]))
    seen = {entity("sub", one.path.name) for one in found}
    for label in participants:
        if label not in seen and (wanted is None or label in wanted):
            detail = "participants.tsv names it, no recording is there"
            outcomes.add(f"sub-{label}", "missing-file", detail, subject=f"{name}/{label}")
    dataset = make_dataset(parts, outcomes.frame())
    unlisted = "have no event table, so their labels are unknown: left out"
    outcomes.warn({"unlisted": unlisted, "missing-file": "are not on the disk"})
    return dataset


def _participants(root: Path) -> list[str]:
    path = root / "participants.tsv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; give the folder of the BIDS data set, which holds it")
    rows = read_table(path, ["participant_id"]).rows
    return [row["participant_id"].removeprefix("sub-") for row in rows]


def _labels(subjects: Iterable[str] | str | None, name: str) -> set[str] | None:
    listed = list_subjects(subjects)
    if listed is None:
        return None
    return {str(s).removeprefix(f"{name}/").removeprefix("sub-") for s in listed}


def _find(root: Path, wanted: set[str] | None) -> list[Found]:
    """Return the recordings of the subjects, sorted."""
    below = [one for one in find_recordings(root) if one.path.relative_to(root).parts[0].startswith("sub-")]
    found = [one for one in below if wanted is None or entity("sub", one.path.name) in wanted]
    if not found:
        folders = ["sub-*"] if wanted is None else [f"sub-{s}" for s in sorted(wanted)]
        raise FileNotFoundError(f"{root}: no recordings below {', '.join(folders)}")
    return sorted(found, key=lambda one: str(one.path))


def events_table(path: Path) -> Path:
    """Return where the event table of a recording lies, if there is one."""
    return path.with_name(stem_of(path.name).removesuffix("_eeg") + "_events.tsv")


def _annotate(raw: mne.io.BaseRaw, path: Path, unlisted: str) -> list[str] | None:
    """Set the annotations from the event table; None where the recording is left out."""
    if events_table(path).is_file():
        return set_events(raw, events_table(path))
    if unlisted == "exclude":
        return None
    set_seizures(raw, [], where=str(path))
    return ["no event table, taken as free of seizures"]


def _describe(path: Path, name: str, recording: str) -> dict[str, Any]:
    return {
        "subject": f"{name}/{entity('sub', path.name)}",
        "session": entity("ses", path.name),
        "run": entity("run", path.name),
        "recording": recording,
        "path": str(path),
    }
