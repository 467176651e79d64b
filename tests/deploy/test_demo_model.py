"""The demonstration model that comes with the package: complete, of nobody's machine, loaded by others, and of some use."""

import re
import subprocess
import sys

import numpy as np
import pytest

from biot_bd.deploy import Detector
from biot_bd.deploy.demo_model import NAME, VERSION, shipped
from biot_bd.deploy.model_registry import verify_version


def test_every_file_is_the_one_that_was_registered():
    found = verify_version(shipped(), replay=False)
    assert (found.version.name, found.version.version) == (NAME, VERSION)
    assert found.version.problem is None
    assert found.version.facts["demonstration"] is True
    assert found.size_bytes < 2.5e6


def test_no_file_names_a_machine():
    path = re.compile(rb"(?<![\w.:/])/(home|root|tmp|work|Users|mnt|opt)/|[A-Z]:\\\\")
    files = [file for file in shipped().rglob("*") if file.is_file() and file.suffix != ".npz"]
    named = {file.name: path.findall(file.read_bytes()) for file in files}
    assert "model.onnx" in named
    assert [name for name, found in named.items() if found] == []


def test_the_card_says_what_it_learnt_from_and_how_little_it_knows():
    card = (shipped() / "README.md").read_text(encoding="utf-8")
    assert "demonstration: model trained on generated data, never for clinical use" in card
    assert "a child who was left out" in card
    assert "too few to say" in card
    assert "ODC-BY 1.0" in card
    assert "10.13026/C2K01R" in card


def test_plain_braindecode_gives_the_same_logits():
    import torch
    from braindecode.models import BIOT

    from biot_bd import load_pipeline

    x = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (3, 16, 2000)).astype(np.float32))
    ours = load_pipeline(shipped())[-1].module_.eval()
    theirs = BIOT.from_pretrained(str(shipped())).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(x), ours(x), atol=1e-5, rtol=1e-5)


def test_it_finds_a_planted_seizure_of_a_person_that_it_never_saw(tmp_path):
    """Person 1 of seed 0 was no part of its training, which took seed 18; both seizures are in the summary."""
    from biot_bd import load_dataset

    (part,) = load_dataset("demo", tmp_path, n_subjects=1, recordings=1, minutes=6, seed=0).datasets
    found = Detector.load(shipped(), engine="torch").detect(part.description["path"])
    planted = [(row["onset"], row["onset"] + row["duration"]) for row in part.raw.annotations]
    assert [
        event for event in found.events if not any(a < event.offset_s and event.onset_s < b for a, b in planted)
    ] == []
    assert len(found.events) >= 1
    assert found.in_training["recording"] is False


@pytest.mark.slow
def test_its_probabilities_come_out_again_in_every_engine():
    pytest.importorskip("onnxruntime")
    command = [sys.executable, "-W", "ignore", "-m", "biot_bd.cli", "models", "verify", str(shipped())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "computed again: torch in fp32" in done.stdout
    assert "computed again: onnx in fp32" in done.stdout
