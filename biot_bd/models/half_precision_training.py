"""Layers of BIOT's transformer in half precision with a backward pass of their own, for a CPU.

Under autocast every operation converts for itself, and softmax runs in float32.  Here a layer
converts once, behind its norm, and back at the residual sum; contexts are merged with the output
map, and dropout's scale is folded into it.  The residual stream and its gradient, norms and
gradients of weights stay in the type of the parameters.  There is no second derivative: torch
raises where one is asked for.

References
----------
.. [1] Shen, Z. et al. (2021). Efficient Attention: Attention with Linear Complexities. WACV.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_aten = torch.ops.aten


class Attention(torch.autograd.Function):
    """``x + dropout(to_out(attention(norm(x))))``; contexts are merged with the output map."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        absent: Tensor | None,
        kept: Tensor | None,
        scale: float,
        dtype: torch.dtype,
        n_heads: int,
        eps: float,
        gain: Tensor,
        offset: Tensor,
        to_q: Tensor,
        to_k: Tensor,
        to_v: Tensor,
        to_out: Tensor,
        bias: Tensor,
    ) -> Tensor:
        """Return the sum of ``x`` and what attention adds to it.

        Parameters
        ----------
        x : Tensor of the parameters' type, shape (n, tokens, embed_dim)
        absent : Tensor of bool, shape (n, tokens, 1), or None
            True for tokens that get no attention.
        kept : Tensor, shape of ``x``, or None
            0 for what dropout drops, else 1.
        scale : float
            What dropout multiplies the rest with.
        dtype : torch.dtype
            Of the products.
        n_heads, eps, gain, ..., bias :
            Of the modules.
        """
        normed, mean, rstd = torch.native_layer_norm(x, gain.shape, gain, offset, eps)
        normed = normed.to(dtype)
        maps = torch.cat([to_q, to_k, to_v]).to(dtype)
        q, k, v = (F.linear(normed, weight) for weight in maps.chunk(3))
        if absent is not None:
            k = k.masked_fill_(absent, -torch.inf)
        heads = (n_heads, len(to_q) // n_heads)
        q = q.unflatten(-1, heads).softmax(dim=-1).flatten(2)
        k, v = (part.unflatten(-1, heads).transpose(1, 2).contiguous() for part in (k, v))
        k = k.softmax(dim=2)
        factor = scale * heads[1] ** -0.5
        out = (to_out.t() * factor).to(dtype).unflatten(0, heads)  # the part of the map for each head
        context = torch.matmul(k.transpose(2, 3), v).transpose(0, 1).flatten(1, 2)
        merged = torch.bmm(context, out).unflatten(1, (len(x), -1)).transpose(0, 1).flatten(1, 2)
        y = torch.bmm(q, merged).to(x.dtype).add_(bias, alpha=scale)
        # What the norm gives is computed again, as in `Feed`: memory for a hundredth of the time.
        ctx.save_for_backward(x, mean, rstd, gain, offset, maps, q, k, v, out, context, merged, kept)
        ctx.heads, ctx.scale, ctx.factor, ctx.eps = heads, scale, factor, eps
        return y.add_(x) if kept is None else torch.addcmul(x, y, kept, out=y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        """Return the gradient for each argument."""
        x, mean, rstd, gain, offset, maps, q, k, v, out, context, merged, kept = ctx.saved_tensors
        heads, dtype = ctx.heads, maps.dtype
        dy = slope if kept is None else slope * kept
        d_bias = dy.sum(dim=(0, 1)).mul_(ctx.scale)
        dy = dy.to(dtype)
        d_merged = torch.bmm(q.transpose(1, 2), dy).unflatten(1, heads).transpose(0, 1).flatten(1, 2)
        dq = torch.bmm(dy, merged.transpose(1, 2)).unflatten(-1, heads)
        d_out = torch.bmm(context.transpose(1, 2), d_merged).to(x.dtype).mul_(ctx.factor).flatten(0, 1).t()
        d_context = torch.bmm(d_merged, out.transpose(1, 2)).unflatten(1, (len(x), -1)).transpose(0, 1)
        dk, dv = torch.matmul(v, d_context.transpose(2, 3)), torch.matmul(k, d_context)
        dq = _aten._softmax_backward_data(dq, q.unflatten(-1, heads), -1, dtype)
        dk = _aten._softmax_backward_data(dk, k, 2, dtype)
        joined = torch.stack([dq, dk.transpose(1, 2), dv.transpose(1, 2)], dim=2).flatten(2).flatten(0, 1)
        dx, d_gain, d_offset, d_maps = _through_norm(joined, x, mean, rstd, gain, offset, ctx.eps, maps)
        return (dx.add_(slope), *[None] * 6, d_gain, d_offset, *d_maps.chunk(3), d_out, d_bias)


class Feed(torch.autograd.Function):
    """``x + w2(gelu(w1(norm(x))))``."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dtype: torch.dtype,
        eps: float,
        gain: Tensor,
        offset: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
    ) -> Tensor:
        """Return the sum of ``x`` and what the two maps add to it; as for :class:`Attention`."""
        normed, mean, rstd = torch.native_layer_norm(x, gain.shape, gain, offset, eps)
        normed, w1, w2 = normed.to(dtype), w1.to(dtype), w2.to(dtype)
        hidden = _linear(normed, w1, b1.to(dtype))
        ctx.save_for_backward(x, mean, rstd, gain, offset, w1, w2, hidden)
        ctx.eps = eps
        return F.linear(F.gelu(hidden), w2).to(x.dtype).add_(b2).add_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        """Return the gradient for each argument."""
        x, mean, rstd, gain, offset, w1, w2, hidden = ctx.saved_tensors
        dy = slope.to(w1.dtype).flatten(0, 1)
        d_w2 = torch.mm(dy.t(), F.gelu(hidden).flatten(0, 1)).to(x.dtype)
        d_active = torch.mm(dy, w2).view_as(hidden)
        d_hidden = _aten.gelu_backward.grad_input(d_active, hidden, grad_input=d_active)
        d_b1 = d_hidden.sum(dim=(0, 1)).to(x.dtype)  # over one axis it is four times slower
        dx, d_gain, d_offset, d_w1 = _through_norm(d_hidden.flatten(0, 1), x, mean, rstd, gain, offset, ctx.eps, w1)
        return dx.add_(slope), None, None, d_gain, d_offset, d_w1, d_b1, d_w2, slope.sum(dim=(0, 1))


def _through_norm(
    d: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, gain: Tensor, offset: Tensor, eps: float, weight: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of ``x``, of the norm's two parameters and of ``weight``."""
    normed = torch.native_layer_norm(x, gain.shape, gain, offset, eps)[0].to(d.dtype)
    d_weight = torch.mm(d.t(), normed.flatten(0, 1)).to(x.dtype)
    d_normed = torch.mm(d, weight).to(x.dtype).view_as(x)
    found = _aten.native_layer_norm_backward(d_normed, x, gain.shape, mean, rstd, gain, offset, [True, True, True])
    return (*found, d_weight)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the linear map; the plain function first copies the bias to every row."""
    if x.dtype != torch.bfloat16 or not _has_pointwise():
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _has_pointwise() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
