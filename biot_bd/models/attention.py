"""Record (or edit) the attention of a torch transformer while it runs, without a fork of the model.

Three exact adapters, chosen for each module:

``linear``
    BIOT's linear attention [1]_.  With ``d`` features a head the layer computes
    ``d ** -0.5 * softmax_features(Q) @ (softmax_tokens(K).T @ V)``, so its attention map is
    ``P = softmax_features(Q) @ softmax_tokens(K).T``: non-negative, rows sum to 1, rank at most ``d``.
``mha``
    :class:`torch.nn.MultiheadAttention`.
``sdpa``
    any other module that calls ``torch.nn.functional.scaled_dot_product_attention``.

The often-drawn ``softmax(Q K.T / sqrt(d))`` is not the operator of linear attention; it is recorded
under its own name, ``kind="qk"``.

References
----------
.. [1] Shen, Z. et al. (2021). Efficient Attention: Attention with Linear Complexities. WACV.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["AttentionRecord", "AttentionTrace", "attention_layers", "record_attention"]

Kind = Literal["exact", "qk"]
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
_TOLERANCE_HALF = 5e-2


@dataclass
class AttentionRecord:
    """One attention map of one call of one layer.

    Parameters
    ----------
    layer : str
        Path of the module, e.g. ``encoder.transformer.layers.layers.0.0.fn``.
    adapter : {"linear", "mha", "sdpa"}
        How the map was obtained.
    kind : {"exact", "qk"}
        ``"exact"``: the layer's own operator.  ``"qk"``: softmax of query-key products of a layer that
        computes something else.
    weights : Tensor, shape (n, heads, queries, keys)
        The map, or what ``reduce`` made of it.  ``n`` is the batch that the module saw: models that
        fold time into the batch have more than one map a window.
    scale : float
        The layer's heads are ``scale * weights @ V``.
    error : float or None
        Largest difference between ``scale * weights @ V`` and what the layer computed, relative to the
        largest value; None where there is nothing to compare (``qk``, weights that the module itself
        returned, dropout).
    key_mask : Tensor of bool, shape (n, keys), or None
        False for absent tokens of a ``linear`` layer: their columns are 0, and their rows mean nothing.
    """

    layer: str
    adapter: Literal["linear", "mha", "sdpa"]
    kind: Kind
    weights: Tensor
    scale: float = 1.0
    error: float | None = None
    key_mask: Tensor | None = None


@dataclass
class AttentionTrace:
    """What :func:`record_attention` saw, in the order of the calls."""

    records: list[AttentionRecord] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[AttentionRecord]:
        return iter(self.records)

    def __getitem__(self, number: int) -> AttentionRecord:
        return self.records[number]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the recorded layers, in the order of their first call."""
        return tuple(dict.fromkeys(record.layer for record in self.records))

    def of(self, layer: str) -> list[AttentionRecord]:
        """Return all records of one layer, one a call.

        Raises
        ------
        KeyError
            The layer was not recorded.
        """
        found = [record for record in self.records if record.layer == layer]
        if not found:
            raise KeyError(f"no attention recorded for layer {layer!r}; recorded: {', '.join(self.layers) or 'none'}")
        return found


def attention_layers(model: nn.Module, x: Tensor | None = None) -> tuple[str, ...]:
    """List the attention layers of a model.

    Parameters
    ----------
    model : torch.nn.Module
    x : Tensor, optional
        One small batch.  With it the model runs once, in eval mode, and the layers come in the order of
        their calls, those that call ``scaled_dot_product_attention`` themselves included.  Without it
        only modules known by type are listed, in the model's own order.

    Returns
    -------
    tuple of str
        Module paths; empty if there are none.

    Raises
    ------
    ValueError
        ``x`` is given and the model is in training mode.
    """
    if x is None:
        return tuple(name for name, module in model.named_modules() if _is_linear(module) or _is_mha(module))
    if model.training:
        raise ValueError("attention_layers(model, x) runs the model: call model.eval() first")
    recorder = _Recorder(keep=lambda name: False)
    with torch.no_grad(), _installed(recorder, model):
        model(x)
    return tuple(recorder.seen)


