"""What is asked of a model: windows, which channels they have, which class, which output."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biot_bd.probes.base import Probe
from biot_bd.probes.explained_output import UNITS, Output, explained_output


@dataclass(frozen=True)
class Question:
    """A model, windows as it takes them, and what to explain.

    Parameters
    ----------
    model : torch.nn.Module
        In eval mode.
    x : Tensor, shape (n, n_chans, n_times)
        On the model's device, of its parameters' type; absent channels NaN.
    present : Tensor of bool, shape (n, n_chans)
        False where a channel is absent.
    targets : Tensor of int64, shape (n,)
        The class explained.
    output : {"margin", "logit", "probability"}
        See :func:`biot_bd.probes.explained_output.explained_output`.
    scores : Tensor, shape (n,)
        That output on ``x``.

    See Also
    --------
    ask : Makes one.
    """

    model: nn.Module
    x: Tensor
    present: Tensor
    targets: Tensor
    output: Output
    scores: Tensor

    @property
    def unit(self) -> str:
        """What a value is called."""
        return UNITS[self.output]

    @property
    def target(self) -> tuple[int, ...]:
        """The class of each window."""
        return tuple(self.targets.tolist())

    def score(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return the explained output of logits (m, n_outputs), ``rows`` (m,) being the windows
        that they are of.
        """
        return explained_output(logits, self.targets[rows], self.output)

    def score_of(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return the explained output on changed windows (m, n_chans, n_times)."""
        return self.score(logits_of(self.model, x), rows)

    def marked(self, values: Tensor) -> NDArray[Any]:
        """Return values (n, ..., n_chans, n_frames) as numpy has them, NaN for absent channels."""
        found = as_array(values)
        absent = ~self.present.cpu().numpy()
        absent = absent.reshape(len(absent), *(1,) * (found.ndim - 3), absent.shape[1], 1)
        return np.where(absent, np.asarray(np.nan, found.dtype), found)


@contextlib.contextmanager
def plainly(model: nn.Module) -> Iterator[None]:
    """Let a model compute in its parameters' own precision, with gradients where they are asked
    for, whatever the caller's modes and the model's plan of inference say.
    """
    planned: list[Any] = [module for module in model.modules() if hasattr(module, "inference_plan")]
    lower = [(module, module.inference_plan) for module in planned if module.inference_plan.precision != "fp32"]
    device = next(model.parameters(), torch.zeros(0)).device.type
    try:
        for module, plan in lower:
            module.inference_plan = replace(plan, precision="fp32")
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
            yield
    finally:
        for module, plan in lower:
            module.inference_plan = plan


def ask(
    model: nn.Module, x: Tensor, target: int | Sequence[int] | Tensor | None, output: Output, batch_size: int
) -> Question:
    """Check windows and return what is asked of the model; once, a forward pass.

    Parameters
    ----------
    model, x, target
        As a probe is called.
    output : {"margin", "logit", "probability"}
    batch_size : int
        Windows a forward pass.

    Returns
    -------
    Question

    Raises
    ------
    ValueError
        A channel has some NaN or an infinite value, a channel is absent and the model takes none
        such, there is no such class, or the model's output is not (n, n_outputs) of finite numbers.
    """
    present = presence(model, x)
    first = next(model.parameters(), x)
    # A copy: what was made in inference mode takes no part in gradients.
    x = x.detach().to(first.device, first.dtype if first.is_floating_point() else x.dtype).clone()
    with torch.no_grad():
        logits = torch.cat([logits_of(model, part) for part in x.split(batch_size)])
    targets = Probe.targets(logits, target)
    return Question(model, x, present.to(x.device), targets, output, explained_output(logits, targets, output))


def presence(model: nn.Module, x: Tensor) -> Tensor:
    """Return which channels windows have, bool (n, n_chans).

    Raises
    ------
    ValueError
        As :func:`ask` about windows.
    """
    present = ~x.isnan().all(dim=-1)
    bad = (present & ~x.isfinite().all(dim=-1)).nonzero()
    if len(bad):
        window, channel = bad[0].tolist()
        raise ValueError(
            f"window {window}, channel {channel} has values that are not finite; an absent channel is NaN throughout, "
            f"anything else must be finite ({len(bad)} such channels)"
        )
    absent = (~present).nonzero()
    if len(absent) and not getattr(model, "accepts_absent_channels", False):
        window, channel = absent[0].tolist()
        raise ValueError(
            f"{type(model).__name__} takes no absent channels, and window {window} lacks channel {channel}: "
            "explain windows that have all channels"
        )
    return present


def logits_of(model: nn.Module, x: Tensor) -> Tensor:
    """Return the output of a model, checked by :func:`checked_logits`."""
    return checked_logits(model(x), type(model).__name__, len(x))


def checked_logits(logits: object, name: str, n_windows: int) -> Tensor:
    """Return what a model gave.

    Raises
    ------
    ValueError
        It is not (n, n_outputs) of finite numbers.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != n_windows:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"{name} must give logits of shape ({n_windows}, n_outputs) to be explained, gave {found}")
    if not bool(logits.isfinite().all()):
        raise ValueError(f"{name} gave logits that are not finite, so there is nothing to explain")
    return logits


def as_array(values: Tensor) -> NDArray[Any]:
    """Return a tensor as numpy has it; half precision becomes float32."""
    values = values.detach().cpu()
    return (values.float() if values.dtype in (torch.float16, torch.bfloat16) else values).numpy()
