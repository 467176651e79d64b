"""A file as a live source: its samples in order, none dropped, as fast as wanted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.live.source import Chunk, LiveSource, Notice
from biot_bd.io.recordings import open_recording, read_blocks

if TYPE_CHECKING:
    import mne


class FileSource(LiveSource):
    """Replay a recording.

    A slow model makes the replay fall behind (:attr:`lag_s`); nothing is dropped, and nothing is
    read before its turn. Where the recording has a pause, times go on behind it; the replay does
    not wait for the pause to pass.

    Parameters
    ----------
    source : path or mne.io.BaseRaw
        What :class:`~biot_bd.deploy.Detector` reads.
    speed : float
        Times real time; ``inf`` for as fast as it goes.
    chunk_s : float
        Seconds that come at once; at least a sample.

    Attributes
    ----------
    recording : OpenRecording
        The open file.
    duration_s : float
        Its length in seconds, pauses included.

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
        self.recording = open_recording(source)
        self.speed, self.chunk_s = speed, chunk_s
        self.where, self.unusable = self.recording.where, self.recording.unusable
        self.ch_names = self.recording.ch_names
        self.notes = [*self.recording.notes, *self.recording.unit_notes(self.ch_names)]
        self.sfreq = self.recording.sfreq
        self.start_time = self.recording.timeline.start_time
        self.duration_s = self.recording.duration_s
        self._begin: float | None = None
        self._given = 0

    def chunks(self, needed: Sequence[str]) -> Iterator[Chunk | Notice]:
        """Yield the file's samples, waiting until their time has come."""
        reader, line = self.recording.reader(needed)
        self.sfreq = reader.sfreq
        size = max(1, round(self.chunk_s * self.sfreq))
        self._begin, self._given = time.monotonic(), 0
        for segment in line.segments:
            blocks = read_blocks(self.recording, needed, segment.first_sample, segment.stop_sample, reader)
            begins = None if line.is_continuous else segment
            for x in _pieces(blocks, len(needed), size):
                if not self._wait(x.shape[1]):
                    return
                yield Chunk(x, self.sfreq, begins=begins)
                begins = None

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
        recorded_s = sum(segment.duration_s for segment in self.recording.timeline.segments)
        due = min((time.monotonic() - self._begin) * self.speed, recorded_s)
        return max(0.0, due - self._given / self.sfreq)

    def close(self) -> None:
        """Close the file."""
        self.recording.close()


def _pieces(blocks: Iterable[NDArray[np.float32]], n_chans: int, size: int) -> Iterator[NDArray[np.float32]]:
    """Cut blocks anew into pieces of ``size`` samples; the last may be shorter."""
    left = np.empty((n_chans, 0), np.float32)
    for block in blocks:
        x = np.concatenate([left, block], axis=1) if left.size else block
        whole = x.shape[1] // size * size
        for start in range(0, whole, size):
            yield x[:, start : start + size]
        left = x[:, whole:]
    if left.shape[1]:
        yield left
