"""Runs for tests that spread or kill them: data, a pipeline that can be told to die, a run as a program."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

N_SUBJECTS = 4


def arrays(n=20, n_times=200):
    subjects = np.repeat([f"site/{k:02d}" for k in range(N_SUBJECTS)], n)
    y = np.tile(np.arange(n) % 4 == 0, N_SUBJECTS).astype(int)
    x = np.random.default_rng(0).normal(0, 20, (len(y), 2, n_times)) * (1 + y[:, None, None])
    return {"windows": x.astype(np.float32), "y": y, "groups": subjects}


class Mortal(ClassifierMixin, BaseEstimator):
    """Logistic regression of log power; a fit that finds the file ``death`` ends its process.

    With ``once`` it takes the file away first, so that the next fit lives.
    """

    def __init__(self, death=None, once=True, seconds=0.0):
        self.death, self.once, self.seconds = death, once, seconds

    def fit(self, X, y):
        time.sleep(self.seconds)
        if self.death is not None and Path(self.death).exists():
            if self.once:
                Path(self.death).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        self.model_ = LogisticRegression().fit(self.power(X), y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(self.power(X))

    @staticmethod
    def power(X):
        return np.log(np.mean(np.square(X), axis=-1))


def run(folder=None, *, death=None, once=True, seconds=0.0, **given):
    """Cross-validate, the death of a fit apart from what the study is."""
    from biot_bd.evaluation import cross_validate

    pipeline = Mortal(death, once, seconds)
    return cross_validate(pipeline, **arrays(), folder=folder, progress=False, **given)


def finished_folds(folder):
    """Return when the finished folds of a run were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in sorted(Path(folder).glob("folds/*/fold.json"))}


if __name__ == "__main__":
    from biot_bd.evaluation import workers

    with workers(sys.argv[2], n_workers=2):
        run(sys.argv[1], seconds=float(sys.argv[3]), death=sys.argv[4], once=True)