@contextlib.contextmanager
def record_attention(
    model: nn.Module,
    *,
    layers: Sequence[int | str] | None = None,
    keep: Callable[[str], bool] | None = None,
    kind: Kind = "exact",
    grad: bool = False,
    edit: Callable[[str, Tensor], Tensor] | None = None,
    reduce: Callable[[Tensor], Tensor] | None = None,
    max_elements: int = 2**28,
    tolerance: float | None = None,
) -> Iterator[AttentionTrace]:
    """Record the attention of every forward pass inside the ``with`` block.

    The model's outputs stay what they are (to rounding where torch would take a fused inference path,
    and with ``grad`` or ``edit``).  When the block ends, by an exception too, the model is as before.

    Parameters
    ----------
    model : torch.nn.Module
        BIOT, a braindecode transformer, or any module with one of the three kinds of attention.
    layers : sequence of int or str, optional
        Layers to record: module paths, or numbers into ``attention_layers(model)``, negative ones from
        the end.  None: all.
    keep : callable, optional
        ``keep(layer) -> bool``, a further choice by name.
    kind : {"exact", "qk"}
        ``"qk"`` records ``softmax(Q K.T / sqrt(d))`` of linear attention, which is not its operator.
    grad : bool
        Let the output depend on the maps and keep their gradient: after ``backward``,
        ``trace[i].weights.grad``.
    edit : callable, optional
        ``edit(layer, weights) -> weights``: an intervention; the model goes on with the result.
    reduce : callable, optional
        ``reduce(weights) -> Tensor``, applied before storing, e.g. the mean over heads.
    max_elements : int
        Most numbers in one map and in all that is stored, against running out of memory.
    tolerance : float, optional
        Largest relative error of the reconstruction; None: 1e-4 in float32, 1e-10 in float64, 5e-2 in
        half precision.

    Yields
    ------
    AttentionTrace

    Raises
    ------
    ValueError
        Arguments contradict each other, a layer does not exist, or a map is too large.
    NotImplementedError
        The model has linear attention of a kind without a row-stochastic map (causal, local heads).
    RuntimeError
        A map does not rebuild its layer's output, or the block ended and a layer that should have been
        recorded was not called.

    Examples
    --------
    >>> with torch.no_grad(), record_attention(model, layers=[0, -1]) as trace:
    ...     model(x)
    >>> trace[0].weights.shape
    torch.Size([2, 8, 304, 304])
    """
    _check_options(model, kind, grad, edit, reduce)
    recorder = _Recorder(_resolve_layers(model, layers), keep, kind, grad, edit, reduce, max_elements, tolerance)
    with _installed(recorder, model):
        yield recorder.trace
    recorder.check_complete(type(model).__name__)


class _Recorder:
    """Take maps from the adapters: choose, check, edit, reduce, store."""

    def __init__(
        self,
        layers: frozenset[str] | None = None,
        keep: Callable[[str], bool] | None = None,
        kind: Kind = "exact",
        grad: bool = False,
        edit: Callable[[str, Tensor], Tensor] | None = None,
        reduce: Callable[[Tensor], Tensor] | None = None,
        max_elements: int = 2**28,
        tolerance: float | None = None,
    ) -> None:
        self.layers, self.keep, self.kind, self.grad, self.edit = layers, keep, kind, grad, edit
        self.reduce, self.max_elements, self.tolerance = reduce, max_elements, tolerance
        self.trace = AttentionTrace()
        self.seen: dict[str, None] = {}  # in the order of first calls
        self.path: list[str] = []
        self.called = False
        self._stored = 0

    @property
    def rebuilds(self) -> bool:
        """Whether the model goes on with ``scale * weights @ V`` instead of the layer's own result."""
        return self.grad or self.edit is not None

    def wants(self, layer: str) -> bool:
        self.seen.setdefault(layer)
        return (self.layers is None or layer in self.layers) and (self.keep is None or self.keep(layer))

    def context(self) -> torch.set_grad_enabled:
        """Track gradients through a map only where it becomes part of the graph."""
        return torch.set_grad_enabled(self.rebuilds and torch.is_grad_enabled())

    def check_size(self, layer: str, n_elements: int) -> None:
        if n_elements > self.max_elements:
            raise ValueError(
                f"layer {layer}: recording would hold {n_elements} numbers, more than max_elements={self.max_elements}; "
                "use a smaller batch, fewer layers=, or reduce="
            )

    def compare(self, layer: str, rebuilt: Tensor, output: Tensor) -> float:
        """Return the relative error of a reconstruction; raise if it is not one."""
        rebuilt, output = rebuilt.detach().to(torch.float64).nan_to_num(), output.detach().to(torch.float64).nan_to_num()
        error = float((rebuilt - output).abs().max() / output.abs().max().clamp_min(1e-30)) if output.numel() else 0.0
        return error

    def check_error(self, layer: str, error: float, dtype: torch.dtype) -> None:
        limit = _TOLERANCE.get(dtype, _TOLERANCE_HALF) if self.tolerance is None else self.tolerance
        if not error <= limit:
            raise RuntimeError(
                f"layer {layer}: the map rebuilds the layer's output only to {error:.1e} (tolerance {limit:.1e}); "
                "it would not show what the layer does"
            )

    def store(self, record: AttentionRecord) -> Tensor:
        """Store a record and return the (edited) map with which the model goes on."""
        weights = record.weights
        if self.edit is not None:
            edited = self.edit(record.layer, weights)
            if not isinstance(edited, Tensor) or edited.shape != weights.shape:
                found = tuple(edited.shape) if isinstance(edited, Tensor) else type(edited).__name__
                raise ValueError(f"layer {record.layer}: edit must return a tensor of shape {tuple(weights.shape)}, got {found}")
            weights = edited
        if self.grad:
            if not torch.is_grad_enabled():
                raise RuntimeError("record_attention(grad=True) needs gradients: leave torch.no_grad()")
            if not weights.requires_grad:  # frozen model: the map is where the graph begins
                weights.requires_grad_()
            weights.retain_grad()
            record.weights = weights
        else:
            kept = weights.detach() if self.reduce is None else self.reduce(weights.detach())
            record.weights = kept
        self._stored += record.weights.numel()
        self.check_size(record.layer, self._stored)
        self.trace.records.append(record)
        return weights

    def check_complete(self, model: str) -> None:
        if not self.called:
            return
        if not self.seen:
            raise RuntimeError(
                f"{model} ran, and no attention was seen: it has none, or computes it with plain matrix products, "
                "which cannot be recorded exactly"
            )
        missing = sorted((self.layers or frozenset()) - set(self.seen))
        if missing:
            raise RuntimeError(
                f"{model} ran without attention in {', '.join(missing)}; layers with attention: {', '.join(self.seen)}"
            )


