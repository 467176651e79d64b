"""Batches of all processes together, and the part of them that is this process's."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch.utils.data import Sampler

from biot_bd.training.resume import seeded


@dataclass(frozen=True)
class Place:
    """Where a process's part of a batch lies.

    Parameters
    ----------
    batch : int
        Number of the batch in its epoch, from 0.
    start : int
        Windows of the batch before the part; in validation, windows of all batches before.
    n : int
        Windows of the part.
    n_all : int
        Windows of the whole batch.
    """

    batch: int
    start: int
    n: int
    n_all: int


class OwnBatches(Sampler[list[int]]):
    """The part of one process of batches that all draw alike.

    Parameters
    ----------
    batches : iterable of list of int
        With ``len``.  Draws its random numbers of an epoch from torch's global generator before it
        gives out the first batch.
    rank, n : int
        Number of this process, and how many there are.
    training : bool
        In training every batch is cut into slices, one a process; in validation whole batches are
        dealt out in turns, so that a loss across windows is that of one process.

    Attributes
    ----------
    seed : int or None
        Of the coming epoch; None draws from the generator as it is.
    places : deque of Place
        Of the batches that were given out, to be taken by whoever reads them.

    Raises
    ------
    ValueError
        While iterating: a training batch has fewer windows than there are processes.

    Examples
    --------
    >>> from biot_bd.pretraining.shares import OwnBatches
    >>> whole = [[0, 1, 2, 3], [4, 5, 6]]
    >>> [list(OwnBatches(whole, rank, 2, training=True)) for rank in (0, 1)]
    [[[0, 1], [4, 5]], [[2, 3], [6]]]
    >>> [list(OwnBatches(whole, rank, 2, training=False)) for rank in (0, 1)]
    [[[0, 1, 2, 3]], [[4, 5, 6]]]
    """

    def __init__(self, batches: Iterable[list[int]], rank: int = 0, n: int = 1, training: bool = True) -> None:
        self.batches, self.rank, self.n, self.training = batches, rank, n, training
        self.seed: int | None = None
        self.places: deque[Place] = deque()

    def __len__(self) -> int:
        n_batches = len(self.batches)  # type: ignore[arg-type]
        return n_batches if self.training else len(range(self.rank, n_batches, self.n))

    def __iter__(self) -> Iterator[list[int]]:
        self.places.clear()
        n_before = 0
        for number, batch in enumerate(self._drawn()):
            if self.training:
                start, stop = (math.ceil(len(batch) * r / self.n) for r in (self.rank, self.rank + 1))
                if len(batch) < self.n:
                    raise ValueError(
                        f"a batch of {len(batch)} windows cannot be shared by {self.n} processes; take a larger "
                        "batch_size, or iterator_train__drop_last=True"
                    )
                self.places.append(Place(number, start, stop - start, len(batch)))
                yield batch[start:stop]
            elif number % self.n == self.rank:
                self.places.append(Place(number, n_before, len(batch), len(batch)))
                yield batch
            n_before += len(batch)

    def _drawn(self) -> Iterator[list[int]]:
        with seeded(self.seed):
            batches = iter(self.batches)
            first = next(batches, None)
        if first is not None:
            yield first
            yield from batches
