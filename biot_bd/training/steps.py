"""One step of training: autocast, gradient scaling, norm and limit of the gradients."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from skorch.dataset import unpack_data
from skorch.utils import to_tensor
from torch import nn

__all__ = ["AUTOCAST", "TrainingSteps"]

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingSteps:
    """What a skorch net does with a batch; the net has ``mixed_precision``, ``gradient_clip_norm`` and ``device``."""

    mixed_precision: str | None
    gradient_clip_norm: float | None
    device: Any
    module_: Any
    criterion_: Any
    optimizer_: Any
    history: Any
    scaler_: torch.amp.GradScaler | None
    _gradient_norms_: list[torch.Tensor]

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.mixed_precision is None:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=AUTOCAST[self.mixed_precision])

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Run the module on a batch of signals, and on nothing else."""
        with self._autocast():
            return self.module_(to_tensor(x, device=self.device))

    def get_loss(self, y_pred: Any, y_true: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the loss, in float32."""
        logits = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        return self.criterion_(logits.float(), to_tensor(y_true, device=self.device))

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute loss and gradients of a batch."""
        self._set_training(True)
        x, y = unpack_data(batch)
        y_pred = self.infer(x)
        loss = self.get_loss(y_pred, y, X=x, training=True)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} in epoch {len(self.history)}; lower lr, set gradient_clip_norm, or look for bad windows"
            )
        (loss if self.scaler_ is None else self.scaler_.scale(loss)).backward()
        return {"loss": loss, "y_pred": y_pred}

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Take one step of the optimizer."""
        if self.scaler_ is None:
            return super().train_step(batch)
        self._zero_grad_optimizer()
        step = self.train_step_single(batch)
        self.scaler_.unscale_(self.optimizer_)
        self.notify(
            "on_grad_computed", named_parameters=list(self.get_all_learnable_params()), batch=batch, training=True
        )
        self.scaler_.step(self.optimizer_)
        self.scaler_.update()
        return step

    def on_grad_computed(self, net: Any, named_parameters: Any, **kwargs: Any) -> None:
        """Note the norm of all gradients, and limit it."""
        parameters = [p for _, p in named_parameters if p.grad is not None]
        if self.gradient_clip_norm is not None:
            norm = nn.utils.clip_grad_norm_(parameters, self.gradient_clip_norm)
        else:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p.grad) for p in parameters]))
        self._gradient_norms_.append(norm.detach())
