"""Opening EDF and BDF files: their header, what the file holds, gaps, and MNE's lazy reader.

References
----------
https://www.edfplus.info/specs/edf.html and https://www.edfplus.info/specs/edfplus.html
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import mne

from biot_bd.exceptions import RecordingError

TIMEKEEPING_S = 0.01  # records may start off by this
ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_READERS = {".edf": mne.io.read_raw_edf, ".bdf": mne.io.read_raw_bdf}
# What a header says of each signal: first byte a signal (all labels come first, then all of the
# next), and width.
_FIELDS = {
    "label": (0, 16),
    "unit": (96, 8),
    "physical_min": (104, 8),
    "physical_max": (112, 8),
    "digital_min": (120, 8),
    "digital_max": (128, 8),
    "samples": (216, 8),
}


@dataclass(frozen=True)
class EdfHeader:
    """What the header of an EDF or BDF file says, and how much the file holds.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        ``"EDF+C"``, ``"EDF+D"`` (discontinuous), ``"BDF+C"``, ``"BDF+D"``, or what a plain file has
        there.
    sample_bytes : int
        2 (EDF) or 3 (BDF).
    declared, present : int
        Records by the header (-1 where the recorder never wrote it), and whole records in the file.
    record_s : float
        Length of a record in seconds.
    labels : tuple of str
        Of all signals, those of annotations included.
    samples : tuple of int
        Samples of each signal in a record.
    _signals : bytes
        What the header says of the signals, undecoded; :meth:`field` reads it.

    See Also
    --------
    read_edf_header : Reads it.

    Examples
    --------
    >>> import tempfile, edfio, numpy as np
    >>> from biot_bd.io import read_edf_header
    >>> signal = edfio.EdfSignal(np.sin(np.arange(512)), 256, label="EEG Cz-REF")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     edfio.Edf([signal]).write(f"{folder}/x.edf")
    ...     header = read_edf_header(f"{folder}/x.edf")
    >>> header.record_s * header.present, header.cut_short
    (2.0, None)
    """

    path: Path
    kind: str
    sample_bytes: int
    declared: int
    present: int
    record_s: float
    labels: tuple[str, ...]
    samples: tuple[int, ...]
    _signals: bytes

    def field(self, name: str) -> list[str]:
        """Return ``"unit"``, ``"physical_min"``, ... of all signals, as the header writes them."""
        return _field(self._signals, name)

    @property
    def n_bytes(self) -> int:
        """Bytes of the header; the first record lies behind them."""
        return 256 * (len(self.labels) + 1)

    @property
    def cut_short(self) -> str | None:
        """How many records are missing, None where all that the header declares are there."""
        if self.present >= self.declared:
            return None
        return f"the header declares {self.declared} records, the file holds {self.present}"


def _field(signals: bytes, name: str) -> list[str]:
    n, (begin, width) = len(signals) // 256, _FIELDS[name]
    text = signals[begin * n : (begin + width) * n].decode("latin-1")
    return [text[width * i : width * (i + 1)].strip() for i in range(n)]


def read_edf_header(path: str | Path) -> EdfHeader:
    """Read the header of an EDF or BDF file.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    EdfHeader

    Raises
    ------
    RecordingError
        ``unreadable``: the header is not that of an EDF or BDF file.

    See Also
    --------
    open_edf : Open the recording itself.

    Examples
    --------
    >>> import tempfile, edfio, numpy as np
    >>> x = np.sin(np.arange(512))
    >>> signal = edfio.EdfSignal(x, 256, label="EEG Cz-REF", physical_dimension="uV")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     edfio.Edf([signal]).write(f"{folder}/x.edf")
    ...     header = read_edf_header(f"{folder}/x.edf")
    >>> header.labels, header.samples, header.declared, header.field("unit")
    (('EEG Cz-REF',), (256,), 2, ['uV'])
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(256)
            n_signals = int(head[252:256])
            signals = file.read(256 * n_signals)
        samples = tuple(int(text) for text in _field(signals, "samples"))
        sample_bytes, length = 3 if head[0] == 0xFF else 2, 256 * (n_signals + 1)
        if int(head[184:192]) != length or len(signals) < length - 256:
            raise ValueError(
                f"it says that it is {int(head[184:192])} bytes long; with {n_signals} signals it has {length}"
            )
        return EdfHeader(
            path=path,
            kind=head[192:197].decode("latin-1"),
            sample_bytes=sample_bytes,
            declared=int(head[236:244]),
            present=(path.stat().st_size - length) // (sample_bytes * sum(samples)),
            record_s=float(head[244:252]),
            labels=tuple(_field(signals, "label")),
            samples=samples,
            _signals=signals,
        )
    except (ValueError, IndexError, ZeroDivisionError, OSError) as error:
        raise RecordingError(
            "unreadable", f"{path}: the header is not that of an EDF or BDF file ({type(error).__name__}: {error})"
        ) from error


