"""What samples tell of electrodes: flat, not finite, far from zero."""

from __future__ import annotations

from collections.abc import Sequence

import mne
import numpy as np

from biot_bd.io.channel_readers import open_reader
from biot_bd.signals.amplitude import KINDS, amplitude_notes, no_eeg, odd_windows, swings_uv
from biot_bd.signals.offset import offset_channels

# Windows read at a time.
WINDOWS_AT_ONCE = 30


def sample_notes(raw: mne.io.BaseRaw, ch_names: Sequence[str], window_s: float) -> tuple[list[str], str | None]:
    """Read channels window by window and say which are dead, not finite or have an offset.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording, in volts.
    ch_names : sequence of str
        Its channels that are needed.
    window_s : float
        Length of a window in seconds; the rest at the end is looked at as one more.

    Returns
    -------
    notes : list of str
        One line a kind of fault; empty where there is none.
    refused : str or None
        Why :func:`biot_bd.prepare` refuses the recording, where its amplitudes are no EEG's.

    See Also
    --------
    biot_bd.signals.offset.offset_channels : What an offset is.
    biot_bd.signals.amplitude.no_eeg : What is refused.

    Examples
    --------
    >>> import mne, numpy as np
    >>> wave = 2e-5 * np.sin(np.arange(6000) / 5)
    >>> info = mne.create_info(["Fp1", "F7"], 100.0, "eeg")
    >>> raw = mne.io.RawArray(np.stack([wave, 0 * wave]), info, verbose="error")
    >>> sample_notes(raw, ["Fp1", "F7"], 10.0)
    (['zero throughout: F7'], None)
    """
    if not ch_names:
        return [], None
    reader = open_reader(raw, ch_names)
    length = max(1, round(window_s * reader.sfreq))
    counts = {kind: np.zeros(len(reader.ch_names), np.int64) for kind in ("flat", "zero", "not finite", "offset")}
    n_windows, odd, moving = 0, {kind: np.zeros(len(reader.ch_names), np.int64) for kind in KINDS}, 0
    for start in range(0, reader.n_samples, length * WINDOWS_AT_ONCE):
        block = reader.block(start, min(start + length * WINDOWS_AT_ONCE, reader.n_samples)).read_all()
        for at in range(0, block.shape[1], length):
            x = block[:, at : at + length]
            flat = (x == x[:, :1]).all(axis=1)
            counts["flat"] += flat
            counts["zero"] += flat & (np.abs(x[:, 0]) < 1.0)  # a digital zero may lie half a step off
            counts["not finite"] += ~np.isfinite(x).all(axis=1)
            counts["offset"] += offset_channels(x[None])[0]
            swing_uv = np.where(flat, np.nan, swings_uv(x[None]))
            moving = moving + (swing_uv > 0).sum(axis=0)
            for kind, n in odd_windows(swing_uv).items():
                odd[kind] += n
            n_windows += 1
    named = {kind: dict(zip(reader.ch_names, n.tolist(), strict=True)) for kind, n in odd.items()}
    n_moving = dict(zip(reader.ch_names, np.broadcast_to(moving, len(reader.ch_names)).tolist(), strict=True))
    refused = no_eeg(named["impossible"], n_moving)
    notes = [] if refused else amplitude_notes(named, n_moving)
    return _told(reader.ch_names, counts, n_windows, window_s) + notes, refused


def _told(ch_names: Sequence[str], counts: dict[str, np.ndarray], n_windows: int, window_s: float) -> list[str]:
    zero, flat = counts["zero"] == n_windows, counts["flat"] == n_windows
    whole = {"zero throughout": zero, "flat throughout": flat & ~zero}
    notes = [f"{what}: {', '.join(np.array(ch_names)[which])}" for what, which in whole.items() if which.any()]
    partly = {
        "flat": np.where(flat, 0, counts["flat"]),
        "not finite": counts["not finite"],
        "an offset far larger than the EEG, taken off before scaling": np.where(flat, 0, counts["offset"]),
    }
    for what, found in partly.items():
        if found.any():
            named = ", ".join(f"{name} ({n})" for name, n in zip(ch_names, found, strict=True) if n)
            notes.append(f"{what}, in so many of {n_windows} windows of {window_s:g} s: {named}")
    return notes
