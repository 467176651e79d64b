"""What a recording is told by, whatever its file, folder, subject and date are called.

A copy that was renamed, or whose header names another patient or day, has the same digest; it is
made of channel labels, rates and samples alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.io.channel_readers import LARGEST_RECORD, fill, source_file
from biot_bd.io.edf_header import ANNOTATIONS, EdfHeader, read_edf_header

if TYPE_CHECKING:
    import mne

# Of a longer recording, parts: of an hour all samples would take a tenth of its preparation.
WHOLE_SAMPLES = 2**22
N_PARTS, PART_SAMPLES = 16, 2**16
_INT16 = np.iinfo(np.int16)

Pieces = Iterator[tuple[int, NDArray[Any]]]


def recording_digest(raw: mne.io.BaseRaw) -> str | None:
    """Return what tells a recording from every other, by its content.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording.  Of one that reads an EDF or BDF file, that file's labels, rates and digital
        samples count, whatever was picked, renamed or cropped; of others, the samples as they are
        read, as float32.

    Returns
    -------
    str or None
        32 hexadecimal digits over all samples of up to 4 million, else over 16 parts that are
        spread evenly; None where no channel moves in them, so that there is nothing to tell by.

    Raises
    ------
    OSError, biot_bd.exceptions.RecordingError
        The file is gone, or damaged.

    See Also
    --------
    biot_bd.models.checkpoints.seen_recordings.SeenRecordings : What a model says of its recordings.

    Examples
    --------
    >>> import mne, numpy as np
    >>> from biot_bd.io import recording_digest
    >>> x = 1e-5 * np.sin(np.arange(2000.0)).reshape(2, 1000)
    >>> info = mne.create_info(["Fp1", "Fp2"], 100.0, "eeg")
    >>> ours = mne.io.RawArray(x, info, verbose="error")
    >>> theirs = ours.copy().set_meas_date(86400)
    >>> recording_digest(ours) == recording_digest(theirs)
    True
    >>> recording_digest(mne.io.RawArray(0 * x, info, verbose="error")) is None
    True
    """
    header = _edf_header_of(raw)
    if header is None:
        sfreq, n_samples = float(raw.info["sfreq"]), int(raw.n_times)
        channels = [(name, round(sfreq, 6), n_samples) for name in raw.ch_names]
        return _digest("samples", channels, _pieces_of_raw(raw, _parts([n_samples] * len(channels))))
    return file_digest(header)


def file_digest(header: EdfHeader) -> str | None:
    """Return :func:`recording_digest` of an EDF or BDF file, by its header and digital samples."""
    ordinary = [i for i, label in enumerate(header.labels) if label not in ANNOTATIONS]
    counts = [header.samples[i] * header.present for i in ordinary]
    duration_s = header.record_s * header.present
    channels = [
        (header.labels[i], round(n / duration_s, 6) if duration_s > 0 else 0.0, n)
        for i, n in zip(ordinary, counts, strict=True)
    ]
    return _digest("digital", channels, _pieces_of_edf(header, ordinary, _parts(counts)))


def _edf_header_of(raw: mne.io.BaseRaw) -> EdfHeader | None:
    """Return the header of the one EDF or BDF file that a recording is of, else None."""
    path = source_file(raw)
    if type(raw).__name__ not in ("RawEDF", "RawBDF") or path is None:
        return None
    # Samples in memory outlive their file.
    return None if raw.preload and not path.is_file() else read_edf_header(path)


def _parts(counts: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Return the parts that count, each as (first, stop) by channel.

    They depend on the lengths alone, so that records of another length make no difference.
    """
    total = sum(counts)
    if total <= WHOLE_SAMPLES:
        return [[(0, n) for n in counts]]
    parts = []
    for number in range(N_PARTS):
        lengths = [max(1, n * PART_SAMPLES // total) if n else 0 for n in counts]
        firsts = [(n - length) * number // (N_PARTS - 1) for n, length in zip(counts, lengths, strict=True)]
        parts.append([(first, first + length) for first, length in zip(firsts, lengths, strict=True)])
    return parts


def _digest(kind: str, channels: Sequence[tuple[str, float, int]], pieces: Pieces) -> str | None:
    """Return the digest of channels (label, rate, samples) and of pieces of them."""
    digest = hashlib.sha256(json.dumps(["biot_bd recording 1", kind, *channels]).encode())
    first: dict[int, Any] = {}
    moves = False
    for channel, x in pieces:
        if not moves and x.size:
            moves = bool((x != first.setdefault(channel, x[0])).any()) and bool(np.isfinite(x).any())
        digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()[:32] if moves else None


def _pieces_of_raw(raw: mne.io.BaseRaw, parts: list[list[tuple[int, int]]]) -> Pieces:
    for part in parts:
        first, stop = part[0] if part else (0, 0)
        yield from enumerate(raw.get_data(start=first, stop=stop, verbose="error").astype("<f4"))


def _pieces_of_edf(header: EdfHeader, chosen: Sequence[int], parts: list[list[tuple[int, int]]]) -> Pieces:
    """Yield digital samples, as int16 where they fit: EDF and BDF of one recording agree."""
    ends = np.cumsum([0, *header.samples]) * header.sample_bytes
    with header.path.open("rb", buffering=0) as file:
        for part in parts:
            lengths = [header.samples[i] for i in chosen]
            touched = [(a // n, -(-b // n)) for (a, b), n in zip(part, lengths, strict=True) if n and b > a]
            if not touched:
                continue
            begin, end = min(a for a, _ in touched), max(b for _, b in touched)
            records = _records(file, header, begin, end)
            for number, (i, n, (first, stop)) in enumerate(zip(chosen, lengths, part, strict=True)):
                if stop <= first:
                    continue
                of_channel = records[first // n - begin : -(-stop // n) - begin, ends[i] : ends[i + 1]]
                skip = first // n * n
                yield number, _decoded(of_channel, header.sample_bytes)[first - skip : stop - skip]


def _records(file: Any, header: EdfHeader, begin: int, end: int) -> NDArray[np.uint8]:
    """Return the bytes of records; those as long as the file may be are mapped."""
    shape, offset = (end - begin, header.record_bytes), header.n_bytes + begin * header.record_bytes
    if header.record_bytes > LARGEST_RECORD:
        return np.asarray(np.memmap(file, np.uint8, mode="r", offset=offset, shape=shape))
    records = np.empty(shape, np.uint8)
    fill(records, file, offset, header.path)
    return records


def _decoded(records: NDArray[np.uint8], sample_bytes: int) -> NDArray[Any]:
    flat = np.ascontiguousarray(records).reshape(-1)
    if sample_bytes == 2:
        return flat.view("<i2")
    wide = np.zeros((len(flat) // 3, 4), np.uint8)
    wide[:, 1:] = flat.reshape(-1, 3)
    x = wide.view("<i4")[:, 0] >> 8
    fits = not len(x) or (x.min() >= _INT16.min and x.max() <= _INT16.max)
    return x.astype("<i2") if fits else x
