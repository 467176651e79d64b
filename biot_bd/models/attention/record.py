"""Record (or edit) the attention of a torch transformer while it runs, without a fork of the model.

Four exact adapters, chosen for each module:

``linear``
    BIOT's linear attention [1]_.  With ``d`` features a head the layer computes
    ``d ** -0.5 * softmax_features(Q) @ (softmax_tokens(K).T @ V)``, so its attention map is
    ``P = softmax_features(Q) @ softmax_tokens(K).T``: non-negative, rows sum to 1, rank at most
    ``d``.
``mha``
    :class:`torch.nn.MultiheadAttention`.
``sdpa``
    any other module that calls ``torch.nn.functional.scaled_dot_product_attention``.
``product``
    any other module that multiplies a softmax of shape (n, heads, queries, keys) with values, as
    LaBraM does.

The often-drawn ``softmax(Q K.T / sqrt(d))`` is not the operator of linear attention; it is recorded
under its own name, ``kind="qk"``.

References
----------
.. [1] Shen, Z. et al. (2021). Efficient Attention: Attention with Linear Complexities. WACV.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.models.attention._adapters import installed, is_linear, is_mha
from biot_bd.models.attention._recorder import Recorder
from biot_bd.models.attention.attention_record import Kind
from biot_bd.models.attention.layouts import describe_record
from biot_bd.models.attention.trace import AttentionTrace


def attention_layers(model: nn.Module, x: Tensor | None = None) -> tuple[str, ...]:
    """List the attention layers of a model.

    Parameters
    ----------
    model : torch.nn.Module
        In eval mode, where ``x`` is given.
    x : Tensor, optional
        One small batch.  With it the model runs once, in eval mode, and the layers come in the
        order of their calls, those that compute attention by functions included.
        Without it only modules known by type are listed, in the model's own order.

    Returns
    -------
    tuple of str
        Module paths; empty if there are none.

    Raises
    ------
    ValueError
        ``x`` is given and the model is in training mode.

    See Also
    --------
    record_attention : Record them.

    Examples
    --------
    >>> from biot_bd.models import BIOT, attention_layers
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=2, n_chans=4, n_times=400, n_outputs=2
    ... )
    >>> attention_layers(model)
    ('encoder.transformer.layers.layers.0.0.fn', 'encoder.transformer.layers.layers.1.0.fn')
    """
    if x is None:
        return tuple(name for name, module in model.named_modules() if is_linear(module) or is_mha(module))
    if model.training:
        raise ValueError("attention_layers(model, x) runs the model: call model.eval() first")
    recorder = Recorder(keep=lambda name: False)
    with torch.no_grad(), installed(recorder, model):
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

    The model's outputs stay what they are, to rounding: BIOT and torch leave their faster paths for
    the one that can be recorded.  When the block ends, by an exception too, the model is as before.

    Parameters
    ----------
    model : torch.nn.Module
        BIOT, a braindecode transformer, or any module with one of the four kinds of attention.
    layers : sequence of int or str, optional
        Layers to record: module paths, or numbers into ``attention_layers(model)``, negative ones
        from the end.  None: all.
    keep : callable, optional
        ``keep(layer) -> bool``, a further choice by name.
    kind : {"exact", "qk"}
        ``"qk"`` records ``softmax(Q K.T / sqrt(d))`` of linear attention, which is not its
        operator.
    grad : bool
        Let the output depend on the maps and keep their gradient: after ``backward``,
        ``trace[i].weights.grad``.
    edit : callable, optional
        ``edit(layer, weights) -> weights``: an intervention; the model goes on with the result.
    reduce : callable, optional
        ``reduce(weights) -> Tensor``, applied before storing, e.g. the mean over heads.
    max_elements : int
        Most numbers in one map and in all that is stored, against running out of memory.  Of linear
        attention two small factors are stored, and a map is made when it is asked for.
    tolerance : float, optional
        Largest relative error of the reconstruction; None: 1e-4 in float32, 1e-10 in float64, 5e-2
        in half precision.

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
        A map does not rebuild its layer's output, or the block ended and a layer that should have
        been recorded was not called.

    See Also
    --------
    attention_layers : Which layers there are.
    AttentionTrace : What it yields; maps over tokens, by token and by channel.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import BIOT, record_attention
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=2, n_chans=4, n_times=400, n_outputs=2
    ... ).eval()
    >>> with torch.no_grad(), record_attention(model, layers=[0, -1]) as trace:
    ...     logits = model(torch.randn(3, 4, 400))
    >>> len(trace), trace[0].weights.shape
    (2, torch.Size([3, 2, 12, 12]))
    >>> bool(torch.allclose(trace[0].weights.sum(dim=-1), torch.ones(3, 2, 12)))
    True
    """
    _check_options(model, kind, grad, edit, reduce)
    recorder = Recorder(
        _resolve_layers(model, layers), keep, kind, grad, edit, reduce, max_elements, tolerance,
        describe=functools.partial(describe_record, model),
    )  # fmt: skip
    with installed(recorder, model):
        yield recorder.trace
    recorder.check_complete(type(model).__name__)


def _check_options(model: nn.Module, kind: str, grad: bool, edit: Any, reduce: Any) -> None:
    for name, module in model.named_modules():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise ValueError(
                f"{name or 'the model'} is compiled, which hides its layers: record the model that was given to "
                "torch.compile"
            )
    if kind not in ("exact", "qk"):
        raise ValueError(f"kind must be 'exact' or 'qk', got {kind!r}")
    if kind == "qk" and (grad or edit is not None):
        raise ValueError("kind='qk' is not what the layers compute, so it has no gradient and cannot be edited")
    if kind == "qk" and not any(is_linear(module) for module in model.modules()):
        raise ValueError(
            f"kind='qk' is for linear attention; {type(model).__name__} has none: its exact maps are softmax maps"
        )
    if grad and reduce is not None:
        raise ValueError(
            "grad=True keeps whole maps, so that they have a gradient: leave out reduce=, reduce afterwards"
        )


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
                raise ValueError(
                    f"{type(model).__name__} has no module {layer!r}; attention layers: {', '.join(known)}"
                )
            names.add(layer)
        elif -len(known) <= layer < len(known):
            names.add(known[layer])
        else:
            raise ValueError(
                f"{type(model).__name__} has {len(known)} attention layers known by type, so there is no number {layer}; "
                "pass names out of attention_layers(model, x)"
            )
    return frozenset(names)