@contextlib.contextmanager
def _installed(recorder: _Recorder, model: nn.Module) -> Iterator[None]:
    """Install the adapters; take all of them away at the end."""
    with contextlib.ExitStack() as undo:
        for name, module in model.named_modules():
            _follow_path(recorder, undo, name, module)
            if _is_linear(module):
                _check_linear(name, module)
                original = module.global_attn_fn
                module.global_attn_fn = _linear_twin(recorder, name, original)
                undo.callback(setattr, module, "global_attn_fn", original)
            elif _is_mha(module):
                _hook_mha(recorder, undo, name, module)
        undo.enter_context(_SDPAMode(recorder))
        yield


def _follow_path(recorder: _Recorder, undo: contextlib.ExitStack, name: str, module: nn.Module) -> None:
    """Keep track of which module runs: a function call does not say who made it."""

    def enter(module: nn.Module, args: Any) -> None:
        recorder.called = True
        recorder.path.append(name)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        recorder.path.pop()

    undo.callback(module.register_forward_pre_hook(enter).remove)
    undo.callback(module.register_forward_hook(leave, always_call=True).remove)


def _linear_twin(recorder: _Recorder, name: str, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return linear attention with the same result that hands its map to the recorder."""

    @functools.wraps(original)
    def twin(q: Tensor, k: Tensor, v: Tensor, kv_mask: Tensor | None = None) -> Tensor:
        if not recorder.wants(name):
            return original(q, k, v, kv_mask=kv_mask)
        recorder.check_size(name, q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2])
        scale = q.shape[-1] ** -0.5
        with recorder.context(), torch.autocast(q.device.type, enabled=False):
            queries, keys, values = (_at_least_float32(t) for t in (q, k, v))
            if kv_mask is not None:  # the original writes its mask into k and v: work on copies
                mask = kv_mask[:, None, :, None]
                keys = keys.masked_fill(~mask, -torch.finfo(keys.dtype).max)
                values = values.masked_fill(~mask, 0.0)
            weights = _linear_map(queries, keys, scale, recorder.kind)
            rebuilt = scale * (weights.detach() @ values.detach())
        if recorder.rebuilds:  # this result is only compared
            with torch.no_grad():
                output = original(q, k.clone(), v.clone(), kv_mask=kv_mask)
        else:
            output = original(q, k, v, kv_mask=kv_mask)
        record = AttentionRecord(name, "linear", recorder.kind, weights, scale, None, kv_mask)
        if recorder.kind == "exact":
            record.error = recorder.compare(name, rebuilt, output)
            recorder.check_error(name, record.error, output.dtype)
        weights = recorder.store(record)
        return (scale * (weights @ values)).to(output.dtype) if recorder.rebuilds else output

    return twin


def _linear_map(q: Tensor, k: Tensor, scale: float, kind: Kind) -> Tensor:
    if kind == "qk":
        # A masked key is the lowest number in every feature; as a score it must be -inf.
        absent = (k == -torch.finfo(k.dtype).max).all(dim=-1)[..., None, :]
        scores = (q @ k.masked_fill(absent.transpose(-1, -2), 0.0).transpose(-1, -2)) * scale
        return scores.masked_fill(absent, -math.inf).softmax(dim=-1)
    return q.softmax(dim=-1) @ k.softmax(dim=-2).transpose(-1, -2)


def _hook_mha(recorder: _Recorder, undo: contextlib.ExitStack, name: str, module: nn.Module) -> None:
    """Have the weights by head from callers that want weights; the others end in the SDPA adapter."""
    asked: list[tuple[bool, bool]] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        names = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask", "average_attn_weights", "is_causal")
        given = dict(zip(names, args, strict=False)) | kwargs
        wanted, averaged = given.get("need_weights", True), given.get("average_attn_weights", True)
        asked.append((wanted, averaged))
        given |= {"need_weights": wanted and not recorder.rebuilds, "average_attn_weights": False}
        return (), given

    def after(module: nn.Module, args: Any, kwargs: dict[str, Any], output: tuple[Tensor, Tensor | None]) -> Any:
        wanted, averaged = asked.pop()
        weights = output[1]
        if not wanted:
            return None
        if weights is None:  # rebuilt by the SDPA adapter, which stored it last
            weights = recorder.trace.records[-1].weights if recorder.wants(name) else None
        elif recorder.wants(name):
            recorder.check_size(name, weights.numel())
            recorder.store(AttentionRecord(name, "mha", "exact", _four_dims(weights)))
        if weights is not None and averaged:
            weights = weights.mean(dim=-3)
        return output[0], weights

    undo.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    undo.callback(module.register_forward_hook(after, with_kwargs=True).remove)


class _SDPAMode(TorchFunctionMode):
    """See every call of ``scaled_dot_product_attention`` that a module of the model makes."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and self.recorder.path:
            name = self.recorder.path[-1]
            if self.recorder.wants(name):
                return _record_sdpa(self.recorder, name, func, *args, **kwargs)
        return func(*args, **kwargs)


def _record_sdpa(
    recorder: _Recorder,
    name: str,
    func: Callable[..., Tensor],
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
        q, k, v = (_at_least_float32(t) for t in (query, key, value))
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
    record = AttentionRecord(name, "sdpa", "exact", _four_dims(weights))
    options = {"attn_mask": attn_mask, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
    if not recorder.rebuilds or not dropout_p:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not recorder.rebuilds):
            output = func(query, key, value, dropout_p=dropout_p, **options)
        if not dropout_p:
            record.error = recorder.compare(name, weights.detach() @ v.detach(), output)
            recorder.check_error(name, record.error, output.dtype)
    edited = recorder.store(record)
    if not recorder.rebuilds:
        return output
    edited = edited.reshape(weights.shape)
    return ((F.dropout(edited, dropout_p) if dropout_p else edited) @ v).to(value.dtype)


def _is_linear(module: nn.Module) -> bool:
    return hasattr(module, "global_attn_fn") and hasattr(module, "local_attn_heads")


def _is_mha(module: nn.Module) -> bool:
    return isinstance(module, nn.MultiheadAttention)


def _check_linear(name: str, module: Any) -> None:
    if module.local_attn_heads or getattr(module.global_attn_fn, "__name__", "") != "linear_attn":
        raise NotImplementedError(
            f"layer {name}: causal linear attention and local heads have no row-stochastic map that could be recorded"
        )


def _check_options(model: nn.Module, kind: str, grad: bool, edit: Any, reduce: Any) -> None:
    if hasattr(model, "_orig_mod"):
        raise ValueError("a compiled model hides its layers: record the model that was given to torch.compile")
    if kind not in ("exact", "qk"):
        raise ValueError(f"kind must be 'exact' or 'qk', got {kind!r}")
    if kind == "qk" and (grad or edit is not None):
        raise ValueError("kind='qk' is not what the layers compute, so it has no gradient and cannot be edited")
    if kind == "qk" and not any(_is_linear(module) for module in model.modules()):
        raise ValueError(f"kind='qk' is for linear attention; {type(model).__name__} has none: its exact maps are softmax maps")
    if grad and reduce is not None:
        raise ValueError("grad=True keeps whole maps, so that they have a gradient: leave out reduce=, reduce afterwards")


def _resolve_layers(model: nn.Module, layers: Sequence[int | str] | None) -> frozenset[str] | None:
    if layers is None:
        return None
    if isinstance(layers, str):
        raise ValueError(f"layers must be a sequence, e.g. [{layers!r}], not a text")
    known, modules = attention_layers(model), dict(model.named_modules())
    names = set()
    for layer in layers:
        if isinstance(layer, str):
            if layer not in modules:
                raise ValueError(f"{type(model).__name__} has no module {layer!r}; attention layers: {', '.join(known)}")
            names.add(layer)
        elif -len(known) <= layer < len(known):
            names.add(known[layer])
        else:
            raise ValueError(
                f"{type(model).__name__} has {len(known)} attention layers known by type, so there is no number {layer}; "
                "pass names out of attention_layers(model, x)"
            )
    return frozenset(names)


def _four_dims(weights: Tensor) -> Tensor:
    """Give a map without batch or heads those dimensions."""
    if weights.ndim == 2:
        return weights[None, None]
    return weights[:, None] if weights.ndim == 3 else weights


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
