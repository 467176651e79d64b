"""What a recording of attention keeps, and the recorder that all adapters feed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["exact", "qk"]
Adapter = Literal["linear", "mha", "sdpa"]
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
_TOLERANCE_HALF = 5e-2


def at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


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
        ``"exact"``: the layer's own operator.  ``"qk"``: softmax of query-key products of a layer
        that computes something else.
    weights : Tensor, shape (n, heads, queries, keys)
        The map, or what ``reduce`` made of it.  ``n`` is the batch that the module saw: models that
        fold time into the batch have more than one map a window.
    scale : float
        The layer's heads are ``scale * weights @ V``.
    error : float or None
        Largest difference between ``scale * weights @ V`` and what the layer computed, relative to
        the largest value; None where there is nothing to compare (``qk``, weights that the module
        itself returned, dropout).
    key_mask : Tensor of bool, shape (n, keys), or None
        False for absent tokens of a ``linear`` layer: their columns are 0, and their rows mean
        nothing.

    See Also
    --------
    record_attention : Makes them.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import record_attention
    >>> layer = torch.nn.MultiheadAttention(8, num_heads=2, batch_first=True).eval()
    >>> x = torch.zeros(1, 3, 8)
    >>> with torch.no_grad(), record_attention(layer) as trace:
    ...     _ = layer(x, x, x)
    >>> trace[0].adapter, trace[0].weights.shape
    ('mha', torch.Size([1, 2, 3, 3]))
    """

    layer: str
    adapter: Adapter
    kind: Kind
    weights: Tensor
    scale: float = 1.0
    error: float | None = None
    key_mask: Tensor | None = None


@dataclass
class AttentionTrace:
    """What :func:`record_attention` saw, in the order of the calls.

    Parameters
    ----------
    records : list of AttentionRecord
        One a call of a layer; the trace itself can be indexed and has a length.

    See Also
    --------
    record_attention : Yields one.

    Examples
    --------
    >>> from biot_bd.models import AttentionTrace
    >>> len(AttentionTrace())
    0
    """

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


@dataclass
class Recorder:
    """Take maps from the adapters: choose, check, edit, reduce, store."""

    layers: frozenset[str] | None = None
    keep: Callable[[str], bool] | None = None
    kind: Kind = "exact"
    grad: bool = False
    edit: Callable[[str, Tensor], Tensor] | None = None
    reduce: Callable[[Tensor], Tensor] | None = None
    max_elements: int = 2**28
    tolerance: float | None = None
    trace: AttentionTrace = field(default_factory=AttentionTrace, init=False)
    seen: dict[str, None] = field(default_factory=dict, init=False)  # in the order of first calls
    path: list[tuple[str, nn.Module]] = field(default_factory=list, init=False)  # the modules that run, outermost first
    called: bool = field(default=False, init=False)
    latest: Tensor = field(init=False)  # the map with which the model went on last
    stored: int = field(default=0, init=False)

    @property
    def rebuilds(self) -> bool:
        """Whether the model goes on with ``scale * weights @ V`` instead of the layer's own
        result.
        """
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
        dtype = output.dtype
        rebuilt, output = (at_least_float32(tensor).detach().nan_to_num() for tensor in (rebuilt, output))
        error = float((rebuilt - output).abs().max() / output.abs().max().clamp_min(1e-30)) if output.numel() else 0.0
        limit = _TOLERANCE.get(dtype, _TOLERANCE_HALF) if self.tolerance is None else self.tolerance
        if not error <= limit:
            raise RuntimeError(
                f"layer {layer}: the map rebuilds the layer's output only to {error:.1e} (tolerance {limit:.1e}); "
                "it would not show what the layer does"
            )
        return error

    def store(self, record: AttentionRecord) -> Tensor:
        """Store a record and return the (edited) map with which the model goes on."""
        weights = record.weights
        if self.edit is not None:
            edited = self.edit(record.layer, weights)
            if not isinstance(edited, Tensor) or edited.shape != weights.shape:
                found = tuple(edited.shape) if isinstance(edited, Tensor) else type(edited).__name__
                raise ValueError(
                    f"layer {record.layer}: edit must return a tensor of shape {tuple(weights.shape)}, got {found}"
                )
            weights = edited
        if self.grad:
            if not torch.is_grad_enabled():
                raise RuntimeError("record_attention(grad=True) needs gradients: leave torch.no_grad()")
            if not weights.requires_grad:  # frozen model: the map is where the graph begins
                weights.requires_grad_()
            weights.retain_grad()
            record.weights = weights
        else:
            record.weights = weights.detach() if self.reduce is None else self.reduce(weights.detach())
        self.stored += record.weights.numel()
        self.check_size(record.layer, self.stored)
        self.trace.records.append(record)
        self.latest = weights
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
