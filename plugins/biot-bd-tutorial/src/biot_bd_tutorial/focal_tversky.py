"""The loss ``focal-tversky``.

Overlap of predicted and true classes instead of single windows' errors.

Abraham, N. and Khan, N. M. (2019). A novel focal Tversky loss function with improved attention
U-Net for lesion segmentation. IEEE ISBI, 683-687.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FocalTverskyLoss(nn.Module):
    r"""Focal Tversky loss over logits and integer targets.

    With :math:`p_{ic}` the softmax probability and :math:`g_{ic}` 1 where window *i* is of class
    *c*,

    .. math::
        TI_c = \frac{\sum_i p_{ic} g_{ic} + \epsilon}
                    {\sum_i p_{ic} g_{ic} + \alpha \sum_i (1 - p_{ic}) g_{ic}
                     + \beta \sum_i p_{ic} (1 - g_{ic}) + \epsilon},
        \qquad L = \sum_c (1 - TI_c)^{1 / \gamma}

    Parameters
    ----------
    alpha : float
        Weight of missed windows; with the default above ``beta``, a missed seizure costs more than
        a false alarm.
    beta : float
        Weight of false windows.
    gamma : float
        Focus on classes with little overlap; the paper recommends 1 to 3.
    smooth : float
        The :math:`\epsilon`, in windows; keeps a class that the batch lacks defined.
    """

    def __init__(self, alpha: float = 0.7, beta: float = 0.3, gamma: float = 4 / 3, smooth: float = 1.0) -> None:
        super().__init__()
        for name, value in {"alpha": alpha, "beta": beta, "gamma": gamma, "smooth": smooth}.items():
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        self.alpha, self.beta, self.gamma, self.smooth = alpha, beta, gamma, smooth

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        logits : Tensor of shape (n, n_classes)
        targets : Tensor of shape (n,), int64

        Returns
        -------
        Tensor of shape ()
        """
        p = logits.float().softmax(dim=1)
        g = nn.functional.one_hot(targets, p.shape[1]).to(p.dtype)
        hit = (p * g).sum(dim=0)
        missed = ((1 - p) * g).sum(dim=0)
        false = (p * (1 - g)).sum(dim=0)
        # Not 1 - TI, which loses all digits near 0; the floor keeps the root's slope finite.
        error = self.alpha * missed + self.beta * false
        miss = error / (hit + error + self.smooth)
        return miss.clamp_min(torch.finfo(p.dtype).eps).pow(1 / self.gamma).sum()
