"""Tests of probes tried on probes that are right by construction, and on each kind of wrong one."""

import numpy as np
import pytest
import torch
from torch import nn

from biot_bd import BIOT, registry
from biot_bd.exceptions import UnknownNameError
from biot_bd.models import TokenLayout, TokenMap
from biot_bd.models.attention.tokens import TokenSite
from biot_bd.probes import AttentionProbe, PlantedModel, PlantedTask, Probe, QKAttentionProbe, evaluate
from biot_bd.probes.explained_output import explained_output
from biot_bd.probes.trials.base import Case
from biot_bd.probes.trials.deletion import Curves, interval
from biot_bd.probes.trials.random_weights import check_moved, randomised, rank_correlation

N_CHANS, N_FRAMES, FRAME = 8, 5, 200


class Mean(nn.Module):
    def forward(self, tokens):
        score = tokens.mean(dim=1)[:, 0]
        return torch.stack([-score / 2, score / 2], dim=1)


class Powers(nn.Module):
    """The margin of class 1 is the mean over tokens of weight x power: what each token adds is known."""

    sfreq = 200.0

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.body = Mean()

    def forward(self, x):
        return self.body((self.power(x) * self.weight).flatten(1)[..., None])

    @staticmethod
    def power(x):
        return x.unflatten(-1, (N_FRAMES, FRAME)).square().mean(dim=-1)

    def token_layout(self, n_times=None):
        return TokenLayout(tuple("abcdefgh"), np.arange(N_FRAMES), np.arange(N_FRAMES) + 1)

    def token_site(self):
        return TokenSite("body")


class Exact(Probe):
    """What each token adds to the margin: half of input x gradient, as the margin is quadratic."""

    needs = frozenset({"gradients"})

    def __call__(self, model, x, target=None):
        self.check_input(model, x)
        x = x.clone().requires_grad_()
        logits = model(x)
        margin = explained_output(logits, self.targets(logits, target))
        (gradient,) = torch.autograd.grad(margin.sum(), x)
        shares = (x * gradient / 2).detach().unflatten(-1, (N_FRAMES, FRAME)).sum(dim=-1)
        layout = TokenLayout(tuple("abcdefgh"), np.arange(N_FRAMES), np.arange(N_FRAMES) + 1)
        return TokenMap(
            self.spoiled(shares).double().numpy(),
            layout,
            probe="exact",
            signed=True,
            info={"difference": margin.tolist()},
        )

    def spoiled(self, shares):
        return shares


class Against(Exact):
    def spoiled(self, shares):
        return -shares


class Halved(Exact):
    def spoiled(self, shares):
        return shares / 2


class OfTheBatch(Exact):
    def spoiled(self, shares):
        return shares + 0.3 * shares.mean(dim=0)


class NextChannel(Exact):
    def spoiled(self, shares):
        return shares.roll(1, dims=1)


class Energy(Probe):
    def __call__(self, model, x, target=None):
        layout = TokenLayout(tuple("abcdefgh"), np.arange(N_FRAMES), np.arange(N_FRAMES) + 1)
        return TokenMap(Powers.power(x).numpy(), layout, probe="energy")


class Control(Energy):
    control = True


class Broken(Probe):
    def __call__(self, model, x, target=None):
        raise KeyError("nothing there")


class Refuses(Probe):
    def __call__(self, model, x, target=None):
        raise ValueError("not on this model, for a reason")


@pytest.fixture(scope="module")
def model():
    return Powers(torch.randn(N_CHANS, N_FRAMES, generator=torch.Generator().manual_seed(0))).eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(6, N_CHANS, N_FRAMES * FRAME, generator=torch.Generator().manual_seed(1))


ORDERS = ["deletion", "insertion"]
ON_THE_MODEL = ["completeness", "deletion", "insertion", "random-weights", "batch-mates", "channel-order"]


