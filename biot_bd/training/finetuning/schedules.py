"""Learning-rate schedules: factors on the classifier's ``lr`` that change while it trains.

``BIOTClassifier(schedule=...)`` takes one, a fine-tuning recipe may hold one, and protocols say
theirs so.  They multiply with the rates by part and by stage of a recipe, so the ratios between
parts stay what they are on any schedule.
"""

from __future__ import annotations

import math
from typing import Any

from biot_bd.training.finetuning.base import FinetuneOption


class Schedule(FinetuneOption):
    """A factor on all learning rates that changes with every step, or with every epoch.

    See Also
    --------
    WarmUp, Cosine : Those that have names.
    Rate : Factors that stay, by part.

    Examples
    --------
    >>> from biot_bd.training.finetuning import Schedule
    >>> class Linear(Schedule):
    ...     def factor(self, progress, total):
    ...         return 1.0 - progress / total
    >>> [Linear().factor(epoch, total=4) for epoch in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """

    by_epoch = False
    """Whether the factor stays what it is throughout an epoch."""

    def factor(self, progress: float, total: float) -> float:
        """Return the factor after ``progress`` epochs (with the part of the running one) out of
        ``total``.

        With ``by_epoch`` only epochs that have ended count.
        """
        raise NotImplementedError


class WarmUp(Schedule):
    """Rates that rise linearly over the first epochs and stay.

    Parameters
    ----------
    epochs : float
        Length of the rise; parts of epochs count.
    start : float
        Factor that the rise starts from, 0 to 1.

    See Also
    --------
    Cosine : Falls again after the rise.
    biot_bd.BIOTClassifier : Takes it as ``schedule``.

    Examples
    --------
    >>> from biot_bd.training.finetuning import WarmUp
    >>> WarmUp(2.0).factor(0.5, 10), WarmUp(2.0).factor(3.0, 10)
    (0.25, 1.0)
    """

    limits = {"epochs": (0.0, math.inf), "start": (0.0, 1.0)}

    def __init__(self, epochs: float = 1.0, start: float = 0.0) -> None:
        self.epochs = epochs
        self.start = start

    def factor(self, progress: float, total: float) -> float:
        """Return ``start + (1 - start) * min(1, progress / epochs)``."""
        return _rise(progress, float(self.epochs), float(self.start))


class Cosine(Schedule):
    """A linear rise over the first epochs, then half a cosine down to the last of ``max_epochs``.

    Parameters
    ----------
    warmup_epochs : float
        Length of the rise; parts of epochs count.
    final : float
        Factor at the end, 0 to 1: 0.01 for a cosine from 1e-4 to 1e-6.
    start : float
        Factor that the rise starts from, 0 to 1.
    by_epoch : bool
        Whether the rate changes from epoch to epoch (as torch's ``CosineAnnealingLR`` does where it
        is stepped so), rather than with every step.

    See Also
    --------
    WarmUp : The rise alone.
    biot_bd.BIOTClassifier : Takes it as ``schedule``.

    References
    ----------
    .. [1] Loshchilov, I., Hutter, F. (2017). SGDR: Stochastic Gradient Descent with Warm
           Restarts. ICLR.

    Examples
    --------
    >>> from biot_bd.training.finetuning import Cosine
    >>> [round(Cosine(final=0.0).factor(epoch, 4), 3) for epoch in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """

    limits = {"warmup_epochs": (0.0, math.inf), "final": (0.0, 1.0), "start": (0.0, 1.0)}

    def __init__(
        self, warmup_epochs: float = 0.0, final: float = 0.01, start: float = 0.0, by_epoch: bool = False
    ) -> None:
        self.warmup_epochs = warmup_epochs
        self.final = final
        self.start = start
        self.by_epoch = by_epoch

    def check(self, net: Any) -> None:
        """Raise ``ValueError`` if the rise takes all of ``max_epochs``, or a factor is outside 0
        to 1.
        """
        super().check(net)
        if self.warmup_epochs >= net.max_epochs:
            raise ValueError(
                f"Cosine: warmup_epochs={self.warmup_epochs} takes all of max_epochs={net.max_epochs}; "
                "use fewer, or WarmUp"
            )

    def factor(self, progress: float, total: float) -> float:
        """Return the factor after ``progress`` of ``total`` epochs."""
        rise = float(self.warmup_epochs)
        if progress < rise:
            return _rise(progress, rise, float(self.start))
        done = min(1.0, (progress - rise) / (total - rise)) if total > rise else 1.0
        return float(self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done)))


SCHEDULES: dict[str, type[Schedule]] = {"warm-up": WarmUp, "cosine": Cosine}
"""What ``schedule`` takes by name."""


def resolve_schedule(schedule: Any) -> Schedule | None:
    """Return the object that a ``schedule`` parameter stands for.

    Parameters
    ----------
    schedule : None, str or Schedule
        A name in :data:`SCHEDULES`, or an object.

    Raises
    ------
    ValueError
        An unknown name, or something else.

    Examples
    --------
    >>> from biot_bd.training.finetuning.schedules import resolve_schedule
    >>> resolve_schedule("warm-up").factor(0.5, 10)
    0.5
    """
    if isinstance(schedule, str) and schedule in SCHEDULES:
        return SCHEDULES[schedule]()
    if schedule is None or isinstance(schedule, Schedule):
        return schedule
    raise ValueError(
        f"schedule must be None, a name ({', '.join(SCHEDULES)}) or an object such as Cosine(), found {schedule!r}"
    )


def _rise(progress: float, epochs: float, start: float) -> float:
    return start + (1.0 - start) * min(1.0, progress / epochs) if epochs else 1.0
