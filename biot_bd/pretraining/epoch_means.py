"""Means over an epoch of what batches tell, weighted by their windows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from biot_bd.training.net.processes import Processes

_WINDOWS = "n windows"  # no key of an objective has a space


class EpochMeans:
    """Add up what batches tell.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining.epoch_means import EpochMeans
    >>> means = EpochMeans()
    >>> means.add({"loss": torch.tensor(1.0)}, n=3)
    >>> means.add({"loss": torch.tensor(5.0)}, n=1)
    >>> float(means.means()["loss"])
    2.0
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._n = 0

    def add(self, told: Mapping[str, Tensor], n: int) -> None:
        """Add a batch of ``n`` windows: means over them."""
        self._n += n
        for key, value in told.items():
            share = value.detach().double() * n
            self._sums[key] = self._sums[key] + share if key in self._sums else share

    def means(self, processes: Processes | None = None) -> dict[str, Tensor]:
        """Return the means over all windows, float64; those of all processes, where given.

        Empty where there was no window.
        """
        sums = {**self._sums, _WINDOWS: torch.tensor(self._n, dtype=torch.float64)}
        if processes is not None:
            sums = processes.total(sums)
        n = float(sums.pop(_WINDOWS))
        return {key: total / n for key, total in sums.items()} if n else {}
