"""Fine-tuned nets that are killed, saved, cloned, pickled, searched and watched."""

import pickle
import sys
import warnings

import numpy as np
import pytest
import torch
from finetune_spy import Spy, changed, snapshot
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_data import small

from biot_bd import PercentileScaler
from biot_bd.exceptions import MissingExtraError
from biot_bd.models.biot import BIOT
from biot_bd.models.checkpoints.saving import save_checkpoint
from biot_bd.training import BIOTClassifier, load_pipeline, save_pipeline
from biot_bd.training.finetuning import EMA, AdaLoRA, Cosine, Gradual, LayerDecay, LinearProbe, LoRA, Mixup, TwoStage

SETTINGS = {"max_epochs": 6, "patience": 4, "module__num_layers": 2, "lr": 0.02}
RECIPES = {
    "gradual": Gradual(2, 1),
    "two-stage": ["no-decay", TwoStage(2, 0.3), LayerDecay(0.7)],
    "full-ema": ["full", EMA(0.9), Mixup(0.3), Cosine(1)],
    "gradual-all": ["gradual", "ema", "mixup", "cosine", "layer-decay", "no-decay"],
    "lora": ["lora", "ema", "warm-up"],
    "adalora": [AdaLoRA(init_r=4, target_r=2, every=2), "ema"],
}


def recipe(name):
    if "lora" in name:
        pytest.importorskip("peft")
    return RECIPES[name]


# --- restart points ---------------------------------------------------------------------------------------


class Killed(Exception):
    pass


class KillIn(Callback):
    """Stop the fit as a kill would, in the middle of an epoch."""

    epoch = None

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == type(self).epoch:
            raise Killed


