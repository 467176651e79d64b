"""A warning when a model gives all windows the same embedding."""

from __future__ import annotations

import warnings
from typing import Any

from skorch.callbacks import Callback

from biot_bd.training.object_texts import ParametersRepr

KEY = "embedding_std"


class CollapseWarning(ParametersRepr, Callback):
    """Warn, once, when embeddings stop to differ between windows.

    It reads what an objective logs as ``embedding_std``: the spread of normalised embeddings over
    windows, 0 where all are the same and 1 where they point evenly into all directions.

    Parameters
    ----------
    floor : float
        Spread below which embeddings have collapsed.
    share : float
        So have they below this share of the first epoch's spread.

    See Also
    --------
    biot_bd.Pretrainer : Has it without being told.

    Examples
    --------
    >>> from biot_bd.pretraining.collapse import CollapseWarning
    >>> CollapseWarning(floor=0.05).get_params()
    {'floor': 0.05, 'share': 0.02}
    """

    def __init__(self, floor: float = 0.01, share: float = 0.02) -> None:
        self.floor = floor
        self.share = share

    def initialize(self) -> CollapseWarning:
        """Forget what was said."""
        self.told_ = False
        return self

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Look at the epoch's spread."""
        first, last = net.history[0], net.history[-1]
        for key, now in last.items():
            if self.told_ or not key.endswith(KEY) or not isinstance(now, float):
                continue
            least = max(self.floor, self.share * first.get(key, 0.0))
            if now < least:
                self.told_ = True
                warnings.warn(
                    f"{key} is {now:.2g} after epoch {len(net.history)} (first epoch: {first.get(key, now):.2g}, floor: "
                    f"{least:.2g}): all windows get nearly the same embedding; lower lr, take larger batches or another "
                    "objective",
                    stacklevel=2,
                )
