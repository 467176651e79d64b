"""What the checks share: windows of generated recordings, a tiny BIOT, fits made by hand."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline

from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, SubjectSplit, Windows, load_dataset, prepare

SIZE = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "module__hop_length": 200}
TRAINING = {"max_epochs": 1, "random_state": 0, "lr": 3e-3, "batch_size": 16, "device": "cpu", "patience": None}
N_SUBJECTS = 6


def net(**parameters: Any) -> BIOTClassifier:
    """Return a tiny classifier that trains for an epoch on all windows."""
    return BIOTClassifier(**{"train_split": None, **TRAINING, **SIZE, **parameters})


def pipe(**parameters: Any) -> Pipeline:
    """Return it behind montage and scaling; its step is called ``biotclassifier``."""
    return make_pipeline(MontageMapper("biot-16"), PercentileScaler(), net(**parameters))


class World:
    """Windows of six generated subjects, and what is known of them.

    Parameters
    ----------
    folder : path
        Where recordings and windows are written, unless they are there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        recordings = load_dataset("demo", self.folder / "edf", n_subjects=N_SUBJECTS, recordings=1, minutes=2)
        prepare(recordings, self.folder / "windows")

    @cached_property
    def windows(self) -> Windows:
        return Windows.open(self.folder / "windows")

    @property
    def y(self) -> Any:
        return self.windows.y

    @property
    def split(self) -> SubjectSplit:
        return SubjectSplit("stratified-subject-kfold-3")

    @cached_property
    def rows(self) -> list[tuple[Any, Any]]:
        """Rows of training and test of :attr:`split`."""
        return list(self.split.split(self.windows, self.y))

    def fits(self, estimator: Any = None) -> list[Any]:
        """Fit an estimator on each training part, by hand."""
        made = [clone(pipe() if estimator is None else estimator) for _ in self.rows]
        return [m.fit(self.windows[train], self.y[train]) for m, (train, _) in zip(made, self.rows, strict=True)]

    def probabilities(self, models: list[Any]) -> list[Any]:
        """Return P(seizure) of each test part."""
        return [m.predict_proba(self.windows[test])[:, 1] for m, (_, test) in zip(models, self.rows, strict=True)]

    def aucs(self, models: list[Any] | None = None) -> Any:
        """Return the AUC-ROC of each test part."""
        found = self.probabilities(self.fits() if models is None else models)
        return np.array([roc_auc_score(self.y[test], p) for p, (_, test) in zip(found, self.rows, strict=True)])

    @cached_property
    def arrays(self) -> tuple[Any, Any, Any]:
        """Return some windows scaled as an array, their labels and their subjects."""
        few = self.windows[::3]
        return PercentileScaler().transform(few.read(np.arange(len(few)))).astype(np.float32), few.y, few.groups
