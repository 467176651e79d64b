"""Softer targets: mixup and label smoothing."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd import registry
from biot_bd.training.finetuning.base import FinetuneOption


class Mixup(FinetuneOption):
    r"""Train on mixtures of two windows.

    Each batch draws :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` and a partner for every
    window: :math:`\lambda x_i + (1 - \lambda) x_j`, with the loss :math:`\lambda L(\hat y, y_i) +
    (1 - \lambda) L(\hat y, y_j)`, for any loss.  With cross-entropy without class weights that is
    cross-entropy with the soft target.

    Parameters
    ----------
    alpha : float
        Above 0; 0.2 leaves most mixtures close to one of the two windows.

    See Also
    --------
    LabelSmoothing : Softens targets alone.
    biot_bd.BIOTClassifier : Takes other changes of windows as ``augment``.

    Notes
    -----
    A channel that one of the two lacks is absent in the mixture; a window that would be left
    without channels stays as it is.  Training scores (not the loss) compare the mixtures with the
    labels of the first window.

    References
    ----------
    .. [1] Zhang, H. et al. (2018). mixup: Beyond Empirical Risk Minimization. ICLR.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.training.finetuning import Mixup
    >>> x = torch.tensor([[[0.0]], [[1.0]]])
    >>> Mixup.mix(x, 0.75, torch.tensor([1, 0])).flatten().tolist()
    [0.25, 0.75]
    """

    limits = {"alpha": (1e-6, math.inf)}

    def __init__(self, alpha: float = 0.2) -> None:
        self.alpha = alpha

    def draw(self, x: Tensor) -> tuple[float, Tensor]:
        """Draw the share of each window and its partner, with torch's CPU generator.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)

        Returns
        -------
        tuple
            ``lambda`` and the partners, int64 of shape (n,); a window without a fitting partner is
            its own.
        """
        share = float(torch.distributions.Beta(float(self.alpha), float(self.alpha)).sample())
        partners = torch.randperm(len(x))
        present = ~x.isnan().all(dim=-1).cpu()
        lonely = ~(present & present[partners]).any(dim=1)
        return share, torch.where(lonely, torch.arange(len(x)), partners)

    @staticmethod
    def mix(x: Tensor, share: float, partners: Tensor) -> Tensor:
        """Return ``share * x + (1 - share) * x[partners]``, windows that are their own partner
        untouched.
        """
        partners = partners.to(x.device)
        own = partners == torch.arange(len(x), device=x.device)
        mixed = share * x + (1.0 - share) * x[partners]
        return torch.where(own.view(-1, *[1] * (x.ndim - 1)), x, mixed)


class LabelSmoothing(FinetuneOption):
    """Cross-entropy against targets of which a part is spread evenly over all classes.

    It is the parameter ``label_smoothing`` of :class:`biot_bd.losses.CrossEntropyLoss`, as an
    option beside others.

    Parameters
    ----------
    amount : float
        The part that is spread, 0 to 1.  0.1 is what LaBraM and EEGPT use.

    See Also
    --------
    Mixup : Softens targets with the window's partner.
    biot_bd.losses.CrossEntropyLoss : Smooths by a parameter of its own.

    References
    ----------
    .. [1] Szegedy, C. et al. (2016). Rethinking the Inception Architecture for Computer Vision.
           CVPR.

    Examples
    --------
    >>> from biot_bd import BIOTClassifier
    >>> BIOTClassifier(criterion="cross-entropy", finetune=["label-smoothing"]).finetune
    ['label-smoothing']
    """

    limits = {"amount": (0.0, 1.0)}

    def __init__(self, amount: float = 0.1) -> None:
        self.amount = amount

    def check(self, net: Any) -> None:
        """Raise ``ValueError`` if the loss knows no label smoothing, or it is given twice."""
        super().check(net)
        loss = registry.losses[net.criterion] if isinstance(net.criterion, str) else net.criterion
        if isinstance(loss, nn.Module) or "label_smoothing" not in inspect.signature(loss).parameters:
            raise ValueError(
                f"LabelSmoothing: the loss {net.criterion!r} has no parameter label_smoothing; use criterion='cross-entropy'"
            )
        if hasattr(net, "criterion__label_smoothing"):
            raise ValueError("give either the option LabelSmoothing or criterion__label_smoothing, not both")
