"""The processes that share a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn


class Processes:
    """The processes that share a training: this one alone.

    Attributes
    ----------
    rank, n : int
        Number of this process, and how many there are.
    device : str or None
        Where this one computes if nobody says; None: it has no say.

    Examples
    --------
    >>> from biot_bd.training.net.processes import Processes
    >>> Processes().n, Processes().is_main
    (1, True)
    """

    rank: int = 0
    n: int = 1
    device: str | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and tells how it goes."""
        return self.rank == 0

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return what a training step calls: the module with gradients averaged over processes."""
        return module

    def total(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return sums over all processes; those that a process lacks count as nothing."""
        return dict(sums)

    def agreed(self, value: Any) -> Any:
        """Return the main process's value in all."""
        return value

    def gathered(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank."""
        return [value]

    def joined(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the rows of all processes in the order of ranks, without gradient.

        Parameters
        ----------
        x : Tensor, shape (lengths[rank], ...)
            Rows of this process.
        lengths : sequence of int
            Rows of each process.
        """
        return x

    def share_weights(self, module: nn.Module) -> None:
        """Give the module of every process the weights and buffers of the main one."""

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make each gradient the sum over processes; what none has a gradient of has none after."""

    def wait(self) -> None:
        """Wait until all processes are here."""
