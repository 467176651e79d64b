"""The files of the competition: names of classes, columns and folders, and the tables, checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

CLASSES = ("seizure", "lpd", "gpd", "lrda", "grda", "other")
VOTES = tuple(f"{name}_vote" for name in CLASSES)
SFREQ_HZ = 200.0
LABELLED_S = 10.0
"""The experts judged the middle 10 s ..."""
SHOWN_S = 50.0
"""... of the 50 s that they saw."""
PARTS = {"train": ("train.csv", "train_eegs"), "test": ("test.csv", "test_eegs")}
NUMBERS = ("eeg_label_offset_seconds", *VOTES)
_LABELS = ("eeg_id", "eeg_label_offset_seconds", "label_id", "patient_id", "expert_consensus", *VOTES)


def looks_like_hms(folder: Path) -> str:
    """Return what tells that a folder holds the competition's data, or ``""``."""
    there = [name for table, name in PARTS.values() if (folder / table).is_file() and (folder / name).is_dir()]
    return f"{' and '.join(there)} with their table, as Kaggle's HMS has them" if there else ""


def read_table(root: Path, part: str) -> pd.DataFrame:
    """Return the table of a part, its ids as whole numbers.

    Parameters
    ----------
    root : Path
        Folder of the competition's data.
    part : {"train", "test"}
        Which one.

    Returns
    -------
    pandas.DataFrame
        Columns ``eeg_id`` and ``patient_id``, of ``"train"`` also ``label_id``, offsets and votes,
        NaN where these are no numbers; others as they are.

    Raises
    ------
    FileNotFoundError
        The table or the folder of recordings is not there.
    ValueError
        A column is missing, an id is no whole number, a ``label_id`` occurs twice, or one recording
        is of two patients.  The message names the file.
    """
    path, folder = (root / name for name in PARTS[part])
    for needed in (path, folder):
        if not needed.exists():
            raise FileNotFoundError(f"{needed}: not there; name the folder that holds {' and '.join(PARTS[part])}")
    table = pd.read_csv(path)
    wanted = _LABELS if part == "train" else ("eeg_id", "patient_id")
    missing = [name for name in wanted if name not in table]
    if missing:
        raise ValueError(f"{path}: lacks the column(s) {', '.join(missing)}; it has {', '.join(table.columns)}")
    ids = ["eeg_id", "patient_id", *(["label_id"] if part == "train" else [])]
    for name in ids:
        numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
        faulty = ~(np.isfinite(numbers) & (numbers == np.round(numbers)))
        if faulty.any():
            row = int(np.argmax(faulty))
            raise ValueError(f"{path}, row {row}: {name} is {table[name].iloc[row]}, expected a whole number")
        table[name] = numbers.astype(np.int64)
    if part == "train":
        for name in NUMBERS:
            table[name] = pd.to_numeric(table[name], errors="coerce").astype(np.float64)
    _check_ids(path, table, part)
    return table


def _check_ids(path: Path, table: pd.DataFrame, part: str) -> None:
    owners = table.groupby("eeg_id")["patient_id"].nunique()
    if (owners > 1).any():
        raise ValueError(f"{path}: eeg_id {owners.idxmax()} is of several patients; a recording has one")
    name = "label_id" if part == "train" else "eeg_id"
    twice = table[name][table[name].duplicated()]
    if len(twice):
        raise ValueError(
            f"{path}: {name} {twice.iloc[0]} occurs twice; every row is one, was the file joined with itself?"
        )
