"""What all processes have of a batch, with the gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from biot_bd.pretraining.batch_random import BatchRandom


class _Gather(torch.autograd.Function):
    """Concatenate the rows of all processes; a row's gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, start: int, lengths: list[int]) -> Tensor:
        """Return the rows in the order of processes."""
        ctx.rows = slice(start, start + len(x))
        # Collectives want equal shapes.
        padded = F.pad(x, [0, 0] * (x.ndim - 1) + [0, max(lengths) - len(x)]).contiguous()
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of this process's rows."""
        total = slopes[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.rows], None, None


def of_whole_batch(x: Tensor, rng: BatchRandom) -> Tensor:
    """Return the rows of all windows of a batch that processes share, in their order.

    Backward, each process gets the sum over processes of the gradients of its own rows.  So where
    every process computes the same loss of the whole batch, and gradients of parameters are
    averaged over processes, they are those of one process with the whole batch.

    Parameters
    ----------
    x : Tensor, shape (n, ...)
        Of this process's windows, in the order of the batch.
    rng : BatchRandom
        Of the batch; says how many windows are here and in all.

    Returns
    -------
    Tensor, shape (n_all, ...)
        ``x`` itself where no other process has a part of the batch.

    Raises
    ------
    RuntimeError
        The processes have other windows than the batch.

    See Also
    --------
    BatchRandom : Random numbers of the same windows.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import BatchRandom, of_whole_batch
    >>> of_whole_batch(torch.ones(2, 3), BatchRandom(0, n=2)).shape
    torch.Size([2, 3])
    """
    if rng.n == rng.n_all or not (
        dist.is_available() and dist.is_initialized()
    ):  # a part that is looked at by itself is a batch
        return x
    own = torch.tensor([len(x)], device=x.device)
    found = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(found, own)
    lengths = [int(length) for length in found]
    if sum(lengths) != rng.n_all:
        raise RuntimeError(f"{len(lengths)} processes have {lengths} windows of a batch of {rng.n_all}")
    gathered: Tensor = _Gather.apply(x, rng.start, lengths)
    return gathered
