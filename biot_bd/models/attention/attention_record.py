"""One attention map of one call of one layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from biot_bd.models.attention.layout import Folded, TokenLayout

Kind = Literal["exact", "qk"]
Adapter = Literal["linear", "mha", "sdpa", "product"]


@dataclass
class AttentionRecord:
    """One attention map of one call of one layer.

    Parameters
    ----------
    layer : str
        Path of the module, e.g. ``encoder.transformer.layers.layers.0.0.fn``.
    adapter : {"linear", "mha", "sdpa", "product"}
        How the map was obtained.
    kind : {"exact", "qk"}
        ``"exact"``: the layer's own operator.  ``"qk"``: softmax of query-key products of a layer
        that computes something else.
    made : Tensor of shape (n, heads, queries, keys), or tuple of two Tensors
        The map, what ``reduce`` made of it, or its two factors (n, heads, queries, d) and (n,
        heads, keys, d), whose product it is.  ``n`` is the batch that the module saw: models that
        fold time into the batch have more than one map a window.
    scale : float
        The layer's heads are ``scale * weights @ V``.
    error : float or None
        Largest difference between ``scale * weights @ V`` and what the layer computed, relative to
        the largest value; None where there is nothing to compare (``qk``, weights that the module
        itself returned or multiplied, dropout).
    key_mask : Tensor of bool, shape (n, keys), or None
        False for absent tokens of a ``linear`` layer: their columns are 0, and their rows mean
        nothing.
    pass_number : int
        Which forward pass of the block this was, from 0.
    layout : TokenLayout or None
        What its tokens stand for, where that is known.
    folded : {"channel", "frame"} or None
        What the module folds into its batch: ``"frame"``, and its tokens are the channels of one
        frame; ``"channel"``, and they are the frames of one channel.
    max_elements : int
        Most numbers of a map that is made of its factors.

    See Also
    --------
    record_attention : Makes them.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import record_attention
    >>> layer = torch.nn.MultiheadAttention(8, num_heads=2, batch_first=True).eval()
    >>> x = torch.zeros(1, 3, 8)
    >>> with torch.no_grad(), record_attention(layer) as trace:
    ...     _ = layer(x, x, x)
    >>> trace[0].adapter, trace[0].weights.shape
    ('mha', torch.Size([1, 2, 3, 3]))
    """

    layer: str
    adapter: Adapter
    kind: Kind
    made: Tensor | tuple[Tensor, Tensor]
    scale: float = 1.0
    error: float | None = None
    key_mask: Tensor | None = None
    pass_number: int = 0
    layout: TokenLayout | None = None
    folded: Folded | None = None
    max_elements: int = 2**28

    @property
    def shape(self) -> torch.Size:
        """Shape of :attr:`weights`, which need not be made for it."""
        if isinstance(self.made, Tensor):
            return self.made.shape
        queries, keys = self.made
        return torch.Size((*queries.shape[:-1], keys.shape[-2]))

    @property
    def device(self) -> torch.device:
        """Where the map or its factors lie."""
        return (self.made if isinstance(self.made, Tensor) else self.made[0]).device

    @property
    def n_windows(self) -> int:
        """Number of windows, of which a module that folds some tokens into its batch sees more."""
        if self.folded is None or self.layout is None:
            return self.shape[0]
        return self.shape[0] // (self.layout.n_frames if self.folded == "frame" else self.layout.n_chans)

    def check_size(self, n_elements: int) -> None:
        """Check a map that is to be made.

        Raises
        ------
        ValueError
            It would have more than ``max_elements`` numbers.
        """
        if n_elements > self.max_elements:
            raise ValueError(
                f"layer {self.layer}: the map has {n_elements} numbers, more than max_elements={self.max_elements}; "
                "use a smaller batch, or reduce="
            )

    @property
    def weights(self) -> Tensor:
        """The map, shape (n, heads, queries, keys); where only its factors are kept it is made at
        each call.

        Raises
        ------
        ValueError
            It would have more than ``max_elements`` numbers.
        """
        if isinstance(self.made, Tensor):
            return self.made
        self.check_size(self.shape.numel())
        queries, keys = self.made
        return queries @ keys.mT
