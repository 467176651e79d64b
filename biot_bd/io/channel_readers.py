"""Reading the needed channels of one recording, in microvolts, block by block.

Plain EDF files are read record by record into a buffer, straight from int16.  Everything else goes
through MNE: other formats, data already in memory, discontinuous or truncated files, uneven rates,
units that are not volts, channels that were renamed.  The fast reader is used only after it gave
what MNE gives in three places of the file.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.io.edf_header import EdfHeader, read_edf_header
from biot_bd.io.units import UV_PER_V, channel_uv

if TYPE_CHECKING:
    import mne

CHUNK_SAMPLES = 2**18
# Values that MNE's data may take as float32, 96 MB; reading them twice would cost more.
LARGEST_HELD = 24 * 2**20
CHUNK_BYTES = 2**20
LARGEST_RECORD = 2**22
# Relative to a channel's physical range; float32 has 24 bits.
AGREEMENT = 1e-6


class NotPlainEdfError(Exception):
    """The fast reader cannot be trusted with this recording; MNE reads it."""


class EdfReader:
    """Some channels of a plain EDF file.

    Only the block at hand is in memory, which does not grow with the file.

    Parameters
    ----------
    path : str or Path
        The file.
    ch_names : sequence of str
        The channels, named as MNE names them (``-0``, ``-1`` behind labels that occur twice).
    header : EdfHeader, optional
        Of the file, where it was read before.

    Attributes
    ----------
    ch_names : tuple of str
        The channels that can be read.
    sfreq : float
        Rate in Hz.
    n_samples : int
        Length.
    scales : list of (float, float)
        uV a digital step, and uV at digital zero, by channel.
    ranges_uv : list of float
        The largest absolute value that the header allows, by channel.

    Raises
    ------
    NotPlainEdfError
        The file or one of the channels needs MNE; the message says why.
    """

    def __init__(self, path: str | Path, ch_names: Sequence[str], header: EdfHeader | None = None) -> None:
        try:
            header = header or read_edf_header(path)
            found = dict(header.channels)
            if missing := [name for name in ch_names if name not in found]:
                raise NotPlainEdfError(f"channels {missing} are not in the header")
            if len(found) < len(header.channels) or header.sample_bytes != 2 or header.cut_short:
                raise NotPlainEdfError("names that occur twice, 24-bit samples, or fewer records than declared")
            chosen = [found[name] for name in ch_names]
            self.scales, self.ranges_uv = _calibrations(header, chosen)
            lengths = {header.samples[i] for i in chosen}
            if len(lengths) != 1:
                raise NotPlainEdfError(f"channels of several rates: {sorted(lengths)} samples in a record")
            self._length = lengths.pop()
            self.sfreq = self._length / header.record_s
        except (ValueError, ZeroDivisionError) as error:  # a damaged file: MNE has the last word
            raise NotPlainEdfError(f"{type(error).__name__}: {error}") from error
        ends = np.cumsum(header.samples).tolist()
        self._columns = [(ends[i] - self._length, ends[i]) for i in chosen]
        self._record_samples, self._record_bytes = ends[-1], 2 * ends[-1]
        self._offset, self._path, self.ch_names = header.n_bytes, Path(path), tuple(ch_names)
        self.n_samples = self._length * (header.present if header.declared < 0 else header.declared)
        self._records = np.empty((max(1, CHUNK_BYTES // self._record_bytes), self._record_samples), "<i2")
        self._samples = np.empty((len(chosen), 0), "<i2")

    def block(self, start: int, stop: int) -> Block:
        """Return samples ``start`` to ``stop`` of all channels.

        It may be read until the next call.
        """
        if self._samples.shape[1] < stop - start:
            self._samples = np.empty((len(self.ch_names), stop - start), "<i2")
        samples = self._samples[:, : stop - start]
        length = self._length
        with self._path.open("rb", buffering=0) as file:
            # Pieces of a few records are still in the cache when the channels are taken from them.
            for begin in range(start // length, -(-stop // length), len(self._records)):
                records = self._read(file, begin, min(begin + len(self._records), self.n_samples // length))
                a, b = max(start, begin * length), min(stop, (begin + len(records)) * length)
                for row, (left, right) in zip(samples, self._columns, strict=True):
                    _copy(records, left, right, a - begin * length, row[a - start : b - start])
        return Block(samples, self.scales)

    def _read(self, file: io.FileIO, begin: int, end: int) -> NDArray[np.int16]:
        """Return records ``begin`` to ``end``.

        A single one as long as the file may be is mapped.
        """
        offset = self._offset + self._record_bytes * begin
        if self._record_bytes > LARGEST_RECORD:
            return np.asarray(
                np.memmap(file, "<i2", mode="r", offset=offset, shape=(end - begin, self._record_samples))
            )
        records = self._records[: end - begin]
        fill(records, file, offset, self._path)
        return records


def fill(records: NDArray[Any], file: io.FileIO, offset: int, path: Path) -> None:
    """Read an array from ``offset`` of a file.

    Raises
    ------
    OSError
        The file, named ``path`` in the message, ends before the array is full.
    """
    left = records.data.cast("B")
    file.seek(offset)
    while left:
        n = file.readinto(left)
        if not n:
            raise OSError(f"{path}: the file ends {len(left)} bytes before its header says")
        left = left[n:]


class Block:
    """Samples ``(n_channels, n)`` of a stretch: digital ones and their calibration, or uV.

    Attributes
    ----------
    samples : ndarray, shape (n_channels, n)
        As the file has them; not to be changed.
    """

    def __init__(self, samples: NDArray[Any], scales: Sequence[tuple[float, float]] | None = None) -> None:
        self.samples, self._scales = samples, scales

    def read(self, index: int, out: NDArray[np.float32]) -> None:
        """Write channel ``index`` in this stretch to ``out``, in uV.

        ``out`` is as long as the stretch.
        """
        out[:] = self.samples[index]
        if self._scales is not None:
            scale, offset = self._scales[index]
            out *= np.float32(scale)
            out += np.float32(offset)

    def read_all(self) -> NDArray[np.float32]:
        """Return all channels in uV, ``(n_channels, n)``, to be changed at will."""
        out = np.empty(self.samples.shape, np.float32)
        for index, row in enumerate(out):
            self.read(index, row)
        return out

    def stored(self, index: int) -> NDArray[Any]:
        """Return channel ``index`` in this stretch as it is held; not to be changed."""
        return self.samples[index]


def _copy(records: NDArray[np.int16], first: int, last: int, skip: int, out: NDArray[np.int16]) -> None:
    """Fill ``out`` with columns of the records, one after the other, from sample ``skip`` on."""
    length, n = last - first, len(out)
    # A record may be as long as the file, so that its ends are cut before anything is copied.
    head = min(n, length - skip) if skip else 0
    if head:
        out[:head] = records[0, first + skip : first + skip + head]
    row, n_whole = int(head > 0), (n - head) // length
    done = head + n_whole * length
    out[head:done].reshape(n_whole, length)[...] = records[row : row + n_whole, first:last]
    if done < n:
        out[done:] = records[row + n_whole, first : first + n - done]


class RawReader:
    """Some channels of any MNE recording; what the header says of them, MNE does not tell.

    Held in memory as float32 where they are short, else read block by block.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording, in volts.
    ch_names : sequence of str
        The channels.
    """

    scales = ranges_uv = None

    def __init__(self, raw: mne.io.BaseRaw, ch_names: Sequence[str]) -> None:
        self.ch_names = tuple(ch_names)
        self.sfreq, self.n_samples = float(raw.info["sfreq"]), int(raw.n_times)
        self._raw, self._picks = raw, [raw.ch_names.index(name) for name in ch_names]
        self._x: NDArray[np.float32] | None = None
        if not raw.preload and len(self._picks) * self.n_samples <= LARGEST_HELD:
            self._x = self._read(0, self.n_samples)

    def block(self, start: int, stop: int) -> Block:
        """Return samples ``start`` to ``stop`` of all channels."""
        return Block(self._read(start, stop) if self._x is None else self._x[:, start:stop])

    def _read(self, begin: int, end: int) -> NDArray[np.float32]:
        x = np.empty((len(self._picks), end - begin), np.float32)
        for start in range(begin, end, CHUNK_SAMPLES):  # MNE reads float64; never the whole recording at once
            stop = min(start + CHUNK_SAMPLES, end)
            chunk = self._raw.get_data(self._picks, start, stop, verbose="error")
            chunk *= UV_PER_V
            x[:, start - begin : stop - begin] = chunk
        return x


def source_file(raw: mne.io.BaseRaw) -> Path | None:
    """Return the file that a recording reads from, or None (several files, or none)."""
    files = [name for name in raw.filenames if name is not None]
    return Path(files[0]) if len(files) == 1 else None


def may_be_plain_edf(raw: mne.io.BaseRaw) -> bool:
    """Return whether a recording is an untouched EDF file, for :class:`EdfReader`."""
    path = source_file(raw)
    lazy = type(raw).__name__ == "RawEDF" and not raw.preload and not raw.proj and raw.first_samp == 0
    return lazy and path is not None


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
    EdfReader, RawReader or OwnRatesReader
        A reader of those channels, in their order, at the rate of the fastest of them
        (:func:`rate_of`).

    See Also
    --------
    read_blocks : The same for recordings that are opened by :func:`open_recording`.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.io import open_reader
    >>> import mne
    >>> signals = 1e-6 * np.arange(2000.0).reshape(2, 1000)
    >>> info = mne.create_info(["Fp1", "Fp2"], 100.0, "eeg")
    >>> raw = mne.io.RawArray(signals, info, verbose="error")
    >>> reader = open_reader(raw, ["Fp2"])
    >>> out = np.empty(3, np.float32)
    >>> reader.block(0, 3).read(0, out)
    >>> [round(float(value)) for value in out]
    [1000, 1001, 1002]
    """
    if _has_slower(raw, ch_names):
        return _at_own_rates(raw, ch_names)
    path = source_file(raw)
    if ch_names and path is not None and may_be_plain_edf(raw):
        reader = _edf_reader(path, ch_names, raw)
        if reader is not None:
            return reader
    return RawReader(raw, ch_names)


