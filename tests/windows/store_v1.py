"""What ``tests/data/store-v1`` was prepared from, by commit fb8defb (tag ``baseline-0``).

The signals are integers, so that every machine makes the same ones; a recording in memory is recognised by them.
"""

import mne
import numpy as np
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.signals.montages import Montage

SFREQ = 128
MONTAGE = Montage("three", ("Fp1-F7", "F7-T7", "T7-P7"), "bipolar")
PARAMETERS = {
    "montage": MONTAGE,
    "sfreq": 100,
    "window_s": 10,
    "stride_s": 5,
    "on_missing": "drop",
    "dtype": "int16",
}
NAMES = {"first_01": "clinic/01", "first_02": "clinic/01", "second_01": "clinic/02"}


def recording(number):
    """Return 30 s of the three channels, the last of them missing in the second recording, with a seizure in the first."""
    names = list(MONTAGE.ch_names)[: 2 if number == 1 else 3]
    t = np.arange(30 * SFREQ)
    x = np.array([(t * t * (7 + c) + 7919 * t * (number + 1)) % 2001 - 1000 for c in range(len(names))]) * 1e-7
    x[0, : 12 * SFREQ] = 0 if number == 2 else x[0, : 12 * SFREQ]
    raw = mne.io.RawArray(x, mne.create_info(names, SFREQ, "eeg"), verbose="error")
    if number == 0:
        raw.set_annotations(mne.Annotations([12], [9], ["sz"]))
    return raw


def dataset():
    """Return the recordings as ``prepare`` takes them."""
    parts = [
        RawDataset(recording(number), {"recording": name, "subject": subject})
        for number, (name, subject) in enumerate(NAMES.items())
    ]
    return BaseConcatDataset(parts)
