"""Controls: maps that know nothing of the model.

A probe that points to evidence no better than these has shown nothing: the energy of the signal
alone "finds" most seizures.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.base import Probe
from biot_bd.probes.question import as_array


class _Control(Probe):
    """Base of the probes that ask no model: one value a sample."""

    control = True
    needs: frozenset[str] = frozenset()
    _name: ClassVar[str]
    _unit: ClassVar[str]

    def __call__(self, model: nn.Module, x: Tensor, target: int | Sequence[int] | Tensor | None = None) -> TokenMap:
        """Give values that know nothing of the model.

        Parameters
        ----------
        model : torch.nn.Module
            Not run; it may know the names of channels and the sampling frequency.
        x : Tensor of float, shape (n, n_chans, n_times)
            Windows; absent channels NaN.
        target : optional
            Not used.

        Returns
        -------
        TokenMap

        Raises
        ------
        ValueError
            The input is wrong.
        """
        self.check_input(model, x)
        return TokenMap(self._values(x), self.layout_by_sample(model, x), probe=self._name, unit=self._unit)

    @abstractmethod
    def _values(self, x: Tensor) -> NDArray[Any]:
        """Return values by sample, shape (n, n_chans, n_times)."""


class EnergyProbe(_Control):
    """Energy of the signal by sample, around each channel's mean; no model at all.

    See Also
    --------
    RandomProbe : The other control.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.probes import EnergyProbe
    >>> x = torch.tensor([[[1.0, -1.0], [3.0, -3.0]]])
    >>> EnergyProbe()(torch.nn.Identity().eval(), x).by_channel().tolist()
    [[2.0, 18.0]]
    """

    _name = "energy"
    _unit = "squared signal"
    title = "how strong the signal is (a control: no model)"

    def _values(self, x: Tensor) -> NDArray[Any]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return as_array((wide - wide.mean(dim=-1, keepdim=True)).square())


class RandomProbe(_Control):
    """Random numbers by sample, between 0 and 1; no model at all.

    They depend on the seed and on what a channel holds, so that the same window gets the same
    numbers in whatever company.

    Parameters
    ----------
    random_state : int
        The seed, 0 or more.

    See Also
    --------
    EnergyProbe : The other control.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.probes import RandomProbe
    >>> x, model = torch.randn(2, 3, 100), torch.nn.Identity().eval()
    >>> found = RandomProbe()(model, x)
    >>> bool((found.values[1] == RandomProbe()(model, x[1:]).values[0]).all())
    True
    """

    _name = "random"
    _unit = "random number"
    title = "random numbers (a control: no model)"

    def __init__(self, random_state: int = 0) -> None:
        self.random_state = random_state

    def _values(self, x: Tensor) -> NDArray[Any]:
        signals = as_array(x)
        values = np.full(signals.shape, np.nan, dtype=np.float32)
        for window, channel in np.argwhere(~np.isnan(signals).all(axis=-1)):
            seed = [self.random_state, zlib.crc32(signals[window, channel].tobytes())]
            values[window, channel] = np.random.default_rng(seed).random(signals.shape[-1], np.float32)
        return values
