"""What a recording gives: maps of one pass, made when asked for, and what is computed without them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from braindecode.modules import MultiHeadAttention
from linear_attention_transformer.linear_attention_transformer import SelfAttention
from small_transformers import small_transformer, small_windows
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from biot_bd import AttentionTrace, record_attention
from biot_bd.models import AttentionMaps, AttentionRecord

N_TOKENS = 15


class Sizes(TorchDispatchMode):
    """The largest tensor that is made."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(one, torch.Tensor):
                self.largest = max(self.largest, one.untyped_storage().nbytes() // one.element_size())
        return made


def recorded(name="BIOT", x=None, **options):
    model = small_transformer(name)
    with torch.no_grad(), record_attention(model, **options) as trace:
        model(small_windows() if x is None else x)
    return trace


# Maps rebuild the output of every kind of layer


def values_and_projection(module, x):
    """Values (n, tokens, features) and what maps joined heads to the module's output."""
    if isinstance(module, SelfAttention):
        return module.to_v(x), module.to_out
    if isinstance(module, MultiHeadAttention):
        return module.values(x), module.projection
    if isinstance(module, nn.MultiheadAttention):
        return F.linear(x, module.in_proj_weight.chunk(3)[2], module.in_proj_bias.chunk(3)[2]), module.out_proj
    return F.linear(x, module.qkv.weight.chunk(3)[2]), module.proj  # LaBraM


@pytest.mark.parametrize("name", ["BIOT", "CBraMod", "LaBraM", "EEGConformer", "nn.TransformerEncoder"])
def test_maps_rebuild_the_layers_output_and_logits_stay(name):
    if name == "nn.TransformerEncoder":
        torch.manual_seed(0)
        model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2).eval()
        x = torch.randn(2, 7, 16)
    else:
        model, x = small_transformer(name), small_windows()
    before = [(len(m._forward_hooks), len(m._forward_pre_hooks), set(vars(m))) for m in model.modules()]
    functions = (F.scaled_dot_product_attention, torch.backends.mha.get_fastpath_enabled())
    with torch.no_grad():
        expected = model(x)
        with record_attention(model) as trace:
            found = model(x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    if name == "nn.TransformerEncoder":
        assert trace.maps.layouts == (None, None)
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks), set(vars(m))) for m in model.modules()] == before
    assert (F.scaled_dot_product_attention, torch.backends.mha.get_fastpath_enabled()) == functions

    seen = {}
    hooks = [
        model.get_submodule(layer).register_forward_hook(
            lambda m, args, kwargs, out, layer=layer: seen.update(
                {layer: (args[0].clone(), (out[0] if isinstance(out, tuple) else out).clone())}
            ),
            with_kwargs=True,
        )
        for layer in trace.layers
    ]
    with torch.no_grad():
        model(x)
        for hook in hooks:
            hook.remove()
        assert len(trace) == len(seen) >= 2
        for record in trace:
            entered, left = seen[record.layer]
            values, projection = values_and_projection(model.get_submodule(record.layer), entered)
            heads = values.unflatten(-1, (record.shape[1], -1)).transpose(1, 2)
            rebuilt = projection((record.scale * record.weights @ heads).transpose(1, 2).flatten(2))
            assert (rebuilt - left).abs().max() < 1e-5 * left.abs().max()
            assert record.error is None or record.error < 1e-5
            torch.testing.assert_close(record.weights.sum(-1), torch.ones(record.shape[:-1]))


# Made when asked for


def test_biot_records_without_any_map():
    model, x = small_transformer("BIOT"), small_windows(8)
    one_map = 8 * 2 * N_TOKENS**2
    with torch.no_grad(), Sizes() as plain:
        model.encoder.transformer(model.encoder.tokens(x))
    # A window's own map is the largest that a check of the reconstruction makes.
    with torch.no_grad(), record_attention(model) as trace, Sizes() as watched:
        model(x)
    limit = max(plain.largest, x.numel())
    assert watched.largest <= limit
    with Sizes() as asked:
        trace.maps.received(0)
        trace.channel_matrix()
        assert asked.largest < one_map
        made = trace.maps[0]
    assert asked.largest == one_map == made.numel()
    assert trace.maps[0] is not made  # made anew, not kept
    assert torch.equal(trace.maps[0], made)


