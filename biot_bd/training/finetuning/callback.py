"""The callback that carries out a recipe: frozen parts, optimizer groups, rates, averages."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from skorch.callbacks import Callback
from torch import Tensor, nn

from biot_bd.training._validation import uncompiled
from biot_bd.training.finetuning.base import FinetuneOption, Rate, Strategy
from biot_bd.training.finetuning.ema import EMA, Averager
from biot_bd.training.finetuning.mixup import Mixup
from biot_bd.training.finetuning.parameter_groups import NoDecay, Part, model_parts, undecayed, whole_model
from biot_bd.training.finetuning.schedules import Schedule
from biot_bd.training.object_texts import ParametersRepr


class FineTuning(ParametersRepr, Callback):
    """Carry out the recipe of a net.

    The net makes it from its parameters ``finetune`` and ``schedule``.

    Attributes
    ----------
    options_ : tuple of FinetuneOption
        The strategy first.
    parts_ : list of Part
        Head and blocks, by depth.
    thawed_ : int
        Blocks that are in the optimizer.
    start_ : int
        Epochs in the history before the recipe began.
    """

    def initialize(self) -> FineTuning:
        """Forget the last training."""
        self.options_: tuple[FinetuneOption, ...] = ()
        self.parts_: list[Part] = []
        self.fixed_: tuple[str, ...] = ()
        self.thawed_ = 0
        self.start_ = 0
        self.left_: dict[str, bool] = {}
        self.n_batches_ = 1
        self.batch_ = 0
        self.averager_: Averager | None = None
        return self

    # --- the recipe -------------------------------------------------------------------------------

    @property
    def strategy(self) -> Strategy:
        """Which parts train when."""
        return self.options_[0]  # type: ignore[return-value]

    def option(self, kind: type[Any]) -> Any:
        """Return the option of a kind, or None."""
        return next((option for option in self.options_ if isinstance(option, kind)), None)

    @property
    def n_blocks(self) -> int:
        """Blocks beside the head."""
        return len(self.parts_) - 1

    def take(self, options: tuple[FinetuneOption, ...], module: nn.Module, start: int = 0) -> None:
        """Begin with a new module, or with a new recipe after ``start`` epochs."""
        self.options_ = options
        self.start_ = start
        self.left_ = _trainable(module)
        self.fixed_ = tuple(name for name, p in module.named_parameters() if not p.requires_grad)
        average = self.option(EMA)
        self.averager_ = None if average is None else Averager(average)
        self.split(module)

    def epoch(self, net: Any) -> int:
        """Return the number of the recipe's latest epoch, 0 before the first."""
        return len(net.history_ or ()) - self.start_

    def split(self, module: nn.Module) -> None:
        """Find the parts of the module as it is now."""
        needed = any(option.needs_parts for option in self.options_)
        self.parts_ = model_parts(module) if needed else whole_model(module)

    # --- frozen parts -----------------------------------------------------------------------------

    def freeze(self, module: nn.Module, epoch: int) -> None:
        """Let exactly those parameters have gradients that train in ``epoch``."""
        self.thawed_ = self.strategy.n_thawed(epoch, self.n_blocks)
        for part in self.parts_:
            for _, parameter in self._own(module, part, trained=False):
                parameter.requires_grad_(False)
            if part.depth <= self.thawed_:
                for _, parameter in self._own(module, part):
                    parameter.requires_grad_(True)
        self.left_ = _trainable(module)

    def _heed(self, module: nn.Module) -> None:
        """Leave frozen what somebody else froze since, and take back what they thawed."""
        now = _trainable(module)
        other = {name for name, trains in now.items() if trains != self.left_.get(name, True)}
        self.fixed_ = tuple(name for name in now if (name in self.fixed_) != (name in other) and not now[name])

    def _own(self, module: nn.Module, part: Part, trained: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of a part (that train once it is thawed), none that the model
        itself has fixed.
        """
        for name in part.parameters:
            if name not in self.fixed_ and (not trained or self.strategy.trains(name, part.depth == 0)):
                yield name, module.get_parameter(name)

    def set_modes(self, module: nn.Module) -> None:
        """Put what is frozen into eval mode, so that dropout is off and running statistics stand
        still.
        """
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

    # --- optimizer --------------------------------------------------------------------------------

    def groups(self, net: Any, module: nn.Module, depths: Iterable[int]) -> list[dict[str, Any]]:
        """Return the optimizer groups of the parts at some depths, each with its name and its
        rate.
        """
        bare = undecayed(module) if self.option(NoDecay) is not None else set()
        bare |= {name for name, _ in module.named_parameters() if not self.strategy.decays(name)}
        rates = [option for option in self.options_ if isinstance(option, Rate)]
        groups: list[dict[str, Any]] = []
        for part in (self.parts_[depth] for depth in depths):
            own = list(self._own(module, part))
            rate = math.prod((rate.factor(part.depth, self.n_blocks) for rate in rates), start=1.0)
            for title, decays in ((part.name, True), (f"{part.name}-no-decay", False)):
                members = [p for name, p in own if (name not in bare) == decays]
                if members:
                    own_decay = {} if decays else {"weight_decay": 0.0}
                    group = {"params": members, "name": title, "rate": rate, **own_decay, "lr": self._base(net) * rate}
                    groups.append(group)
        return groups

    @staticmethod
    def _base(net: Any) -> float:
        return float(net.get_params_for("optimizer").get("lr", net.lr))

    def set_rates(self, net: Any, epoch: int, share: float) -> None:
        """Give every group its rate.

        ``lr``, times that of its part, of the stage and of the schedule.

        ``share`` of the epoch will have passed after the step.
        """
        schedule = self.option(Schedule)
        progress = epoch - 1 + (0.0 if schedule is None or schedule.by_epoch else share)
        factor = self.strategy.rate(epoch) * (1.0 if schedule is None else schedule.factor(progress, net.max_epochs))
        base = self._base(net)
        for group in net.optimizer_.param_groups:
            group["lr"] = base * group.get("rate", 1.0) * factor

    def thaw(self, net: Any, epoch: int) -> None:
        """Give the optimizer the blocks that begin to train in ``epoch``."""
        wanted = self.strategy.n_thawed(epoch, self.n_blocks)
        if wanted <= self.thawed_:
            return
        module = uncompiled(net.module_)
        new = range(self.thawed_ + 1, wanted + 1)
        self.freeze(module, epoch)
        for group in self.groups(net, module, new):
            net.optimizer_.add_param_group(group)

    # --- training ---------------------------------------------------------------------------------

    def begin(self, net: Any) -> None:
        """Prepare the module for training, before restart points are looked at."""
        module = uncompiled(net.module_)
        epoch = self.epoch(net) + 1
        self._heed(module)
        changed = self.strategy.prepare(module)
        names = {name for name, _ in module.named_parameters()}
        if changed or names != {name for part in self.parts_ for name in part.parameters}:
            self.split(module)
        if changed or epoch == 1:
            with net._current_init_context("optimizer"):
                net.initialize_optimizer()
        else:
            self.freeze(module, epoch - 1)  # as the optimizer has it; the next epoch may thaw more
            net._complete_optimizer()
            self.set_rates(net, epoch, 0.0)  # lr may have been set since
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
        module = uncompiled(net.module_)
        self.strategy.finish(module)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name not in self.fixed_)
        self.left_ = _trainable(module)
        if self.averager_ is not None:
            self.averager_.forget()

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Thaw what is due."""
        self.batch_ = 0
        self.thaw(net, self.epoch(net))

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Set the rates of the step, where they change while training."""
        if not training:
            return
        self.batch_ += 1
        if self.strategy.changes or self.option(Schedule) is not None:
            self.set_rates(net, self.epoch(net), min(1.0, self.batch_ / self.n_batches_))

    def on_grad_computed(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Let the strategy add to the gradients."""
        if training and self.options_:
            self.strategy.after_gradient(uncompiled(net.module_))

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Let the strategy change weights, and count the step in the average."""
        if not training or not self.options_:
            return
        step = (self.epoch(net) - 1) * self.n_batches_ + self.batch_
        self.strategy.after_step(uncompiled(net.module_), step, net.max_epochs * self.n_batches_)
        if self.averager_ is not None:
            self.averager_.update(uncompiled(net.module_))

    def before_pass(self, net: Any, n_batches: int) -> None:
        """Put the raw weights into the module, to train them."""
        self.n_batches_ = n_batches
        if self.averager_ is not None:
            self.averager_.before_pass(uncompiled(net.module_))

    def after_pass(self, net: Any) -> None:
        """Put the averaged weights into the module, for all that is not training."""
        if self.averager_ is not None:
            self.averager_.after_pass(uncompiled(net.module_))

    def mix(self, x: Tensor) -> tuple[Tensor, tuple[float, Tensor] | None]:
        """Return the windows to train on.

        Where they are mixtures, also their shares and partners.
        """
        mixup: Mixup | None = self.option(Mixup)
        if mixup is None:
            return x, None
        mixture = mixup.draw(x)
        return mixup.mix(x, *mixture), mixture

    def state_dict(self) -> dict[str, Any]:
        """Return what a restart point keeps between epochs.

        Stages follow from the number of epochs.
        """
        averager = self.averager_
        return {} if averager is None else {"steps": averager.steps, "raw": averager.raw}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up again."""
        if self.averager_ is not None and state:
            self.averager_.steps, self.averager_.raw = int(state["steps"]), state["raw"]


def _trainable(module: nn.Module) -> dict[str, bool]:
    return {name: parameter.requires_grad for name, parameter in module.named_parameters()}
