"""A model of which the truth is known, and recordings for live tests."""

import mne
import numpy as np
from deploy_files import BIPOLAR

from biot_bd.deploy import Detector
from biot_bd.evaluation.events import EventDetector
from biot_bd.signals.montages import BIOT_16


class Loudness:
    """A window is a seizure by the share of it that is loud."""

    montage, sfreq, window_s, threshold = BIOT_16, 200.0, 10.0, 0.5

    def score(self, batch):
        loud = np.abs(batch.x) > 120
        usable = batch.present.any(axis=1)
        share = loud.sum(axis=(1, 2)) / np.maximum(batch.present.sum(axis=1), 1) / batch.x.shape[2]
        return np.where(usable, np.minimum(share * 2, 1), np.nan)


def loudness(stride_s=1.0, min_duration_s=10, merge_gap_s=30.0, smoothing_s=0.0, **options):
    events = EventDetector(
        window_s=10,
        smoothing_s=smoothing_s,
        threshold=0.5,
        min_duration_s=min_duration_s,
        merge_gap_s=merge_gap_s,
        causal=True,
        target=None,
    )
    return Detector(Loudness(), events, stride_s=stride_s, **options)


def signal(sfreq=256, seconds=300.0, loud=((100, 160),), n_chans=len(BIPOLAR), seed=0):
    """Return noise in microvolts, tenfold in the stretches ``loud``."""
    n = round(sfreq * seconds)
    x = np.random.default_rng(seed).standard_normal((n_chans, n)) * 30
    for start, stop in loud:
        x[:, int(start * sfreq) : int(stop * sfreq)] *= 10
    return x.astype(np.float32)


def recording(sfreq=256, **options):
    x = signal(sfreq, **options)
    return mne.io.RawArray(x.astype(float) / 1e6, mne.create_info(list(BIPOLAR), sfreq, "eeg"), verbose="error")
