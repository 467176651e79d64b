"""The cells of a study in other processes: joblib's, dask's, and jobs as a cluster runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from biot_bd import load_dataset, prepare
from biot_bd.evaluation import StudyPlan, run_study, submit_folds
from biot_bd.evaluation.studies.foundation_study import write_table

pytestmark = pytest.mark.slow
SIZE = {"embed_dim": 16, "num_heads": 2, "num_layers": 1, "hop_length": 200}


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    found = load_dataset("demo", root / "edf", n_subjects=4, minutes=2, recordings=1)
    windows = prepare(found, root / "windows", stride_s=10)
    return StudyPlan(
        cohorts=[{"name": "demo", "stores": windows.folder}],
        models=[{"name": "biot", "params": SIZE}],
        strategies=["linear"],
        baselines=["line-length"],
        cv="subject-kfold-2",
        n_resamples=100,
    )


@pytest.fixture(scope="module")
def here(plan, tmp_path_factory):
    """The scores of the same plan, computed in this process."""
    return scores(run_study(plan, tmp_path_factory.mktemp("here") / "study"))


def scores(study):
    assert not study.failed, [(row["row"], row["reason"]) for row in study.failed]
    return {row["row"]: row["average_precision"] for row in study.rows}


def test_two_processes_give_the_same_table(plan, here, tmp_path):
    assert scores(run_study(plan, tmp_path / "study", n_jobs=2)) == pytest.approx(here)


def test_workers_of_dask_give_the_same_table(plan, here, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.Client(n_workers=1, threads_per_worker=1, dashboard_address=None):
        assert scores(run_study(plan, tmp_path / "study", n_jobs=1 + 1, backend="dask")) == pytest.approx(here)


def test_jobs_give_the_same_table(plan, here, tmp_path):
    pytest.importorskip("submitit")
    call = partial(run_study, plan, tmp_path / "study")
    jobs = submit_folds(call, cluster="local", n_at_once=2)
    assert [job.result()["state"] for job in jobs] == ["finished"] * 3
    assert scores(write_table(plan, tmp_path / "study")) == pytest.approx(here)
    assert submit_folds(call, cluster="local") == []  # nothing is missing


def test_a_killed_study_goes_on_with_the_same_numbers(plan, here, tmp_path):
    """SIGKILL, while a cell is computed."""
    (tmp_path / "plan.json").write_text(json.dumps(plan.as_dict()))
    command = [sys.executable, "-m", "biot_bd.cli", "study", str(tmp_path / "plan.json"), "-o", str(tmp_path / "study")]
    code = f"import sys; from biot_bd.cli import main; sys.exit(main({command[3:]!r}))"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not (tmp_path / "study/demo/line-length/seed-0/run.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "study/comparison.json").exists()
    lines = []
    study = run_study(plan, tmp_path / "study", report=lines.append)
    assert scores(study) == pytest.approx(here)
    assert not any("always-" in line for line in lines)  # what was finished is kept
