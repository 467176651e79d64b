"""Opening EDF and BDF files by MNE's lazy reader, after a look at header, length and times."""

from __future__ import annotations

from pathlib import Path

import mne
from mne.io.edf.edf import RawBDF, RawEDF

from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_header import ANNOTATIONS, read_edf_header
from biot_bd.io.edf_times import edf_annotations, edf_timeline
from biot_bd.io.notes import collecting
from biot_bd.io.segments import set_annotations


def open_edf(path: str | Path, *, allow_truncated: bool = False, notes: list[str] | None = None) -> mne.io.BaseRaw:
    """Open an EDF or BDF file without reading its samples.

    Parameters
    ----------
    path : str or Path
        The file.  Its first byte says whether it is EDF or BDF, whatever its ending.
    allow_truncated : bool, default=False
        Accept a file that holds fewer records than its header declares
        (:attr:`EdfHeader.cut_short`).
    notes : list of str, optional
        Grows by what MNE warns of, in our words, and by what is missing of a file that was cut
        short.

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
    biot_bd.io.open_recording : Any registered format.

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
    header = read_edf_header(path)
    if set(header.labels) <= set(ANNOTATIONS):
        raise RecordingError("unreadable", f"{path}: holds annotations and no signal")
    if header.present < 1:
        raise RecordingError("unreadable", f"{path}: holds no samples (the header declares {header.declared} records)")
    if header.cut_short and not allow_truncated:
        raise RecordingError("unreadable", f"{path}: incomplete: {header.cut_short}; copy or download it again")
    line = edf_timeline(path, samples=False)
    notes = [] if notes is None else notes
    if header.cut_short:
        notes.append(f"cut short: {header.cut_short}; what is there was used")
    # The classes, for MNE's functions go by the ending; 24 bits of a BDF read as 16 become noise.
    read = RawEDF if header.sample_bytes == 2 else RawBDF
    try:
        with collecting(notes):
            try:
                raw = read(path, verbose="WARNING")
            except UnicodeDecodeError:
                raw = read(path, verbose="WARNING", encoding="latin1")
        if not line.is_continuous:  # MNE sets them as if there were no pauses, and drops what it finds outside
            set_annotations(raw, edf_annotations(path, line))
        return raw
    except Exception as error:  # MNE fails in many ways on damaged files
        raise RecordingError("unreadable", f"{path}: MNE cannot read it ({type(error).__name__}: {error})") from error
