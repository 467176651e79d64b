"""The recordings of a data set, as ``prepare`` takes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd

from biot_bd.io.channel_readers import CHUNK_SAMPLES, rate_of, source_file
from biot_bd.io.segments import TimeLine
from biot_bd.signals.montages import Montage, plan_montage


@dataclass
class Job:
    """One recording to prepare, light enough to travel to a worker process.

    Parameters
    ----------
    recording, subject : str
        Names.
    raw : mne.io.BaseRaw
        The recording, in volts.
    zero_is_missing : bool
        An exactly-zero channel was never recorded.
    fingerprint : str
        Of the input and the settings.
    """

    recording: str
    subject: str
    raw: mne.io.BaseRaw
    zero_is_missing: bool
    fingerprint: str

    @property
    def where(self) -> str:
        """Name of the recording and its file, for messages."""
        path = source_file(self.raw)
        return f"recording {self.recording}" + (f" ({path})" if path else "")


def raw_identity(raw: mne.io.BaseRaw) -> dict[str, Any]:
    """Describe the input: name, size and time of the file, or a digest of data in memory."""
    known: dict[str, Any] = {"ch_names": list(raw.ch_names), "sfreq": float(raw.info["sfreq"]), "n": int(raw.n_times)}
    known["first_samp"] = int(raw.first_samp)
    if raw.preload:
        digest = hashlib.blake2b(digest_size=16)
        for start in range(0, raw.n_times, CHUNK_SAMPLES):
            part = raw.get_data(start=start, stop=min(start + CHUNK_SAMPLES, raw.n_times), verbose="error")
            digest.update(np.ascontiguousarray(part).data)
        return known | {"data": digest.hexdigest()}
    for name in raw.filenames:
        if name is not None:
            stat = Path(name).stat()
            known.setdefault("files", []).append([Path(name).name, stat.st_size, stat.st_mtime_ns])
    return known


def time_identity(raw: mne.io.BaseRaw, line: TimeLine, montage: Montage) -> dict[str, Any]:
    """Describe pauses and another rate of the needed channels; nothing without them."""
    known: dict[str, Any] = {} if line.is_continuous else {"segments": line.as_list()}
    rate = rate_of(raw, plan_montage(montage, raw.ch_names).needed)
    return known if rate == raw.info["sfreq"] else known | {"sfreq_read": rate}


def seizure_events(raw: mne.io.BaseRaw, line: TimeLine) -> list[list[float]]:
    """Return (onset_s, offset_s) of annotations ``sz...``, pauses included."""
    found = line.clock_times(
        (float(a["onset"]) - raw.first_time, float(a["onset"]) + float(a["duration"]) - raw.first_time)
        for a in raw.annotations
        if str(a["description"]).startswith("sz")
    )
    return sorted([[round(max(0.0, on), 6), round(off, 6)] for on, off in found if off >= 0])


def make_jobs(dataset: Any) -> list[Job]:
    """Return the recordings of a data set, their fingerprints still empty.

    Raises
    ------
    TypeError
        Not a data set of recordings.
    ValueError
        It is empty, a description lacks a name, or two recordings have one name.
    """
    jobs: dict[str, Job] = {}
    found = getattr(dataset, "datasets", None)
    if found is None:
        raise TypeError(f"dataset must be a braindecode BaseConcatDataset of recordings; got {type(dataset).__name__}")
    if not found:
        raise ValueError("the data set holds no recording")
    for position, item in enumerate(found):
        recording, subject = _names(position, item)
        if recording in jobs:
            raise ValueError(f"two recordings are named {recording!r}; description['recording'] must be unique")
        # A description made from a table may hold NaN, which is true to bool().
        zero = item.description.get("zero_is_missing")
        jobs[recording] = Job(recording, subject, item.raw, isinstance(zero, (bool, np.bool_)) and bool(zero), "")
    return list(jobs.values())


def _names(position: int, item: Any) -> tuple[str, str]:
    description = getattr(item, "description", None)
    if not hasattr(item, "raw") or description is None:
        raise TypeError(
            f"recording {position} of the data set is a {type(item).__name__}; expected a RawDataset with a description"
        )
    for key in ("recording", "subject"):
        value = description.get(key)
        if not isinstance(value, str) or not value:
            raise ValueError(
                f"recording {position} of the data set has description[{key!r}] = {value!r}; a text is needed "
                "(biot_bd.adapt_dataset adds what a braindecode data set lacks)"
            )
    return description["recording"], description["subject"]


def read_outcomes(dataset: Any) -> list[dict[str, Any]]:
    """Return what the data set says of every recording that its source mentions, as rows."""
    outcomes = getattr(dataset, "outcomes", None)
    if outcomes is None:
        return []
    frame = pd.DataFrame(outcomes)
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in frame.to_dict("records")]
