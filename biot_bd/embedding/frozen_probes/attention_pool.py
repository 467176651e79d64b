"""Attention over the tokens of frozen embeddings, then a linear map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biot_bd.embedding.frozen_probes.base import FrozenProbe, Learnt
from biot_bd.training.resume import seeded

_PARTS = ("query", "weight", "bias", "mean", "std")


class AttentionPoolProbe(FrozenProbe):
    """One learnt query a head weighs the tokens of a window; their mean goes into a linear map.

    With standardised tokens ``t`` of ``d`` features, head ``h`` takes the mean of the tokens with
    weights ``softmax(t @ query[h] / sqrt(d))``, and the means of all heads make the logits [1]_.  A
    token that is NaN is absent.  Queries begin at zero, which is the plain mean of the tokens.

    Parameters
    ----------
    weight_decay : float or sequence of float
        Strength of the L2 penalty on queries and map, the largest first; validation subjects
        choose.
    n_heads : int
        Queries.
    train_split : {"subject"}, callable or None
        Who validates.
    validation_fraction : float
        Share of the windows that validate.
    max_iter : int
        Most iterations of L-BFGS over all windows.
    random_state : int or None
        None counts as 0.  Of the split and of the first queries.
    seen_subjects : {"raise", "warn", "allow"}
        When it shall predict other windows of subjects that it was fitted on, as in
        :class:`biot_bd.BIOTClassifier`.

    See Also
    --------
    LinearProbe : Over the plain mean of the tokens.
    biot_bd.Embedder : ``pooling="tokens"`` makes what it takes.

    References
    ----------
    .. [1] Ilse, M., Tomczak, J., & Welling, M. (2018). Attention-based deep multiple instance
       learning. ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.embedding import AttentionPoolProbe
    >>> rng, y = np.random.default_rng(0), np.tile([0, 1], 60)
    >>> x = rng.normal(size=(120, 5, 4))
    >>> x[y == 1, 2] += [4, 4, 0, 0]  # one token tells
    >>> probe = AttentionPoolProbe(weight_decay=1e-3).fit(x, y)
    >>> probe.score(x, y) > 0.9, probe.converged_
    (True, True)
    """

    _parameter = "weight_decay"
    pooling = "tokens"

    def __init__(
        self,
        weight_decay: float | Sequence[float] = (1.0, 0.1, 1e-2, 1e-3, 1e-4),
        *,
        n_heads: int = 1,
        train_split: Any = "subject",
        validation_fraction: float = 0.2,
        max_iter: int = 300,
        random_state: int | None = None,
        seen_subjects: str = "raise",
    ) -> None:
        self.weight_decay, self.n_heads = weight_decay, n_heads
        self.train_split, self.validation_fraction = train_split, validation_fraction
        self.max_iter, self.random_state = max_iter, random_state
        self.seen_subjects = seen_subjects

    def _faulty(self, x: NDArray[np.float32]) -> NDArray[np.bool_]:
        finite, absent = np.asarray(np.isfinite(x).all(axis=2)), np.asarray(np.isnan(x).all(axis=2))
        usable = np.asarray((finite | absent).all(axis=1)) & ~np.asarray(absent.all(axis=1))
        return np.asarray(~usable)

    def _learn(self, x: NDArray[np.float32], codes: NDArray[np.int64], weights: NDArray[Any], value: Any) -> Learnt:
        mean = np.nanmean(x, axis=(0, 1), dtype=np.float64)
        std = np.nanstd(x, axis=(0, 1), dtype=np.float64)
        std = np.where(std > 1e-12, std, 1.0)
        pool = _AttentionPool(self.n_heads, x.shape[2], len(self.classes_))
        with torch.no_grad():
            pool.mean.copy_(torch.from_numpy(mean))
            pool.std.copy_(torch.from_numpy(std))
        tokens, targets = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(codes)
        shares = torch.from_numpy(weights / weights.sum()).float()
        with seeded(self.random_state or 0):
            if self.n_heads > 1:  # queries that begin alike stay alike
                nn.init.normal_(pool.query, std=0.1)
            converged, n_iter = _train(pool, tokens, targets, shares, float(value), self.max_iter)
        arrays = {name: getattr(pool, name).detach().numpy().copy() for name in _PARTS}
        return Learnt(arrays, converged, n_iter)

    def _head(self, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
        n_heads, n_features = arrays["query"].shape
        pool = _AttentionPool(n_heads, n_features, len(arrays["bias"]))
        pool.load_state_dict({name: torch.from_numpy(np.asarray(arrays[name], np.float32)) for name in _PARTS})
        return pool


class _AttentionPool(nn.Module):
    """Tokens ``(n, n_tokens, n_features)`` to logits ``(n, n_classes)``."""

    mean: Tensor
    std: Tensor

    def __init__(self, n_heads: int, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(n_heads, n_features))
        self.weight = nn.Parameter(torch.zeros(n_classes, n_heads * n_features))
        self.bias = nn.Parameter(torch.zeros(n_classes))
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        absent = x.isnan().all(dim=2)
        z = torch.where(absent[..., None], 0.0, (x - self.mean) / self.std)
        scores = z @ self.query.T / self.query.shape[1] ** 0.5
        shares = scores.masked_fill(absent[..., None], torch.finfo(scores.dtype).min).softmax(dim=1)
        pooled = shares.transpose(1, 2) @ z
        return pooled.flatten(1) @ self.weight.T + self.bias


def _train(
    pool: _AttentionPool, x: Tensor, targets: Tensor, shares: Tensor, decay: float, max_iter: int
) -> tuple[bool, int]:
    """Minimise the balanced log loss; return whether L-BFGS came to its end, and its iterations."""
    optimizer = torch.optim.LBFGS(
        pool.parameters(), max_iter=max_iter, tolerance_grad=1e-5, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = pool(x)
        loss = (shares * nn.functional.cross_entropy(logits, targets, reduction="none")).sum()
        penalty = pool.weight.square().sum() + pool.query.square().sum()
        total = loss + decay / 2 * penalty
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(closure)  # type: ignore[arg-type, no-untyped-call]
    state = optimizer.state[next(pool.parameters())]
    n_iter = int(state["n_iter"])
    return n_iter < max_iter, n_iter
