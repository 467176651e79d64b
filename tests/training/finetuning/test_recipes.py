"""Rules of fine-tuning without training: splitting models, closed forms, names."""

import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from braindecode import models as braindecode_models
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from torch import nn
from training_data import small

from biot_bd import registry
from biot_bd.exceptions import ParameterGroupError
from biot_bd.models.biot import BIOT
from biot_bd.training.finetuning import (
    EMA,
    OPTIONS,
    Cosine,
    Discriminative,
    Full,
    Gradual,
    LabelSmoothing,
    LayerDecay,
    LinearProbe,
    LoRA,
    Mixup,
    NoDecay,
    TwoStage,
    WarmUp,
)
from biot_bd.training.finetuning.ema import Averager
from biot_bd.training.finetuning.parameter_groups import model_parts, undecayed, whole_model
from biot_bd.training.finetuning.recipes import resolve

TINY = {"embed_dim": 16, "num_heads": 2, "num_layers": 3, "n_chans": 4, "n_times": 300, "n_outputs": 2}


# --- parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [BIOT, braindecode_models.BIOT])
def test_biot_splits_into_head_layers_and_embedding(cls):
    parts = model_parts(cls(**TINY))
    assert [part.name for part in parts] == ["head", "block-3", "block-2", "block-1", "embedding"]
    assert [part.depth for part in parts] == [0, 1, 2, 3, 4]
    assert {name.split(".")[0] for name in parts[0].parameters} == {"final_layer"}
    assert all(name.startswith("encoder.transformer.layers.layers.2.") for name in parts[1].parameters)
    assert set(parts[4].parameters) == {
        "encoder.patch_embedding.projection.weight",
        "encoder.patch_embedding.projection.bias",
        "encoder.channel_tokens.weight",
    }
    assert "encoder.positional_encoding" in parts[4].modules  # its dropout is the token dropout


@pytest.mark.parametrize(
    "name", ["biot", "eegnet", "bdtcn", "eegconformer", "shallow", "deep4", "contrawr", "sparcnet"]
)
def test_every_parameter_of_a_registered_model_is_in_one_part(name):
    module = registry.models[name](n_chans=16, n_times=2000, n_outputs=2, sfreq=200)
    try:
        parts = model_parts(module)
    except ParameterGroupError as error:
        pytest.fail(f"{name}: {error}")
    names = [n for part in parts for n in part.parameters]
    assert sorted(names) == sorted(n for n, _ in module.named_parameters())
    assert all(part.parameters for part in parts)
    assert len(parts) > 1
    for part in parts:
        for path in part.modules:
            module.get_submodule(path)


def test_a_generic_model_is_split_in_order_and_dropout_goes_with_the_block_before():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(3))
            self.scale = nn.Identity()
            self.stem = nn.Linear(3, 3)
            self.norm = nn.LayerNorm(3)
            self.drop = nn.Dropout()
            self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
            self.final_layer = nn.Linear(3, 2)

    parts = model_parts(Net())
    assert [part.name for part in parts] == ["head", "layers-1", "layers-0", "stem"]
    assert parts[-1].modules == ("scale", "stem", "norm", "drop")
    assert parts[-1].parameters == ("token", "stem.weight", "stem.bias", "norm.weight", "norm.bias")


def test_a_model_without_a_head_says_so():
    class Bare(nn.Module):
        def __init__(self, n_outputs=2):
            super().__init__()
            self.out = nn.Linear(3, n_outputs)

    with pytest.raises(ParameterGroupError, match=r"Bare cannot be split .* no 'final_layer'"):
        model_parts(Bare())
    (part,) = whole_model(Bare())
    assert part.parameters == ("out.weight", "out.bias")


def test_only_a_head_leaves_nothing_to_freeze():
    module = nn.Sequential()
    module.add_module("final_layer", nn.Linear(3, 2))
    with pytest.raises(ParameterGroupError, match="nothing to freeze"):
        model_parts(module)


def test_weight_decay_spares_norms_biases_and_tokens_of_biot():
    module = BIOT(**TINY)
    spared = undecayed(module)
    for name, parameter in module.named_parameters():
        wanted = parameter.ndim == 1 or name == "encoder.channel_tokens.weight"
        assert (name in spared) == wanted, name


def test_weight_decay_spares_positions_by_name():
    module = nn.Module()
    module.pos_embed = nn.Parameter(torch.zeros(1, 4, 3))
    module.cls_token = nn.Parameter(torch.zeros(1, 1, 3))
    module.position_weights = nn.Parameter(torch.zeros(4, 3))
    module.composer = nn.Parameter(torch.zeros(4, 3))
    assert undecayed(module) == {"pos_embed", "cls_token", "position_weights"}


