"""Layers of a vision transformer: attention over tokens, a feed-forward part, norms in front."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Softmax attention of several heads by torch's fused call.

    Parameters
    ----------
    embed_dim : int
        A multiple of ``num_heads``.
    num_heads : int
    drop_prob : float
        Dropout of what is handed on.

    Raises
    ------
    ValueError
        The heads do not divide the features.

    See Also
    --------
    biot_bd.models.record_attention : The weights that the fused call does not return.
    """

    def __init__(self, embed_dim: int, num_heads: int, drop_prob: float = 0.0) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"embed_dim={embed_dim} must be a multiple of num_heads={num_heads}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)
        self.dropout = nn.Dropout(drop_prob)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what each token gathers, (n, tokens, embed_dim).

        Parameters
        ----------
        x : Tensor, shape (n, tokens, embed_dim)
        mask : Tensor of bool, shape (n, tokens), optional
            False for tokens that get no attention.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        keys = None if mask is None else mask[:, None, None]
        gathered = _fused_attention(q, k, v, keys)
        return self.dropout(self.out(gathered.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]


def _fused_attention(q: Tensor, k: Tensor, v: Tensor, keys: Tensor | None) -> Tensor:
    """Call torch's fused attention, on a CPU in float32.

    There its kernel for bfloat16 is slower, backward by a factor of 1.7.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keys)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=keys).to(q.dtype)


class ViTLayer(nn.Module):
    """One layer: attention and a feed-forward part, each on normed tokens and added to them.

    Parameters
    ----------
    embed_dim, num_heads : int
    mlp_ratio : float
        Hidden features of the feed-forward part, as a multiple of ``embed_dim``.
    drop_prob : float
        Dropout behind either part.

    References
    ----------
    .. [1] Dosovitskiy, A. et al. (2021). An Image is Worth 16x16 Words. ICLR.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models.vit_layers import ViTLayer
    >>> ViTLayer(embed_dim=16, num_heads=2)(torch.ones(3, 5, 16)).shape
    torch.Size([3, 5, 16])
    """

    def __init__(self, embed_dim: int, num_heads: int, mlp_ratio: float = 4.0, drop_prob: float = 0.0) -> None:
        super().__init__()
        hidden = round(embed_dim * mlp_ratio)
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.attention = SelfAttention(embed_dim, num_heads, drop_prob)
        self.norm_feed = nn.LayerNorm(embed_dim, eps=1e-6)
        self.feed = nn.Sequential(
            nn.Linear(embed_dim, hidden), nn.GELU(), nn.Linear(hidden, embed_dim), nn.Dropout(drop_prob)
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return tokens (n, tokens, embed_dim); see :meth:`SelfAttention.forward`."""
        x = x + self.attention(self.norm(x), mask)
        return x + self.feed(self.norm_feed(x))  # type: ignore[no-any-return]


class TokenPlaces(nn.Module):
    """Learnt positions of tokens on a grid: one by channel and one by frame, added to each other.

    Parameters
    ----------
    n_chans, n_frames : int
        The grid; a row alone has positions by frame only.
    embed_dim : int
    """

    def __init__(self, n_chans: int, n_frames: int, embed_dim: int) -> None:
        super().__init__()
        self.frame_position = nn.Parameter(nn.init.normal_(torch.empty(n_frames, embed_dim), std=0.02))
        self.channel_position = (
            nn.Parameter(nn.init.normal_(torch.empty(n_chans, 1, embed_dim), std=0.02)) if n_chans > 1 else None
        )

    def forward(self) -> Tensor:
        """Return the positions of all tokens, (n_chans, n_frames, embed_dim)."""
        if self.channel_position is None:
            return self.frame_position[None]
        return self.channel_position + self.frame_position


def init_linear(module: nn.Module) -> None:
    """Begin as masked autoencoders do: Glorot-uniform maps without offsets (He et al., 2022)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
