"""Which weights a module has: digests to compare, and a quick look whether they were touched."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn


def weight_digests(module: nn.Module) -> dict[str, str]:
    """Return a digest of each tensor in a module's state dict.

    Parameters
    ----------
    module : torch.nn.Module
        On any device.

    Returns
    -------
    dict of str to str
        By name; equal exactly where dtype, shape and all bytes are.

    See Also
    --------
    WeightsWatch : Far quicker, and never sure.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from biot_bd.models.weight_identity import weight_digests
    >>> linear = nn.Linear(2, 1)
    >>> before = weight_digests(linear)
    >>> with torch.no_grad():
    ...     _ = linear.bias.add_(1)
    >>> {name: now == before[name] for name, now in weight_digests(linear).items()}
    {'weight': True, 'bias': False}
    """
    return {name: _digest(value) for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def _digest(value: Tensor) -> str:
    found = hashlib.sha256(f"{value.dtype} {tuple(value.shape)}".encode())
    if value.is_quantized:
        found.update(f"{value.qscheme()} {value.dequantize().sum()}".encode())
        value = value.int_repr()
    if not value.is_meta:
        plain = value.detach().to_dense() if value.layout is not torch.strided else value.detach()
        found.update(plain.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


class WeightsWatch:
    """Whether a module still has the very tensors that it had, and nobody wrote into them.

    Writing through ``.data`` or numpy is not noticed, and tensors that were replaced by equal ones
    count as others: where it matters, :func:`weight_digests` tell.

    Parameters
    ----------
    module : torch.nn.Module

    See Also
    --------
    weight_digests : Sure, at the cost of reading all weights.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from biot_bd.models.weight_identity import WeightsWatch
    >>> linear = nn.Linear(2, 1)
    >>> watch = WeightsWatch(linear)
    >>> _ = linear(torch.zeros(3, 2))
    >>> watch.untouched(linear)
    True
    >>> _ = linear.load_state_dict(linear.state_dict())
    >>> watch.untouched(linear)
    False
    """

    def __init__(self, module: nn.Module) -> None:
        # The tensors themselves: an id may be given again to a tensor made later.
        self._tensors = _tensors(module)
        self._versions = [_version(tensor) for tensor in self._tensors]

    def untouched(self, module: nn.Module) -> bool:
        """Return whether nothing is seen to have changed."""
        now = _tensors(module)
        return len(now) == len(self._tensors) and all(
            a is b and _version(a) == version for a, b, version in zip(now, self._tensors, self._versions, strict=True)
        )


def _tensors(module: nn.Module) -> list[Any]:
    return [
        tensor
        for part in module.modules()
        for own in (part._parameters, part._buffers)
        for tensor in own.values()
        if tensor is not None
    ]


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version
