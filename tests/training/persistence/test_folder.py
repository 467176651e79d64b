"""The folder of a saved model: plain braindecode loads its module, and a killed save never mixes two models."""

import json
import multiprocessing
import os
import shutil

import braindecode.models
import numpy as np
import pytest
import torch
from training_data import small

from biot_bd.models import load_checkpoint, provenance_of
from biot_bd.training import BIOTClassifier, load_pipeline, load_scorer, save_pipeline
from biot_bd.training.persistence.pipelines import hub_layout


@pytest.fixture(scope="module")
def two_models(data):
    x, y, groups = data
    return [small(max_epochs=1, random_state=seed).fit(x, y, groups=groups) for seed in (1, 2)]


def weights_of(folder):
    return json.loads((folder / "pipeline.json").read_text())["pipeline"]["weights"]


# --- plain braindecode ------------------------------------------------------------------------------------


def test_plain_braindecode_loads_the_biot(two_models, data, tmp_path):
    save_pipeline(two_models[0], tmp_path)
    assert weights_of(tmp_path)["hub_class"] == "braindecode.models:BIOT"
    assert "channel_ids" not in json.loads((tmp_path / "config.json").read_text())
    model = braindecode.models.BIOT.from_pretrained(tmp_path, strict=True).eval()
    assert type(model) is braindecode.models.BIOT
    x = torch.from_numpy(data[0][:8])
    with torch.no_grad():
        torch.testing.assert_close(model(x), two_models[0].module_(x), atol=1e-5, rtol=1e-5)


def test_plain_braindecode_loads_its_own_models(data, tmp_path):
    x, y, groups = data
    net = BIOTClassifier("eegnet", max_epochs=1, batch_size=16, random_state=0, device="cpu").fit(x, y, groups=groups)
    save_pipeline(net, tmp_path)
    assert weights_of(tmp_path)["hub_class"] == "braindecode.models:EEGNet"
    model = braindecode.models.EEGNet.from_pretrained(tmp_path, strict=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(torch.from_numpy(x[:8])), net.module_(torch.from_numpy(x[:8])))


def test_another_number_of_tokens_is_no_hub_layout(two_models, data, tmp_path):
    x, y, groups = data
    save_pipeline(two_models[0], tmp_path)
    net = small(max_epochs=1, module__channel_ids=[3, 1, 0, 5], module__n_channel_tokens=6).fit(x, y, groups=groups)
    save_pipeline(net, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "pipeline.json"]
    assert weights_of(tmp_path)["hub_class"] is None
    np.testing.assert_array_equal(load_pipeline(tmp_path).predict_proba(x), net.predict_proba(x))


def test_a_changed_module_is_no_hub_layout(two_models):
    module = braindecode.models.EEGNet(n_chans=4, n_times=300, n_outputs=2, sfreq=200)
    assert hub_layout(module)[0] == "braindecode.models:EEGNet"
    module.extra = torch.nn.Linear(2, 2)
    assert hub_layout(module) == (None, None)
    assert hub_layout(torch.nn.Linear(2, 2)) == (None, None)


def test_the_hub_layout_alone_is_a_checkpoint_without_record(two_models, tmp_path):
    save_pipeline(two_models[0], tmp_path / "model")
    (tmp_path / "hub").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tmp_path / "model" / name, tmp_path / "hub" / name)
    assert (
        load_checkpoint(tmp_path / "hub").facts.config["num_heads"] == two_models[0].module_.get_config()["num_heads"]
    )
    assert not provenance_of(tmp_path / "hub").known
    assert provenance_of(tmp_path / "model").known


# --- killed saves -----------------------------------------------------------------------------------------


def save_and_die(net, folder, step):
    """Save in a process that ends, without cleaning up, before its ``step``-th change of a name on disk."""
    count = iter(range(1, 1000))
    rename, remove = os.replace, os.unlink

    def counted(change):
        def call(*args, **kwargs):
            if next(count) == step:
                os._exit(9)
            return change(*args, **kwargs)

        return call

    os.replace, os.unlink = counted(rename), counted(remove)
    save_pipeline(net, folder)
    os._exit(0)


