"""``torchrun ... biot-bd train``: two processes train one model, and the first of them writes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from biot_bd.cli import main
from biot_bd.datasets import load_dataset

EXACT = ["optimizer=SGD", *(f"module__{name}=0" for name in ("drop_prob", "att_drop_prob", "att_layer_drop_prob"))]
SMALL = ["device=cpu", "module__embed_dim=16", "module__num_heads=2", "module__num_layers=1", *EXACT]
QUICK = ["--epochs", "2", "--batch-size", "32", *(part for text in SMALL for part in ("--param", text))]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    load_dataset("demo", root / "demo", n_subjects=4, recordings=1, minutes=2)
    assert main(["prepare", "demo", str(root / "demo"), "-o", str(root / "store"), "--stride-s", "5"]) == 0
    return root / "store"


def train_in_two(store, folder):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "biot_bd.cli", "train", str(store), "-o", str(folder), "--hold-out", "demo/04", *QUICK]
    return subprocess.run([*command, "--json"], env=env, capture_output=True, text=True, timeout=300, check=False)


def test_two_processes_train_the_model_of_one(store, tmp_path):
    pytest.importorskip("accelerate")
    two = train_in_two(store, tmp_path / "two")
    assert two.returncode == 0, two.stderr[-3000:]
    facts = json.loads(two.stdout)  # of one process
    assert main(["train", str(store), "-o", str(tmp_path / "one"), "--hold-out", "demo/04", *QUICK]) == 0
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert max(float(abs(expected[key] - found[key]).max()) for key in expected) < 1e-6
    record = json.loads((tmp_path / "one" / "pipeline.json").read_text())["record"]
    for fact in ("subjects", "n_epochs", "study"):
        assert facts[fact] == record[fact]
    assert facts["scores"]["pooled"]["roc_auc"]["value"] == pytest.approx(
        record["scores"]["pooled"]["roc_auc"]["value"], abs=1e-9
    )
    assert len(list((tmp_path / "two" / "tensorboard").glob("events*"))) == 1
    assert not (tmp_path / "two" / ".training").exists()
