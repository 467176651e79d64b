"""SeizeIT2: wearable EEG of two channels behind the ears, in BIDS (OpenNeuro ds005873).

References
----------
Bhagubai, M. et al. (2025). SeizeIT2: wearable dataset of patients with focal epilepsy. Scientific
Data, 12, 1228. https://openneuro.org/datasets/ds005873 (CC0)
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import time
from pathlib import Path

import mne
from braindecode.datasets import BaseConcatDataset

from biot_bd.datasets.bids import events_table, load_bids, named_like
from biot_bd.datasets.layouts import recognised_by
from biot_bd.events.szcore import read_events
from biot_bd.exceptions import RecordingError
from biot_bd.io.notes import counted
from biot_bd.signals.names import DERIVATIONS, parse_name

IMPEDANCE_CHECK = "impd"
OTHERS = ("ecg", "emg", "mov")


@recognised_by(named_like("seizeit2"))
def load_seizeit2(
    root: str | os.PathLike[str],
    *,
    subjects: Iterable[str] | str | None = None,
    unlisted: str = "exclude",
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load the EEG of SeizeIT2 (two derivations behind the ears, 256 Hz).

    Parameters
    ----------
    root : path-like
        Folder with ``participants.tsv`` and ``sub-001``, ...
    subjects : iterable of str, optional
        ``"001"``, ``"sub-001"`` or ``"seizeit2/001"``; all by default.
    unlisted : {"exclude", "background"}, default="exclude"
        What becomes of recordings without an event table: their labels are unknown.
    on_error : {"raise", "skip"}, default="raise"
        When a table is wrong, or a recording has none of the derivations; ``"skip"`` notes it in
        ``outcomes``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts. ``description``: ``subject`` (``seizeit2/001``), ``session``, ``run``,
        ``recording``. Channels keep their names (two of ``BTEleft SD``, ``BTEright SD``, ``CROSStop
        SD``, which two differs by subject): montage ``bte-3`` with ``on_missing="drop"`` takes
        them. Annotations: ``sz_...``, ``bckg``, and ``impd`` for checks of impedance, which are no
        seizures. The recordings have no clock (all say midnight), so no measurement date.
        ``outcomes`` names the other signals of a run (ECG, EMG, movement), which are left out.

    Raises
    ------
    FileNotFoundError
        The folder, its ``participants.tsv`` or a subject is not there.
    RecordingError
        A recording or table is wrong and ``on_error="raise"``.

    See Also
    --------
    biot_bd.datasets.seizeit1.load_seizeit1 : The study before it, with 10-20 electrodes.
    """
    return load_bids(
        "seizeit2",
        root,
        subjects=subjects,
        unlisted=unlisted,
        on_error=on_error,
        zero_is_missing=False,
        tidy=_tidy,
    )


def _tidy(raw: mne.io.BaseRaw, path: Path) -> list[str]:
    """Take what is no clock for none; return what else a run has."""
    found = {parsed.electrode for name in raw.ch_names if (parsed := parse_name(name)) is not None}
    if not found & set(DERIVATIONS):
        raise RecordingError(
            "unreadable",
            f"{path}: has the channels {', '.join(raw.ch_names)}; expected two of {' SD, '.join(DERIVATIONS)} SD (OpenNeuro "
            "ds005873). A private set of the same name has 19 electrodes: load it as recordings-folder",
        )
    notes = []
    if raw.info["meas_date"] is not None and raw.info["meas_date"].time() == time(0):
        raw.set_meas_date(None)
        notes.append("starts at 00:00:00, which is no clock")
    others = [kind for kind in OTHERS if _beside(path, kind).is_file()]
    if others:
        notes.append(f"{', '.join(others)} of the run left out")
    if events_table(path).is_file():
        checks = [event for event in read_events(events_table(path)) if event.kind == IMPEDANCE_CHECK]
        if checks:
            total_s = sum(event.duration_s for event in checks)
            notes.append(f"{counted(len(checks), 'impedance check')} of {total_s:g} s, marked {IMPEDANCE_CHECK}")
    return notes


def _beside(path: Path, kind: str) -> Path:
    """Return where another signal of a run lies."""
    return path.parent.parent / kind / path.name.replace("_eeg.", f"_{kind}.")
