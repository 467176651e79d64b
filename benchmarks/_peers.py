"""The peers: the published way of BIOT's CHB-MIT scripts (written from its description) and
braindecode.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import mne
import numpy as np
import pyedflib.highlevel
import scipy.signal
import torch

import biot_bd  # noqa: F401  (braindecode imports beside a CPU torch)
from _bench import BIOT_16, CHANNELS, SFREQ

WINDOW_S, TARGET_SFREQ = 10, 200


def published_prepare(edf: Path, folder: Path) -> list[Path]:
    """Pickle a recording as pyedflib reads it, then pick 16 channels of that and pickle each 10
    s window at 256 Hz.
    """
    folder.mkdir(parents=True, exist_ok=True)
    signals, _, _ = pyedflib.highlevel.read_edf(str(edf))
    whole = folder / f"{edf.stem}.pkl"
    with open(whole, "wb") as out:
        pickle.dump(dict(enumerate(signals)), out)
    del signals
    with open(whole, "rb") as source:
        recording = pickle.load(source)
    data = np.stack([recording[CHANNELS.index(name)] for name in BIOT_16])
    step = WINDOW_S * SFREQ
    files = []
    for i in range(data.shape[1] // step):
        file = folder / f"{edf.stem}-{i}.pkl"
        with open(file, "wb") as out:
            pickle.dump({"X": data[:, i * step : (i + 1) * step], "y": 0}, out)
        files.append(file)
    return files


class PublishedDataset(torch.utils.data.Dataset):
    """Resample by FFT and scale by the 95th percentile whenever a window is loaded."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        with open(self.files[i], "rb") as source:
            sample = pickle.load(source)
        x = scipy.signal.resample(sample["X"], WINDOW_S * TARGET_SFREQ, axis=-1)
        x = x / (np.quantile(np.abs(x), 0.95, axis=-1, method="linear", keepdims=True) + 1e-8)
        return torch.from_numpy(x.astype("float32")), sample["y"]


def braindecode_windows(edfs: list[Path]) -> object:
    """Pick, resample (MNE) and cut with braindecode, everything in memory; scaled by nobody."""
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import Preprocessor, create_fixed_length_windows, preprocess

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raws = []
        for edf in edfs:
            raw = mne.io.read_raw_edf(edf, preload=False, verbose="ERROR")
            raw.rename_channels({"T8-P8-0": "T8-P8"})
            raws.append(RawDataset(raw, {"subject": "1"}))
        dataset = BaseConcatDataset(raws)
        preprocess(
            dataset,
            [
                Preprocessor("pick", picks=BIOT_16),
                Preprocessor("reorder_channels", ch_names=BIOT_16),
                Preprocessor("resample", sfreq=TARGET_SFREQ),
                Preprocessor(lambda x: x * 1e6),
            ],
        )
        size = WINDOW_S * TARGET_SFREQ
        return create_fixed_length_windows(
            dataset,
            start_offset_samples=0,
            stop_offset_samples=None,
            window_size_samples=size,
            window_stride_samples=size,
            drop_last_window=True,
            preload=True,
        )
