"""How a classifier builds its module, its loss and its callbacks."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from braindecode import EEGClassifier
from braindecode.models.util import models_dict
from skorch import NeuralNet
from skorch.callbacks import EpochTimer, PassthroughScoring, PrintLog
from torch import nn

from biot_bd import registry
from biot_bd.training._validation import resolve_optimizer
from biot_bd.training.callbacks import EarlyStopping, EpochScores
from biot_bd.training.input_data import InputInfo
from biot_bd.training.pretrained import build_pretrained
from biot_bd.training.tensorboard import TensorBoardLogger


class _EpochTable(PrintLog):
    """Prints the table of epochs on stderr, where ``verbose`` asks for it; stdout belongs to results."""

    def _sink(self, text: str, verbose: int) -> None:
        if verbose:
            print(text, file=sys.stderr)


class Building(EEGClassifier):
    """What a classifier is made of; see :class:`biot_bd.training.BIOTClassifier`."""

    def _module_class(self) -> Any:
        if not isinstance(self.module, str):
            return self.module
        if self.module not in registry.models and self.module in models_dict:
            return models_dict[self.module]
        return registry.models[self.module]

    def _facts_for_module(self, module: Any) -> dict[str, Any]:
        """Return what the data say, for the arguments that the module's constructor has."""
        info: InputInfo | None = getattr(self, "input_info_", None)
        if info is None or isinstance(module, nn.Module):
            return {}
        facts: dict[str, Any] = {
            "n_chans": info.n_chans,
            "n_times": info.n_times,
            "n_outputs": len(self.classes_),
            "sfreq": info.sfreq,
            "ch_names": info.ch_names,
        }
        known = inspect.signature(module).parameters
        return {name: value for name, value in facts.items() if value is not None and name in known}

    def initialize_module(self) -> Building:
        """Build the module from the parameters and, where these say nothing, from the data's shapes."""
        module = self._module_class()
        given = self.get_params_for("module")
        outputs = given.get("n_outputs")
        if outputs is not None and hasattr(self, "input_info_") and outputs != len(self.classes_):
            raise ValueError(
                f"module__n_outputs={outputs}, but there are {len(self.classes_)} classes: {list(self.classes_)}"
            )
        arguments = {**self._facts_for_module(module), **given}
        if self.pretrained is None:
            self.module_ = self.initialized_instance(module, arguments)
        else:
            self.module_ = build_pretrained(self, module, arguments)
        return self

    def _loss_class(self) -> Any:
        return registry.losses[self.criterion] if isinstance(self.criterion, str) else self.criterion

    def initialize_criterion(self) -> Building:
        """Build the loss, with the weights of the classes if there are any."""
        loss = self._loss_class()
        kwargs = self.get_params_for("criterion")
        weights = getattr(self, "class_weight_", None)
        if weights is not None:
            self._check_takes_weight(loss, kwargs)
            kwargs["weight"] = torch.as_tensor(weights, dtype=torch.float32)
        self.criterion_ = self.initialized_instance(loss, kwargs)
        counts = getattr(self, "class_counts_", None)
        if counts is not None and hasattr(self.criterion_, "set_class_counts"):
            self.criterion_.set_class_counts(counts)
        return self

    def _check_takes_weight(self, loss: Any, kwargs: Mapping[str, Any]) -> None:
        if isinstance(loss, nn.Module) or "weight" not in inspect.signature(loss).parameters:
            raise ValueError(
                f"class_weight: the loss {self.criterion!r} takes no argument 'weight'; use class_weight=None"
            )
        if kwargs.get("weight") is not None:
            raise ValueError("give either class_weight or criterion__weight, not both")

    def initialize_optimizer(self, triggered_directly: Any = None) -> Building:
        """Build the optimizer, which may be given by its name in ``torch.optim``."""
        args, kwargs = self.get_params_for_optimizer("optimizer", self.get_all_learnable_params())
        self.optimizer_ = resolve_optimizer(self.optimizer)(*args, **{"lr": self.lr, **kwargs})
        return self

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        callbacks: list[tuple[str, Any]] = [
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
        return [*callbacks, ("print_log", _EpochTable())]

    def _yield_callbacks(self) -> Iterator[tuple[str, Any, bool]]:
        for name, callback, named in NeuralNet._yield_callbacks(self):
            if isinstance(callback, str):
                yield (name if named else callback), registry.callbacks[callback], True
            else:
                yield name, callback, named
