"""Random numbers of a batch that do not depend on how many processes share it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from biot_bd.training.resume import mixed_seed

_VALIDATION = 0x5EED
"""What the chance of validation begins with: the same in all runs, so that runs can be compared."""


class BatchRandom:
    """Random numbers for the windows of a batch, or of a process's part of it.

    All processes draw the same numbers for the whole batch and keep those of their own windows, so
    a batch on two processes hides what the same batch on one does.

    Parameters
    ----------
    seed : int
        Of this batch.
    n : int
        Windows of this process.
    start : int
        Place of the first of them in the whole batch.
    n_all : int, optional
        Windows of the whole batch; None: those of this process.
    device : device or str
        Where the numbers are wanted; they are drawn on the CPU, so they are the same everywhere.

    See Also
    --------
    biot_bd.pretraining.Objective : Is handed it.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import BatchRandom
    >>> whole = BatchRandom(3, n=4).uniform(5)
    >>> parts = [BatchRandom(3, n=2, start=start, n_all=4).uniform(5) for start in (0, 2)]
    >>> torch.equal(whole, torch.cat(parts))
    True
    """

    def __init__(
        self, seed: int, n: int, start: int = 0, n_all: int | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.n, self.start, self.n_all, self.device = n, start, n if n_all is None else n_all, torch.device(device)
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers in [0, 1) for each window, n windows times ``shape``."""
        return self._own(torch.rand(self.n_all, *shape, generator=self._generator))

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers for each window, n windows times ``shape``."""
        return self._own(torch.randn(self.n_all, *shape, generator=self._generator))

    def shared_uniform(self, *shape: int) -> Tensor:
        """Return numbers in [0, 1) that all windows and all processes share, of this shape."""
        return torch.rand(*shape, generator=self._generator).to(self.device)

    def _own(self, numbers: Tensor) -> Tensor:
        return numbers[self.start : self.start + self.n].to(self.device)


class PositionRandom(BatchRandom):
    """Random numbers that depend on where a window lies in its data, and on nothing else.

    Validation takes them: the same masks in every epoch and every run, whatever the size of a batch
    and however many processes share the windows.

    Parameters
    ----------
    start : int
        Place of the first window in its data.
    n : int
        Windows, one behind the other.
    device : device or str
        Where the numbers are wanted.

    See Also
    --------
    biot_bd.pretraining.BatchRandom : That of training.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining.batch_random import PositionRandom
    >>> whole = PositionRandom(0, n=4).uniform(5)
    >>> parts = [PositionRandom(start, n=2).uniform(5) for start in (0, 2)]
    >>> torch.equal(whole, torch.cat(parts))
    True
    """

    def __init__(self, start: int, n: int, device: torch.device | str = "cpu") -> None:
        super().__init__(mixed_seed(_VALIDATION), n, device=device)
        self._generators = [torch.Generator().manual_seed(mixed_seed(_VALIDATION, start + i, 1)) for i in range(n)]

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers in [0, 1) for each window, n windows times ``shape``."""
        return self._each(torch.rand, shape)

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers for each window, n windows times ``shape``."""
        return self._each(torch.randn, shape)

    def _each(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        return torch.stack([draw(shape, generator=generator) for generator in self._generators]).to(self.device)
