"""Rollout against the published program's numbers, against numpy, and what must hold for any maps."""

import numpy as np
import pytest
import torch
from braindecode.models import CBraMod
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.models import BIOT, AttentionMaps, AttentionRecord, AttentionTrace, TokenLayout, record_attention
from biot_bd.probes import RolloutProbe, rollout
from biot_bd.probes.branches import branches

pytestmark = pytest.mark.usefixtures("one_thread")
FUSED = {"mean": np.mean, "max": np.max, "min": np.min}


def some_maps(n_layers=3, n=2, heads=2, tokens=6, seed=0):
    logits = np.random.default_rng(seed).normal(0, 2, (n_layers, n, heads, tokens, tokens))
    weights = np.exp(logits)
    return weights / weights.sum(-1, keepdims=True)


def by_hand(maps, fusion="mean", residual=0.5):
    """R of one window, maps (n_layers, heads, tokens, tokens), layer by layer with numpy alone."""
    whole = np.eye(maps.shape[-1])
    for heads in maps:
        fused = FUSED[fusion](heads, axis=0)
        fused = fused / fused.sum(axis=1, keepdims=True)
        whole = (residual * np.eye(len(fused)) + (1 - residual) * fused) @ whole
    return whole


@pytest.mark.parametrize("fusion", ["max", "mean", "min"])
def test_numbers_of_the_published_program(shared, fusion):
    golden = np.load(shared / "golden" / "rollout-class-token.npz")
    maps = golden["attention"].swapaxes(0, 1)  # it has windows before layers
    whole = rollout(maps, fusion=fusion, variant="eeg-transformer")
    towards = rollout(maps, fusion=fusion, variant="eeg-transformer", readout="class")
    np.testing.assert_allclose(whole, golden[f"rollout_{fusion}"], rtol=2e-6)
    np.testing.assert_allclose(towards, golden[f"class_{fusion}"], rtol=2e-6)
    assert np.abs(rollout(maps, fusion=fusion, readout="whole") - whole).max() > 1e-3


def test_two_layers_by_hand():
    """The later layer looks at token 1 and the earlier one moved token 2 there: the input is token 2."""
    earlier = [[1.0, 0, 0], [0, 0, 1], [0, 0, 1]]
    later = [[0, 1.0, 0], [0, 1, 0], [0, 1, 0]]
    maps = np.array([earlier, later])[:, None, None]
    assert rollout(maps, residual=0).tolist() == [[0, 0, 1]]
    assert rollout(maps, residual=0, readout="class").tolist() == [[0, 0, 1]]
    # Half residual: token 0 keeps 1/2 * 1, gives 1/2 to token 1 of the middle, which has 1/2 from itself, 1/2 from 2.
    assert rollout(maps, readout="whole")[0].tolist() == [[0.5, 0.25, 0.25], [0, 0.5, 0.5], [0, 0.25, 0.75]]
    assert rollout(maps, readout="class").tolist() == [[0.5, 0.25, 0.25]]
    np.testing.assert_allclose(rollout(maps), [[1 / 6, 1 / 3, 1 / 2]])
    # The published order has it the other way round.
    assert rollout(maps, fusion="max", variant="eeg-transformer")[0].tolist() == [[0, 1, 0]] * 3


