"""Fine-tuning recipes: ``BIOTClassifier(finetune=...)``.

``finetune`` is a name, an option (an object), or a list of both: at most one strategy (which parts
train when) and any options beside it (rates by part, one schedule, weight decay, softer targets,
averaged weights)::

    BIOTClassifier(finetune="linear-probe")
    BIOTClassifier(finetune=Gradual(epochs_per_block=2))
    BIOTClassifier(finetune="gradual", finetune__epochs_per_block=2)
    BIOTClassifier(
        finetune=["two-stage", LayerDecay(0.65), "no-decay", Cosine(warmup_epochs=2), "ema"]
    )
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from biot_bd.training.finetuning.adalora import AdaLoRA
from biot_bd.training.finetuning.base import FinetuneOption, Strategy
from biot_bd.training.finetuning.dora import DoRA
from biot_bd.training.finetuning.ema import EMA
from biot_bd.training.finetuning.ia3 import IA3
from biot_bd.training.finetuning.lora import LoRA
from biot_bd.training.finetuning.mixup import LabelSmoothing, Mixup
from biot_bd.training.finetuning.parameter_groups import Discriminative, LayerDecay, NoDecay
from biot_bd.training.finetuning.schedules import SCHEDULES, Schedule, resolve_schedule


class Full(Strategy):
    """Train everything from the first step.

    See Also
    --------
    LinearProbe : The head only.
    Gradual, TwoStage : Everything in the end.

    Examples
    --------
    >>> from biot_bd import BIOTClassifier
    >>> BIOTClassifier(finetune=["full", "layer-decay"]).finetune
    ['full', 'layer-decay']
    """


class LinearProbe(Strategy):
    """Train the head; everything else stays frozen, in eval mode.

    See Also
    --------
    Full : Everything.
    LoRA : The head, and little of everything else.

    Examples
    --------
    >>> from biot_bd.training.finetuning import LinearProbe
    >>> LinearProbe().n_thawed(epoch=100, n_blocks=4)
    0
    """

    needs_parts = True
    thaws_all = False

    def n_thawed(self, epoch: int, n_blocks: int) -> int:
        """Return 0."""
        return 0


class Gradual(Strategy):
    """Train the head, then thaw the blocks from the last to the first.

    Parameters
    ----------
    epochs_per_block : int
        Epochs from one block to the next.
    head_epochs : int
        Epochs in which only the head trains.

    See Also
    --------
    TwoStage : Thaws everything at once.
    Discriminative, LayerDecay : Lower rates in place of frozen blocks.

    References
    ----------
    .. [1] Howard, J., Ruder, S. (2018). Universal Language Model Fine-tuning for Text
           Classification. ACL.

    Examples
    --------
    >>> from biot_bd.training.finetuning import Gradual
    >>> [Gradual(epochs_per_block=2).n_thawed(epoch, n_blocks=2) for epoch in range(1, 7)]
    [0, 1, 1, 2, 2, 2]
    """

    needs_parts = True
    changes = True
    limits = {"epochs_per_block": (1, math.inf), "head_epochs": (0, math.inf)}

    def __init__(self, epochs_per_block: int = 1, head_epochs: int = 1) -> None:
        self.epochs_per_block = epochs_per_block
        self.head_epochs = head_epochs

    def n_thawed(self, epoch: int, n_blocks: int) -> int:
        """Return ``1 + (epoch - head_epochs - 1) // epochs_per_block``, from 0 to ``n_blocks``."""
        if epoch <= self.head_epochs:
            return 0
        return min(n_blocks, 1 + (epoch - self.head_epochs - 1) // self.epochs_per_block)


class TwoStage(Strategy):
    """Train the head, then everything at a lower rate.

    Parameters
    ----------
    head_epochs : int
        Epochs of the first stage.
    factor : float
        Factor on all learning rates in the second stage.

    See Also
    --------
    Gradual : Thaws block by block.
    LinearProbe : Its first stage alone.

    References
    ----------
    .. [1] Kumar, A. et al. (2022). Fine-Tuning can Distort Pretrained Features and Underperform
           Out-of-Distribution. ICLR.

    Examples
    --------
    >>> from biot_bd.training.finetuning import TwoStage
    >>> [TwoStage(head_epochs=2, factor=0.1).rate(epoch) for epoch in (1, 2, 3)]
    [1.0, 1.0, 0.1]
    """

    needs_parts = True
    changes = True
    limits = {"head_epochs": (0, math.inf), "factor": (0.0, math.inf)}

    def __init__(self, head_epochs: int = 5, factor: float = 0.1) -> None:
        self.head_epochs = head_epochs
        self.factor = factor

    def n_thawed(self, epoch: int, n_blocks: int) -> int:
        """Return 0 in the first stage and all blocks in the second."""
        return n_blocks if epoch > self.head_epochs else 0

    def rate(self, epoch: int) -> float:
        """Return 1 in the first stage and ``factor`` in the second."""
        return float(self.factor) if epoch > self.head_epochs else 1.0


OPTIONS: dict[str, type[FinetuneOption]] = {
    "full": Full,
    "linear-probe": LinearProbe,
    "gradual": Gradual,
    "two-stage": TwoStage,
    "lora": LoRA,
    "adalora": AdaLoRA,
    "dora": DoRA,
    "ia3": IA3,
    "layer-decay": LayerDecay,
    "discriminative": Discriminative,
    **SCHEDULES,
    "no-decay": NoDecay,
    "label-smoothing": LabelSmoothing,
    "mixup": Mixup,
    "ema": EMA,
}
"""What ``finetune`` takes by name."""


def resolve(finetune: Any, params: Mapping[str, Any] | None = None, schedule: Any = None) -> tuple[FinetuneOption, ...]:
    """Turn the parameters ``finetune`` and ``schedule`` into the options of a recipe.

    Parameters
    ----------
    finetune : None, str, FinetuneOption, or list of str and FinetuneOption
        See the module.
    params : mapping, optional
        Parameters for the option, where ``finetune`` is one name (``finetune__*`` of the
        classifier).
    schedule : None, str or Schedule
        Of the learning rate, beside what ``finetune`` says.

    Returns
    -------
    tuple of FinetuneOption
        The strategy first (:class:`Full` where none is named), then the others; empty where both
        are None.

    Raises
    ------
    ValueError
        An unknown name, or options that exclude each other.
    TypeError
        Something else than names and options, or parameters that the option does not have.

    Examples
    --------
    >>> from biot_bd.training.finetuning.recipes import resolve
    >>> resolve(["two-stage", "ema"], schedule="cosine")
    (TwoStage(), EMA(), Cosine())
    """
    if params and not isinstance(finetune, str):
        raise ValueError(
            f"{', '.join(f'finetune__{key}' for key in params)}: only a single finetune name takes parameters so, found "
            f"finetune={finetune!r}; give objects, e.g. finetune=Gradual(epochs_per_block=2)"
        )
    items = list(finetune) if isinstance(finetune, (list, tuple)) else [finetune]
    options = [] if finetune is None else [_option(item, params or {}) for item in items]
    found = resolve_schedule(schedule)
    if found is not None:
        options.append(found)
    if not options:
        return ()
    _check_together(options)
    strategies = [option for option in options if isinstance(option, Strategy)] or [Full()]
    return (*strategies, *(option for option in options if not isinstance(option, Strategy)))


def _option(item: Any, params: Mapping[str, Any]) -> FinetuneOption:
    if isinstance(item, str):
        if item not in OPTIONS:
            raise ValueError(f"finetune={item!r} is not known; there are {', '.join(OPTIONS)}")
        known = OPTIONS[item]._get_param_names()
        unknown = [name for name in params if name not in known]
        if unknown:
            raise TypeError(
                f"finetune__{unknown[0]}: {item!r} takes {', '.join(f'finetune__{name}' for name in known) or 'no parameters'}"
            )
        return OPTIONS[item](**params)
    if isinstance(item, type) and issubclass(item, FinetuneOption):
        return item()
    if not isinstance(item, FinetuneOption):
        raise TypeError(
            f"finetune takes names ({', '.join(OPTIONS)}), options of biot_bd.training.finetuning, or a list of both; "
            f"found {item!r}"
        )
    return item


def _check_together(options: list[FinetuneOption]) -> None:
    for kind, what in ((Strategy, "strategy (which parts train when)"), (Schedule, "schedule")):
        several = [type(option).__name__ for option in options if isinstance(option, kind)]
        if len(several) > 1:
            raise ValueError(f"finetune takes one {what}, found {' and '.join(several)}")
    names = [type(option).__name__ for option in options]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(f"finetune names {double[0]} twice")