@pytest.mark.parametrize(
    ("probe", "fails"),
    [
        (Exact, []),
        (Against, ["completeness", "deletion", "insertion"]),
        (Halved, ["completeness"]),
        (OfTheBatch, ["batch-mates", "completeness"]),
        (NextChannel, ["channel-order"]),
        (Energy, ["deletion", "insertion", "random-weights"]),
        (Control, ["deletion", "insertion"]),
    ],
)
def test_each_kind_of_wrong_probe_fails_what_it_is_wrong_in(model, x, probe, fails):
    tests = [one for one in ON_THE_MODEL if probe is not NextChannel or one not in ORDERS]  # right by chance there
    table = evaluate(model, x, {"it": probe()}, target=1, tests=tests)
    assert sorted(row.test for row in table.rows if row.outcome == "failed") == fails
    assert len(table.failed("it")) == len(fails)
    assert (table.caution("it") is None) == (not fails)
    excused = {row.test for row in table.rows if row.outcome == "not applicable"}
    assert excused == (
        {"completeness"} if probe is Energy else {"completeness", "random-weights"} if probe is Control else set()
    )
    assert all(row.reason for row in table.rows)


def test_the_model_is_as_before_and_results_are_repeatable(model, x):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first, second = (evaluate(model, x, {"it": Exact()}, tests=ON_THE_MODEL) for _ in range(2))
    assert first.rows == second.rows
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_planted_tests_tell_a_right_probe_from_energy():
    weight = torch.zeros(N_CHANS, N_FRAMES)
    weight[[1, 2]], weight[6] = 1.0, -1.0
    model = Powers(weight).eval()
    planted = [PlantedModel(model, PlantedTask(), seed, accuracy=1.0) for seed in (0, 1)]
    x = PlantedTask().both(2).x
    tests = ["planted-distractor", "planted-background"]
    table = evaluate(model, x, {"right": Exact(), "energy": Control()}, tests=tests, planted=planted)
    outcomes = {(row.probe, row.test): row.outcome for row in table.rows}
    assert outcomes == {
        ("right", tests[0]): "passed", ("right", tests[1]): "passed",
        ("energy", tests[0]): "failed", ("energy", tests[1]): "passed",
    }  # fmt: skip
    assert table.of("right", tests[0]).value == 1.0
    assert 0.3 < table.of("energy", tests[0]).value < 0.7
    ignorant = [PlantedModel(model, PlantedTask(), 7, accuracy=0.6)]
    told = evaluate(model, x, {"right": Exact()}, tests=tests, planted=ignorant).of("right", tests[0])
    assert told.outcome == "not applicable"
    assert "seed 7 did not learn" in told.reason


class Exactly(AttentionProbe):
    needs = frozenset({"attention"})


class OftenDrawn(QKAttentionProbe):
    needs = frozenset({"linear-attention"})


class TooMuch(Exactly):
    def __call__(self, model, x, target=None):
        found = super().__call__(model, x, target)
        return TokenMap(found.values * 1.1, found.layout, probe="p", unit=found.unit, info=found.info)


@pytest.mark.parametrize("absent", [False, True])
def test_maps_must_rebuild_the_layers_and_shares_add_up(absent):
    torch.manual_seed(0)
    model = BIOT(n_outputs=2, n_chans=3, n_times=800, embed_dim=32, num_heads=4, num_layers=2).eval()
    x = torch.randn(3, 3, 800)
    if absent:
        x[1, 2] = torch.nan
    probes = {"exact": Exactly(), "qk": OftenDrawn(), "too-much": TooMuch()}
    tests = ["reconstruction", "row-sums", "batch-mates", "channel-order", "deletion"]
    table = evaluate(model, x, probes, tests=tests)
    assert table.of("exact", "reconstruction").value < 1e-5
    assert [table.of("exact", test).outcome for test in tests[:4]] == ["passed"] * 4
    assert table.of("qk", "reconstruction").outcome == "failed"
    assert table.of("qk", "reconstruction").value > 0.01
    assert table.of("qk", "row-sums").outcome == "passed"
    assert table.of("too-much", "row-sums").value == pytest.approx(0.1, abs=1e-3)
    assert table.of("too-much", "row-sums").outcome == "failed"
    assert table.of("exact", "deletion").value is not None


def test_probes_that_refuse_and_probes_that_break_are_told_apart(model, x):
    table = evaluate(model, x, {"no": Refuses(), "broken": Broken()}, tests=["completeness"])
    assert table.of("no", "completeness").outcome == "not applicable"
    assert "for a reason" in table.of("no", "completeness").reason
    assert table.of("broken", "completeness").outcome == "failed"
    assert "KeyError" in table.of("broken", "completeness").reason


