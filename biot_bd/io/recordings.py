"""Recordings as a detector reads them: opened lazily, read in blocks, in microvolts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biot_bd.exceptions import DetectionError, RecordingError
from biot_bd.io.channel_readers import ChannelReader, EdfReader, NotPlainEdfError, open_reader
from biot_bd.io.digest import file_digest, recording_digest
from biot_bd.io.notes import one_line
from biot_bd.io.plain_edf import PlainEdf, read_plain_edf
from biot_bd.io.readers import checked_reader, is_raw, open_raw, opens_edf
from biot_bd.io.segments import TimeLine
from biot_bd.io.timeline import timeline_of
from biot_bd.io.unusable import unit_notes, unusable_channels

if TYPE_CHECKING:
    import mne

# A block is some megabytes, whatever the rate.
BLOCK_SAMPLES = 2**15


class OpenRecording:
    """A recording that can be read.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        In volts.
    where : str
        Name for messages: the path, or what the recording says of itself.
    notes : sequence of str
        What a reader of the results should know, e.g. that the file is cut short.

    Attributes
    ----------
    where : str
        As given.
    notes : list of str
        As given, and what its times tell.

    See Also
    --------
    open_recording : Makes it.

    Examples
    --------
    >>> from biot_bd.io import OpenRecording
    >>> import mne, numpy as np
    >>> signals = 1e-6 * np.arange(2000.0).reshape(2, 1000)
    >>> info = mne.create_info(["Fp1", "Fp2"], 100.0, "eeg")
    >>> raw = mne.io.RawArray(signals, info, verbose="error")
    >>> OpenRecording(raw, "in memory").duration_s
    10.0
    """

    def __init__(self, raw: mne.io.BaseRaw, where: str, notes: Sequence[str] = ()) -> None:
        self._raw, self.where, self.notes = raw, where, list(notes)

    @property
    def raw(self) -> mne.io.BaseRaw:
        """The recording as MNE has it, in volts."""
        return self._raw

    @property
    def ch_names(self) -> list[str]:
        """Its channels, as MNE names them."""
        return list(self.raw.ch_names)

    @property
    def bads(self) -> list[str]:
        """Channels that it says are bad."""
        return list(self.raw.info["bads"])

    @property
    def sfreq(self) -> float:
        """Rate in Hz."""
        return float(self.raw.info["sfreq"])

    @property
    def duration_s(self) -> float:
        """Length in seconds, pauses included."""
        return self.timeline.duration_s

    @cached_property
    def timeline(self) -> TimeLine:
        """When its samples were measured."""
        return timeline_of(self.raw)

    @cached_property
    def unusable(self) -> dict[str, str]:
        """Channels whose microvolts nobody can tell, with the reason, from the header alone."""
        return unusable_channels(self.raw)

    def unit_notes(self, ch_names: Sequence[str]) -> list[str]:
        """Say of which of these channels the unit was concluded from the range."""
        return unit_notes(self.raw, ch_names)

    def digest(self) -> str | None:
        """Return what tells it by its content (:func:`biot_bd.io.recording_digest`)."""
        return recording_digest(self.raw)

    def reader(self, ch_names: Sequence[str]) -> tuple[ChannelReader, TimeLine]:
        """Return a reader of some channels and the time line at its rate.

        Raises
        ------
        DetectionError
            They cannot be read.
        """
        try:
            reader = self._reader(ch_names)
        except Exception as error:  # MNE fails in many ways on damaged files
            raise DetectionError(f"{self.where}: cannot be read ({type(error).__name__}: {one_line(error)})") from error
        return reader, self.timeline.at_rate(reader.sfreq, reader.n_samples)

    def close(self) -> None:
        """Close the file."""
        self.raw.close()

    def _reader(self, ch_names: Sequence[str]) -> ChannelReader:
        return open_reader(self.raw, ch_names)


class _PlainRecording(OpenRecording):
    """A plain EDF file; MNE opens it where somebody asks for :attr:`raw`."""

    def __init__(self, plain: PlainEdf, where: str) -> None:
        self._plain, self.where, self.notes = plain, where, list(plain.notes)

    @cached_property
    def raw(self) -> mne.io.BaseRaw:  # type: ignore[override]  # made when it is needed
        return open_raw(self._plain.header.path)[0]

    @property
    def ch_names(self) -> list[str]:
        return [name for name, _ in self._plain.header.channels]

    @property
    def bads(self) -> list[str]:
        return []

    @property
    def sfreq(self) -> float:
        return self._plain.timeline.sfreq

    @cached_property
    def timeline(self) -> TimeLine:
        return self._plain.timeline

    @cached_property
    def unusable(self) -> dict[str, str]:
        return unusable_channels(self._plain.header)

    def unit_notes(self, ch_names: Sequence[str]) -> list[str]:
        return unit_notes(self._plain.header, ch_names)

    def digest(self) -> str | None:
        return file_digest(self._plain.header)

    def close(self) -> None:
        if "raw" in self.__dict__:
            self.raw.close()

    def _reader(self, ch_names: Sequence[str]) -> ChannelReader:
        if ch_names:
            with suppress(NotPlainEdfError):
                return EdfReader(self._plain.header.path, ch_names, self._plain.header)
        return super()._reader(ch_names)


def open_recording(source: str | os.PathLike[str] | mne.io.BaseRaw) -> OpenRecording:
    """Open a file without reading its samples, or take an MNE recording as it is.

    Parameters
    ----------
    source : path or mne.io.BaseRaw
        Of any format that is registered (see :mod:`biot_bd.io.readers`).  EDF and BDF files that
        were cut short are read as far as they go, with a note.

    Returns
    -------
    OpenRecording
        Its ``raw`` is lazy where it is of a file.  A plain EDF file is opened without MNE.

    Raises
    ------
    DetectionError
        The file is missing, damaged, of no known format, or its times cannot be told; the message
        names it.
    TypeError
        It is neither a path nor a recording.

    See Also
    --------
    open_edf : EDF and BDF only, and strict.
    read_blocks, read_excerpt : Read what is opened.

    Examples
    --------
    >>> from biot_bd.io import open_recording
    >>> import mne, numpy as np
    >>> signals = 1e-6 * np.arange(2000.0).reshape(2, 1000)
    >>> info = mne.create_info(["Fp1", "Fp2"], 100.0, "eeg")
    >>> raw = mne.io.RawArray(signals, info, verbose="error")
    >>> open_recording(raw).where
    'recording of 2 channels in memory'
    """
    recording = _opened(source)
    try:
        recording.notes.extend(note for note in recording.timeline.notes if note not in recording.notes)
    except RecordingError as error:
        raise DetectionError(str(error)) from error
    except Exception as error:  # what lies beside the samples may be damaged in any way, too
        told = f"{type(error).__name__}: {one_line(error)}"
        raise DetectionError(f"{recording.where}: its times cannot be read ({told})") from error
    return recording


def _opened(source: str | os.PathLike[str] | mne.io.BaseRaw) -> OpenRecording:
    if is_raw(source):
        names = [os.fspath(name) for name in source.filenames if name is not None]
        return OpenRecording(source, names[0] if names else f"recording of {len(source.ch_names)} channels in memory")
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"expected a path or an mne.io.Raw, found {type(source).__name__}")
    try:
        plain = read_plain_edf(Path(source)) if opens_edf(checked_reader(Path(source))) else None
        if plain is not None:
            return _PlainRecording(plain, str(Path(source)))
        raw, notes = open_raw(source)
    except RecordingError as error:
        raise DetectionError(str(error)) from error
    return OpenRecording(raw, str(Path(source)), notes)


def read_blocks(
    recording: OpenRecording,
    ch_names: Sequence[str],
    start: int = 0,
    stop: int | None = None,
    reader: ChannelReader | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Read some channels block by block.

    Parameters
    ----------
    recording : OpenRecording
        What to read.
    ch_names : sequence of str
        Its channels, as the recording names them.
    start, stop : int
        Samples at the rate of the fastest of them; all by default.
    reader : ChannelReader, optional
        Of these channels, where it was opened by :meth:`OpenRecording.reader`.

    Yields
    ------
    ndarray of float32, shape (len(ch_names), n)
        In microvolts.

    Raises
    ------
    DetectionError
        The file cannot be read on; the message says where it broke.

    See Also
    --------
    read_excerpt : Some seconds at once.

    Examples
    --------
    >>> from biot_bd.io import open_recording, read_blocks
    >>> import mne, numpy as np
    >>> signals = 1e-6 * np.arange(2000.0).reshape(2, 1000)
    >>> info = mne.create_info(["Fp1", "Fp2"], 100.0, "eeg")
    >>> raw = mne.io.RawArray(signals, info, verbose="error")
    >>> [x.shape for x in read_blocks(open_recording(raw), ["Fp2"])]
    [(1, 1000)]
    """
    reader = reader or recording.reader(ch_names)[0]
    stop = reader.n_samples if stop is None else min(stop, reader.n_samples)
    begin = start
    try:
        for begin in range(start, stop, BLOCK_SAMPLES):
            yield reader.block(begin, min(begin + BLOCK_SAMPLES, stop)).read_all()
    except Exception as error:  # MNE fails in many ways on damaged files
        raise DetectionError(
            f"{recording.where}: cannot be read from {begin / reader.sfreq:g} s on "
            f"({type(error).__name__}: {one_line(error)})"
        ) from error


