"""How each kind of attention is observed; see :mod:`biot_bd.models.attention.record`."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from biot_bd.models.attention._recorder import Recorder, at_least_float32
from biot_bd.models.attention.attention_record import Adapter, AttentionRecord

_SDPA = F.scaled_dot_product_attention
_SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax)
_MATMUL = (torch.matmul, Tensor.matmul, Tensor.__matmul__)


@contextlib.contextmanager
def installed(recorder: Recorder, model: nn.Module) -> Iterator[None]:
    """Install the adapters; take all of them away at the end."""
    with contextlib.ExitStack() as undo:
        for name, module in model.named_modules():
            _follow_path(recorder, undo, name, module)
            if is_linear(module):
                _check_linear(name, module)
                original = module.global_attn_fn
                module.global_attn_fn = _linear_twin(recorder, name, original)
                undo.callback(setattr, module, "global_attn_fn", original)
            elif is_mha(module):
                _hook_mha(recorder, undo, name, module)
        # torch's fused inference path of nn.MultiheadAttention is one opaque call.
        undo.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        undo.enter_context(_FunctionMode(recorder))
        yield


def _follow_path(recorder: Recorder, undo: contextlib.ExitStack, name: str, module: nn.Module) -> None:
    """Keep track of which module runs: a function call does not say who made it."""

    def enter(module: nn.Module, args: Any) -> None:
        recorder.enter(name, module, args)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        recorder.path.pop()

    undo.callback(module.register_forward_pre_hook(enter).remove)
    undo.callback(module.register_forward_hook(leave, always_call=True).remove)


def _linear_twin(recorder: Recorder, name: str, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return linear attention with the same result that hands its map to the recorder."""

    @functools.wraps(original)
    def twin(q: Tensor, k: Tensor, v: Tensor, kv_mask: Tensor | None = None) -> Tensor:
        if not recorder.wants(name):
            return original(q, k, v, kv_mask=kv_mask)
        scale = q.shape[-1] ** -0.5
        with recorder.context(), torch.autocast(q.device.type, enabled=False):
            queries, keys, values = (at_least_float32(t) for t in (q, k, v))
            absent = None if kv_mask is None else ~kv_mask[:, None, :, None]
            if absent is not None:  # the original writes its mask into v: work on a copy
                values = values.masked_fill(absent, 0.0)
            made = _linear_map(recorder, name, queries, keys, absent)
        # Where the map takes its place, this result is only compared.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not recorder.rebuilds):
            # The library's own writes its mask into k and v.
            k, v = (k, v) if kv_mask is None else (k.clone(), v.clone())
            output = original(q, k, v, kv_mask=kv_mask)
        record = AttentionRecord(name, "linear", recorder.kind, made, scale, None, kv_mask)
        if recorder.kind == "exact":
            record.error = _check_linear_map(recorder, record, values, output)
        weights = recorder.store(record)
        return output if weights is None or not recorder.rebuilds else (scale * (weights @ values)).to(output.dtype)

    return twin


