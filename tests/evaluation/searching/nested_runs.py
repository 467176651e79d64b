"""A nested search of a tiny net for tests that spread or kill it; as a program: ``WINDOWS RUN``."""

import sys
import warnings

from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, PercentileScaler, Windows
from biot_bd.evaluation import search

TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "module__hop_length": 200}
GRID = {"biotclassifier__lr": [1e-2, 1e-3, 1e-4]}


def nested(windows, folder=None, **options):
    net = BIOTClassifier(max_epochs=2, device="cpu", verbose=0, **TINY)
    pipeline = make_pipeline(PercentileScaler(), net)
    options = {"inner_cv": "subject-kfold-3", "progress": False, "grid": GRID, **options}
    return search(pipeline, X=windows, folder=folder, **options)


if __name__ == "__main__":
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    nested(Windows.open(sys.argv[1]), sys.argv[2], n_jobs=2)
