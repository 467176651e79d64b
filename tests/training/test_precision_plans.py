"""Precision and micro-batch: chosen, told, kept, and never a silent loss of precision."""

import json
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn
from training_data import make_data, small

from biot_bd import BIOT
from biot_bd.models.inference_plan import PrecisionPlan
from biot_bd.training import BIOTClassifier, load_pipeline, save_pipeline
from biot_bd.training import precision_plans as plans
from biot_bd.training.precision_plans import activation_bytes, precision_context


class Steep(nn.Module):
    """Small differences of large numbers, which bf16 cannot tell apart."""

    def __init__(self, n_chans, n_times, n_outputs):
        super().__init__()
        self.out = nn.Sequential(nn.Flatten(), nn.Linear(n_chans * n_times, n_outputs))

    def forward(self, x):
        return self.out(x + 100) - self.out(torch.full_like(x, 100))


class Broken(Exception):
    pass


class Break(Callback):
    def __init__(self, file):
        self.file = file

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3 and self.file.exists():
            raise Broken


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Have tiny models measured as large ones are; returns the file of kept choices."""
    monkeypatch.setattr(plans, "WORTH_BYTES", 0)
    monkeypatch.setenv("BIOT_BD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "precision.json"


def fast(precision):
    """Make the timing come out so that ``precision`` in micro-batches of 8 is the fastest."""

    def seconds(module, x, plan):
        return {precision: 1.0}.get(plan.precision, 5.0) * (1 + abs(math.log2((plan.micro_batch or 64) / 8)))

    return seconds


# --- parameters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"precision": "half"}, {"precision": None}, {"micro_batch": 0}, {"micro_batch": "some"}, {"micro_batch": True}],
)
def test_what_there_is_not(data, wrong):
    x, y, groups = data
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be"):
        small(**wrong).fit(x, y, groups=groups)


def test_parameters_survive(data, tmp_path):
    x, y, groups = data
    net = small(precision="bf16", micro_batch=4)
    before = net.get_params()
    assert (before["precision"], before["micro_batch"]) == ("bf16", 4)
    net.fit(x, y, groups=groups)
    assert net.get_params() == before
    assert clone(net).get_params()["micro_batch"] == 4
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict_proba(x), net.predict_proba(x))
    save_pipeline(net, tmp_path)
    saved = json.loads((tmp_path / "pipeline.json").read_text())["pipeline"]["fitted"]
    assert saved["training_plan"] == {"precision": "bf16", "micro_batch": 4}
    loaded = load_pipeline(tmp_path)
    assert loaded.get_params()["precision"] == "bf16"
    assert loaded.module_.inference_plan == PrecisionPlan("bf16", 4)
    assert loaded.precision_ == "bf16"
    np.testing.assert_array_equal(loaded.predict_proba(x), net.predict_proba(x))
    assert loaded.precision_report_["max_difference"] is not None


def test_the_default_changes_nothing(data):
    x, y, groups = data
    one, other = (
        small(**kwargs).fit(x, y, groups=groups) for kwargs in ({}, {"precision": "fp32", "micro_batch": None})
    )
    assert one.facts_.training_plan == one.facts_.inference_plan == PrecisionPlan("fp32", None)
    np.testing.assert_array_equal(one.predict_proba(x), other.predict_proba(x))


# --- a choice ---------------------------------------------------------------------------------------------


def test_auto_is_measured_once_and_told(data, measured, monkeypatch, capfd):
    x, y, groups = data
    monkeypatch.setattr(plans, "has_fast", lambda precision, device: precision != "tf32")
    monkeypatch.setattr(plans, "_seconds", fast("bf16"))
    settings = {"precision": "auto", "batch_size": 48, "max_epochs": 1, "verbose": 1, "module__num_layers": 2}
    net = small(**settings).fit(x, y, groups=groups)
    assert net.facts_.training_plan == PrecisionPlan("bf16", 8)
    assert set(net.precision_report_["seconds_a_window"]["training"]) == {
        f"{c}, {m}" for c in ("fp32", "bf16") for m in (8, 16, 32, "whole")
    }
    assert net.precision_report_["wanted"] == {"precision": "auto", "micro_batch": "auto"}
    assert "training in bf16 in micro-batches of 8" in capfd.readouterr().err
    assert measured.is_file()

    def never(*args):
        raise AssertionError("measured again")

    monkeypatch.setattr(plans, "_measure", never)
    again = small(**settings).fit(x, y, groups=groups)
    assert again.facts_.training_plan == net.facts_.training_plan
    assert again.facts_.inference_plan == net.facts_.inference_plan
    np.testing.assert_array_equal(again.predict_proba(x), net.predict_proba(x))


def test_a_real_measurement_leaves_the_net_alone(data, measured):
    x, y, _ = data
    torch.manual_seed(0)
    net = small(max_epochs=0, train_split=None, batch_size=40, random_state=None, warm_start=True).fit(x, y)
    before, state = {k: v.clone() for k, v in net.module_.state_dict().items()}, torch.get_rng_state()
    net.partial_fit(x, y)
    assert net.facts_.training_plan.micro_batch in (8, 16, 32, None)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[k], v) for k, v in net.module_.state_dict().items())
    assert all(p.grad is None for p in net.module_.parameters())


def test_a_small_gain_keeps_fp32(measured, monkeypatch):
    monkeypatch.setattr(plans, "has_fast", lambda precision, device: precision != "tf32")
    model = BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=4, n_times=300, n_outputs=2)
    monkeypatch.setattr(plans, "_seconds", lambda module, x, plan: 0.95 if plan.precision == "bf16" else 1.0)
    assert plans.training_plan(model, torch.zeros(2, 4, 300), 40, "auto", "auto")[0].precision == "fp32"


def test_activations_of_full_size():
    model = BIOT(n_chans=16, n_times=2000, n_outputs=2)
    assert activation_bytes(model, 1) == pytest.approx(25e6, rel=0.05)
    assert activation_bytes(nn.Linear(3, 2), 100) == 0


def test_large_batches_of_a_full_size_biot_are_split_on_a_cpu():
    model = BIOT(n_chans=16, n_times=2000, n_outputs=2)
    assert plans._sizes(model, torch.device("cpu"), 512, "auto") == [8, 16, 32, 64]
    assert plans._sizes(model, torch.device("cpu"), 16, "auto") == [None]
    assert plans._sizes(model, torch.device("cpu"), 512, 600) == [None]


# --- restart ----------------------------------------------------------------------------------------------


def test_a_resumed_fit_keeps_its_micro_batches(data, measured, monkeypatch, tmp_path):
    x, y, groups = data
    file = tmp_path / "break"
    settings = {"restart_dir": tmp_path / "r", "max_epochs": 5, "patience": None, "batch_size": 40}
    monkeypatch.setattr(plans, "_seconds", fast("fp32"))
    whole = small(**{**settings, "restart_dir": None}).fit(x, y, groups=groups)
    assert whole.facts_.training_plan.micro_batch == 8
    file.touch()
    with pytest.raises(Broken):
        small(callbacks=[("break", Break(file))], **settings).fit(x, y, groups=groups)
    file.unlink()
    # Another machine, where other sizes are faster: the fit goes on with its own.
    measured.unlink()
    monkeypatch.setattr(plans, "_seconds", lambda module, x, plan: 1.0 / (plan.micro_batch or 1))
    again = small(callbacks=[("break", Break(file))], **settings).fit(x, y, groups=groups)
    assert len(again.history) == 5
    assert again.facts_.training_plan == whole.facts_.training_plan
    assert again.facts_.inference_plan == whole.facts_.inference_plan
    assert again.precision_report_["training_plan"]["micro_batch"] == 8
    for name, value in whole.module_.state_dict().items():
        assert torch.equal(again.module_.state_dict()[name], value)


# --- precision --------------------------------------------------------------------------------------------


def test_low_precision_that_matters_falls_back(data):
    x, y, _ = data
    settings = {"module": Steep, "max_epochs": 1, "lr": 1e-6, "random_state": 0, "device": "cpu", "train_split": None}
    with pytest.warns(UserWarning, match=r"in bf16 differ by up to 0\.\d+ .*predictions are made in fp32"):
        net = BIOTClassifier(precision="bf16", **settings).fit(x, y)
    assert net.precision_ == "fp32"
    assert net.precision_report_["training_plan"]["precision"] == "bf16"
    assert net.precision_report_["max_difference"] > 1e-2
    assert "differ by up to" in net.precision_report_["notes"][-1]
    logits = net.module_(torch.from_numpy(x)).detach()
    np.testing.assert_array_equal(net.predict_proba(x), logits.softmax(1).numpy())


def test_a_loaded_model_is_checked_on_the_data_at_hand(data, tmp_path):
    x, y, groups = data
    net = small(precision="bf16", max_epochs=1, lr=1e-5).fit(x, y, groups=groups)
    assert net.precision_ == "bf16"
    assert net.precision_report_["max_difference"] < 1e-2
    x = x[:20]
    with torch.no_grad():  # logits so large that their rounding decides
        net.module_.final_layer[1].weight.mul_(1e5)
        logits = net.module_(torch.from_numpy(x))
        net.module_.final_layer[1].bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    net._note_weights()  # as if training had made them
    save_pipeline(net, tmp_path)
    loaded = load_pipeline(tmp_path)
    with pytest.warns(UserWarning, match="predictions are made in fp32"):
        proba = loaded.predict_proba(x)
    assert loaded.precision_ == "fp32"
    exact = load_pipeline(tmp_path).set_params(precision="fp32")
    np.testing.assert_array_equal(exact.predict_proba(x), proba)
    with warnings.catch_warnings():  # once is enough
        warnings.simplefilter("error")
        loaded.predict_proba(x)


def test_set_params_after_fit_counts(data):
    x, y, groups = data
    net = small(max_epochs=1).fit(x, y, groups=groups)
    exact = net.predict_proba(x)
    low = net.set_params(precision="bf16").predict_proba(x)
    assert net.precision_ == "bf16"
    assert 0 < np.abs(low - exact).max() < 1e-2
    np.testing.assert_array_equal(net.set_params(precision="fp32").predict_proba(x), exact)


def test_other_modules_predict_in_micro_batches(data):
    x, y, groups = data
    sizes = []

    class Watched(Steep):
        def forward(self, x):
            sizes.append(len(x))
            return self.out(x)

    net = BIOTClassifier(Watched, micro_batch=7, max_epochs=1, lr=1e-4, device="cpu").fit(x, y, groups=groups)
    sizes.clear()
    proba = net.predict_proba(x)
    assert sizes == [7] * 8 + [4]
    np.testing.assert_allclose(proba, net.set_params(micro_batch=None).predict_proba(x), atol=1e-6)
    assert sizes[-1] == len(x)


def test_tf32_is_switched_on_for_gpus_and_back():
    flags = torch.backends.cuda.matmul
    before = flags.allow_tf32
    with precision_context("tf32", "cuda"):
        assert flags.allow_tf32
    assert flags.allow_tf32 == before
    with precision_context("tf32", "cpu"):
        assert flags.allow_tf32 == before


def test_scores_of_an_epoch_in_low_precision_are_close(data):
    x, y, groups = data
    low, exact = (small(precision=c, max_epochs=1).fit(x, y, groups=groups) for c in ("bf16", "fp32"))
    assert low.history[0, "valid_loss"] == pytest.approx(exact.history[0, "valid_loss"], abs=2e-2)
    assert low.history[0, "valid_loss"] != exact.history[0, "valid_loss"]


def test_batches_of_another_size(data):
    x, y, groups = make_data(per_subject=30)
    net = small(max_epochs=1, micro_batch=16, iterator_valid__batch_size=150).fit(x, y, groups=groups)
    np.testing.assert_allclose(net.predict_proba(x), net.set_params(micro_batch=None).predict_proba(x), atol=1e-6)
