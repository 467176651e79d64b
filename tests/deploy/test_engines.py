"""The detector's engines: found in the registry, and the only way from deploy to what trains."""

import ast
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import biot_bd.deploy
from biot_bd import load_scorer, registry
from biot_bd.deploy import Detector
from biot_bd.deploy.model import load_model
from biot_bd.exceptions import UnknownNameError
from biot_bd.hookspecs import hookimpl


@pytest.fixture
def undecided():
    """Register an engine whose model gives each class one half."""

    def load(folder):
        found = load_scorer(folder)
        found.classifier.predict_proba = lambda x: np.full((len(x), 2), 0.5)
        return found

    class Plugin:
        @hookimpl
        def register_engines(self, register):
            register("undecided", load)

    registry.add_plugin(Plugin(), "halves")
    yield "undecided"
    registry._manager.unregister(name="halves")
    registry._plugins.pop("halves")
    registry.engines._remove_all_of("halves")


def test_an_engine_of_a_plugin_computes_the_probabilities(model, undecided):
    detector = Detector.load(model, engine=undecided, on_missing="drop")
    stream = detector.stream(["FP1-F7"], 200.0)
    scored = stream.push(np.random.default_rng(0).normal(0, 30, (1, 200 * 1000)).astype(np.float32))
    assert len(scored.probabilities) > 10
    assert set(scored.probabilities) == {0.5}


def test_the_built_in_engine_is_load_scorer():
    assert registry.engines["torch"] is load_scorer


def test_an_unknown_engine_is_named_with_those_that_exist(model):
    with pytest.raises(UnknownNameError, match=r"no engines named 'onx'.*there are: onnx, openvino, pt2, torch"):
        load_model(model, "onx")


def imported_by(path: Path) -> set[str]:
    """Return the modules that a file imports, inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            name = importlib.util.resolve_name(base, "biot_bd.deploy") if node.level else base
            found |= {name} | {f"{name}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("montage", [["biot-16"], 16, True])
def test_a_montage_of_another_kind_is_one_line_that_names_the_folder(tmp_path, montage):
    shutil.copytree(Path(__file__).parents[1] / "data/model-v1", tmp_path / "model")
    config = tmp_path / "model/config.json"
    config.write_text(config.read_text().replace('"montage": "biot-16"', f'"montage": {json.dumps(montage)}'))
    with pytest.raises(ValueError, match=r"model: .*montage") as told:
        load_model(tmp_path / "model")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("path", sorted(Path(biot_bd.deploy.__file__).parent.rglob("*.py")), ids=lambda p: p.stem)
def test_deploy_names_neither_training_nor_evaluation(path):
    upward = (
        "biot_bd.training",
        "biot_bd.evaluation",
        "biot_bd.report",
        "biot_bd.load_",
        "torch",
        "skorch",
        "braindecode",
    )
    assert [name for name in imported_by(path) if name.startswith(upward)] == []