def _edf_reader(path: Path, ch_names: Sequence[str], raw: mne.io.BaseRaw) -> EdfReader | None:
    """Return the fast reader where it gives what MNE gives, else None."""
    try:
        reader = EdfReader(path, ch_names)
        return reader if _agrees(reader, raw) else None
    except NotPlainEdfError:
        return None


def rate_of(raw: mne.io.BaseRaw, ch_names: Sequence[str]) -> float:
    """Return the rate at which :func:`open_reader` reads channels, that of the fastest.

    It is less than the recording's where MNE would stretch all of them for the sake of a faster one
    (ECG at 500 Hz).
    """
    if not _has_slower(raw, ch_names):
        return float(raw.info["sfreq"])
    return max(_counts(raw, ch_names)) * _records_a_second(raw)


def _is_lazy_edf(raw: mne.io.BaseRaw) -> bool:
    return type(raw).__name__ in ("RawEDF", "RawBDF") and not raw.preload and len(raw.filenames) == 1


def _has_slower(raw: mne.io.BaseRaw, ch_names: Sequence[str]) -> bool:
    """Return whether channels are slower than the fastest of their EDF or BDF file.

    It stretches each block that is read, by itself, and displaces the channel where a block begins
    within a record.  Trigger channels are left to MNE, which changes their numbers.
    """
    if not ch_names or not _is_lazy_edf(raw):
        return False
    import mne

    if any(mne.channel_type(raw.info, raw.ch_names.index(name)) == "stim" for name in ch_names):
        return False
    return min(_counts(raw, ch_names)) < raw._raw_extras[0]["max_samp"]


