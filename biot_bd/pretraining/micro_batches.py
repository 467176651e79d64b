"""A batch a few windows at a time, with activations computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_micro_batches(
    function: Callable[..., tuple[Tensor, ...]], size: int | None, *inputs: Tensor | None
) -> tuple[Tensor, ...]:
    """Call a function on a few windows at a time and join what it gives.

    No activations are kept: the backward pass computes those of one micro-batch after another
    again, with the same random numbers.  So a loss across the windows of a batch has its exact
    gradient in the memory of a few windows [1]_, [2]_.

    Parameters
    ----------
    function : callable
        From ``inputs`` to tensors (n, ...); a window's results depend on that window alone.
    size : int or None
        Windows at a time; None: all at once, activations kept.
    *inputs : Tensor, shape (n, ...), or None
        None is handed on.

    Returns
    -------
    tuple of Tensor
        What the function gives for all windows.

    References
    ----------
    .. [1] Chen, T. et al. (2016). Training Deep Nets with Sublinear Memory Cost. arXiv:1604.06174.
    .. [2] Gao, L. et al. (2021). Scaling Deep Contrastive Learning Batch Size under Memory Limited
       Setup. RepL4NLP.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining.micro_batches import in_micro_batches
    >>> x = torch.arange(5.0, requires_grad=True)
    >>> (squares,) = in_micro_batches(lambda part: (part**2,), 2, x)
    >>> squares.sum().backward()
    >>> squares.tolist(), x.grad.tolist()
    ([0.0, 1.0, 4.0, 9.0, 16.0], [0.0, 2.0, 4.0, 6.0, 8.0])
    """
    n = max(len(tensor) for tensor in inputs if tensor is not None)
    if size is None or size >= n:
        return function(*inputs)
    parts = []
    for start in range(0, n, size):
        part = [None if tensor is None else tensor[start : start + size] for tensor in inputs]
        if torch.is_grad_enabled():
            parts.append(checkpoint(function, *part, use_reentrant=False))
        else:
            parts.append(function(*part))
    return tuple(torch.cat(results) for results in zip(*parts, strict=True))
