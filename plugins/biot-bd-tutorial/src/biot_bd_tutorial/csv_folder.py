"""The data set ``csv-folder``.

Recordings as CSV files beside a table of recordings and a table of seizures.

    root/recordings.csv     recording, subject, session, run, sfreq      one row a recording
    root/events.csv         recording, onset_s, duration_s              one row a seizure
    root/<recording>.csv    one column a channel, one row a sample, microvolts

A recording without a row in ``events.csv`` has no seizures; a CSV file that ``recordings.csv`` does
not mention has unknown labels and is left out by name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets import recognised_by

TABLES = {
    "recordings": ("recording", "subject", "session", "run", "sfreq"),
    "events": ("recording", "onset_s", "duration_s"),
}
MICROVOLT = 1e-6


def _looks_like(folder: Path) -> str:
    """Say what tells that a folder is one of these."""
    there = all((folder / f"{name}.csv").is_file() for name in TABLES)
    return "recordings.csv and events.csv" if there else ""


@recognised_by(_looks_like)
def load_csv_folder(root: str | os.PathLike[str], *, namespace: str = "csv-folder") -> BaseConcatDataset:
    """Load a folder of CSV recordings.

    Parameters
    ----------
    root : path
        The folder.
    namespace : str
        Put before every subject, so that subjects of two folders are never taken for one.

    Returns
    -------
    braindecode.datasets.BaseConcatDataset
        One ``RawDataset`` a recording, volts, seizures annotated as ``sz``; ``outcomes`` says what
        became of each.

    Raises
    ------
    FileNotFoundError
        A table is missing.
    ValueError
        A table lacks a column or names a recording twice, a seizure is outside its recording, or
        nothing was loaded.
    """
    root = Path(root)
    recordings, events = (_read_table(root / f"{name}.csv", columns) for name, columns in TABLES.items())
    _check_names(root, recordings, events)
    parts, outcomes = [], []
    for row in recordings.to_dict("records"):
        name, path = row["recording"], root / f"{row['recording']}.csv"
        if not path.is_file():
            outcomes.append((name, "missing-file", f"{path} does not exist"))
            continue
        try:
            raw = _read_signal(path, float(row["sfreq"]))
        except ValueError as error:
            outcomes.append((name, "unreadable", str(error)))
            continue
        raw.set_annotations(_seizures(events[events["recording"] == name], raw, path))
        parts.append(RawDataset(raw, _description(row, namespace)))
        outcomes.append((name, "loaded", ""))
    for path in sorted(root.glob("*.csv")):
        if path.stem not in TABLES and path.stem not in set(recordings["recording"]):
            outcomes.append((path.stem, "unlisted", f"{root / 'recordings.csv'} does not mention it"))
    if not parts:
        raise ValueError(f"{root}: none of {len(outcomes)} recordings could be loaded: {outcomes[:3]}")
    dataset = BaseConcatDataset(parts)
    dataset.outcomes = pd.DataFrame(outcomes, columns=["recording", "outcome", "detail"])
    dataset.generated = False
    return dataset


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; it needs the columns {', '.join(columns)}")
    names = dict.fromkeys(("recording", "subject", "session", "run"), str)
    table = pd.read_csv(path, dtype=names, keep_default_na=False, na_values={"sfreq": [""], "onset_s": [""]})
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"{path}: the columns {missing} are missing; found {list(table.columns)}")
    return table


def _check_names(root: Path, recordings: pd.DataFrame, events: pd.DataFrame) -> None:
    twice = sorted(recordings["recording"][recordings["recording"].duplicated()].unique())
    if twice:
        raise ValueError(f"{root / 'recordings.csv'}: recordings {twice} occur more than once")
    unknown = sorted(set(events["recording"]) - set(recordings["recording"]))
    if unknown:
        raise ValueError(f"{root / 'events.csv'}: recordings {unknown} are not in recordings.csv")


def _read_signal(path: Path, sfreq: float) -> mne.io.RawArray:
    try:
        table = pd.read_csv(path, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: not a table of numbers ({error})") from error
    if table.empty or not np.isfinite(table.to_numpy()).all():
        raise ValueError(f"{path}: no samples, or samples that are missing or not finite")
    if not sfreq > 0:
        raise ValueError(f"{path}: the sampling rate in recordings.csv is {sfreq}; expected Hz > 0")
    info = mne.create_info(list(table.columns), sfreq, "eeg")
    return mne.io.RawArray(table.to_numpy().T * MICROVOLT, info, verbose="error")


def _seizures(events: pd.DataFrame, raw: mne.io.RawArray, path: Path) -> mne.Annotations:
    onset, duration = events["onset_s"].to_numpy(float), events["duration_s"].to_numpy(float)
    length = raw.n_times / raw.info["sfreq"]
    inside = (onset >= 0) & (duration > 0) & (onset + duration <= length)
    if not inside.all():
        wrong = list(zip(onset[~inside], duration[~inside], strict=True))
        raise ValueError(f"{path}: seizures (onset_s, duration_s) {wrong} are not inside the recording of {length:g} s")
    return mne.Annotations(onset, duration, ["sz"] * len(events))


def _description(row: dict[str, Any], namespace: str) -> pd.Series:
    return pd.Series(
        {
            "subject": f"{namespace}/{row['subject']}",
            "session": row["session"],
            "run": row["run"],
            "recording": row["recording"],
        }
    )
