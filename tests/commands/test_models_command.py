"""``biot-bd models``: list, fetch and verify."""

import json

import pytest
import torch
from checkpoint_files import hub_server
from handmade_export import write_export
from huggingface_hub import constants
from typer.testing import CliRunner

from biot_bd.cli import SUMMARIES
from biot_bd.commands.models import app
from biot_bd.exceptions import ArtifactError, CheckpointError, HubError
from biot_bd.models import BIOT, save_checkpoint
from biot_bd.models.checkpoints.published import KNOWN


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    model = BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=4, n_outputs=2, n_times=400)
    return save_checkpoint(model, tmp_path / "w.ckpt", ["old/01"])


def run(*args):
    return CliRunner().invoke(app, list(args), catch_exceptions=True)


def test_it_has_a_summary():
    assert SUMMARIES["models"]


def test_list():
    text = " ".join(run("list").stdout.split())
    for one in KNOWN.values():
        assert one.name in text
        assert one.repository in text
    assert "chb-mit (supervised; 20 subjects: chb-mit/01" in text
    rows = [row for row in json.loads(run("list", "--json").stdout) if row["kind"] == "checkpoint"]
    assert [row["name"] for row in rows] == list(KNOWN)
    assert [row["cached"] for row in rows] == [None, None, None]


def test_verify(checkpoint):
    result = run("verify", str(checkpoint))
    assert result.exit_code == 0
    assert "17 tensors, all in place (encoder layout); not a published file" in result.stdout
    assert "trained on old (supervised; 1 subjects: old/01)" in result.stdout
    facts = json.loads(run("verify", str(checkpoint), "--json").stdout)
    assert facts["config"]["num_heads"] == 2
    assert facts["provenance"]["trained_on"][0]["subjects"] == ["old/01"]


def test_verify_without_a_record(checkpoint):
    checkpoint.with_name("w.ckpt.json").unlink()
    text = " ".join(run("verify", str(checkpoint)).stdout.split())
    assert "num_heads not recorded" in text
    assert "evaluations refuse it" in text


def test_verify_of_a_damaged_file(checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    result = run("verify", str(checkpoint))
    assert result.exit_code == 1
    assert isinstance(result.exception, CheckpointError)


def test_fetch_offline():
    result = run("fetch", "prest-16", "--offline")
    assert isinstance(result.exception, HubError)
    assert "by hand" in str(result.exception)


def test_fetch_of_something_else():
    result = run("fetch", "prest16")
    assert result.exit_code == 2
    assert "did you mean 'prest-16'?" in " ".join(result.output.replace("│", " ").split())


def test_fetch_from_a_mirror(tmp_path):
    folder = tmp_path / "hub"
    BIOT(n_chans=16, n_outputs=2, n_times=2000).save_pretrained(folder)
    files = {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")}
    with hub_server({KNOWN["prest-16"].repository: files}) as (endpoint, _):
        result = run("fetch", "prest-16", "--endpoint", endpoint, "--json")
    assert result.exit_code == 0, result.exception
    facts = json.loads(result.stdout)
    assert facts["published"] == "prest-16"
    assert facts["matched"] == 56
    assert facts["head"].startswith("fresh")
    assert json.loads(run("list", "--json").stdout)[0]["cached"] is not None


def test_audit_says_what_an_exported_model_is_and_checks_its_files(tmp_path):
    folder = write_export(tmp_path / "loudness")
    told = run("audit", str(folder)).stdout
    for part in (
        "exported model (onnx, fp32)",
        "of loudness in mine, weights 000000000000",
        "takes 10 s of 16 channels (biot-16) in microvolts at 200 Hz",
        "proven: openvino in bf16",
        "generated windows alone",
        f"model.onnx: {(folder / 'model.onnx').stat().st_size} bytes",
    ):
        assert part in told
    (folder / "model.onnx").write_bytes(b"other")
    error = run("audit", str(folder)).exception
    assert isinstance(error, ArtifactError)
    assert "model.onnx: damaged" in str(error)