@pytest.mark.parametrize("epoch", [pytest.param(2, marks=pytest.mark.slow), 4, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RECIPES)
def test_a_fit_taken_up_again_equals_one_that_was_not_stopped(data, tmp_path, name, epoch, monkeypatch):
    x, y, groups = data

    def net(folder):
        settings = {**SETTINGS, "patience": 6, "callbacks": [("kill", KillIn())]}
        return small(finetune=recipe(name), restart_dir=folder, **settings)

    whole = net(None).fit(x, y, groups=groups)
    monkeypatch.setattr(KillIn, "epoch", epoch)
    with pytest.raises(Killed):
        net(tmp_path).fit(x, y, groups=groups)
    monkeypatch.setattr(KillIn, "epoch", None)
    again = net(tmp_path)
    seen = []
    again.on_epoch_begin = lambda net, **kw: (seen.append(len(net.history)), type(net).on_epoch_begin(net, net, **kw))
    again.fit(x, y, groups=groups)
    assert seen[0] == epoch - 1
    for column in ("train_loss", "valid_loss", "gradient_norm"):
        assert whole.history[:, column] == again.history[:, column]
    assert not changed(snapshot(whole), snapshot(again))
    groups_of = [[(g["name"], g["lr"]) for g in n.optimizer_.param_groups] for n in (whole, again)]
    assert groups_of[0] == groups_of[1]
    finished = net(tmp_path)
    finished.train_step = None  # a step would fail
    assert not changed(snapshot(whole), snapshot(finished.fit(x, y, groups=groups)))


# --- copies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_saved_pickled_and_cloned(data, tmp_path, name):
    x, y, groups = data
    net = small(finetune=recipe(name), **SETTINGS).fit(x, y, groups=groups)
    assert set(net.module_.state_dict()) == set(BIOT(16, 2, 2, n_chans=4, n_times=300, n_outputs=2).state_dict())
    expected = net.predict_proba(x)
    save_pipeline(net, tmp_path)
    loaded = load_pipeline(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(x), expected)
    assert repr(loaded.finetune) == repr(net.finetune)
    copy = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(copy.predict_proba(x), expected)
    assert [len(g["params"]) for g in copy.optimizer_.param_groups] == [
        len(g["params"]) for g in net.optimizer_.param_groups
    ]
    again = clone(net).fit(x, y, groups=groups)
    np.testing.assert_array_equal(again.predict_proba(x), expected)
    # What was loaded can be trained again, in the same way.
    np.testing.assert_array_equal(loaded.fit(x, y, groups=groups).predict_proba(x), expected)


def test_parameters_of_a_name_are_saved(data, tmp_path):
    x, y, groups = data
    net = small(finetune="two-stage", finetune__head_epochs=2, **SETTINGS).fit(x, y, groups=groups)
    save_pipeline(net, tmp_path)
    assert load_pipeline(tmp_path).get_params()["finetune__head_epochs"] == 2


def test_in_a_grid(data):
    x, y, groups = data
    pipeline = make_pipeline(PercentileScaler(), small(max_epochs=4, patience=None, train_split=None))
    grid = [
        {
            "biotclassifier__finetune": [
                None,
                "linear-probe",
                ["gradual", LayerDecay(0.5)],
                Gradual(),
                ["full", "ema"],
                LinearProbe(),
            ]
        },
        {"biotclassifier__finetune": [TwoStage(1)], "biotclassifier__finetune__factor": [0.1, 0.5]},
        {"biotclassifier__finetune": ["two-stage"], "biotclassifier__finetune__head_epochs": [1, 2]},
    ]
    search = GridSearchCV(pipeline, grid, cv=GroupKFold(2), scoring="roc_auc", error_score="raise", refit=False)
    search.fit(x, y, groups=groups)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 10
    assert np.isfinite(scores).all()
    assert scores[1] == scores[5]
    assert len(set(scores)) > 3


# --- TensorBoard ------------------------------------------------------------------------------------------


def test_tensorboard_has_a_rate_for_every_group(data, tmp_path):
    x, y, groups = data
    recipe = ["gradual", LayerDecay(0.5), "cosine"]
    net = small(finetune=recipe, **{**SETTINGS, "patience": None}, log_dir=tmp_path).fit(x, y, groups=groups)
    events = EventAccumulator(str(tmp_path)).Reload()
    curves = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"] if tag.startswith("learning_rate")}
    assert set(curves) == {f"learning_rate/{name}" for name in ("head", "block-2", "block-1", "embedding")}
    assert [event.step for event in curves["learning_rate/block-1"]] == [3, 4, 5, 6]
    assert curves["learning_rate/embedding"][-1].value == pytest.approx(net.lr * 0.01 * 0.125, rel=1e-6)


# --- LoRA -------------------------------------------------------------------------------------------------


def trainable(module):
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def lora_net(**kwargs):
    pytest.importorskip("peft")
    return small(finetune=LoRA(**kwargs), **{**SETTINGS, "patience": None, "max_epochs": 2})


def test_lora_trains_the_head_and_the_updates_of_queries_and_values(data):
    pytest.importorskip("peft")
    x, y, groups = data
    module = BIOT(n_chans=16, n_times=2000, n_outputs=2)
    net = BIOTClassifier(finetune="lora", module__n_chans=4, max_epochs=0, patience=None, random_state=0)
    counted = {}

    class Count(Callback):
        def on_train_begin(self, net, **kwargs):
            counted.update({name: p.numel() for name, p in trainable(net.module_).items()})
            counted["in groups"] = sum(p.numel() for g in net.optimizer_.param_groups for p in g["params"])

    net.set_params(callbacks=[Count()]).fit(x, y, groups=groups)
    # Two maps of 256 x 256 a layer, each with A (8, 256) and B (256, 8), and the head.
    expected = 4 * 2 * 2 * 8 * 256 + 256 * 2 + 2
    assert expected == 33_282
    assert counted.pop("in groups") == sum(counted.values()) == expected
    assert set(net.module_.state_dict()) == set(module.state_dict())


def test_merging_adds_the_scaled_product():
    pytest.importorskip("peft")
    torch.manual_seed(0)
    module = BIOT(16, 2, 2, n_chans=4, n_times=300, n_outputs=2).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    x = torch.randn(5, 4, 300)
    rule = LoRA(r=3, alpha=6.0)
    plain = module(x)
    assert rule.prepare(module)
    assert not rule.prepare(module)
    torch.testing.assert_close(module(x), plain)  # B is 0 at first
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    tuned = module(x)
    assert not torch.allclose(tuned, plain, atol=1e-3)
    factors = {name: value.clone() for name, value in module.state_dict().items() if "lora_" in name}
    rule.finish(module)
    torch.testing.assert_close(module(x), tuned, rtol=1e-5, atol=1e-5)
    for name, value in module.state_dict().items():
        path = name.removesuffix(".weight")
        if f"{path}.lora_A.default.weight" in factors:
            a, b = factors[f"{path}.lora_A.default.weight"], factors[f"{path}.lora_B.default.weight"]
            torch.testing.assert_close(value, before[name] + 6.0 / 3 * b @ a)
        else:
            assert torch.equal(value, before[name]), name
    assert set(before) == set(module.state_dict())


def test_lora_freezes_all_other_weights_and_predicts_the_same_after_merging(data):
    x, y, groups = data
    net = lora_net(r=2)
    spy = Spy()
    logits = []
    spy.on_train_end = lambda net, **kwargs: logits.append(net.predict_proba(x))
    net.set_params(callbacks=[spy]).fit(x, y, groups=groups)
    moved = changed(spy.start_, spy.weights_[-1])
    assert moved == {name for name in spy.start_ if "lora_" in name or name.startswith("final_layer")}
    np.testing.assert_allclose(net.predict_proba(x), logits[0], atol=1e-6)
    plain = {name.replace(".base_layer.", "."): value for name, value in spy.start_.items() if "lora_" not in name}
    tuned = changed(plain, snapshot(net))
    assert tuned == {n for n in plain if ".to_q." in n or ".to_v." in n or n.startswith("final_layer")}
    assert all(p.requires_grad for p in net.module_.parameters())


def test_lora_finds_the_attention_of_vision_transformers(data):
    pytest.importorskip("peft")
    x, y, groups = data
    sizes = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
    settings = {"batch_size": 8, "max_epochs": 1, "device": "cpu", "random_state": 0}
    net = BIOTClassifier("masked-vit", finetune="lora", callbacks=[spy := Spy()], **sizes, **settings)
    net.fit(x, y, groups=groups)
    plain = {name.replace(".base_layer.", "."): value for name, value in spy.start_.items() if "lora_" not in name}
    assert changed(plain, snapshot(net)) == {
        n for n in plain if n.endswith("qkv.weight") or n.startswith("final_layer")
    }


def test_lora_goes_on_in_partial_fit(data):
    x, y, groups = data
    net = lora_net().fit(x, y, groups=groups)
    first = snapshot(net)
    net.partial_fit(x, y, groups=groups)
    moved = changed(first, snapshot(net))
    assert moved == {n for n in first if ".to_q." in n or ".to_v." in n or n.startswith("final_layer")}
    assert len(net.history) == 4


def test_lora_does_not_warn(data):
    x, y, groups = data
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        lora_net().fit(x, y, groups=groups)


def test_lora_needs_linear_maps_of_these_names(data):
    x, y, groups = data
    with pytest.raises(
        ValueError, match=r"no linear map called query; its linear maps are called: .*to_q.*give targets="
    ):
        lora_net(targets=["query"]).fit(x, y, groups=groups)
    net = lora_net(targets=["w1"]).fit(x, y, groups=groups)
    assert len(net.optimizer_.param_groups) == 3
    with pytest.raises(ValueError, match="compile=False"):
        lora_net().set_params(compile=True).fit(x, y, groups=groups)


def test_without_peft_the_error_names_the_extra(data, monkeypatch):
    x, y, groups = data
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'biot-bd\[lora\]'"):
        small(finetune="lora").fit(x, y, groups=groups)


# --- from a checkpoint ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear-probe", "gradual", "two-stage", "lora", "gradual-all"])
def test_from_a_checkpoint(data, tmp_path, name):
    x, y, groups = data
    torch.manual_seed(3)
    source = BIOT(16, 2, 2, n_chans=4, n_times=300, n_outputs=2)
    save_checkpoint(source, tmp_path / "encoder.ckpt", ["other/01"])
    spy = Spy()
    settings = {**SETTINGS, "patience": None, "pretrained": tmp_path / "encoder.ckpt", "callbacks": [spy]}
    net = small(finetune=RECIPES.get(name, name), **settings).fit(x, y, groups=groups)
    loaded = {key.replace(".base_layer.", "."): value for key, value in spy.start_.items() if "lora_" not in key}
    heads = {key for key in loaded if key.startswith("final_layer")}
    assert changed(source.state_dict(), loaded) <= heads
    after = changed(loaded, snapshot(net))
    if name == "linear-probe":
        assert after == heads
    elif name == "lora":
        assert after == heads | {key for key in loaded if ".to_q." in key or ".to_v." in key}
    else:
        assert after == {key for key, _ in net.module_.named_parameters()}
        assert changed(loaded, spy.weights_[0]) == heads
    save_pipeline(net.set_params(callbacks=None), tmp_path / "saved")
    np.testing.assert_array_equal(load_pipeline(tmp_path / "saved").predict_proba(x), net.predict_proba(x))
