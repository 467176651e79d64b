"""The loop over epochs with its restart points, and one step.

Autocast, gradient scaling, norm of the gradients.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from skorch.dataset import unpack_data
from skorch.utils import to_tensor
from torch import Tensor
from torch.utils.data import Subset

from biot_bd.models.inference_plan import PrecisionPlan
from biot_bd.models.own_modes import own_modes
from biot_bd.training._validation import uncompiled
from biot_bd.training.classifier._data_loading import training_note
from biot_bd.training.classifier._precision import PrecisionPlanning
from biot_bd.training.finetuning.callback import FineTuning
from biot_bd.training.input_data import SignalData
from biot_bd.training.micro_batches import decomposes, gradients_by_logits, gradients_by_window
from biot_bd.training.precision_plans import precision_context
from biot_bd.training.resume import UNSEEN, RestartPoint, array_digest, describe
from biot_bd.training.sampling.augmentation import build_augmenter, describe_augment
from biot_bd.training.sampling.strategies import PAGE_SHUFFLE
from biot_bd.windows.page_shuffle import PageShuffle

_NOT_LEARNT = (*UNSEEN, "random_state", "device", "accelerator")
"""Parameters that a restart point does not compare."""


class TrainingLoop(PrecisionPlanning):
    """What a classifier does with an epoch and with a batch.

    See :class:`biot_bd.training.BIOTClassifier`.
    """

    _augmenter: Any = None
    _mixture: tuple[float, Tensor] | None = None  # shares and partners of the windows of a mixed batch

    # --- epochs -----------------------------------------------------------------------------------

    def _train(self, data: SignalData, train: Subset, valid: Any, groups: Any, seed: int | None) -> None:
        """Train with the sampler, the changes of windows and the recipe of the parameters."""
        # Models of braindecode raise where they were not told their rate.
        sfreq = None if self.augment is None else getattr(self.module_, "sfreq", None)
        self._augmenter = build_augmenter(self.augment, data.info, bool(data.present.all()), sfreq)
        epochs = self._make_epochs(train, groups)
        self._fit_epochs = None if epochs is None else (train, epochs)
        note = training_note(PAGE_SHUFFLE if isinstance(epochs, PageShuffle) else self.sampler, self.augment)
        self._learn(training_note=note)
        finetuning = self._finetuning()
        try:
            if finetuning is not None:
                finetuning.begin(self)
            else:
                self._complete_optimizer()
            self._run_epochs(data, train, valid, groups, seed)
            if finetuning is not None:
                finetuning.finish(self)
        finally:
            self._fit_epochs = self._augmenter = None

    def _run_epochs(self, data: SignalData, train: Subset, valid: Any, groups: Any, seed: int | None) -> None:
        """Run the epochs.

        With ``restart_dir`` go on where an earlier call of the same fit was stopped.
        """
        self.check_training_readiness()
        self._learn(precision_report={}, training_plan=PrecisionPlan(), inference_plan=PrecisionPlan())
        self._unchecked = False
        self.scaler_ = None
        point = None
        if self.restart_dir is not None:
            point = RestartPoint(self.restart_dir, self._fit_identity(data, train, valid, groups, seed))
        self.notify("on_train_begin", X=data, y=train.dataset.y)  # type: ignore[attr-defined]
        sides = {"dataset_train": train, "dataset_valid": valid}
        iterators = self._fit_iterators(train, valid)
        self._repeat_epochs(iterators, sides, point, partial(self._begin_plans, train))
        self.notify("on_train_end", X=data, y=train.dataset.y, **sides)  # type: ignore[attr-defined]
        self._check_precision(train if valid is None else valid)
        self._tell_plans()

    def _fit_iterators(self, train: Subset, valid: Any) -> tuple[Any, Any]:
        """Return the batches of a fit: of training, and of validation."""
        return (
            self.get_iterator(train, training=True),
            None if valid is None else self.get_iterator(valid, training=False),
        )

    def _begin_plans(self, train: Subset) -> None:
        self._choose_plans(train)
        self._scale_gradients(self.facts_.training_plan.precision)

    # --- restart points ---------------------------------------------------------------------------

    def _restart_state(self) -> dict[str, Any]:
        """Return what a restart point keeps beside the parts of every net: the plans."""
        return {
            "training_plan": self.facts_.training_plan.as_dict(),
            "inference_plan": self.facts_.inference_plan.as_dict(),
        }

    def _read_restart_state(self, state: dict[str, Any]) -> Any:
        """Return the plans of a restart point."""
        return [PrecisionPlan.from_dict(state[name]) for name in ("inference_plan", "training_plan")]

    def _take_restart_state(self, plans: Any) -> None:
        """Compute by the plans that a fit began with: the same micro-batches, the same numbers."""
        self._take_plans(*plans)
        self._scale_gradients(self.facts_.training_plan.precision)

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin an epoch.

        Its row in the history says where training scores are not of plain training windows.
        """
        super().on_epoch_begin(net, **kwargs)
        drawn = None if isinstance(self.sampler, str) and self.sampler == PAGE_SHUFFLE else self.sampler
        parts = [word for word, given in (("sampled", drawn), ("augmented", self.augment)) if given is not None]
        if parts:
            self.history.record("train_scores_on", " and ".join(parts))

    def _fit_identity(
        self, data: SignalData, train: Subset, valid: Any, groups: Any, seed: int | None
    ) -> dict[str, Any]:
        """Return what makes this fit this fit, for its restart point."""
        params = {k: v for k, v in self.get_params(deep=False).items() if k not in _NOT_LEARNT}
        if self.pretrained is not None:  # its content, wherever it lies
            params["pretrained"] = getattr(getattr(self, "pretrained_report_", None), "blob_id", None)
        return {
            "parameters": describe(params) | {"augment": describe_augment(self.augment)},
            "seed": seed,
            "device": torch.device(self.device).type,
            "input": data.info.as_dict(),
            "data": data.digest(),
            "labels": array_digest(train.dataset.targets),  # type: ignore[attr-defined]
            "subjects": None if groups is None else array_digest(np.asarray(groups, dtype=object)),
            "train": array_digest(np.asarray(train.indices)),
            "valid": None if valid is None else array_digest(np.asarray(valid.indices)),
        }

    # --- batches ----------------------------------------------------------------------------------

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Run the module on a batch of signals, and on nothing else."""
        x = to_tensor(x, device=self.device)
        size = self._classifier_splits_by()
        with own_modes(self.device), self._precision_context():
            if size is None or size >= len(x):
                return self.module_(x)
            parts = [self.module_(part) for part in x.split(size)]
        return torch.cat(parts) if isinstance(parts[0], Tensor) else tuple(map(torch.cat, zip(*parts, strict=True)))

    def get_loss(self, y_pred: Any, y_true: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss, in float32."""
        logits = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        losses = [
            share * self.criterion_(logits.float(), targets)
            for share, targets in self._loss_terms(to_tensor(y_true, device=self.device))
        ]
        return sum(losses[1:], losses[0])

    def _loss_terms(self, y: Tensor) -> list[tuple[float, Tensor]]:
        """Return shares and targets.

        The loss is the sum of ``share * criterion(logits, targets)``.
        """
        if self._mixture is None:
            return [(1.0, y)]
        share, partners = self._mixture
        return [(share, y), (1.0 - share, y[partners.to(y.device)])]

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute loss and gradients of a batch.

        Of windows that are changed and mixed where parameters say so.
        """
        x, y = unpack_data(batch)
        x, finetuning = to_tensor(x, device=self.device), self._finetuning()
        if self._augmenter is not None:
            with torch.no_grad():
                x = self._augmenter(x)
        self._set_training(True)
        if finetuning is None:
            return self._gradients(x, y)
        finetuning.set_modes(uncompiled(self.module_))
        x, self._mixture = self._mix(finetuning, x)
        try:
            return self._gradients(x, y)
        finally:
            self._mixture = None

    def _mix(self, finetuning: FineTuning, x: Tensor) -> tuple[Tensor, tuple[float, Tensor] | None]:
        return finetuning.mix(x)

    def _of_batch(self, y_pred: Any, y: Any) -> tuple[Any, Any]:
        """Return what the loss is taken of, where this process sees a part of the batch."""
        return y_pred, y

    def _gradients(self, x: Tensor, y: Any) -> dict[str, Any]:
        """Compute loss and gradients, in micro-batches where the plan says so."""
        plan = self._plan(training=True)
        # Autocast is for forward passes, TF32 for both.
        with precision_context("tf32" if plan.precision == "tf32" else "fp32", x.device.type):
            if plan.micro_batch is None or plan.micro_batch >= len(x):
                return self._whole_batch(x, y)
            return self._micro_batches(x, to_tensor(y, device=self.device), plan.micro_batch)

    def _whole_batch(self, x: Tensor, y: Any) -> dict[str, Any]:
        y_pred, y = self._of_batch(self.infer(x), y)
        loss = self._finite(self.get_loss(y_pred, y, X=x, training=True))
        self._scaled(loss).backward()
        return {"loss": loss, "y_pred": y_pred}

    def _micro_batches(self, x: Tensor, y: Tensor, size: int) -> dict[str, Any]:
        criterion = uncompiled(self.criterion_)
        if decomposes(criterion) and type(self).get_loss is TrainingLoop.get_loss:
            loss, logits = gradients_by_window(
                self._logits, x, self._loss_terms(y), criterion, size, self._precision_context, self._scaled
            )
        else:
            loss_of = partial(self.get_loss, y_true=y, X=x, training=True)
            loss, logits = gradients_by_logits(self._logits, x, loss_of, size, self._precision_context, self._scaled)
        return {"loss": self._finite(loss), "y_pred": logits}

    def _logits(self, x: Tensor) -> Tensor:
        found = self.module_(x)
        return found[0] if isinstance(found, tuple) else found
