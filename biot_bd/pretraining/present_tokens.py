"""Layers on the tokens of channels that a batch has: those that no window has would only cost.

The result is the same, to rounding, as with all tokens and a mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from biot_bd.models.token_stages import TokenStages


def encode_present(tokens: TokenStages, placed: Tensor, mask: Tensor | None) -> Tensor:
    """Run the layers on placed tokens, without those that no window of the batch has.

    Parameters
    ----------
    tokens : TokenStages
    placed : Tensor, shape (n, n_tokens, embed_dim)
        All tokens of the grid.
    mask : Tensor of bool, shape (n, n_tokens), or None
        Which are of present channels.

    Returns
    -------
    Tensor, shape (n, n_tokens, embed_dim)
        Without special tokens; 0 for tokens that no window has.
    """
    some, own, places = _there(placed, mask, None)
    encoded = tokens.encode(some, own, places)[:, tokens.n_special :]
    if places is None:
        return encoded
    grid = encoded.new_zeros(*placed.shape[:2], encoded.shape[-1])
    return grid.index_copy(1, places, encoded)


def read_out_present(tokens: TokenStages, placed: Tensor, mask: Tensor | None, places: Tensor | None = None) -> Tensor:
    """Return the embedding of placed tokens, read without those that no window of the batch has.

    Parameters
    ----------
    tokens : TokenStages
    placed : Tensor, shape (n, n_tokens, embed_dim)
    mask : Tensor of bool, shape (n, n_tokens), or None
        Which are of present channels.
    places : Tensor of int, shape (n_tokens,), optional
        Their numbers on the grid; None: they are all there.

    Returns
    -------
    Tensor, shape (n, embed_dim)
    """
    return tokens.read_out(*_there(placed, mask, places))


def _there(placed: Tensor, mask: Tensor | None, places: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the tokens that any window has, their mask (None: all have them), their places."""
    if mask is None:
        return placed, None, places
    there = mask.any(dim=0).nonzero()[:, 0]
    if len(there) in (0, placed.shape[1]):
        return placed, mask, places
    own = mask[:, there]
    kept = there if places is None else places[there]
    return placed[:, there], None if bool(own.all()) else own, kept.to(torch.int64)