class OneOutput(Powers):
    def forward(self, x):
        return super().forward(x)[:, :1]


def test_a_single_output_has_no_margin_to_fall(x):
    table = evaluate(
        OneOutput(torch.ones(N_CHANS, N_FRAMES)).eval(), x, {"it": Energy()}, tests=["deletion", "batch-mates"]
    )
    assert table.of("it", "deletion").outcome == "not applicable"
    assert "single output" in table.of("it", "deletion").reason
    assert table.of("it", "batch-mates").outcome == "passed"


def test_what_is_asked_for_must_exist(model, x):
    with pytest.raises(UnknownNameError, match="atention"):
        evaluate(model, x, ["atention"])
    with pytest.raises(ValueError, match="names out of reconstruction"):
        evaluate(model, x, {"it": Exact()}, tests=["row-sum"])
    with pytest.raises(ValueError, match=r"e\.g\. \['attention'\]"):
        evaluate(model, x, "attention")
    with pytest.raises(ValueError, match="several probes are named Exact"):
        evaluate(model, x, [Exact(), Exact()])
    with pytest.raises(ValueError, match="planted is empty"):
        evaluate(model, x, {"it": Exact()}, planted=[])
    with pytest.raises(ValueError, match="eval mode"):
        evaluate(Powers(torch.ones(8, 5)), x, {"it": Exact()})
    assert set(registry.probes) >= {"attention", "attention-qk"}


# --- the parts, each against what is known of it ---------------------------------------------------


def test_areas_are_those_of_the_mean_over_the_tokens_that_are_there(model, x):
    case = Case(model, x, torch.ones(6, dtype=torch.long), 0, tuple)
    curves = Curves(case)
    shares = (Powers.power(x) * model.weight).detach().flatten(1).double().numpy()
    orders = curves.order(Exact()(model, x, 1), case.rng())
    assert [order.tolist() for order in orders] == np.argsort(-shares, axis=1).tolist()
    n_kept = [round(share * 40) for share in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)]
    ranked = -np.sort(-shares, axis=1)
    wanted = np.mean([ranked[:, :n].mean(axis=1) for n in n_kept], axis=0)
    np.testing.assert_allclose(curves.areas(orders, inserts=True), wanted, rtol=1e-4)
    wanted = np.mean([ranked[:, 40 - n :].mean(axis=1) for n in n_kept], axis=0)
    np.testing.assert_allclose(curves.areas(orders, inserts=False), wanted, rtol=1e-4)


def test_intervals_hold_the_mean_and_have_no_width_without_spread():
    rng = np.random.default_rng(0)
    gains = rng.normal(1, 1, size=(50, 1)) + np.zeros((1, 8))
    low, high = interval(gains, rng)
    half = 1.96 * gains[:, 0].std() / np.sqrt(50)
    assert low == pytest.approx(gains.mean() - half, abs=0.06)
    assert high == pytest.approx(gains.mean() + half, abs=0.06)
    assert interval(np.full((3, 4), 2.0), rng) == (2.0, 2.0)


def test_every_parameter_moves_from_the_head_down_and_the_model_stays():
    torch.manual_seed(0)
    model = BIOT(n_outputs=2, n_chans=2, n_times=400, embed_dim=16, num_heads=2, num_layers=2).eval()
    model.final_layer.classification_head.bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    moved = {}
    for stage, copied in randomised(model):
        moved[stage] = {n for n, p in copied.named_parameters() if float((p != before[n]).double().mean()) > 0.99}
    names = {name for name, _ in model.named_parameters()}
    assert list(moved) == ["head", "32 %", "68 %", "all"]
    assert moved["head"] == {name for name in names if name.startswith("final_layer")}
    assert moved["head"] < moved["32 %"] < moved["68 %"] < moved["all"] == names
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_parameter_that_stayed_is_named():
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    other.bias = model.bias
    with pytest.raises(RuntimeError, match=r"1 parameters did not move.*bias"):
        check_moved(model, other)


def test_likeness_is_one_for_any_monotone_change_and_leaves_absent_channels_out():
    values = np.random.default_rng(0).normal(size=(3, 4, 5))
    values[1, 2] = np.nan
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(1)
    assert rank_correlation(values, np.zeros_like(values)) == 0
