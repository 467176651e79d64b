"""``experiments/pretrain.py``: here, and as a job that is preempted."""

import importlib.util
import json
import os
import signal
import time
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SIZES = {"embed_dim": 16, "num_heads": 2, "num_layers": 1, "drop_prob": 0.0, "att_drop_prob": 0.0}
EPOCHS = 8


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pretrain_script", EXPERIMENTS / "pretrain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_script_does_not_know_goes_to_the_command(script):
    options, command = script.parse(
        ["--cluster", "slurm", "--gpus", "4", "--processes", "4", "store", "-o", "run", "--epochs", "9"]
    )
    assert (options.cluster, options.gpus, options.nodes) == ("slurm", 4, 1)
    assert command == ["store", "-o", "run", "--epochs", "9"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processes", "2", "store"], "torchrun --nproc-per-node"),
        (["--cluster", "slurm", "--processes", "4", "--gpus", "2", "store"], "a process takes one GPU"),
        (["--cluster", "slurm", "--slurm", "partition", "store"], "expected KEY=VALUE, found 'partition'"),
    ],
)
def test_options_that_cannot_be_meant_are_explained(script, words, message, capsys):
    with pytest.raises(SystemExit):
        script.parse(words)
    assert message in capsys.readouterr().err


def test_a_slurm_job_asks_for_what_was_named_and_may_be_requeued(script, tmp_path, monkeypatch):
    """The sbatch file that submitit writes; a stand-in takes its submission."""
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text("#!/bin/sh\ncp $1 " + str(tmp_path / "job.sh") + "\necho Submitted batch job 12\n")
    sbatch.chmod(0o755)
    (tmp_path / "bin" / "srun").symlink_to(sbatch)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    words = [
        "--cluster",
        "slurm",
        "--nodes",
        "2",
        "--processes",
        "4",
        "--gpus",
        "4",
        "--hours",
        "3",
        "--slurm",
        "partition=gpu",
    ]
    assert script.main([*words, "--logs", str(tmp_path / "logs"), "store", "-o", "run"]) == 0
    asked = (tmp_path / "job.sh").read_text()
    for line in ("nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "time=180", "partition=gpu", "signal=USR2@90"):
        assert f"#SBATCH --{line}" in asked


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    from biot_bd import load_dataset, prepare

    folder = tmp_path_factory.mktemp("store")
    demo = load_dataset("demo", folder / "edf", n_subjects=3, recordings=1, minutes=2)
    prepare(demo, folder / "windows", labels="none", stride_s=5)
    return folder / "windows"


@pytest.mark.slow
def test_a_job_of_two_processes_that_is_preempted_goes_on_where_it_was(script, store, tmp_path, monkeypatch):
    psutil = pytest.importorskip("psutil")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXPERIMENTS.parent), os.environ.get("PYTHONPATH", "")]))
    words = [
        str(store),
        "--epochs",
        str(EPOCHS),
        "--batch-size",
        "16",
        "--param",
        "device=cpu",
        "--param",
        "optimizer=SGD",
    ]
    for key, value in {**SIZES, "att_layer_drop_prob": 0.0}.items():
        words += ["--param", f"module__{key}={value}"]
    shared = tmp_path / "shared"
    options, command = script.parse(
        [
            "--cluster",
            "local",
            "--processes",
            "2",
            "--hours",
            "0.1",
            "--logs",
            str(tmp_path / "logs"),
            *words,
            "-o",
            str(shared),
        ]
    )
    job = script.submit(options, command)
    deadline = time.monotonic() + 240
    while not list(shared.glob(".pretraining/restart/restart-*.pt")):
        assert time.monotonic() < deadline, job.stderr()
        time.sleep(0.02)
    tasks = psutil.Process(int(job.job_id)).children()
    first = next(task for task in tasks if task.environ()["SUBMITIT_LOCAL_GLOBALID"] == "0")
    os.kill(first.pid, signal.SIGUSR2)  # as SLURM says that a job is to end
    job.results()
    assert "Requeued job" in job.stderr() + job.stdout()
    assert [row["epoch"] for row in json.loads((shared / "history.json").read_text())] == list(range(1, EPOCHS + 1))
    assert (shared / "report.html").is_file()
