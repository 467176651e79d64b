"""Frequency bands of the probes that ask about rhythms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from biot_bd.models.attention.braindecode_layouts import sampling_rate
from biot_bd.signals.features import BANDS

Bands = Sequence[tuple[str, float, float]]


def bands_or_default(bands: Bands | None) -> Bands:
    """Return bands, by default delta to gamma."""
    return BANDS if bands is None else bands


def rate_of_model(model: nn.Module, sfreq: float | None) -> float:
    """Return the sampling frequency, of the model where it is not given.

    Raises
    ------
    ValueError
        Neither says one.
    """
    found = sampling_rate(model) if sfreq is None else float(sfreq)
    if found is None or not found > 0:
        raise ValueError(f"{type(model).__name__} does not know its sampling frequency: give the probe sfreq=, in Hz")
    return found


def bins_of_bands(bands: Bands, freqs_hz: NDArray[np.floating[Any]], sfreq: float) -> NDArray[np.bool_]:
    """Return which frequencies each band holds, from its lower edge up to, not including, its
    upper.

    Parameters
    ----------
    bands : sequence of (name, low, high)
        Edges in Hz.
    freqs_hz : ndarray, shape (n_freqs,)
    sfreq : float

    Returns
    -------
    ndarray of bool, shape (n_bands, n_freqs)

    Raises
    ------
    ValueError
        There is no band, edges are impossible, or a band holds no frequency.
    """
    if not len(bands):
        raise ValueError("bands needs one (name, low, high) or more")
    for name, low, high in bands:
        if not 0 <= low < high:
            raise ValueError(f"band {name!r} needs edges 0 <= low < high, got {low!r} and {high!r} Hz")
        if not ((freqs_hz >= low) & (freqs_hz < high)).any():
            raise ValueError(
                f"band {name!r} ({low:g} to {high:g} Hz) holds no frequency that a window of this length shows at "
                f"{sfreq:g} Hz: leave it out, or use longer windows"
            )
    return np.array([(freqs_hz >= low) & (freqs_hz < high) for _, low, high in bands])
