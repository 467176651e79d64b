"""Check a model: a module class that takes braindecode's signal parameters and gives logits."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.testing._base import attempt, build, describe, require, require_subclass

SIGNAL_PARAMETERS = ("n_outputs", "n_chans", "n_times")


def check_model(
    model: type[nn.Module],
    parameters: Mapping[str, Any] | None = None,
    *,
    n_chans: int = 16,
    n_times: int = 2000,
    sfreq: float = 200.0,
    n_outputs: int = 2,
) -> None:
    """Check a class given to ``register_models``.

    Parameters
    ----------
    model : type
        An ``nn.Module`` class whose constructor names ``n_outputs``, ``n_chans`` and ``n_times``
        (``sfreq`` where it wants it); the classifier fills them in from the data.
    parameters : mapping, optional
        Further constructor parameters to test with.
    n_chans, n_times : int
        Shape of the test windows ``(4, n_chans, n_times)``.
    sfreq : float
        Sampling rate in Hz.
    n_outputs : int
        Number of classes.

    Raises
    ------
    ConformanceError
        The model cannot be built by these names, gives no finite logits of shape (n, n_outputs), is
        not repeatable in eval mode, mixes windows of a batch, changes its input, gets no gradient,
        or does not survive ``state_dict`` or ``copy.deepcopy``.  A model with
        ``accepts_absent_channels = True`` is also given an all-NaN channel.

    See Also
    --------
    biot_bd.hookspecs.register_models : The hook for such classes.
    biot_bd.BIOT : The model that the package brings.

    Examples
    --------
    >>> from torch import nn
    >>> from biot_bd.testing import check_model
    >>> class BandPower(nn.Module):
    ...     def __init__(self, n_outputs, n_chans, n_times):
    ...         super().__init__()
    ...         self.head = nn.Linear(n_chans, n_outputs)
    ...
    ...     def forward(self, x):
    ...         return self.head(x.var(dim=-1).clamp_min(1e-6).log())
    >>> check_model(BandPower, n_chans=4, n_times=400)

    Losses want logits, so a softmax at the end is refused:

    >>> class Sure(BandPower):
    ...     def forward(self, x):
    ...         return super().forward(x).softmax(dim=1)
    >>> check_model(Sure, n_chans=4, n_times=400)
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ConformanceError: Sure: outputs are probabilities (rows sum to 1); ...
    """
    name = require_subclass(model, nn.Module, "torch.nn.Module")
    named = inspect.signature(model).parameters
    missing = [key for key in SIGNAL_PARAMETERS if key not in named]
    # skorch fills in shapes only for parameters that the constructor names.
    require(not missing, f"{name}: the constructor does not name {missing}; it names {sorted(named)}")
    supplied = {"n_outputs": n_outputs, "n_chans": n_chans, "n_times": n_times, "sfreq": sfreq}
    net = _build(model, parameters, supplied)
    x = torch.randn(4, n_chans, n_times, generator=torch.Generator().manual_seed(0))
    y = _check_eval(net, name, x, n_outputs)
    _check_training(net, name, x)
    _check_copies(net, _build(model, parameters, supplied), name, x)
    if getattr(model, "accepts_absent_channels", False):
        _check_absent(net, name, x, y)


def _build(model: Any, parameters: Mapping[str, Any] | None, supplied: Mapping[str, Any]) -> nn.Module:
    takes_rest = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(model).parameters.values())
    if takes_rest:  # models of braindecode hand further parameters to their base class
        named = inspect.signature(model).parameters
        given = {k: v for k, v in supplied.items() if k in named} | dict(parameters or {})
        return attempt(f"{describe(model)}({given})", model, **given)
    return build(model, parameters, supplied=supplied)


def _logits(net: nn.Module, name: str, x: Tensor, case: str) -> Tensor:
    with torch.no_grad():
        out = attempt(f"{name}: {case}: forward of {tuple(x.shape)}", net, x)
    require(isinstance(out, Tensor), f"{name}: {case}: expected a tensor of logits, got {type(out).__name__}")
    return out


def _check_eval(net: nn.Module, name: str, x: Tensor, n_outputs: int) -> Tensor:
    net.eval()
    before = x.clone()
    y = _logits(net, name, x, "eval")
    expected = (len(x), n_outputs)
    require(tuple(y.shape) == expected, f"{name}: expected logits of shape {expected}, got {tuple(y.shape)}")
    require(bool(torch.isfinite(y).all()), f"{name}: logits are not finite")
    require(torch.equal(x, before), f"{name}: forward changed its input in place")
    rows = y.sum(dim=1)
    is_softmax = bool((y >= 0).all()) and torch.allclose(rows, torch.ones_like(rows), atol=1e-5)
    require(not is_softmax, f"{name}: outputs are probabilities (rows sum to 1); losses want logits, drop the softmax")
    require(torch.equal(y, _logits(net, name, x, "eval, again")), f"{name}: two passes in eval mode differ")
    alone = torch.cat([_logits(net, name, x[i : i + 1], "one window") for i in range(len(x))])
    require(
        torch.allclose(alone, y, rtol=1e-3, atol=1e-4),
        f"{name}: a window's logits depend on the batch it is in (by {(alone - y).abs().max():.2g} in eval mode)",
    )
    return y


def _check_training(net: nn.Module, name: str, x: Tensor) -> None:
    net.train()
    y = attempt(f"{name}: forward in train mode", net, x)
    loss = nn.functional.cross_entropy(y, torch.arange(len(x)) % y.shape[1])
    attempt(f"{name}: backward", loss.backward)
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    require(gradients, f"{name}: no parameter gets a gradient")
    require(all(bool(torch.isfinite(g).all()) for g in gradients), f"{name}: a gradient is not finite")
    require(any(bool(g.abs().max() > 0) for g in gradients), f"{name}: all gradients are zero")
    net.zero_grad(set_to_none=True)


def _check_copies(net: nn.Module, fresh: nn.Module, name: str, x: Tensor) -> None:
    y = _logits(net.eval(), name, x, "eval")
    attempt(f"{name}: load_state_dict into a fresh instance", fresh.load_state_dict, net.state_dict())
    loaded = _logits(fresh.eval(), name, x, "after load_state_dict")
    require(torch.equal(y, loaded), f"{name}: state_dict does not hold all that decides the output")
    copy = _logits(attempt(f"{name}: copy.deepcopy", deepcopy, net).eval(), name, x, "after copy.deepcopy")
    require(torch.equal(y, copy), f"{name}: outputs differ after copy.deepcopy")


def _check_absent(net: nn.Module, name: str, x: Tensor, before: Tensor) -> None:
    """An absent channel is NaN throughout.

    It must not reach the output, and windows without one must not change.
    """
    mixed = x.clone()
    mixed[0, 0] = torch.nan
    y = _logits(net.eval(), name, mixed, "one absent channel")
    full = _logits(net, name, x, "all channels")
    require(bool(torch.isfinite(y).all()), f"{name}: accepts_absent_channels, but an all-NaN channel gives NaN")
    require(
        torch.allclose(y[1:], full[1:], rtol=1e-3, atol=1e-4),
        f"{name}: an absent channel of one window changes the logits of others",
    )
    silent = x.clone()
    silent[0, 0] = 0.0
    zeros = _logits(net, name, silent, "one silent channel")
    require(
        not torch.allclose(y[0], zeros[0], rtol=1e-6, atol=1e-8),
        f"{name}: an absent channel is treated like one of zeros; it must be left out",
    )
