"""Sizes of a masked vision transformer: what a preset says, and what is given beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from biot_bd.models.token_stages import DecoderSizes

Channels = Literal["each", "together"]


@dataclass(frozen=True)
class ViTSizes:
    """Sizes of a :class:`biot_bd.models.MaskedViT`.

    Parameters
    ----------
    patch_samples : int
        Length of a patch.
    channels : {"each", "together"}
        Whether a token is a patch of one channel, or of all.
    embed_dim, num_layers, num_heads : int
        Of the encoder.
    decoder : DecoderSizes
        What pretraining reconstructs with.

    Examples
    --------
    >>> from biot_bd.models import MaskedViT
    >>> MaskedViT.presets["seed"].patch_samples, MaskedViT.presets["seed"].channels
    (4, 'together')
    """

    patch_samples: int
    channels: Channels
    embed_dim: int
    num_layers: int
    num_heads: int
    decoder: DecoderSizes


#: Widths, depths and heads of ``tiny``, ``small`` and ``base`` are those of vision transformers
#: (Touvron et al., 2021); the decoder of ``seed`` and ``base`` is that of He et al. (2022).
PRESETS: dict[str, ViTSizes] = {
    "tiny": ViTSizes(100, "each", 192, 12, 3, DecoderSizes(128, 2, 4)),
    "small": ViTSizes(100, "each", 384, 12, 6, DecoderSizes(256, 4, 8)),
    "base": ViTSizes(100, "each", 768, 12, 12, DecoderSizes(512, 8, 16)),
    "seed": ViTSizes(4, "together", 1024, 24, 16, DecoderSizes(512, 8, 16)),
}


def fitting_patches(n_times: int) -> list[int]:
    """Return the lengths of patches, 4 to 400 samples, that divide a window."""
    return [size for size in range(4, min(400, n_times) + 1) if n_times % size == 0]
