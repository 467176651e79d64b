"""The Kullback-Leibler divergence as a loss over logits and the shares of votes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KLDivergence(nn.Module):
    r"""Kullback-Leibler divergence of the votes from the model's probabilities.

    Of a window with shares :math:`t_k` of the votes it is :math:`\sum_k t_k (\log t_k - \log p_k)`,
    where :math:`p` is the softmax of the logits: 0 where the model says what the experts said,
    cross-entropy of one-hot targets, whose gradient it has for any.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What becomes of the windows' values.

    Raises
    ------
    ValueError
        Unknown reduction, or targets that do not fit the logits.

    See Also
    --------
    biot_bd_hms.kl_metric.KL_DIVERGENCE : The competition's metric, with its clipping.

    References
    ----------
    .. [1] Kullback, S. & Leibler, R. A. (1951). On Information and Sufficiency. Ann. Math. Stat.

    Examples
    --------
    >>> import torch
    >>> from biot_bd_hms.kl_loss import KLDivergence
    >>> logits, votes = torch.zeros(1, 2), torch.tensor([[0.75, 0.25]])
    >>> round(float(KLDivergence()(logits, votes)), 4)  # log 2 - H(0.75)
    0.1308
    """

    soft_targets = True
    decomposes = True

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (n, n_classes) for shares (n, n_classes) or labels (n,)."""
        losses = self.per_window(input, target)
        if self.reduction == "none":
            return losses
        return losses.mean() if self.reduction == "mean" else losses.sum()

    def per_window(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each window, shape (n,)."""
        if target.ndim == 1:
            target = F.one_hot(target, input.shape[1])
        if target.shape != input.shape:
            raise ValueError(f"targets of shape {tuple(target.shape)} do not fit logits of shape {tuple(input.shape)}")
        logits = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        shares = target.to(logits)
        return (torch.special.xlogy(shares, shares) - shares * logits.log_softmax(dim=1)).sum(dim=1)

    def normaliser(self, target: Tensor) -> Tensor:
        """Return what the sum over windows is divided by."""
        return torch.tensor(float(len(target)) if self.reduction == "mean" else 1.0, device=target.device)
