"""How a classifier carries out a fine-tuning recipe: frozen parts, optimizer groups, rates, averages.

:class:`FineTuning` is the callback that holds the recipe of one net and its state; :class:`Tuned` is the part of
the classifier that asks it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from braindecode import EEGClassifier
from skorch.callbacks import Callback, LRScheduler
from torch import Tensor, nn

from biot_bd.training._validation import resolve_optimizer
from biot_bd.training.finetuning.base import Rate
from biot_bd.training.finetuning.ema import EMA, Averager
from biot_bd.training.finetuning.parameter_groups import Part, model_parts, undecayed, whole_model
from biot_bd.training.finetuning.recipes import LabelSmoothing, Mixup, NoDecay, Rule, Schedule, Strategy, resolve

PREFIX = "finetune__"


class FineTuning(Callback):
    """Carry out the recipe of a net; the net makes it from its parameter ``finetune``.

    Attributes
    ----------
    rules_ : tuple of Rule
        The strategy first.
    parts_ : list of Part
        Head and blocks, by depth.
    thawed_ : int
        Blocks that are in the optimizer.
    """

    def initialize(self) -> FineTuning:
        """Forget the last training."""
        self.rules_: tuple[Rule, ...] = ()
        self.parts_: list[Part] = []
        self.fixed_: tuple[str, ...] = ()
        self.thawed_ = 0
        self.n_batches_ = 1
        self.batch_ = 0
        self.averager_: Averager | None = None
        return self

    # --- the recipe ---------------------------------------------------------------------------------------

    @property
    def strategy(self) -> Strategy:
        """Which parts train when."""
        return self.rules_[0]  # type: ignore[return-value]

    def rule(self, kind: type[Any]) -> Any:
        """Return the rule of a kind, or None."""
        return next((rule for rule in self.rules_ if isinstance(rule, kind)), None)

    @property
    def n_blocks(self) -> int:
        """Blocks beside the head."""
        return len(self.parts_) - 1

    def take(self, rules: tuple[Rule, ...], module: nn.Module) -> None:
        """Begin with a new module."""
        self.rules_ = rules
        self.fixed_ = tuple(name for name, p in module.named_parameters() if not p.requires_grad)
        rule = self.rule(EMA)
        self.averager_ = None if rule is None else Averager(rule)
        self.split(module)

    def split(self, module: nn.Module) -> None:
        """Find the parts of the module as it is now."""
        needed = any(rule.needs_parts for rule in self.rules_)
        self.parts_ = model_parts(module) if needed else whole_model(module)

    # --- frozen parts -------------------------------------------------------------------------------------

    def freeze(self, module: nn.Module, epoch: int) -> None:
        """Let exactly those parameters have gradients that train in ``epoch``."""
        self.thawed_ = self.strategy.n_thawed(epoch, self.n_blocks)
        for part in self.parts_:
            for _, parameter in self._own(module, part, trained=False):
                parameter.requires_grad_(False)
            if part.depth <= self.thawed_:
                for _, parameter in self._own(module, part):
                    parameter.requires_grad_(True)

    def _own(self, module: nn.Module, part: Part, trained: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of a part (that train once it is thawed), none that the model itself has fixed."""
        for name in part.parameters:
            if name not in self.fixed_ and (not trained or self.strategy.trains(name, part.depth == 0)):
                yield name, module.get_parameter(name)

    def set_modes(self, module: nn.Module) -> None:
        """Put what is frozen into eval mode, so that dropout is off and running statistics stand still."""
        frozen = [part for part in self.parts_ if self._is_frozen(module, part)]
        if len(self.parts_) > 1 and frozen == self.parts_[1:]:
            module.eval()  # all blocks, and whatever lies between them
            for path in self.parts_[0].modules:
                module.get_submodule(path).train()
            return
        for part in frozen:
            for path in part.modules:
                module.get_submodule(path).eval()
        for child in module.modules():
            weight = getattr(child, "weight", None)
            if getattr(child, "running_mean", None) is not None and weight is not None and not weight.requires_grad:
                child.eval()

    def _is_frozen(self, module: nn.Module, part: Part) -> bool:
        own = [parameter.requires_grad for _, parameter in self._own(module, part, trained=False)]
        return not any(own) if own else part.depth > self.thawed_

    # --- optimizer ----------------------------------------------------------------------------------------

    def groups(self, net: Any, module: nn.Module, depths: Iterable[int]) -> list[dict[str, Any]]:
        """Return the optimizer groups of the parts at some depths, each with its name and its rate."""
        bare = undecayed(module) if self.rule(NoDecay) is not None else set()
        groups: list[dict[str, Any]] = []
        for part in (self.parts_[depth] for depth in depths):
            own = list(self._own(module, part))
            for title, decays in ((part.name, True), (f"{part.name}-no-decay", False)):
                members = [p for name, p in own if (name not in bare) == decays]
                if members:
                    group: dict[str, Any] = {"params": members, "name": title, "rate": self._rate_of(part)}
                    groups.append(group if decays else {**group, "weight_decay": 0.0})
        for group in groups:
            group["lr"] = self._base(net) * group["rate"]
        return groups

    def _rate_of(self, part: Part) -> float:
        rate = 1.0
        for rule in self.rules_:
            if isinstance(rule, Rate):
                rate *= rule.factor(part.depth, self.n_blocks)
        return rate

    @staticmethod
    def _base(net: Any) -> float:
        return float(net.get_params_for("optimizer").get("lr", net.lr))

    @property
    def changes_rates(self) -> bool:
        """Whether rates change while training."""
        return self.strategy.changes or self.rule(Schedule) is not None

    def set_rates(self, net: Any, epoch: int, progress: float) -> None:
        """Give every group its rate: ``lr``, times that of its part, of the stage and of the schedule."""
        schedule = self.rule(Schedule)
        factor = self.strategy.rate(epoch) * (1.0 if schedule is None else schedule.factor(progress, net.max_epochs))
        base = self._base(net)
        for group in net.optimizer_.param_groups:
            group["lr"] = base * group.get("rate", 1.0) * factor

    def thaw(self, net: Any, epoch: int) -> None:
        """Give the optimizer the blocks that begin to train in ``epoch``."""
        wanted = self.strategy.n_thawed(epoch, self.n_blocks)
        if wanted <= self.thawed_:
            return
        module = plain(net.module_)
        new = range(self.thawed_ + 1, wanted + 1)
        self.freeze(module, epoch)
        for group in self.groups(net, module, new):
            net.optimizer_.add_param_group(group)

    # --- training -----------------------------------------------------------------------------------------

    def begin(self, net: Any) -> None:
        """Prepare the module for training, before restart points are looked at."""
        module = plain(net.module_)
        epoch = len(net.history) + 1
        changed = self.strategy.prepare(module)
        if changed:
            self.split(module)
        if changed or epoch == 1:
            with net._current_init_context("optimizer"):
                net.initialize_optimizer()
        else:
            self.freeze(module, epoch - 1)  # as the optimizer has it; the next epoch may thaw more
            self.set_rates(net, epoch, epoch - 1)  # lr may have been set since
        last = self.strategy.n_thawed(net.max_epochs + epoch - 1, self.n_blocks)
        if self.strategy.thaws_all and last < self.n_blocks:
            warnings.warn(
                f"{self.strategy!r}: only {last} of {self.n_blocks} blocks thaw within max_epochs={net.max_epochs}; "
                "train longer, or thaw sooner",
                stacklevel=2,
            )

    def resume(self, net: Any, n_epochs: int) -> None:
        """Bring the optimizer's groups to where they were after ``n_epochs`` epochs."""
        for epoch in range(1, n_epochs + 1):
            self.thaw(net, epoch)

    def finish(self, net: Any) -> None:
        """Leave a plain module, all of it trainable again."""
        module = plain(net.module_)
        self.strategy.finish(module)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name not in self.fixed_)
        if self.averager_ is not None:
            self.averager_.forget()

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Thaw what is due."""
        self.batch_ = 0
        self.thaw(net, len(net.history))

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Set the rates of the step."""
        if training and self.changes_rates:
            self.batch_ += 1
            epoch = len(net.history)
            self.set_rates(net, epoch, epoch - 1 + min(1.0, self.batch_ / self.n_batches_))

    def state_dict(self) -> dict[str, Any]:
        """Return what a restart point keeps between epochs; stages follow from the number of epochs."""
        averager = self.averager_
        return {} if averager is None else {"steps": averager.steps, "raw": averager.raw}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up again."""
        if self.averager_ is not None and state:
            self.averager_.steps, self.averager_.raw = int(state["steps"]), state["raw"]


class Tuned(EEGClassifier):
    """What a classifier does for its parameter ``finetune``; see :class:`biot_bd.training.BIOTClassifier`."""

    finetune: Any
    _mixture: tuple[float, Tensor] | None = None

    # --- parameters ---------------------------------------------------------------------------------------

    def set_params(self, **kwargs: Any) -> Any:
        """Set parameters; ``finetune__*`` belong to the rule if ``finetune`` is one, else to the named rule."""
        own = {key: kwargs.pop(key) for key in list(kwargs) if key.startswith(PREFIX)}
        super().set_params(**kwargs)
        if own and isinstance(self.finetune, Rule):
            self.finetune.set_params(**{key.removeprefix(PREFIX): value for key, value in own.items()})
        elif own:
            self.__dict__.update(own)
            self._rules()
        return self

    def _rules(self) -> tuple[Rule, ...]:
        given = {key.removeprefix(PREFIX): value for key, value in vars(self).items() if key.startswith(PREFIX)}
        return resolve(self.finetune, given)

    def _check_finetune(self) -> None:
        rules = self._rules()
        if not rules:
            return
        for rule in rules:
            rule.check(self)
        if self.callbacks == "disable":
            raise ValueError("finetune works through a callback; callbacks='disable' excludes it")
        if "optimizer__param_groups" in vars(self):
            raise ValueError("finetune makes the groups of the optimizer; leave optimizer__param_groups out")
        changes = rules[0].changes or any(isinstance(rule, Schedule) for rule in rules)  # type: ignore[attr-defined]
        others = [cb for _, cb, _ in self._yield_callbacks() if isinstance(cb, LRScheduler) or cb is LRScheduler]
        if changes and others:
            raise ValueError(
                "finetune changes the learning rates while training, and so does skorch's LRScheduler; "
                "use one of them: schedules of finetune are 'warm-up' and 'cosine'"
            )

    # --- what is built ------------------------------------------------------------------------------------

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        callbacks = super()._default_callbacks
        return callbacks if self.finetune is None else [("finetune", FineTuning()), *callbacks]

    def _tuning(self) -> FineTuning | None:
        return next((cb for _, cb in getattr(self, "callbacks_", ()) if isinstance(cb, FineTuning)), None)

    def initialize_module(self) -> Any:
        """Build the module, and split it for the recipe."""
        super().initialize_module()
        tuning = self._tuning()
        if tuning is not None:
            tuning.take(self._rules(), self.module_)
        return self

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the parameters with a prefix; the loss gets label smoothing from the recipe."""
        params = super().get_params_for(prefix)
        if prefix == "criterion" and self.finetune is not None:
            smoothing = next((rule for rule in self._rules() if isinstance(rule, LabelSmoothing)), None)
            if smoothing is not None:
                params = {**params, "label_smoothing": smoothing.amount}
        return params

    def initialize_optimizer(self, triggered_directly: Any = None) -> Any:
        """Build the optimizer over what trains in the coming epoch."""
        tuning = self._tuning()
        if tuning is None:
            return super().initialize_optimizer()
        module = plain(self.module_)
        tuning.freeze(module, len(getattr(self, "history_", None) or ()) + 1)
        kwargs = {"lr": self.lr, **self.get_params_for("optimizer")}
        groups = tuning.groups(self, module, range(tuning.thawed_ + 1))
        learnt = list(self.criterion_.parameters()) if isinstance(self.criterion_, nn.Module) else []
        if learnt:
            groups.append({"params": learnt, "name": "loss", "rate": 1.0})
        self.optimizer_ = resolve_optimizer(self.optimizer)(groups, **kwargs)
        return self

    # --- training -----------------------------------------------------------------------------------------

    def _train(self, *args: Any) -> None:
        tuning = self._tuning()
        if tuning is not None:
            tuning.begin(self)
        super()._train(*args)  # type: ignore[misc]
        if tuning is not None:
            tuning.finish(self)

    def _before_restart(self, n_epochs: int) -> None:
        """Make the optimizer's groups fit the state that a restart point has after ``n_epochs`` epochs."""
        tuning = self._tuning()
        if tuning is not None:
            tuning.resume(self, n_epochs)

    def run_single_epoch(self, iterator: Any, training: bool, *args: Any, **kwargs: Any) -> None:
        """Run a pass; while training with the raw weights, else with the averaged ones if there are any."""
        tuning = self._tuning() if training else None
        averager = None if tuning is None else tuning.averager_
        if tuning is not None:
            # braindecode wraps the loader in an iterator without a length
            tuning.n_batches_ = len(getattr(iterator, "loader", iterator))
        if averager is not None:
            averager.before_pass(plain(self.module_))
        super().run_single_epoch(iterator, training, *args, **kwargs)
        if averager is not None:
            averager.after_pass(plain(self.module_))

    def _set_training(self, training: bool = True) -> None:
        super()._set_training(training)
        tuning = self._tuning()
        if training and tuning is not None:
            tuning.set_modes(plain(self.module_))

    def train_step(self, batch: Any, **fit_params: Any) -> Any:
        """Take one step of the optimizer, and of the average."""
        step = super().train_step(batch, **fit_params)
        tuning = self._tuning()
        if tuning is not None and tuning.averager_ is not None:
            tuning.averager_.update(plain(self.module_))
        return step

    def train_step_single(self, batch: Any, **fit_params: Any) -> Any:
        """Compute loss and gradients of a batch, of mixed windows if the recipe says so."""
        tuning = self._tuning()
        mixup: Mixup | None = None if tuning is None else tuning.rule(Mixup)
        if mixup is None:
            return super().train_step_single(batch, **fit_params)
        x, y = batch
        self._mixture = mixup.draw(x)
        try:
            return super().train_step_single((mixup.mix(x, *self._mixture), y), **fit_params)
        finally:
            self._mixture = None

    def _loss_terms(self, y: Tensor) -> list[tuple[float, Tensor]]:
        """Return shares and targets of the loss; for mixed windows both labels."""
        if self._mixture is None:
            return super()._loss_terms(y)  # type: ignore[misc]
        share, partners = self._mixture
        return [(share, y), (1.0 - share, y[partners.to(y.device)])]


def plain(module: Any) -> Any:
    """Return the module itself where it is compiled."""
    return getattr(module, "_orig_mod", module)
