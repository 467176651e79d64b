"""Inference of the fast transformer, and the copies of its weights that make it faster."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from biot_bd.models.fast_attention import Layer, token_mean
from biot_bd.models.float_layer import FloatLayer, PackedFloatLayer
from biot_bd.models.half_precision import HalfPrecisionLayer
from biot_bd.models.packed_linear import can_pack

_HALF = (torch.bfloat16, torch.float16)
_PLAIN = FloatLayer()
_LEAST_ROWS = 128  # below, comparing the weights takes longer than packed products save


class WeightCopies:
    """Copies of a transformer's weights in another precision or layout, true as long as
    :meth:`is_current` says so.

    Parameters
    ----------
    layers : list of Layer
    dtype : torch.dtype
        Of the products: a half precision, or float32 (packed).
    """

    def __init__(self, layers: list[Layer], dtype: torch.dtype) -> None:
        self._sources = [parameter.detach().clone() for parameter in _weights(layers)]
        self.layers: list[FloatLayer | HalfPrecisionLayer] = [
            HalfPrecisionLayer(layer, dtype) if dtype in _HALF else PackedFloatLayer(layer) for layer in layers
        ]

    def is_current(self, layers: list[Layer]) -> bool:
        """Compare every weight with the one that was copied.

        Version counters miss changes through ``.data`` or shared memory; reading 13 MB takes 1 ms.
        """
        weights = _weights(layers)
        return len(weights) == len(self._sources) and all(
            a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
            for a, b in zip(weights, self._sources, strict=True)
        )


def needs_copies(layers: list[Layer], dtype: torch.dtype, n_rows: int) -> bool:
    """Say whether inference shall compute with copies of the weights.

    Parameters
    ----------
    layers : list of Layer
    dtype : torch.dtype
        Of the products.
    n_rows : int
        Tokens of the whole batch.
    """
    weight = layers[0].feed.w1.weight
    if dtype != weight.dtype:
        return True
    return bool(weight.device.type == "cpu" and dtype == torch.float32 and n_rows >= _LEAST_ROWS and can_pack(dtype))


def infer(
    layers: list[Layer],
    x: Tensor,
    mask: Tensor | None = None,
    copies: WeightCopies | None = None,
    takes_first: bool = False,
) -> Tensor:
    """Run the transformer and take the mean over tokens, or the first one, without gradients.

    Parameters
    ----------
    layers : list of Layer
    x : Tensor, shape (n, tokens, embed_dim)
        Contiguous; overwritten.
    mask : Tensor of bool, shape (n, tokens), optional
        False for tokens that get no attention and no part in the mean.
    copies : WeightCopies, optional
        Weights for the products; the sum over layers, normalisation and the last map stay in the
        precision of ``x``.  None: the parameters themselves.
    takes_first : bool
        Read out the first token (a class token) instead of the mean.

    Returns
    -------
    Tensor, shape (n, embed_dim)
    """
    absent = None if mask is None else ~mask[..., None]
    ways: Sequence[FloatLayer | HalfPrecisionLayer] = [_PLAIN] * len(layers) if copies is None else copies.layers
    for layer, way in zip(layers, ways, strict=True):
        x = way.attend(layer, x, absent)
        if layer is not layers[-1]:
            x = way.feed(layer, x)
    if takes_first:
        x, mask = x[:, :1].contiguous(), None
    mean = token_mean(ways[-1].widen(layers[-1], x), mask).to(x.dtype)
    return token_mean(x, mask) + layers[-1].feed.w2(mean)


def _weights(layers: list[Layer]) -> list[Tensor]:
    maps = [
        linear
        for layer in layers
        for linear in (layer.attention.to_q, layer.attention.to_k, layer.attention.to_v, layer.attention.to_out)
        + (layer.feed.w1, layer.feed.w2)
    ]
    return [tensor for linear in maps for tensor in (linear.weight, linear.bias) if tensor is not None]