def test_the_map_of_many_tokens_is_never_made_while_the_model_runs():
    from biot_bd import BIOT

    torch.manual_seed(0)
    model = BIOT(n_outputs=2, n_chans=16, n_times=2000, embed_dim=16, num_heads=2, num_layers=1, sfreq=200).eval()
    x = torch.randn(3, 16, 2000)
    with torch.no_grad(), record_attention(model) as trace, Sizes() as watched:
        model(x)
    assert trace[0].shape == (3, 2, 304, 304)
    assert watched.largest < trace[0].shape.numel() / 2


def test_memory_bound_counts_factors_and_maps():
    model, x = small_transformer("BIOT"), small_windows()
    factors = 2 * 2 * (2 * 2 * N_TOKENS * 8)  # of two layers
    one = 2 * 2 * N_TOKENS**2
    assert factors > one
    with torch.no_grad():
        message = f"{factors} numbers, more than max_elements={factors - 1}; use a smaller"
        with pytest.raises(ValueError, match=message), record_attention(model, max_elements=factors - 1):
            model(x)
        with record_attention(model, max_elements=factors) as trace:
            model(x)
    for record in trace:
        record.max_elements = one - 1
    for ask in (lambda: trace.maps[0], lambda: trace[0].weights, lambda: trace.early):
        with pytest.raises(ValueError, match=f"the map has {one} numbers, more than max_elements={one - 1}"):
            ask()
    trace.maps.received(0)
    trace.channel_matrix()
    folded = recorded("CBraMod")
    for record in folded:
        record.max_elements = record.shape.numel()
    with pytest.raises(ValueError, match="the map has"):
        folded.maps[0]


# Passes and layers


def test_a_second_pass_is_a_second_record_and_no_layer():
    model = small_transformer("BIOT")
    with torch.no_grad(), record_attention(model) as trace:
        model(small_windows(2))
        first = trace.maps
        model(small_windows(3, seed=2))
    assert len(trace) == 4
    assert len(trace.layers) == len(trace.maps) == len(trace.passes) == 2
    assert [len(maps[0]) for maps in trace.passes] == [2, 3]
    assert [record.pass_number for record in trace] == [0, 0, 1, 1]
    assert first.records == trace.passes[0].records
    assert trace.maps.records == trace.passes[1].records
    assert len(trace.of(trace.layers[0])) == 2
    with pytest.raises(KeyError, match="recorded: encoder"):
        trace.of("head")


