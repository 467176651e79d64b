"""Threads of torch in processes that were started for a part of the work.

A worker of joblib gets fewer threads than the process that started it, and another number of
threads adds floats in another order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(n: int | None) -> Iterator[None]:
    """Let torch use ``n`` threads in the block; as many as before where None."""
    before = torch.get_num_threads()
    if n is None or n == before:
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class ThreadsOfOrigin:
    """How many threads torch had where a classifier was cloned.

    A search clones in its own process and fits in others; these then compute as it would itself.
    """

    def __init__(self) -> None:
        self.process, self.threads = os.getpid(), torch.get_num_threads()

    def here(self) -> int | None:
        """Return the threads to use in this process: those of its parent, else None."""
        return self.threads if os.getppid() == self.process else None
