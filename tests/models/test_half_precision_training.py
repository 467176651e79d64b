"""Layers in half precision: their gradients against finite differences and plain autograd."""

import numpy as np
import pytest
import torch

from biot_bd.models import BIOT, fast_attention
from biot_bd.models.encoder import linear_attn
from biot_bd.models.half_precision_training import Attention, Feed

SHAPE = {"embed_dim": 16, "num_heads": 2, "num_layers": 2, "n_chans": 3, "n_times": 500, "n_outputs": 2, "sfreq": 200}


def made(**settings):
    torch.manual_seed(0)
    return BIOT(**(SHAPE | settings))


def layers_of(model):
    return fast_attention.fast_layers(model.encoder.transformer, linear_attn)


@pytest.fixture
def layer():
    return layers_of(made().double())[0]


@pytest.fixture
def x():
    return torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)


def attention_weights(layer):
    attention = layer.attention
    maps = (attention.to_q, attention.to_k, attention.to_v, attention.to_out)
    return (layer.norm.weight, layer.norm.bias, *(linear.weight for linear in maps), attention.to_out.bias)


def absent_tokens():
    absent = torch.zeros(3, 5, 1, dtype=torch.bool)
    absent[1, 2:] = True
    return absent


@pytest.mark.parametrize("absent", [None, absent_tokens()], ids=["all", "absent"])
@pytest.mark.parametrize("p", [0.0, 0.25])
def test_attention_has_the_gradient_of_finite_differences_and_of_autograd(layer, x, absent, p):
    kept = None if not p else (torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) >= p).double()
    scale = 1 / (1 - p)
    weights = attention_weights(layer)

    def ours(x, *weights):
        return Attention.apply(x, absent, kept, scale, torch.float64, 2, layer.norm.eps, *weights)

    layer.attention.dropout.eval()
    plain = fast_attention._attend(layer, x, absent)
    plain = x + (plain if kept is None else plain * kept * scale)
    torch.testing.assert_close(ours(x, *weights), plain, rtol=1e-10, atol=1e-12)
    slope = torch.randn(x.shape, dtype=torch.float64)
    for found, truth in zip(
        torch.autograd.grad(ours(x, *weights), (x, *weights), slope),
        torch.autograd.grad(plain, (x, *weights), slope),
        strict=True,
    ):
        torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-11)
    assert torch.autograd.gradcheck(ours, (x, *weights), fast_mode=True)


def test_feed_has_the_gradient_of_finite_differences_and_of_autograd(layer, x):
    norm, feed = layer.norm_feed, layer.feed
    weights = (norm.weight, norm.bias, feed.w1.weight, feed.w1.bias, feed.w2.weight, feed.w2.bias)

    def ours(x, *weights):
        return Feed.apply(x, torch.float64, norm.eps, *weights)

    plain = x + feed.w2(torch.nn.functional.gelu(feed.w1(norm(x))))
    torch.testing.assert_close(ours(x, *weights), plain, rtol=1e-10, atol=1e-12)
    for found, truth in zip(
        torch.autograd.grad(ours(x, *weights).sin().sum(), (x, *weights)),
        torch.autograd.grad(plain.sin().sum(), (x, *weights)),
        strict=True,
    ):
        torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-11)
    assert torch.autograd.gradcheck(ours, (x, *weights), fast_mode=True)


def gradients(model, x, present, dtype=None):
    model.zero_grad()
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        logits = model(x, present)
    (logits.float() * torch.tensor([1.0, -0.5])).sum().backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def distance(found, truth):
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("absent", [False, True])
def test_the_gradient_is_as_near_to_that_in_fp32_as_autocast_over_the_modules(dtype, absent):
    model = made(embed_dim=64, num_heads=4, drop_prob=0.0, att_drop_prob=0.0, att_layer_drop_prob=0.0).train()
    x = torch.randn(6, 3, 500, generator=torch.Generator().manual_seed(3))
    present = torch.ones(6, 3, dtype=torch.bool)
    present[:3, 1] = not absent
    truth = gradients(model, x, present)
    found = gradients(model, x, present, dtype)
    hook = model.encoder.transformer.register_forward_hook(lambda *_: None)  # the modules themselves
    modules = gradients(model, x, present, dtype)
    hook.remove()
    assert not torch.equal(found, modules)  # or the layers under test did not run
    assert distance(found, truth) < max(1.25 * distance(modules, truth), 1e-3)


def test_dropout_keeps_what_its_bits_say():
    x = torch.randn(7, 11)  # no multiple of four
    torch.manual_seed(5)
    found = fast_attention.dropout(x, 0.3, training=True)
    torch.manual_seed(5)
    bits = torch.empty(20, dtype=torch.int64).random_(-(2**63), None).numpy().view(np.int16)[:77].reshape(7, 11)
    threshold = round(0.3 * 2**16)
    kept = bits >= threshold - 2**15
    expected = x.numpy() * np.where(kept, np.float32(2**16 / (2**16 - threshold)), np.float32(0))
    np.testing.assert_array_equal(found.numpy(), expected)
    assert 0.5 < kept.mean() < 0.9


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_training_in_bf16_drops_as_it_is_told(p):
    model = made(drop_prob=0.0, att_drop_prob=0.0, att_layer_drop_prob=p).train()
    x = torch.randn(4, 3, 500)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first, again = model(x), model(x)
    assert torch.isfinite(first).all()
    assert torch.equal(first, again) == (p != 0.2)


def test_a_second_derivative_is_refused_rather_than_wrong():
    model, x = made().train(), torch.randn(2, 3, 500)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x).float().sum()
    weight = model.encoder.patch_embedding.projection.weight
    (slope,) = torch.autograd.grad(loss, weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()
