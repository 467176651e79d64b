"""Integrated gradients along a straight path, in batches.

References
----------
.. [1] Sundararajan, M., Taly, A., Yan, Q. (2017). Axiomatic Attribution for Deep Networks. ICML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor


def integrated_gradients(
    score: Callable[[Tensor, Tensor], Tensor], start: Tensor, stop: Tensor, steps: int, batch_size: int
) -> Iterator[Tensor]:
    """Yield integrated gradients [1]_, some windows at a time.

    The integral is taken by Gauss-Legendre quadrature: exact for a score that is a polynomial of
    degree ``2 * steps`` along the path.

    Parameters
    ----------
    score : callable
        ``score(points, rows) -> (m,)``: the score of each point (m, ...), ``rows`` (m,) being the
        windows that they are of.
    start, stop : Tensor, shape (n, ...)
        Ends of the path.
    steps : int
        Points of the quadrature.
    batch_size : int
        Points a forward and backward pass.

    Yields
    ------
    Tensor, shape (m, ...)
        Attributions of the next windows; of a window they add up to ``score(stop) - score(start)``.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    at = torch.as_tensor((1 + nodes) / 2).to(stop)
    weight = torch.as_tensor(weights / 2).to(stop)
    at_once = min(steps, batch_size)
    column = (-1, *(1,) * (stop.ndim - 1))
    for rows in torch.arange(len(stop), device=stop.device).split(max(1, batch_size // steps)):
        way = stop[rows] - start[rows]
        total = torch.zeros_like(way)
        for some in torch.arange(steps, device=stop.device).split(at_once):
            points = start[rows, None] + at[some].reshape(column) * way[:, None]
            points = points.flatten(0, 1).detach().requires_grad_()
            scores = score(points, rows.repeat_interleave(len(some)))
            (slopes,) = torch.autograd.grad(scores.sum(), points)
            total += (slopes.unflatten(0, (len(rows), len(some))) * weight[some].reshape(column)).sum(dim=1)
        yield total * way
