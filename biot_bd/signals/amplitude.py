"""Amplitudes that no EEG has: files whose numbers are in another unit than they say.

Formats without a unit (EEGLAB, FIF) are read as microvolts or volts, whatever their numbers are.
Offsets and drifts do not count, nor do single samples: only how a channel swings about its mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from biot_bd.io.units import UV_PER_V

Ints = NDArray[np.int64]

IMPOSSIBLE_UV = 1e6
"""No amplifier of EEG measures a swing of a volt; EEG of 1 uV that is taken for volts swings so."""
LOUD_UV = 1e4
"""Ten times the largest EEG; an electrode that touches nothing may pick up as much."""
FAINT_UV = 0.1
"""Less than the noise of any amplifier, which swings by 0.15 uV and more."""
NONE_UV = 1e-3
"""Flat to :class:`~biot_bd.PercentileScaler`; EEG in volts that is taken for microvolts is."""
SWING_OF_PERCENTILE = 0.4
"""Share of the 95th percentile of absolute values by which noise swings on average."""
# Every sixteenth sample tells how a window swings.
COARSE = 16
KINDS = ("impossible", "loud", "faint")


def swings_uv(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how far windows swing about their mean, on average.

    Parameters
    ----------
    x : ndarray, shape (n, n_chans, n_times)
        Windows in microvolts.

    Returns
    -------
    ndarray of float64, shape (n, n_chans)
        Mean absolute deviation of every 16th sample in microvolts; NaN where one is not finite.
    """
    few = x[..., ::COARSE].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        few -= few.mean(axis=-1, keepdims=True)
        return np.asarray(np.abs(few).mean(axis=-1), np.float64)


def odd_windows(swing_uv: NDArray[np.floating]) -> dict[str, Ints]:
    """Count the windows of each channel whose amplitude no EEG has.

    Parameters
    ----------
    swing_uv : ndarray, shape (n, n_chans)
        Amplitudes in microvolts; NaN and 0 (a channel that is flat) are none.

    Returns
    -------
    dict of str to ndarray of int64, shape (n_chans,)
        ``impossible`` (above a volt, or below 0.001 uV), ``loud`` (above 10 mV), ``faint`` (below
        0.1 uV); an impossible window counts as loud or faint, too.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals.amplitude import odd_windows
    >>> found = odd_windows(np.array([[30, 3e7, 3e-5, 0], [40, 4e4, 0.02, np.nan]]))
    >>> {kind: n.tolist() for kind, n in found.items()}
    {'impossible': [0, 1, 1, 0], 'loud': [0, 2, 0, 0], 'faint': [0, 0, 2, 0]}
    """
    there = swing_uv > 0
    impossible = (swing_uv > IMPOSSIBLE_UV) | (swing_uv < NONE_UV)
    kinds = (impossible, swing_uv > LOUD_UV, swing_uv < FAINT_UV)
    return {kind: (found & there).sum(axis=0) for kind, found in zip(KINDS, kinds, strict=True)}


def no_eeg(n_impossible: Mapping[str, int], n_windows: Mapping[str, int]) -> str | None:
    """Return why a recording is refused: most of its channels have impossible amplitudes.

    Parameters
    ----------
    n_impossible : mapping of str to int
        Windows of an impossible amplitude, by channel (:func:`odd_windows`).
    n_windows : mapping of str to int
        Windows in which the channel swings at all.

    Returns
    -------
    str or None
        One line; None where there is nothing to say.

    See Also
    --------
    amplitude_notes : What is told of recordings that are not refused.

    Examples
    --------
    >>> no_eeg({"Fp1": 2}, {"Fp1": 10, "F7": 10}) is None
    True
    """
    there = [name for name, n in n_windows.items() if n]
    wrong = [name for name in there if 2 * n_impossible.get(name, 0) > n_windows[name]]
    if 2 * len(wrong) <= len(there):
        return None
    return (
        f"{len(wrong)} of {len(there)} channels swing by more than {IMPOSSIBLE_UV / UV_PER_V:g} V or by less than "
        f"{NONE_UV:g} uV, which is no EEG: its numbers are in another unit than they are read in; "
        "scale them and save the recording anew"
    )


def amplitude_notes(counts: Mapping[str, Mapping[str, int]], n_windows: Mapping[str, int]) -> list[str]:
    """Say which channels have an amplitude that no EEG has in most of their windows.

    Parameters
    ----------
    counts : mapping of str to mapping of str to int
        ``loud`` and ``faint``: windows by channel.
    n_windows : mapping of str to int
        Windows in which the channel swings at all.

    Returns
    -------
    list of str

    Examples
    --------
    >>> amplitude_notes({"loud": {"Fp1": 9}, "faint": {"F7": 1}}, {"Fp1": 10, "F7": 10})
    ['more than 10 mV in most windows, no EEG (is its unit right? is it connected?): Fp1']
    """
    texts = {
        "loud": f"more than {LOUD_UV / 1e3:g} mV in most windows, no EEG (is its unit right? is it connected?)",
        "faint": f"less than {FAINT_UV:g} uV in most windows, no EEG (is its unit right?)",
    }
    notes = []
    for kind, text in texts.items():
        if names := [name for name, n in counts.get(kind, {}).items() if 2 * n > n_windows.get(name, 0)]:
            notes.append(f"{text}: {', '.join(names)}")
    return notes
