"""Opening EDF and BDF files by MNE's lazy reader, after a look at header, length and times."""

from __future__ import annotations

import warnings
from pathlib import Path

import mne

from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_header import read_edf_header
from biot_bd.io.timeline import edf_annotations, edf_timeline, set_annotations

_READERS = {".edf": mne.io.read_raw_edf, ".bdf": mne.io.read_raw_bdf}


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
        Lazy, in volts.  Pauses are left out, in annotations too;
        :func:`biot_bd.io.timeline.timeline_of` has them.

    Raises
    ------
    RecordingError
        The file is not EDF or BDF, is damaged, empty, shorter than its header says, or EDF+D whose
        records are out of order or do not say when they begin.

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
    line = edf_timeline(path, samples=False)
    read = _READERS[path.suffix.lower()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # repeated labels (T8-P8) are expected
            try:
                raw = read(path, preload=False, verbose="ERROR")
            except UnicodeDecodeError:
                raw = read(path, preload=False, verbose="ERROR", encoding="latin1")
        if not line.is_continuous:  # MNE sets them as if there were no pauses, and drops what it finds outside
            set_annotations(raw, edf_annotations(path, line))
        return raw
    except Exception as error:  # MNE fails in many ways on damaged files
        raise RecordingError("unreadable", f"{path}: MNE cannot read it ({type(error).__name__}: {error})") from error
