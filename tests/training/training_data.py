"""Small data and small models for the tests of training."""

import numpy as np

from biot_bd.training import BIOTClassifier

SUBJECTS = [f"set/{i:02d}" for i in range(6)]


def make_data(n_subjects=6, per_subject=10, n_chans=4, n_times=300, seed=0):
    """Windows of class 1 are louder; every subject has both classes."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.array(SUBJECTS[:n_subjects], dtype=object), per_subject)
    y = np.tile(np.arange(per_subject) % 3 == 0, n_subjects).astype(np.int64)
    x = rng.standard_normal((len(y), n_chans, n_times)).astype(np.float32)
    x[y == 1] *= 3
    return x, y, groups


def small(**kwargs):
    """Return a classifier with a tiny BIOT."""
    settings = {
        "module__embed_dim": 16,
        "module__num_heads": 2,
        "module__num_layers": 1,
        "max_epochs": 3,
        "batch_size": 16,
        "random_state": 0,
        "device": "cpu",
        "lr": 1e-2,
    }
    return BIOTClassifier(**{**settings, **kwargs})
