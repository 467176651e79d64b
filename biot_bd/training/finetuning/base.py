"""What a fine-tuning recipe is made of: which parts train when, and at which rate.

The classes here are the interfaces; :mod:`biot_bd.training.finetuning.recipes` has what can be
used by name.  An option holds plain parameters only (no modules, no state), so it can be cloned,
saved as JSON and put into a grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from sklearn.base import BaseEstimator
from torch import nn


class FinetuneOption(BaseEstimator):
    """One entry of a recipe: a strategy, rates by part, a schedule, softer targets, ...

    See Also
    --------
    Strategy, Rate, Schedule : The kinds of options.
    biot_bd.BIOTClassifier : Takes one, or a list of them, as ``finetune``.

    Examples
    --------
    >>> from biot_bd import BIOTClassifier
    >>> from biot_bd.training.finetuning import EMA, FinetuneOption
    >>> isinstance(EMA(), FinetuneOption), EMA(decay=0.9).get_params()
    (True, {'decay': 0.9, 'warm_up': True})
    >>> EMA(decay=2.0).check(BIOTClassifier())
    Traceback (most recent call last):
        ...
    ValueError: EMA: decay must be a number from 0 to 1, found 2.0
    """

    needs_parts = False
    """Whether the model must be split into head and blocks."""
    limits: Mapping[str, tuple[float, float]] = {}
    """Lowest and highest value of each parameter that is a number.

    A whole number where the lowest is an ``int``.
    """

    def check(self, net: Any) -> None:
        """Raise if a parameter is out of range or does not fit the classifier.

        Called before every fit.

        Raises
        ------
        ValueError
            Names the option, the parameter, the limits and what was found.
        """
        for name, (low, high) in self.limits.items():
            value, whole = getattr(self, name), isinstance(low, int)
            kind = Integral if whole else Real
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= float(value) <= high:
                within = f"of {low:g} or more" if high == math.inf else f"from {low:g} to {high:g}"
                what = "a whole number" if whole else "a number"
                raise ValueError(f"{type(self).__name__}: {name} must be {what} {within}, found {value!r}")


class Strategy(FinetuneOption):
    """Which parts train in which epoch; a recipe has one.

    Parts that do not train are frozen: out of the optimizer, without gradient, in eval mode.

    See Also
    --------
    Full, LinearProbe, Gradual, TwoStage, LoRA : Those that have names.
    Rate : Which rates the parts train at.

    Examples
    --------
    >>> from biot_bd import BIOTClassifier
    >>> from biot_bd.training.finetuning import Strategy
    >>> class LastBlock(Strategy):
    ...     needs_parts = True
    ...     thaws_all = False
    ...
    ...     def n_thawed(self, epoch, n_blocks):
    ...         return 1
    >>> BIOTClassifier(finetune=[LastBlock(), "cosine"]).finetune
    [LastBlock(), 'cosine']
    """

    changes = False
    """Whether parts thaw, or all rates change, while training."""
    thaws_all = True
    """Whether the whole model trains in the end."""

    def n_thawed(self, epoch: int, n_blocks: int) -> int:
        """Return how many blocks, counted from the last one, train in ``epoch`` (1, 2, ...)
        beside the head.
        """
        return n_blocks

    def rate(self, epoch: int) -> float:
        """Return the factor on all learning rates in ``epoch``."""
        return 1.0

    def prepare(self, module: nn.Module) -> bool:
        """Change a module before training; return whether anything was changed."""
        return False

    def finish(self, module: nn.Module) -> None:
        """Undo in form what ``prepare`` did, when training has ended."""

    def trains(self, name: str, in_head: bool) -> bool:
        """Return whether a parameter of a part that is not frozen is trained."""
        return True

    def after_gradient(self, module: nn.Module) -> None:
        """Add to the gradients of a step, before the optimizer takes it."""

    def after_step(self, module: nn.Module, step: int, n_steps: int) -> None:
        """Change weights after step 1, 2, ... ``n_steps``, while gradients are still there."""

    def decays(self, name: str) -> bool:
        """Return whether weight decay may reach a parameter, where the optimizer has any."""
        return True


class Rate(FinetuneOption):
    """Fixed factors on the learning rates of the parts.

    See Also
    --------
    LayerDecay, Discriminative : Those that have names.
    Schedule : Factors that change while training.

    Examples
    --------
    >>> from biot_bd.training.finetuning import Rate
    >>> class FastHead(Rate):
    ...     def factor(self, depth, n_blocks):
    ...         return 10.0 if depth == 0 else 1.0
    >>> [FastHead().factor(depth, n_blocks=2) for depth in range(3)]
    [10.0, 1.0, 1.0]
    """

    needs_parts = True

    def factor(self, depth: int, n_blocks: int) -> float:
        """Return the factor of a part.

        Depth 0 is the head, 1 the last block, ``n_blocks`` the first one.
        """
        raise NotImplementedError
