"""Windows of 24 made-up subjects under the names of CHB-MIT's cases, for protocols that need them all."""

import mne
import numpy as np
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd import prepare
from biot_bd.signals.montages import BIOT_16

CASES = [n for n in range(1, 25) if n != 21]


def recordings(cases=CASES, seconds=40, seizure=(12.0, 27.0)):
    """Noise that is three times as loud in the seizure, 16 bipolar channels at 256 Hz."""
    made = []
    for case in cases:
        rng = np.random.default_rng(case)
        x = rng.standard_normal((16, seconds * 256)) * 20e-6
        x[:, int(seizure[0] * 256) : int(seizure[1] * 256)] *= 1.3 + 0.1 * (case % 4)
        raw = mne.io.RawArray(x, mne.create_info(list(BIOT_16.ch_names), 256.0, "eeg"), verbose="error")
        raw.set_annotations(mne.Annotations([seizure[0]], [seizure[1] - seizure[0]], ["sz"]), verbose="error")
        made.append(RawDataset(raw, {"recording": f"chb{case:02d}_01", "subject": f"chb-mit/{case:02d}"}))
    return BaseConcatDataset(made)


def windows_of(folder, protocol, cases=CASES):
    return prepare(recordings(cases), folder, **protocol.prepare_parameters())
