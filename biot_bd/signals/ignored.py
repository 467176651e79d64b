"""Channels that a model shall not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.base import Marked, SignalInfo, WindowTransformer, check_shapes, check_windows
from biot_bd.signals.names import canonical_name


@dataclass(eq=False, repr=False)
class IgnoreChannels(WindowTransformer):
    """Mark channels as absent, so that a model leaves them out.

    BIOT masks them exactly; for models that cannot leave a channel out put
    :class:`~biot_bd.signals.FillAbsent` behind it.

    Parameters
    ----------
    channels : sequence of str or int
        Channels by name, in any spelling, or by position from 0 (arrays carry no names).

    Raises
    ------
    ValueError
        From ``output_info``: a channel is not there, or none would be left.

    See Also
    --------
    MontageMapper : Chooses and derives channels.
    FillAbsent : Puts a constant in their place.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import IgnoreChannels
    >>> x = np.ones((1, 2, 3))
    >>> IgnoreChannels([0]).transform(x).tolist()
    [[[nan, nan, nan], [1.0, 1.0, 1.0]]]
    """

    channels: Sequence[str | int] = ()

    def output_info(self, info: SignalInfo) -> SignalInfo:
        """Say what comes out: the same.

        Raises where a channel is not there or none is left.
        """
        self.positions(info)
        return info

    def is_identity(self, info: SignalInfo) -> bool:
        """Return True where no channel is named."""
        return not len(self.channels)

    def apply(self, x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> Marked:
        """Mark the channels in windows."""
        check_shapes(x, present, info)
        ignored = self.positions(info)
        out, there = x.copy(), present.copy()
        out[:, ignored], there[:, ignored] = np.nan, False
        check_windows(out, there, info)
        return out, there

    def positions(self, info: SignalInfo) -> list[int]:
        """Return the positions of the ignored channels.

        Raises
        ------
        ValueError
            A channel is not there, or none would be left.
        """
        if isinstance(self.channels, str):
            raise ValueError(f"IgnoreChannels: channels must be a list, e.g. [{self.channels!r}], not a text")
        found = sorted({self._position(channel, info) for channel in self.channels})
        if len(found) == info.n_chans:
            raise ValueError(f"IgnoreChannels: all {info.n_chans} channels would be ignored; leave one at least")
        return found

    def _position(self, channel: str | int, info: SignalInfo) -> int:
        n_chans = info.n_chans
        if not isinstance(channel, str):
            if not 0 <= channel < n_chans:
                raise ValueError(f"IgnoreChannels: there is no channel {channel}; positions are 0 to {n_chans - 1}")
            return int(channel)
        if info.ch_names is None:
            raise ValueError(
                f"IgnoreChannels: arrays carry no channel names, so {channel!r} is unknown; give its position, or use "
                "Windows or mne.Epochs"
            )
        names = [_plain(name) for name in info.ch_names]
        if _plain(channel) not in names:
            raise ValueError(f"IgnoreChannels: there is no channel {channel!r}; there are {', '.join(info.ch_names)}")
        return names.index(_plain(channel))


def _plain(name: str) -> str:
    return canonical_name(name) or name.strip().upper()
