"""Batches of all processes together, and the part of them that is this process's."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

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


def part_lengths(n_windows: int, n: int) -> list[int]:
    """Return how many windows of a batch each of ``n`` processes has; the first ones have one more.

    Examples
    --------
    >>> from biot_bd.training.net.shares import part_lengths
    >>> part_lengths(7, 3), part_lengths(1, 2)
    ([3, 2, 2], [1, 0])
    """
    cuts = [math.ceil(n_windows * rank / n) for rank in range(n + 1)]
    return [stop - start for start, stop in pairwise(cuts)]


class BatchParts(Sampler[list[int]]):
    """The part of one process of every batch, for losses that are taken over all parts.

    Parameters
    ----------
    batches : iterable of list of int
        With ``len``; the same in every process.
    rank, n : int
        Number of this process, and how many there are.

    Attributes
    ----------
    places : deque of Place
        Of the batches that were given out, to be taken by whoever reads them.

    See Also
    --------
    OwnBatches : Cuts batches in training only, and refuses those that are too small.

    Notes
    -----
    Where a batch has fewer windows than there are processes, a process without a part is given its
    first window, as a module must run on something; ``Place.n`` is 0 then.

    Examples
    --------
    >>> from biot_bd.training.net.shares import BatchParts
    >>> whole = [[0, 1, 2], [3]]
    >>> parts = [BatchParts(whole, rank, 2) for rank in (0, 1)]
    >>> [list(part) for part in parts], parts[1].places[1].n
    ([[[0, 1], [3]], [[2], [3]]], 0)
    """

    def __init__(self, batches: Iterable[list[int]], rank: int, n: int) -> None:
        self.batches, self.rank, self.n = batches, rank, n
        self.places: deque[Place] = deque()

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[int]]:
        self.places.clear()
        for number, batch in enumerate(self.batches):
            lengths = part_lengths(len(batch), self.n)
            start, length = sum(lengths[: self.rank]), lengths[self.rank]
            self.places.append(Place(number, start, length, len(batch)))
            yield batch[start : start + length] or batch[:1]


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
    >>> from biot_bd.training.net.shares import OwnBatches
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
                lengths = part_lengths(len(batch), self.n)
                start, length = sum(lengths[: self.rank]), lengths[self.rank]
                if len(batch) < self.n:
                    raise ValueError(
                        f"a batch of {len(batch)} windows cannot be shared by {self.n} processes; take a larger "
                        "batch_size, or iterator_train__drop_last=True"
                    )
                self.places.append(Place(number, start, length, len(batch)))
                yield batch[start : start + length]
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