def check_continuous(header: EdfHeader) -> None:
    """Refuse files with gaps: MNE joins their records, so all after a gap would shift.

    Parameters
    ----------
    header : EdfHeader
        Of the file; only those whose header says that they are discontinuous are read further.

    Raises
    ------
    RecordingError
        ``unreadable``: a record does not begin where the one before it ends, or does not say when
        it begins.
    """
    if header.kind not in ("EDF+D", "BDF+D"):
        return
    where = f"{header.path}: is {header.kind}"
    advice = "export it as a continuous file, or one file for each stretch"
    try:
        onsets = _record_onsets(header)
    except (ValueError, IndexError) as error:
        raise RecordingError(
            "unreadable", f"{where}, and its records do not say when they begin ({error}); {advice}"
        ) from error
    for number, onset in enumerate(onsets):
        expected = onsets[0] + number * header.record_s
        if abs(onset - expected) > TIMEKEEPING_S:
            raise RecordingError(
                "unreadable",
                f"{where} with a gap: record {number + 1} begins at {onset:g} s, expected {expected:g} s; {advice}",
            )


def _record_onsets(header: EdfHeader) -> list[float]:
    """Return when each record begins, in seconds, by the first annotation in it."""
    index = next((i for i, label in enumerate(header.labels) if label in ANNOTATIONS), None)
    if index is None:
        raise ValueError("no signal of annotations")
    before, record = (header.sample_bytes * sum(header.samples[:end]) for end in (index, None))
    onsets = []
    with header.path.open("rb") as file:
        for number in range(header.present):
            file.seek(header.n_bytes + number * record + before)
            onsets.append(float(file.read(header.sample_bytes * header.samples[index]).split(b"\x14", 1)[0]))
    return onsets


def open_edf(path: str | Path, *, allow_truncated: bool = False) -> mne.io.BaseRaw:
    """Open an EDF or BDF file without reading its samples.

    Parameters
    ----------
    path : str or Path
        The file; the ending may be in capitals.
    allow_truncated : bool, default=False
        Accept a file that holds fewer records than its header declares
        (:attr:`EdfHeader.cut_short`).

    Returns
    -------
    mne.io.BaseRaw
        Lazy, in volts.

    Raises
    ------
    RecordingError
        The file is not EDF or BDF, is damaged, empty, discontinuous (EDF+D with gaps), or shorter
        than its header says.

    See Also
    --------
    biot_bd.io.open_recording : Any format that MNE reads.

    Examples
    --------
    >>> import tempfile, edfio, numpy as np
    >>> x = np.sin(np.arange(512))
    >>> signal = edfio.EdfSignal(x, 256, label="EEG Cz-REF", physical_dimension="uV")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     edfio.Edf([signal]).write(f"{folder}/x.edf")
    ...     raw = open_edf(f"{folder}/x.edf")
    >>> raw.ch_names, len(raw.times), raw.preload
    (['EEG Cz-REF'], 512, False)
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise RecordingError("unreadable", f"{path}: expected a file ending in .edf or .bdf")
    header = read_edf_header(path)
    if header.present < 1:
        raise RecordingError("unreadable", f"{path}: holds no samples (the header declares {header.declared} records)")
    if header.cut_short and not allow_truncated:
        raise RecordingError("unreadable", f"{path}: incomplete: {header.cut_short}; copy or download it again")
    check_continuous(header)
    read = _READERS[path.suffix.lower()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # repeated labels (T8-P8) are expected
            try:
                return read(path, preload=False, verbose="ERROR")
            except UnicodeDecodeError:
                return read(path, preload=False, verbose="ERROR", encoding="latin1")
    except Exception as error:  # MNE fails in many ways on damaged files
        raise RecordingError("unreadable", f"{path}: MNE cannot read it ({type(error).__name__}: {error})") from error
