"""Fine-tuning while it trains: frozen to the bit, thawed in order, rates and losses in closed form."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from finetune_spy import Spy, changed, snapshot
from skorch.callbacks import LRScheduler
from torch import nn
from training_data import small

from biot_bd.models.biot import BIOT
from biot_bd.training import BIOTClassifier
from biot_bd.training.finetuning import (
    EMA,
    Cosine,
    Discriminative,
    Gradual,
    LabelSmoothing,
    LayerDecay,
    Mixup,
    TwoStage,
    WarmUp,
)
from biot_bd.training.finetuning.parameter_groups import model_parts, undecayed

MOMENTUM = {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9, "optimizer__weight_decay": 0.1, "lr": 1e-3}
ADAMW = {"optimizer": torch.optim.AdamW, "optimizer__weight_decay": 0.5}
OPTIMIZERS = pytest.mark.parametrize("optimizer", [MOMENTUM, ADAMW], ids=["sgd", "adamw"])
PARTS = ["head", "block-2", "block-1", "embedding"]


def tune(data, finetune, plain=False, **kwargs):
    """Fit without early stopping and return the net and what the spy saw; ``plain``: no parameters of BIOT."""
    x, y, groups = data
    spy = Spy()
    settings = {"max_epochs": 4, "patience": None, "callbacks": [spy]}
    settings |= {"batch_size": 16, "random_state": 0, "device": "cpu"} if plain else {"module__num_layers": 2}
    net = (BIOTClassifier if plain else small)(finetune=finetune, **{**settings, **kwargs})
    return net.fit(x, y, groups=groups), spy


def names_of(net):
    return {part.name: set(part.parameters) for part in model_parts(net.module_)}


def same_weights(a, b):
    return not changed(snapshot(a), snapshot(b)) and a.history[:, "train_loss"] == b.history[:, "train_loss"]


# --- frozen and thawed ------------------------------------------------------------------------------------


@OPTIMIZERS
def test_linear_probe_changes_the_head_and_no_bit_else(data, optimizer):
    net, spy = tune(data, "linear-probe", **optimizer)
    assert changed(spy.start_, spy.weights_[-1]) == names_of(net)["head"]
    assert spy.groups_[-1] == {"head": names_of(net)["head"]}


@OPTIMIZERS
def test_gradual_thaws_from_the_last_block_to_the_first(data, optimizer):
    net, spy = tune(data, Gradual(epochs_per_block=1, head_epochs=2), max_epochs=6, **optimizer)
    names = names_of(net)
    before = spy.start_
    for epoch, n_thawed in enumerate([0, 0, 1, 2, 3, 3]):
        live = PARTS[: 1 + n_thawed]
        assert list(spy.groups_[epoch]) == live
        assert spy.groups_[epoch] == {name: names[name] for name in live}
        assert changed(before, spy.weights_[epoch]) == set().union(*(names[name] for name in live)), epoch
        before = spy.weights_[epoch]


@OPTIMIZERS
def test_two_stages(data, optimizer):
    net, spy = tune(data, TwoStage(head_epochs=2, factor=0.5), **optimizer)
    names = names_of(net)
    assert changed(spy.start_, spy.weights_[1]) == names["head"]
    assert changed(spy.weights_[1], spy.weights_[2]) == set().union(*names.values())
    assert [list(groups) for groups in spy.groups_] == [["head"], ["head"], PARTS, PARTS]
    assert [rates["head"] / net.lr for rates in spy.rates_] == [1, 1, 0.5, 0.5]
    assert spy.rates_[2]["embedding"] / net.lr == 0.5


def test_dropout_is_off_in_frozen_blocks_and_on_in_others(data):
    def dropouts(spy, epoch):
        return {name for name in spy.on_[epoch] if isinstance(net.module_.get_submodule(name), nn.Dropout)}

    net, spy = tune(data, "gradual", max_epochs=5)
    every = {name for name, child in net.module_.named_modules() if isinstance(child, nn.Dropout)}
    layer = "encoder.transformer.layers.layers.{}."
    assert dropouts(spy, 0) == set()
    assert dropouts(spy, 1) == {name for name in every if name.startswith(layer.format(1))} != set()
    assert dropouts(spy, 2) == {name for name in every if "transformer" in name}
    assert dropouts(spy, 3) == every
    assert "encoder.positional_encoding.dropout" in every


def test_running_statistics_stand_still(data):
    net, spy = tune(data, "linear-probe", plain=True, module="eegnet", module__sfreq=100)
    assert any(name.endswith("running_mean") for name in spy.start_)
    assert changed(spy.start_, spy.weights_[-1]) == names_of(net)["head"]


def test_a_frozen_forward_pass_is_that_of_eval_mode(data):
    x, y, groups = data
    net, _ = tune(data, "linear-probe", max_epochs=1, batch_size=-1, lr=0.0)
    net.module_.eval()
    with torch.no_grad():
        logits = net.module_(torch.from_numpy(x[np.isin(groups, net.train_subjects_)]))
    expected = net.criterion_(logits, torch.from_numpy(y[np.isin(groups, net.train_subjects_)]))
    assert net.history[0, "train_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_full_is_training_without_a_recipe_to_the_bit(data):
    assert same_weights(tune(data, None)[0], tune(data, "full")[0])


def test_fits_again_from_the_start(data):
    x, y, groups = data
    net, _ = tune(data, ["gradual", "ema", "cosine"])
    first = snapshot(net)
    net.fit(x, y, groups=groups)
    assert not changed(first, snapshot(net))
    assert all(p.requires_grad for p in net.module_.parameters())


@pytest.mark.filterwarnings("ignore:Gradual:UserWarning")
def test_partial_fit_goes_on_thawing(data):
    x, y, groups = data
    net, spy = tune(data, Gradual(), max_epochs=2)
    assert list(spy.groups_[-1]) == PARTS[:2]
    net.partial_fit(x, y, groups=groups)
    assert [list(g) for g in spy.groups_] == [PARTS[:3], PARTS]


@pytest.mark.filterwarnings("ignore:Gradual:UserWarning")
def test_new_rate_in_partial_fit_keeps_ratios(data):
    x, y, groups = data
    net, spy = tune(data, [Gradual(9), LayerDecay(0.5)], max_epochs=2)
    net.set_params(lr=0.5)
    net.partial_fit(x, y, groups=groups)
    assert spy.rates_[-1] == {"head": 0.5, "block-2": 0.25}
    net, spy = tune(data, LayerDecay(0.5), max_epochs=1)
    net.set_params(lr=0.5)
    net.partial_fit(x, y, groups=groups)
    assert spy.rates_[-1] == {"head": 0.5, "block-2": 0.25, "block-1": 0.125, "embedding": 0.0625}


def test_too_few_epochs_are_warned_of(data):
    with pytest.warns(UserWarning, match="only 1 of 3 blocks thaw within max_epochs=2"):
        tune(data, "gradual", max_epochs=2)


# --- rates ------------------------------------------------------------------------------------------------


def test_rates_of_all_groups_in_closed_form(data):
    recipe = [TwoStage(2, 0.1), LayerDecay(0.5), Discriminative(0.2), Cosine(warmup_epochs=1.5, final=0.02)]
    net, spy = tune(data, recipe, max_epochs=6)
    fixed = {"head": 1.0, "block-2": 0.1, "block-1": 0.05, "embedding": 0.025}
    for epoch in range(1, 7):
        schedule = epoch / 1.5 if epoch < 1.5 else 0.02 + 0.49 * (1 + math.cos(math.pi * (epoch - 1.5) / 4.5))
        stage = 1.0 if epoch <= 2 else 0.1
        live = fixed if epoch > 2 else {"head": 1.0}
        expected = {name: net.lr * stage * schedule * factor for name, factor in live.items()}
        assert spy.rates_[epoch - 1] == pytest.approx(expected, rel=1e-12)


def test_rates_of_every_step(data):
    _, spy = tune(data, WarmUp(2.0), max_epochs=3)
    n = len(spy.steps_) // 3
    assert n > 1
    assert [s["model"] for s in spy.steps_] == pytest.approx(
        [1e-2 * min(1, (i + 1) / (2 * n)) for i in range(3 * n)], rel=1e-12
    )


def test_a_schedule_keeps_the_ratios_that_eta_min_would_not(data):
    _, spy = tune(data, [LayerDecay(0.1), Cosine(final=1e-4)])
    for step in spy.steps_:
        assert [step[name] / step["head"] for name in PARTS] == pytest.approx([1, 0.1, 0.01, 0.001])


def test_discriminative_rates_are_those_of_skorch_groups(data):
    ours, _ = tune(data, Discriminative(0.1))
    theirs, _ = tune(data, None, optimizer__param_groups=[("encoder*", {"lr": 0.1 * ours.lr})])
    assert same_weights(ours, theirs)


def test_weight_decay_spares_what_it_should(data):
    net, spy = tune(data, ["gradual", "no-decay"], max_epochs=4, **ADAMW)
    spared = undecayed(net.module_)
    for group in net.optimizer_.param_groups:
        members = spy.groups_[-1][group["name"]]
        assert members <= spared if group["weight_decay"] == 0 else not members & spared
        assert group["weight_decay"] in (0.0, 0.5)
        assert group["name"].endswith("-no-decay") == (group["weight_decay"] == 0)
    assert set().union(*spy.groups_[-1].values()) == {name for name, _ in net.module_.named_parameters()}


def test_learnable_parameters_of_a_loss_are_trained(data):
    net, _ = tune(data, "linear-probe", criterion=ScaledLoss)
    assert float(net.criterion_.scale.detach()) != 1.0
    assert net.optimizer_.param_groups[-1]["name"] == "loss"


class ScaledLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, logits, y):
        return F.cross_entropy(logits * self.scale, y)


# --- targets ----------------------------------------------------------------------------------------------


def test_label_smoothing_is_that_of_the_loss(data):
    ours, _ = tune(data, LabelSmoothing(0.2), criterion="cross-entropy")
    theirs, _ = tune(data, None, criterion="cross-entropy", criterion__label_smoothing=0.2)
    plain, _ = tune(data, None, criterion="cross-entropy")
    assert same_weights(ours, theirs)
    assert not same_weights(ours, plain)
    with pytest.raises(ValueError, match="not both"):
        small(finetune=LabelSmoothing(), criterion="cross-entropy", criterion__label_smoothing=0.1).fit(*data)


def test_mixup_is_cross_entropy_with_soft_targets(data):
    x, y = torch.from_numpy(data[0][:12]), torch.from_numpy(data[1][:12])
    net, _ = tune(data, ["linear-probe", Mixup(1.0)], criterion="cross-entropy", max_epochs=1)
    torch.manual_seed(5)
    step = net.train_step_single((x, y))
    torch.manual_seed(5)
    share, partners = Mixup(1.0).draw(x)
    assert 0 < share < 1
    target = share * F.one_hot(y, 2) + (1 - share) * F.one_hot(y[partners], 2)
    logits = net.module_(share * x + (1 - share) * x[partners])
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(step["loss"], expected)
    # A pass without training sees neither mixtures nor soft targets.
    torch.testing.assert_close(net.validation_step((x, y))["loss"], F.cross_entropy(net.forward(x), y))


def test_mixup_with_absent_channels(data):
    x, y, groups = data
    x = x.copy()
    x[::3, 1] = np.nan
    tune((x, y, groups), Mixup(0.4))


# --- averaged weights -------------------------------------------------------------------------------------


def test_averages_in_closed_form_and_training_goes_on_as_without(data):
    net, spy = tune(data, EMA(0.8, warm_up=False), max_epochs=3)
    plain, raw = tune(data, None, max_epochs=3)
    assert net.history[:, "train_loss"] == plain.history[:, "train_loss"]
    average = {name: value.double() for name, value in raw.start_.items()}
    for epoch in range(3):
        for mine, weights in zip(spy.raw_[epoch], raw.raw_[epoch], strict=True):
            assert not changed(mine, weights)
            average = {name: 0.8 * value + 0.2 * weights[name].double() for name, value in average.items()}
        for name, value in spy.weights_[epoch].items():
            torch.testing.assert_close(value.double(), average[name], rtol=1e-5, atol=1e-6)
    assert not changed(snapshot(net), spy.weights_[-1])


def test_the_best_average_is_taken(data):
    net, spy = tune(data, ["full", EMA(0.5)], max_epochs=6, patience=2, lr=0.1)
    best = dict(net.callbacks_)["early_stopping"].best_epoch_
    assert not changed(snapshot(net), spy.weights_[best - 1])
    net.module_.eval()
    x, y, groups = data
    valid = np.isin(groups, net.valid_subjects_)
    with torch.no_grad():
        loss = net.criterion_(net.module_(torch.from_numpy(x[valid])), torch.from_numpy(y[valid]))
    assert net.history[best - 1, "valid_loss"] == pytest.approx(float(loss), rel=1e-4)


# --- together with others ---------------------------------------------------------------------------------


@pytest.mark.parametrize("finetune", ["linear-probe", ["gradual", "ema", "cosine", "mixup"]])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision(data, finetune, precision):
    net, spy = tune(data, finetune, precision=precision)
    assert np.isfinite(net.history[:, "train_loss"]).all()
    assert changed(spy.start_, spy.weights_[0]) <= names_of(net)["head"]


def test_early_stopping_while_frozen_takes_the_best_epoch(data):
    net, spy = tune(data, "gradual", max_epochs=6, patience=2)
    best = dict(net.callbacks_)["early_stopping"].best_epoch_
    assert not changed(snapshot(net), spy.weights_[best - 1])


@pytest.mark.parametrize("module", ["eegnet", "bdtcn", "shallow"])
@pytest.mark.parametrize("finetune", ["gradual", ["two-stage", "layer-decay"]])
def test_other_models(data, module, finetune):
    x, y, groups = data
    x = np.tile(x, (1, 1, 2))
    net, spy = tune((x, y, groups), finetune, plain=True, module=module, module__sfreq=100, max_epochs=7)
    head = model_parts(net.module_)[0]
    assert changed(spy.start_, spy.weights_[0]) <= set(head.parameters)
    assert set().union(*spy.groups_[-1].values()) == {name for name, _ in net.module_.named_parameters()}


def test_a_model_without_a_head_can_be_trained_in_full_only(data):
    class Bare(nn.Module):
        def __init__(self, n_chans, n_times, n_outputs):
            super().__init__()
            self.out = nn.Linear(n_chans * n_times, n_outputs)

        def forward(self, x):
            return self.out(x.flatten(1))

    settings = {"plain": True, "module": Bare, "max_epochs": 1, "lr": 1e-4}
    tune(data, ["full", "cosine", "no-decay"], **settings)
    with pytest.raises(ValueError, match="Bare cannot be split"):
        tune(data, "linear-probe", **settings)


def test_what_the_model_itself_has_fixed_stays_fixed(data):
    class Fixed(BIOT):
        def __init__(self, n_chans, n_times, n_outputs, embed_dim=16, num_heads=2, num_layers=2):
            super().__init__(embed_dim, num_heads, num_layers, n_chans=n_chans, n_times=n_times, n_outputs=n_outputs)
            self.encoder.channel_tokens.requires_grad_(False)

    net, spy = tune(data, "two-stage", module=Fixed, finetune__head_epochs=1)
    fixed = {"encoder.channel_tokens.weight"}
    assert changed(spy.start_, spy.weights_[-1]) == {name for name, _ in net.module_.named_parameters()} - fixed
    assert not net.module_.encoder.channel_tokens.weight.requires_grad


def test_what_excludes_a_recipe(data):
    x, y, groups = data
    with pytest.raises(ValueError, match="optimizer__param_groups"):
        small(finetune="full", optimizer__param_groups=[("encoder*", {"lr": 1})]).fit(x, y, groups=groups)
    with pytest.raises(ValueError, match="LRScheduler"):
        small(finetune="gradual", callbacks=[LRScheduler("StepLR", step_size=1)]).fit(x, y, groups=groups)
    with pytest.raises(ValueError, match="callbacks='disable'"):
        small(finetune="full", callbacks="disable").fit(x, y, groups=groups)
    spy = Spy()
    tune(data, LayerDecay(0.5), callbacks=[spy, LRScheduler("StepLR", step_size=1, gamma=0.5)])
    assert [spy.rates_[i]["block-2"] / 5e-3 for i in range(3)] == [1, 0.5, 0.25]


# --- the parameter schedule -------------------------------------------------------------------------------


def test_a_cosine_by_epoch_is_torchs(data):
    x, y, groups = data
    settings = {"max_epochs": 4, "patience": None, "lr": 1e-2}
    ours, theirs = Spy(), Spy()
    one = small(schedule=Cosine(final=0.01, by_epoch=True), callbacks=[ours], **settings).fit(x, y, groups=groups)
    torchs = LRScheduler("CosineAnnealingLR", T_max=4, eta_min=1e-4)
    other = small(callbacks=[theirs, ("rates", torchs)], **settings).fit(x, y, groups=groups)
    expected = [1e-4 + (1e-2 - 1e-4) * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    np.testing.assert_allclose([row["model"] for row in ours.rates_], expected, rtol=1e-12)
    for name, value in other.module_.state_dict().items():
        torch.testing.assert_close(one.module_.state_dict()[name], value, rtol=1e-6, atol=1e-7)


def test_a_schedule_goes_with_a_recipe(data):
    together, spy = tune(data, [TwoStage(2, 0.5)], max_epochs=4, schedule="cosine")
    inside, other = tune(data, [TwoStage(2, 0.5), "cosine"], max_epochs=4)
    assert spy.rates_ == other.rates_
    for name, value in inside.module_.state_dict().items():
        assert torch.equal(together.module_.state_dict()[name], value)
    with pytest.raises(ValueError, match="takes one schedule, found WarmUp and Cosine"):
        tune(data, ["warm-up"], schedule="cosine")
    with pytest.raises(ValueError, match="schedule must be None, a name"):
        tune(data, None, schedule="gradual")


def test_a_schedules_parameters_can_be_searched(data):
    net = small(schedule=Cosine(final=0.1))
    assert net.get_params()["schedule__final"] == 0.1
    assert net.set_params(schedule__final=0.5).schedule.final == 0.5
    with pytest.raises(ValueError, match=r"give an object, e.g. schedule=Cosine\(final=0.1\)"):
        small(schedule="cosine").set_params(schedule__final=0.1)
