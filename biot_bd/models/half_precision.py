"""Inference of the fast transformer, with copies of the weights in the precision of the
products.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biot_bd.models.fast_attention import Layer, token_mean

_ROWS = 2432  # tokens of 8 windows: what the layout of packed weights is tuned for


class HalfPrecisionWeights:
    """Copies of a transformer's weights in half precision, true as long as :meth:`is_current`
    says so.

    Parameters
    ----------
    layers : list of Layer
    dtype : torch.dtype
    """

    def __init__(self, layers: list[Layer], dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._sources = [parameter.detach().clone() for parameter in _weights(layers)]
        self.layers = [_HalfPrecisionLayer(layer, dtype) for layer in layers]

    def is_current(self, layers: list[Layer], dtype: torch.dtype) -> bool:
        """Compare every weight with the one that was copied.

        Version counters miss changes through ``.data`` or shared memory; reading 13 MB takes 1 ms.
        """
        weights = _weights(layers)
        return (
            dtype == self.dtype
            and len(weights) == len(self._sources)
            and all(
                a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
                for a, b in zip(weights, self._sources, strict=True)
            )
        )


def infer(
    layers: list[Layer], x: Tensor, mask: Tensor | None = None, half: HalfPrecisionWeights | None = None
) -> Tensor:
    """Run the transformer and take the mean over tokens, without gradients.

    Parameters
    ----------
    layers : list of Layer
    x : Tensor, shape (n, tokens, embed_dim)
        Contiguous; overwritten.
    mask : Tensor of bool, shape (n, tokens), optional
        False for tokens that get no attention and no part in the mean.
    half : HalfPrecisionWeights, optional
        Weights for the products; the sum over layers, normalisation and the last map stay in the
        precision of ``x``.  None: the parameters themselves.

    Returns
    -------
    Tensor, shape (n, embed_dim)
    """
    absent = None if mask is None else ~mask[..., None]
    last = len(layers) - 1
    for number, layer in enumerate(layers):
        if half is None:
            _attend(layer, x, absent)
            hidden = _linear(layer.norm_feed(x), layer.feed.w1)
        else:
            half.layers[number].attend(layer, x, absent)
            hidden = half.layers[number].widen(layer.norm_feed(x).to(half.dtype))
        hidden = torch.ops.aten.gelu_(hidden)
        if number == last:
            break
        if half is None:
            _add_linear(x, hidden, layer.feed.w2)
        else:
            x.add_(half.layers[number].narrow(hidden))
    mean = token_mean(hidden, mask).to(x.dtype)
    return token_mean(x, mask) + layers[last].feed.w2(mean)


def _attend(layer: Layer, x: Tensor, absent: Tensor | None) -> None:
    """Add attention to ``x``: contexts by head, merged with the output projection."""
    attention = layer.attention
    heads = (attention.heads, attention.d_heads)
    normed = layer.norm(x)
    q, k, v = attention.to_q(normed), attention.to_k(normed), attention.to_v(normed)
    q, k = _softmaxes(q, k, absent, heads)
    k, v = k.unflatten(-1, heads).permute(0, 2, 3, 1), v.unflatten(-1, heads).transpose(1, 2)
    out = (attention.to_out.weight * attention.d_heads**-0.5).t().unflatten(0, heads)
    if x.device.type == "cpu":  # a window's heads are products of views; those of all windows would be copied
        merged = out.new_empty(len(x), *out.shape)
        for key, value, result in zip(k, v, merged, strict=True):
            torch.bmm(torch.bmm(key, value), out, out=result)
    else:
        merged = torch.matmul(torch.matmul(k, v), out)
    x.baddbmm_(q, merged.flatten(1, 2)).add_(attention.to_out.bias)


def _linear(x: Tensor, linear: nn.Linear) -> Tensor:
    """Return ``linear(x)``.

    On a CPU that function first writes the bias to every row of fresh memory.
    """
    if x.device.type != "cpu":
        return linear(x)
    return F.linear(x, linear.weight).add_(linear.bias)


def _add_linear(x: Tensor, hidden: Tensor, linear: nn.Linear) -> None:
    """Add ``linear(hidden)`` to ``x``.

    On a CPU the product accumulates there, without memory of its own.
    """
    if x.device.type != "cpu":
        x.add_(linear(hidden))
        return
    x.view(-1, x.shape[-1]).addmm_(hidden.flatten(0, 1), linear.weight.t()).add_(linear.bias)


def _softmaxes(q: Tensor, k: Tensor, absent: Tensor | None, heads: tuple[int, int]) -> tuple[Tensor, Tensor]:
    if absent is not None:
        k.masked_fill_(absent, -torch.inf)
    return q.unflatten(-1, heads).softmax(dim=-1).flatten(2), k.softmax(dim=1)


class _HalfPrecisionLayer:
    """One layer in half precision.

    Contexts are products of all features with all, masked to the heads: half-precision units do
    eight times the work sooner than the copies to a layout by heads take.  Each head's queries sum
    to 1, so a share of the output's bias in each row of the merged context adds up to that bias.
    """

    def __init__(self, layer: Layer, dtype: torch.dtype) -> None:
        attention, feed = layer.attention, layer.feed
        self.query, self.key, self.value = (
            _HalfPrecisionLinear(linear.weight, None, dtype)
            for linear in (attention.to_q, attention.to_k, attention.to_v)
        )
        scale, n_heads = attention.d_heads**-0.5, attention.heads
        self.out = _HalfPrecisionLinear(attention.to_out.weight * scale, attention.to_out.bias / n_heads, dtype)
        self.widen, self.narrow = (
            _HalfPrecisionLinear(linear.weight, linear.bias, dtype) for linear in (feed.w1, feed.w2)
        )
        ones = torch.ones(attention.d_heads, attention.d_heads, dtype=dtype, device=feed.w1.weight.device)
        self.heads = torch.block_diag(*[ones] * n_heads)

    def attend(self, layer: Layer, x: Tensor, absent: Tensor | None) -> None:
        normed = layer.norm(x).to(self.heads.dtype)
        q, k, v = self.query(normed), self.key(normed), self.value(normed)
        q, k = _softmaxes(q, k, absent, (layer.attention.heads, layer.attention.d_heads))
        merged = self.out(torch.bmm(k.transpose(1, 2), v).mul_(self.heads))
        x.add_(torch.bmm(q, merged))


class _HalfPrecisionLinear:
    """A linear map in half precision; on a CPU its weight lies in oneDNN's own layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.weight = weight.detach().to(dtype)
        self.packed = self.weight.device.type == "cpu" and dtype == torch.bfloat16 and _can_pack()
        if self.packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight.contiguous(), _ROWS)
        self.bias = None if bias is None else bias.detach().to(torch.float32 if self.packed else dtype)

    def __call__(self, x: Tensor) -> Tensor:
        if self.packed:
            # The plain function copies the bias to every row before it multiplies.
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return F.linear(x, self.weight, self.bias)


def _can_pack() -> bool:
    names = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    return (
        torch.backends.mkldnn.is_available()
        and all(hasattr(torch.ops.mkldnn, name) for name in names)
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def _weights(layers: list[Layer]) -> list[Tensor]:
    maps = [
        linear
        for layer in layers
        for linear in (layer.attention.to_q, layer.attention.to_k, layer.attention.to_v, layer.attention.to_out)
        + (layer.feed.w1, layer.feed.w2)
    ]
    return [tensor for linear in maps for tensor in (linear.weight, linear.bias) if tensor is not None]
