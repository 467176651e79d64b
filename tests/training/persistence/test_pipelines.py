"""Saved pipelines: same probabilities, no code, clear errors."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import LRScheduler
from torch import nn
from training_data import small

from biot_bd.exceptions import SavedPipelineError
from biot_bd.signals import PercentileScaler
from biot_bd.training import BIOTClassifier, FixedSubjects, load_pipeline, read_record, save_pipeline
from biot_bd.training.persistence import values
from biot_bd.training.persistence.values import class_from_json, class_to_json, from_json, to_json


class Mine(nn.Module):
    def __init__(self, n_chans, n_times, n_outputs):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(n_chans * n_times, n_outputs))

    def forward(self, x):
        return self.net(x)


class MyStep(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


@pytest.fixture(scope="module")
def fitted(data):
    x, y, groups = data
    net = small(
        max_epochs=2,
        class_weight="balanced",
        train_split=FixedSubjects([groups[0]]),
        callbacks=[("lr", LRScheduler("StepLR", step_size=1))],
        optimizer__betas=(0.8, 0.99),
        log_dir=None,
    )
    return make_pipeline(PercentileScaler(q=90), net).fit(x, y, biotclassifier__groups=groups)


def test_same_probabilities_and_parameters(fitted, data, tmp_path):
    x, _, _ = data
    record = {"subjects": {"train": ["a"], "test": []}, "label_rule": "overlap", "threshold": np.float64(0.3)}
    assert save_pipeline(fitted, tmp_path / "model", record=record) == tmp_path / "model"
    again = load_pipeline(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))
    assert again.record_ == read_record(tmp_path / "model") == {**record, "threshold": 0.3}
    assert list(again.named_steps) == list(fitted.named_steps)
    before, after = (p.get_params() for p in (fitted[-1], again[-1]))
    different = {k for k in before if before[k] != after[k] and "callbacks" not in k}
    assert not different
    assert after["callbacks"][0][1].get_params() == before["callbacks"][0][1].get_params()
    assert again[-1].train_subjects_ == fitted[-1].train_subjects_
    assert again[-1].input_info_ == fitted[-1].input_info_
    np.testing.assert_array_equal(again[-1].criterion_.weight, fitted[-1].criterion_.weight)


def test_only_json_and_safetensors(fitted, tmp_path):
    save_pipeline(fitted, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    config = json.loads((tmp_path / "pipeline.json").read_text())
    step = config["pipeline"]["steps"][-1]
    assert step["params"]["module"] == "biot"
    assert step["params"]["log_dir"] is None


def test_a_bare_classifier_with_string_labels(data, tmp_path):
    x, y, groups = data
    words = np.array(["no", "yes"])[y]
    net = BIOTClassifier("eegnet", classes=None, max_epochs=1, batch_size=16, random_state=0, device="cpu")
    net.fit(x, words, groups=groups)
    net.threshold_ = 0.4
    save_pipeline(net, tmp_path)
    again = load_pipeline(tmp_path)
    assert again.classes_.tolist() == ["no", "yes"]
    assert again.threshold_ == 0.4
    np.testing.assert_array_equal(again.predict(x), net.predict(x))
    np.testing.assert_array_equal(again.predict_proba(x), net.predict_proba(x))


def test_a_loaded_pipeline_can_be_fitted_and_saved_again(fitted, data, tmp_path):
    x, y, groups = data
    save_pipeline(fitted, tmp_path)
    again = load_pipeline(tmp_path)
    again.fit(x, y, biotclassifier__groups=groups)
    # The same seed, the same data: the same model.
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))


@pytest.mark.slow
def test_in_another_process(fitted, data, tmp_path):
    x, _, _ = data
    save_pipeline(fitted, tmp_path / "m")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np; from biot_bd import load_pipeline; "
        "np.save(sys.argv[3], load_pipeline(sys.argv[1]).predict_proba(np.load(sys.argv[2])))"
    )
    arguments = [str(tmp_path / "m"), str(tmp_path / "x.npy"), str(tmp_path / "p.npy")]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), fitted.predict_proba(x), atol=1e-6)


def test_saving_again_replaces_the_model_and_nothing_else(fitted, data, tmp_path):
    x, y, groups = data
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "notes.txt").write_text("keep")
    save_pipeline(fitted, tmp_path)
    other = make_pipeline(PercentileScaler(), small(max_epochs=1, random_state=5)).fit(
        x, y, biotclassifier__groups=groups
    )
    save_pipeline(other, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / "tensorboard").is_dir()
    np.testing.assert_array_equal(load_pipeline(tmp_path).predict_proba(x), other.predict_proba(x))


def test_loading_does_not_touch_the_random_numbers(fitted, tmp_path):
    save_pipeline(fitted, tmp_path)
    state = torch.get_rng_state()
    load_pipeline(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


def test_wrong_input_raises_after_loading(fitted, data, tmp_path):
    x, _, _ = data
    save_pipeline(fitted, tmp_path)
    again = load_pipeline(tmp_path)
    with pytest.raises(ValueError, match="fitted on 4 channels a window, found 3"):
        again.predict(x[:, :3])
    with pytest.raises(ValueError, match="fitted on 300 samples a window, found 250"):
        again.predict(x[..., :250])


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (DummyClassifier(), "DummyClassifier: only BIOTClassifier"),
        (make_pipeline(MyStep(), DummyClassifier()), r"step 'dummyclassifier' \(DummyClassifier\): the last step"),
        (small(), "is not fitted"),
    ],
)
def test_what_cannot_be_saved(pipeline, message, tmp_path):
    with pytest.raises(SavedPipelineError, match=message):
        save_pipeline(pipeline, tmp_path / "m")
    assert not list((tmp_path / "m").glob("*")) if (tmp_path / "m").exists() else True


def test_classes_of_ones_own_need_a_plugin(fitted, data, tmp_path):
    x, y, groups = data
    own = small_with(Mine).fit(x, y, groups=groups)
    with pytest.raises(SavedPipelineError, match=r"^module: .*:Mine is neither registered.*register_models"):
        save_pipeline(own, tmp_path / "a")
    with pytest.raises(SavedPipelineError, match=r"^mystep: .*:MyStep is neither registered"):
        save_pipeline(Pipeline([("mystep", MyStep()), ("net", fitted[-1])]), tmp_path / "b")
    with pytest.raises(SavedPipelineError, match=r"^f__func: .*absolute.*cannot be written as plain data"):
        save_pipeline(Pipeline([("f", FunctionTransformer(np.abs)), ("net", fitted[-1])]), tmp_path / "c")
    assert not list(tmp_path.rglob("*.safetensors"))


def small_with(module):
    return BIOTClassifier(module, max_epochs=1, batch_size=16, random_state=0, device="cpu")


# --- damaged and hostile files ----------------------------------------------------------------------------


def edit(folder, change):
    path = folder / "pipeline.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f: (f / "pipeline.json").unlink(), FileNotFoundError, "no saved pipeline here"),
        (lambda f: (f / "pipeline.json").write_text("{"), ValueError, "pipeline.json: not valid JSON"),
        (lambda f: (f / "pipeline.json").write_text("{}"), SavedPipelineError, "not written by save_pipeline"),
        (lambda f: edit(f, lambda c: c.update(version=9)), SavedPipelineError, "format version 9"),
        (lambda f: edit(f, lambda c: c.pop("pipeline")), SavedPipelineError, "damaged"),
        (lambda f: next(f.glob("*.safetensors")).unlink(), SavedPipelineError, "weights are missing"),
        (lambda f: cut(next(f.glob("*.safetensors"))), SavedPipelineError, "weights are damaged"),
        (
            lambda f: edit(f, lambda c: last(c)["params"].update(module__embed_dim=32)),
            SavedPipelineError,
            "embed_dim is 32, but the weights in model.safetensors have 16",
        ),
        (lambda f: edit(f, lambda c: last(c)["params"].update(nonsense=32)), SavedPipelineError, "damaged.*nonsense"),
        (lambda f: edit(f, lambda c: last(c)["weights"].update(file="../x")), SavedPipelineError, "missing"),
    ],
)
def test_damaged_files(fitted, tmp_path, damage, error, message):
    save_pipeline(fitted, tmp_path)
    damage(tmp_path)
    with pytest.raises(error, match=message) as caught:
        load_pipeline(tmp_path)
    assert str(tmp_path) in str(caught.value)


def last(config):
    return config["pipeline"]["steps"][-1]


def cut(path: Path):
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize(
    "path",
    [
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "biot_bd.training.persistence.pipelines:os.system",
        "biot_bd.training.persistence.values:import_module",
        "biot_bd.training.persistence.values:os.system",
        "biot_bd.training.resume:random.Random",
        "sklearn.preprocessing._data:StandardScaler",
        "torch.optim.optimizer:torch.nn.Linear",
        "torch.hub:load",
        "sklearnx.evil:Step",
        "evil_module_next_door:Step",
    ],
)
def test_a_config_cannot_name_any_other_class(fitted, tmp_path, path, monkeypatch):
    (tmp_path / "evil_module_next_door.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    save_pipeline(fitted, tmp_path)
    edit(tmp_path, lambda c: c["pipeline"]["steps"][0].update({"class": {"$class": path}}))
    with pytest.raises(SavedPipelineError, match=r"may not be loaded|which this installation lacks"):
        load_pipeline(tmp_path)
    assert "evil_module_next_door" not in sys.modules


def test_values_come_back_as_they_were():
    values = {
        "a": (1, [2.5, None], {"x": np.float32(0.1), 3: True}),
        "b": float("inf"),
        "c": np.arange(6, dtype=np.float32).reshape(2, 3),
        "d": torch.optim.Adam,
        "e": FixedSubjects(("a", "b")),
        "f": "text",
        "g": np.dtype("float32"),
    }
    again = from_json(json.loads(json.dumps(to_json(values))))
    np.testing.assert_array_equal(again.pop("c"), values.pop("c"))
    assert again == values
    assert type(again["a"]) is tuple
    assert type(again["a"][2]["x"]) is np.float32


def test_classes_of_plugins(tmp_path, monkeypatch):
    package = tmp_path / "plugin_of_the_test"
    package.mkdir()
    (package / "__init__.py").write_text("from plugin_of_the_test._steps import Shown")
    base = "from sklearn.base import BaseEstimator, TransformerMixin\n"
    classes = "class {}(TransformerMixin, BaseEstimator):\n    pass\n"
    (package / "_steps.py").write_text(base + classes.format("Shown") + classes.format("Inner"))
    monkeypatch.syspath_prepend(str(tmp_path))
    steps = importlib.import_module("plugin_of_the_test._steps")
    with pytest.raises(SavedPipelineError, match="neither registered nor public"):
        class_to_json(steps.Inner)
    monkeypatch.setattr(values, "entry_points", lambda group: [SimpleNamespace(module="plugin_of_the_test")])
    addresses = {"Shown": "plugin_of_the_test:Shown", "Inner": "plugin_of_the_test._steps:Inner"}
    for name, address in addresses.items():
        cls = getattr(steps, name)
        assert class_to_json(cls) == {"$class": address}
        # Format 1 named the module that defines a class, shown elsewhere or not.
        for path in (address, f"plugin_of_the_test._steps:{name}"):
            assert class_from_json({"$class": path}) is cls
    with pytest.raises(SavedPipelineError, match="may not be loaded"):
        class_from_json({"$class": "plugin_of_the_test._steps:BaseEstimator"})