def test_blocks_of_models_of_braindecode():
    def names(name):
        return [
            part.name for part in model_parts(registry.models[name](n_chans=16, n_times=2000, n_outputs=2, sfreq=200))
        ]

    assert names("deep4") == ["head", "conv_4", "conv_3", "conv_2", "conv_time_spat"]
    assert names("eegconformer")[:3] == ["head", "fc", "transformer-5"]
    assert names("contrawr") == ["head", "convs-3", "convs-2", "convs-1", "convs-0"]
    assert names("sparcnet")[:2] == ["head", "encoder-transition8"]


# --- closed forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "expected"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2), (8, 2), (9, 3), (12, 4), (99, 4)]
)
def test_gradual_thaws_by_the_clock(epoch, expected):
    assert Gradual(epochs_per_block=3, head_epochs=2).n_thawed(epoch, 4) == expected


@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 8))
def test_gradual_thaws_one_block_at_a_time_and_never_back(per_block, head, n_blocks):
    counts = [Gradual(per_block, head).n_thawed(epoch, n_blocks) for epoch in range(1, 60)]
    assert all(0 <= b - a <= 1 for a, b in pairwise(counts))
    assert counts[-1] == n_blocks
    assert sum(count == 0 for count in counts) == (head if n_blocks else 59)


def test_other_strategies():
    assert [Full().n_thawed(e, 5) for e in (1, 9)] == [5, 5]
    assert [LinearProbe().n_thawed(e, 5) for e in (1, 9)] == [0, 0]
    stages = TwoStage(head_epochs=2, factor=0.1)
    assert [stages.n_thawed(e, 5) for e in (1, 2, 3)] == [0, 0, 5]
    assert [stages.rate(e) for e in (1, 2, 3)] == [1.0, 1.0, 0.1]


def test_rates():
    assert [LayerDecay(0.5).factor(d, 3) for d in range(4)] == [1, 0.5, 0.25, 0.125]
    assert [Discriminative(0.2).factor(d, 3) for d in range(4)] == [1, 0.2, 0.2, 0.2]


def test_warm_up_and_cosine():
    assert [WarmUp(2.0, 0.5).factor(p, 9) for p in (0, 1, 2, 5)] == [0.5, 0.75, 1, 1]
    assert WarmUp(0).factor(0.1, 9) == 1
    cosine = Cosine(warmup_epochs=2, final=0.1)
    assert [cosine.factor(p, 10) for p in (0, 1, 2)] == [0, 0.5, 1]
    assert cosine.factor(6, 10) == pytest.approx(0.55)
    assert cosine.factor(10, 10) == pytest.approx(0.1)
    assert cosine.factor(30, 10) == pytest.approx(0.1)


def test_cosine_is_that_of_torch():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8, eta_min=0.05)
    ours = Cosine(final=0.05)
    for step in range(9):
        assert ours.factor(step, 8) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("warm_up", [False, True])
def test_average_in_closed_form(warm_up):
    torch.manual_seed(0)
    rule = EMA(decay=0.8, warm_up=warm_up)
    module = nn.BatchNorm1d(3).double()
    averager = Averager(rule)
    averager.before_pass(module)
    weights = [module.weight.detach().clone()]
    for step in range(1, 8):
        with torch.no_grad():
            module.weight.normal_()
            module.num_batches_tracked += 1
        weights.append(module.weight.detach().clone())
        averager.update(module)
        if step == 4:  # the end of an epoch in between changes nothing
            averager.after_pass(module)
            averager.before_pass(module)
    averager.after_pass(module)
    decays = [min(0.8, (1 + t) / (10 + t)) if warm_up else 0.8 for t in range(1, 8)]
    expected = weights[0] * math.prod(decays)
    for t in range(1, 8):
        expected = expected + weights[t] * (1 - decays[t - 1]) * math.prod(decays[t:])
    torch.testing.assert_close(module.weight.detach(), expected)
    assert module.num_batches_tracked == 7
    assert torch.equal(averager.raw["weight"], weights[-1])


def test_mixup_mixes_windows_and_absent_channels():
    x = torch.randn(3, 2, 5)
    x[1, 0] = torch.nan
    mixed = Mixup.mix(x, 0.3, torch.tensor([1, 2, 2]))
    assert mixed[0, 0].isnan().all()
    torch.testing.assert_close(mixed[0, 1], 0.3 * x[0, 1] + 0.7 * x[1, 1])
    assert torch.equal(mixed[2], x[2])


def test_mixup_leaves_windows_that_would_lose_all_channels():
    x = torch.zeros(2, 2, 5)
    x[0, 0] = x[1, 1] = torch.nan
    for seed in range(5):
        torch.manual_seed(seed)
        _, partners = Mixup(1.0).draw(x)
        assert partners.tolist() == [0, 1]


