"""One graph from microvolts to probabilities, made of a saved pipeline.

What a graph takes and gives is the same for every model: ``x`` float32 ``(n, n_chans, n_times)`` in
microvolts, 0 where a channel is absent; ``present`` bool ``(n, n_chans)``, only where the model
takes absent channels; ``probabilities`` ``(n, n_classes)`` in the order of the sorted labels, and
``embedding`` ``(n, n_features)``, what the last layer is given.  The batch is free.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biot_bd.exceptions import ExportError
from biot_bd.export.biot_graph import biot_graph
from biot_bd.export.scaling_graphs import scaling_graph
from biot_bd.export.source import ExportSource
from biot_bd.training.persistence.networks import MeanNetwork

EXAMPLES = 3
"""Windows of the example that a graph is traced with: torch takes a batch of 1 for a constant."""


class ExportGraph(nn.Module):
    """The scaling, the network and the softmax of a pipeline.

    Parameters
    ----------
    source : ExportSource
        The pipeline; its network is copied.

    Raises
    ------
    ExportError
        A step has no place in a graph, or the network shows no embedding.

    See Also
    --------
    biot_bd.export_model : Writes it for an engine.
    """

    def __init__(self, source: ExportSource) -> None:
        super().__init__()
        module = copy.deepcopy(source.module).cpu().eval().requires_grad_(False)
        self.n_chans, self.n_times = source.n_chans, source.n_times
        self.takes_absent_channels = source.takes_absent_channels
        self.scaling = scaling_graph(source.steps, source.info)
        self.network: Any = _network(module, self.takes_absent_channels)
        order = np.argsort(source.outputs).tolist()
        self.order = None if order == sorted(order) else order

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs."""
        return ["x", "present"] if self.takes_absent_channels else ["x"]

    def forward(self, x: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute probabilities and embedding.

        NaN where no channel of a window is usable, or where one is flat and the model takes no
        absent channels.
        """
        there = torch.ones_like(x[..., 0], dtype=torch.bool) if present is None else present
        for step in self.scaling:
            x, there = step(x, there)
        logits, embedding = self.network(x, there)
        usable = there.any(dim=1, keepdim=True) if self.takes_absent_channels else there.all(dim=1, keepdim=True)
        probabilities = logits.float().softmax(dim=-1)
        if self.order is not None:
            probabilities = torch.stack([probabilities[:, i] for i in self.order], dim=1)
        nan = torch.nan
        return torch.where(usable, probabilities, nan), torch.where(usable, embedding.float(), nan)

    def program(self) -> torch.export.ExportedProgram:
        """Return the graph as ``torch.export`` follows it, with a free batch.

        Raises
        ------
        ExportError
            The network cannot be followed, or has the batch's size baked in.
        """
        generator = torch.Generator().manual_seed(0)
        x = 30 * torch.randn(EXAMPLES, self.n_chans, self.n_times, generator=generator)
        inputs = (x, torch.ones(x.shape[:2], dtype=torch.bool))[: len(self.input_names)]
        n = torch.export.Dim("n", min=1)
        try:
            with torch.no_grad():
                program = torch.export.export(self, inputs, dynamic_shapes=({0: n},) * len(inputs), strict=False)
        except Exception as error:  # torch.export raises what the network or its own parts raise
            raise ExportError(
                f"{self.name}: torch.export cannot follow it with a free batch ({told(error)})"
            ) from error
        # Exporters write them into files: they name folders of this machine.
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)
        return program

    @property
    def name(self) -> str:
        """The network's class, for messages."""
        network = self.network
        return type(network.module if isinstance(network, _Wrapped) else network).__name__


def _network(module: nn.Module, takes_absent_channels: bool) -> nn.Module:
    """Return what computes logits and embedding of scaled windows."""
    if isinstance(module, MeanNetwork):
        return _Members([_network(one, takes_absent_channels) for one in module.members], module.final_layer)
    return biot_graph(module) or _Wrapped(module, takes_absent_channels)


class _Members(nn.Module):
    """The members of an ensemble; the embedding is theirs, one behind another."""

    def __init__(self, members: list[nn.Module], mean: nn.Module) -> None:
        super().__init__()
        self.members, self.mean = nn.ModuleList(members), mean

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits and embedding."""
        each = [member(x, present) for member in self.members]
        logits = self.mean(torch.cat([one.float() for one, _ in each], dim=1))
        return logits, torch.cat([embedding.float() for _, embedding in each], dim=1)


class _Wrapped(nn.Module):
    """Any network as it is; its embedding is what its ``final_layer`` is given."""

    def __init__(self, module: Any, takes_absent_channels: bool) -> None:
        super().__init__()
        if not isinstance(getattr(module, "final_layer", None), nn.Module):
            raise ExportError(
                f"{type(module).__name__}: has no final_layer, so nobody knows its embedding; name its last layer final_layer"
            )
        self.module = module
        self.takes_absent_channels = takes_absent_channels

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits and embedding."""
        if self.takes_absent_channels:
            x = torch.where(present[..., None], x, torch.nan)
        seen: list[Tensor] = []
        hook = self.module.final_layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            logits = self.module(x)
        finally:
            hook.remove()
        return logits.flatten(1), seen[-1].flatten(1)


def told(error: BaseException) -> str:
    """Return an error of a library in one short line."""
    line = " ".join(str(error).split())
    return f"{type(error).__name__}: {line[:200]}{'...' if len(line) > 200 else ''}"
