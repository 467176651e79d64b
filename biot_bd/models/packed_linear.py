"""Linear maps whose weights lie in oneDNN's own layout, on a CPU."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from biot_bd.processor import this_processor

_ROWS = 2432  # tokens of 8 windows; other numbers of rows are as fast in the layout for these
_NAMES = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")


class PackedLinear:
    """A linear map with a copy of its weight, for inference.

    Torch's own function looks the layout up anew, and in bf16 first copies the bias to every row.

    Parameters
    ----------
    weight : Tensor, shape (out_features, in_features)
        Of float32 or bfloat16.
    bias : Tensor of float32, shape (out_features,), optional

    See Also
    --------
    can_pack : Says whether this machine has what it needs.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _ROWS)
        self._bias = None if bias is None else bias.detach().to(torch.float32, copy=True)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the map of ``x``."""
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")

    def gelu(self, x: Tensor) -> Tensor:
        """Return the GELU of the map, computed from the sums before they are rounded and
        written.
        """
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "gelu", [], "none")

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        """Return ``other`` plus the map; in float32 only (the bias has the type of ``x``)."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "add")


@lru_cache
def can_pack(dtype: torch.dtype) -> bool:
    """Say whether packed products of this type work here, and were measured to be faster.

    In bfloat16 they are faster wherever the processor has such products.  In float32 torch
    multiplies by MKL, which is slow on processors of AMD; others keep it.

    Parameters
    ----------
    dtype : torch.dtype
    """
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in _NAMES):
        return False
    if dtype == torch.float32:
        return "AMD" in this_processor().name and _computes(dtype)
    return dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _computes(dtype)


def _computes(dtype: torch.dtype) -> bool:
    """Try all that :class:`PackedLinear` does; these operations are torch's private ones."""
    x, weight = torch.linspace(-1, 1, 48).view(3, 16), torch.linspace(-1, 1, 128).view(8, 16)
    bias = torch.linspace(-1, 1, 8)
    expected = F.linear(x, weight, bias)
    try:
        packed, x = PackedLinear(weight.to(dtype), bias), x.to(dtype)
        pairs = [(packed(x), expected), (packed.gelu(x), F.gelu(expected))]
        if dtype == torch.float32:
            pairs.append((packed.add(x, expected), 2 * expected))
    except (RuntimeError, TypeError, NotImplementedError):
        return False
    bound = 1e-4 if dtype == torch.float32 else 0.1
    return all(bool((found.float() - wanted).abs().max() < bound) for found, wanted in pairs)
