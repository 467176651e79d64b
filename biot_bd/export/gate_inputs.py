"""Windows that an exported model is tried on before any recording: EEG-like ones, and odd ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOUDER = 1000.0
"""How much louder than the others a batch mate is, and a loud window."""


@dataclass(frozen=True, eq=False)
class GateInputs:
    """Windows of several kinds.

    Parameters
    ----------
    x : ndarray of float32, shape (n, n_chans, n_times)
        Microvolts, finite; 0 where a channel is absent.
    present : ndarray of bool, shape (n, n_chans)
        Which channels are present.
    kinds : tuple of str
        The kind of each window, for messages.

    See Also
    --------
    make_inputs : Makes them.
    """

    x: NDArray[np.float32]
    present: NDArray[np.bool_]
    kinds: tuple[str, ...]

    def of_kind(self, kind: str) -> NDArray[np.int64]:
        """Return the rows of a kind."""
        return np.flatnonzero(np.array(self.kinds) == kind)


def make_inputs(
    n_chans: int, n_times: int, sfreq: float, absent_channels: bool = True, n_plain: int = 64, seed: int = 0
) -> GateInputs:
    """Make EEG-like windows and, from them, those that break models that were only tried on EEG.

    Parameters
    ----------
    n_chans, n_times : int
        Channels and samples of a window.
    sfreq : float
        Sampling rate in Hz.
    absent_channels : bool
        Whether the model takes windows in which channels are absent (flat ones are absent, too).
    n_plain : int
        How many EEG-like windows; four of each odd kind follow.
    seed : int
        Of the generator: the same windows for the same arguments.

    Returns
    -------
    GateInputs
        Kinds: ``"EEG-like"``, ``"large offset"``, ``"loud"``, ``"faint"``, ``"one sharp artifact"``
        and, with ``absent_channels``, ``"absent channels"``, ``"one channel only"``,
        ``"flat channels"``.

    See Also
    --------
    biot_bd.export.gates.check_export : Tries exported models on them.

    Examples
    --------
    >>> inputs = make_inputs(n_chans=3, n_times=400, sfreq=200.0, n_plain=8)
    >>> inputs.x.shape, len(inputs.of_kind("one channel only"))
    ((36, 3, 400), 4)
    """
    rng = np.random.default_rng(seed)
    x = _eeg_like(rng, n_plain, n_chans, n_times, sfreq)
    parts, kinds = [x], ["EEG-like"] * n_plain
    present = [np.ones((n_plain, n_chans), bool)]

    def add(kind: str, some: NDArray[np.float32], there: NDArray[np.bool_] | None = None) -> None:
        there = np.ones(some.shape[:2], bool) if there is None else there
        parts.append(np.where(there[..., None], some, 0).astype(np.float32))
        present.append(there)
        kinds.extend([kind] * len(some))

    def four() -> NDArray[np.float32]:
        return x[rng.choice(n_plain, 4, replace=n_plain < 4)].copy()

    sign = rng.choice([-1.0, 1.0], (4, n_chans, 1))
    add("large offset", four() + (sign * rng.uniform(1e3, 2e4, (4, n_chans, 1))).astype(np.float32))
    add("loud", four() * np.float32(LOUDER))
    add("faint", four() / np.float32(LOUDER))
    sharp = four()
    sharp[:, :, n_times // 2] += np.float32(1e4)
    add("one sharp artifact", sharp)
    if absent_channels:
        some_absent = rng.random((4, n_chans)) < 0.5
        some_absent[:, rng.integers(n_chans)] = False
        add("absent channels", four(), ~some_absent)
        add("one channel only", four(), np.arange(n_chans) == rng.integers(n_chans, size=(4, 1)))
        flat = four()
        flat[:, :: max(2, n_chans // 2)] = np.float32(7.5)
        flat[:, 1 % n_chans] = x[:4, 1 % n_chans] if n_plain >= 4 else x[:1, 1 % n_chans]
        add("flat channels", flat)
    return GateInputs(np.concatenate(parts), np.concatenate(present), tuple(kinds))


def _eeg_like(rng: np.random.Generator, n: int, n_chans: int, n_times: int, sfreq: float) -> NDArray[np.float32]:
    """Make pink noise of 5 to 60 uV, shared in part; every other window has a rhythm."""
    freqs = np.fft.rfftfreq(n_times, 1 / sfreq)
    shape = np.where((freqs > 0.3) & (freqs < 90), 1 / np.sqrt(np.maximum(freqs, 0.3)), 0)

    def pink(*size: int) -> NDArray[np.float64]:
        noise = np.fft.irfft(np.fft.rfft(rng.standard_normal((*size, n_times))) * shape, n_times)
        return noise / np.maximum(noise.std(axis=-1, keepdims=True), 1e-12)

    x = (pink(n, n_chans) + 0.7 * pink(n, 1)) * rng.uniform(5, 60, (n, 1, 1))
    seconds = np.arange(n_times) / sfreq
    rhythm_hz, phase = rng.uniform(2, 14, (n, 1, 1)), rng.uniform(0, 2 * np.pi, (n, n_chans, 1))
    rhythm = np.sin(2 * np.pi * rhythm_hz * seconds + phase) ** 3 * rng.uniform(20, 300, (n, n_chans, 1))
    x[::2] += rhythm[::2]
    return x.astype(np.float32)
