"""Exponential moving average of weights.

Training goes on with the raw ones, all else sees the averaged ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biot_bd.training.finetuning.base import FinetuneOption


class EMA(FinetuneOption):
    r"""Exponential moving average of weights.

    After step :math:`t` (1, 2, ...) :math:`a_t = d_t a_{t-1} + (1 - d_t) w_t`, where :math:`a_0`
    are the weights before the first step.  Validation, early stopping, TensorBoard, prediction and
    saving use :math:`a`.

    Parameters
    ----------
    decay : float
        :math:`d`, 0 to 1 (1 would never move).
    warm_up : bool
        Whether :math:`d_t = \min(d, (1 + t) / (10 + t))`, so that short trainings forget the first
        weights; else :math:`d_t = d`.

    See Also
    --------
    biot_bd.BIOTClassifier : Takes it as an option of ``finetune``.
    biot_bd.training.EarlyStopping : Watches the averaged weights' scores.

    References
    ----------
    .. [1] Polyak, B. T., Juditsky, A. B. (1992). Acceleration of Stochastic Approximation by
           Averaging. SIAM J. Control Optim.
    .. [2] Tarvainen, A., Valpola, H. (2017). Mean teachers are better role models. NeurIPS.

    Examples
    --------
    >>> from biot_bd.training.finetuning import EMA
    >>> round(EMA(0.99).decay_at(1), 3), EMA(0.99).decay_at(10_000)
    (0.182, 0.99)
    """

    limits = {"decay": (0.0, 1.0 - 1e-9)}

    def __init__(self, decay: float = 0.99, warm_up: bool = True) -> None:
        self.decay = decay
        self.warm_up = warm_up

    def decay_at(self, step: int) -> float:
        """Return the decay of a step (1, 2, ...)."""
        return min(float(self.decay), (1 + step) / (10 + step)) if self.warm_up else float(self.decay)


class Averager:
    """The running average of one training.

    Between two training passes the module holds the average and ``raw`` the weights that training
    goes on with; during a training pass it is the other way round.

    Parameters
    ----------
    option : EMA
    """

    def __init__(self, option: EMA) -> None:
        self.option = option
        self.steps = 0
        self.raw: dict[str, Tensor] | None = None
        self.average: dict[str, Tensor] | None = None

    def before_pass(self, module: nn.Module) -> None:
        """Take the average out of the module and put the raw weights in."""
        self.average = _copy(module)
        if self.raw is not None:
            module.load_state_dict(self.raw)
        self.raw = None

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Count a step of the optimizer."""
        self.steps += 1
        if self.average is None:
            return
        state = module.state_dict()
        names = [name for name, value in state.items() if value.is_floating_point()]
        weight = 1.0 - self.option.decay_at(self.steps)
        torch._foreach_lerp_([self.average[n] for n in names], [state[n] for n in names], weight)
        for name in set(state) - set(names):  # counters
            self.average[name].copy_(state[name])

    def after_pass(self, module: nn.Module) -> None:
        """Put the average into the module and keep the raw weights."""
        if self.average is None:
            return
        self.raw = _copy(module)
        module.load_state_dict(self.average)
        self.average = None

    def forget(self) -> None:
        """Start anew from whatever weights the module has."""
        self.steps, self.raw, self.average = 0, None, None


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
