"""The encoder of BIOT on spectra of several lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biot_bd.models.channel_attention import ChannelAttention
from biot_bd.models.encoder import BIOTEncoder


class MultiScaleEncoder(BIOTEncoder):
    """The encoder of BIOT whose tokens hold spectra of several lengths of one frame.

    Scale factor ``s`` cuts a frame into ``s`` stretches of ``n_fft // s`` samples that lie side by
    side around its middle, and takes the spectrum of each: four resolutions in time and frequency
    of the same second, on the same grid of channels and frames.  Spectra of factor ``s`` are
    multiplied by ``sqrt(s)``, which gives broadband signals one level at all scales.  The sum of a
    linear projection a scale is one projection of all spectra side by side, which is how it is
    computed.

    Parameters
    ----------
    encoder : BIOTEncoder
        Its modules are taken over.
    scale_factors : tuple of int
        Checked by :func:`check_scale_factors`.
    channel_attention : ChannelAttention, optional
        Runs in front of the transformer.  None: no attention within frames.

    See Also
    --------
    biot_bd.models.MultiScaleBIOT : The encoder with a head.
    biot_bd.models.BIOTEncoder : Its transformer and places.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import MultiScaleBIOT
    >>> encoder = MultiScaleBIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2
    ... ).encoder.eval()
    >>> encoder.spectrum(
    ...     torch.zeros(1, 2, 2000)
    ... ).shape  # 101 + 2 x 51 + 4 x 26 + 8 x 13 numbers
    torch.Size([1, 2, 19, 411])
    """

    def __init__(
        self,
        encoder: BIOTEncoder,
        scale_factors: tuple[int, ...],
        channel_attention: ChannelAttention | None = None,
    ) -> None:
        super().__init__(
            encoder,
            encoder._channel_ids,
            encoder.channel_tokens.num_embeddings,
            None if encoder.class_token is None else encoder.class_token.detach(),
            encoder.token_drop_prob,
        )
        self.scale_factors = scale_factors
        linear = self.patch_embedding.projection
        if linear.in_features != self.n_features:
            self.patch_embedding.projection = nn.Linear(self.n_features, linear.out_features)
        self.channel_attention = channel_attention

    @property
    def n_features(self) -> int:
        """Numbers that a token is made from: those of all spectra of a frame."""
        return sum(scale * self._n_freqs(scale) for scale in self.scale_factors)

    def first_feature(self, scale: int) -> int:
        """Return where the numbers of a scale factor begin."""
        return sum(s * self._n_freqs(s) for s in self.scale_factors[: self.scale_factors.index(scale)])

    def _n_freqs(self, scale: int) -> int:
        return self.n_fft // scale // 2 + 1

    def transform(self, frames: Tensor) -> Tensor:
        """Return the complex spectra of frames, (..., n_fft) to (..., n_features).

        Scale by scale, stretch by stretch.
        """
        return torch.cat([self._at_scale(frames, scale) for scale in self.scale_factors], dim=-1)

    def _at_scale(self, frames: Tensor, scale: int) -> Tensor:
        if scale == 1:
            return torch.fft.rfft(frames)
        length = self.n_fft // scale
        used = frames.narrow(-1, (self.n_fft - scale * length) // 2, scale * length)
        return (torch.fft.rfft(used.unflatten(-1, (scale, length))) * scale**0.5).flatten(-2)

    def feature_hz(self, sfreq: float) -> NDArray[Any]:
        """Return the frequency in Hz of each number that a token is made from, (n_features,)."""
        grids = [np.fft.rfftfreq(self.n_fft // scale, 1 / sfreq) for scale in self.scale_factors]
        return np.concatenate([np.tile(grid, scale) for grid, scale in zip(grids, self.scale_factors, strict=True)])

    def mix_channels(self, tokens: Tensor, mask: Tensor | None, places: Tensor | None = None) -> Tensor:
        """Return tokens behind attention within frames, where the model has it; a class token is
        left alone.

        Parameters
        ----------
        tokens, mask, places
            As for :meth:`BIOTEncoder.encode`.

        Returns
        -------
        Tensor, shape (n, n_tokens, embed_dim)
        """
        if self.channel_attention is None:
            return tokens
        if self.class_token is None:
            return self.channel_attention(tokens, mask, places).contiguous()
        mask = None if mask is None else mask[:, 1:]
        places = None if places is None else places[..., 1:] - 1
        return torch.cat([tokens[:, :1], self.channel_attention(tokens[:, 1:], mask, places)], dim=1)


def check_scale_factors(scale_factors: Sequence[int], n_fft: int) -> tuple[int, ...]:
    """Return scale factors as integers.

    Raises
    ------
    ValueError
        There is none, one comes twice, is no whole number of 1 or more, or leaves fewer than 4
        samples a spectrum.
    """
    factors = tuple(int(one) for one in scale_factors)
    whole = all(one == given and one >= 1 for one, given in zip(factors, scale_factors, strict=True))
    if not factors or not whole or len(set(factors)) < len(factors):
        raise ValueError(
            f"scale_factors must be different whole numbers from 1, e.g. (1, 2, 4, 8), got {scale_factors}"
        )
    if n_fft // max(factors) < 4:
        raise ValueError(
            f"scale factor {max(factors)} leaves {n_fft // max(factors)} samples a spectrum of a frame of {n_fft}, "
            f"expected 4 or more; the largest possible factor is {n_fft // 4}"
        )
    return factors
