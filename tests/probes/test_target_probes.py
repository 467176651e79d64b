"""What all probes of this kind keep to: the model stays as it was, absent channels are NaN, a window's map
depends on no other window and follows its channels.
"""

import numpy as np
import pytest
import torch
from linear_models import AbsentLinearModel, LinearModel
from sklearn.base import clone

from biot_bd import BIOT, registry
from biot_bd.probes import ChannelOcclusionProbe, InputIGProbe, SaliencyProbe, TokenIGProbe, TokenOcclusionProbe

BANDS = [("slow", 1, 8), ("fast", 8, 30)]
QUICK = {
    "input-ig": {"n_baselines": 2, "steps": 4},
    "token-ig": {"steps": 8},
    "band-occlusion": {"bands": BANDS},
}
NAMES = [
    "token-ig", "token-occlusion", "saliency", "input-ig", "amplitude-gradients", "channel-occlusion",
    "band-occlusion", "energy", "random",
]  # fmt: skip
ASKING = [name for name in NAMES if name not in ("energy", "random")]


def small_biot(dtype=torch.float32, channel_ids=(0, 1, 2)):
    torch.manual_seed(0)
    size = {"embed_dim": 16, "num_heads": 2, "num_layers": 2}
    model = BIOT(n_outputs=2, n_chans=3, n_times=400, channel_ids=channel_ids, n_channel_tokens=4, **size)
    for parameter in model.parameters():  # far from the start, where all logits are near 0
        parameter.data.mul_(1.5)
    return model.to(dtype).eval()


@pytest.fixture(scope="module")
def model():
    return small_biot()


@pytest.fixture(scope="module")
def x():
    return torch.randn(3, 3, 400, generator=torch.Generator().manual_seed(1))


def make(name, **options):
    return registry.probes[name](**QUICK.get(name, {}), **options)


def same(found, expected, **options):
    np.testing.assert_allclose(found, expected, **({"rtol": 1e-3, "atol": 1e-5} | options))


@pytest.mark.parametrize("name", NAMES)
def test_names_titles_and_needs(name):
    probe = make(name)
    assert probe._name == name
    assert "connectiv" not in probe.title
    assert probe.needs <= {"attention", "linear-attention", "tokens", "gradients"}
    assert getattr(probe, "control", False) == (name in ("energy", "random"))
    assert clone(probe).get_params() == probe.get_params()


