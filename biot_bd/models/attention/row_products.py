"""Weights of tokens times a recorded map, without making more of the map than that needs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from biot_bd.models.attention.attention_record import AttentionRecord


def rows_times_map(rows: Tensor, record: AttentionRecord) -> Tensor:
    """Return ``rows @ A``, ``A`` the mean over heads of a recorded map.

    Of linear attention, whose map is ``A = Q @ K.T``, this is ``(rows @ Q) @ K.T``: no map is made,
    and the work grows with the number of tokens, not with its square.

    Parameters
    ----------
    rows : Tensor, shape (n, n_tokens)
        A weight for each token of each window; 0 for absent tokens.
    record : AttentionRecord
        Of the same windows.

    Returns
    -------
    Tensor, shape (n, n_tokens)
        Of the type of ``rows``.

    See Also
    --------
    AttentionMaps.mean_heads : The map itself.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import AttentionRecord
    >>> from biot_bd.models.attention.row_products import rows_times_map
    >>> weights = torch.tensor([[[[0.75, 0.25], [0.5, 0.5]]]])
    >>> record = AttentionRecord("layer", "sdpa", "exact", weights)
    >>> rows_times_map(torch.tensor([[1.0, 0.0]]), record).tolist()
    [[0.75, 0.25]]
    """
    if isinstance(record.made, Tensor):
        blocks, places = _blocks(rows, record)
        made = record.made.detach()
        heads = made.shape[1]
        spread = blocks.to(made.dtype)[:, None].expand(-1, heads, -1).flatten(1)
        product = (spread[:, None] @ made.flatten(1, 2))[:, 0] / heads
        return _together(product.to(rows.dtype), rows, places)
    queries, keys = (factor.detach() for factor in record.made)
    pooled = rows.to(queries.dtype)[:, None, None] @ queries  # (n, heads, 1, d)
    return (keys @ pooled.mT)[..., 0].mean(dim=1).to(rows.dtype)


def rows_times_matrix(rows: Tensor, matrix: Tensor, record: AttentionRecord) -> Tensor:
    """Return ``rows @ matrix`` for a matrix over the queries and keys of a record.

    Parameters
    ----------
    rows : Tensor, shape (n, n_tokens)
        A weight for each token of each window.
    matrix : Tensor, shape (n or more, queries, keys)
        As the record's map, without its heads; a module that folds channels or frames into its
        batch has more than one a window.
    record : AttentionRecord
        Says how tokens are folded.

    Returns
    -------
    Tensor, shape (n, n_tokens)
        Of the type of ``rows``.

    See Also
    --------
    rows_times_map : The same for the mean over heads of the map.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import AttentionRecord
    >>> from biot_bd.models.attention.row_products import rows_times_matrix
    >>> record = AttentionRecord("layer", "sdpa", "exact", torch.zeros(1, 1, 2, 2))
    >>> rows_times_matrix(torch.tensor([[1.0, 2.0]]), torch.eye(2)[None], record).tolist()
    [[1.0, 2.0]]
    """
    blocks, places = _blocks(rows, record)
    product = (blocks.to(matrix.dtype)[:, None] @ matrix)[:, 0]
    return _together(product.to(rows.dtype), rows, places)


def n_tokens_of(record: AttentionRecord) -> int:
    """Return the number of tokens of a window, those that the module folds into its batch
    included.
    """
    if record.folded is not None and record.layout is not None:
        return record.layout.n_tokens
    return int(record.shape[-1])


def _blocks(rows: Tensor, record: AttentionRecord) -> tuple[Tensor, Tensor | None]:
    """Return rows as the module sees them, and the tokens of each block of a window."""
    if record.folded is None or record.layout is None:
        return rows, None
    layout = record.layout
    n_folded = layout.n_frames if record.folded == "frame" else layout.n_chans
    places = np.stack([layout.tokens(**{record.folded: place}) for place in range(n_folded)])
    at = torch.as_tensor(places, device=rows.device)
    return rows[:, at].flatten(0, 1), at


def _together(blocks: Tensor, rows: Tensor, places: Tensor | None) -> Tensor:
    if places is None:
        return blocks
    whole = torch.zeros_like(rows)
    whole[:, places] = blocks.unflatten(0, (len(rows), -1))
    return whole
