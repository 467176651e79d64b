"""A small detector, fitted on random windows: what it finds means nothing, that it runs means everything."""

import numpy as np
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, PercentileScaler, save_pipeline
from biot_bd.signals.base import SignalInfo
from biot_bd.signals.mapper import MontageMapper
from biot_bd.signals.montages import BIOT_16


class RandomWindows:
    """Windows in memory, as far as a classifier reads them."""

    def __init__(self, n, seed=0):
        rng = np.random.default_rng(seed)
        self.y = np.arange(n) % 2
        self.x = (rng.standard_normal((n, 16, 2000)) * np.where(self.y, 3, 1)[:, None, None]).astype(np.float32)
        self.info = SignalInfo(BIOT_16.ch_names, 200.0, 2000, "uV")
        self.present = np.ones((n, 16), bool)
        self.groups = np.array([f"p{i % 4}" for i in range(n)], dtype=object)
        self.shape = self.x.shape

    def __len__(self):
        return len(self.x)

    def __getitem__(self, rows):
        made = object.__new__(RandomWindows)
        made.__dict__ |= self.__dict__ | {name: getattr(self, name)[rows] for name in ("x", "y", "present", "groups")}
        made.shape = made.x.shape
        return made

    def map(self, step):
        step.output_info(self.info)
        made = object.__new__(RandomWindows)
        made.__dict__ |= self.__dict__
        made.x, made.present = step.apply(self.x, self.present, self.info)
        made.info = step.output_info(self.info)
        return made

    def read(self, rows):
        return self.x[rows]


def save_small_model(folder):
    windows = RandomWindows(16)
    net = BIOTClassifier(
        max_epochs=1,
        batch_size=8,
        patience=None,
        random_state=0,
        verbose=0,
        module__embed_dim=16,
        module__num_heads=2,
        module__num_layers=1,
        module__hop_length=200,
    )
    fitted = make_pipeline(MontageMapper("biot-16"), PercentileScaler(), net).fit(windows, windows.y)
    return save_pipeline(fitted, folder)