def read_excerpt(
    recording: OpenRecording, ch_names: Sequence[str], start_s: float, stop_s: float
) -> tuple[NDArray[np.float32], float, float]:
    """Read some seconds of some channels.

    Parameters
    ----------
    recording : OpenRecording
        What to read.
    ch_names : sequence of str
        Its channels, as the recording names them.
    start_s, stop_s : float
        Seconds since the recording's start, pauses included; what reaches into a pause or lies
        outside the recording is left out.

    Returns
    -------
    x : ndarray of float32, shape (len(ch_names), n)
        In microvolts.
    start_s : float
        Time of its first sample, which is the last one at or before the wanted start.
    sfreq : float
        Its rate in Hz, that of the fastest of the channels.

    See Also
    --------
    read_blocks : All of a recording, block by block.

    Examples
    --------
    >>> from biot_bd.io import open_recording, read_excerpt
    >>> import mne, numpy as np
    >>> signals = 1e-6 * np.arange(2000.0).reshape(2, 1000)
    >>> info = mne.create_info(["Fp1", "Fp2"], 100.0, "eeg")
    >>> raw = mne.io.RawArray(signals, info, verbose="error")
    >>> x, start_s, sfreq = read_excerpt(open_recording(raw), ["Fp1"], 2.0, 2.03)
    >>> [round(float(value)) for value in x[0]], start_s
    ([200, 201, 202], 2.0)
    """
    reader, line = recording.reader(ch_names)
    start = max(0, int(line.position_of(start_s)))
    stop = int(np.ceil(line.position_of(stop_s)))
    if not line.is_continuous:
        middle = float(line.position_of((start_s + stop_s) / 2))
        whole = next((s for s in line.segments if middle < s.stop_sample), line.segments[-1])
        start, stop = max(start, whole.first_sample), min(stop, whole.stop_sample)
    parts = list(read_blocks(recording, ch_names, start, stop, reader))
    x = np.concatenate(parts, axis=1) if parts else np.empty((len(ch_names), 0), np.float32)
    return x, float(line.time_of(start)), reader.sfreq