@pytest.mark.parametrize("first_format", [2, 1])
def test_a_killed_save_leaves_one_model_or_the_other(two_models, data, tmp_path, first_format):
    x = data[0][:16]
    old, new = (net.predict_proba(x) for net in two_models)
    save_pipeline(two_models[0], tmp_path / "start")
    if first_format == 1:
        as_format_1(tmp_path / "start")
    seen, finished, step = set(), False, 0
    while not finished:
        step += 1
        folder = shutil.copytree(tmp_path / "start", tmp_path / f"killed-{step}")
        process = multiprocessing.get_context("fork").Process(target=save_and_die, args=(two_models[1], folder, step))
        process.start()
        process.join(120)
        assert process.exitcode in (0, 9)
        finished = process.exitcode == 0
        found = load_pipeline(folder).predict_proba(x)
        which = [np.array_equal(found, proba) for proba in (old, new)]
        assert sum(which) == 1
        seen.add(which.index(True))
        np.testing.assert_allclose(load_scorer(folder).predict_proba(x), found, atol=1e-6)
        state = load_checkpoint(folder).layout.encoder
        assert torch.equal(state[KEY], two_models[which.index(True)].module_.state_dict()[KEY])
        check_hub_layout(folder, two_models)
        # The next save puts everything right.
        save_pipeline(two_models[1], folder)
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        assert names == ["config.json", "model.safetensors", "pipeline.json"]
        np.testing.assert_array_equal(load_pipeline(folder).predict_proba(x), new)
    assert seen == {0, 1}
    assert step >= 5


KEY = "encoder.patch_embedding.projection.weight"


def as_format_1(folder):
    """Make the folder what format 1 was: the description in config.json, weights under a name of their own."""
    text = json.loads((folder / "pipeline.json").read_text())
    spec = text["pipeline"]
    fitted = spec["fitted"]
    report = fitted.pop("precision_report")
    plans = {name: fitted.pop(f"{name}_plan") for name in ("training", "inference")}
    fitted["compute"] = {**report, **plans}
    labels = fitted["classes"]
    fitted["classes"] = {"$array": [labels["dtype"], [len(labels["labels"])], labels["labels"]]}
    spec["class"] = {"$class": "biot_bd.training.classifier:BIOTClassifier"}
    spec["weights"]["file"] = f"biotclassifier-{spec['weights']['sha256'][:12]}.safetensors"
    os.replace(folder / "model.safetensors", folder / spec["weights"]["file"])
    (folder / "pipeline.json").unlink()
    (folder / "config.json").write_text(json.dumps({**text, "version": 1}))


def check_hub_layout(folder, models):
    """Where the Hub layout is there at all, its weights are whole and of one of the two models."""
    if not (folder / "model.safetensors").is_file() or not (folder / "config.json").is_file():
        return
    loaded = braindecode.models.BIOT.from_pretrained(folder, strict=True).state_dict()
    assert any(torch.equal(loaded[KEY], net.module_.state_dict()[KEY]) for net in models)


def test_weights_of_another_model_are_refused(two_models, tmp_path):
    for number, net in enumerate(two_models):
        save_pipeline(net, tmp_path / str(number))
    shutil.copy(tmp_path / "1" / "model.safetensors", tmp_path / "0" / "model.safetensors")
    for load in (load_pipeline, load_scorer, load_checkpoint):
        with pytest.raises(ValueError, match=r"model\.safetensors: the weights are damaged \(checksum differs\)"):
            load(tmp_path / "0")


def test_a_failed_save_changes_nothing(two_models, data, tmp_path, monkeypatch):
    save_pipeline(two_models[0], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TypeError):
        save_pipeline(two_models[1], tmp_path, record={"a": object()})

    def full_disk(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("biot_bd.training.persistence.pipelines.write_json", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_pipeline(two_models[1], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
