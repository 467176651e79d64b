"""The transformer of BIOT without needless work, on the parameters of its modules.

The mathematics is that of linear attention [1]_ as the modules compute it, reordered exactly:
contexts are merged with the output projection, and the mean over tokens is taken before the last
linear map, which commutes with it.  There are no copies to transposed layouts.  Whoever changes how
the modules run (hooks, adapters, another attention function) gets the modules: see
:func:`fast_layers`.

References
----------
.. [1] Shen, Z. et al. (2021). Efficient Attention: Attention with Linear Complexities. WACV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from linear_attention_transformer import linear_attention_transformer as lat
from linear_attention_transformer.reversible import SequentialSequence
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from biot_bd.models.half_precision_training import Attention, Feed

_PARTS = (
    nn.Linear,
    nn.LayerNorm,
    nn.Dropout,
    nn.GELU,
    nn.Embedding,
    nn.ModuleList,
    lat.Chunk,
    lat.FeedForward,
    lat.LinearAttentionTransformer,
    lat.LocalAttention,
    lat.PreNorm,
    lat.SelfAttention,
    SequentialSequence,
)
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


@dataclass(frozen=True, slots=True)
class Layer:
    """The modules of one transformer layer."""

    norm: nn.LayerNorm
    attention: Any
    norm_feed: nn.LayerNorm
    feed: Any


def is_followed() -> bool:
    """Say whether a compiler, an exporter, a tracer or a transform of ``torch.func`` follows.

    They want the modules' plain operations: no branches on values, no products into given memory.
    """
    # torch.func says nowhere publicly whether it is at work.
    transformed: bool = torch._C._are_functorch_transforms_active()
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or transformed


def all_finite(x: Tensor) -> bool | None:
    """Say whether all values are finite; None where there are no values to look at.

    None inside compiled, exported and traced graphs, under ``torch.func.vmap``, and for meta and
    fake tensors.

    Parameters
    ----------
    x : Tensor, any shape
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return None
    # One sum costs far less than a search for NaN, and no finite sum hides one.
    try:
        return bool(x.sum().isfinite())
    except RuntimeError:  # how all of them refuse to be a truth value
        return None


def is_untouched(modules: Any, types: tuple[type, ...] = _PARTS) -> bool:
    """Say whether modules do just what their types do, with parameters of their own.

    False with a hook, a replaced ``forward``, a subclass or wrapper (adapters, quantisation,
    parametrisations), or parameters that a transform has swapped for other tensors.
    """
    if any(getattr(torch_module, f"_global{name}", None) for name in _HOOKS):
        return False
    for module in modules:
        own = module.__dict__
        if type(module) not in types or "forward" in own or any(own.get(name) for name in _HOOKS):
            return False
        for parameter in own["_parameters"].values():
            if parameter is not None and type(parameter) is not nn.Parameter:
                return False
    return True


def fast_layers(transformer: nn.Module, attention_function: Callable[..., Tensor]) -> list[Layer] | None:
    """Return the layers of BIOT's transformer, or None where only its modules know what to compute.

    Parameters
    ----------
    transformer : torch.nn.Module
    attention_function : callable
        The linear attention that the layers must have for :func:`encode` to stand in for them.
    """
    if is_followed() or not is_untouched(transformer.modules()):
        return None
    sequence: Any = transformer.layers
    if type(transformer) is not lat.LinearAttentionTransformer or sequence.layer_dropout:
        return None
    layers = []
    for first, second in sequence.layers:
        attention, chunk = first.fn, second.fn
        if type(attention) is not lat.SelfAttention or type(chunk) is not lat.Chunk or chunk.chunks != 1:
            return None
        feed = chunk.fn
        if (
            attention.global_attn_fn is not attention_function
            or attention.local_attn_heads
            or attention.receives_context
            or feed.glu
            or type(feed.act) is not nn.GELU
            or feed.act.approximate != "none"
            or feed.dropout.p
        ):
            return None
        layers.append(Layer(first.norm, attention, second.norm, feed))
    return layers


def encode(layers: list[Layer], x: Tensor, mask: Tensor | None = None, takes_first: bool = False) -> Tensor:
    """Run the transformer and take the mean over tokens, or the first one, differentiably.

    Parameters
    ----------
    layers : list of Layer
    x : Tensor, shape (n, tokens, embed_dim)
    mask : Tensor of bool, shape (n, tokens), optional
        False for tokens that get no attention and no part in the mean.
    takes_first : bool
        Read out the first token (a class token) instead of the mean.

    Returns
    -------
    Tensor, shape (n, embed_dim)
    """
    x = _through(layers, x, mask, feeds_last=False)
    last = layers[-1]
    if takes_first:
        x, mask = x[:, :1], None
    hidden = F.gelu(last.feed.w1(last.norm_feed(x)))
    return token_mean(x, mask) + last.feed.w2(token_mean(hidden, mask))


