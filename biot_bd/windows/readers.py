"""Reading the needed channels of one recording, in microvolts.

Plain EDF files are read from a memory map by edfio, one channel at a time, straight from int16.  Everything else goes
through MNE: other formats, data already in memory, discontinuous or truncated files, uneven rates, units that are not
volts, channels that were renamed.  The fast reader is used only after it gave what MNE gives in three places of the file.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import edfio
import mne
import numpy as np
from numpy.typing import NDArray

__all__ = ["ChannelReader", "EdfReader", "RawReader", "open_reader", "source_file"]

UV_PER_V = 1e6
# Both code points for micro occur in headers, MICRO SIGN and GREEK SMALL LETTER MU.
UV_PER_UNIT = {"uV": 1.0, "µV": 1.0, "μV": 1.0, "mV": 1e3, "V": 1e6}
CHUNK_SAMPLES = 2**18
# Relative to a channel's physical range; float32 has 24 bits.
AGREEMENT = 1e-6


class ChannelReader(Protocol):
    """What :func:`open_reader` returns.

    Attributes
    ----------
    ch_names : tuple of str
        The channels that can be read.
    sfreq : float
        Rate in Hz.
    n_samples : int
        Length.
    """

    ch_names: tuple[str, ...]
    sfreq: float
    n_samples: int

    def read(self, index: int) -> NDArray[np.float32]:
        """Return channel ``index`` in uV, float32 ``(n_samples,)``."""
        ...

    def range_uv(self, index: int) -> float | None:
        """Return the largest absolute value that the header allows, in uV, or None where nothing is known."""
        ...


class NotPlainEdfError(Exception):
    """The fast reader cannot be trusted with this recording; MNE reads it."""


class EdfReader:
    """Some channels of a plain EDF file, read from a memory map.

    Parameters
    ----------
    path : str or Path
        The file.
    ch_names : sequence of str
        The channels, named as MNE names them (``-0``, ``-1`` behind labels that occur twice).

    Raises
    ------
    NotPlainEdfError
        The file or one of the channels needs MNE; the message says why.
    """

    def __init__(self, path: str | Path, ch_names: Sequence[str]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # edfio warns of what it had to guess
                edf = edfio.read_edf(Path(path), lazy_load_data=True, header_encoding="latin-1")
                names = _mne_names([signal.label for signal in edf.signals])
                found = dict(zip(names, edf.signals, strict=True))
                missing = [name for name in ch_names if name not in found]
                if missing or not edf.is_continuous or len(found) != len(names):
                    raise NotPlainEdfError(f"channels {missing} are not in the header, or the file is discontinuous")
                self._signals = [found[name] for name in ch_names]
                self._scales = [_scale_and_offset(signal) for signal in self._signals]
                lengths = {len(s.digital) for s in self._signals[:1]} | {
                    s.samples_per_data_record * edf.num_data_records for s in self._signals
                }
                rates = {s.sampling_frequency for s in self._signals}
        except NotPlainEdfError:
            raise
        except Exception as error:  # edfio may fail in any way on a damaged file; MNE then has the last word
            raise NotPlainEdfError(f"{type(error).__name__}: {error}") from error
        if len(lengths) != 1 or len(rates) != 1:
            raise NotPlainEdfError(f"channels of several rates {sorted(rates)} or lengths {sorted(lengths)}")
        self.ch_names = tuple(ch_names)
        self.sfreq, self.n_samples = float(rates.pop()), int(lengths.pop())

    def read(self, index: int) -> NDArray[np.float32]:
        """Return channel ``index`` in uV, float32 ``(n_samples,)``."""
        return self.read_part(index, 0, self.n_samples)

    def read_part(self, index: int, start: int, stop: int) -> NDArray[np.float32]:
        """Return samples ``start`` to ``stop`` of channel ``index`` in uV, float32."""
        scale, offset = self._scales[index]
        x = self._signals[index].digital[start:stop].astype(np.float32)
        x *= np.float32(scale)
        x += np.float32(offset)
        return x

    def range_uv(self, index: int) -> float:
        """Return the largest absolute value that the header allows, in uV."""
        signal = self._signals[index]
        return max(abs(signal.physical_min), abs(signal.physical_max)) * UV_PER_UNIT[signal.physical_dimension]


class RawReader:
    """Some channels of any MNE recording, held in memory as float32.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording, in volts.
    ch_names : sequence of str
        The channels.
    """

    def __init__(self, raw: mne.io.BaseRaw, ch_names: Sequence[str]) -> None:
        self.ch_names = tuple(ch_names)
        self.sfreq, self.n_samples = float(raw.info["sfreq"]), len(raw.times)
        picks = [raw.ch_names.index(name) for name in ch_names]
        self._x = np.empty((len(picks), self.n_samples), np.float32)
        for start in range(0, self.n_samples, CHUNK_SAMPLES):  # MNE reads float64; never the whole recording at once
            stop = min(start + CHUNK_SAMPLES, self.n_samples)
            chunk = raw.get_data(picks, start, stop, verbose="error")
            chunk *= UV_PER_V
            self._x[:, start:stop] = chunk

    def read(self, index: int) -> NDArray[np.float32]:
        """Return channel ``index`` in uV, float32 ``(n_samples,)``."""
        return self._x[index].copy()

    def range_uv(self, index: int) -> None:
        """Return None: MNE does not tell the header's range."""
        return None


