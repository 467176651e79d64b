"""The encoder of BIOT and the layout of its tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from linear_attention_transformer import linear_attention_transformer as lat
from torch import Tensor, nn

from biot_bd.models.compute import DTYPES, ComputePlan

__all__ = ["BIOTEncoder", "TokenLayout"]

# With so few frames a channel, matrix products of one channel and of all round differently (measured up to
# 19, on 16 threads): the rare tiny batch goes channel by channel, as in braindecode.
_FEW_ROWS = 64


@dataclass(frozen=True)
class TokenLayout:
    """Where each token of a BIOT window comes from; token ``t`` is channel ``t // n_frames``.

    Parameters
    ----------
    channel : ndarray of int, shape (n_tokens,)
        Position of the channel in the input (not its channel id).
    frame : ndarray of int, shape (n_tokens,)
        Number of the frame.
    start_s, stop_s : ndarray of float, shape (n_tokens,)
        The stretch of signal that the frame covers, in seconds from the window's start.
    n_chans, n_frames : int
        ``n_tokens = n_chans * n_frames``.
    """

    channel: np.ndarray
    frame: np.ndarray
    start_s: np.ndarray
    stop_s: np.ndarray
    n_chans: int
    n_frames: int

    @property
    def n_tokens(self) -> int:
        """Number of tokens of one window."""
        return self.n_chans * self.n_frames


def linear_attn(q: Tensor, k: Tensor, v: Tensor, kv_mask: Tensor | None = None) -> Tensor:
    """Linear attention of the library, with a mask that ``torch.compile`` can follow.

    The library writes its mask into ``k`` and ``v`` in place, which compilers refuse.

    Parameters
    ----------
    q, k, v : Tensor, shape (n, heads, tokens, features)
    kv_mask : Tensor of bool, shape (n, tokens), optional
        False for tokens that get no attention.

    Returns
    -------
    Tensor, shape (n, heads, tokens, features)
    """
    if kv_mask is not None:
        absent = ~kv_mask[:, None, :, None]
        k, v = k.masked_fill(absent, -torch.inf), v.masked_fill(absent, 0.0)
    return lat.linear_attn(q, k, v)


class BIOTEncoder(nn.Module):
    """The encoder of BIOT: spectrum frames of all channels to one embedding.

    It takes over the submodules of braindecode's encoder, so parameters keep their names.

    Parameters
    ----------
    encoder : torch.nn.Module
        ``braindecode.models.BIOT(...).encoder``.
    channel_ids : sequence of int
        Row of the token table for each input channel.
    n_channel_tokens : int
        Size of the token table.
    """

    index: Tensor

    def __init__(self, encoder: Any, channel_ids: Sequence[int], n_channel_tokens: int) -> None:
        super().__init__()
        self.n_fft = int(encoder.n_fft)
        self.hop_length = int(encoder.hop_length)
        # Same order of registration as braindecode's: the state dict has the same order too.
        self.patch_embedding: Any = encoder.patch_embedding
        self.transformer: nn.Module = encoder.transformer
        self.positional_encoding: Any = encoder.positional_encoding
        table: nn.Embedding = encoder.channel_tokens
        if table.num_embeddings != n_channel_tokens:
            table = nn.Embedding(n_channel_tokens, table.embedding_dim)
        self.channel_tokens = table
        for layer in self.transformer.modules():
            if isinstance(layer, lat.SelfAttention):
                layer.global_attn_fn = linear_attn
        # Not persistent, as in braindecode: it never reaches the state dict.
        self.register_buffer("index", torch.tensor(list(channel_ids), dtype=torch.long), persistent=False)

    @property
    def max_frames(self) -> int:
        """Most frames that the position table holds."""
        return int(self.positional_encoding.pe.shape[1])

    def n_frames(self, n_times: int) -> int:
        """Return how many frames a window of ``n_times`` samples gives (0 or less: too short)."""
        return (n_times - self.n_fft) // self.hop_length + 1

    def spectrum(self, x: Tensor) -> Tensor:
        """Return the magnitude spectrum of every frame (rectangular window, no padding).

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)

        Returns
        -------
        Tensor, shape (n, n_chans, n_frames, n_fft // 2 + 1)
        """
        if x.dtype in (torch.float16, torch.bfloat16):  # no FFT of these on most devices
            x = x.float()
        return torch.fft.rfft(x.unfold(-1, self.n_fft, self.hop_length)).abs()

    def tokens(self, x: Tensor) -> Tensor:
        """Return the tokens that enter the first layer, channel by channel.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)

        Returns
        -------
        Tensor, shape (n, n_chans * n_frames, embed_dim)
        """
        patches = self._project(self.spectrum(x).to(self.patch_embedding.projection.weight.dtype))
        # The channel token first, the position then: the order decides the last bit.
        patches = patches + self.channel_tokens(self.index)[:, None]
        return self.positional_encoding(patches.flatten(0, 1)).reshape(len(x), -1, patches.shape[-1])

    def _project(self, spectrum: Tensor) -> Tensor:
        """Map (n, n_chans, n_frames, n_freqs) to (n, n_chans, n_frames, embed_dim)."""
        n, n_chans, n_frames = spectrum.shape[:3]
        if not torch.compiler.is_compiling() and n * n_frames < _FEW_ROWS:
            # Fresh copies: the product's last bit depends on the alignment in memory as well.
            channels = (one.clone(memory_format=torch.contiguous_format) for one in spectrum.unbind(1))
            return torch.stack([self.patch_embedding(one.transpose(1, 2)) for one in channels], dim=1)
        return self.patch_embedding(spectrum.flatten(0, 1).transpose(1, 2)).unflatten(0, (n, n_chans))

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Encode windows.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)
            Finite throughout; what stands in absent channels does not matter.
        present : Tensor of bool, shape (n, n_chans), optional
            False where a channel is absent.  Its tokens get no attention and no part in the mean.

        Returns
        -------
        Tensor, shape (n, embed_dim)
        """
        tokens = self.tokens(x)
        if present is None:
            return self.transformer(tokens).mean(dim=1)
        mask = present.repeat_interleave(tokens.shape[1] // present.shape[1], dim=1)
        tokens = self.transformer(tokens, input_mask=mask)
        kept = torch.where(mask[..., None], tokens, tokens.new_zeros(()))
        return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True).to(tokens.dtype)

    def infer(self, x: Tensor, present: Tensor | None, plan: ComputePlan) -> Tensor:
        """Encode windows without gradients, in the precision and the micro-batches of a plan.

        Parameters
        ----------
        x, present
            As for :meth:`forward`.
        plan : ComputePlan

        Returns
        -------
        Tensor, shape (n, embed_dim)
        """
        size = plan.micro_batch or len(x)
        dtype = DTYPES.get(plan.compute)
        with torch.autocast(x.device.type, dtype, enabled=True) if dtype else contextlib.nullcontext():
            parts = [self(*part) for part in _split(x, present, size)]
        return torch.cat(parts).to(self.patch_embedding.projection.weight.dtype)


def _split(x: Tensor, present: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    for start in range(0, len(x), size) or (0,):
        stop = start + size
        yield x[start:stop], None if present is None else present[start:stop]