def encode_tokens(layers: list[Layer], x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Run the transformer and return every token, differentiably.

    Parameters
    ----------
    layers, x, mask
        As for :func:`encode`.

    Returns
    -------
    Tensor, shape (n, tokens, embed_dim)
    """
    return _through(layers, x, mask, feeds_last=True)


def _through(layers: list[Layer], x: Tensor, mask: Tensor | None, feeds_last: bool) -> Tensor:
    """Run the layers, the last one with or without what follows its attention."""
    absent, half = None if mask is None else ~mask[..., None], _half_precision(x)
    for layer in layers:
        feeds = feeds_last or layer is not layers[-1]
        if half is not None:
            x = _in_half_precision(layer, x, absent, half, feeds)
            continue
        x = x + _attend(layer, x, absent)
        if feeds:
            x = x + layer.feed.w2(F.gelu(layer.feed.w1(layer.norm_feed(x))))
    return x


def _half_precision(x: Tensor) -> torch.dtype | None:
    """Return autocast's type where layers compute in it on a CPU."""
    plain = type(x) is Tensor and x.device.type == "cpu" and x.dtype == torch.float32
    if not plain or not torch.is_autocast_enabled("cpu"):
        return None
    dtype = torch.get_autocast_dtype("cpu")
    return dtype if dtype in (torch.bfloat16, torch.float16) else None


def _in_half_precision(layer: Layer, x: Tensor, absent: Tensor | None, dtype: torch.dtype, feeds: bool) -> Tensor:
    """Run one layer, or its attention alone, residual sums included."""
    attention, feed, norm = layer.attention, layer.feed, layer.norm_feed
    kept, scale = None, 1.0
    if attention.dropout.training and attention.dropout.p:
        kept, scale = _dropout_mask(x, attention.dropout.p)
    maps = (attention.to_q, attention.to_k, attention.to_v, attention.to_out)
    weights = (layer.norm.weight, layer.norm.bias, *(linear.weight for linear in maps), attention.to_out.bias)
    with torch.autocast("cpu", enabled=False):
        x = Attention.apply(x, absent, kept, scale, dtype, attention.heads, layer.norm.eps, *weights)
        if not feeds:
            return x
        weights = (norm.weight, norm.bias, feed.w1.weight, feed.w1.bias, feed.w2.weight, feed.w2.bias)
        return Feed.apply(x, dtype, norm.eps, *weights)


def _attend(layer: Layer, x: Tensor, absent: Tensor | None) -> Tensor:
    attention = layer.attention
    normed = layer.norm(x)
    heads = (attention.heads, attention.d_heads)
    if not x.is_meta and torch.is_autocast_enabled(x.device.type):
        # One conversion of the activations for all three products, forward and backward.
        joined = torch.cat([attention.to_q.weight, attention.to_k.weight, attention.to_v.weight])
        q, k, v = F.linear(normed, joined).split(attention.to_q.out_features, dim=-1)
    else:  # three results without copies are faster than one that must be taken apart
        q, k, v = attention.to_q(normed), attention.to_k(normed), attention.to_v(normed)
    if absent is not None:
        k = k.masked_fill(absent, -torch.inf)
    q = q.unflatten(-1, heads).softmax(dim=-1)
    k = k.softmax(dim=1).unflatten(-1, heads)
    context = torch.matmul(k.permute(0, 2, 3, 1), v.unflatten(-1, heads).transpose(1, 2))
    context = context * attention.d_heads**-0.5
    out = torch.matmul(q.transpose(1, 2), context).transpose(1, 2).flatten(2)
    return dropout(attention.to_out(out), attention.dropout.p, attention.dropout.training)


def token_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over (present) tokens: (n, tokens, features) to (n, features)."""
    if mask is None and x.dtype not in (torch.bfloat16, torch.float16):
        return x.mean(dim=1)
    # A product with ones: sums of half-precision tensors are slow, and this one adds in float32.
    ones = x.new_ones(1, 1, 1).expand(len(x), 1, x.shape[1]) if mask is None else mask[:, None].to(x.dtype)
    count = x.shape[1] if mask is None else mask.sum(dim=1, keepdim=True)
    return torch.matmul(ones, x)[:, 0] / count


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Drop each element with probability ``p`` (to 2**-16), as ``F.dropout``.

    On a CPU torch draws one number an element, on one core: a sixth of a training step.  Here a
    64-bit number decides over four elements.
    """
    if not training or not round(p * 2**16):
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling() or round(p * 2**16) == 2**16:
        return F.dropout(x, p, training=True)
    kept, scale = _dropout_mask(x, p)
    return x * kept.mul_(scale)


def _dropout_mask(x: Tensor, p: float) -> tuple[Tensor, float]:
    """Return 1 for what is kept of ``x`` and 0 for the rest, and the factor that keeps the mean."""
    threshold = round(p * 2**16)
    if threshold == 2**16:
        return torch.zeros_like(x), 1.0
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)  # type: ignore[arg-type]
    # In place: comparisons that make a bool are four times slower, and so is what converts one.
    kept = bits.view(torch.int16)[: x.numel()].view(x.shape).ge_(threshold - 2**15)
    return kept.to(x.dtype), 2**16 / (2**16 - threshold)
