"""Low-rank adaptation whose ranks are shared out by importance, through ``peft`` (``lora``)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.training.finetuning.adapters import Adapter

_FACTORS = ("A", "E", "B")


class AdaLoRA(Adapter):
    r"""Train low-rank updates whose ranks go where they matter, and the head.

    Every other weight is frozen [1]_.

    A map :math:`W` becomes :math:`W + \frac{\alpha}{r} P \Lambda Q` with :math:`P` (out, r) and
    :math:`Q` (r, in) kept near orthogonal by a penalty, and :math:`\Lambda` diagonal, 0 at first.
    While training the least important singular values of all maps together are set to 0, from
    ``init_r`` down to ``target_r`` a map on average.  When training ends the updates are added to
    the weights.

    Parameters
    ----------
    init_r, target_r : int
        Average rank at first, and in the end.
    alpha : float
        Scale of the update.
    dropout : float
        Dropout in front of :math:`Q`.
    orthogonal : float
        Weight of the penalty.
    warm_up, final : float
        Shares of all steps (``max_epochs`` of them) in which no rank is taken yet, and none is
        taken any more; together below 1.
    every : int
        Steps from one choice of ranks to the next.
    targets : sequence of str
        Ends of the names of the linear maps, as in :class:`LoRA`.

    See Also
    --------
    LoRA : One rank for all maps.

    Notes
    -----
    Training that stops early keeps the ranks that it has then.

    References
    ----------
    .. [1] Zhang, Q. et al. (2023). Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning.
           ICLR.

    Examples
    --------
    >>> from biot_bd.training.finetuning import AdaLoRA
    >>> AdaLoRA(target_r=4).trains("encoder.to_q.lora_E.default", in_head=False)
    True
    """

    limits = {
        "init_r": (1, math.inf),
        "target_r": (1, math.inf),
        "alpha": (1e-12, math.inf),
        "dropout": (0.0, 1.0),
        "orthogonal": (0.0, math.inf),
        "warm_up": (0.0, 1.0),
        "final": (0.0, 1.0),
        "every": (1, math.inf),
    }

    def __init__(
        self,
        init_r: int = 12,
        target_r: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        orthogonal: float = 0.5,
        warm_up: float = 0.1,
        final: float = 0.3,
        every: int = 10,
        targets: Sequence[str] = ("to_q", "to_v", "qkv"),
    ) -> None:
        self.init_r = init_r
        self.target_r = target_r
        self.alpha = alpha
        self.dropout = dropout
        self.orthogonal = orthogonal
        self.warm_up = warm_up
        self.final = final
        self.every = every
        self.targets = targets

    def check(self, net: Any) -> None:
        """Raise as :meth:`Adapter.check` does, and where ranks would grow or no step is left."""
        super().check(net)
        if self.target_r > self.init_r:
            raise ValueError(
                f"AdaLoRA: target_r={self.target_r} is above init_r={self.init_r}; ranks are only taken away"
            )
        if self.warm_up + self.final >= 1:
            raise ValueError(f"AdaLoRA: warm_up={self.warm_up} and final={self.final} leave no step to take ranks in")

    def config(self, module: nn.Module, found: list[str], n_steps: int = 1) -> Any:
        """Return the configuration of ``peft`` for the linear maps of these paths."""
        from peft import AdaLoraConfig

        scale: Any = float(self.alpha)  # peft says int, and takes any number
        return AdaLoraConfig(
            init_r=int(self.init_r),
            target_r=int(self.target_r),
            lora_alpha=scale,
            lora_dropout=float(self.dropout),
            target_modules=found,
            tinit=int(self.warm_up * n_steps),
            tfinal=int(self.final * n_steps),
            deltaT=int(self.every),
            total_step=n_steps,
        )

    def prepare(self, module: nn.Module) -> bool:
        """Put the updates into the module; see :meth:`Adapter.prepare`.

        What importance is told by lies in buffers beside them, so that a restart point has it.
        """
        if not super().prepare(module):
            return False
        for _, layer in _layers(module):
            layer.register_buffer("lora_kept", torch.ones(int(self.init_r), dtype=torch.bool))
            for factor in _FACTORS:
                for what in ("sensitivity", "uncertainty"):
                    layer.register_buffer(f"lora_{what}_{factor}", torch.zeros_like(_parameter(layer, factor)))
            layer.to(_parameter(layer, "E").device)
        return True

    def after_gradient(self, module: nn.Module) -> None:
        """Add the gradient of the penalty: the mean distance of P and Q from orthogonal ones."""
        if not self.orthogonal:
            return
        factors = [_parameter(layer, factor) for _, layer in _layers(module) for factor in ("A", "B")]
        with torch.enable_grad():
            penalty = torch.stack([_distance(p if i % 2 == 0 else p.T) for i, p in enumerate(factors)]).mean()
            gradients = torch.autograd.grad(self.orthogonal * penalty, factors)
        for parameter, gradient in zip(factors, gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def after_step(self, module: nn.Module, step: int, n_steps: int) -> None:
        """Take ranks away, as ``peft`` does after each step."""
        if self.target_r == self.init_r:
            return
        last = n_steps - int(self.final * n_steps)
        if step <= last:
            self._allocate(module, step, n_steps, last=step == last)
        else:
            with torch.no_grad():
                for _, layer in _layers(module):
                    _parameter(layer, "E").masked_fill_(~layer.lora_kept[:, None], 0.0)

    def _allocate(self, module: nn.Module, step: int, n_steps: int, *, last: bool) -> None:
        """Let the allocator of ``peft`` choose, with what the buffers remember."""
        from peft.tuners.adalora.layer import RankAllocator

        layers = dict(_layers(module))
        allocator = RankAllocator(module, self.config(module, list(layers), n_steps), "default")
        for path, layer in layers.items():
            for factor in _FACTORS:
                name = f"{path}.lora_{factor}.default"
                allocator.ipt[name] = None  # told that it is known; the next line of peft sets it
                allocator.exp_avg_ipt[name] = layer.get_buffer(f"lora_sensitivity_{factor}")
                allocator.exp_avg_unc[name] = layer.get_buffer(f"lora_uncertainty_{factor}")
        _, kept = allocator.update_and_allocate(module, step, force_mask=last)
        for path, layer in layers.items():
            for factor in _FACTORS:
                name = f"{path}.lora_{factor}.default"
                layer.get_buffer(f"lora_sensitivity_{factor}").copy_(allocator.exp_avg_ipt[name])
                layer.get_buffer(f"lora_uncertainty_{factor}").copy_(allocator.exp_avg_unc[name])
            if kept is not None:
                layer.lora_kept.copy_(torch.tensor(kept[f"{path}.lora_E.default"]))


def _layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from ((name, child) for name, child in module.named_modules() if hasattr(child, "lora_E"))


def _parameter(layer: Any, factor: str) -> nn.Parameter:
    found: nn.Parameter = getattr(layer, f"lora_{factor}")["default"]
    return found


def _distance(rows: Tensor) -> Tensor:
    return torch.linalg.norm(rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype, device=rows.device))
