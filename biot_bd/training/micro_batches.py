"""Loss and gradients of a batch in micro-batches.

The memory of a few windows, the gradient of all of them.

Where the loss is a sum over windows (``decomposes``, see :mod:`biot_bd.losses`) every micro-batch
adds its part of the gradient at once.  Any other loss needs the logits of the whole batch: a first
pass collects them, the loss gives its gradient with respect to the logits, and a second pass, with
the same random numbers, carries each micro-batch's part of it to the weights (gradient caching,
[1]_).  Both are exact but for float rounding and, in models with dropout, the masks that are drawn.

References
----------
.. [1] Gao, L. et al. (2021). Scaling Deep Contrastive Learning Batch Size under Memory Limited
   Setup. RepL4NLP.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from biot_bd.training.resume import kept_random_states, random_states, set_random_states

Forward = Callable[[Tensor], Tensor]
Scale = Callable[[Tensor], Tensor]
TOLERANCE = 1e-4
"""Of relative differences between the outputs for a batch and for its halves (float32 rounding
is 1e-6).
"""


def decomposes(criterion: nn.Module) -> bool:
    """Return whether a loss says of itself that it is a sum over windows.

    What a subclass inherits does not count.
    """
    return bool(vars(type(criterion)).get("decomposes", False)) and getattr(criterion, "reduction", "mean") != "none"


def gradients_by_window(
    forward: Forward,
    x: Tensor,
    terms: Sequence[tuple[float, Tensor]],
    criterion: nn.Module,
    size: int,
    context: Callable[[], AbstractContextManager[object]],
    scale: Scale = lambda loss: loss,
    normalisers: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Add the gradients of a loss that decomposes, one forward and backward pass a micro-batch.

    Parameters
    ----------
    forward : callable
        From windows to logits ``(n, n_classes)``.
    x : Tensor, shape (n, n_chans, n_times)
    terms : sequence of (float, Tensor)
        The loss is the sum of ``share * criterion(logits, targets)``, targets int64 of shape (n,).
    criterion : nn.Module
        Has ``per_window`` and ``normaliser``.
    size : int
        Windows of a micro-batch.
    context : callable
        Makes the context of the forward passes (autocast).  One spans the batch, so that weights
        are cast once.
    scale : callable
        Factor on what is differentiated (gradient scaler).
    normalisers : sequence of Tensor, optional
        One a term, where the windows are a part of a batch: those of all its windows.

    Returns
    -------
    loss : Tensor, shape ()
        Of the whole batch; of a part, what that adds to it.
    logits : Tensor, shape (n, n_classes)
        Both without graph.
    """
    if normalisers is None:
        normalisers = [criterion.normaliser(targets) for _, targets in terms]  # type: ignore[operator]
    factors = [share / normaliser for (share, _), normaliser in zip(terms, normalisers, strict=True)]
    losses, outputs = [], []
    with context():
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            logits = forward(x[rows])
            with torch.autocast(x.device.type, enabled=False):
                parts = [
                    factor * criterion.per_window(logits.float(), targets[rows]).sum()  # type: ignore[operator]
                    for factor, (_, targets) in zip(factors, terms, strict=True)
                ]
                loss = torch.stack(parts).sum()
                scale(loss).backward()
            losses.append(loss.detach())
            outputs.append(logits.detach())
    return torch.stack(losses).sum(), torch.cat(outputs)


def gradients_by_logits(
    forward: Forward,
    x: Tensor,
    loss_of: Callable[[Tensor], Tensor],
    size: int,
    context: Callable[[], AbstractContextManager[object]],
    scale: Scale = lambda loss: loss,
) -> tuple[Tensor, Tensor]:
    """Add the gradients of any loss over the logits of the whole batch, with two forward passes.

    Parameters
    ----------
    forward, x, size, context, scale :
        As in :func:`gradients_by_window`.
    loss_of : callable
        From all logits (float32) to the loss.

    Returns
    -------
    loss, logits : Tensor
        As in :func:`gradients_by_window`.

    Raises
    ------
    RuntimeError
        The module gives other logits the second time, so its gradients would not be those of the
        loss.
    """
    before = random_states()
    pieces = range(0, len(x), size)
    with context():
        # With graph, dropped at once: so the same kernels draw the same masks, and cast weights
        # stay usable.
        logits = torch.cat([forward(x[start : start + size]).detach().float() for start in pieces])
        with torch.autocast(x.device.type, enabled=False):
            logits.requires_grad_()
            loss = loss_of(logits)
            scale(loss).backward()
        after, gradient = random_states(), logits.grad
        logits = logits.detach()
        set_random_states(before)
        for start in pieces:
            rows = slice(start, start + size)
            again = forward(x[rows])
            with torch.autocast(x.device.type, enabled=False):
                _check_same(logits[rows], again.detach().float())
                again.float().backward(gradient[rows])  # type: ignore[index]
    set_random_states(after)
    return loss.detach(), logits


def _check_same(first: Tensor, again: Tensor) -> None:
    size = first.abs().amax()
    if bool(((first - again).abs() > 0.02 * size + 1e-5).any()):  # False for logits that are not finite
        raise RuntimeError(
            "the module gives other logits when the same windows pass again, so this loss cannot be trained in "
            "micro-batches; set micro_batch=None"
        )


def why_whole(module: nn.Module, x: Tensor) -> str | None:
    """Say why the batches of a module must stay whole, or None.

    A window's output must not depend on the others.

    Parameters
    ----------
    module : nn.Module
        Not changed: a copy runs, in training mode but for dropout.
    x : Tensor, shape (n, n_chans, n_times)
        Two windows or more.
    """
    trial = copy.deepcopy(module).train()
    normalising = batch_normalising(trial)
    if normalising is not None:
        return f"{normalising!r} normalises over the batch"
    for child in trial.modules():
        if isinstance(child, nn.modules.dropout._DropoutNd):
            child.eval()
    if len(x) < 2:
        return None
    with kept_random_states(), torch.no_grad():
        whole, halves = _first(trial(x)), torch.cat([_first(trial(part)) for part in x.split((len(x) + 1) // 2)])
    difference = float((whole - halves).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(whole.abs().max())):
        return f"the logits of a batch and of its halves differ by {difference:.1e}"
    return None


def batch_normalising(module: nn.Module) -> str | None:
    """Return the name of the first part that normalises over the batch, or None."""
    for name, child in module.named_modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and (child.training or child.running_mean is None):
            return name
    return None


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output
