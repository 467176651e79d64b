"""The tokens that an encoder may see, gathered window by window."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Visible:
    """The visible tokens of windows, in order of their places.

    Parameters
    ----------
    places : Tensor of int, shape (n, k)
        Numbers on the flattened grid, channel by channel.
    mask : Tensor of bool, shape (n, k), or None
        False where a window with fewer tokens is filled up; None: nowhere.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining.visible import Visible
    >>> hidden = torch.tensor([[[True, False], [False, True]]])
    >>> Visible.of(hidden).places
    tensor([[1, 2]])
    """

    places: Tensor
    mask: Tensor | None

    @classmethod
    def of(cls, hidden: Tensor, present: Tensor | None = None) -> Visible:
        """Find them.

        Parameters
        ----------
        hidden : Tensor of bool, shape (n, n_chans, n_frames)
        present : Tensor of bool, shape (n, n_chans), optional
            None: all rows are there.
        """
        seen = (~hidden if present is None else ~hidden & present[..., None]).flatten(1)
        counts = seen.sum(1)
        most, least = int(counts.max()), int(counts.min())
        # A stable sort: visible ones first, both kinds in order.
        places = seen.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
        return cls(places, None if least == most else seen.gather(1, places))

    def take(self, grid: Tensor) -> Tensor:
        """Gather (n, n_chans, n_frames, d) to (n, k, d)."""
        flat = grid.flatten(1, 2)
        return flat.gather(1, self.places[..., None].expand(-1, -1, flat.shape[-1]))

    def counts(self) -> Tensor:
        """Return how many tokens each window has, (n,)."""
        if self.mask is None:
            return self.places.new_full((len(self.places),), self.places.shape[1])
        return self.mask.sum(1)

    def put(self, tokens: Tensor, grid: Tensor) -> Tensor:
        """Return (n, n_tokens, d) with tokens (n, k, d) in their places, ``grid`` elsewhere."""
        if self.mask is not None:
            tokens = torch.where(self.mask[..., None], tokens, grid.gather(1, self._wide(tokens)))
        return grid.scatter(1, self._wide(tokens), tokens)

    def _wide(self, tokens: Tensor) -> Tensor:
        return self.places[..., None].expand(-1, -1, tokens.shape[-1])
