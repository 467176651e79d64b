"""Whether attention maps are what the layers compute: they rebuild outputs, and their rows are
shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biot_bd.models.attention.record import record_attention
from biot_bd.models.attention.trace import AttentionTrace
from biot_bd.probes.trials.base import Candidate, Case, NotApplicable, Trial

N_WINDOWS = 4
"""Most windows whose maps are made: a map has tokens x tokens numbers a head."""


class Reconstruction(Trial):
    """The model runs once more with the recorded maps put into its layers: outputs of attention
    modules must stay.
    """

    name = "reconstruction"
    title = "its attention maps rebuild what the layers compute"
    bound = 1e-4
    at_least = False

    def measure(self, candidate: Candidate, case: Case) -> tuple[float, str]:
        """Return the value and what it is of; see :class:`Trial`."""
        trace, outputs = _recorded(candidate, case)
        maps = [record.weights for record in trace.records]
        queue = iter(maps)
        with (
            torch.no_grad(),
            record_attention(case.model, edit=lambda layer, weights: next(queue).to(weights)),
            _outputs(case.model, trace.layers) as rebuilt,
        ):
            case.model(case.x[:N_WINDOWS])
        errors = [
            float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))
            for a, b in zip(outputs, rebuilt, strict=True)
            if a.numel()
        ]
        return max(errors), f"largest relative change of the output of {len(errors)} attention modules"


class RowSums(Trial):
    """Rows of maps are shares of attention; so is what a probe gives in shares."""

    name = "row-sums"
    title = "its shares add up to 1"
    bound = 1e-4
    at_least = False

    def measure(self, candidate: Candidate, case: Case) -> tuple[float, str]:
        """Return the value and what it is of; see :class:`Trial`."""
        errors, what = [], []
        if candidate.uses_attention:
            trace, _ = _recorded(candidate, case)
            errors += [_row_error(record.weights, record.key_mask) for record in trace.records]
            what.append(f"rows of {len(trace)} maps")
        found = candidate.found
        if found.unit.startswith("share"):
            special = 0.0 if found.special is None else np.nansum(found.special, axis=1)
            sums = np.nansum(found.values.reshape(len(found), -1), axis=1) + special
            errors.append(float(np.abs(sums - 1).max()))
            what.append(f"shares of {len(found)} windows")
        if not errors:
            raise NotApplicable("it reads no attention maps and gives no shares")
        return max(errors), f"largest distance from 1 of {' and '.join(what)}"


def _recorded(candidate: Candidate, case: Case) -> tuple[AttentionTrace, list[Tensor]]:
    """Record the maps of the probe's kind, and what attention modules gave."""
    if not candidate.uses_attention:
        raise NotApplicable("it does not say that it reads attention maps")
    with torch.no_grad(), record_attention(case.model, kind=candidate.kind) as trace:
        case.model(case.x[:N_WINDOWS])
    with torch.no_grad(), _outputs(case.model, trace.layers) as outputs:
        case.model(case.x[:N_WINDOWS])
    return trace, list(outputs)


@contextmanager
def _outputs(model: nn.Module, layers: tuple[str, ...]) -> Iterator[list[Tensor]]:
    """Collect the outputs of modules, in the order of their calls."""
    found: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        found.append((output[0] if isinstance(output, tuple) else output).detach().double().nan_to_num())

    hooks = [model.get_submodule(layer).register_forward_hook(keep) for layer in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _row_error(weights: Tensor, key_mask: Tensor | None) -> float:
    sums = (weights.double().sum(dim=-1) - 1).abs()
    if key_mask is not None:  # rows of absent tokens mean nothing
        sums = sums.masked_fill(~key_mask[:, None, :], 0.0)
    return float(sums.max())
