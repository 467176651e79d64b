"""BIOT as products of matrices that every engine runs fast, on the weights of a trained one.

The spectrum is a product with cosines and sines, absent channels are masked by finite numbers, the
heads' contexts are merged with the output projection, and the mean over tokens is taken before the
last linear map.  The numbers are those of :class:`biot_bd.models.BIOT` to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biot_bd.models import fast_attention
from biot_bd.models.encoder import BIOTEncoder, linear_attn
from biot_bd.models.multi_scale_encoder import MultiScaleEncoder

MASKED = -3e4
"""Added to the keys of absent channels: their exponential is 0 in float32, and half precision has
the number, which an infinity would spoil for quantisation.
"""


def biot_graph(module: nn.Module) -> BIOTGraph | None:
    """Return the fast graph of a BIOT, None where only its modules know what to compute, or with a
    class token.

    Parameters
    ----------
    module : torch.nn.Module
        With the ``encoder`` and ``final_layer`` of :class:`biot_bd.models.BIOT`.
    """
    encoder: Any = getattr(module, "encoder", None)
    if (
        type(encoder) not in (BIOTEncoder, MultiScaleEncoder)
        or encoder.class_token is not None
        or not encoder._is_plain()
    ):
        return None
    layers = fast_attention.fast_layers(encoder.transformer, linear_attn)
    return None if layers is None else BIOTGraph(module, layers)


class BIOTGraph(nn.Module):
    """The encoder and the head of a BIOT.

    Parameters
    ----------
    module : torch.nn.Module
        As for :func:`biot_graph`; its parameters are used, not copied.
    layers : list of Layer
        Of its transformer.
    """

    waves: Tensor
    place: Tensor

    def __init__(self, module: Any, layers: list[fast_attention.Layer]) -> None:
        super().__init__()
        encoder: BIOTEncoder = module.encoder
        self.n_fft, self.hop = encoder.n_fft, encoder.hop_length
        self.n_frames = encoder.n_frames(int(module.n_times))
        self.projection = encoder.patch_embedding.projection
        with torch.no_grad():
            channels = encoder.channel_tokens.weight[encoder.index][:, None]
            place = (channels + encoder.positional_encoding.pe[0, : self.n_frames]).flatten(0, 1)
        self.register_buffer("place", place.clone())
        self.register_buffer("waves", _waves(encoder).to(place.dtype))
        if self.n_fft % self.hop:
            starts = torch.arange(self.n_frames)[:, None] * self.hop
            self.register_buffer("samples", starts + torch.arange(self.n_fft))
        self.channel_attention = getattr(encoder, "channel_attention", None)
        self.blocks = nn.ModuleList(_Block(layer) for layer in layers)
        self.final_layer = module.final_layer

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits and embedding.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)
            Scaled windows, 0 in absent channels.
        present : Tensor of bool, shape (n, n_chans)

        Returns
        -------
        logits : Tensor, shape (n, n_outputs)
        embedding : Tensor, shape (n, embed_dim)
        """
        n, n_chans = x.shape[0], x.shape[1]
        parts = torch.matmul(self._frames(x), self.waves)
        n_features = self.waves.shape[1] // 2
        real, imaginary = parts[..., :n_features], parts[..., n_features:]
        spectrum = torch.sqrt(real * real + imaginary * imaginary)
        tokens = self.projection(spectrum).reshape(n, n_chans * self.n_frames, -1) + self.place
        kept = present[:, :, None].expand(-1, -1, self.n_frames).reshape(n, -1, 1).to(tokens.dtype)
        if self.channel_attention is not None:
            tokens = self.channel_attention(tokens, kept[..., 0] > 0)
        mask = (1 - kept) * MASKED
        inner: list[Any] = list(self.blocks[:-1])
        for block in inner:
            tokens = block.attend(tokens, mask)
            tokens = tokens + block.w2(block.hidden(tokens))
        last: Any = self.blocks[-1]
        tokens = last.attend(tokens, mask)
        # The mean as a product: its weights are 0 where a channel is absent.
        share = (kept / kept.sum(dim=1, keepdim=True).clamp(min=1)).transpose(1, 2)
        embedding = torch.bmm(share, tokens)[:, 0] + last.w2(torch.bmm(share, last.hidden(tokens))[:, 0])
        return self.final_layer(embedding), embedding

    def _frames(self, x: Tensor) -> Tensor:
        """Cut (n, n_chans, n_times) into (n * n_chans, n_frames, n_fft)."""
        if self.n_fft % self.hop:
            return x.flatten(0, 1)[:, self.samples]  # type: ignore[index]
        times = self.n_fft // self.hop
        n_pieces = self.n_frames + times - 1
        pieces = x[..., : n_pieces * self.hop].reshape(-1, n_pieces, self.hop)
        return torch.cat([pieces[:, i : i + self.n_frames] for i in range(times)], dim=-1)


class _Block(nn.Module):
    """One layer of the transformer."""

    merging: Tensor

    def __init__(self, layer: fast_attention.Layer) -> None:
        super().__init__()
        attention = layer.attention
        self.norm, self.norm_feed = layer.norm, layer.norm_feed
        self.to_q, self.to_k, self.to_v = attention.to_q, attention.to_k, attention.to_v
        self.heads, self.d_heads = attention.heads, attention.d_heads
        with torch.no_grad():
            out = attention.to_out.weight.T.reshape(self.heads, self.d_heads, -1)
            self.register_buffer("merging", (out * self.d_heads**-0.5).contiguous())
        self.bias = attention.to_out.bias
        self.w1, self.w2 = layer.feed.w1, layer.feed.w2

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """Add attention to tokens (n, tokens, features); mask (n, tokens, 1)."""
        n, width = x.shape[0], self.heads * self.d_heads
        normed = self.norm(x)
        q, k, v = self.to_q(normed), self.to_k(normed) + mask, self.to_v(normed)
        q = q.reshape(n, -1, self.heads, self.d_heads).softmax(dim=-1).reshape(n, -1, width)
        k = k.transpose(1, 2).softmax(dim=-1).reshape(n * self.heads, self.d_heads, -1)
        v = v.transpose(1, 2).reshape(n * self.heads, self.d_heads, -1).transpose(1, 2)
        # bmm, not matmul, which is exported with expansions that engines compute as whole copies.
        context = torch.bmm(k, v).reshape(n, self.heads, self.d_heads, -1).transpose(0, 1).flatten(1, 2)
        merged = torch.bmm(context, self.merging).reshape(self.heads, n, self.d_heads, -1).transpose(0, 1)
        return x + (torch.bmm(q, merged.reshape(n, width, -1)) + self.bias)

    def hidden(self, x: Tensor) -> Tensor:
        """Return what the last linear map of the layer is given."""
        return F.gelu(self.w1(self.norm_feed(x)))


def _waves(encoder: BIOTEncoder) -> Tensor:
    """Return the cosines and sines of a frame's transform, float64 (n_fft, 2 * n_features)."""
    spectra = encoder.transform(torch.eye(encoder.n_fft, dtype=torch.float64))
    return torch.cat([spectra.real, spectra.imag], dim=1)
