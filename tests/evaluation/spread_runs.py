"""Runs for tests that spread or kill them: data, a pipeline that can be told to die, a run as a program."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
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
        if self.seconds:
            print("a fit begins", flush=True)  # in the log of a job
        time.sleep(self.seconds)
        if self.death is not None and self.dies():
            os.kill(os.getpid(), signal.SIGKILL)
        self.model_ = LogisticRegression().fit(self.power(X), y)
        self.classes_ = self.model_.classes_
        return self

    def dies(self):
        try:
            Path(self.death).unlink() if self.once else Path(self.death).stat()
        except FileNotFoundError:  # another fit, at the same time, may have taken it
            return False
        return True

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


def trained(windows, **given):
    """Cross-validate a small BIOT on prepared windows."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, PercentileScaler
    from biot_bd.evaluation import cross_validate

    net = BIOTClassifier(
        module__embed_dim=16,
        module__num_heads=2,
        module__num_layers=1,
        module__hop_length=200,
        max_epochs=2,
        batch_size=16,
        lr=1e-2,
        device="cpu",
    )
    return cross_validate(make_pipeline(PercentileScaler(), net), windows, progress=False, **given)


def assert_equal(found, expected):
    """Compare runs to the digit."""
    pd.testing.assert_frame_equal(found.predictions, expected.predictions, check_exact=True)
    assert found.metrics == expected.metrics


def demo_windows(root):
    """Prepare two minutes of each of four generated subjects."""
    from biot_bd import load_dataset, prepare

    found = load_dataset("demo", root / "edf", n_subjects=4, minutes=2, recordings=1)
    return prepare(found, root / "windows", stride_s=10)


def kill_parent(folder, backend, death):
    """Run `main` as a program and kill it, and it alone, when a fold is finished; return its folds then."""
    code = f"import spread_runs; spread_runs.main({str(folder)!r}, {backend!r}, 3.0, {death!r})"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    child = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, start_new_session=True
    )
    deadline = time.monotonic() + 150
    while not finished_folds(folder):
        assert time.monotonic() < deadline, "no fold was finished"
        assert child.poll() is None, "the run ended by itself"
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)  # its workers may still end their folds
    child.wait()
    return finished_folds(folder)


def main(folder, backend, seconds, death):
    """Cross-validate on two workers, as a program that can be killed."""
    from biot_bd.evaluation import workers

    with workers(backend, n_workers=2):
        run(folder, seconds=seconds, death=death)


@dataclass(frozen=True)
class Sleep:
    """A task that leaves the number of its process in ``folder`` and then takes very long."""

    label: str
    folder: Path


def asleep(task):
    (task.folder / str(os.getpid())).touch()
    time.sleep(300)


def sleep_on_two_workers(folder):
    from biot_bd.evaluation.parallel import run_tasks

    list(run_tasks(asleep, [Sleep(label, Path(folder)) for label in "ab"], n_jobs=2))