def _linear_map(
    recorder: Recorder, name: str, q: Tensor, k: Tensor, absent: Tensor | None
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the map of the recorder's kind, or its factors where it need not be made now.

    ``absent`` (n, 1, keys, 1) marks the keys that get nothing.
    """
    n_elements = q.shape[:-1].numel() * k.shape[-2]
    if recorder.kind == "qk":
        recorder.check_size(name, n_elements)
        scores = (q @ k.mT) * q.shape[-1] ** -0.5
        if absent is not None:
            scores = scores.masked_fill(absent.mT, -math.inf)
        return scores.softmax(dim=-1)
    if absent is not None:
        k = k.masked_fill(absent, -math.inf)
    queries, keys = q.softmax(dim=-1), k.softmax(dim=-2)
    if recorder.keeps_factors:
        return queries, keys
    recorder.check_size(name, n_elements)
    return queries @ keys.mT


def _check_linear_map(recorder: Recorder, record: AttentionRecord, values: Tensor, output: Tensor) -> float:
    """Rebuild the layer's output from the map; from its factors, one window's map beside all."""
    if isinstance(record.made, Tensor):
        return recorder.compare(record.layer, record.scale * (record.made.detach() @ values.detach()), output)
    queries, keys = (factor.detach() for factor in record.made)
    context = record.scale * (keys.mT @ values.detach())
    error = recorder.compare(record.layer, queries @ context, output)
    whole = record.scale * ((queries[:1] @ keys[:1].mT) @ values[:1].detach())
    return max(error, recorder.compare(record.layer, whole, output[:1]))


def _hook_mha(recorder: Recorder, undo: contextlib.ExitStack, name: str, module: nn.Module) -> None:
    """Have the weights by head from callers that want weights.

    The others end in the SDPA adapter.
    """
    names = tuple(inspect.signature(nn.MultiheadAttention.forward).parameters)[1:]
    asked: list[dict[str, Any]] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        given = dict(zip(names, args, strict=False)) | kwargs
        asked.append(given)
        if not recorder.wants(name):
            return args, kwargs
        weights = given.get("need_weights", True) and not recorder.rebuilds
        return (), given | {"need_weights": weights, "average_attn_weights": False}

    def after(module: nn.Module, args: Any, kwargs: dict[str, Any], output: tuple[Tensor, Tensor | None]) -> Any:
        given = asked.pop()
        if not recorder.wants(name) or not given.get("need_weights", True):
            return None
        weights = output[1]
        if weights is None:  # rebuilt by the SDPA adapter, which went on with this map
            weights = recorder.latest[0] if given["query"].ndim == 2 else recorder.latest
        else:
            recorder.check_size(name, weights.numel())
            recorder.store(AttentionRecord(name, "mha", "exact", weights if weights.ndim == 4 else weights[None]))
        return output[0], weights.mean(dim=-3) if given.get("average_attn_weights", True) else weights

    undo.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    # First of the hooks, so that recordings inside each other unwrap in the right order.
    undo.callback(module.register_forward_hook(after, with_kwargs=True, prepend=True).remove)


class _FunctionMode(TorchFunctionMode):
    """See the calls by which modules of the model compute attention."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.products = _Products(recorder)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.recorder.path:  # else: somebody else's model
            if func is _SDPA:
                return _sdpa(self.recorder, *args, **kwargs)
            if func is F.multi_head_attention_forward:
                # The mode is off inside its own handler, and this function calls SDPA by its global
                # name.
                with mock.patch.object(F, "scaled_dot_product_attention", _this_thread(self.recorder)):
                    return func(*args, **kwargs)
            return self.products.call(func, args, kwargs)
        return func(*args, **kwargs)


class _Products:
    """Attention by plain products: a softmax of (n, heads, queries, keys), dropout, times values.

    A map is known as such when it multiplies something from the left, so nothing needs to be
    rebuilt.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.weights: Tensor | None = None  # the latest softmax
        self.entering: Tensor | None = None  # what became of it behind dropout
        self.dropout_p = 0.0

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        follows = bool(args) and self.entering is not None and args[0] is self.entering
        if follows and func in _MATMUL:
            return self._multiplied(func, args, kwargs)
        output = func(*args, **kwargs)
        if follows and func is F.dropout:
            self.entering, self.dropout_p = output, _dropout_p(*args, **kwargs)
        elif func in _SOFTMAX and self._may_attend(output, *args, **kwargs):
            self.weights = self.entering = output
            self.dropout_p = 0.0
        return output

    def _may_attend(self, output: Tensor, values: Tensor, dim: int | None = None, *args: Any, **kwargs: Any) -> bool:
        module = self.recorder.path[-1][1]
        return output.ndim == 4 and dim in (-1, 3) and not (is_linear(module) or is_mha(module))

    def _multiplied(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        (name, _), weights, dropout_p = self.recorder.path[-1], self.weights, self.dropout_p
        self.weights = self.entering = None
        if weights is None or not self.recorder.wants(name):
            return func(*args, **kwargs)
        self.recorder.check_size(name, weights.numel())
        edited = self.recorder.store(AttentionRecord(name, "product", "exact", at_least_float32(weights)))
        if edited is None or not self.recorder.rebuilds:
            return func(*args, **kwargs)
        edited = edited.to(weights.dtype)
        return func(F.dropout(edited, dropout_p) if dropout_p else edited, *args[1:], **kwargs)


def _dropout_p(values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> float:
    return p if training else 0.0


def _sdpa(recorder: Recorder, *args: Any, **kwargs: Any) -> Tensor:
    name, module = recorder.path[-1]
    if not recorder.wants(name):
        return _SDPA(*args, **kwargs)
    return _record_sdpa(recorder, name, "mha" if is_mha(module) else "sdpa", *args, **kwargs)


def _this_thread(recorder: Recorder) -> Callable[..., Tensor]:
    """Return a stand-in for the SDPA function that leaves the calls of other threads alone."""
    owner = threading.get_ident()

    def sdpa(*args: Any, **kwargs: Any) -> Tensor:
        return _sdpa(recorder, *args, **kwargs) if threading.get_ident() == owner else _SDPA(*args, **kwargs)

    return sdpa


def _record_sdpa(
    recorder: Recorder,
    name: str,
    adapter: Adapter,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Compute the softmax weights beside the fused call, and check them against it."""
    recorder.check_size(name, math.prod(query.shape[:-1]) * key.shape[-2])
    with recorder.context(), torch.autocast(query.device.type, enabled=False):
        q, k, v = (at_least_float32(t) for t in (query, key, value))
        if enable_gqa:
            k, v = (t.repeat_interleave(q.shape[-3] // t.shape[-3], dim=-3) for t in (k, v))
        scores = (q @ k.transpose(-1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(future, -math.inf)
        if attn_mask is not None:
            bias = attn_mask
            scores = scores.masked_fill(~bias, -math.inf) if bias.dtype == torch.bool else scores + bias.to(scores)
        # A query that may attend to nothing gets zeros, as from the fused call.
        empty = (scores == -math.inf).all(dim=-1, keepdim=True)
        weights = scores.masked_fill(empty, 0.0).softmax(dim=-1).masked_fill(empty, 0.0)
    # A map without batch or heads gets those dimensions.
    recorded = weights if weights.ndim > 3 else weights.reshape(-1, 1, *weights.shape[-2:])
    record = AttentionRecord(name, adapter, "exact", recorded)
    options: dict[str, Any] = {"attn_mask": attn_mask, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
    if not recorder.rebuilds or not dropout_p:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not recorder.rebuilds):
            output = _SDPA(query, key, value, dropout_p=dropout_p, **options)
        if not dropout_p:
            record.error = recorder.compare(name, weights.detach() @ v.detach(), output)
    edited = recorder.store(record)
    if edited is None or not recorder.rebuilds:
        return output
    edited = edited.reshape(weights.shape)
    return ((F.dropout(edited, dropout_p) if dropout_p else edited) @ v).to(value.dtype)


def is_linear(module: nn.Module) -> bool:
    return hasattr(module, "global_attn_fn") and hasattr(module, "local_attn_heads")


def is_mha(module: nn.Module) -> bool:
    # A subclass with its own forward has its own arguments; its SDPA call is seen as such.
    return getattr(type(module), "forward", None) is nn.MultiheadAttention.forward


def _check_linear(name: str, module: Any) -> None:
    if module.local_attn_heads or getattr(module.global_attn_fn, "__name__", "") != "linear_attn":
        raise NotImplementedError(
            f"layer {name}: causal linear attention and local heads have no row-stochastic map that could be recorded"
        )
