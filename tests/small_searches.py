"""Cheap data and estimators for searches: how they choose is told apart, fits cost milliseconds."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

GRID = {"logisticregression__C": [1e-4, 1e-2, 1.0], "logisticregression__class_weight": [None, "balanced"]}


def log_power(x):
    return np.log(np.var(np.asarray(x), axis=-1) + 1e-6)


def cheap(**parameters):
    return make_pipeline(FunctionTransformer(log_power), LogisticRegression(**parameters))


def made(n_subjects=6, n=24, seed=0, without=()):
    """Windows whose seizures are a little louder in some channels; subjects in `without` have none."""
    rng = np.random.default_rng(seed)
    subjects = np.repeat([f"site/{i:02d}" for i in range(n_subjects)], n)
    y = (rng.random(len(subjects)) < 0.3).astype(int)
    y[np.isin(subjects, [f"site/{i:02d}" for i in without])] = 0
    x = rng.normal(0, 20, (len(y), 3, 40))
    x[:, 0] *= 1 + 0.35 * y[:, None]
    x[:, 1] *= 1 + 0.5 * rng.random((len(y), 1))
    return x, y, subjects


def without_times(record):
    """Both tables of a record, without what differs from run to run."""
    return record.trials.drop(columns="wall_s"), record.table


class Fussy(ClassifierMixin, BaseEstimator):
    """Fits only where nothing is `broken`; knows what it saw."""

    repaired = False

    def __init__(self, broken=False, constant=False, C=1.0, random_state=None):
        self.broken, self.constant, self.C, self.random_state = broken, constant, C, random_state

    def fit(self, X, y):
        if self.broken and not Fussy.repaired:
            raise ValueError("out of order")
        self.classes_ = np.unique(y)
        self.inner_ = LogisticRegression(C=self.C).fit(log_power(X), y)
        return self

    def predict_proba(self, X):
        return self.inner_.predict_proba(log_power(X))