class Twice(nn.Module):
    """The same attention module twice in one pass."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        for _ in range(2):
            x = x + self.attention(x, x, x, need_weights=False)[0]
        return x


def test_a_shared_module_called_twice_is_two_maps_of_one_layer():
    torch.manual_seed(0)
    model, x = Twice().eval(), torch.randn(2, 5, 8)
    with torch.no_grad(), record_attention(model) as trace:
        model(x)
    assert trace.layers == ("attention",)
    assert trace.maps.layers == ("attention", "attention")
    assert len(trace.passes) == 1
    assert not torch.equal(trace.maps[0], trace.maps[1])
    with pytest.raises(ValueError, match="attention: what its 5 tokens stand for is not known"):
        trace.maps.received(0)


def made_maps(n):
    return AttentionMaps([AttentionRecord(str(i), "sdpa", "exact", torch.full((1, 1, 1, 1), i)) for i in range(n)])


@pytest.mark.parametrize(
    ("depth", "early", "middle", "late"), [(1, 0, 0, 0), (2, 0, 1, 1), (3, 0, 1, 2), (4, 0, 2, 3), (12, 0, 6, 11)]
)
def test_early_middle_and_late(depth, early, middle, late):
    trace = AttentionTrace(list(made_maps(depth).records))
    assert [int(trace.early), int(trace.middle), int(trace.late)] == [early, middle, late]


def test_maps_are_a_sequence():
    maps = made_maps(4)
    assert len(maps) == 4
    assert int(maps[-1]) == 3
    assert [int(one) for one in maps] == [0, 1, 2, 3]
    assert isinstance(maps[1:3], AttentionMaps)
    assert maps[1:3].layers == ("1", "2")
    with pytest.raises(IndexError):
        maps[4]
    with pytest.raises(ValueError, match="nothing was recorded"):
        _ = AttentionTrace().maps


# By channel, by token


def channel_matrix_by_hand(weights, layout, absent=()):
    """Mean over the queries of a channel of the sum over the keys of another, each row to 1."""
    matrix = np.full((layout.n_chans, layout.n_chans), np.nan)
    for a in set(range(layout.n_chans)) - set(absent):
        for b in set(range(layout.n_chans)) - set(absent):
            rows = [sum(weights[q, k] for k in layout.tokens(channel=b)) for q in layout.tokens(channel=a)]
            matrix[a, b] = np.mean(rows)
    return matrix / np.nansum(matrix, axis=-1, keepdims=True)


@pytest.mark.parametrize("name", ["BIOT", "BIOT, class token", "CBraMod", "LaBraM", "EEGConformer", "STEEGFormer"])
def test_channel_matrix_and_attention_received_by_hand(name):
    trace = recorded(name)
    matrix = trace.channel_matrix()
    n_chans = trace.maps.layouts[0].n_chans
    assert matrix.shape == (len(trace.maps), 2, n_chans, n_chans)
    np.testing.assert_allclose(matrix.sum(-1), 1, atol=1e-12)
    for number, weights in enumerate(trace.maps):
        layout = trace.maps.layouts[number]
        mean = weights.double().mean(1).numpy()
        np.testing.assert_allclose(matrix[number, 1], channel_matrix_by_hand(mean[1], layout), atol=1e-6)
        received = trace.maps.received(number)
        special = mean[..., : layout.n_special].mean(1)
        np.testing.assert_allclose(received, layout.grid(mean.mean(1)), atol=1e-6)
        np.testing.assert_allclose(received.sum((1, 2)) + special.sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(trace.maps.mean_heads(number), mean, atol=1e-6)


@pytest.mark.parametrize("kind", ["exact", "qk"])
def test_absent_channels_are_nan_and_the_rest_is_the_model_without_them(kind):
    x = small_windows()
    x[0, 1] = torch.nan
    trace = recorded(x=x, kind=kind)
    matrix, received = trace.channel_matrix(), trace.maps.received(1)
    layout = trace.maps.layouts[1]
    mean = trace.maps[1].double().mean(1).numpy()
    by_hand = channel_matrix_by_hand(mean[0], layout, absent=[1])
    np.testing.assert_allclose(matrix[1, 0], by_hand, atol=1e-6)
    assert np.isfinite(matrix[:, 1]).all()
    assert np.isnan(received[0, 1]).all()
    kept = layout.channel != 1
    np.testing.assert_allclose(received[0][[0, 2]].ravel(), mean[0][kept][:, kept].mean(0), atol=1e-6)
    np.testing.assert_allclose(np.nansum(received, (1, 2)), 1, atol=1e-6)


def test_gradients_of_the_maps_are_kept():
    model, x = small_transformer("LaBraM"), small_windows()
    with record_attention(model, grad=True) as trace:
        model(x)[:, 1].sum().backward()
    for record, weights in zip(trace, trace.maps, strict=True):
        assert weights is record.weights
        assert record.weights.grad.shape == record.shape
        assert record.weights.grad.abs().max() > 0