@given(
    seed=st.integers(0, 99), n_layers=st.integers(1, 4), heads=st.integers(1, 3), tokens=st.integers(2, 6),
    fusion=st.sampled_from(sorted(FUSED)), residual=st.floats(0, 0.9),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_any_maps(seed, n_layers, heads, tokens, fusion, residual):
    maps = some_maps(n_layers, 3, heads, tokens, seed)
    whole = rollout(maps, fusion, residual, "whole")
    np.testing.assert_allclose(whole.sum(-1), 1)
    assert (whole >= 0).all()
    np.testing.assert_allclose(whole[1], by_hand(maps[:, 1], fusion, residual))
    np.testing.assert_allclose(rollout(maps, fusion, residual), whole.mean(axis=1))
    np.testing.assert_allclose(rollout(maps, fusion, residual, "class"), whole[:, 0])
    np.testing.assert_allclose(rollout(maps[:, [2]], fusion, residual, "whole")[0], whole[2])
    order = np.random.default_rng(seed).permutation(tokens)
    np.testing.assert_allclose(rollout(maps[..., order, :][..., order], fusion, residual), whole.mean(1)[:, order])


@pytest.mark.parametrize("fusion", sorted(FUSED))
def test_absent_tokens_take_no_part(fusion):
    kept = np.array([0, 1, 3, 5])
    small = some_maps(tokens=4)
    maps = np.full((3, 2, 2, 6, 6), np.nan)
    maps[..., kept[:, None], kept] = small
    found = rollout(maps, fusion)
    assert np.isnan(found[:, [2, 4]]).all()
    np.testing.assert_allclose(found[:, kept], rollout(small, fusion))
    whole = rollout(maps, fusion, readout="whole")
    assert np.isnan(whole[:, [2, 4]]).all()
    np.testing.assert_allclose(whole[:, kept][:, :, kept], rollout(small, fusion, readout="whole"))


def recorded(model, x):
    with torch.no_grad(), record_attention(model) as trace:
        model(x)
    return trace.maps


@pytest.mark.parametrize("fusion", sorted(FUSED))
def test_factors_of_linear_attention_give_what_their_maps_give(fusion):
    torch.manual_seed(0)
    model = BIOT(embed_dim=16, num_heads=2, num_layers=3, n_chans=3, n_times=600, n_outputs=2).eval()
    x = torch.randn(4, 3, 600)
    x[1, 2] = torch.nan
    maps = recorded(model, x)
    assert all(isinstance(record.made, tuple) for record in maps.records)
    made = np.stack([one.numpy() for one in maps])
    made[:, 1, :, 10:], made[:, 1, :, :, 10:] = np.nan, np.nan
    for readout in ("mean", "whole"):
        np.testing.assert_allclose(
            rollout(maps, fusion, readout=readout), rollout(made, fusion, readout=readout), atol=1e-6
        )
    np.testing.assert_array_equal(rollout(list(maps), fusion)[0], rollout(np.stack(list(maps)), fusion)[0])


def folded_maps(seed=0, n=2, chans=3, frames=4):
    """One layer of two modules side by side: channels of each frame, and frames of each channel."""
    layout = TokenLayout(tuple("abc"), np.arange(4.0), np.arange(4.0) + 1)
    by_frame = torch.tensor(some_maps(1, n * frames, 2, chans, seed)[0])
    by_channel = torch.tensor(some_maps(1, n * chans, 3, frames, seed + 1)[0])
    return [
        AttentionRecord(f"block.{seed}.over_channels", "mha", "exact", by_frame, layout=layout, folded="frame"),
        AttentionRecord(f"block.{seed}.over_time", "mha", "exact", by_channel, layout=layout, folded="channel"),
    ]


def test_modules_side_by_side_are_heads_of_one_layer():
    maps = AttentionMaps([*folded_maps(0), *folded_maps(7)])
    assert branches(maps) == ((0, 1), (2, 3))
    joined = np.stack([torch.cat([maps[0], maps[1]], dim=1).numpy(), torch.cat([maps[2], maps[3]], dim=1).numpy()])
    assert joined.shape == (2, 2, 5, 12, 12)
    for fusion in ("mean", "max"):
        for readout in ("mean", "whole"):
            np.testing.assert_allclose(rollout(maps, fusion, readout=readout), rollout(joined, fusion, readout=readout))
    # Tokens that share neither channel nor frame do not meet in one layer.
    layout = maps.layouts[0]
    apart = (layout.channel[:, None] != layout.channel) & (layout.frame[:, None] != layout.frame)
    assert (rollout(maps[:2], readout="whole")[:, apart] == 0).all()
    assert (rollout(maps, readout="whole")[:, apart] > 0).all()


def test_the_two_modules_of_cbramod_do_run_side_by_side():
    """Measured: neither map of a layer depends on the other, both depend on the layer before."""
    torch.manual_seed(0)
    sizes = {"n_outputs": 2, "n_chans": 3, "n_times": 800, "sfreq": 200, "n_layer": 2, "nhead": 4, "emb_dim": 200}
    model = CBraMod(**sizes).eval()
    x = torch.randn(2, 3, 800)
    with record_attention(model, grad=True) as trace:
        model(x)
    maps = trace.maps

    def depends(later, earlier):
        weights = maps.records[later].weights
        seen = torch.autograd.grad(
            weights.square().sum(), maps.records[earlier].weights, retain_graph=True, allow_unused=True
        )
        return seen[0] is not None

    assert [depends(1, 0), depends(2, 0), depends(3, 0), depends(2, 1), depends(3, 2)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert branches(maps) == ((0, 1), (2, 3))
    found = RolloutProbe()(model, x)
    assert found.values.shape == (2, 3, 4)
    np.testing.assert_allclose(found.values.sum((1, 2)), 1, rtol=1e-5)


def test_special_tokens_are_no_part_of_a_mean():
    layout = TokenLayout(("a", "b"), [0.0, 1.0], [1.0, 2.0], special=("class",))
    weights = some_maps(1, 1, 1, 5)
    maps = AttentionMaps([AttentionRecord("layer", "sdpa", "exact", torch.tensor(weights[0]), layout=layout)])
    np.testing.assert_allclose(rollout(maps), rollout(weights, readout="whole")[:, 1:].mean(axis=1))
    np.testing.assert_allclose(rollout(maps, readout="class"), rollout(weights, readout="class"))


@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        ([], {}, "one layer or more"),
        (np.ones((2, 3, 4, 4)) / 4, {}, "map 0 must be of floating numbers, shape"),
        (np.ones((2, 1, 1, 3, 3), int), {}, "floating numbers"),
        (np.ones((2, 1, 1, 3, 3)), {}, "each row of an attention map sums to 1, these sum to 3 to 3"),
        ([torch.full((1, 1, 3, 3), 1 / 3), torch.full((1, 1, 2, 2), 0.5)], {}, r"over the same tokens.*map 1 \(2, 2\)"),
        (np.full((1, 1, 1, 2, 3), 1 / 3), {}, "as many queries as keys"),
        (some_maps(), {"fusion": "median"}, "fusion must be one of mean, max, min"),
        (some_maps(), {"residual": -0.1}, "residual must be from 0"),
        (some_maps(), {"residual": float("nan")}, "residual must be from 0"),
        (some_maps(), {"readout": "last"}, "readout must be one of"),
        (some_maps(), {"variant": "published"}, "variant must be one of residual, eeg-transformer"),
        (some_maps(), {"variant": "eeg-transformer", "residual": 0.5}, "has no residual="),
        (some_maps(), {"variant": "eeg-transformer", "readout": "mean"}, "no readout='mean'"),
        (np.stack([np.eye(2), np.eye(2)[::-1]])[None, None], {"fusion": "min"}, "without any weight"),
    ],
)
def test_what_is_no_rollout_raises(maps, options, message):
    with pytest.raises(ValueError, match=message):
        rollout(maps, **options)


def test_nan_in_the_middle_of_a_map_raises():
    maps = some_maps()
    maps[1, 0, 0, 2, 3] = np.nan
    with pytest.raises(ValueError, match="map 1: NaN is for whole rows and columns"):
        rollout(maps)


@pytest.mark.parametrize("maps", [AttentionTrace(), 3, [[[[[1.0]]]]], ["layer"]])
def test_what_is_no_map_raises(maps):
    with pytest.raises(TypeError, match=r"rollout takes trace\.maps"):
        rollout(maps)
