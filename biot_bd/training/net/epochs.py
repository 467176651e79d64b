"""The epochs of a net with their restart points, and what happens to the gradients of a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from torch import Tensor, nn

from biot_bd.training.net.optimizer import NetOptimizer
from biot_bd.training.net.processes import Processes
from biot_bd.training.resume import RestartPoint


class NetEpochs(NetOptimizer):
    """Epochs and steps of a net: gradient scaler, norm of the gradients, restart points."""

    gradient_clip_norm: float | None
    scaler_: torch.amp.GradScaler | None = None
    _processes: Processes = Processes()  # that share a running fit
    _gradient_norms_: list[Tensor]

    # --- epochs -----------------------------------------------------------------------------------

    def _repeat_epochs(
        self, iterators: tuple[Any, Any], sides: dict[str, Any], point: RestartPoint | None, begin: Callable[[], None]
    ) -> None:
        """Run ``max_epochs`` epochs, or go on where an earlier call of the same fit was stopped.

        Parameters
        ----------
        iterators : tuple
            Of training and of validation batches (None without validation).
        sides : dict
            ``dataset_train`` and ``dataset_valid``, for callbacks.
        point : RestartPoint or None
            Kept after each epoch of a fit from the beginning.
        begin : callable
            Called where nothing is taken up again.
        """
        before, self._gradient_norms_ = len(self.history), []
        if not (point is not None and before == 0 and point.load(self)):
            begin()
        while len(self.history) - before < self.max_epochs and not self._wants_to_stop():
            self._one_epoch(*iterators, sides)
            if point is not None and before == 0 and self._writes_files():
                point.save(self)

    def _one_epoch(self, iterator: Any, iterator_valid: Any, sides: dict[str, Any]) -> None:
        self.notify("on_epoch_begin", **sides)
        self._gradient_norms_ = []
        finetuning = self._finetuning()
        if finetuning is not None:  # braindecode wraps the loader in an iterator without a length
            finetuning.before_pass(self, len(getattr(iterator, "loader", iterator)))
        self.run_single_epoch(iterator, training=True, prefix="train", step_fn=self.train_step)
        if finetuning is not None:
            finetuning.after_pass(self)
        if self.history[-1, "train_batch_count"] == 0:
            raise ValueError(
                f"no batch to train on: {len(sides['dataset_train'])} windows are fewer than batch_size={self.batch_size}; "
                "set iterator_train__drop_last=False"
            )
        self.run_single_epoch(iterator_valid, training=False, prefix="valid", step_fn=self.validation_step)
        norms = torch.stack(self._gradient_norms_) if self._gradient_norms_ else torch.empty(0)
        norms = norms[norms.isfinite()]  # the gradient scaler leaves out steps that overflow
        if len(norms):
            self.history.record("gradient_norm", float(norms.mean()))
        self._record_epoch()
        try:
            self.notify("on_epoch_end", **sides)
        except KeyboardInterrupt:
            # skorch's own EarlyStopping stops so; a real Ctrl-C must not leave a half-trained model
            # as fitted.
            if not self._wants_to_stop():
                raise

    def _writes_files(self) -> bool:
        """Return whether this process writes restart points, where several share a training."""
        return self._processes.is_main

    def _record_epoch(self) -> None:
        """Write what a net says itself of an epoch into the history, before callbacks look."""

    def _wants_to_stop(self) -> bool:
        stops = any(isinstance(cb, SkorchEarlyStopping) and cb.misses_ >= cb.patience for _, cb in self.callbacks_)
        return bool(self._processes.agreed(stops))

    # --- steps ------------------------------------------------------------------------------------

    def _scale_gradients(self, precision: str) -> None:
        """Make the gradient scaler that training in fp16 needs."""
        self.scaler_ = torch.amp.GradScaler(torch.device(self.device).type) if precision == "fp16" else None

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.scaler_ is None else self.scaler_.scale(loss)

    def _finite(self, loss: Tensor) -> Tensor:
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} in epoch {len(self.history)}; lower lr, set gradient_clip_norm, or look for bad windows"
            )
        return loss

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Take one step of the optimizer."""
        if self.scaler_ is None:
            step: dict[str, Any] = super().train_step(batch)
            return step
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
        if not parameters:
            return
        if self.gradient_clip_norm is not None:
            norm = nn.utils.clip_grad_norm_(parameters, self.gradient_clip_norm)
        else:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm([p.grad for p in parameters])))
        self._gradient_norms_.append(norm.detach())
