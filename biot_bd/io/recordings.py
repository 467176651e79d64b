"""Recordings as a detector reads them: opened lazily, read in blocks, in microvolts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mne
import numpy as np
from numpy.typing import NDArray

from biot_bd.exceptions import DetectionError, RecordingError
from biot_bd.io.channel_readers import open_reader
from biot_bd.io.edf import open_edf, read_edf_header

# A block is some megabytes, whatever the rate.
BLOCK_SAMPLES = 2**15


@dataclass(frozen=True)
class OpenRecording:
    """A recording that can be read.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        In volts.
    where : str
        Name for messages: the path, or what the recording says of itself.
    notes : list of str
        What a reader of the results should know, e.g. that the file is cut short.

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

    raw: mne.io.BaseRaw
    where: str
    notes: list[str] = field(default_factory=list)

    @property
    def sfreq(self) -> float:
        """Rate in Hz."""
        return float(self.raw.info["sfreq"])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return int(self.raw.n_times) / self.sfreq


def open_recording(source: str | os.PathLike[str] | mne.io.BaseRaw) -> OpenRecording:
    """Open a file without reading its samples, or take an MNE recording as it is.

    Parameters
    ----------
    source : path or mne.io.BaseRaw
        EDF, BDF, or any format that :func:`mne.io.read_raw` knows.  EDF and BDF files that were cut
        short are read as far as they go, with a note.

    Returns
    -------
    OpenRecording
        Its ``raw`` is lazy where it is of a file.

    Raises
    ------
    DetectionError
        The file is missing, damaged, of no known format, or discontinuous; the message names it.
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
    if isinstance(source, mne.io.BaseRaw):
        names = [os.fspath(name) for name in source.filenames if name is not None]
        return OpenRecording(source, names[0] if names else f"recording of {len(source.ch_names)} channels in memory")
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"expected a path or an mne.io.Raw, found {type(source).__name__}")
    path = Path(source)
    _check_readable(path)
    notes = []
    try:
        if path.suffix.lower() in (".edf", ".bdf"):
            raw = open_edf(path, allow_truncated=True)
            if short := read_edf_header(path).cut_short:
                notes.append(f"cut short: {short}; what is there was used")
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                raw = mne.io.read_raw(path, preload=False, verbose="ERROR")
    except RecordingError as error:
        raise DetectionError(str(error)) from error
    except Exception as error:  # MNE fails in many ways on damaged files
        raise DetectionError(f"{path}: cannot be read as EEG ({type(error).__name__}: {_first_line(error)})") from error
    return OpenRecording(raw, str(path), notes)


def _check_readable(path: Path) -> None:
    try:
        size = path.stat().st_size
        if path.is_dir():
            os.scandir(path).close()
    except OSError as error:
        raise DetectionError(f"{path}: cannot be opened ({error.strerror})") from error
    if path.is_dir() and path.suffix.lower() not in (".mff", ".ds"):
        raise DetectionError(f"{path}: is a folder; expected a recording")
    if path.is_file() and size == 0:
        raise DetectionError(f"{path}: the file is empty (0 bytes)")


def read_blocks(
    recording: OpenRecording, ch_names: Sequence[str], start: int = 0, stop: int | None = None
) -> Iterator[NDArray[np.float32]]:
    """Read some channels block by block.

    Parameters
    ----------
    recording : OpenRecording
        What to read.
    ch_names : sequence of str
        Its channels, as the recording names them.
    start, stop : int
        Samples; all of them by default.

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
    stop = recording.raw.n_times if stop is None else min(stop, recording.raw.n_times)
    begin = start
    try:
        reader = open_reader(recording.raw, ch_names)
        for begin in range(start, stop, BLOCK_SAMPLES):
            yield reader.block(begin, min(begin + BLOCK_SAMPLES, stop)).read_all()
    except Exception as error:  # MNE fails in many ways on damaged files
        raise DetectionError(
            f"{recording.where}: cannot be read from {begin / recording.sfreq:g} s on "
            f"({type(error).__name__}: {_first_line(error)})"
        ) from error


def read_excerpt(
    recording: OpenRecording, ch_names: Sequence[str], start_s: float, stop_s: float
) -> tuple[NDArray[np.float32], float]:
    """Read some seconds of some channels.

    Parameters
    ----------
    recording : OpenRecording
        What to read.
    ch_names : sequence of str
        Its channels, as the recording names them.
    start_s, stop_s : float
        Seconds from the recording's first sample; what lies outside the recording is left out.

    Returns
    -------
    x : ndarray of float32, shape (len(ch_names), n)
        In microvolts.
    start_s : float
        Time of its first sample, which is the last one at or before the wanted start.

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
    >>> x, start_s = read_excerpt(open_recording(raw), ["Fp1"], 2.0, 2.03)
    >>> [round(float(value)) for value in x[0]], start_s
    ([200, 201, 202], 2.0)
    """
    start = max(0, int(start_s * recording.sfreq))
    parts = list(read_blocks(recording, ch_names, start, int(np.ceil(stop_s * recording.sfreq))))
    x = np.concatenate(parts, axis=1) if parts else np.empty((len(ch_names), 0), np.float32)
    return x, start / recording.sfreq


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
