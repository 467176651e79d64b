"""Check a loss: ``loss(logits, targets)`` over raw scores and integer classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch import Tensor, nn

from biot_bd.testing._base import attempt, build, pickled, require, require_subclass
from biot_bd.training.micro_batches import decomposes
from biot_bd.training.soft_targets import takes_soft_targets

LARGEST_LOGIT = 1e4


def check_loss(
    loss: type[nn.Module],
    parameters: Mapping[str, Any] | None = None,
    *,
    n_classes: tuple[int, ...] = (2, 3),
) -> None:
    """Check a class given to ``register_losses``.

    Parameters
    ----------
    loss : type
        An ``nn.Module`` class; instances are called with logits (n, n_classes), float, and targets
        (n,), int64.
    parameters : mapping, optional
        Constructor parameters to test with; defaults otherwise.
    n_classes : tuple of int
        Numbers of classes to try.

    Raises
    ------
    ConformanceError
        The loss is no scalar, is not finite or has no finite gradient (at logits up to 1e4 and in
        batches of one class), does not fall when the scores get better, depends on the order of the
        batch, changes its input, cannot be pickled, or does not train in skorch.  With
        ``soft_targets = True`` also: rows of shares, float (n, n_classes), are not taken, one-hot
        rows cost something else than their labels, or the true shares cost more than others.  With
        ``decomposes = True``: its parts do not add up to it.

    See Also
    --------
    biot_bd.hookspecs.register_losses : The hook for such classes.
    biot_bd.losses.FocalLoss, biot_bd.losses.CrossEntropyLoss : The losses that are there.

    Examples
    --------
    >>> from torch import nn
    >>> from biot_bd import FocalLoss
    >>> from biot_bd.testing import check_loss
    >>> check_loss(FocalLoss, {"gamma": 0.5})

    A loss over probabilities breaks down where the model is sure:

    >>> class Naive(nn.Module):
    ...     def forward(self, logits, targets):
    ...         return -logits.softmax(dim=1).gather(1, targets[:, None]).log().mean()
    >>> check_loss(Naive)
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ConformanceError: Naive: ...
    """
    name = require_subclass(loss, nn.Module, "torch.nn.Module")
    criterion = build(loss, parameters)
    for k in n_classes:
        _check_values(criterion, name, k)
        _check_direction(criterion, name, k)
        _check_extremes(criterion, name, k)
        _check_soft(criterion, name, k)
    _check_copies(criterion, name, n_classes[0])
    _check_skorch(loss, dict(parameters or {}), name)


def _batch(k: int, n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, k, generator=generator), torch.arange(n) % k


def _value(criterion: nn.Module, name: str, logits: Tensor, targets: Tensor, case: str) -> Tensor:
    value = attempt(f"{name}: {case}: logits {tuple(logits.shape)}", criterion, logits, targets)
    require(isinstance(value, Tensor), f"{name}: {case}: expected a tensor, got {type(value).__name__}")
    require(value.dim() == 0, f"{name}: {case}: expected one number (shape ()), got shape {tuple(value.shape)}")
    require(value.dtype.is_floating_point, f"{name}: {case}: expected a floating-point value, got {value.dtype}")
    require(torch.isfinite(value), f"{name}: {case}: the loss is {value.item()}; expected a finite number")
    return value


def _gradient(criterion: nn.Module, name: str, logits: Tensor, targets: Tensor, case: str) -> Tensor:
    logits = logits.clone().requires_grad_(True)
    value = _value(criterion, name, logits, targets, case)
    require(value.requires_grad, f"{name}: {case}: the loss has no gradient; was a tensor detached?")
    attempt(f"{name}: {case}: backward", value.backward)
    require(
        logits.grad is not None and bool(torch.isfinite(logits.grad).all()),
        f"{name}: {case}: the gradient is not finite everywhere",
    )
    return logits.grad  # type: ignore[return-value]


def _check_values(criterion: nn.Module, name: str, k: int) -> None:
    logits, targets = _batch(k)
    before = logits.clone(), targets.clone()
    value = _value(criterion, name, logits, targets, f"{k} classes")
    require(
        torch.equal(logits, before[0]) and torch.equal(targets, before[1]),
        f"{name}: {k} classes: the input was changed in place",
    )
    again = _value(criterion, name, logits, targets, f"{k} classes, second call")
    require(torch.equal(value, again), f"{name}: two calls gave {value.item()} and {again.item()}")
    turned = _value(criterion, name, logits.flip(0), targets.flip(0), f"{k} classes, reversed")
    require(
        torch.isclose(value, turned, rtol=1e-4, atol=1e-6),
        f"{name}: the order of the batch matters: {value.item()} and, reversed, {turned.item()}",
    )
    for column in range(k):
        _gradient(criterion, name, logits, torch.full_like(targets, column), f"a batch of class {column} only")
    _gradient(criterion, name, logits[:1], targets[:1], "a batch of one")


def _check_direction(criterion: nn.Module, name: str, k: int) -> None:
    _, targets = _batch(k)
    right = 4.0 * nn.functional.one_hot(targets, k).float()
    low = _value(criterion, name, right, targets, "right scores")
    high = _value(criterion, name, right.roll(1, dims=1), targets, "wrong scores")
    require(
        low < high,
        f"{name}: {k} classes: right scores cost {low.item():.6g}, wrong ones {high.item():.6g}; right must cost less",
    )
    for column in range(k):
        case = f"a batch of class {column} only"
        slope = _gradient(criterion, name, torch.zeros(4, k), torch.full((4,), column), case)[:, column]
        require((slope < 0).all(), f"{name}: {k} classes, {case}: a higher score of that class does not lower the loss")
    logits, targets = _batch(k, seed=1)
    gradient = _gradient(criterion, name, logits, targets, "random scores")
    require(
        gradient.abs().max() > 0, f"{name}: {k} classes: the gradient at random scores is zero; nothing would train"
    )
    start = _value(criterion, name, logits, targets, "random scores")
    step = 0.05 / gradient.abs().max()
    stepped = _value(criterion, name, logits - step * gradient, targets, "after a step downhill")
    require(
        stepped < start,
        f"{name}: a small step against the gradient raises the loss: {start.item()} to {stepped.item()}",
    )


def _check_extremes(criterion: nn.Module, name: str, k: int) -> None:
    _, targets = _batch(k)
    right = nn.functional.one_hot(targets, k).float()
    for scale in (LARGEST_LOGIT, -LARGEST_LOGIT):
        _gradient(criterion, name, scale * right, targets, f"logits of {scale:g} at the target")
    _gradient(criterion, name, torch.full((len(targets), k), LARGEST_LOGIT), targets, f"all logits {LARGEST_LOGIT:g}")


def _check_soft(criterion: nn.Module, name: str, k: int) -> None:
    """Check a distribution over the classes as targets, and that parts of a batch add up."""
    logits, targets = _batch(k)
    cases = [("labels", targets)]
    if takes_soft_targets(type(criterion)):
        one_hot = nn.functional.one_hot(targets, k).float()
        soft, hard = (_value(criterion, name, logits, t, f"{k} classes, one-hot rows") for t in (one_hot, targets))
        require(
            torch.isclose(soft, hard, rtol=1e-4, atol=1e-6),
            f"{name}: {k} classes: one-hot rows cost {soft.item():.6g}, their labels {hard.item():.6g}; expected the same",
        )
        shares = torch.softmax(2.0 * torch.randn(len(logits), k, generator=torch.Generator().manual_seed(2)), dim=1)
        low = _value(criterion, name, shares.log(), shares, "the true shares")
        high = _value(criterion, name, shares.log().roll(1, dims=1), shares, "other shares")
        require(low < high, f"{name}: {k} classes: the true shares cost {low.item():.6g}, others {high.item():.6g}")
        _gradient(criterion, name, LARGEST_LOGIT * one_hot, one_hot.roll(1, dims=1), "shares of 0 and 1, all wrong")
        cases += [("soft targets", shares)]
    if decomposes(criterion):
        for what, given in cases:
            whole = _value(criterion, name, logits, given, what)
            parts = [criterion.per_window(logits[rows], given[rows]).sum() for rows in (slice(5), slice(5, None))]  # type: ignore[operator]
            added = sum(parts) / criterion.normaliser(given)  # type: ignore[operator]
            require(
                torch.isclose(whole, added, rtol=1e-4, atol=1e-6),
                f"{name}: {what}: the loss is {whole.item():.6g}, the sum of its parts {added.item():.6g}; "
                "set decomposes = True only where they are equal",
            )


def _check_copies(criterion: nn.Module, name: str, k: int) -> None:
    logits, targets = _batch(k)
    value = _value(criterion, name, logits, targets, "original")
    copy = _value(pickled(criterion, name), name, logits, targets, "after pickling")
    require(torch.equal(value, copy), f"{name}: {value.item()} before pickling, {copy.item()} after")


def _check_skorch(loss: type[nn.Module], parameters: dict[str, Any], name: str) -> None:
    """Train two epochs with the loss by class and ``criterion__`` parameters, as BIOTClassifier
    does.
    """
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 4)).astype(np.float32), np.arange(16) % 2
    net = NeuralNetClassifier(
        nn.Linear,
        module__in_features=4,
        module__out_features=2,
        criterion=loss,
        max_epochs=2,
        train_split=None,
        verbose=0,
        **{f"criterion__{key}": value for key, value in parameters.items()},
    )
    attempt(f"{name}: training two epochs in skorch (criterion={name})", net.fit, x, y)
    require(np.isfinite(net.history[:, "train_loss"]).all(), f"{name}: the training loss in skorch is not finite")