def source_file(raw: mne.io.BaseRaw) -> Path | None:
    """Return the file that a recording reads from, or None (several files, or none)."""
    files = [name for name in raw.filenames if name is not None]
    return Path(files[0]) if len(files) == 1 else None


def open_reader(raw: mne.io.BaseRaw, ch_names: Sequence[str]) -> ChannelReader:
    """Return the fastest reader that gives what MNE gives.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording.
    ch_names : sequence of str
        The channels that are needed, named as in ``raw.ch_names``.

    Returns
    -------
    EdfReader or RawReader
        A reader of those channels, in their order.
    """
    path = source_file(raw)
    lazy_edf = type(raw).__name__ == "RawEDF" and not raw.preload and not raw.proj and raw.first_samp == 0
    if ch_names and lazy_edf and path is not None and path.suffix.lower() == ".edf":
        try:
            reader = EdfReader(path, ch_names)
            if _agrees(reader, raw):
                return reader
        except NotPlainEdfError:
            pass
    return RawReader(raw, ch_names)


def _agrees(reader: EdfReader, raw: mne.io.BaseRaw) -> bool:
    """Return whether the fast reader gives what MNE gives at the start, in the middle and at the end."""
    if reader.n_samples != len(raw.times) or reader.sfreq != raw.info["sfreq"]:
        return False
    length = min(reader.n_samples, 64)
    picks = [raw.ch_names.index(name) for name in reader.ch_names]
    tolerance = AGREEMENT * np.array([[reader.range_uv(i)] for i in range(len(picks))])
    for start in {0, (reader.n_samples - length) // 2, reader.n_samples - length}:
        expected = raw.get_data(picks, start, start + length, verbose="error") * UV_PER_V
        found = np.stack([reader.read_part(i, start, start + length) for i in range(len(picks))])
        if not (np.abs(found - expected) <= tolerance).all():
            return False
    return True


def _mne_names(labels: Sequence[str]) -> list[str]:
    """Return labels as MNE makes them unique: ``-0``, ``-1``, ... behind those that occur more than once."""
    labels = [label.strip() for label in labels]
    counts, seen = Counter(labels), Counter[str]()
    names = []
    for label in labels:
        names.append(f"{label}-{seen[label]}" if counts[label] > 1 else label)
        seen[label] += 1
    return names


def _scale_and_offset(signal: Any) -> tuple[float, float]:
    """Return (uV a digital step, uV at digital zero) of an EDF signal."""
    unit = UV_PER_UNIT.get(signal.physical_dimension)
    physical, digital = signal.physical_max - signal.physical_min, signal.digital_max - signal.digital_min
    if unit is None or physical <= 0 or digital <= 0:
        raise NotPlainEdfError(f"channel {signal.label}: unit {signal.physical_dimension!r} or an empty range")
    scale = physical / digital
    return scale * unit, (signal.physical_min - scale * signal.digital_min) * unit
