"""The recorder that all adapters feed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from biot_bd.models.attention.attention_record import AttentionRecord, Kind
from biot_bd.models.attention.trace import AttentionTrace

_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
_TOLERANCE_HALF = 5e-2


def at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


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
    describe: Callable[[AttentionRecord, tuple[int, ...] | None], None] | None = None  # fills in the layout
    pass_number: int = field(default=-1, init=False)
    input_shape: tuple[int, ...] | None = field(default=None, init=False)  # of what entered the model in this pass
    latest: Tensor = field(init=False, repr=False)  # the map with which the model went on last
    stored: int = field(default=0, init=False)

    def enter(self, name: str, module: nn.Module, args: tuple[object, ...]) -> None:
        """Take note of a module that begins to run; the outermost begins a pass."""
        self.called = True
        if not self.path:
            self.pass_number += 1
            first = args[0] if args else None
            self.input_shape = tuple(first.shape) if isinstance(first, Tensor) and not name else None
        self.path.append((name, module))

    @property
    def keeps_factors(self) -> bool:
        """Whether maps are made when they are asked for, since the model runs without them."""
        return not self.rebuilds and self.reduce is None

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
        error = _relative_error(rebuilt.detach(), output.detach())
        limit = _TOLERANCE.get(output.dtype, _TOLERANCE_HALF) if self.tolerance is None else self.tolerance
        if not error <= limit:
            raise RuntimeError(
                f"layer {layer}: the map rebuilds the layer's output only to {error:.1e} (tolerance {limit:.1e}); "
                "it would not show what the layer does"
            )
        return error

    def store(self, record: AttentionRecord) -> Tensor | None:
        """Store a record and return the (edited) map with which the model goes on, if it does."""
        record.pass_number, record.max_elements = self.pass_number, self.max_elements
        if self.describe is not None:
            self.describe(record, self.input_shape)
        if isinstance(record.made, tuple):
            self._keep(record, sum(factor.numel() for factor in record.made))
            return None
        weights = self._edited(record.layer, record.made)
        if self.grad:
            if not torch.is_grad_enabled():
                raise RuntimeError("record_attention(grad=True) needs gradients: leave torch.no_grad()")
            if not weights.requires_grad:  # frozen model: the map is where the graph begins
                weights.requires_grad_()
            weights.retain_grad()
            record.made = weights
        else:
            record.made = weights.detach() if self.reduce is None else self.reduce(weights.detach())
        self._keep(record, record.made.numel())
        self.latest = weights
        return weights

    def _edited(self, layer: str, weights: Tensor) -> Tensor:
        if self.edit is None:
            return weights
        edited = self.edit(layer, weights)
        if not isinstance(edited, Tensor) or edited.shape != weights.shape:
            found = tuple(edited.shape) if isinstance(edited, Tensor) else type(edited).__name__
            raise ValueError(f"layer {layer}: edit must return a tensor of shape {tuple(weights.shape)}, got {found}")
        return edited

    def _keep(self, record: AttentionRecord, n_elements: int) -> None:
        self.stored += n_elements
        self.check_size(record.layer, self.stored)
        self.trace.records.append(record)

    def check_complete(self, model: str) -> None:
        if not self.called:
            return
        if not self.seen:
            raise RuntimeError(
                f"{model} ran, and no attention was seen: it has none, or computes it in a way that no adapter "
                "knows, e.g. by einsum"
            )
        missing = sorted((self.layers or frozenset()) - set(self.seen))
        if missing:
            raise RuntimeError(
                f"{model} ran without attention in {', '.join(missing)}; layers with attention: {', '.join(self.seen)}"
            )


def _relative_error(rebuilt: Tensor, output: Tensor) -> float:
    """Return the largest difference relative to the largest value; where both are NaN they agree.

    It runs at every call of every layer: few passes over the values, and none of them copied.
    """
    if not output.numel():
        return 0.0
    rebuilt, output = at_least_float32(rebuilt), at_least_float32(output)
    error = _largest(rebuilt - output) / max(_largest(output), 1e-30)
    if error == error:
        return error
    rebuilt, output = rebuilt.nan_to_num(), output.nan_to_num()
    return _largest(rebuilt - output) / max(_largest(output), 1e-30)


def _largest(values: Tensor) -> float:
    low, high = values.aminmax()
    return float(torch.maximum(high, -low))
