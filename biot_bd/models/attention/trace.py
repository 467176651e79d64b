"""What a recording of attention keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from biot_bd.models.attention.attention_maps import AttentionMaps
from biot_bd.models.attention.attention_record import AttentionRecord


@dataclass
class AttentionTrace:
    """What :func:`record_attention` saw, in the order of the calls.

    Parameters
    ----------
    records : list of AttentionRecord
        One a call of a layer; the trace itself can be indexed and has a length.

    See Also
    --------
    record_attention : Yields one.
    AttentionMaps : The maps, one for each attention module.

    Examples
    --------
    >>> from biot_bd.models import AttentionTrace
    >>> len(AttentionTrace())
    0
    """

    records: list[AttentionRecord] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[AttentionRecord]:
        return iter(self.records)

    def __getitem__(self, number: int) -> AttentionRecord:
        return self.records[number]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the recorded layers, in the order of their first call."""
        return tuple(dict.fromkeys(record.layer for record in self.records))

    @property
    def passes(self) -> tuple[AttentionMaps, ...]:
        """The maps of each forward pass."""
        numbers = dict.fromkeys(record.pass_number for record in self.records)
        return tuple(
            AttentionMaps([record for record in self.records if record.pass_number == number]) for number in numbers
        )

    @property
    def maps(self) -> AttentionMaps:
        """The maps of the latest forward pass, one for each attention module.

        Raises
        ------
        ValueError
            Nothing was recorded.
        """
        if not self.records:
            raise ValueError("nothing was recorded: run the model inside the with block")
        return self.passes[-1]

    @property
    def early(self) -> Tensor:
        """The map of an early layer of the latest pass (see :func:`early_middle_late`)."""
        return self.maps.of_role("early")

    @property
    def middle(self) -> Tensor:
        """The map of a middle layer of the latest pass."""
        return self.maps.of_role("middle")

    @property
    def late(self) -> Tensor:
        """The map of a late layer of the latest pass."""
        return self.maps.of_role("late")

    def channel_matrix(self) -> NDArray[np.float64]:
        """Return who attends to whom by channel, mean over heads, in the latest pass.

        Returns
        -------
        ndarray, shape (n_layers, n, n_chans, n_chans)
            Mean over a channel's queries of the sum over the other's keys; rows sum to 1, absent
            channels are NaN, special tokens are left out of rows and columns.

        Raises
        ------
        ValueError
            The layout of the tokens is not known, or layers differ in it.
        """
        return self.maps.channel_matrix()

    def of(self, layer: str) -> list[AttentionRecord]:
        """Return all records of one layer, one a call.

        Raises
        ------
        KeyError
            The layer was not recorded.
        """
        found = [record for record in self.records if record.layer == layer]
        if not found:
            raise KeyError(f"no attention recorded for layer {layer!r}; recorded: {', '.join(self.layers) or 'none'}")
        return found
