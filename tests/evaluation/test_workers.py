"""Folds on every backend: the same digits; whoever is killed, the same call goes on."""

import json
import os
import pickle
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from spread_runs import assert_equal, demo_windows, finished_folds, kill_parent, run, trained
from threadpoolctl import threadpool_info, threadpool_limits

from biot_bd.cli import main
from biot_bd.evaluation import workers
from biot_bd.evaluation.data import as_data
from biot_bd.evaluation.parallel import run_tasks
from biot_bd.evaluation.shared_values import SharedValues
from biot_bd.exceptions import BiotBdError, LostWorkerError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    return demo_windows(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def here(windows):
    return trained(windows)


@pytest.fixture(scope="module")
def alone():
    return run()


def test_a_task_of_prepared_windows_is_sent_as_paths(windows):
    sent = pickle.dumps(SharedValues({"data": as_data(windows)}))
    assert len(sent) < 0.05 * len(windows) * windows.shape[1] * windows.shape[2] * 4


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_a_net_has_the_same_digits_on_every_backend(windows, here, tmp_path, backend):
    with workers(backend, n_workers=2):
        assert_equal(trained(windows, folder=tmp_path / "run"), here)


def test_a_killed_worker_of_loky_is_told_and_the_same_call_goes_on(alone, tmp_path):
    death = tmp_path / "death"
    run(tmp_path / "run", cv="subject-loo", death=str(death))  # the study, whose folds are then taken away but one
    for name in ("01", "02", "03"):
        (tmp_path / "run/folds" / name / "fold.json").unlink()
    death.touch()
    before = finished_folds(tmp_path / "run")
    with workers("loky", n_workers=2), pytest.raises(LostWorkerError, match="the same call again") as raised:
        run(tmp_path / "run", death=str(death))
    assert isinstance(raised.value, BiotBdError)
    assert not death.exists()
    kept = finished_folds(tmp_path / "run")
    assert before.items() <= kept.items()
    with workers("loky", n_workers=2):
        found = run(tmp_path / "run", death=str(death))
    assert_equal(found, alone)
    assert kept.items() <= finished_folds(tmp_path / "run").items()


def test_the_command_spreads_folds_as_it_is_told(windows, tmp_path, capsys):
    def command(name, *options):
        given = ["cv", str(windows.folder), "-o", str(tmp_path / name), "--model", "line-length", "--json", *options]
        assert main(given) == 0
        return capsys.readouterr()

    def scores(said):
        return json.loads(said.out)["macro"]

    alone = scores(command("alone"))
    assert scores(command("threads", "--backend", "threading", "--jobs", "2", "--folds-per-gpu", "auto")) == alone
    pytest.importorskip("submitit")
    said = command("jobs", "--backend", "local", "--no-wait", "--jobs", "4")
    assert said.out == ""
    assert len(re.findall(r"^job \d+: ", said.err, re.MULTILINE)) == 4
    deadline = time.monotonic() + 150
    while len(finished_folds(tmp_path / "jobs")) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(1)  # the last job ends
    assert scores(command("jobs")) == alone


def test_a_killed_parent_leaves_its_folds_and_only_missing_ones_are_computed(alone, tmp_path):
    death = str(tmp_path / "death")
    before = kill_parent(tmp_path / "run", "loky", death)
    assert 0 < len(before) < 4
    assert_equal(run(tmp_path / "run", seconds=3.0, death=death), alone)
    assert before.items() <= finished_folds(tmp_path / "run").items()


@pytest.mark.skipif(os.name != "posix", reason="asks the system for the parent of a process")
def test_workers_of_a_killed_parent_end_in_the_middle_of_their_tasks(tmp_path):
    code = f"import spread_runs; spread_runs.sleep_on_two_workers({str(tmp_path)!r})"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths})
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 150)
    workers_ = [int(path.name) for path in tmp_path.iterdir()]
    assert all(lives(process) for process in workers_)
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(lives(process) for process in workers_), 60)


def wait_until(done, longest_s):
    deadline = time.monotonic() + longest_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def lives(process):
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Ask:
    label: str
    folder: None = None


def threads_of_libraries(task):
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize("n", [1, 3])
def test_numpy_has_as_many_threads_in_a_worker_as_here(n):
    with threadpool_limits(n, user_api="blas"), workers("loky", n_workers=2):
        assert list(run_tasks(threads_of_libraries, [Ask("a"), Ask("b")])) == [{n}, {n}]
