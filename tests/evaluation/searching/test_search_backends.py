"""A nested search gives the same digits on every backend, and after any kill."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from nested_runs import nested
from small_searches import without_times

from biot_bd import load_dataset, prepare
from biot_bd.evaluation import HalvingSearch, OptunaSearch, Range, SearchRecord, workers

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
PATIENCE_S = 300  # a program and its workers begin slowly on a busy machine
ENGINES = {
    "grid": {},
    "halving": {"engine": HalvingSearch("max_epochs", factor=2)},
    "optuna": {"engine": OptunaSearch(4, batch=2), "grid": {"biotclassifier__lr": Range(1e-4, 1e-1, log=True)}},
}


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    found = load_dataset("demo", root / "edf", n_subjects=4, minutes=2, recordings=1)
    return prepare(found, root / "windows", stride_s=10)


@pytest.fixture(scope="module")
def here(request, windows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("here") / request.param
    return request.param, folder, nested(windows, folder, **ENGINES[request.param])


def assert_same(result, folder, expected, expected_folder):
    pd.testing.assert_frame_equal(result.predictions, expected.predictions, check_exact=True)
    assert result.metrics == expected.metrics
    assert result.run["search"] == expected.run["search"]
    assert result.notes == expected.notes
    both = (without_times(SearchRecord.open(one)) for one in (folder, expected_folder))
    for ours, theirs in zip(*both, strict=True):
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.parametrize(
    ("here", "backend"),
    [("grid", "loky"), ("grid", "dask"), ("halving", "loky"), ("optuna", "loky"), ("optuna", "dask")],
    indirect=["here"],
)
def test_a_nested_search_is_the_same_in_two_processes(here, windows, backend, tmp_path):
    name, folder, expected = here
    with workers(backend, n_workers=2):
        result = nested(windows, tmp_path / "run", **ENGINES[name])
    assert_same(result, tmp_path / "run", expected, folder)


def program(windows, folder, said):
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2]), *filter(None, sys.path)])
    with said.open("w") as stderr:  # a pipe would stay open as long as any worker lives
        return subprocess.Popen(
            [sys.executable, Path(__file__).with_name("nested_runs.py"), windows.folder, folder],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stderr=stderr,
        )


def fits_in(folder):
    return len(list(folder.glob("search/fold-*/c*.json")))


def wait_for(running, folder, n_fits, kill):
    """Call ``kill`` once there are so many fits; wait for the program's end."""
    deadline = time.monotonic() + PATIENCE_S
    try:
        while fits_in(folder) < n_fits:
            assert running.poll() is None
            assert time.monotonic() < deadline, f"{fits_in(folder)} of {n_fits} fits"
            time.sleep(0.01)
        kill()
        running.wait(timeout=PATIENCE_S)
    finally:
        running.kill()


def kill_a_worker(running):
    found = [
        child
        for child in psutil.Process(running.pid).children(recursive=True)
        if "popen_loky" in " ".join(child.cmdline())
    ]
    assert len(found) == 2
    found[0].send_signal(signal.SIGKILL)


@pytest.mark.parametrize("here", ["grid"], indirect=True)
def test_a_search_whose_parent_and_then_worker_are_killed_gives_the_table_of_one_that_was_not(here, windows, tmp_path):
    _, folder, expected = here
    run = tmp_path / "run"
    said = tmp_path / "stderr.txt"
    running = program(windows, run, said)
    wait_for(running, run, 6, running.kill)
    assert running.returncode == -signal.SIGKILL
    before = fits_in(run)
    assert 6 <= before < 36
    running = program(windows, run, said)
    wait_for(running, run, before + 10, lambda: kill_a_worker(running))
    assert running.returncode == 1
    last = said.read_text().strip().splitlines()[-1]
    assert re.match(
        r"biot_bd.exceptions.LostWorkerError: a worker ended .* the same call again computes what is missing", last
    )
    assert before + 10 <= fits_in(run) < 36
    written = {path: path.stat().st_mtime_ns for path in run.glob("search/fold-*/c*.json")}
    result = nested(windows, run, n_jobs=2)
    assert_same(result, run, expected, folder)
    assert fits_in(run) == 36
    assert {path: path.stat().st_mtime_ns for path in written} == written
