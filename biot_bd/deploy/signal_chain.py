"""From samples of a recording, pushed as they come, to windows of the model's montage and rate."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.ring_buffer import RollingBuffer
from biot_bd.deploy.stream_resampling import fir_delay_s, make_stream
from biot_bd.signals.montages import MontagePlan

# Looking at every 32nd sample finds the few channels that may be flat.
COARSE = 32


@dataclass(frozen=True)
class WindowBatch:
    """Windows of the montage, in microvolts.

    Parameters
    ----------
    x : ndarray of float32, shape (n, n_chans, n_times)
        Absent channels are NaN throughout.
    present : ndarray of bool, shape (n, n_chans)
        False where a channel is missing, or it or an electrode that it is derived from is flat
        throughout the window, or not finite somewhere in it.
    start_s : ndarray of float64, shape (n,)
        Seconds from the first sample of the recording.
    """

    x: NDArray[np.float32]
    present: NDArray[np.bool_]
    start_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start_s)


class SignalChain:
    """Montage, resampling, windows and the marks of bad channels, fed piece by piece.

    Windows start every ``stride_s``, each start rounded to a sample by itself; where the last of
    them ends before the recording does, one more is aligned to the end.  What comes out does not
    depend on how the samples were cut.  Memory holds some minutes of signal at most.

    Parameters
    ----------
    plan : MontagePlan
        From the source's channels to the montage; samples come with the channels ``plan.needed``,
        in that order.
    sfreq_in, sfreq_out : float
        Rates of the source and of the windows in Hz.
    window_s, stride_s : float
        Length of a window, and from one start to the next, in seconds.
    causal : bool
        Resample with a fixed short delay (:attr:`delay_s`), or in blocks of minutes as
        :func:`biot_bd.prepare` does.

    Attributes
    ----------
    n_flat : ndarray of int, shape (len(plan.needed),)
        Windows so far in which a channel of the source was flat.

    Raises
    ------
    ValueError
        A number is not positive, or the rates make no usable ratio.
    """

    def __init__(
        self,
        plan: MontagePlan,
        sfreq_in: float,
        sfreq_out: float,
        window_s: float,
        stride_s: float,
        causal: bool = False,
    ) -> None:
        for name, value in (("window_s", window_s), ("stride_s", stride_s)):
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number of seconds, found {value!r}")
        if round(stride_s * sfreq_in) < 1:
            raise ValueError(f"stride_s={stride_s:g} is less than a sample at {sfreq_in:g} Hz")
        self.sfreq_in, self.sfreq_out = float(sfreq_in), float(sfreq_out)
        self.window_s, self.stride_s, self.causal = window_s, stride_s, causal
        self.ch_names = plan.montage.ch_names
        self._plan = plan.reduced()
        self._made = np.array([channel.how != "missing" for channel in plan.channels])
        n_made, n_needed = int(self._made.sum()), len(plan.needed)
        self._uses = np.zeros((n_made, n_needed), bool)
        for row, channel in zip(self._uses, compress(self._plan.channels, self._made), strict=True):
            row[list(channel.sources)] = True
        self.n_flat = np.zeros(n_needed, np.int64)
        self._stream = make_stream(n_made, sfreq_in, sfreq_out, causal)
        self._source, self._signal = RollingBuffer(n_needed), RollingBuffer(n_made)
        self._n_in, self._n_out = round(window_s * sfreq_in), round(window_s * sfreq_out)
        self._next = 0  # number of the next window
        self._ended = self._tail_done = False

    @property
    def n_samples(self) -> int:
        """Samples of the source so far."""
        return self._source.stop

    @property
    def delay_s(self) -> float:
        """Seconds of signal behind a window's end that it needs.

        None of them is known in blocks (not causal).
        """
        return fir_delay_s(self.sfreq_in, self.sfreq_out) if self.causal else float("inf")

    def push(self, x: NDArray[np.floating]) -> None:
        """Take samples.

        Parameters
        ----------
        x : ndarray, shape (len(plan.needed), n)
            In microvolts at the source's rate; values that are not finite make their channel absent
            in the windows that hold them.

        Raises
        ------
        ValueError
            Another number of channels, or the signal was said to be over.
        """
        if self._ended:
            raise ValueError("this signal was finished; make a new chain")
        x = np.asarray(x, np.float32)
        signal = self._plan.apply(x)
        self._source.append(x)
        self._signal.append(self._stream.push(signal if self._made.all() else signal[self._made]))

    def finish(self) -> None:
        """Say that nothing follows, so that the last windows become ready."""
        if not self._ended:
            self._ended = True
            if self._source.stop:
                self._signal.append(self._stream.finish())

    def pop(self, limit: int = 64) -> WindowBatch | None:
        """Return up to ``limit`` windows that are ready, oldest first, or None where there are
        none.
        """
        starts: list[int] = []
        while len(starts) < limit:
            start = self._ready_start()
            if start is None:
                break
            starts.append(start)
        if not starts:
            return None
        batch = self._cut(starts)
        keep = self._start_of(self._next)
        if self._ended:
            return batch
        # The window aligned to the end may begin up to a stride earlier than the next one.
        keep = max(0, min(keep, self._source.stop - self._n_in))
        self._source.drop_before(keep)
        self._signal.drop_before(int(keep * self.sfreq_out / self.sfreq_in) - 1)
        return batch

    def _start_of(self, number: int) -> int:
        return int(np.rint(number * (self.stride_s * self.sfreq_in)))

    def _ready_start(self) -> int | None:
        """Return the first sample of the next window, in the source, and count it as taken."""
        start = self._start_of(self._next)
        if start + self._n_in <= self._source.stop:
            if not self._ended and self._place(start) + self._n_out > self._signal.stop:
                return None
            self._next += 1
            return start
        if not self._ended or self._tail_done or self._source.stop < self._n_in:
            return None
        self._tail_done = True
        covered = self._start_of(self._next - 1) + self._n_in
        return self._source.stop - self._n_in if covered < self._source.stop else None

    def _place(self, start: int) -> int:
        return int(np.rint(start * (self.sfreq_out / self.sfreq_in)))

    def _cut(self, starts: list[int]) -> WindowBatch:
        shape = (len(starts), len(self.ch_names), self._n_out)
        usable, present = self._usable(np.array(starts)), np.zeros(shape[:2], bool)
        present[:, self._made] = usable
        x = np.empty(shape, np.float32)
        if not present.all():
            x.fill(np.nan)
        for row, start in enumerate(starts):
            place = min(self._place(start), self._signal.stop - self._n_out)
            signal = self._signal.view(place, place + self._n_out)
            if present[row].all():
                x[row] = signal
            else:
                x[row, present[row]] = signal[usable[row]]
        return WindowBatch(x, present, np.array(starts) / self.sfreq_in)

    def _usable(self, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which channels that are made are usable in windows of the source, in order."""
        x = self._source.view(int(starts[0]), int(starts[-1]) + self._n_in)
        starts = starts - starts[0]
        few = x[:, starts[:, None] + np.arange(0, self._n_in, COARSE)].swapaxes(0, 1)
        flat = _looks_flat(few)
        for window, channel in np.argwhere(flat):
            flat[window, channel] = self._is_flat(x[channel, starts[window] :])
        self.n_flat += flat.sum(axis=0)
        faulty = flat
        # A sum is finite only where every value is.
        for channel in np.flatnonzero(~np.isfinite(x.sum(axis=1, dtype=np.float64))):
            ends = np.concatenate([[0], np.cumsum(~np.isfinite(x[channel]))])
            faulty[:, channel] |= ends[starts + self._n_in] > ends[starts]
        usable: NDArray[np.bool_] = ~np.any(self._uses & faulty[:, None], axis=2)
        # Electrodes that are joined by a bridge differ by nothing, though neither is flat.
        suspects = usable & _looks_flat(self._plan.apply(few)[:, self._made])
        for window in np.flatnonzero(suspects.any(axis=1)):
            made = self._plan.apply(x[:, starts[window] : starts[window] + self._n_in])[self._made]
            for channel in np.flatnonzero(suspects[window]):
                usable[window, channel] = not self._is_flat(made[channel])
        return usable

    def _is_flat(self, x: NDArray[np.float32]) -> bool:
        """Return whether a window's length of samples, the first of ``x``, are all the same."""
        return bool((x[: self._n_in] == x[0]).all())


def _looks_flat(few: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which channels ``(n, n_chans)`` are constant in the few samples of each window."""
    constant: NDArray[np.bool_] = (few == few[..., :1]).all(axis=-1)
    return constant
