"""Means over an epoch of what batches tell, weighted by their windows."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


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

    def means(self) -> dict[str, Tensor]:
        """Return the means over all windows, float64."""
        return {key: total / self._n for key, total in self._sums.items()}