def _counts(raw: mne.io.BaseRaw, ch_names: Sequence[str]) -> list[int]:
    """Return the samples a record of channels of a lazy EDF or BDF recording."""
    extras, picks = raw._raw_extras[0], raw._read_picks[0]
    return [int(extras["n_samps"][extras["sel"][picks[raw.ch_names.index(name)]]]) for name in ch_names]


def _records_a_second(raw: mne.io.BaseRaw) -> float:
    return float(raw.info["sfreq"]) / int(raw._raw_extras[0]["max_samp"])


def _at_own_rates(raw: mne.io.BaseRaw, ch_names: Sequence[str]) -> ChannelReader:
    """Return a reader of channels some of which are slower than the fastest of their file."""
    path = source_file(raw)
    if path is None or raw.proj:  # a projection mixes channels
        return RawReader(raw.copy().load_data(verbose="error"), ch_names)
    counts = _counts(raw, ch_names)
    picks = raw._read_picks[0]
    # What MNE called them before anybody renamed them.
    names = [raw._raw_extras[0]["ch_names"][picks[raw.ch_names.index(name)]] for name in ch_names]
    readers: dict[int, EdfReader | RawReader] = {}
    for count in sorted(set(counts), reverse=True):
        some = [name for name, n in zip(names, counts, strict=True) if n == count]
        alone = _opened_alone(raw, path, some)
        readers[count] = _edf_reader(path, some, alone) or RawReader(alone, some)
    fastest = readers[max(counts)]
    start = round(raw.first_samp * fastest.sfreq / raw.info["sfreq"])
    length = min(round(raw.n_times * fastest.sfreq / raw.info["sfreq"]), fastest.n_samples - start)
    if len(readers) == 1 and (start, length) == (0, fastest.n_samples):
        fastest.ch_names = tuple(ch_names)
        return fastest
    return OwnRatesReader(ch_names, counts, readers, start, length)


def _opened_alone(raw: mne.io.BaseRaw, path: Path, names: Sequence[str]) -> mne.io.BaseRaw:
    """Open a file once more for channels of one rate, so that MNE stretches none."""
    # Repeated labels are "T8-P8" in the header and "T8-P8-0", "T8-P8-1" to MNE.
    single = read_edf_header(path).labels
    parts = (name.rpartition("-") for name in names if name not in single)
    labels = [*names, *(label for label, _, number in parts if number.isdigit())]
    # By its class, as MNE's functions go by the file's ending.
    alone = type(raw)(path, include=labels, preload=False, verbose="ERROR", encoding="latin1")
    told, own = raw._raw_extras[0], alone._raw_extras[0]
    units = dict(zip(told["ch_names"], told["units"], strict=True))
    own["units"] = np.array([units[name] for name in own["ch_names"]])  # corrected ones, too
    if _has_slower(alone, names):  # repeated labels of different rates
        alone.load_data(verbose="error")
    return alone


