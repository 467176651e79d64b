"""The label files of the TUH EEG Seizure Corpus: ``csv`` (a row a channel) and ``csv_bi``."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass

from biot_bd.events.files import BACKGROUND, TUSZ_COLUMNS
from biot_bd.events.intervals import merge, total
from biot_bd.events.tables import number, read_table
from biot_bd.events.texts import SEIZURE, TUSZ_SEIZURES
from biot_bd.exceptions import RecordingError
from biot_bd.io.notes import counted

NO_SEIZURES = {"nesz": "not epileptic", "possible": "uncertain"}
"""Labels of what may look like a seizure and is not taken for one."""
_SEIZURES = TUSZ_SEIZURES - set(NO_SEIZURES)
_LENGTH_SLACK_S = 1.0


@dataclass(frozen=True)
class TuszLabels:
    """What a label file says.

    Parameters
    ----------
    seizures : list of (float, float, str)
        Onset and offset in seconds and how the annotation is called: ``"sz"`` of ``seiz``, else
        ``"sz_fnsz"``, ...; of one label, what overlaps over the channels is one seizure.
    duration_s : float or None
        Length of the recording, where the file says it.
    notes : list of str
        What a reader should know: labels that are no seizures, seconds without a label.

    Examples
    --------
    >>> TuszLabels([(36.9, 183.3, "sz")], duration_s=301.0, notes=[]).seizures
    [(36.9, 183.3, 'sz')]
    """

    seizures: list[tuple[float, float, str]]
    duration_s: float | None
    notes: list[str]


def read_tusz_labels(path: str | os.PathLike[str]) -> TuszLabels:
    r"""Read one ``csv`` or ``csv_bi``.

    Parameters
    ----------
    path : path-like
        The file; channels are told by their names, in any order.

    Returns
    -------
    TuszLabels

    Raises
    ------
    RecordingError
        ``bad-annotation``: no table of labels, a label that is not known, a row that does not end
        after it begins or lies behind the end that the file declares; names file and line.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> rows = ["FP1-F7,2.0,6.0,fnsz,1.0", "F7-T3,3.0,8.0,fnsz,1.0", "F7-T3,8.0,9.0,bckg,1.0"]
    >>> lines = [
    ...     "# duration = 9.0 secs",
    ...     "channel,start_time,stop_time,label,confidence",
    ...     *rows,
    ... ]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "aaaaaaac_s001_t000.csv")
    ...     _ = path.write_text("\n".join(lines))
    ...     found = read_tusz_labels(path)
    >>> found.seizures, found.notes
    ([(2.0, 8.0, 'sz_fnsz')], ['2 s have no row of labels'])
    """
    table = read_table(path, TUSZ_COLUMNS, separator=",")
    duration_s = _declared(table.comments)
    spans: dict[str, list[tuple[float, float]]] = {}
    for row in table.rows:
        label = row["label"].lower()
        if label != BACKGROUND and label not in _SEIZURES and label not in NO_SEIZURES:
            raise row.error(f"unknown label {row['label']!r}; expected {BACKGROUND} or one of {sorted(_SEIZURES)}")
        onset_s, offset_s = row.seconds("start_time"), row.seconds("stop_time")
        if onset_s < 0 or offset_s <= onset_s:
            raise row.error(f"from {onset_s:g} s to {offset_s:g} s; expected an end behind the beginning")
        if duration_s is not None and offset_s > duration_s + _LENGTH_SLACK_S:
            raise row.error(f"ends at {offset_s:g} s, the file declares {duration_s:g} s")
        spans.setdefault(label, []).append((onset_s, offset_s))
    if not spans:
        raise RecordingError("bad-annotation", f"{path}: has no row of labels, so the labels are unknown")
    joined = {label: merge(sorted(found))[0] for label, found in spans.items()}
    seizures = [
        (float(onset_s), float(offset_s), SEIZURE if label == "seiz" else f"{SEIZURE}_{label}")
        for label in joined
        if label in _SEIZURES
        for onset_s, offset_s in joined[label]
    ]
    counts = Counter({label: len(joined[label]) for label in joined if label in NO_SEIZURES})
    notes = [f"{counted(n, f'event {label!r}')} not taken: {NO_SEIZURES[label]}" for label, n in counts.items()]
    everything = sorted(span for found in spans.values() for span in found)
    if duration_s is not None and duration_s - total(merge(everything)[0]) > _LENGTH_SLACK_S:
        notes.append(f"{duration_s - total(merge(everything)[0]):g} s have no row of labels")
    return TuszLabels(sorted(seizures), duration_s, notes)


def _declared(comments: tuple[str, ...]) -> float | None:
    """Return the duration that the first lines declare, as ``# duration = 301.0000 secs``."""
    found = [match[1] for line in comments if (match := re.match(r"#\s*duration\s*=\s*([\d.]+)", line))]
    return number(found[0]) if found else None
