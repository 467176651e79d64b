"""An EEG of the competition as ``mne.io.BaseRaw``: parquet, read when samples are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
import numpy as np
import pyarrow
import pyarrow.parquet as pq

from biot_bd.exceptions import RecordingError
from biot_bd_hms.layout import SFREQ_HZ

EEG = (
    "Fp1",
    "F3",
    "C3",
    "P3",
    "F7",
    "T3",
    "T5",
    "O1",
    "Fz",
    "Cz",
    "Pz",
    "Fp2",
    "F4",
    "C4",
    "P4",
    "F8",
    "T4",
    "T6",
    "O2",
)
ECG = "EKG"
VOLTS = 1e-6
"""Of a microvolt, in which the files are."""


class RawParquet(mne.io.BaseRaw):
    """An EEG of the competition: one parquet file, a column a channel, microvolts at 200 Hz.

    Opening it reads the footer of the file.  Gaps (NaN) stay NaN.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    unknown_columns : tuple of str
        Columns that are neither an electrode of the competition nor ``EKG``; they are left out.

    Raises
    ------
    RecordingError
        The file cannot be read, has no row, no electrode, or a column that holds no numbers.
    """

    def __init__(self, path: Path) -> None:
        schema, n_samples = _footer(path)
        names = [name for name in (*EEG, ECG) if name in schema.names]
        self.unknown_columns = tuple(n for n in schema.names if n not in names and not n.startswith("__index_level_"))
        if n_samples == 0 or not set(names) & set(EEG):
            raise RecordingError(
                "unreadable", f"{path}: {n_samples} rows, columns {schema.names}; expected {', '.join(EEG)}"
            )
        for name in names:
            kind = schema.field(name).type
            if not (pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind)):
                raise RecordingError(
                    "unreadable", f"{path}: column {name} is of type {kind}, expected numbers (microvolts)"
                )
        info = mne.create_info(names, SFREQ_HZ, ["ecg" if name == ECG else "eeg" for name in names])
        super().__init__(
            info,
            last_samps=[n_samples - 1],
            filenames=[str(path)],
            raw_extras=[{"names": names}],
            orig_format="single",
            verbose="error",
        )

    def _read_segment_file(self, data: Any, idx: Any, fi: int, start: int, stop: int, cals: Any, mult: Any) -> None:
        """Fill ``data`` with samples ``start`` to ``stop``, in volts."""
        names = self._raw_extras[fi]["names"]
        wanted = names if mult is not None else np.array(names)[idx].tolist()
        volts = VOLTS * _samples(Path(self.filenames[fi]), wanted, start, stop)
        data[:] = volts if mult is None else mult @ volts


def _footer(path: Path) -> tuple[Any, int]:
    try:
        with pq.ParquetFile(path) as file:
            return file.schema_arrow, int(file.metadata.num_rows)
    except (OSError, pyarrow.ArrowException) as error:
        reason = "missing-file" if isinstance(error, FileNotFoundError) else "unreadable"
        raise RecordingError(reason, f"{path}: no readable parquet ({' '.join(str(error).split())[:200]})") from error


def _samples(path: Path, names: list[str], start: int, stop: int) -> np.ndarray:
    """Return rows ``start`` to ``stop`` of columns, float64 ``(n_channels, n)``, gaps as NaN."""
    with pq.ParquetFile(path) as file:
        ends = np.cumsum([file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)])
        first, last = (int(np.searchsorted(ends, at, side="right")) for at in (start, stop - 1))
        table = file.read_row_groups(list(range(first, last + 1)), columns=names)
    begin = start - (int(ends[first - 1]) if first else 0)
    part = table.slice(begin, stop - start)
    return np.stack([part.column(name).to_numpy().astype(np.float64) for name in names])
