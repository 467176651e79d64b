"""Several processes, accelerate, and no device: what works, what is said, what is refused."""

import os
import pickle
import socket
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.hf import AccelerateMixin
from training_data import make_data, small

from biot_bd import load_pipeline, save_pipeline
from biot_bd.training import BIOTClassifier

X, Y, GROUPS = make_data(n_subjects=3)
TINY = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "max_epochs": 1, "random_state": 0}


class Accelerated(AccelerateMixin, BIOTClassifier):
    """As skorch's documentation mixes it."""


@pytest.mark.parametrize("device", [None, "cpu"])
def test_accelerate_is_refused_in_one_line(device):
    accelerate = pytest.importorskip("accelerate")
    net = Accelerated(accelerator=accelerate.Accelerator(cpu=True), device=device, **TINY)
    with pytest.raises(TypeError, match=r"Accelerated .* leaves out precision, micro_batch.*n_jobs for folds") as error:
        net.fit(X, Y, groups=GROUPS)
    assert "\n" not in str(error.value)


def test_no_device_is_torchs_default(tmp_path):
    expected = BIOTClassifier(device="cpu", **TINY).fit(X, Y, groups=GROUPS).predict_proba(X)
    net = clone(BIOTClassifier(device=None, **TINY)).fit(X, Y, groups=GROUPS)
    assert net.get_params()["device"] is None
    assert net.device == "cpu"
    for same in (net, pickle.loads(pickle.dumps(net)), load_pipeline(save_pipeline(net, tmp_path / "model"))):
        assert same.get_params()["device"] is None
        np.testing.assert_array_equal(same.predict_proba(X), expected)
    assert next(net.partial_fit(X, Y, groups=GROUPS).module_.parameters()).device == torch.device("cpu")


@pytest.mark.parametrize(("said", "n"), [("2", 2), ("1", 1), ("", 1), ("many", 1), (None, 1)])
def test_one_of_several_processes_is_told_that_it_is_alone(monkeypatch, said, n):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if said is not None:
        monkeypatch.setenv("WORLD_SIZE", said)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small(max_epochs=1).fit(X, Y, groups=GROUPS)
    told = [w for w in caught if "share nothing" in str(w.message)]
    assert len(told) == (n > 1)
    for w in told:
        assert str(w.message).startswith(
            "started as one of 2 processes: each trains a model of its own on all its windows"
        )
        assert w.filename == __file__


SCRIPT = """
import hashlib, sys, warnings
sys.path.insert(0, {tests!r})
from accelerate import Accelerator
from test_processes import GROUPS, TINY, X, Y, Accelerated, BIOTClassifier
accelerator = Accelerator(cpu=True)
try:
    Accelerated(accelerator=accelerator, **TINY).fit(X, Y, groups=GROUPS)
except TypeError as error:
    print("refused", error)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    net = BIOTClassifier(device="cpu", **TINY).fit(X, Y, groups=GROUPS)
print("told", any("one of 2 processes" in str(w.message) for w in caught))
print("batches", net.history[-1]["train_batch_count"], hashlib.sha256(net.predict_proba(X).tobytes()).hexdigest())
accelerator.end_training()
"""


@pytest.mark.slow
def test_two_processes_of_accelerate_train_alike_and_are_told():
    """Real ones, in a gloo group."""
    pytest.importorskip("accelerate")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(tests=os.path.dirname(__file__))],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = [[line for line in out.splitlines() if line] for out, _ in outputs]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert said[0] == said[1]  # the same model twice: nothing is shared
    assert said[0][0].startswith("refused Accelerated takes its training step from skorch's AccelerateMixin")
    assert said[0][1] == "told True"
