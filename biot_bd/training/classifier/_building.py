"""How a classifier builds its module, loss, optimizer and callbacks, all but the module with
what the recipe says.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import mne
import numpy as np
import torch
from braindecode import EEGClassifier
from braindecode.models.base import EEGModuleMixin
from braindecode.models.util import models_dict
from sklearn.metrics import get_scorer_names
from skorch import NeuralNet
from skorch.callbacks import (
    BatchScoring,
    Callback,
    EpochScoring,
    EpochTimer,
    InputShapeSetter,
    LRScheduler,
    ParamMapper,
    PassthroughScoring,
    PrintLog,
)
from torch import nn

from biot_bd import registry
from biot_bd.exceptions import ContractError, UnknownNameError
from biot_bd.models.biot import BIOT
from biot_bd.models.checkpoints.provenance import some
from biot_bd.models.checkpoints.published import KNOWN
from biot_bd.models.contract import ModelContract
from biot_bd.signals.positions import channel_positions, make_chs_info
from biot_bd.training._validation import did_you_mean, plain_scalar, resolve_optimizer, uncompiled
from biot_bd.training.callbacks import EarlyStopping, EpochScores
from biot_bd.training.finetuning.base import FinetuneOption
from biot_bd.training.finetuning.callback import FineTuning
from biot_bd.training.finetuning.mixup import LabelSmoothing
from biot_bd.training.finetuning.recipes import resolve
from biot_bd.training.finetuning.schedules import Schedule
from biot_bd.training.fitted_facts import FittedFacts
from biot_bd.training.pretrained import build_pretrained
from biot_bd.training.private_paths import FitPlace, private_callbacks
from biot_bd.training.resume import describe
from biot_bd.training.scorers import is_scorer_name, scoring_problem
from biot_bd.training.tensorboard import TensorBoardLogger, with_folder_of


class _EpochTable(PrintLog):
    """Prints the table of epochs on stderr, where ``verbose`` asks for it.

    Stdout belongs to results.
    """

    def _sink(self, text: str, verbose: int) -> None:
        if verbose:
            print(text, file=sys.stderr)


def _plain_epoch(item: Any) -> None:
    """Make the epoch of a ``Freezer`` and its like Python's number: skorch calls any other."""
    callback = item[1] if isinstance(item, (tuple, list)) and len(item) == 2 else item
    if isinstance(callback, ParamMapper):
        callback.at = plain_scalar(callback.at)


