"""The header of EDF and BDF files.

References
----------
https://www.edfplus.info/specs/edf.html and https://www.edfplus.info/specs/edfplus.html
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from biot_bd.exceptions import RecordingError

ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
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
_ASCII = ((0, 16), (136, 216), (224, 256))  # units may have a micro sign, transducers are not used


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
    patient : bytes
        Whose it is, undecoded.
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
    patient: bytes
    _signals: bytes

    def field(self, name: str) -> list[str]:
        """Return ``"unit"``, ``"physical_min"``, ... of all signals, as the header writes them."""
        return _field(self._signals, name)

    @cached_property
    def channels(self) -> tuple[tuple[str, int], ...]:
        """Name and number of each signal that is no annotation.

        Named as MNE does: ``-0``, ``-1``, ... behind labels that occur twice.
        """
        ordinary = [(label, i) for i, label in enumerate(self.labels) if label not in ANNOTATIONS]
        counts, seen = Counter(label for label, _ in ordinary), Counter[str]()
        found = []
        for label, i in ordinary:
            found.append((f"{label}-{seen[label]}" if counts[label] > 1 else label, i))
            seen[label] += 1
        return tuple(found)

    @property
    def texts_are_ascii(self) -> bool:
        """Whether labels are printable, and they, filters and reserved bytes ASCII, as EDF says."""
        n = len(self.labels)
        labels = self._signals[: 16 * n].decode("latin-1")
        return labels.isprintable() and all(self._signals[a * n : b * n].isascii() for a, b in _ASCII)

    @property
    def n_bytes(self) -> int:
        """Bytes of the header; the first record lies behind them."""
        return 256 * (len(self.labels) + 1)

    @property
    def record_bytes(self) -> int:
        """Bytes of a record."""
        return self.sample_bytes * sum(self.samples)

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


def _whole(text: bytes) -> int:
    return int(_plain(text))


def _plain(text: bytes) -> bytes:
    """Refuse what only Python takes for a number: ``1_0``."""
    if b"_" in text:
        raise ValueError(f"{text!r} is no number")
    return text


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
            n_signals = _whole(head[252:256])
            if n_signals < 1:  # of a negative number the whole file would be read
                raise ValueError(f"it declares {n_signals} signals")
            signals = file.read(256 * n_signals)
        return _parsed(path, head, signals, path.stat().st_size)
    except (ValueError, IndexError, ZeroDivisionError, OSError) as error:
        raise RecordingError(
            "unreadable", f"{path}: the header is not that of an EDF or BDF file ({type(error).__name__}: {error})"
        ) from error


@lru_cache(maxsize=8)
def _parsed(path: Path, head: bytes, signals: bytes, size: int) -> EdfHeader:
    """Return the header that these bytes are: many look at one file, one after the other."""
    n_signals = _whole(head[252:256])
    sample_bytes, length = 3 if head[0] == 0xFF else 2, 256 * (n_signals + 1)
    if len(signals) < length - 256:
        raise ValueError(f"the file ends after {256 + len(signals)} bytes of a header of {length}")
    if _whole(head[184:192]) != length:
        raise ValueError(
            f"it says that it is {int(head[184:192])} bytes long; with {n_signals} signals it has {length}"
        )
    samples = tuple(_whole(text.encode("latin-1")) for text in _field(signals, "samples"))
    return EdfHeader(
        path=path,
        kind=head[192:197].decode("latin-1"),
        sample_bytes=sample_bytes,
        declared=_whole(head[236:244]),
        present=(size - length) // (sample_bytes * sum(samples)),
        record_s=float(_plain(head[244:252])),
        labels=tuple(_field(signals, "label")),
        samples=samples,
        patient=head[8:88],
        _signals=signals,
    )
