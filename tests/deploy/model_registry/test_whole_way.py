"""A model of ``biot-bd demo``, saved, verified, pushed, pulled and exported: the same events by every engine, and
braindecode's own logits.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from braindecode.models import BIOT as BraindecodeBIOT
from hub_stand_in import client_of_a_stand_in

from biot_bd import Windows, load_pipeline
from biot_bd.cli import main
from biot_bd.deploy import Registry

pytestmark = pytest.mark.slow

LABEL = "generated/1.0.0"
NEVER = ("torch", "braindecode", "skorch", "moabb")
WITHOUT_TORCH = f"""
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NEVER}:
            raise ImportError(f"{{name}} is imported")
sys.meta_path.insert(0, Guard())
from biot_bd.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


def command(*arguments):
    assert main([str(one) for one in arguments]) == 0, arguments


def said(capsys, *arguments):
    """Return what a command prints as JSON."""
    capsys.readouterr()
    command(*arguments, "--json")
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Return the folder of a short demo: generated recordings, windows, a run with a model a fold."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    program = [sys.executable, "-W", "ignore", "-m", "biot_bd.cli", "demo", str(folder), "--epochs", "2", "--jobs", "1"]
    subprocess.run(program, check=True, capture_output=True, timeout=1200)
    return folder


@pytest.fixture(scope="module")
def pulled(demo, tmp_path_factory):
    """Return the registry that the model was pulled into, by nothing but commands."""
    here, there = (tmp_path_factory.mktemp("registries") / name for name in ("here", "there"))
    model = demo / "run" / "folds" / "00" / "model"
    command("export", model, "--format", "onnx")
    with pytest.MonkeyPatch.context() as patch, client_of_a_stand_in(patch) as hub:
        command("models", "save", model, *LABEL.split("/"), "--run", demo / "run", "--registry", here)
        command("models", "verify", LABEL, "--registry", here)
        command("models", "push", LABEL, "me/generated", "--registry", here, "--endpoint", hub.address)
        digest = Registry(here).resolve(LABEL).digest
        shutil.rmtree(here)
        expected = ("--expected", digest, "--registry", there)
        command("models", "pull", "me/generated", "--endpoint", hub.address, *expected)
    return Registry(there)


def events(folder):
    """Return the events of every recording, as they are written."""
    tables = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*_events.tsv"))}
    assert tables
    return tables


def test_what_was_pulled_computes_again_what_was_registered(pulled, capsys):
    found = said(capsys, "models", "verify", LABEL, "--registry", pulled.root)
    assert {one["engine"] for one in found["replayed"]} >= {"torch", "onnx"}
    assert found["demonstration"]


def test_torch_onnx_and_the_runtime_without_torch_find_the_same_events(demo, pulled, tmp_path, monkeypatch):
    monkeypatch.setenv("BIOT_BD_REGISTRY", str(pulled.root))
    monkeypatch.chdir(tmp_path)
    recordings = sorted((demo / "recordings").rglob("*.edf"))[:2]
    for engine in ("torch", "onnx"):
        command("detect", LABEL, *recordings, "-o", engine, "--engine", engine, "--threshold", "0.3")
    arguments = [LABEL, *map(str, recordings), "-o", "without-torch", "--engine", "onnx", "--threshold", "0.3"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "detect", *arguments],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    of_torch = events(Path("torch"))
    assert "\tsz" in "".join(of_torch.values())  # there is something to compare
    assert events(Path("onnx")) == of_torch
    assert events(Path("without-torch")) == of_torch
    (record, *_) = Path("torch").rglob("*_detection.json")
    assert json.loads(record.read_text())["model"]["name"] == LABEL


def test_plain_braindecode_gives_equal_logits(demo, pulled):
    folder = pulled.resolve(LABEL).folder
    plain = BraindecodeBIOT.from_pretrained(folder).eval()
    pipeline = load_pipeline(folder)
    scaled = torch.from_numpy(np.asarray(pipeline[:-1].transform(Windows.open(demo / "windows")[:8])))
    with torch.no_grad():
        ours = pipeline[-1].module_.eval()(scaled)
        np.testing.assert_allclose(plain(scaled).numpy(), ours.numpy(), rtol=0, atol=1e-5)
    assert ours.std() > 0
