"""A small saved pipeline on four channels and two seconds, for what is tried on many windows."""

from dataclasses import replace

import numpy as np
from sklearn.pipeline import make_pipeline
from small_model import RandomWindows

from biot_bd import BIOTClassifier, PercentileScaler, save_pipeline

SIZE = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 2}


def few_windows(n_chans=4, n_times=400):
    windows = RandomWindows(16)
    windows.x = windows.x[:, :n_chans, :n_times]
    windows.present = windows.present[:, :n_chans]
    windows.info = replace(windows.info, ch_names=windows.info.ch_names[:n_chans], n_chans=n_chans, n_times=n_times)
    windows.shape = windows.x.shape
    return windows


def save_small_pipeline(folder, *, steps=None, labels=None, module="biot", **parameters):
    windows = few_windows()
    size = SIZE if module in ("biot", "multi-scale-biot") else {}
    net = BIOTClassifier(
        module, max_epochs=1, batch_size=8, patience=None, random_state=0, verbose=0, device="cpu", **size, **parameters
    )
    y = windows.y if labels is None else np.array(labels)[windows.y]
    pipeline = make_pipeline(*([PercentileScaler()] if steps is None else steps), net)
    return save_pipeline(pipeline.fit(windows, y), folder)
