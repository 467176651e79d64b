"""Windows with planted evidence, and the same waveform where it speaks against.

What a model should look at is known here.  A probe that lights up on every burst finds the evidence
among the background, as the input's energy does without any model; only the comparison with the
distractor, a burst of the same waveform in another channel, tells the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import windows as tapers
from torch import Tensor

from biot_bd.models.attention.layout import TokenLayout


@dataclass(frozen=True, eq=False)
class PlantedWindows:
    """Windows, and where their bursts are.

    Parameters
    ----------
    x : Tensor of float32, shape (n, n_chans, n_times)
        Windows; each channel has mean 0 and standard deviation 1 before its burst is added.
    y : ndarray of int64, shape (n,)
        Class: 1 with evidence, 0 without.
    evidence, distractor : ndarray of bool, shape (n, n_chans, n_times)
        Samples of the burst that makes a window class 1, and of the one that does not.
    sfreq : float
        Samples a second.

    See Also
    --------
    PlantedTask : Makes them.

    Examples
    --------
    >>> from biot_bd.models import whole_layout
    >>> from biot_bd.probes import PlantedTask
    >>> found = PlantedTask(n_chans=4, evidence=(0,), distractor=(3,)).both(2)
    >>> evidence, distractor, background = found.places(whole_layout(4, 1000, 200))
    >>> evidence[:, :, 0].tolist()
    [[True, False, False, False], [True, False, False, False]]
    """

    x: Tensor
    y: NDArray[np.int64]
    evidence: NDArray[np.bool_]
    distractor: NDArray[np.bool_]
    sfreq: float

    def __len__(self) -> int:
        return len(self.y)

    def places(self, layout: TokenLayout) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which channels and frames of a layout hold evidence, distractor and neither.

        A frame holds a burst that fills half of it, or has half of its own length in it; frames
        with less of it count for nothing.

        Parameters
        ----------
        layout : TokenLayout
            Of these channels, or of one that stands for all.

        Returns
        -------
        tuple of three ndarrays of bool, shape (n, n_chans, n_frames)

        Raises
        ------
        ValueError
            Its frames are not known in seconds, or it has other channels.
        """
        if not layout.knows_time:
            raise ValueError("frames of the map are not known in seconds, so nobody can tell which hold the burst")
        if layout.n_chans not in (1, self.x.shape[1]):
            raise ValueError(f"the map has {layout.n_chans} channels, the planted windows {self.x.shape[1]}")
        (evidence, some), (distractor, others) = (
            self._shares(mask, layout) for mask in (self.evidence, self.distractor)
        )
        return evidence, distractor, ~(some | others)

    def _shares(self, mask: NDArray[np.bool_], layout: TokenLayout) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return the frames that hold a burst, and those with any of it."""
        if layout.n_chans != mask.shape[1]:
            mask = np.asarray(mask.any(axis=1, keepdims=True))
        n_times, burst = mask.shape[-1], mask.sum(axis=-1).max()
        start, stop = (
            np.clip(np.rint(at * self.sfreq).astype(int), 0, n_times)
            for at in (layout.frame_start_s, layout.frame_stop_s)
        )
        before = np.concatenate([np.zeros((*mask.shape[:-1], 1), int), mask.cumsum(axis=-1)], axis=-1)
        inside = before[..., stop] - before[..., start]
        return inside >= np.maximum(np.minimum(stop - start, burst) / 2, 1), inside > 0


@dataclass(frozen=True, kw_only=True)
class PlantedTask:
    """A task whose evidence is known: class 1 has a burst in a channel of ``evidence``, class 0 the
    same waveform in one of ``distractor``.

    Parameters
    ----------
    n_chans, n_times : int
        Shape of a window.
    sfreq : float
        Samples a second.
    evidence, distractor : tuple of int
        Channels in which a burst means class 1, and class 0.
    burst_s : float
        Length of a burst in seconds.
    frequencies_hz : tuple of float
        What it is the sum of.
    amplitude : float
        Amplitude of each, in standard deviations of the background.
    distractor_says : {"class 0", "nothing"}
        ``"class 0"``: a window has one burst, and the distractor speaks against class 1.
        ``"nothing"``: half of the windows of either class have a distractor, so a model that tells
        the classes apart must use the evidence.

    Raises
    ------
    ValueError
        A channel does not exist or means both, or two bursts do not fit into a window.

    See Also
    --------
    train_planted : Trains a model on it.
    evaluate : Tests probes with it.

    Examples
    --------
    >>> from biot_bd.probes import PlantedTask
    >>> task = PlantedTask()
    >>> train, test = task.single(4), task.both(4)
    >>> train.x.shape, train.y.tolist(), test.y.tolist()
    (torch.Size([4, 8, 1000]), [1, 0, 1, 0], [1, 1, 1, 1])
    """

    n_chans: int = 8
    n_times: int = 1000
    sfreq: float = 200.0
    evidence: tuple[int, ...] = (1, 2)
    distractor: tuple[int, ...] = (6,)
    burst_s: float = 1.0
    frequencies_hz: tuple[float, ...] = (3.0, 17.0)
    amplitude: float = 3.0
    distractor_says: Literal["class 0", "nothing"] = "class 0"

    def __post_init__(self) -> None:
        channels = {*self.evidence, *self.distractor}
        apart = not set(self.evidence) & set(self.distractor)
        if not (self.evidence and self.distractor and apart and channels <= set(range(self.n_chans))):
            raise ValueError(
                f"evidence and distractor must be different channels from 0 to {self.n_chans - 1}; got {self.evidence} "
                f"and {self.distractor}"
            )
        if self.distractor_says not in ("class 0", "nothing"):
            raise ValueError(f"distractor_says must be 'class 0' or 'nothing', got {self.distractor_says!r}")
        if self.n_times < 2 * self._burst_samples or self._burst_samples < 2:
            raise ValueError(
                f"two bursts of {self.burst_s} s do not fit into {self.n_times} samples at {self.sfreq:g} Hz"
            )

    @property
    def _burst_samples(self) -> int:
        return round(self.burst_s * self.sfreq)

    def single(self, n: int, random_state: int = 0) -> PlantedWindows:
        """Return windows to train on, classes in turn: one burst each, where the distractor speaks.

        Where it says nothing, every second window of either class has one.

        Parameters
        ----------
        n : int
            How many.
        random_state : int
            Seed.

        Returns
        -------
        PlantedWindows
        """
        y = np.arange(1, n + 1) % 2
        distractor = y == 0 if self.distractor_says == "class 0" else np.arange(n) // 2 % 2 == 0
        return self._windows(n, y, distractor, random_state)

    def both(self, n: int, random_state: int = 1) -> PlantedWindows:
        """Return windows with evidence and distractor, at different times, to test probes on.

        Parameters
        ----------
        n : int
            How many.
        random_state : int
            Seed.

        Returns
        -------
        PlantedWindows
            All of class 1: the class to ask about.
        """
        return self._windows(n, np.ones(n, int), np.ones(n, bool), random_state)

    def _windows(
        self, n: int, y: NDArray[np.int64], with_distractor: NDArray[np.bool_], random_state: int
    ) -> PlantedWindows:
        rng = np.random.default_rng(random_state)
        x = rng.standard_normal((n, self.n_chans, self.n_times), dtype=np.float32)
        x += 0.05 * np.cumsum(x, axis=-1)  # more power at low frequencies, as in EEG
        x -= x.mean(axis=-1, keepdims=True)
        x /= x.std(axis=-1, keepdims=True)
        evidence, distractor = np.zeros(x.shape, bool), np.zeros(x.shape, bool)
        for window in range(n):
            first, second = self._starts(rng)
            if y[window]:
                self._add(x, evidence, window, int(rng.choice(self.evidence)), first)
            if with_distractor[window]:
                self._add(x, distractor, window, int(rng.choice(self.distractor)), second)
        return PlantedWindows(torch.from_numpy(x), y.astype(np.int64), evidence, distractor, self.sfreq)

    def _starts(self, rng: np.random.Generator) -> tuple[int, int]:
        """Return where two bursts begin that have no sample in common, either one first."""
        free = self.n_times - 2 * self._burst_samples
        early, late = np.sort(rng.integers(0, free + 1, size=2)) + [0, self._burst_samples]
        return (int(early), int(late)) if rng.random() < 0.5 else (int(late), int(early))

    def _add(self, x: NDArray[np.float32], mask: NDArray[np.bool_], window: int, channel: int, start: int) -> None:
        at = (window, channel, slice(start, start + self._burst_samples))
        t_s = np.arange(self._burst_samples) / self.sfreq
        wave = np.sum([np.sin(2 * np.pi * f * t_s) for f in self.frequencies_hz], axis=0)
        x[at] += (self.amplitude * wave * tapers.hann(self._burst_samples)).astype(np.float32)
        mask[at] = True
