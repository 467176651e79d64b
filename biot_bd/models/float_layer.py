"""A layer of the transformer in the precision of its parameters, for inference."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biot_bd.models.fast_attention import Layer
from biot_bd.models.packed_linear import PackedLinear


class FloatLayer:
    """One layer that computes with its parameters themselves."""

    def attend(self, layer: Layer, x: Tensor, absent: Tensor | None) -> Tensor:
        """Add attention to ``x``, in place: contexts by head, merged with the output projection."""
        attention = layer.attention
        heads = (attention.heads, attention.d_heads)
        q, k, v = self._project(layer, layer.norm(x))
        if absent is not None:
            k.masked_fill_(absent, -torch.inf)
        _softmax(q.unflatten(-1, heads), -1)
        _softmax(k, 1)
        k, v = k.unflatten(-1, heads).permute(0, 2, 3, 1), v.unflatten(-1, heads).transpose(1, 2)
        out = (attention.to_out.weight * attention.d_heads**-0.5).t().unflatten(0, heads)
        if x.device.type == "cpu":  # a window's heads are products of views; those of all windows would be copied
            merged = out.new_empty(len(x), *out.shape)
            for key, value, result in zip(k, v, merged, strict=True):
                torch.bmm(torch.bmm(key, value), out, out=result)
        else:
            merged = torch.matmul(torch.matmul(k, v), out)
        return x.baddbmm_(q, merged.flatten(1, 2)).add_(attention.to_out.bias)

    def _project(self, layer: Layer, normed: Tensor) -> tuple[Tensor, ...]:
        attention = layer.attention
        return attention.to_q(normed), attention.to_k(normed), attention.to_v(normed)

    def widen(self, layer: Layer, x: Tensor) -> Tensor:
        """Return the hidden features of the feed-forward part, after its GELU."""
        return torch.ops.aten.gelu_(_linear(layer.norm_feed(x), layer.feed.w1))

    def feed(self, layer: Layer, x: Tensor) -> Tensor:
        """Add the feed-forward part to ``x``, in place.

        On a CPU the product accumulates there, without memory of its own.
        """
        hidden, linear = self.widen(layer, x), layer.feed.w2
        if x.device.type != "cpu":
            return x.add_(linear(hidden))
        x.view(-1, x.shape[-1]).addmm_(hidden.flatten(0, 1), linear.weight.t()).add_(linear.bias)
        return x


class PackedFloatLayer(FloatLayer):
    """One layer with packed copies of its larger weights, in float32 on a CPU.

    Parameters
    ----------
    layer : Layer
    """

    def __init__(self, layer: Layer) -> None:
        attention, feed = layer.attention, layer.feed
        self._maps = [PackedLinear(linear.weight) for linear in (attention.to_q, attention.to_k, attention.to_v)]
        self._widen, self._narrow = (PackedLinear(linear.weight, linear.bias) for linear in (feed.w1, feed.w2))

    def _project(self, layer: Layer, normed: Tensor) -> tuple[Tensor, ...]:
        return tuple(linear(normed) for linear in self._maps)

    def widen(self, layer: Layer, x: Tensor) -> Tensor:
        """Return the hidden features of the feed-forward part, after its GELU."""
        return self._widen.gelu(layer.norm_feed(x))

    def feed(self, layer: Layer, x: Tensor) -> Tensor:
        """Add the feed-forward part to ``x``, in place.

        By four windows: with more, the C library returns the hidden features' memory to the system
        and fetches it again, 6 % of all time.
        """
        for part in x.split(4):
            part.copy_(self._narrow.add(self.widen(layer, part), part))
        return x


def _softmax(x: Tensor, dim: int) -> None:
    """Replace ``x`` by its softmax."""
    torch.softmax(x, dim, out=x)


def _linear(x: Tensor, linear: nn.Linear) -> Tensor:
    """Return ``linear(x)``.

    On a CPU that function first writes the bias to every row of fresh memory.
    """
    if x.device.type != "cpu":
        return linear(x)
    return F.linear(x, linear.weight).add_(linear.bias)
