"""How a net makes its optimizer, over what its recipe trains in the coming epoch."""

from __future__ import annotations

from typing import Any

import torch
from skorch.callbacks import LRScheduler
from torch import nn

from biot_bd.training._validation import resolve_optimizer, uncompiled
from biot_bd.training.finetuning.base import FinetuneOption
from biot_bd.training.finetuning.callback import FineTuning
from biot_bd.training.finetuning.recipes import resolve
from biot_bd.training.finetuning.schedules import Schedule
from biot_bd.training.net.callbacks import NetCallbacks


class NetOptimizer(NetCallbacks):
    """Recipe (which parts train when, at which rates) and optimizer of a net."""

    finetune: Any = None
    schedule: Any
    precision: str

    def _recipe(self) -> tuple[FinetuneOption, ...]:
        """Return the options of ``finetune`` and ``schedule``."""
        given = {k.removeprefix("finetune__"): v for k, v in vars(self).items() if k.startswith("finetune__")}
        return resolve(self.finetune, given, self.schedule)

    def _check_recipe(self) -> None:
        options = self._recipe()
        if not options:
            return
        for option in options:
            option.check(self)
        if self.callbacks == "disable":
            raise ValueError("finetune and schedule work through a callback; callbacks='disable' excludes them")
        if "optimizer__param_groups" in vars(self):
            raise ValueError("finetune makes the groups of the optimizer; leave optimizer__param_groups out")
        changes = options[0].changes or any(isinstance(option, Schedule) for option in options)  # type: ignore[attr-defined]
        others = [cb for _, cb, _ in self._yield_callbacks() if isinstance(cb, LRScheduler) or cb is LRScheduler]
        if changes and others:
            raise ValueError(
                "finetune and schedule change the learning rates while training, and so does skorch's LRScheduler; "
                "use one of them: schedule='warm-up' or 'cosine' goes with every recipe"
            )

    def _finetuning(self) -> FineTuning | None:
        """Return the callback that carries out the recipe, if there is one."""
        return next((cb for _, cb in getattr(self, "callbacks_", ()) if isinstance(cb, FineTuning)), None)

    def initialize_optimizer(self, triggered_directly: Any = None) -> Any:
        """Build the optimizer (a class, or its name in ``torch.optim``) over what trains in the
        coming epoch.
        """
        optimizer, finetuning = resolve_optimizer(self.optimizer), self._finetuning()
        if finetuning is None:
            args, kwargs = self.get_params_for_optimizer("optimizer", self.get_all_learnable_params())
            self.optimizer_ = optimizer(*args, **{"lr": self.lr, **self._fused(optimizer), **kwargs})
            return self
        module = uncompiled(self.module_)
        finetuning.freeze(module, finetuning.epoch(self) + 1)
        groups = finetuning.groups(self, module, range(finetuning.thawed_ + 1))
        learnt = list(self.criterion_.parameters()) if isinstance(self.criterion_, nn.Module) else []
        if learnt:
            groups.append({"params": learnt, "name": "loss", "rate": 1.0})
        given = self.get_params_for("optimizer")
        self.optimizer_ = optimizer(groups, **{"lr": self.lr, **self._fused(optimizer), **given})
        return self

    def _fused(self, optimizer: Any) -> dict[str, bool]:
        """Return the option of one pass over the weights, for training in bf16.

        In float32 it would save half a percent of a step and change the last digits of former runs.
        A restart point goes on with what it began with.
        """
        said = {"fused", "foreach", "differentiable", "capturable"} & set(self.get_params_for("optimizer"))
        known = optimizer in (torch.optim.Adam, torch.optim.AdamW)
        if said or not known or self.precision != "bf16" or torch.device(self.device).type not in ("cpu", "cuda"):
            return {}
        return {"fused": True}

    def _complete_optimizer(self) -> None:
        """Make the optimizer anew where parameters that train are not in it (of a new head, a
        replaced module), with the moments of the others.
        """
        known = {id(p) for group in self.optimizer_.param_groups for p in group["params"]}
        own = {id(p) for _, p in self.get_all_learnable_params()}
        if self._to_optimize() <= known <= own:
            return
        before = self.optimizer_.state
        self._initialize_optimizer()  # type: ignore[no-untyped-call]
        for group in self.optimizer_.param_groups:
            for parameter in group["params"]:
                if parameter in before:
                    self.optimizer_.state[parameter] = before[parameter]

    def _to_optimize(self) -> set[int]:
        finetuning = self._finetuning()
        if finetuning is None:
            return {id(p) for _, p in self.get_all_learnable_params() if p.requires_grad}
        groups = finetuning.groups(self, uncompiled(self.module_), range(finetuning.thawed_ + 1))
        return {id(p) for group in groups for p in group["params"]}
