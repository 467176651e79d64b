"""Losses over logits: focal loss and cross-entropy with prior correction.

Both take logits ``(n, n_classes)`` and integer targets ``(n,)``, and plain numbers or sequences as
parameters, so they are skorch criteria (``criterion__gamma=2``).  Both have the optional ``weight``
of one number a class that a classifier with class weights passes.  Neither changes what a model
predicts: probabilities are the softmax of its logits.

A loss class with ``decomposes = True`` is a sum over windows over a number that the targets alone
give: ``loss(z, y) == loss.per_window(z, y).sum() / loss.normaliser(y)``.  Training in micro-batches
then needs one forward pass instead of two.  The attribute counts only on the class that sets it,
not on its subclasses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CrossEntropyLoss", "FocalLoss"]

Reduction = Literal["mean", "sum", "none"]


class FocalLoss(nn.Module):
    r"""Focal loss for two or more classes, finite in value and gradient for any finite logits.

    With :math:`p_y` the softmax probability of the true class, the loss of a window is
    :math:`-\alpha_y w_y (1 - p_y)^\gamma \log p_y` [1]_.

    Parameters
    ----------
    gamma : float
        Focus on hard windows, 0 or more; 0 gives (weighted) cross-entropy.
    alpha : float, sequence of float, or None
        A number between 0 and 1 weighs class 1 with ``alpha`` and class 0 with ``1 - alpha`` (two
        classes only); a sequence gives one weight a class.
    weight : sequence of float, optional
        One more factor a class, e.g. balanced class weights.
    reduction : {"mean", "sum", "none"}
        ``"mean"`` is the plain mean over windows, as in the official code: neither ``alpha`` nor
        ``weight`` is divided out again.

    Raises
    ------
    ValueError
        A parameter is out of range, or logits and targets do not fit it.

    See Also
    --------
    CrossEntropyLoss : With prior correction instead of a focus on hard windows.
    biot_bd.testing.check_loss : Checks a loss of your own.

    Notes
    -----
    With :math:`m = \log\sum_{j \ne y} e^{z_j} - z_y`, :math:`\log p_y = \log\sigma(-m)` and
    :math:`\log(1 - p_y) = \log\sigma(m)`; both are computed as such, so nothing cancels near
    :math:`p_y = 1` and the gradient stays finite for ``gamma < 1``.

    A published one-logit loss on ``z`` is this loss on the logits ``[0, z]``.

    References
    ----------
    .. [1] Lin, T.-Y. et al. (2017). Focal Loss for Dense Object Detection. ICCV.

    Examples
    --------
    A window that is nearly right (a probability of 0.88 for its class) counts 70 times less than
    with cross-entropy, one that is wrong nearly as much.

    >>> import torch
    >>> from biot_bd import FocalLoss
    >>> logits, targets = torch.tensor([[0.0, 2.0], [0.0, -2.0]]), torch.tensor([1, 1])
    >>> FocalLoss(gamma=2.0, reduction="none")(logits, targets)
    tensor([0.0018, 1.6501])
    >>> FocalLoss(gamma=0.0, reduction="none")(logits, targets)  # cross-entropy
    tensor([0.1269, 2.1269])

    In a classifier, with background windows weighed by 0.25:

    >>> from biot_bd import BIOTClassifier
    >>> classifier = BIOTClassifier(criterion="focal", criterion__alpha=0.75)
    """

    decomposes = True
    class_alpha: Tensor | None
    weight: Tensor | None

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = None,
        weight: Sequence[float] | Tensor | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if not (math.isfinite(gamma) and gamma >= 0):
            raise ValueError(f"gamma must be a finite number of 0 or more, got {gamma!r}")
        self.gamma = float(gamma)
        self.alpha = alpha
        self.reduction = _check_reduction(reduction)
        # Rebuilt from the parameters, so they stay out of the state dict.
        self.register_buffer("class_alpha", _alpha_by_class(alpha), persistent=False)
        self.register_buffer("weight", _class_numbers(weight, "weight"), persistent=False)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits ``input`` (n, n_classes) for class indices ``target`` (n,)."""
        return _reduce(self.per_window(input, target), self.reduction)

    def per_window(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each window, shape (n,)."""
        _check_batch(input, target, {"alpha": self.class_alpha, "weight": self.weight})
        logits = _at_least_float32(input)
        true = F.one_hot(target, logits.shape[1]).bool()
        margin = logits.masked_fill(true, -math.inf).logsumexp(dim=1) - logits[true]
        loss = -F.logsigmoid(-margin)
        if self.gamma:
            loss = torch.exp(self.gamma * F.logsigmoid(margin)) * loss
        for factor in (self.class_alpha, self.weight):
            if factor is not None:
                loss = loss * factor.to(loss)[target]
        return loss

    def normaliser(self, target: Tensor) -> Tensor:
        """Return what the sum over windows is divided by: their number, or 1 without a mean."""
        return _number_of_windows(target, self.reduction)

    def extra_repr(self) -> str:
        """Show the parameters in ``repr``."""
        return f"gamma={self.gamma}, alpha={self.alpha}, reduction={self.reduction!r}"


class CrossEntropyLoss(nn.CrossEntropyLoss):
    r"""Cross-entropy with class weights, label smoothing and prior correction.

    Prior correction (logit adjustment, [1]_) adds :math:`\tau \log \pi_c` to the logits inside the
    loss.  The model then learns what is left when the class frequencies :math:`\pi` are known, so
    the softmax of its *unadjusted* logits treats all classes alike.

    Parameters
    ----------
    weight : sequence of float, optional
        Factor a class; as in torch the mean divides by the sum of the factors.
    label_smoothing : float
        Share of each target spread evenly over all classes, 0 to 1.
    prior_correction : sequence of float, True, or None
        Class frequencies or counts (each above 0), in class order.  True: those of the training
        labels, told by ``set_class_counts`` before the first batch.  None: no correction.
    tau : float
        Strength of the correction; 1 is the consistent choice.
    reduction : {"mean", "sum", "none"}
        As in torch.

    Raises
    ------
    ValueError
        A parameter is out of range, or logits and targets do not fit it.
    RuntimeError
        ``prior_correction=True`` and the counts were never told.

    See Also
    --------
    FocalLoss : Weighs windows by how hard they are.

    References
    ----------
    .. [1] Menon, A. K. et al. (2021). Long-tail learning via logit adjustment. ICLR.

    Examples
    --------
    With 9 background windows for each seizure window, a model that says "even" (logits 0) has
    learnt the prior and nothing else; the loss sees the probabilities 0.9 and 0.1.

    >>> import torch
    >>> from biot_bd.losses import CrossEntropyLoss
    >>> loss = CrossEntropyLoss(prior_correction=[9, 1], reduction="none")
    >>> torch.exp(-loss(torch.zeros(2, 2), torch.tensor([0, 1])))
    tensor([0.9000, 0.1000])
    """

    decomposes = True
    log_prior: Tensor | None
    weight: Tensor | None

    def __init__(
        self,
        weight: Sequence[float] | Tensor | None = None,
        label_smoothing: float = 0.0,
        prior_correction: Sequence[float] | bool | None = None,
        tau: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing!r}")
        if not math.isfinite(tau):
            raise ValueError(f"tau must be finite, got {tau!r}")
        super().__init__(
            weight=_class_numbers(weight, "weight"),
            label_smoothing=float(label_smoothing),
            reduction=_check_reduction(reduction),
        )
        self.prior_correction = prior_correction
        self.tau = float(tau)
        self.register_buffer("log_prior", None, persistent=False)
        if prior_correction is not None and not isinstance(prior_correction, (bool, np.bool_)):
            self._set_prior(prior_correction, "prior_correction")

    def set_class_counts(self, counts: Sequence[float] | Tensor) -> None:
        """Tell how often each class occurs in the training labels.

        Used by ``prior_correction=True``.

        Parameters
        ----------
        counts : sequence of float, shape (n_classes,)
            Counts or frequencies in class order, each above 0.
        """
        if self.prior_correction is True:
            self._set_prior(counts, "class counts")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits ``input`` (n, n_classes) for class indices ``target`` (n,)."""
        return self._cross_entropy(input, target, self.reduction)

    def per_window(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each window, shape (n,)."""
        return self._cross_entropy(input, target, "none")

    def normaliser(self, target: Tensor) -> Tensor:
        """Return what the sum over windows is divided by.

        The sum of their classes' weights, or 1 without a mean.
        """
        if self.weight is None or self.reduction != "mean":
            return _number_of_windows(target, self.reduction)
        return self.weight[target].sum()

    def _cross_entropy(self, input: Tensor, target: Tensor, reduction: str) -> Tensor:
        if self.prior_correction is True and self.log_prior is None:
            raise RuntimeError(
                "CrossEntropyLoss(prior_correction=True) does not know the class frequencies: call "
                "set_class_counts(counts) before training, or pass prior_correction=[...]"
            )
        _check_batch(input, target, {"weight": self.weight, "prior_correction": self.log_prior})
        logits = _at_least_float32(input)
        if self.log_prior is not None:
            logits = logits + self.tau * self.log_prior.to(logits)
        weight = None if self.weight is None else self.weight.to(logits)
        return F.cross_entropy(logits, target, weight=weight, reduction=reduction, label_smoothing=self.label_smoothing)

    def extra_repr(self) -> str:
        """Show the parameters in ``repr``."""
        return f"label_smoothing={self.label_smoothing}, prior_correction={self.prior_correction}, tau={self.tau}"

    def _set_prior(self, counts: Sequence[float] | Tensor, name: str) -> None:
        numbers = _class_numbers(counts, name)
        if numbers is None or bool((numbers <= 0).any()):
            raise ValueError(
                f"{name} must be above 0 for every class, got {counts}; a class without windows has no prior"
            )
        self.log_prior = (numbers / numbers.sum()).log()


def _alpha_by_class(alpha: float | Sequence[float] | None) -> Tensor | None:
    if alpha is None or not isinstance(alpha, (int, float, np.integer, np.floating)):
        return _class_numbers(alpha, "alpha")
    if not 0 <= alpha <= 1:
        raise ValueError(
            f"alpha must be between 0 and 1 (weight of class 1) or a sequence, one number a class; got {alpha}"
        )
    return torch.tensor([1 - alpha, alpha], dtype=torch.float32)


def _class_numbers(values: Sequence[float] | Tensor | None, name: str) -> Tensor | None:
    """Return numbers by class as a float32 tensor (float64 does not exist on every device)."""
    if values is None:
        return None
    numbers = torch.as_tensor(values, dtype=torch.float32).detach().clone()
    if numbers.ndim != 1 or len(numbers) < 2 or not bool((numbers.isfinite() & (numbers >= 0)).all()):
        raise ValueError(f"{name} must hold a finite number of 0 or more for each of two or more classes, got {values}")
    return numbers


def _check_reduction(reduction: Reduction) -> Reduction:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return reduction


def _check_batch(logits: Tensor, target: Tensor, by_class: dict[str, Tensor | None]) -> None:
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits must have shape (n, n_classes) with two or more classes, got {tuple(logits.shape)}")
    if target.dtype != torch.int64 or tuple(target.shape) != (len(logits),):
        raise ValueError(
            f"targets must be int64 class indices of shape ({len(logits)},), got {target.dtype} {tuple(target.shape)}"
        )
    if len(target) and not 0 <= int(target.min()) <= int(target.max()) < logits.shape[1]:
        raise ValueError(
            f"targets must lie between 0 and {logits.shape[1] - 1}, got {int(target.min())} to {int(target.max())}"
        )
    for name, values in by_class.items():
        if values is not None and len(values) != logits.shape[1]:
            raise ValueError(f"{name} has numbers for {len(values)} classes, the logits have {logits.shape[1]}")


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _number_of_windows(target: Tensor, reduction: str) -> Tensor:
    return torch.tensor(float(len(target)) if reduction == "mean" else 1.0, device=target.device)


def _reduce(loss: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()