@pytest.mark.parametrize("name", NAMES)
def test_the_model_stays_as_it_was(name, model, x):
    next(model.parameters()).requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()]
    given = x.clone()
    with torch.no_grad():
        found = make(name)(model, given)
        assert not torch.is_grad_enabled()
    next(model.parameters()).requires_grad_(True)
    assert torch.equal(given, x)
    assert not given.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert hooks == [
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
    ]
    assert "inference_plan" not in vars(model)
    with torch.inference_mode():
        same(make(name)(model, x.clone()).values, found.values, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(make(name)(model, x).values, found.values)


@pytest.mark.parametrize("name", NAMES)
def test_a_window_s_map_does_not_depend_on_its_company(name, model, x):
    same(make(name)(model, x[1:2]).values[0], make(name, **_batch(name, 2))(model, x).values[1])


def _batch(name, size):
    return {} if name in ("energy", "random") else {"batch_size": size}


@pytest.mark.parametrize("name", NAMES)
def test_maps_follow_channels(name, model, x):
    order = [2, 0, 1]
    other = small_biot(channel_ids=order)
    other.load_state_dict(model.state_dict())
    found, moved = make(name)(model, x), make(name)(other, x[:, order])
    same(moved.values, found.values[..., order, :])


@pytest.mark.parametrize("name", NAMES)
def test_absent_channels_are_nan_and_change_nothing_else(name, model, x):
    lacking = x.clone()
    lacking[1, 2] = torch.nan
    found = make(name)(model, lacking)
    absent = np.isnan(found.values)
    assert absent[1, ..., 2, :].all()
    assert absent.sum() == absent[1, ..., 2, :].size
    same(found.values[[0, 2]], make(name)(model, x[[0, 2]]).values)


@pytest.mark.parametrize("name", ASKING)
def test_targets_by_window(name, model, x):
    single = [make(name)(model, x, target).values for target in (0, 1)]
    mixed = make(name)(model, x, torch.tensor([0, 1, 0]))
    assert mixed.target == (0, 1, 0)
    for window, target in enumerate([0, 1, 0]):
        same(mixed.values[window], single[target][window])
    if make(name)(model, x).signed:  # with two classes one margin is minus the other
        same(single[0], -single[1])
    predicted = tuple(model(x).argmax(dim=1).tolist())
    assert make(name)(model, x).target == predicted


@pytest.mark.parametrize("name", ASKING)
def test_outputs_differ_and_say_what_they_are(name, model, x):
    units = {output: make(name, output=output)(model, x[:1], 1) for output in ("margin", "logit", "probability")}
    assert ["logit margin" in units["margin"].unit, "logit" in units["logit"].unit] == [True, True]
    assert "probability" in units["probability"].unit
    assert not np.allclose(units["margin"].values, units["probability"].values)


@pytest.mark.parametrize("name", ["token-ig", "input-ig", "amplitude-gradients", "band-occlusion"])
def test_double_precision(name, model, x):
    double = small_biot(torch.float64)
    found = make(name)(double, x)
    assert found.values.dtype == np.float64
    same(found.values, make(name)(model, x).values, rtol=1e-2, atol=2e-4)


@pytest.mark.parametrize("name", ["token-ig", "token-occlusion", "input-ig", "channel-occlusion"])
def test_a_plan_of_lower_precision_does_not_reach_a_map(name, x):
    model = small_biot()
    expected = make(name)(model, x).values
    model.inference_plan = plan = type(model.inference_plan)("bf16", 2)
    np.testing.assert_allclose(make(name)(model, x).values, expected, atol=1e-5)
    assert model.inference_plan is plan


@pytest.mark.parametrize("probe", [SaliencyProbe(), InputIGProbe(), ChannelOcclusionProbe()])
def test_windows_that_cannot_be_explained(probe):
    model, x = LinearModel().eval(), torch.randn(2, 3, 200)
    broken = x.clone()
    broken[1, 0, 5] = torch.inf
    with pytest.raises(ValueError, match="window 1, channel 0 has values that are not finite"):
        probe(model, broken)
    broken[1, 0] = torch.nan
    with pytest.raises(ValueError, match="LinearModel takes no absent channels, and window 1 lacks channel 0"):
        probe(model, broken)
    model.weight.data[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="gave logits that are not finite"):
        probe(model, x)
    with pytest.raises(ValueError, match=r"must give logits of shape \(2, n_outputs\) to be explained, gave \(2, 3"):
        probe(torch.nn.Identity().eval(), x)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (SaliencyProbe(batch_size=0), "batch_size must be 1 or more"),
        (SaliencyProbe(output="loss"), "output must be one of"),
        (TokenIGProbe(steps=0), "steps must be 1 or more"),
        (InputIGProbe(n_baselines=0), "n_baselines must be 1 or more"),
        (InputIGProbe("interictal-mean"), "needs background="),
        (InputIGProbe("mean"), "baseline must be one of phase-surrogate"),
        (InputIGProbe(background=torch.zeros(1, 3, 200)), "takes no background="),
        (TokenIGProbe(), "LinearModel: where its tokens enter is not known"),
        (TokenOcclusionProbe(by="electrode"), "by must be one of token, channel, frame"),
        (ChannelOcclusionProbe(fill="zero"), "fill must be 'absent'"),
        (ChannelOcclusionProbe(fill="absent"), "takes no absent channels: use fill='phase-surrogate'"),
    ],
)
def test_wrong_parameters(probe, message):
    with pytest.raises(ValueError, match=message):
        probe(LinearModel().eval(), torch.randn(2, 3, 200))


def test_one_channel_is_all_there_is():
    x = torch.randn(1, 3, 200)
    x[0, 1:] = torch.nan
    with pytest.raises(ValueError, match="window 0 has one channel, and nothing is left without it"):
        ChannelOcclusionProbe()(AbsentLinearModel().eval(), x)
    assert np.isfinite(ChannelOcclusionProbe("phase-surrogate")(AbsentLinearModel().eval(), x).values[0, 0]).all()
