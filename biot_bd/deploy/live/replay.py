"""A file as a live source: its samples in order, none dropped, as fast as wanted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import mne
import numpy as np

from biot_bd.deploy.live.source import Chunk, LiveSource, Notice
from biot_bd.io.recordings import open_recording, read_blocks


class FileSource(LiveSource):
    """Replay a recording.

    A slow model makes the replay fall behind (:attr:`lag_s`); nothing is dropped, and nothing is
    read before its turn.

    Parameters
    ----------
    source : path or mne.io.BaseRaw
        What :class:`~biot_bd.deploy.Detector` reads.
    speed : float
        Times real time; ``inf`` for as fast as it goes.
    chunk_s : float
        Seconds that come at once; at least a sample.

    Raises
    ------
    biot_bd.exceptions.DetectionError
        The file cannot be read.
    ValueError
        A parameter is not positive.
    """

    def __init__(
        self, source: str | os.PathLike[str] | mne.io.BaseRaw, *, speed: float = 1.0, chunk_s: float = 0.25
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be a positive number (times real time), found {speed!r}")
        if not (np.isfinite(chunk_s) and chunk_s > 0):
            raise ValueError(f"chunk_s must be a positive number of seconds, found {chunk_s!r}")
        super().__init__()
        self._recording = open_recording(source)
        self.speed, self.chunk_s = speed, chunk_s
        self.where, self.notes = self._recording.where, list(self._recording.notes)
        self.ch_names, self.sfreq = list(self._recording.raw.ch_names), self._recording.sfreq
        self.start_time = self._recording.raw.info["meas_date"]
        self.duration_s = self._recording.duration_s
        self._begin: float | None = None
        self._given = 0

    def chunks(self, needed: Sequence[str]) -> Iterator[Chunk | Notice]:
        """Yield the file's samples, waiting until their time has come."""
        size = max(1, round(self.chunk_s * self.sfreq))
        self._begin, self._given = time.monotonic(), 0
        left = np.empty((len(needed), 0), np.float32)
        for block in read_blocks(self._recording, needed):
            x = np.concatenate([left, block], axis=1) if left.size else block
            whole = x.shape[1] // size * size
            for start in range(0, whole, size):
                if not self._wait(size):
                    return
                yield Chunk(x[:, start : start + size], self.sfreq)
            left = x[:, whole:]
        if left.shape[1] and self._wait(left.shape[1]):
            yield Chunk(left, self.sfreq)

    def _wait(self, n: int) -> bool:
        """Wait until ``n`` more samples would have come; return False to stop."""
        self._given += n
        if np.isfinite(self.speed) and self._begin is not None:
            left = self._begin + self._given / self.sfreq / self.speed - time.monotonic()
            if left > 0:
                self._stop.wait(left)
        return not self._stop.is_set()

    @property
    def lag_s(self) -> float | None:
        """Seconds of signal that should have been replayed by now and were not.

        None at full speed.
        """
        if not np.isfinite(self.speed) or self._begin is None:
            return None
        due = min((time.monotonic() - self._begin) * self.speed, self.duration_s)
        return max(0.0, due - self._given / self.sfreq)

    def close(self) -> None:
        """Close the file."""
        self._recording.raw.close()