class OwnRatesReader:
    """Channels of different rates, or a stretch of them; slower ones are resampled.

    They are resampled whole, as MNE does with a recording that is loaded, and held as float32.

    Parameters
    ----------
    ch_names : sequence of str
        The channels.
    counts : sequence of int
        The samples a record of each.
    readers : dict of int to ChannelReader
        By samples a record, a reader of all channels that have so many, in order.
    start, n_samples : int
        The stretch, in samples of the fastest.
    """

    scales = ranges_uv = None  # a resampled channel may exceed its range by a little

    def __init__(
        self,
        ch_names: Sequence[str],
        counts: Sequence[int],
        readers: dict[int, EdfReader | RawReader],
        start: int,
        n_samples: int,
    ) -> None:
        self.ch_names, self.n_samples = tuple(ch_names), n_samples
        self._fastest, self._start = readers[max(counts)], start
        self.sfreq = self._fastest.sfreq
        # By channel: its place in the reader of the fastest, or all of it.
        self._sources: list[int | NDArray[np.float32]] = []
        seen = Counter[int]()
        for count in counts:
            place, seen[count] = seen[count], seen[count] + 1
            slower = readers[count] is not self._fastest
            self._sources.append(_stretched(readers[count], place, self._fastest.n_samples) if slower else place)

    def block(self, start: int, stop: int) -> Block:
        """Return samples ``start`` to ``stop`` of all channels."""
        start, stop = start + self._start, stop + self._start
        fastest, x = self._fastest.block(start, stop), np.empty((len(self._sources), stop - start), np.float32)
        for source, row in zip(self._sources, x, strict=True):
            if isinstance(source, int):
                fastest.read(source, row)
            else:
                row[:] = source[start:stop]
        return Block(x)


def _stretched(reader: EdfReader | RawReader, index: int, n_samples: int) -> NDArray[np.float32]:
    """Return a whole channel, resampled to ``n_samples``, in uV."""
    x = np.empty(reader.n_samples, np.float32)
    for start in range(0, len(x), CHUNK_SAMPLES):
        stop = min(start + CHUNK_SAMPLES, len(x))
        reader.block(start, stop).read(index, x[start:stop])
    import mne

    return np.asarray(mne.filter.resample(x.astype(np.float64), n_samples, len(x), npad=0, verbose="error"), np.float32)


ChannelReader = EdfReader | RawReader | OwnRatesReader


def _agrees(reader: EdfReader, raw: mne.io.BaseRaw) -> bool:
    """Return whether the fast reader gives what MNE gives at start, middle and end."""
    if reader.n_samples != raw.n_times or reader.sfreq != raw.info["sfreq"]:
        return False
    length = min(reader.n_samples, 64)
    picks = [raw.ch_names.index(name) for name in reader.ch_names]
    tolerance = AGREEMENT * np.array(reader.ranges_uv)[:, None]
    for start in {0, (reader.n_samples - length) // 2, reader.n_samples - length}:
        expected = raw.get_data(picks, start, start + length) * UV_PER_V
        if not (np.abs(reader.block(start, start + length).read_all() - expected) <= tolerance).all():
            return False
    return True


def _calibrations(header: EdfHeader, chosen: Sequence[int]) -> tuple[list[tuple[float, float]], list[float]]:
    """Return (uV a digital step, uV at digital zero) and the largest value in uV of signals."""
    units = header.field("unit")
    bounds = [header.field(name) for name in ("physical_min", "physical_max", "digital_min", "digital_max")]
    scales, largest = [], []
    for i in chosen:
        low, high, digital_low, digital_high = (float(of_all[i]) for of_all in bounds)
        if high <= low or digital_high <= digital_low:
            raise NotPlainEdfError(f"channel {header.labels[i]}: an empty range")
        scale = (high - low) / (digital_high - digital_low)
        offset, top = low - scale * digital_low, max(abs(low), abs(high))
        unit = channel_uv(units[i], top, scale)
        if unit is None:
            raise NotPlainEdfError(f"channel {header.labels[i]}: unit {units[i]!r}")
        if abs(offset) > 4 * top:
            raise NotPlainEdfError(
                f"channel {header.labels[i]}: a digital range so far from zero that float32 loses digits"
            )
        scales.append((scale * unit, offset * unit))
        largest.append(top * unit)
    return scales, largest
