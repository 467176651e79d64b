"""Shuffling that reads a store larger than the memory a few regions at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from biot_bd.windows.windows import Windows

BYTES_A_BUFFER = 1 << 30
"""Signals of a buffer, by default; less where a quarter of the memory is less."""


class PageShuffle(Sampler[int]):
    """Every window once an epoch, neighbours in a file soon after each other.

    Windows are sorted by where they lie and cut into blocks of neighbours, from another start in
    each epoch.  The blocks are shuffled, some of them at a time make a buffer, and the windows of a
    buffer are shuffled.  While one buffer is given out, the system is asked to read the next into
    its page cache.

    Parameters
    ----------
    windows : Windows
        What is read.
    block_windows : int
        Neighbours that stay together.  Longer blocks read in longer pieces; shorter ones mix
        better.
    buffer_windows : int, optional
        Windows a buffer; by default as many as take 1 GiB in the store or a quarter of the memory,
        and at least 16 blocks.
    positions : array-like of int, shape (n,), optional
        Give out positions in this selection of ``windows``, such as the indices of a ``Subset``; of
        all by default.
    seed : int, optional
        Epoch ``epoch`` is that of ``(seed, epoch)``.  None draws from torch's global generator,
        which ``fit`` seeds and restart points store.

    read_ahead : bool
        Whether the system is asked to read the next buffer; in vain where the windows lie on a
        device already.

    Attributes
    ----------
    epoch : int
        Number of the next epoch; set it to go on where a run was stopped.

    Raises
    ------
    ValueError
        Sizes below 1.

    See Also
    --------
    biot_bd.BIOTClassifier : Takes it as ``sampler="page-shuffle"``.

    Notes
    -----
    The place of a window in an epoch is uniform.  What is not: two windows of one block fall into
    one buffer, so a batch of b windows holds on average ``b (b - 1) / 2 * (k - 1) / (m - 1)`` pairs
    of one block, with k windows a block and m a buffer, where a perfect shuffle of n windows has m
    replaced by n.

    Examples
    --------
    >>> from biot_bd import load_dataset, prepare
    >>> from biot_bd.windows import PageShuffle
    >>> recordings = load_dataset("demo", "demo", n_subjects=1, recordings=1, minutes=2)
    >>> windows = prepare(recordings, "store")
    >>> order = list(PageShuffle(windows, block_windows=4, seed=0))
    >>> sorted(order) == list(range(len(windows)))
    True
    """

    def __init__(
        self,
        windows: Windows,
        block_windows: int = 64,
        buffer_windows: int | None = None,
        positions: Any = None,
        seed: int | None = None,
        read_ahead: bool = True,
    ) -> None:
        if block_windows < 1 or (buffer_windows is not None and buffer_windows < 1):
            raise ValueError(
                f"block_windows and buffer_windows must be at least 1, found {block_windows} and {buffer_windows}"
            )
        self.windows = windows
        self.block_windows = block_windows
        if buffer_windows is None:
            room = min(BYTES_A_BUFFER, (memory_limit() or 4 * BYTES_A_BUFFER) // 4)
            buffer_windows = max(room // windows.window_bytes, 16 * block_windows)
        self.buffer_windows = buffer_windows
        self.seed = seed
        self.read_ahead = read_ahead
        self.epoch = 0
        self.chosen = np.arange(len(windows)) if positions is None else np.asarray(positions, np.int64)
        self.order = np.argsort(windows.places[self.chosen], kind="stable")

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        generator = None
        if self.seed is not None:
            state = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
        self.epoch += 1
        # All random numbers of the epoch are drawn at its start, so that a restart point between
        # epochs holds.
        mixed = [_mixed(buffer, generator) for buffer in self._buffers(generator)]
        for buffer, following in zip_longest(mixed, mixed[1:]):
            if following is not None and self.read_ahead:
                self.windows.will_need(self.chosen[following])
            yield from buffer.tolist()

    def _buffers(self, generator: torch.Generator | None) -> list[NDArray[np.int64]]:
        """Return the positions of each buffer, blocks in random order."""
        n, size = len(self.order), self.block_windows
        if n == 0:
            return []
        shift = int(torch.randint(size, (1,), generator=generator))
        blocks = np.split(self.order, np.arange(shift or size, n, size))
        shuffled = np.concatenate([blocks[i] for i in _mixed(np.arange(len(blocks)), generator)])
        # Cut evenly, so that the last buffer mixes as well as the others.
        return np.array_split(shuffled, -(-n // self.buffer_windows))


def _mixed(values: NDArray[np.int64], generator: torch.Generator | None) -> NDArray[np.int64]:
    return values[torch.randperm(len(values), generator=generator).numpy()]


def memory_limit() -> int | None:
    """Return the bytes of memory of this machine, or what its container may take.

    None where nobody says.
    """
    found = []
    with suppress(AttributeError, ValueError):  # os.sysconf is not everywhere
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError):  # no such file, or it says "max"
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)


def beyond_memory(windows: Any) -> bool:
    """Return whether windows lie in files that are larger than the memory.

    All of it, not what is free now: a fit that is repeated or restarted must take the same order.
    """
    memory = memory_limit()
    return isinstance(windows, Windows) and memory is not None and windows.nbytes > memory
