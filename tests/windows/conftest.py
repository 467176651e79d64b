"""Recordings for the tests of the windows room."""

import os
import re
import types
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset

CHANNELS = "FP1-F7 F7-T7 T7-P7 P7-O1 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2 FP2-F8 F8-T8 T8-P8 P8-O2 FZ-CZ CZ-PZ".split()


def write_edf(path, seconds, seed=0, change=None, ch_names=CHANNELS, top=800.0):
    """Write an EDF of coloured noise; ``change(digital)`` may edit the values, ``(n_chans, n)`` between +-2047."""
    rng = np.random.default_rng(seed)
    n = int(seconds * 256)
    x = rng.integers(-40, 41, (len(ch_names), n)).astype(float)
    x += 300 * np.sin(2 * np.pi * np.arange(n) / 256 * rng.uniform(1, 12, (len(ch_names), 1)))
    digital = x.astype(np.int16)
    if change is not None:
        change(digital)
    signals = [
        edfio.EdfSignal.from_digital(
            row, 256, label=name, physical_dimension="uV", physical_range=(-top, top), digital_range=(-2047, 2047)
        )
        for row, name in zip(digital, ch_names, strict=True)
    ]
    edfio.Edf(signals).write(path)
    return path


def as_dataset(items):
    """Make a data set of (path or Raw, recording, subject, [(onset_s, offset_s)], extra description)."""
    found = []
    for source, recording, subject, seizures, *extra in items:
        raw = mne.io.read_raw_edf(source, verbose="error") if isinstance(source, (str, os.PathLike)) else source
        onset = [on for on, _ in seizures]
        duration = [off - on for on, off in seizures]
        raw.set_annotations(mne.Annotations(onset, duration, ["sz"] * len(onset)), verbose="error")
        found.append(RawDataset(raw, {"recording": recording, "subject": subject, **(extra[0] if extra else {})}))
    return BaseConcatDataset(found)


@pytest.fixture(scope="session")
def make():
    """Return the helpers ``write_edf`` and ``as_dataset``."""
    return types.SimpleNamespace(edf=write_edf, dataset=as_dataset, channels=CHANNELS)


@pytest.fixture
def excerpts(shared):
    """Return the real excerpts of CHB-MIT as a data set; onsets as their summaries say."""
    items = []
    for summary in sorted((shared / "data/chbmit-excerpts").glob("*/*-summary.txt")):
        for block in summary.read_text().split("File Name: ")[1:]:
            path = summary.parent / block.split()[0]
            onsets = re.findall(r"Seizure Start Time: (\d+)", block)
            offsets = re.findall(r"Seizure End Time: (\d+)", block)
            seizures = [(float(a), float(b)) for a, b in zip(onsets, offsets, strict=True)]
            items.append((path, path.stem, f"chb-mit/{path.stem[3:5]}", seizures))
    return as_dataset(items)


@pytest.fixture
def small(tmp_path):
    """Return six generated recordings of three subjects, 40 s each, with a seizure from 12 to 27 s."""
    folder = Path(tmp_path / "edf")
    folder.mkdir()
    return as_dataset(
        [(write_edf(folder / f"r{i}.edf", 40, i), f"r{i}", f"test/{i // 2}", [(12, 27)]) for i in range(6)]
    )
