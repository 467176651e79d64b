"""How an attention map is spread: entropy of its rows, effective rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from biot_bd.models.attention.attention_record import AttentionRecord


def entropy(maps: Tensor | AttentionRecord, present: Tensor | None = None) -> Tensor:
    r"""Return the mean entropy of the rows of attention maps, relative to uniform attention.

    .. math:: -\frac{1}{N \log N} \sum_{q, k} P_{qk} \log P_{qk}

    Parameters
    ----------
    maps : Tensor of shape (..., queries, keys), or AttentionRecord
        Rows sum to 1.  Of a record whose map is kept as two factors one window's map is made at a
        time.
    present : Tensor of bool, shape (n, keys), optional
        Which tokens are there, for maps (n, ..., tokens, tokens): the others count neither as
        queries nor as keys.  A record brings its own.

    Returns
    -------
    Tensor of float64, shape (...)
        1 where every query attends to all keys alike, 0 where each attends to one alone; 0 also
        where there is one key only.

    Raises
    ------
    ValueError
        These are no maps, or some number in them is not finite.

    See Also
    --------
    effective_rank : How many different rows there are.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import entropy
    >>> maps = torch.stack([torch.full((4, 4), 0.25), torch.eye(4)])
    >>> entropy(maps).tolist()
    [1.0, 0.0]
    """
    if isinstance(maps, AttentionRecord):
        made, present = maps.made, maps.key_mask
        if isinstance(made, Tensor):
            return entropy(made, present)
        rows = range(len(made[0]))
        return torch.cat([entropy(_product(made, i), None if present is None else present[i : i + 1]) for i in rows])
    queries, keys = _presence(maps, present)
    weights = torch.where(queries[..., :, None] & keys[..., None, :], maps.detach(), 0).double()
    _check(weights)
    surprise = -torch.special.xlogy(weights, weights).sum(dim=-1)
    n_keys = keys.sum(dim=-1).double()
    most = torch.where(n_keys > 1, n_keys.log(), math.inf)
    return (surprise * queries).sum(dim=-1) / queries.sum(dim=-1) / most


def effective_rank(maps: Tensor | AttentionRecord, present: Tensor | None = None) -> Tensor:
    r"""Return the effective rank of attention maps: the exponential of the entropy of their
    singular values, as shares of their sum.

    As defined in [1]_:

    .. math:: \exp\Bigl(-\sum_i p_i \log p_i\Bigr), \quad p_i = \sigma_i / \sum_j \sigma_j

    Parameters
    ----------
    maps : Tensor of shape (..., queries, keys), or AttentionRecord
        Of a record of linear attention the singular values come from the two factors, and no map is
        made.
    present : Tensor of bool, shape (n, keys), optional
        As for :func:`entropy`.

    Returns
    -------
    Tensor of float64, shape (...)
        1 where all rows are alike, e.g. uniform; the number of tokens where each has a row of its
        own.  For linear attention at most the features of a head.

    Raises
    ------
    ValueError
        These are no maps, or some number in them is not finite.

    See Also
    --------
    entropy : How wide rows are.

    References
    ----------
    .. [1] Roy, O. and Vetterli, M. (2007). The effective rank: a measure of effective
       dimensionality. EUSIPCO, 606-610.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import effective_rank
    >>> maps = torch.stack([torch.full((4, 4), 0.25), torch.eye(4)])
    >>> [round(rank, 6) for rank in effective_rank(maps).tolist()]
    [1.0, 4.0]
    """
    if isinstance(maps, AttentionRecord):
        made, present = maps.made, maps.key_mask
        if isinstance(made, Tensor):
            return effective_rank(made, present)
        small = _triangular(made[0], present) @ _triangular(made[1], present).mT
    else:
        queries, keys = _presence(maps, present)
        small = torch.where(queries[..., :, None] & keys[..., None, :], maps.detach(), 0).double()
    _check(small)
    sizes = torch.linalg.svdvals(small)
    shares = sizes / sizes.sum(dim=-1, keepdim=True)
    return torch.special.entr(shares).sum(dim=-1).exp()


def _product(factors: tuple[Tensor, Tensor], row: int) -> Tensor:
    queries, keys = (factor.detach()[row : row + 1].double() for factor in factors)
    return queries @ keys.mT


def _triangular(factor: Tensor, present: Tensor | None) -> Tensor:
    """Return R of the QR decomposition of a factor (n, heads, tokens, d): (Q R)(Q' R')^T has the
    singular values of R R'^T.
    """
    factor = factor.detach().double()
    if present is not None:
        factor = torch.where(present[:, None, :, None], factor, 0)
    return torch.linalg.qr(factor, mode="r").R


def _presence(maps: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return which queries and which keys count, each able to be broadcast over the maps."""
    if not isinstance(maps, Tensor) or maps.ndim < 2 or not maps.is_floating_point():
        kind = f"{maps.dtype} {tuple(maps.shape)}" if isinstance(maps, Tensor) else type(maps).__name__
        raise ValueError(f"expected attention maps of shape (..., queries, keys), got {kind}")
    if present is None:
        queries, keys = (torch.ones(size, dtype=torch.bool, device=maps.device) for size in maps.shape[-2:])
        return queries, keys
    if maps.ndim < 3 or maps.shape[-1] != maps.shape[-2] or present.shape != (len(maps), maps.shape[-1]):
        raise ValueError(
            f"present must be (n, tokens) of maps (n, ..., tokens, tokens); got {tuple(present.shape)} and "
            f"{tuple(maps.shape)}"
        )
    there = present.reshape(len(maps), *([1] * (maps.ndim - 3)), maps.shape[-1])
    return there, there


def _check(weights: Tensor) -> None:
    if not bool(torch.isfinite(weights).all()):
        raise ValueError("these attention maps hold numbers that are not finite; say which tokens are there (present=)")
