import json

import pytest
import typer
from small_pipeline import save_small_pipeline
from typer.testing import CliRunner

from biot_bd.commands.export import export

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_pipeline(tmp_path_factory.mktemp("command") / "model")


def run(*arguments):
    app = typer.Typer()
    app.command()(export)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_what_cannot_be_is_said_before_anything_is_imported(model, tmp_path):
    for arguments, told in {
        (model, "--format", "onx"): "did you mean 'onnx'",
        (tmp_path,): "expected a saved model, found an empty folder",
        (model, "--int8"): "--int8 needs --store",
        (model, "--store", tmp_path): "expected prepared windows",
    }.items():
        result = run(*arguments)
        assert result.exit_code
        assert told in str(result.exception)
    assert not (model / "exports").exists()


@pytest.mark.slow
def test_an_exported_model_says_what_was_accepted(model):
    shown = run(model)
    assert shown.exit_code == 0, shown.output
    assert "onnx fp32" in shown.output
    assert "accepted" in shown.output
    assert "validation: none (no --store)" in shown.output
    folder = model / "exports" / "onnx"
    facts = json.loads(run(model, "--overwrite", "--json").stdout)
    assert facts["folder"] == str(folder)
    assert facts["size_bytes"] == (folder / "model.onnx").stat().st_size
    assert facts["runs"][0]["engine"] == "onnx"
    assert "an exported model is there" in str(run(model).exception)
