"""``biot-bd models audit``: what a folder would import, told without importing it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from training_data import small
from typer.testing import CliRunner

from biot_bd.commands.models import app
from biot_bd.signals import PercentileScaler
from biot_bd.training import load_pipeline, save_pipeline
from biot_bd.training.persistence.audit import audit

MODEL_V1 = Path(__file__).parents[2] / "data" / "model-v1"


@pytest.fixture(scope="module")
def saved(data, tmp_path_factory):
    x, y, groups = data
    pipeline = make_pipeline(PercentileScaler(), FunctionTransformer(), small(max_epochs=1, optimizer="Adam"))
    pipeline.fit(x, y, biotclassifier__groups=groups)
    return save_pipeline(pipeline, tmp_path_factory.mktemp("audit") / "model")


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def edit(folder, change):
    text = json.loads((folder / "pipeline.json").read_text())
    change(text["pipeline"]["steps"])
    (folder / "pipeline.json").write_text(json.dumps(text))


def run(*args):
    return CliRunner().invoke(app, ["audit", *map(str, args)])


def test_what_is_named(saved):
    found = audit(saved)
    assert [(one.what, one.name) for one in found.named] == [
        ("class", "biot_bd:PercentileScaler"),
        ("class", "sklearn.preprocessing:FunctionTransformer"),
        ("class", "biot_bd:BIOTClassifier"),
        ("registered", "models:biot"),
        ("registered", "losses:focal"),
        ("class", "torch.optim:Adam"),
    ]
    assert found.problems == []
    assert found.named[3].provided_by == "plugin biot_bd (biot_bd.models.biot:BIOT)"
    assert found.named[1].provided_by.startswith("sklearn (scikit-learn ")
    roles = {file["name"]: file["role"] for file in found.files}
    assert roles == {
        "config.json": "Hub layout of the module",
        "model.safetensors": "weights, checksum right",
        "pipeline.json": "description",
    }


def test_the_command(saved):
    result = run(saved)
    assert result.exit_code == 0
    assert "format version 2" in result.stdout
    assert "nothing speaks against loading it" in result.stdout
    facts = json.loads(run(saved, "--json").stdout)
    assert facts["version"] == 2
    assert any(name.startswith("torch (torch ") for name in facts["packages"])


def test_former_formats_too():
    found = audit(MODEL_V1)
    assert (found.version, found.problems) == (1, [])
    names = {one.name for one in found.named}
    assert {"biot_bd:MontageMapper", "biot_bd.training:FixedSubjects", "biot_bd.training.finetuning:Cosine"} <= names
    assert {"montages:biot-16", "torch.optim:AdamW"} <= names
    assert {f["name"]: f["role"] for f in found.files}["events.json"] == "not part of the pipeline"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda steps: steps[0].update({"class": {"$class": "os:system"}}),
            "step percentilescaler: 'os:system' may not",
        ),
        (
            lambda steps: steps[1]["params"].update(func={"$object": {"$class": "subprocess:Popen"}, "params": {}}),
            "parameter func: 'subprocess:Popen' may not be loaded",
        ),
        (lambda steps: steps[1]["params"].update(kw_args={"$pickle": "gASV"}), "unknown entry '$pickle'"),
        (lambda steps: steps[2]["params"].update(module="no such"), "no plugin registers 'no such' of models"),
        (lambda steps: steps[2]["params"].update(criterion={"$registered": ["datasets", "demo"]}), "no registry"),
        (lambda steps: steps[2]["weights"].update(sha256="0" * 64), "checksum differs"),
        (lambda steps: steps[2]["fitted"].pop("threshold"), "damaged"),
        (lambda steps: steps[0].pop("class"), "damaged"),
        (lambda steps: steps[0].update(kind="evil"), "unknown kind"),
        (
            lambda steps: steps[1]["params"].update(
                kw_args={"$tuple": [{"$class": "torch.nn:Linear"}], "$value_of": ["losses", "focal"]}
            ),
            "expected one tag",
        ),
        (
            lambda steps: steps[1]["params"].update(func={"$object": {"$registered": ["losses"]}, "params": []}),
            "damaged",
        ),
    ],
)
def test_what_is_refused(copy, change, problem):
    edit(copy, change)
    assert any(problem in text for text in audit(copy).problems)
    result = run(copy)
    assert result.exit_code == 1
    assert "refused: " in result.stdout
    if "module" not in problem:
        with pytest.raises((ValueError, KeyError)):
            load_pipeline(copy)


def test_a_description_that_is_none(copy):
    (copy / "pipeline.json").write_text("[]")
    assert "not written by save_pipeline" in audit(copy).problems[0]
    edited = {"format": "biot_bd pipeline", "version": [2]}
    (copy / "pipeline.json").write_text(json.dumps(edited))
    assert "version [2]" in audit(copy).problems[0]


def test_weights_from_elsewhere_are_named(copy):
    edit(copy, lambda steps: steps[2]["params"].update(pretrained="somewhere.ckpt"))
    assert audit(copy).problems == []
    assert "somewhere.ckpt" in [one.name for one in audit(copy).named]
    edit(copy, lambda steps: steps[2]["fitted"].update(module_config=None))
    assert "started from 'somewhere.ckpt', and the model does not say" in audit(copy).problems[0]


def test_no_callbacks_are_no_name_of_one(copy):
    edit(copy, lambda steps: steps[2]["params"].update(callbacks="disable"))
    assert audit(copy).problems == []


def test_nothing_is_imported(copy, tmp_path):
    (tmp_path / "evil_next_door.py").write_text("raise SystemExit('imported')")
    edit(copy, lambda steps: steps[0].update({"class": {"$class": "evil_next_door:Step"}}))
    code = """
import sys
from biot_bd.cli import main
sys.argv = ["biot-bd", "models", "audit", sys.argv[1]]
print("status", main())
print([name for name in ("torch", "braindecode", "skorch", "sklearn", "evil_next_door") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(copy)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["status 1", "[]"], (done.stdout, done.stderr)
    assert "refused: step percentilescaler: 'evil_next_door:Step' may not be loaded" in lines


def test_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no saved pipeline here \(no pipeline.json\)"):
        audit(tmp_path)