class ComponentBuilding(EEGClassifier):
    """What a classifier is made of; see :class:`biot_bd.training.BIOTClassifier`."""

    facts_: FittedFacts
    finetune: Any
    schedule: Any
    precision: str
    patience: int | None
    monitor: str
    log_dir: Any
    _own_callbacks_only = False  # while a saved model is loaded
    _callbacks_wait = False
    _callbacks_of: list[Any] | None = None  # the settings that callbacks_ were made for
    _recipe_of: tuple[Any, int] | None = None  # the recipe that is carried out, and the epochs before it
    _built: dict[str, tuple[int, ...]] | None = None  # shapes of the module as it was built
    _place: FitPlace | None = None  # where callbacks write; None: where they were told to
    callbacks_: list[tuple[str, Any]]

    # --- recipe -----------------------------------------------------------------------------------

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

    # --- module -----------------------------------------------------------------------------------

    def _module_class(self) -> Any:
        if not isinstance(self.module, str):
            return self.module
        if self.module not in registry.models and self.module in models_dict:
            return models_dict[self.module]
        return registry.models[self.module]

    def _facts_for_module(self, module: Any) -> dict[str, Any]:
        """Return what the data say, for the arguments that the module's constructor has."""
        known: FittedFacts | None = getattr(self, "facts_", None)
        if known is None or isinstance(module, nn.Module):
            return {}
        info = known.input_info
        facts = {name: getattr(info, name) for name in ("n_chans", "n_times", "sfreq", "ch_names")}
        facts["n_outputs"] = len(self.classes_)
        taken = inspect.signature(module).parameters
        infers = inspect.isclass(module) and issubclass(module, EEGModuleMixin)
        if info.sfreq is not None and not infers:  # braindecode's own models divide the two themselves
            facts["input_window_seconds"] = info.n_times / info.sfreq
        if "chs_info" in taken and info.ch_names is not None and self._reads_positions(module):
            placed = bool(np.isfinite(channel_positions(info.ch_names)).all())
            facts["chs_info"] = make_chs_info(info.ch_names) if placed else None
        return {name: value for name, value in facts.items() if value is not None and name in taken}

    def _contract(self) -> ModelContract | None:
        """Return what a registered model expects; None of a class, an instance, others' names."""
        named = isinstance(self.module, str) and self.module in registry.models
        return registry.models.contract(self.module) if named else None

    def _reads_positions(self, module: Any) -> bool:
        """Return whether a module that names ``chs_info`` does anything with it.

        Who does not is built, and saved, without.
        """
        name = registry.models.name_of(module)
        contract = None if name is None else registry.models.contract(name)
        of_biot = inspect.isclass(module) and issubclass(module, BIOT)
        return not of_biot and (contract is None or contract.positions != "unused")

    def _check_contract(self, info: Any) -> None:
        """Raise where a registered model is known to expect other windows than these."""
        contract = self._contract()
        if contract is not None:
            published = any(self.pretrained in (one.name, one.repository) for one in KNOWN.values())
            contract.check(info, self.module, self.get_params_for("module"), scratch=not published)

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
        arguments = {**self._facts_for_module(module), **given}
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

    def _build_module(self, module: Any, arguments: dict[str, Any]) -> Any:
        """Build the module; say in one line what it needs that is not there."""
        try:
            with mne.use_log_level("ERROR"):  # models that interpolate would print how they fit a sphere
                return self._instance(module, arguments)
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            contract = self._contract()
            if contract is not None and contract.needs is not None and isinstance(error, (RuntimeError, OSError)):
                raise ContractError(f"{self.module} needs {contract.needs}: {error}") from error
            known = self.facts_.input_info if hasattr(self, "facts_") else None
            unknown = {"sfreq": "the sampling rate", "chs_info": "the channels and their positions"}
            wanted = [what for name, what in unknown.items() if name not in arguments and name in str(error)]
            if known is None or known.ch_names is not None or not wanted:
                raise
            raise ValueError(
                f"{module.__name__} needs {' and '.join(wanted)}, which arrays do not carry; give Windows or mne.Epochs, "
                f"or module__sfreq=200, module__chs_info=make_chs_info([...]) ({error})"
            ) from error

    def _instance(self, module: Any, arguments: dict[str, Any]) -> Any:
        try:
            return self.initialized_instance(module, arguments)
        except ValueError as error:
            if hasattr(self, "facts_") or "could not be inferred" not in str(error):
                raise
            raise ValueError(
                f"{error} Before fit nothing is known of the data: fit first, or give module__n_chans=, module__n_times= "
                "and module__n_outputs= (those of the weights that shall be loaded)"
            ) from error

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
        return [*callbacks, ("print_log", _EpochTable())]

    def initialize_callbacks(self) -> Any:
        """Make the callbacks; those of a loaded model wait until it is trained on."""
        given = self.callbacks
        if self._own_callbacks_only:
            self.__dict__["callbacks"] = None
        try:
            for callback in self._given_callbacks():
                _plain_epoch(callback)
            super().initialize_callbacks()
        finally:
            self.__dict__["callbacks"] = given
        if self._place is not None:
            made = [(name, with_folder_of(callback, self)) for name, callback in self.callbacks_]
            self.callbacks_ = private_callbacks(made, self._place)
        self._callbacks_wait = self._own_callbacks_only and bool(given)
        self._callbacks_of = self._callback_settings()
        return self

    def _callback_settings(self) -> list[Any]:
        given = self.callbacks if isinstance(self.callbacks, (list, tuple)) else [self.callbacks]
        own = [self.patience, self.monitor, self.log_dir, self.train_split is None]
        return [*own, self.finetune is None and self.schedule is None, *given]

    def write_in(self, place: FitPlace | None) -> None:
        """Have the callbacks of the coming fits write in another place.

        Parameters
        ----------
        place : FitPlace or None
            None: where they were told to.
        """
        self.__dict__["_place"] = place

    def _start_waiting_callbacks(self) -> None:
        """Start the given callbacks of a loaded model, beside those that it has."""
        if self._callbacks_wait:
            made = dict(self.callbacks_)
            self.initialize_callbacks()
            self.callbacks_ = [(name, made.get(name, callback)) for name, callback in self.callbacks_]

    def _given_callbacks(self) -> list[Any]:
        """Return what ``callbacks`` names, one by one."""
        given = self.callbacks
        if given is None or isinstance(given, str):
            return []
        return list(given) if isinstance(given, (list, tuple)) else [given]

    def _yield_callbacks(self) -> Iterator[tuple[str, Any, bool]]:
        given, self.__dict__["callbacks"] = self.callbacks, self._given_callbacks()
        try:
            found = list(NeuralNet._yield_callbacks(self))
        finally:
            self.__dict__["callbacks"] = given
        for name, callback, named in found:
            if not isinstance(callback, str):
                yield name, callback, named
            elif callback in registry.callbacks:
                yield (name if named else callback), registry.callbacks[callback], True
            elif is_scorer_name(callback):
                yield from self._both_sides(name if named else callback, callback)
            else:
                known = [*registry.callbacks, *get_scorer_names()]
                raise UnknownNameError(
                    f"callbacks: {callback!r} is neither a callback ({', '.join(registry.callbacks)}) nor a scorer of scikit-learn"
                    f"{did_you_mean(callback, known)}"
                )

    def _both_sides(self, name: str, scorer: str) -> Iterator[tuple[str, Any, bool]]:
        """Yield the callbacks that score training and validation windows, as braindecode's names
        do.
        """
        sides = ("train",) if self.train_split is None else ("train", "valid")
        for side in sides:
            scoring = EpochScoring(scorer, lower_is_better=False, on_train=side == "train", name=f"{side}_{name}")
            yield f"{side}_{name}", scoring, True

    def _check_callbacks(self) -> None:
        """Raise where a callback cannot work here, before anything is trained."""
        if self.callbacks == "disable":
            return
        for item in self._given_callbacks():
            callback = item[1] if isinstance(item, (tuple, list)) and len(item) == 2 else item
            kind = callback if isinstance(callback, type) else type(callback)
            if not isinstance(callback, str) and callback is not None and not issubclass(kind, Callback):
                raise ValueError(
                    f"callbacks: found {item!r}; expected callbacks of skorch, names, or pairs (name, callback)"
                )
            if issubclass(kind, InputShapeSetter):
                raise ValueError(
                    "callbacks: InputShapeSetter builds the module anew when training has begun; leave it out: the module is "
                    "given n_chans, n_times, n_outputs, sfreq and ch_names of the data by itself"
                )
            if isinstance(callback, EpochScoring) and callback.on_train and not callback.use_caching:
                raise ValueError(
                    f"callbacks: {kind.__name__} would predict the training windows once more after each epoch; take "
                    "EpochScoring(on_train=True), which scores the predictions made while training"
                )
        for name, _, _ in self._yield_callbacks():
            if not isinstance(name, str):
                raise ValueError(f"callbacks: a name must be a text, found {name!r}")

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
