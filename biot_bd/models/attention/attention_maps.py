"""The attention maps of one forward pass: one for each call of an attention module, made when asked
for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.maps import early_middle_late

if TYPE_CHECKING:
    from biot_bd.models.attention.attention_record import AttentionRecord


class AttentionMaps(Sequence[Tensor]):
    """Maps (n, heads, tokens, tokens) of one pass, in the order of the calls.

    ``maps[i]`` makes the map and does not keep it.  Where a module folds channels or frames into
    its batch, the map is that over all tokens of a window, 0 where tokens cannot meet.

    Parameters
    ----------
    records : sequence of AttentionRecord
        Of one pass.

    See Also
    --------
    record_attention : ``trace.maps`` is one.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import BIOT, record_attention
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=2, n_chans=4, n_times=400, n_outputs=2
    ... ).eval()
    >>> with torch.no_grad(), record_attention(model) as trace:
    ...     _ = model(torch.randn(3, 4, 400))
    >>> len(trace.maps), trace.maps[0].shape, trace.maps.layouts[0].n_frames
    (2, torch.Size([3, 2, 12, 12]), 3)
    >>> trace.maps.received(0).shape, trace.channel_matrix().shape
    ((3, 4, 3), (2, 3, 4, 4))
    """

    def __init__(self, records: Sequence[AttentionRecord]) -> None:
        self._records = tuple(records)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, number: int) -> Tensor: ...

    @overload
    def __getitem__(self, number: slice) -> AttentionMaps: ...

    def __getitem__(self, number: int | slice) -> Tensor | AttentionMaps:
        if isinstance(number, slice):
            return AttentionMaps(self._records[number])
        return _unfolded(self._records[number])

    def __iter__(self) -> Iterator[Tensor]:
        return (self[number] for number in range(len(self)))

    @property
    def records(self) -> tuple[AttentionRecord, ...]:
        """What the maps are made of."""
        return self._records

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules."""
        return tuple(record.layer for record in self._records)

    @property
    def layouts(self) -> tuple[TokenLayout | None, ...]:
        """What the tokens of each map stand for; None where that is not known."""
        return tuple(record.layout for record in self._records)

    def of_role(self, role: str) -> Tensor:
        """Return the early, middle or late map; with one map all three are it, with two the middle
        one is the late one.
        """
        roles = early_middle_late(len(self))
        return self[roles.get(role, roles.get("late", 0))]

    def mean_heads(self, number: int) -> Tensor:
        """Return the mean over heads of a map, shape (n, tokens, tokens), without making the map of
        each head where it has factors.
        """
        record = self._records[number]
        if isinstance(record.made, Tensor) or record.folded is not None:
            return self[number].mean(dim=1)
        queries, keys = record.made
        heads = queries.shape[1]
        joined = (factor.transpose(1, 2).flatten(2) for factor in (queries, keys))
        left, right = joined
        return torch.asarray((left @ right.mT) / heads)

    def received(self, number: int) -> NDArray[np.float64]:
        """Return the attention that each token receives from all, mean over queries and heads.

        Parameters
        ----------
        number : int
            Which map.

        Returns
        -------
        ndarray, shape (n, n_chans, n_frames)
            Shares that sum to 1 over the tokens of a window (special ones included); NaN for absent
            channels.

        Raises
        ------
        ValueError
            The layout is not known.
        """
        layout = self._layout(number)
        weights = self._with_absent(number)
        return layout.grid(np.nanmean(weights, axis=1)) if np.isfinite(weights).any() else layout.grid(weights[:, 0])

    def channel_matrix(self) -> NDArray[np.float64]:
        """Return who attends to whom by channel (see :meth:`AttentionTrace.channel_matrix`)."""
        return np.stack([self._channel_matrix(number) for number in range(len(self))])

    def _channel_matrix(self, number: int) -> NDArray[np.float64]:
        layout = self._layout(number)
        by_key = layout.grid(self._with_absent(number))  # (n, tokens, n_chans, n_frames)
        by_both = layout.grid(np.moveaxis(by_key.sum(axis=-1), 1, -1))  # (n, keys, n_chans, n_frames)
        matrix = np.swapaxes(by_both.mean(axis=-1), -1, -2)
        return np.asarray(matrix / np.nansum(matrix, axis=-1, keepdims=True))

    def _with_absent(self, number: int) -> NDArray[np.float64]:
        """Return the mean over heads as float64, rows and columns of absent tokens NaN."""
        weights = self.mean_heads(number).detach().double()
        mask = self._records[number].key_mask
        if mask is not None:
            weights = weights.masked_fill(~(mask[:, :, None] & mask[:, None, :]), torch.nan)
        return np.asarray(weights.cpu().numpy())

    def _layout(self, number: int) -> TokenLayout:
        record = self._records[number]
        if record.layout is None:
            raise ValueError(
                f"layer {record.layer}: what its {record.shape[-1]} tokens stand for is not known; give the model a "
                "method token_layout()"
            )
        return record.layout


def _unfolded(record: AttentionRecord) -> Tensor:
    """Return the map over all tokens of a window, where a module folds some into its batch."""
    weights = record.weights
    if record.folded is None or record.layout is None:
        return weights
    layout = record.layout
    n_folded = layout.n_frames if record.folded == "frame" else layout.n_chans
    blocks = weights.unflatten(0, (-1, n_folded))
    whole = weights.new_zeros(len(blocks), weights.shape[1], layout.n_tokens, layout.n_tokens)
    for place in range(n_folded):
        at = layout.tokens(**{record.folded: place})
        rows = torch.as_tensor(at, device=weights.device)
        whole[:, :, rows[:, None], rows] = blocks[:, place]
    return whole
