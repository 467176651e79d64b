"""Several processes that share a fit: real ones, started by torchrun."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed

from biot_bd.exceptions import MissingExtraError
from biot_bd.training.net.distributed import find_processes

pytestmark = pytest.mark.usefixtures("one_thread")
FITS = Path(__file__).with_name("shared_fits.py")


def launch(folder, *names, **variables):
    """Run fits in two processes under torchrun; return what it ended with."""
    root = str(Path(__file__).parents[2])
    env = {
        **os.environ,
        **variables,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(FITS)]
    return subprocess.run(
        [*command, str(folder), *names], env=env, capture_output=True, text=True, timeout=300, check=False
    )


def read(folder, name):
    """Return what the two processes wrote of a fit."""
    return [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1)]


def greatest_difference(a, b):
    return max(float((a[key].double() - b[key].double()).abs().max()) for key in a)


def count_processes():
    # Workers that stand ready were started before, and serve other tests afterwards.
    with patch.dict(os.environ, {"WORLD_SIZE": "2"}):
        return find_processes().n


def assert_same_histories(one, other, rtol):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_allclose(a[key], b[key], rtol=rtol, atol=1e-7, err_msg=key)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Fits that two processes shared, by one launch."""
    folder = tmp_path_factory.mktemp("two")
    done = launch(folder, "masked", "contrastive", "both", "whole")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["masked", "contrastive", "both"])
def test_two_processes_learn_what_one_learns_of_the_same_batches(name, two_processes, tmp_path):
    from shared_fits import fitted

    alone = fitted(name, tmp_path)
    first, second = read(two_processes, name)
    assert greatest_difference(first["weights"], second["weights"]) == 0
    assert first["history"] == second["history"]
    assert greatest_difference(alone["weights"], first["weights"]) < 2e-6
    assert_same_histories(alone["history"], first["history"], rtol=2e-5)
    assert alone["history"][0]["train_loss"] != alone["history"][-1]["train_loss"]


@pytest.mark.slow
def test_a_fit_of_which_a_process_was_killed_goes_on_as_if_nothing_had_happened(two_processes, tmp_path):
    killed = launch(tmp_path, "stopped", KILLED_IN_EPOCH="4")
    assert killed.returncode != 0
    assert not list(tmp_path.glob("stopped-*.pt"))  # the other process ended, too
    shutil.copytree(tmp_path / "restart", tmp_path / "alone" / "restart")
    resumed = launch(tmp_path, "stopped")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    for expected, found in zip(read(two_processes, "whole"), read(tmp_path, "stopped"), strict=True):
        assert found["begun"] == [4, 5]
        assert greatest_difference(expected["weights"], found["weights"]) == 0
        assert expected["history"] == found["history"]
    from shared_fits import fitted

    alone = fitted("stopped", tmp_path / "alone")  # one process goes on where two were
    assert alone["begun"] == [4, 5]
    assert alone["history"][:3] == found["history"][:3]


def test_without_a_launcher_a_fit_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    processes = find_processes()
    assert (processes.rank, processes.n, processes.is_main) == (0, 1, True)


def test_processes_of_a_launcher_can_be_told_to_train_apart(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert find_processes(accelerator=None).n == 1


@pytest.mark.slow
def test_workers_of_a_search_fit_their_candidates_apart(monkeypatch):
    """They inherit the launcher's variables, and would wait for processes that never come."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = Parallel(n_jobs=2, backend="loky", timeout=100)(delayed(count_processes)() for _ in range(2))
    assert found == [1, 1]


def test_several_processes_without_accelerate_say_which_extra_they_need(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError, match=r"one of 2 processes.*biot-bd\[scale\]"):
        find_processes()


@pytest.mark.parametrize(
    ("variable", "name"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")]
)
def test_launchers_that_split_a_model_are_refused(variable, name, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ValueError, match=f"{name} splits a model"):
        find_processes()


def test_another_kind_of_accelerator_is_refused():
    with pytest.raises(ValueError, match=r"'auto', None or an accelerate.Accelerator, found 'gpu'"):
        find_processes("gpu")
