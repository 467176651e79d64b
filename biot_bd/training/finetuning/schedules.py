"""Rates by part, schedules by step, and weight decay without norms and biases.

All of them are factors on the classifier's ``lr``, so the ratios between parts stay what they are on any schedule.

References
----------
.. [1] Howard, J., Ruder, S. (2018). Universal Language Model Fine-tuning for Text Classification. ACL.
   (discriminative rates, gradual unfreezing)
.. [2] Bao, H. et al. (2022). BEiT: BERT Pre-Training of Image Transformers. ICLR. (layer-wise decay)
.. [3] Loshchilov, I., Hutter, F. (2017). SGDR: Stochastic Gradient Descent with Warm Restarts. ICLR. (cosine)
"""

from __future__ import annotations

import math
from typing import Any

from biot_bd.training.finetuning.base import Rate, Rule, Schedule, check_number


class LayerDecay(Rate):
    r"""Layer-wise learning-rate decay: a part at depth :math:`d` learns with :math:`\lambda^d` times the rate [2]_.

    Parameters
    ----------
    decay : float
        :math:`\lambda`, above 0, at most 1.  The head (depth 0) keeps the full rate, BIOT's embedding has depth
        ``num_layers + 1``.  0.65 is what LaBraM and EEGPT use.
    """

    def __init__(self, decay: float = 0.65) -> None:
        self.decay = decay

    def check(self, net: Any) -> None:
        """Raise ``ValueError`` unless ``decay`` is above 0 and at most 1."""
        check_number(self, "decay", 1e-12, 1.0)

    def factor(self, depth: int, n_blocks: int) -> float:
        """Return ``decay ** depth``."""
        return float(self.decay**depth)


class Discriminative(Rate):
    """Two learning rates: the head at ``lr``, everything else at a part of it [1]_.

    Parameters
    ----------
    encoder : float
        Factor on the rate of all blocks.
    """

    def __init__(self, encoder: float = 0.1) -> None:
        self.encoder = encoder

    def check(self, net: Any) -> None:
        """Raise ``ValueError`` for a negative factor."""
        check_number(self, "encoder", 0.0)

    def factor(self, depth: int, n_blocks: int) -> float:
        """Return 1 for the head and ``encoder`` for the blocks."""
        return 1.0 if depth == 0 else float(self.encoder)


class WarmUp(Schedule):
    """Rates that rise linearly over the first epochs and stay.

    Parameters
    ----------
    epochs : float
        Length of the rise; parts of epochs count.
    start : float
        Factor that the rise starts from, 0 to 1.
    """

    def __init__(self, epochs: float = 1.0, start: float = 0.0) -> None:
        self.epochs = epochs
        self.start = start

    def check(self, net: Any) -> None:
        """Raise ``ValueError`` for a negative length or a start outside 0 to 1."""
        check_number(self, "epochs", 0.0)
        check_number(self, "start", 0.0, 1.0)

    def factor(self, progress: float, total: float) -> float:
        """Return ``start + (1 - start) * min(1, progress / epochs)``."""
        return _rise(progress, float(self.epochs), float(self.start))


class Cosine(Schedule):
    """A linear rise over the first epochs, then half a cosine down to the last of ``max_epochs`` [3]_.

    Parameters
    ----------
    warmup_epochs : float
        Length of the rise; parts of epochs count.
    final : float
        Factor at the end, 0 to 1: 0.01 for a cosine from 1e-4 to 1e-6.
    start : float
        Factor that the rise starts from, 0 to 1.
    """

    def __init__(self, warmup_epochs: float = 0.0, final: float = 0.01, start: float = 0.0) -> None:
        self.warmup_epochs = warmup_epochs
        self.final = final
        self.start = start

    def check(self, net: Any) -> None:
        """Raise ``ValueError`` if the rise takes all of ``max_epochs``, or a factor is outside 0 to 1."""
        check_number(self, "warmup_epochs", 0.0)
        check_number(self, "final", 0.0, 1.0)
        check_number(self, "start", 0.0, 1.0)
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


class NoDecay(Rule):
    """Weight decay on matrices only: not on biases, norms, channel tokens and positions."""


def _rise(progress: float, epochs: float, start: float) -> float:
    return start + (1.0 - start) * min(1.0, progress / epochs) if epochs else 1.0
