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
from biot_bd.models.attention.row_products import rows_times_map

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
    def errors(self) -> tuple[float, ...]:
        """By how much maps missed in rebuilding their layers' outputs, where there was something to
        compare.
        """
        return tuple(record.error for record in self._records if record.error is not None)

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
        if isinstance(record.made, Tensor):
            return _unfolded(record, record.made.mean(dim=1, keepdim=True))[:, 0]
        left, right = (factor.transpose(1, 2).flatten(2) for factor in record.made)
        record.check_size(len(left) * left.shape[1] * right.shape[1])
        return (left @ right.mT) / record.shape[1]

    def received(self, number: int) -> NDArray[np.float64]:
        """Return the attention that each token receives from all, mean over queries and heads.

        No map is made for it where there are factors.

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
        record, layout = self._records[number], self._layout(number)
        present = self._present(number)
        rows = (present / present.sum(dim=1, keepdim=True)).to(record.device)
        shares = rows_times_map(rows, record).detach().double().cpu()
        return layout.grid(shares.masked_fill(~present, torch.nan).numpy())

    def channel_matrix(self) -> NDArray[np.float64]:
        """Return who attends to whom by channel (see :meth:`AttentionTrace.channel_matrix`)."""
        return np.stack([self._channel_matrix(number) for number in range(len(self))])

    def _channel_matrix(self, number: int) -> NDArray[np.float64]:
        record, layout = self._records[number], self._layout(number)
        if record.folded == "frame":
            blocks = record.weights.detach().double().mean(dim=1)
            matrix = blocks.unflatten(0, (-1, layout.n_frames)).mean(dim=1)
        elif record.folded == "channel":
            matrix = torch.eye(layout.n_chans, dtype=torch.float64).expand(len(self._present(number)), -1, -1)
        else:
            by_channel = torch.as_tensor(layout.channel == np.arange(layout.n_chans)[:, None], dtype=torch.float64)
            matrix = _pooled(record, by_channel / layout.n_frames, by_channel)
        absent = np.logical_not(layout.grid(self._present(number).numpy()).any(axis=-1))
        values = np.where(absent[:, :, None] | absent[:, None, :], np.nan, matrix.cpu().numpy())
        return np.asarray(values / np.nansum(values, axis=-1, keepdims=True))

    def _present(self, number: int) -> Tensor:
        """Return which tokens of which window are there, shape (n, n_tokens)."""
        record, layout = self._records[number], self._layout(number)
        if record.key_mask is not None:
            return record.key_mask.cpu()
        return torch.ones(record.n_windows, layout.n_tokens, dtype=torch.bool)

    def _layout(self, number: int) -> TokenLayout:
        record = self._records[number]
        if record.layout is None:
            raise ValueError(
                f"layer {record.layer}: what its {record.shape[-1]} tokens stand for is not known; give the model a "
                "method token_layout()"
            )
        return record.layout


def _pooled(record: AttentionRecord, rows: Tensor, columns: Tensor) -> Tensor:
    """Return rows @ mean over heads of a map @ columns.T, in float64, from the factors where there
    are some.
    """
    rows, columns = rows.to(record.device), columns.to(record.device)
    if isinstance(record.made, Tensor):
        return rows @ record.made.detach().mean(dim=1).double() @ columns.T
    queries, keys = (factor.detach().double() for factor in record.made)
    return ((rows @ queries) @ (columns @ keys).mT).mean(dim=1)


def _unfolded(record: AttentionRecord, weights: Tensor | None = None) -> Tensor:
    """Return the map over all tokens of a window, where a module folds some into its batch."""
    weights = record.weights if weights is None else weights
    if record.folded is None or record.layout is None:
        return weights
    layout = record.layout
    n_folded = layout.n_frames if record.folded == "frame" else layout.n_chans
    record.check_size(record.n_windows * weights.shape[1] * layout.n_tokens**2)
    blocks = weights.unflatten(0, (-1, n_folded))
    whole = weights.new_zeros(len(blocks), weights.shape[1], layout.n_tokens, layout.n_tokens)
    for place in range(n_folded):
        at = layout.tokens(**{record.folded: place})
        rows = torch.as_tensor(at, device=weights.device)
        whole[:, :, rows[:, None], rows] = blocks[:, place]
    return whole
