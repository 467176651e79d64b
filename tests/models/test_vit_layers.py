"""Layers of a vision transformer: equal to torch's own, masked exactly."""

import pytest
import torch
from torch import nn

from biot_bd.models.vit_layers import SelfAttention, TokenPlaces, ViTLayer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return ViTLayer(24, 3, mlp_ratio=2.0).double()


def twin_of(layer):
    """The same layer of torch, with the same weights."""
    twin = nn.TransformerEncoderLayer(
        24, 3, 48, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).double()
    names = {
        "self_attn.in_proj_weight": layer.attention.qkv.weight,
        "self_attn.in_proj_bias": layer.attention.qkv.bias,
        "self_attn.out_proj.weight": layer.attention.out.weight,
        "self_attn.out_proj.bias": layer.attention.out.bias,
        "linear1.weight": layer.feed[0].weight,
        "linear1.bias": layer.feed[0].bias,
        "linear2.weight": layer.feed[2].weight,
        "linear2.bias": layer.feed[2].bias,
        "norm1.weight": layer.norm.weight,
        "norm1.bias": layer.norm.bias,
        "norm2.weight": layer.norm_feed.weight,
        "norm2.bias": layer.norm_feed.bias,
    }
    twin.load_state_dict(names)
    return twin


@pytest.mark.parametrize("masked", [False, True])
def test_a_layer_equals_torchs(layer, masked):
    x = torch.randn(4, 7, 24, dtype=torch.float64)
    mask = torch.rand(4, 7) > 0.4 if masked else None
    if masked:
        mask[:, 0] = True
    theirs = twin_of(layer)(x, src_key_padding_mask=None if mask is None else ~mask)
    seen = torch.ones(4, 7, dtype=torch.bool) if mask is None else mask
    torch.testing.assert_close(layer(x, mask)[seen], theirs[seen], rtol=1e-10, atol=1e-10)


def test_masked_tokens_are_as_good_as_gone(layer):
    x = torch.randn(2, 6, 24, dtype=torch.float64)
    mask = torch.tensor([True, True, False, True, False, True]).expand(2, -1)
    torch.testing.assert_close(layer(x, mask)[:, mask[0]], layer(x[:, mask[0]]), rtol=1e-12, atol=1e-12)


def test_heads_must_divide_the_features():
    with pytest.raises(ValueError, match="embed_dim=24 must be a multiple of num_heads=5"):
        SelfAttention(24, 5)


def test_positions_are_one_of_the_channel_and_one_of_the_frame():
    places = TokenPlaces(3, 4, 8)
    grid = places()
    assert grid.shape == (3, 4, 8)
    torch.testing.assert_close(grid[2, 1] - grid[0, 1], grid[2, 3] - grid[0, 3])
    assert sum(p.numel() for p in places.parameters()) == (3 + 4) * 8
    assert sum(p.numel() for p in TokenPlaces(1, 4, 8).parameters()) == 4 * 8
