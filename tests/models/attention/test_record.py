"""Recorded attention: exact, invisible to the model, gone afterwards."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from braindecode.models import BIOT as BraindecodeBIOT
from braindecode.models import EEGNet
from torch import nn

from biot_bd import BIOT, record_attention
from biot_bd.models import attention_layers

SMALL = {"n_outputs": 2, "n_chans": 4, "n_times": 600, "embed_dim": 32, "num_heads": 4, "num_layers": 3}
LAYERS = tuple(f"encoder.transformer.layers.layers.{i}.0.fn" for i in range(3))
N_TOKENS = 4 * 5


def biot(seed=0, cls=BIOT, **changes):
    torch.manual_seed(seed)
    return cls(**{**SMALL, "sfreq": 200, **changes}).eval()


def windows(n=2, n_chans=4, n_times=600, seed=1):
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(seed))


def state_of(model):
    """Everything that a recording could leave behind."""
    return [
        (len(m._forward_hooks), len(m._forward_pre_hooks), id(getattr(m, "global_attn_fn", None)), set(vars(m)))
        for m in model.modules()
    ] + [torch.backends.mha.get_fastpath_enabled(), F.scaled_dot_product_attention]


class SDPAModel(nn.Module):
    """A module that calls the fused function itself, with any of its options."""

    def __init__(self, **options):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.options = options

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (2, 4)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return F.scaled_dot_product_attention(q, k, v, **self.options).transpose(1, 2).flatten(2)


# BIOT


@pytest.mark.parametrize("cls", [BIOT, BraindecodeBIOT])
def test_biot_maps_are_exact_and_the_output_is_untouched(cls):
    model, x = biot(cls=cls), windows()
    before = state_of(model)
    with torch.no_grad():
        expected = model(x)
        with record_attention(model) as trace:
            torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5)
        assert torch.equal(model(x), expected)
    assert state_of(model) == before
    assert trace.layers == LAYERS
    for record in trace:
        assert (record.adapter, record.kind, record.key_mask) == ("linear", "exact", None)
        assert record.weights.shape == (2, 4, N_TOKENS, N_TOKENS)
        assert (record.weights >= 0).all()
        torch.testing.assert_close(record.weights.sum(-1), torch.ones(2, 4, N_TOKENS))
        assert 0 < record.error < 2e-6
        # At most as many dimensions as a head has features.
        assert torch.linalg.matrix_rank(record.weights[0, 0].double(), rtol=1e-5) <= 8


def test_the_map_rebuilds_what_the_output_projection_receives():
    model, x = biot(), windows()
    layer = model.get_submodule(LAYERS[1])
    seen = {}
    hooks = [
        layer.to_v.register_forward_hook(lambda m, a, out: seen.update(v=out)),
        layer.to_out.register_forward_pre_hook(lambda m, a: seen.update(heads=a[0])),
    ]
    with torch.no_grad(), record_attention(model, layers=[1]) as trace:
        model(x)
    for hook in hooks:
        hook.remove()
    assert trace.layers == (LAYERS[1],)
    values = seen["v"].unflatten(-1, (4, 8)).transpose(1, 2)
    rebuilt = trace[0].scale * trace[0].weights @ values
    torch.testing.assert_close(rebuilt.transpose(1, 2).flatten(2), seen["heads"], rtol=0, atol=1e-6)


def test_absent_channels_get_no_attention():
    model, x = biot(), windows()
    x[0, 2] = torch.nan
    with torch.no_grad():
        expected = model(x)
        with record_attention(model) as trace, record_attention(model, kind="qk") as other:
            torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5)
    absent = slice(10, 15)
    for record in [*trace, *other]:
        assert record.key_mask.sum(1).tolist() == [15, 20]
        assert (record.weights[0, ..., absent] == 0).all()
        assert (record.weights[1, ..., absent] > 0).all()
        torch.testing.assert_close(record.weights.sum(-1), torch.ones(2, 4, N_TOKENS))
    # The same maps as of the model without that channel.
    small = biot(n_chans=3, channel_ids=[0, 1, 3], n_channel_tokens=4)
    small.load_state_dict(model.state_dict())
    kept = torch.tensor([*range(10), *range(15, 20)])
    with torch.no_grad(), record_attention(small) as alone:
        small(x[:1, [0, 1, 3]])
    for whole, part in zip(trace, alone, strict=True):
        torch.testing.assert_close(whole.weights[:1][..., kept, :][..., kept], part.weights, rtol=0, atol=1e-6)


def test_qk_is_another_operator_under_its_own_name():
    model, x = biot(), windows()
    for layer in LAYERS:  # untrained projections give nearly uniform maps of either kind
        for name in ("to_q", "to_k"):
            model.get_submodule(layer).get_submodule(name).weight.data *= 3
    seen = {}
    layer = model.get_submodule(LAYERS[0])
    hooks = [getattr(layer, f"to_{n}").register_forward_hook(lambda m, a, o, n=n: seen.update({n: o})) for n in "qk"]
    with torch.no_grad(), record_attention(model) as exact, record_attention(model, kind="qk") as qk:
        model(x)
    for hook in hooks:
        hook.remove()
    q, k = (seen[n].unflatten(-1, (4, 8)).transpose(1, 2) for n in "qk")
    # torch's own softmax attention, given the identity as values, returns its weights.
    eye = torch.eye(N_TOKENS).expand(2, 4, -1, -1)
    torch.testing.assert_close(qk[0].weights, F.scaled_dot_product_attention(q, k, eye), rtol=0, atol=1e-6)
    assert {record.kind for record in qk} == {"qk"}
    assert qk[0].error is None
    correlation = torch.corrcoef(torch.stack([exact[0].weights.flatten(), qk[0].weights.flatten()]))[0, 1]
    assert correlation < 0.9


def test_layers_by_number_name_and_predicate():
    model, x = biot(), windows(1)
    assert attention_layers(model) == LAYERS
    with torch.no_grad():
        for layers, keep, expected in [
            ([-1], None, (LAYERS[2],)),
            ([0, LAYERS[2]], None, (LAYERS[0], LAYERS[2])),
            (None, lambda name: ".1.0." in name, (LAYERS[1],)),
        ]:
            with record_attention(model, layers=layers, keep=keep) as trace:
                model(x)
            assert trace.layers == expected


# Gradients and edits


@pytest.mark.parametrize("frozen", [False, True])
def test_gradient_of_the_map_equals_finite_differences(frozen):
    model = biot().double().requires_grad_(not frozen)
    x = windows(1).double()
    with record_attention(model, grad=True, layers=[1]) as trace:
        model(x)[0, 1].backward()
    weights, gradient = trace[0].weights, trace[0].weights.grad
    assert gradient.shape == weights.shape
    step, place = 1e-4, (0, 2, 3, 7)
    moved = []
    for sign in (1, -1):

        def edit(name, attention, sign=sign):
            changed = attention.clone()
            changed[place] += sign * step
            return changed

        with torch.no_grad(), record_attention(model, edit=edit, layers=[1]):
            moved.append(model(x)[0, 1].item())
    assert gradient[place].item() == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-4)


def test_edit_that_returns_the_map_changes_nothing_and_a_knock_out_does():
    model, x = biot(), windows()
    with torch.no_grad():
        expected = model(x)
        with record_attention(model, edit=lambda name, weights: weights):
            torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)
        with record_attention(model, edit=lambda name, weights: torch.zeros_like(weights)) as trace:
            assert (model(x) - expected).abs().max() > 1e-3
        assert (trace[0].weights == 0).all()
        assert torch.equal(model(x), expected)


def test_parameters_get_the_same_gradient_while_recording():
    x = windows()
    found = []
    for grad in (None, False, True):
        model = biot()
        if grad is None:
            model(x).square().sum().backward()
        else:
            with record_attention(model, grad=grad):
                model(x).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    for plain, observed, rebuilt in zip(*found, strict=True):
        torch.testing.assert_close(plain, observed, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))
        torch.testing.assert_close(plain, rebuilt, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


# Restoring, limits, refusals


def test_everything_is_restored_after_exceptions():
    model, x = biot(), windows()
    before = state_of(model)
    expected = model(x)
    with pytest.raises(ZeroDivisionError), record_attention(model):
        _ = 1 / 0
    with pytest.raises(ValueError, match="windows of shape"), record_attention(model):
        model(x[:, :2])

    def broken(name, weights):
        raise KeyError(name)

    with pytest.raises(KeyError), record_attention(model, edit=broken):
        model(x)
    assert state_of(model) == before
    assert torch.equal(model(x), expected)


def test_going_on_after_an_exception_inside_the_block():
    model, x = biot(), windows()
    with record_attention(model) as trace:
        with pytest.raises(ValueError, match="windows of shape"):
            model(x[:, :2])
        model(x)
    assert trace.layers == LAYERS


def test_wrong_reconstruction_raises():
    model = biot()
    layer = model.get_submodule(LAYERS[1])
    real = layer.global_attn_fn

    def linear_attn(q, k, v, kv_mask=None):  # same name, another operator
        return real(q * 2, k, v, kv_mask=kv_mask)

    layer.global_attn_fn = linear_attn
    for p in (layer.to_q.weight, layer.to_v.weight):
        p.data *= 5
    message = rf"{LAYERS[1]}.*rebuilds the layer's output only to"
    with torch.no_grad(), pytest.raises(RuntimeError, match=message), record_attention(model):
        model(windows())
    assert layer.global_attn_fn is linear_attn


def test_limits_on_memory():
    model, x = biot(), windows()
    one = 2 * 4 * N_TOKENS**2
    with torch.no_grad():
        for options in ({"reduce": lambda w: w}, {"edit": lambda name, w: w}):  # these need whole maps
            with (
                pytest.raises(ValueError, match=f"{one} numbers"),
                record_attention(model, max_elements=one - 1, **options),
            ):
                model(x)
            with (
                pytest.raises(ValueError, match="smaller batch"),
                record_attention(model, max_elements=2 * one, **options),
            ):
                model(x)
        with record_attention(model, max_elements=2 * one, reduce=lambda w: w.mean(1)) as trace:
            model(x)
    assert len(trace) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "raw"}, "'exact' or 'qk'"),
        ({"kind": "qk", "grad": True}, "qk"),
        ({"grad": True, "reduce": torch.sum}, "reduce afterwards"),
        ({"layers": [3]}, "3 attention layers known"),
        ({"layers": ["head"]}, "no module 'head'; attention layers: encoder"),
        ({"layers": LAYERS[0]}, "must be a sequence"),
    ],
)
def test_contradictions_raise_before_anything_is_installed(options, message):
    model = biot()
    before = state_of(model)
    with pytest.raises(ValueError, match=message), record_attention(model, **options):
        pass
    assert state_of(model) == before


def test_grad_without_grad_mode_and_bad_edits_raise():
    model, x = biot(), windows()
    with torch.no_grad(), pytest.raises(RuntimeError, match="no_grad"), record_attention(model, grad=True):
        model(x)
    with pytest.raises(ValueError, match="edit must return"), record_attention(model, edit=lambda n, w: w[0]):
        model(x)


def test_models_without_recordable_attention_say_so():
    model = EEGNet(n_chans=4, n_outputs=2, n_times=600).eval()
    assert attention_layers(model, windows(1)) == ()
    message = "EEGNet ran, and no attention was seen"
    with torch.no_grad(), pytest.raises(RuntimeError, match=message), record_attention(model):
        model(windows())
    with pytest.raises(ValueError, match="EEGNet has none"), record_attention(model, kind="qk"):
        pass
    other, message = biot(), "without attention in final_layer"
    with torch.no_grad(), pytest.raises(RuntimeError, match=message), record_attention(other, layers=["final_layer"]):
        other(windows())


def test_causal_linear_attention_is_refused():
    from linear_attention_transformer import LinearAttentionTransformer

    model = LinearAttentionTransformer(dim=16, depth=1, max_seq_len=64, heads=2, causal=True)
    with pytest.raises(NotImplementedError, match="causal"), record_attention(model):
        pass


def test_compiled_modules_are_refused():
    whole, part, inside = biot(), biot(), biot()
    part.encoder = torch.compile(part.encoder)
    inside.get_submodule(LAYERS[1]).compile()
    for model, name in [(torch.compile(whole), "the model"), (part, "encoder"), (inside, LAYERS[1])]:
        with pytest.raises(ValueError, match=f"^{name} is compiled"), record_attention(model):
            pass


# nn.MultiheadAttention and scaled_dot_product_attention


@pytest.mark.parametrize("options", [{}, {"need_weights": False}, {"average_attn_weights": False}])
@pytest.mark.parametrize("shape", [(3, 6, 8), (6, 8)])
@pytest.mark.parametrize("rebuild", [False, True])
def test_multihead_attention_gives_its_own_weights(options, shape, rebuild):
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(shape)
    edit = (lambda name, weights: weights) if rebuild else None
    with torch.no_grad():
        expected = module(x, x, x, **options)
        truth = module(x, x, x, average_attn_weights=False)[1]
        with record_attention(module, edit=edit) as trace:
            found = module(x, x, x, **options)
    assert [record.adapter for record in trace] == ["mha"]
    torch.testing.assert_close(trace[0].weights, truth if x.ndim == 3 else truth[None])
    torch.testing.assert_close(found[0], expected[0])
    if expected[1] is None:
        assert found[1] is None
    else:
        torch.testing.assert_close(found[1], expected[1])


def test_two_recordings_of_multihead_attention_inside_each_other():
    module = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(3, 6, 8)
    with torch.no_grad():
        expected = module(x, x, x)
        with record_attention(module) as outer, record_attention(module) as inner:
            found = module(x, x, x)
    assert torch.equal(found[1], expected[1])
    assert torch.equal(outer[0].weights, inner[0].weights)
    assert outer[0].weights.shape == (3, 2, 6, 6)


def test_multihead_attention_masks_and_gradients():
    module = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with record_attention(module, grad=True) as trace:
        module(x, x, x, key_padding_mask=padding, need_weights=False)[0].square().sum().backward()
    assert (trace[0].weights[1, ..., 3:] == 0).all()
    assert trace[0].weights.grad.abs().max() > 0


def test_transformer_encoder_leaves_its_fused_path_while_recording():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.TransformerEncoder(layer, 2).eval()
    x = torch.randn(2, 7, 16)
    before = state_of(model)
    with torch.no_grad():
        expected = model(x)
        with record_attention(model, layers=[0, 1]) as trace:
            torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5)
    assert [record.layer for record in trace] == ["layers.0.self_attn", "layers.1.self_attn"]
    assert state_of(model) == before


@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"scale": 0.1}, {"attn_mask": torch.rand(6, 6) > 0.4}, {"attn_mask": torch.randn(6, 6)}],
)
def test_fused_attention_with_all_its_options(options):
    torch.manual_seed(0)
    model, x = SDPAModel(**options), torch.randn(3, 6, 8)
    with torch.no_grad():
        expected = model(x)
        with record_attention(model) as trace:
            assert torch.equal(model(x), expected)
    assert trace[0].adapter == "sdpa"
    assert trace[0].error < 1e-6
    if "is_causal" in options:
        assert (trace[0].weights.triu(1) == 0).all()


def test_other_models_inside_the_block_are_not_recorded():
    mine, other, x = SDPAModel(), SDPAModel(), torch.randn(3, 6, 8)
    with torch.no_grad(), record_attention(mine) as trace:
        other(x)
        mine(x)
        other(x)
    assert len(trace) == 1