def test_mixup_shares_are_beta():
    torch.manual_seed(0)
    shares = np.array([Mixup(0.5).draw(torch.zeros(2, 1, 1))[0] for _ in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / 8, abs=0.01)  # 1 / (4 (2 alpha + 1))


# --- names ------------------------------------------------------------------------------------------------


def test_every_name_resolves_and_the_strategy_comes_first():
    for name, cls in OPTIONS.items():
        rules = resolve(name)
        assert isinstance(rules[0], cls) or (isinstance(rules[0], Full) and isinstance(rules[1], cls))
    assert resolve(None) == ()
    rules = resolve(["ema", LayerDecay(0.5), "gradual", NoDecay])
    assert [type(rule).__name__ for rule in rules] == ["Gradual", "EMA", "LayerDecay", "NoDecay"]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("gradul", ValueError, "'gradul' is not known; there are full, linear-probe, gradual"),
        (["full", "lora"], ValueError, "one strategy .* found Full and LoRA"),
        (["warm-up", "cosine"], ValueError, "one schedule"),
        (["ema", EMA(0.5)], ValueError, "EMA twice"),
        (3, TypeError, "found 3"),
    ],
)
def test_what_cannot_be_resolved(value, error, message):
    with pytest.raises(error, match=message):
        resolve(value)


def test_parameters_of_a_name():
    net = small(finetune="gradual", finetune__epochs_per_block=3)
    assert net.get_params()["finetune__epochs_per_block"] == 3
    assert resolve("gradual", {"epochs_per_block": 3})[0].epochs_per_block == 3
    again = clone(net)
    assert again.finetune__epochs_per_block == 3
    assert again._recipe()[0].epochs_per_block == 3
    with pytest.raises(TypeError, match="finetune__rate: 'gradual' takes finetune__epochs_per_block"):
        small(finetune="gradual", finetune__rate=3)._recipe()
    with pytest.raises(ValueError, match="give objects"):
        small(finetune=["gradual"], finetune__epochs_per_block=3)._recipe()


def test_parameters_of_an_object():
    rule = TwoStage(head_epochs=2)
    net = small(finetune=rule)
    assert net.get_params()["finetune__head_epochs"] == 2
    again = clone(net).set_params(finetune__head_epochs=4)
    assert again.finetune.head_epochs == 4
    assert rule.head_epochs == 2


BAD = [
    (Gradual(0), "epochs_per_block must be a whole number of 1 or more, found 0"),
    (Gradual(1.5), "whole number"),
    (TwoStage(-1), "head_epochs"),
    (TwoStage(1, -0.1), "factor"),
    (LayerDecay(0), "decay"),
    (LayerDecay(1.2), "decay must be a number from 1e-12 to 1, found 1.2"),
    (Discriminative(-1), "encoder"),
    (WarmUp(-1), "epochs"),
    (Cosine(warmup_epochs=3), "takes all of max_epochs=3"),
    (EMA(1.0), "decay"),
    (Mixup(0), "alpha"),
    (LabelSmoothing(2.0), "amount"),
    (LabelSmoothing(0.1), "'focal' has no parameter label_smoothing; use criterion='cross-entropy'"),
    (LoRA(r=0), "r must be"),
    (LoRA(targets="to_q"), "list of ends"),
]


@pytest.mark.parametrize(("rule", "message"), BAD, ids=[f"{type(r).__name__}-{m[:12]}" for r, m in BAD])
def test_bad_numbers_are_named_before_anything_is_read(rule, message):
    with pytest.raises(ValueError, match=message):
        small(finetune=rule).fit(None, None)


def test_numbers_of_numpy_are_numbers():
    Gradual(np.int64(2), np.int64(0)).check(None)
    LayerDecay(np.float64(0.5)).check(None)


# --- the page ---------------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[3] / "docs" / "finetuning-strategies.md"


def test_the_page_names_every_rule_with_its_defaults():
    rows = re.findall(r"^\| `([\w-]+)`, `(\w+)` \|(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: cls for name, cls, _ in rows} == {name: cls.__name__ for name, cls in OPTIONS.items()}
    for name, _, text in rows:
        written = {match.replace('"', "'") for match in re.findall(r"`(\w+=[^`]+)`", text)} - {
            "criterion='cross-entropy'"
        }
        assert written == {f"{key}={value!r}" for key, value in OPTIONS[name]().get_params().items()}, name


def test_the_code_of_the_page_runs():
    names = {}
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(code, names)
    assert resolve(names["recipe"].finetune)[0].factor == 0.1
    assert resolve([names["InverseRoot"](), "gradual"])[1].factor(4.0, 9) == 0.5
