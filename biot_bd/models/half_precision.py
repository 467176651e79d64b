"""A layer of the transformer in half precision, for inference."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from biot_bd.models.fast_attention import Layer
from biot_bd.models.packed_linear import PackedLinear, can_pack


class HalfPrecisionLayer:
    """One layer with copies of its weights in half precision.

    The sum over layers and normalisation stay in the precision of ``x``.  Values are not computed:
    a head's context is the keys' mean of the *input*, then two small maps (values, output) of that
    mean, 32 rows of a head instead of all tokens.  Each head's queries sum to 1, so a share of the
    output's bias in each row of the merged context adds up to that bias.

    Parameters
    ----------
    layer : Layer
    dtype : torch.dtype
        ``torch.bfloat16`` or ``torch.float16``.
    """

    def __init__(self, layer: Layer, dtype: torch.dtype) -> None:
        attention, feed = layer.attention, layer.feed
        self._dtype = dtype
        self._heads = (attention.heads, attention.d_heads)
        self._query, self._key = (_linear(linear.weight, None, dtype) for linear in (attention.to_q, attention.to_k))
        # By head: (heads, embed_dim, d_heads), (heads, d_heads, embed_dim).
        values = attention.to_v.weight.detach().unflatten(0, self._heads).transpose(1, 2)
        out = (attention.to_out.weight.detach() * attention.d_heads**-0.5).t().unflatten(0, self._heads)
        self._value, self._out = values.to(dtype).contiguous(), out.to(dtype).contiguous()
        self._out_bias = (attention.to_out.bias.detach() / attention.heads).to(dtype)
        self._widen, self._narrow = (_linear(linear.weight, linear.bias, dtype) for linear in (feed.w1, feed.w2))

    def attend(self, layer: Layer, x: Tensor, absent: Tensor | None) -> Tensor:
        """Add attention to ``x``, in place."""
        normed = layer.norm(x).to(self._dtype)
        q, k = self._query(normed), self._key(normed)
        if absent is not None:
            k.masked_fill_(absent, -torch.inf)
        q = q.unflatten(-1, self._heads).softmax(dim=-1).flatten(2)
        means = torch.bmm(k.softmax(dim=1).transpose(1, 2), normed)
        return x.add_(torch.bmm(q, self._merge(means)).to(x.dtype))  # a sum of two types is four times slower

    def _merge(self, means: Tensor) -> Tensor:
        """Map (n, features of keys, embed_dim) by head to values and to outputs."""
        n, embed_dim = len(means), means.shape[-1]
        heads, d_heads = self._heads
        by_head = means.unflatten(1, self._heads).transpose(0, 1).reshape(heads, n * d_heads, embed_dim)
        out = torch.baddbmm(self._out_bias, torch.bmm(by_head, self._value), self._out)
        return out.unflatten(1, (n, d_heads)).transpose(0, 1).reshape(n, heads * d_heads, embed_dim)

    def widen(self, layer: Layer, x: Tensor) -> Tensor:
        """Return the hidden features of the feed-forward part, after its GELU."""
        return self._widen.gelu(layer.norm_feed(x).to(self._dtype))

    def feed(self, layer: Layer, x: Tensor) -> Tensor:
        """Add the feed-forward part to ``x``, in place."""
        return x.add_(self._narrow(self.widen(layer, x)).to(x.dtype))


class _Linear:
    """A linear map in half precision."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self._weight = weight.detach().to(dtype)
        self._bias = None if bias is None else bias.detach().to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self._weight, self._bias)

    def gelu(self, x: Tensor) -> Tensor:
        return torch.ops.aten.gelu_(self(x))


def _linear(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> _Linear | PackedLinear:
    if weight.device.type == "cpu" and can_pack(dtype):
        return PackedLinear(weight.detach().to(dtype), bias)
    return _Linear(weight, bias, dtype)
