"""How a classifier builds its module, loss, optimizer and callbacks, all but the module with
what the recipe says.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from braindecode import EEGClassifier
from skorch.callbacks import (
    BatchScoring,
    EpochScoring,
    EpochTimer,
    PassthroughScoring,
)
from torch import nn

from biot_bd import registry
from biot_bd.models.checkpoints.provenance import some
from biot_bd.training._validation import uncompiled
from biot_bd.training.callbacks import EarlyStopping, EpochScores
from biot_bd.training.finetuning.callback import FineTuning
from biot_bd.training.finetuning.mixup import LabelSmoothing
from biot_bd.training.fitted_facts import FittedFacts
from biot_bd.training.net.batches import NetBatches
from biot_bd.training.net.callbacks import EpochTable
from biot_bd.training.pretrained import build_pretrained
from biot_bd.training.resume import describe
from biot_bd.training.scorers import scoring_problem
from biot_bd.training.tensorboard import TensorBoardLogger


class ComponentBuilding(NetBatches, EEGClassifier):
    """What a classifier is made of; see :class:`biot_bd.training.BIOTClassifier`."""

    facts_: FittedFacts
    patience: int | None
    monitor: str
    log_dir: Any
    _callbacks_of: list[Any] | None = None  # the settings that callbacks_ were made for
    _recipe_of: tuple[Any, int] | None = None  # the recipe that is carried out, and the epochs before it
    _built: dict[str, tuple[int, ...]] | None = None  # shapes of the module as it was built

    # --- module -----------------------------------------------------------------------------------

    def initialize_module(self) -> Any:
        """Build the module from the parameters and, where these say nothing, from the data's
        shapes; split it for the recipe.
        """
        module = self._module_class()
        given = self.get_params_for("module")
        outputs = given.get("n_outputs")
        if outputs is not None and hasattr(self, "facts_") and outputs != len(self.classes_):
            raise ValueError(
                f"module__n_outputs={outputs}, but there are {len(self.classes_)} classes: {list(self.classes_)}"
            )
        n_outputs = len(self.classes_) if hasattr(self, "facts_") else None
        arguments = {**self._facts_for_module(module, n_outputs), **given}
        if self.pretrained is None:
            self.module_ = self._build_module(module, arguments)
        else:
            info = self.facts_.input_info if hasattr(self, "facts_") else None
            self.module_ = build_pretrained(
                self.pretrained, module, arguments, input_info=info, module_config=self._module_config
            )
        self._built = _shapes(self.module_)
        recipe, finetuning = self._recipe(), self._finetuning()
        self._recipe_of = describe(recipe), 0
        if finetuning is not None:
            finetuning.take(recipe, self.module_)
        return self

    def _n_logits(self) -> int | None:
        """Return the module's number of outputs, where it says one."""
        with suppress(AttributeError, ValueError):  # braindecode's raise where they were told none
            return int(uncompiled(self.module_).n_outputs)
        return None

    def _check_built(self) -> None:
        """Raise where the parameters do not build the module as it is, so that nobody could load
        it.
        """
        now, built = _shapes(uncompiled(self.module_)), self._built or {}
        other = [name for name in {**built, **now} if (name in now) != (name in built)]
        if not other and self._n_logits() in (None, len(self.facts_.classes)):  # a head that was reset has other shapes
            head = "final_layer."
            other = [name for name in now if now[name] != built[name] and not name.startswith(head)]
        if self._built is not None and other:
            raise ValueError(
                f"the module was changed after it was built ({some(other, 3)}), and its parameters build another: give them "
                "the class of this one, or merge what was put into it (LoRA: finetune='lora' does)"
            )

    # --- going on with a module that is there -----------------------------------------------------

    def _renew_parts(self, new_classes: bool) -> None:
        """Bring callbacks, recipe and loss to the parameters as they are now, and the loss to new
        classes.
        """
        if self._callbacks_of is not None and not _same(self._callbacks_of, self._callback_settings()):
            self._initialize_callbacks()  # type: ignore[no-untyped-call]
        recipe, finetuning = self._recipe(), self._finetuning()
        described = describe(recipe)
        before, start = self._recipe_of or (described, 0)
        changed = described != before
        if finetuning is not None and (changed or not finetuning.options_):
            start = len(self.history_ or ()) if changed else start
            finetuning.take(recipe, uncompiled(self.module_), start)
        self._recipe_of = described, start
        self._check_outputs()
        if changed or (new_classes and self._weighs_classes()):
            self._initialize_criterion()  # type: ignore[no-untyped-call]
        if changed:
            self._initialize_optimizer()  # type: ignore[no-untyped-call]

    def _weighs_classes(self) -> bool:
        return self.facts_.class_weight is not None or getattr(self.criterion_, "weight", None) is not None

    def _check_outputs(self) -> None:
        logits, classes = self._n_logits(), self.facts_.classes
        given = self.get_params_for("module").get("n_outputs")
        for name, n_outputs in (("the module has", logits), ("module__n_outputs says", given)):
            if n_outputs not in (None, len(classes)):
                raise ValueError(
                    f"{name} {n_outputs} outputs, but there are {len(classes)} classes: {classes.tolist()}; set classes= "
                    "to those of the outputs, reset the head (module_.reset_head), or fit from the beginning"
                )

    # --- loss -------------------------------------------------------------------------------------

    def _loss_class(self) -> Any:
        return registry.losses[self.criterion] if isinstance(self.criterion, str) else self.criterion

    def initialize_criterion(self) -> Any:
        """Build the loss, with the weights of the classes and label smoothing if there are any."""
        loss = self._loss_class()
        kwargs = self.get_params_for("criterion")
        smoothing = next((option for option in self._recipe() if isinstance(option, LabelSmoothing)), None)
        if smoothing is not None:
            kwargs["label_smoothing"] = smoothing.amount
        known: FittedFacts | None = getattr(self, "facts_", None)
        if known is not None and known.class_weight is not None:
            self._check_takes_weight(loss, kwargs)
            kwargs["weight"] = torch.as_tensor(known.class_weight, dtype=torch.float32)
        self.criterion_ = self.initialized_instance(loss, kwargs)
        if known is not None and hasattr(self.criterion_, "set_class_counts"):
            self.criterion_.set_class_counts(known.class_counts)
        return self

    def _check_takes_weight(self, loss: Any, kwargs: Mapping[str, Any]) -> None:
        if isinstance(loss, nn.Module) or "weight" not in inspect.signature(loss).parameters:
            raise ValueError(
                f"class_weight: the loss {self.criterion!r} takes no argument 'weight'; use class_weight=None"
            )
        if kwargs.get("weight") is not None:
            raise ValueError("give either class_weight or criterion__weight, not both")

    # --- optimizer and callbacks ------------------------------------------------------------------

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        recipe = self.finetune is not None or self.schedule is not None
        callbacks: list[tuple[str, Any]] = [
            *([("finetune", FineTuning())] if recipe else []),  # first: the others see the weights that it leaves
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
            ("epoch_scores", EpochScores()),
        ]
        if self.train_split is not None and self.patience is not None:
            lower = self.monitor.endswith("_loss")
            stop = EarlyStopping(
                self.monitor, self.patience, threshold=0.0, threshold_mode="abs", lower_is_better=lower, load_best=True
            )
            callbacks.append(("early_stopping", stop))
        if self.log_dir is not None:  # behind early stopping: it draws the weights that are taken in the end
            callbacks.append(("tensorboard", TensorBoardLogger(self.log_dir)))
        return [*callbacks, ("print_log", EpochTable())]

    def initialize_callbacks(self) -> Any:
        """Make the callbacks, and note for which settings."""
        super().initialize_callbacks()
        self._callbacks_of = self._callback_settings()
        return self

    def _callback_settings(self) -> list[Any]:
        given = self.callbacks if isinstance(self.callbacks, (list, tuple)) else [self.callbacks]
        own = [self.patience, self.monitor, self.log_dir, self.train_split is None]
        return [*own, self.finetune is None and self.schedule is None, *given]

    def _check_scorers(self) -> None:
        """Raise where a scorer of a callback cannot score the classes, before anything is
        trained.
        """
        if self.callbacks == "disable":
            return
        for name, callback, _ in self._yield_callbacks():
            scoring = getattr(callback, "scoring", None)
            if isinstance(callback, (EpochScoring, BatchScoring)) and not isinstance(callback, PassthroughScoring):
                problem = scoring_problem(scoring, self.classes_)
                if problem is not None:
                    raise ValueError(
                        f"callbacks__{name}__scoring: {scoring!r} cannot score the classes {self.classes_.tolist()} ({problem}); "
                        f"say which one is positive: make_scorer(..., pos_label={self.positive_label_!r}), or take another score"
                    )


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def _same(before: list[Any], now: list[Any]) -> bool:
    plain = (bool, int, float, str)
    return len(before) == len(now) and all(
        a is b or (isinstance(a, plain) and isinstance(b, plain) and a == b) for a, b in zip(before, now, strict=True)
    )
