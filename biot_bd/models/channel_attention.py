"""Attention over the channels of one frame, for tokens on a grid of channels and frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Let the tokens of a frame attend to one another: the spatial half of factorised attention.

    Multi-head softmax attention [1]_ runs within each frame, so its cost grows with the square of
    the number of channels and not of tokens; the factorised encoder of [2]_ looks at space first in
    the same way.  What it finds is added to the tokens.  The map that adds it begins as zeros: a
    new block changes nothing, and learns from there.

    Parameters
    ----------
    embed_dim, num_heads : int
        Features of a token, and heads that share them.
    n_chans, n_frames : int
        The grid of tokens.
    drop_prob : float
        Dropout of what is added.

    References
    ----------
    .. [1] Vaswani, A. et al. (2017). Attention Is All You Need. NeurIPS 30.
    .. [2] Arnab, A. et al. (2021). ViViT: A Video Vision Transformer. ICCV.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models.channel_attention import ChannelAttention
    >>> attention = ChannelAttention(8, num_heads=2, n_chans=3, n_frames=5).eval()
    >>> tokens = torch.randn(2, 15, 8)
    >>> torch.equal(attention(tokens), tokens)  # it has learnt nothing yet
    True
    """

    def __init__(self, embed_dim: int, num_heads: int, n_chans: int, n_frames: int, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.num_heads, self.n_chans, self.n_frames = num_heads, n_chans, n_frames
        self.norm = nn.LayerNorm(embed_dim)
        self.to_qkv = nn.Linear(embed_dim, 3 * embed_dim, bias=False)
        self.to_out = nn.Linear(embed_dim, embed_dim)
        self.dropout = nn.Dropout(drop_prob)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, tokens: Tensor, mask: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """Add to each token what it finds in the other channels of its frame.

        Parameters
        ----------
        tokens : Tensor, shape (n, n_tokens, embed_dim)
            Channel by channel, all of the grid or some.
        mask : Tensor of bool, shape (n, n_tokens), optional
            False for tokens that get no attention.
        places : Tensor of int, shape (n_tokens,) or (n, n_tokens), optional
            Their numbers on the grid, ``channel * n_frames + frame``; None: all, in order.

        Returns
        -------
        Tensor, shape (n, n_tokens, embed_dim)

        Raises
        ------
        ValueError
            Some tokens are given without their places.
        """
        n_grid = self.n_chans * self.n_frames
        if places is None:
            if tokens.shape[1] != n_grid:
                raise ValueError(
                    f"channel attention has a grid of {self.n_chans} channels x {self.n_frames} frames and got "
                    f"{tokens.shape[1]} tokens; give places=, their numbers on the grid, or all {n_grid}"
                )
            return self._attend(tokens, mask)
        index = places.to(tokens.device).expand(len(tokens), -1)
        there = torch.ones_like(index, dtype=torch.bool) if mask is None else mask
        rows = index[..., None].expand_as(tokens)
        grid = tokens.new_zeros(len(tokens), n_grid, tokens.shape[2]).scatter(1, rows, tokens)
        filled = there.new_zeros(len(tokens), n_grid).scatter(1, index, there)
        return self._attend(grid, filled).gather(1, rows)

    def _attend(self, grid: Tensor, mask: Tensor | None) -> Tensor:
        n, _, width = grid.shape
        frames = grid.unflatten(1, (self.n_chans, self.n_frames)).transpose(1, 2)  # (n, frames, channels, features)
        qkv = self.to_qkv(self.norm(frames)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.flatten(0, 1).permute(2, 0, 3, 1, 4)  # each (n * frames, heads, channels, features)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else self._allowed(mask))
        found = found.transpose(1, 2).reshape(n, self.n_frames, self.n_chans, width)
        return grid + self.dropout(self.to_out(found)).transpose(1, 2).flatten(1, 2)

    def _allowed(self, mask: Tensor) -> Tensor:
        """Return which channel may look at which, (n * frames, 1, channels, channels)."""
        keys = mask.unflatten(1, (self.n_chans, self.n_frames)).transpose(1, 2).flatten(0, 1)
        # A token may always look at itself: a row without any key has no softmax.
        own = torch.eye(self.n_chans, dtype=torch.bool, device=mask.device)
        return (keys[:, None, :] | own)[:, None]
