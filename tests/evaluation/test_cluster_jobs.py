"""Folds as jobs through submitit: its local executor, and a SLURM of shell scripts that runs what sbatch is given."""

import os
import signal
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from spread_runs import finished_folds, run

from biot_bd.evaluation import submit_folds, workers
from biot_bd.evaluation.cluster_jobs import ClusterJobs
from biot_bd.evaluation.workers import slurm_cluster
from biot_bd.exceptions import LostWorkerError, RunFolderError

pytest.importorskip("submitit")
slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Jobs are programs of their own, which must find the estimator."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))


@pytest.fixture(scope="module")
def alone():
    return run()


def assert_equal(found, expected):
    pd.testing.assert_frame_equal(found.predictions, expected.predictions, check_exact=True)
    assert found.metrics == expected.metrics


def ended(jobs, seconds=150):
    deadline = time.monotonic() + seconds
    while not all(job.done() for job in jobs):
        assert time.monotonic() < deadline
        time.sleep(0.1)


# --- a SLURM of shell scripts --------------------------------------------------------------------

SBATCH = """#!{python}
import os, re, subprocess, sys
script = open(sys.argv[1]).read()
open({log!r}, "a").write(script + "\\n--- end of script ---\\n")
array = re.search(r"#SBATCH --array=0-(\\d+)", script)
for task in range(int(array[1]) + 1) if array else [None]:
    own = {{"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0",
           "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here"}}
    if task is not None:
        own |= {{"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": str(task)}}
    if {runs}:
        subprocess.Popen(["bash", sys.argv[1]], env={{**os.environ, **own}}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job 7")
"""
SRUN = '#!/bin/bash\nwhile [[ $1 == --* || $1 == /* && $1 != *python* ]]; do shift; done\nexec "$@"\n'


@pytest.fixture
def slurm(tmp_path, monkeypatch, request):
    folder = tmp_path / "slurm"
    folder.mkdir()
    runs = getattr(request, "param", True)
    programs = {
        "sbatch": SBATCH.format(python=sys.executable, log=str(folder / "scripts"), runs=runs),
        "srun": SRUN,
        # nobody asks for states while results are there; a job that is not known yet has none
        "sacct": "#!/bin/bash\necho 'JobID|State|NodeList'\n",
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755 | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "scripts"


@pytest.mark.parametrize("slurm", [False], indirect=True)
def test_the_script_of_slurm_asks_for_what_was_told(slurm, tmp_path):
    call = partial(run, tmp_path / "run", cv="subject-kfold-3")
    options = {"partition": "gpu", "account": "eeg"}
    jobs = submit_folds(call, n_at_once=2, hours=1.5, cpus=4, gpus=1, slurm=options)
    assert [job.job_id for job in jobs] == ["7_0", "7_1", "7_2"]
    asked = {line.removeprefix("#SBATCH ") for line in slurm.read_text().splitlines() if line.startswith("#SBATCH ")}
    expected = {"--array=0-2%2", "--time=90", "--cpus-per-task=4", "--gpus-per-node=1", "--job-name=biot-bd"}
    assert expected | {"--partition=gpu", "--account=eeg", "--open-mode=append"} <= asked
    assert "--signal=USR2@90" in asked  # in time to be requeued
    with pytest.raises(RunFolderError, match="fold-00: job 7_0, fold-01: job 7_1"):
        call()


def test_without_slurm_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="sbatch is not on the path"):
        submit_folds(partial(run, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_jobs_need_a_run_folder_and_a_known_cluster():
    with pytest.raises(ValueError, match="give folder="):
        submit_folds(run, cluster="local")
    with pytest.raises(ValueError, match="no cluster 'pbs'; there are slurm, local"):
        submit_folds(run, cluster="pbs")


def test_the_script_of_dask_jobqueue_asks_for_what_was_told():
    pytest.importorskip("dask_jobqueue")
    given = {"memory": "16GB", "queue": "gpu", "job_extra_directives": ["--qos=long"]}
    with slurm_cluster(given, hours=2.5, cpus=4, gpus=1) as cluster:
        script = cluster.job_script()
    for line in ("-p gpu", "--cpus-per-task=4", "--mem=15G", "-t 02:30:00", "--qos=long", "--gres=gpu:1"):
        assert f"#SBATCH {line}\n" in script
    words = script.split()
    assert words[words.index("--nthreads") + 1] == "1"
    limits = [words[place + 1] for place, word in enumerate(words) if word == "--memory-limit"]
    assert limits[-1] == "0"  # the last one counts
    with pytest.raises(ValueError, match="no parameter 'quue'"):
        slurm_cluster({"memory": "1GB", "quue": "x"}, hours=1, cpus=1, gpus=0)
    with pytest.raises(ValueError, match="needs its memory"):
        slurm_cluster({}, hours=1, cpus=1, gpus=0)


@slow
def test_jobs_of_slurm_give_the_same_digits(slurm, alone, tmp_path):
    with workers("slurm", cpus=1):
        assert_equal(run(tmp_path / "run"), alone)
    assert slurm.read_text().count("--- end of script ---") == 1
    assert not list((tmp_path / "run/.jobs").glob("*.pkl"))
    assert not (tmp_path / "run/.jobs/submitted.json").exists()


# --- jobs as processes of this machine -----------------------------------------------------------


@slow
def test_submitted_folds_are_read_by_the_same_call(alone, tmp_path):
    call = partial(run, tmp_path / "run", seconds=1.0)
    jobs = submit_folds(call, cluster="local", n_at_once=2)
    assert len(jobs) == 4
    if not jobs[-1].done():
        with pytest.raises(RunFolderError, match="fold-03: job"):
            call()
    ended(jobs)
    before = finished_folds(tmp_path / "run")
    assert len(before) == 4
    assert_equal(call(), alone)
    assert finished_folds(tmp_path / "run") == before
    assert submit_folds(call, cluster="local") == []


@slow
def test_a_killed_job_is_told_and_the_same_call_goes_on(alone, tmp_path):
    (tmp_path / "death").touch()
    call = partial(run, tmp_path / "run", death=str(tmp_path / "death"))
    with workers("local", n_workers=2):
        with pytest.raises(LostWorkerError, match=r"job \d+ ended without a result"):
            call()
        before = finished_folds(tmp_path / "run")
        while True:  # jobs of the call that failed may still run
            try:
                found = call()
                break
            except RunFolderError:
                time.sleep(0.5)
    assert_equal(found, alone)
    assert before.items() <= finished_folds(tmp_path / "run").items()


@slow
def test_a_preempted_job_goes_on(alone, tmp_path):
    call = partial(run, tmp_path / "run", cv="subject-kfold-2", seconds=6.0)
    jobs = submit_folds(call, cluster="local", n_at_once=2)
    deadline = time.monotonic() + 150
    while "a fit begins" not in (jobs[0].stdout() or ""):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    command = ["ps", "-o", "pid=", "--ppid", str(jobs[0].job_id)]
    for child in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split():
        os.kill(int(child), signal.SIGUSR2)
    ended(jobs)
    assert "Requeued job" in (jobs[0].stdout() or "") + (jobs[0].stderr() or "")
    assert len(finished_folds(tmp_path / "run")) == 2
    assert_equal(call(), run(cv="subject-kfold-2"))


@slow
def test_an_error_of_a_task_is_raised_as_on_every_backend(tmp_path):
    with workers("local"), pytest.raises(TypeError, match="str"):
        run(tmp_path / "run", seconds="soon")


def test_jobs_know_their_limits():
    with pytest.raises(ValueError, match="no cluster"):
        ClusterJobs("lsf")
