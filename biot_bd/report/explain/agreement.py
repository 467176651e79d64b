"""How far probes say the same of one window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.token_map import TokenMap

TOP_CHANNELS = 3


@dataclass(frozen=True)
class Agreement:
    """Two probes beside each other.

    Parameters
    ----------
    correlation : float or None
        Rank correlation of their maps; None where one of them is the same everywhere.
    by : {"channel and time", "channel"}
        What was compared: channels alone where one of the two does not tell times.
    shared : tuple of str
        Channels among the most important ones of both.
    of : int
        How many channels each of them brings.
    """

    correlation: float | None
    by: str
    shared: tuple[str, ...]
    of: int


def top_channels(found: TokenMap, window: int = 0, number: int = TOP_CHANNELS) -> tuple[str, ...]:
    """Return the channels with the highest sums, highest first; fewer where fewer are present."""
    values = found.without_bands().by_channel()[window]
    order = [int(i) for i in np.argsort(-values, kind="stable") if np.isfinite(values[i])]
    return tuple(found.layout.ch_names[i] for i in order[: min(number, max(1, len(order) // 2))])


def top_moment_s(found: TokenMap, window: int = 0) -> tuple[float, float] | None:
    """Return the frame with the highest sum, in seconds from the window's start; None where the
    probe does not tell times.
    """
    layout = found.layout
    values = found.without_bands().by_time()[window]
    if layout.n_frames < 2 or not layout.knows_time or not np.isfinite(values).any():
        return None
    at = int(np.nanargmax(values))
    return float(layout.frame_start_s[at]), float(layout.frame_stop_s[at])


def compare(maps: Mapping[str, TokenMap], window: int = 0) -> dict[tuple[str, str], Agreement]:
    """Compare each pair of maps of one window.

    Parameters
    ----------
    maps : mapping of str to TokenMap
        By probe, of the same channels.
    window : int
        Which window of the maps.

    Returns
    -------
    dict of (str, str) to Agreement
        Pairs in the order of the maps; pairs with another number of channels are left out.

    See Also
    --------
    scipy.stats.spearmanr : The correlation.
    """
    names = list(maps)
    pairs = [(one, other) for i, one in enumerate(names) for other in names[i + 1 :]]
    return {
        (one, other): _agreement(maps[one].without_bands(), maps[other].without_bands(), window)
        for one, other in pairs
        if maps[one].layout.n_chans == maps[other].layout.n_chans
    }


def _agreement(one: TokenMap, other: TokenMap, window: int) -> Agreement:
    by_time = True
    try:
        left, right = (found.values[window] for found in _on_common_frames(one, other))
    except ValueError:  # times are not known, or not of the whole window
        by_time = False
        left, right = one.by_channel()[window], other.by_channel()[window]
    tops = top_channels(one, window), top_channels(other, window)
    shared = tuple(name for name in tops[0] if name in tops[1])
    return Agreement(_rank_correlation(left, right), "channel and time" if by_time else "channel", shared, len(tops[0]))


def _on_common_frames(one: TokenMap, other: TokenMap) -> tuple[TokenMap, TokenMap]:
    coarse = min((one.layout, other.layout), key=lambda layout: layout.n_frames)
    if coarse.n_frames == 1:
        raise ValueError("one of the two does not tell times")
    return _on(one, coarse), _on(other, coarse)


def _on(found: TokenMap, layout: TokenLayout) -> TokenMap:
    same = found.layout.n_frames == layout.n_frames and np.allclose(found.layout.frame_start_s, layout.frame_start_s)
    return found if same else found.on(layout)


def _rank_correlation(left: NDArray, right: NDArray) -> float | None:
    known = np.isfinite(left) & np.isfinite(right)
    left, right = left[known], right[known]
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    return float(spearmanr(left, right).statistic)
