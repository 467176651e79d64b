"""How tasks are shared out: what a worker is sent, how many there are, who refuses to compute twice."""

import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
import torch

from biot_bd.evaluation import workers
from biot_bd.evaluation.parallel import Spread, jobs_at_once, parted, run_tasks, spreading
from biot_bd.evaluation.shared_values import SharedValues
from biot_bd.evaluation.submitted_jobs import note_jobs
from biot_bd.exceptions import RunFolderError


@dataclass(frozen=True)
class Square:
    number: int
    data: np.ndarray
    folder: Path | None = None

    @property
    def label(self):
        return f"fold-{self.number:02d}"


def squared(task):
    return task.number**2, id(task.data), torch.get_num_threads(), sklearn.get_config()["assume_finite"]


def tasks(n, folder=None):
    data = np.zeros(3)
    return [Square(k, data, folder) for k in range(n)]


# --- what is sent --------------------------------------------------------------------------------


def test_what_all_tasks_have_is_apart_from_what_is_their_own():
    shared, own = parted(tasks(3))
    assert set(shared) == {"data", "folder"}
    assert own == [{"number": 0}, {"number": 1}, {"number": 2}]


def test_shared_values_are_read_once_a_process_and_large_arrays_are_no_part_of_the_pickle():
    large, words = np.arange(300_000.0), np.array(["a", None] * 10, dtype=object)
    shared = SharedValues({"x": large, "again": large, "words": words, "call": lambda: 3})
    _, (_, packed, arrays) = shared.__reduce__()
    assert len(packed) < 5000
    assert [array is large for array in arrays] == [True]
    sent = pickle.dumps(shared)
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first is second
    np.testing.assert_array_equal(first.values["x"], large)
    assert first.values["again"] is first.values["x"]
    assert first.values["words"].tolist() == words.tolist()
    assert first.values["call"]() == 3


def test_shared_values_of_jobs_are_mapped_from_their_folder(tmp_path):
    large = np.arange(300_000.0)
    folder = SharedValues({"x": large, "number": 5}).save(tmp_path)
    found = SharedValues.load(folder).values
    assert isinstance(found["x"], np.memmap)
    assert not found["x"].flags.writeable
    np.testing.assert_array_equal(found["x"], large)
    assert found["number"] == 5


# --- how many ------------------------------------------------------------------------------------


def test_one_job_is_computed_here_in_order():
    seen = []
    found = list(run_tasks(squared, tasks(3), here=lambda task: seen.append(task.number) or task.number))
    assert found == seen == [0, 1, 2]


def test_inside_workers_a_call_needs_no_number():
    assert jobs_at_once() == 1
    with workers("threading", n_workers=3) as n_jobs:
        assert n_jobs == jobs_at_once() == jobs_at_once(None) == 3
        assert jobs_at_once(2) == 2
    with workers("sequential"):
        assert jobs_at_once() == jobs_at_once(4) == 1
    with joblib.parallel_config("threading", n_jobs=4):
        assert jobs_at_once() == 1
        assert jobs_at_once(None) == 4
    with pytest.raises(ValueError, match="n_jobs=0"):
        jobs_at_once(0)


def test_outcomes_threads_and_configuration_are_those_of_the_caller():
    with workers("threading", n_workers=2), sklearn.config_context(assume_finite=True):
        found = sorted(run_tasks(squared, tasks(5)))
    assert [number for number, *_ in found] == [0, 1, 4, 9, 16]
    assert {tuple(rest) for _, _, *rest in found} == {(torch.get_num_threads(), True)}
    assert len({place for _, place, *_ in found}) == 1


def test_a_single_task_of_a_cluster_is_not_computed_here():
    def submit(call, tasks):
        yield from (f"submitted {task.label}" for task in tasks)

    with spreading(Spread(n_workers=1, submit=submit)):
        assert list(run_tasks(squared, tasks(1))) == ["submitted fold-00"]
        assert list(run_tasks(squared, [])) == []


def test_an_error_of_a_task_is_raised_as_it_is():
    with workers("threading", n_workers=2), pytest.raises(AttributeError, match="no_such"):
        list(run_tasks(missing, tasks(3)))


def missing(task):
    return task.no_such


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"backend": "lokey"}, "no backend 'lokey'; there are sequential"),
        ({"n_workers": 0}, "n_workers=0"),
        ({"backend": "loky", "scheduler": "tcp://1.2.3.4:5"}, "only backend='dask' takes one"),
        ({"backend": "dask", "slurm": {"queue": "x"}}, "only the backends dask-slurm and slurm"),
        ({"per_device": 0}, "per_device=0"),
    ],
)
def test_parameters_that_a_backend_has_no_use_for_are_refused(given, words):
    with pytest.raises(ValueError, match=words), workers(**given):
        pass


# --- jobs that compute elsewhere -----------------------------------------------------------------


def test_tasks_of_jobs_that_still_run_are_not_computed_twice(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as job:
        note_jobs(tmp_path, "local", {"fold-00": "999999999"})
        note_jobs(tmp_path, "local", {"fold-01": str(job.pid)})
        with pytest.raises(RunFolderError, match=rf"fold-01: job {job.pid}\)"):
            list(run_tasks(squared, tasks(2, tmp_path)))
        assert len(list(run_tasks(squared, tasks(1, tmp_path)))) == 1  # of another fold
        with pytest.raises(RunFolderError):
            list(run_tasks(squared, tasks(2, tmp_path)))
        job.communicate(b"\n")
    assert len(list(run_tasks(squared, tasks(2, tmp_path)))) == 2
    assert not (tmp_path / ".jobs/submitted.json").exists()
