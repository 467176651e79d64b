"""Load the competition's recordings, each with the votes of its rows as annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets import make_dataset, recognised_by
from biot_bd.exceptions import EmptyDatasetError, RecordingError
from biot_bd_hms.layout import CLASSES, LABELLED_S, NUMBERS, PARTS, SHOWN_S, looks_like_hms, read_table
from biot_bd_hms.raw_parquet import ECG, EEG, RawParquet
from biot_bd_hms.votes import votes_text


@recognised_by(looks_like_hms)
def load_hms(
    root: str | os.PathLike[str],
    *,
    part: str = "train",
    patients: Sequence[int] | None = None,
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load "HMS - Harmful Brain Activity Classification" of Kaggle.

    A recording is a file of ``train_eegs``: 19 electrodes and an ECG, 200 Hz, 50 s or longer.  Its
    rows of ``train.csv`` become annotations over the 10 s that were judged, which hold the numbers
    of votes; the label rule ``hms-votes`` makes windows of them.  What lies between was not judged,
    so no annotation says ``sz``.

    Parameters
    ----------
    root : path-like
        Folder with ``train.csv`` and ``train_eegs`` (``test.csv`` and ``test_eegs``).
    part : {"train", "test"}
        Which part; recordings of the test part have no votes.
    patients : sequence of int, optional
        Load these patients only.
    on_error : {"raise", "skip"}
        When a file or its rows are damaged; ``"skip"`` notes it in ``outcomes``.  Files that are
        not on the disk are noted in either case.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Volts, read when they are asked for; gaps are NaN.  ``subject`` is ``hms/<patient_id>``,
        ``recording`` ``hms-<eeg_id>``.  ``outcomes``: ``loaded``, ``missing-file``,
        ``bad-annotation``, ``unreadable``, ``unlisted`` (a file without a row).

    Raises
    ------
    FileNotFoundError
        Table or folder are not there.
    ValueError
        The table is damaged, or a parameter is none of those.
    biot_bd.exceptions.RecordingError
        A recording is damaged, and ``on_error="raise"``.
    biot_bd.exceptions.EmptyDatasetError
        None can be loaded.
    """
    for name, value, known in (("part", part, tuple(PARTS)), ("on_error", on_error, ("raise", "skip"))):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}")
    root = Path(root).absolute()
    table, folder = read_table(root, part), root / PARTS[part][1]
    unlisted = sorted({path.stem for path in folder.glob("*.parquet")} - set(table["eeg_id"].astype(str)))
    table = _chosen(table, patients, root / PARTS[part][0])
    parts, rows = list[RawDataset](), list[tuple[str, str, str]]()
    for eeg_id, labels in table.groupby("eeg_id", sort=True):
        name = f"hms-{eeg_id}"
        try:
            raw, details = _open(folder / f"{eeg_id}.parquet", labels, part)
        except RecordingError as error:
            if on_error == "raise" and error.outcome != "missing-file":
                raise
            rows.append((name, error.outcome, str(error)))
            continue
        subject = f"hms/{labels['patient_id'].iloc[0]}"
        about = {"subject": subject, "session": str(eeg_id), "run": "1", "recording": name}
        parts.append(RawDataset(raw, pd.Series(about)))
        rows.append((name, "loaded", "; ".join(details)))
    rows += [(f"hms-{stem}", "unlisted", f"{PARTS[part][0]} has no row of it") for stem in unlisted]
    outcomes = pd.DataFrame(rows, columns=["recording", "outcome", "detail"])
    if not parts:
        raise EmptyDatasetError(f"{root}: none of {len(rows)} recordings can be loaded; {rows[0][2]}", outcomes)
    return make_dataset(parts, outcomes)


def _chosen(table: pd.DataFrame, patients: Sequence[int] | None, path: Path) -> pd.DataFrame:
    if patients is None:
        return table
    wanted = {int(patient) for patient in patients}
    missing = sorted(wanted - set(table["patient_id"]))
    if missing:
        raise ValueError(f"{path}: no row of patient(s) {', '.join(map(str, missing[:5]))}")
    return table[table["patient_id"].isin(wanted)]


def _open(path: Path, labels: pd.DataFrame, part: str) -> tuple[RawParquet, list[str]]:
    """Return a recording with its votes, and what is to be said of it."""
    raw = RawParquet(path)
    details = [f"column(s) left out: {', '.join(raw.unknown_columns)}"] if raw.unknown_columns else []
    absent = [name for name in (*EEG, ECG) if name not in raw.ch_names]
    details += [f"without the column(s) {', '.join(absent)}"] if absent else []
    if part == "train":
        details += _annotate(raw, path, labels)
    return raw, details


def _annotate(raw: RawParquet, path: Path, labels: pd.DataFrame) -> list[str]:
    """Set the votes as annotations over the seconds that were judged; return notes."""
    numbers = labels[list(NUMBERS)].to_numpy(np.float64)
    if not np.isfinite(numbers).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
        label_id = labels["label_id"].iloc[row]
        raise RecordingError("bad-annotation", f"{path}: label_id {label_id} has no number as {NUMBERS[column]}")
    offsets_s, votes = numbers[:, 0], numbers[:, 1:]
    onsets_s = offsets_s + (SHOWN_S - LABELLED_S) / 2
    duration_s = raw.n_times / raw.info["sfreq"]
    faults = {
        "votes that are no whole numbers of at least 0": ((votes < 0) | (votes != np.round(votes))).any(axis=1),
        f"an offset that puts the judged seconds outside of the {duration_s:g} s": (offsets_s < 0)
        | (onsets_s + LABELLED_S > duration_s + 1e-6),
    }
    for what, faulty in faults.items():
        if faulty.any():
            label_id = labels["label_id"].iloc[int(np.argmax(faulty))]
            raise RecordingError("bad-annotation", f"{path}: label_id {label_id} has {what}")
    voted = votes.sum(axis=1) > 0
    texts = [votes_text(row) for row in votes[voted]]
    raw.set_annotations(mne.Annotations(onsets_s[voted], [LABELLED_S] * len(texts), texts))
    notes = [f"{int((~voted).sum())} row(s) without a vote left out"] if not voted.all() else []
    if not texts:
        raise RecordingError("bad-annotation", f"{path}: none of its {len(labels)} row(s) has a vote")
    return notes + _disagreements(labels, votes)


def _disagreements(labels: pd.DataFrame, votes: np.ndarray) -> list[str]:
    """Say where ``expert_consensus`` is not among the classes with most votes."""
    place = {name: k for k, name in enumerate(CLASSES)}
    said = [place.get(str(text).lower(), -1) for text in labels["expert_consensus"]]
    best = votes == votes.max(axis=1, keepdims=True)
    n = sum(k < 0 or not row[k] for k, row in zip(said, best, strict=True))
    return [f"expert_consensus is not the class with most votes in {n} row(s); votes count"] if n else []
