"""Folds on dask's workers: the same digits; a worker or the parent is killed, and nothing is lost."""

import threading

import joblib
import pytest
from spread_runs import assert_equal, demo_windows, finished_folds, kill_parent, run, trained

from biot_bd.evaluation import workers
from biot_bd.exceptions import LostWorkerError

pytestmark = pytest.mark.slow
dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    return demo_windows(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def here(windows):
    return trained(windows)


@pytest.fixture(scope="module")
def alone():
    return run()


def test_a_net_has_the_same_digits_in_two_processes_of_dask(windows, here, tmp_path):
    with workers("dask", n_workers=2):
        assert_equal(trained(windows, folder=tmp_path / "run"), here)


def test_threads_of_dask_in_this_process_have_the_same_digits(windows, here):
    cluster = distributed.LocalCluster(processes=False, n_workers=1, threads_per_worker=3, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client, joblib.parallel_config("dask", client=client):
        assert_equal(trained(windows, n_jobs=3), here)


def test_dask_gives_the_fold_of_a_killed_worker_to_another(alone, tmp_path):
    (tmp_path / "death").touch()
    with workers("dask", n_workers=2):
        found = run(tmp_path / "run", death=str(tmp_path / "death"))
    assert not (tmp_path / "death").exists()
    assert_equal(found, alone)


def test_a_fold_that_kills_every_worker_of_dask_is_told(alone, tmp_path):
    (tmp_path / "death").touch()
    given = {"folder": tmp_path / "run", "death": str(tmp_path / "death")}
    strict = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with strict, workers("dask", n_workers=1), pytest.raises(LostWorkerError, match="KilledWorker"):
        run(**given, once=False)
    (tmp_path / "death").unlink()
    with workers("dask", n_workers=1):  # a single worker computes, not this process
        assert_equal(run(**given, once=False), alone)


def test_a_killed_parent_leaves_its_folds_and_only_missing_ones_are_computed(alone, tmp_path):
    death = str(tmp_path / "death")
    before = kill_parent(tmp_path / "run", "dask", death)
    assert 0 < len(before) < 4
    assert_equal(run(tmp_path / "run", seconds=3.0, death=death), alone)
    assert before.items() <= finished_folds(tmp_path / "run").items()


def test_a_scheduler_that_is_gone_is_told(alone, tmp_path):
    cluster = distributed.LocalCluster(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client, joblib.parallel_config("dask", client=client):
        threading.Timer(0.7, client.close).start()  # what a client does that has lost its scheduler
        with pytest.raises(LostWorkerError, match="the same call again"):
            run(tmp_path / "run", seconds=1.5, n_jobs=2)
    assert_equal(run(tmp_path / "run", seconds=1.5), alone)
