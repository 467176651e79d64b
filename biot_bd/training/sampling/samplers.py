"""Epochs of training windows: torch samplers that say how many windows of each class they give."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler, WeightedRandomSampler

MOST_WEIGHTS = 2**24
"""``torch.multinomial`` takes no more categories."""


class WeightedEpochs(WeightedRandomSampler):
    """Draw windows with replacement, each with a probability of its own.

    Parameters
    ----------
    probabilities : ndarray, shape (n,)
        Of each training window at every draw; they sum to 1.
    epoch_size : int
        Draws an epoch.
    y : ndarray of int, shape (n,)
        Targets.
    n_classes : int

    Attributes
    ----------
    class_counts : ndarray, shape (n_classes,)
        Expected number of windows of each class in an epoch.

    Raises
    ------
    ValueError
        More windows than ``torch.multinomial`` can draw from.
    """

    def __init__(
        self, probabilities: NDArray[np.float64], epoch_size: int, y: NDArray[np.int64], n_classes: int
    ) -> None:
        if len(y) > MOST_WEIGHTS:
            raise ValueError(
                f"torch draws from at most {MOST_WEIGHTS} weighted windows, found {len(y)}; "
                "use sampler='background-subsample', which has no limit, or a longer stride"
            )
        super().__init__(torch.from_numpy(probabilities), epoch_size, replacement=True)  # type: ignore[arg-type]
        self.class_counts = epoch_size * np.bincount(y, weights=probabilities, minlength=n_classes)


class BackgroundEpochs(Sampler[int]):
    """All windows of the other classes and a fresh subsample of background, in random order.

    Parameters
    ----------
    kept : ndarray of int
        Positions that every epoch holds.
    background : list of ndarray of int
        Positions of background windows, one array a stratum (a subject, or all).
    n_background : int
        Background windows an epoch, at most as many as there are; shared equally among the strata, and what one
        stratum lacks goes to the others.  None is drawn twice in an epoch.
    y : ndarray of int, shape (n,)
        Targets.
    n_classes : int

    Attributes
    ----------
    class_counts : ndarray, shape (n_classes,)
        Number of windows of each class in every epoch.
    level, remainder : int
        Each stratum gives ``min(size, level)`` windows, and ``remainder`` of those that hold more, chosen by chance
        in each epoch, give one more.
    """

    def __init__(
        self,
        kept: NDArray[np.int64],
        background: list[NDArray[np.int64]],
        n_background: int,
        y: NDArray[np.int64],
        n_classes: int,
    ) -> None:
        self.kept = torch.from_numpy(kept)
        self.background = [torch.from_numpy(stratum) for stratum in background]
        sizes = np.array([len(stratum) for stratum in background])
        self.level, self.remainder = _equal_shares(sizes, n_background)
        self.larger = torch.from_numpy(np.flatnonzero(sizes > self.level))
        self.n_background = n_background
        self.class_counts = np.bincount(y[kept], minlength=n_classes).astype(float)
        self.class_counts[y[background[0][0]]] = n_background

    def __len__(self) -> int:
        return len(self.kept) + self.n_background

    def __iter__(self) -> Iterator[int]:
        extra = set(self.larger[torch.randperm(len(self.larger))[: self.remainder]].tolist())
        drawn = [
            stratum[torch.randperm(len(stratum))[: self.level + (number in extra)]]
            for number, stratum in enumerate(self.background)
        ]
        epoch = torch.cat([self.kept, *drawn])
        yield from epoch[torch.randperm(len(epoch))].tolist()


def _equal_shares(sizes: NDArray[np.int64], wanted: int) -> tuple[int, int]:
    """Return the largest level with ``sum(min(size, level)) <= wanted``, and what is left of ``wanted``."""
    level, rest = 0, wanted
    open_strata = len(sizes)
    for size in np.sort(sizes).tolist():
        step = min(size - level, rest // open_strata)
        level += step
        rest -= step * open_strata
        if level < size:
            break
        open_strata -= 1
    return level, rest
