"""Folds on every backend: the same digits; whoever is killed, the same call goes on."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import pandas as pd
import pytest
from spread_runs import finished_folds, run

from biot_bd import BIOTClassifier, PercentileScaler, load_dataset, prepare
from biot_bd.cli import main
from biot_bd.evaluation import cross_validate, workers
from biot_bd.evaluation.data import as_data
from biot_bd.evaluation.shared_values import SharedValues
from biot_bd.exceptions import BiotBdError, LostWorkerError

pytestmark = pytest.mark.slow
PATH = os.pathsep.join([str(Path(__file__).parent), *sys.path])


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    found = load_dataset("demo", root / "edf", n_subjects=4, minutes=2, recordings=1)
    return prepare(found, root / "windows", stride_s=10)


def trained(windows, **given):
    from sklearn.pipeline import make_pipeline

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
    pd.testing.assert_frame_equal(found.predictions, expected.predictions, check_exact=True)
    assert found.metrics == expected.metrics


@pytest.fixture(scope="module")
def here(windows):
    return trained(windows)


@pytest.fixture(scope="module")
def alone():
    return run()


def test_a_task_of_prepared_windows_is_sent_as_paths(windows):
    sent = pickle.dumps(SharedValues({"data": as_data(windows)}))
    assert len(sent) < 0.05 * len(windows) * windows.shape[1] * windows.shape[2] * 4


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky", "dask"])
def test_a_net_has_the_same_digits_on_every_backend(windows, here, tmp_path, backend):
    if backend == "dask":
        pytest.importorskip("distributed")
    with workers(backend, n_workers=2):
        assert_equal(trained(windows, folder=tmp_path / "run"), here)


def test_threads_of_dask_in_this_process_have_the_same_digits(windows, here):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(processes=False, n_workers=1, threads_per_worker=3, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client, joblib.parallel_config("dask", client=client):
        assert_equal(trained(windows, n_jobs=3), here)


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


def test_dask_gives_the_fold_of_a_killed_worker_to_another(alone, tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "death").touch()
    with workers("dask", n_workers=2):
        found = run(tmp_path / "run", death=str(tmp_path / "death"))
    assert not (tmp_path / "death").exists()
    assert_equal(found, alone)


def test_a_fold_that_kills_every_worker_of_dask_is_told(alone, tmp_path):
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    (tmp_path / "death").touch()
    given = {"folder": tmp_path / "run", "death": str(tmp_path / "death")}
    strict = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with strict, workers("dask", n_workers=1), pytest.raises(LostWorkerError, match="KilledWorker"):
        run(**given, once=False)
    (tmp_path / "death").unlink()
    with workers("dask", n_workers=1):  # a single worker computes, not this process
        assert_equal(run(**given, once=False), alone)


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_a_killed_parent_leaves_its_folds_and_only_missing_ones_are_computed(alone, tmp_path, backend):
    if backend == "dask":
        pytest.importorskip("distributed")
    death = str(tmp_path / "death")
    command = [
        sys.executable,
        str(Path(__file__).with_name("spread_runs.py")),
        str(tmp_path / "run"),
        backend,
        "3",
        death,
    ]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": PATH}, start_new_session=True)
    deadline = time.monotonic() + 150
    while not finished_folds(tmp_path / "run"):
        assert time.monotonic() < deadline, "no fold was finished"
        assert child.poll() is None, "the run ended by itself"
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    before = finished_folds(tmp_path / "run")
    assert len(before) < 4
    found = run(tmp_path / "run", seconds=3.0, death=death)
    assert_equal(found, alone)
    assert before.items() <= finished_folds(tmp_path / "run").items()


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
