"""Where the output of each transformer layer of a model can be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.models import attention_layers


@dataclass(frozen=True)
class LayerPoint:
    """A place in a model where the output of one transformer layer passes.

    Parameters
    ----------
    path : str
        A module of the model.
    of_input : bool
        Whether it is the module's first argument, instead of what it gives.

    See Also
    --------
    layer_points : Finds them.

    Examples
    --------
    >>> from biot_bd.embedding import LayerPoint
    >>> LayerPoint("encoder.layers.0").of_input
    False
    """

    path: str
    of_input: bool = False

    @contextmanager
    def watched(self, model: nn.Module) -> Iterator[list[Tensor]]:
        """Collect what passes while the model runs inside the block."""
        seen: list[Tensor] = []
        module = model.get_submodule(self.path)
        if self.of_input:
            hook = module.register_forward_pre_hook(lambda _, args: seen.append(_tensor(args)))
        else:
            hook = module.register_forward_hook(lambda _, args, output: seen.append(_tensor(output)))
        try:
            yield seen
        finally:
            hook.remove()


def layer_points(model: nn.Module, x: Tensor) -> tuple[LayerPoint, ...]:
    """Find the transformer layers of a model, in the order of their calls.

    A layer is an entry of the module list in which most of the attention lies.

    Parameters
    ----------
    model : torch.nn.Module
        In eval mode.
    x : Tensor, shape (n, n_chans, n_times)
        Some windows; the model runs once.

    Returns
    -------
    tuple of LayerPoint
        Empty where the model computes no attention in a list of layers.

    See Also
    --------
    biot_bd.models.attention_layers : The attention that it looks for.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.embedding import layer_points
    >>> from biot_bd.models import MaskedViT
    >>> model = MaskedViT(n_chans=2, n_times=400, embed_dim=16, num_layers=2, num_heads=2)
    >>> [point.path for point in layer_points(model.eval(), torch.randn(1, 2, 400))]
    ['layers.0', 'layers.1']
    """
    stacks: dict[str, list[int]] = {}
    for path in attention_layers(model, x):
        parts = path.split(".")
        first = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
        if first is not None:
            numbers = stacks.setdefault(".".join(parts[:first]), [])
            if int(parts[first]) not in numbers:
                numbers.append(int(parts[first]))
    if not stacks:
        return ()
    stack = max(stacks, key=lambda name: len(stacks[name]))
    return tuple(_point(model, stack, number) for number in stacks[stack])


def _point(model: nn.Module, stack: str, number: int) -> LayerPoint:
    layers: Any = model.get_submodule(stack)
    if not isinstance(layers[number], nn.ModuleList):
        return LayerPoint(f"{stack}.{number}")
    # A bare list is never called: its output enters the next, or leaves whoever runs the lists.
    if number + 1 < len(layers):
        return LayerPoint(f"{stack}.{number + 1}.0", of_input=True)
    return LayerPoint(stack.rpartition(".")[0])


def _tensor(passed: Any) -> Tensor:
    found = passed[0] if isinstance(passed, tuple) and passed else passed
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"a layer handed on a {type(found).__name__}, expected a tensor")
    return found
