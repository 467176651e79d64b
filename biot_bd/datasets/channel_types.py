"""Which channels of a clinical recording are EEG, by their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from biot_bd.signals import canonical_name

if TYPE_CHECKING:
    import mne

_KINDS = (
    ("ecg", re.compile(r"\b(ECG|EKG)", re.IGNORECASE)),
    ("emg", re.compile(r"\bEMG", re.IGNORECASE)),
    ("eog", re.compile(r"\b(EOG|LOC|ROC)\b", re.IGNORECASE)),
    ("resp", re.compile(r"\bRESP", re.IGNORECASE)),
)


def set_channel_types(raw: mne.io.BaseRaw) -> None:
    """Type every channel that names no electrode; EDF readers take all of them for EEG.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Changed in place: ``ecg``, ``emg``, ``eog``, ``resp``, else ``misc``.

    Examples
    --------
    >>> import mne, numpy as np
    >>> info = mne.create_info(["EEG Fp1", "EKG EKG", "SPO2"], 100.0, "eeg")
    >>> raw = mne.io.RawArray(np.zeros((3, 100)), info, verbose="error")
    >>> set_channel_types(raw)
    >>> raw.get_channel_types()
    ['eeg', 'ecg', 'misc']
    """
    types = {name: _kind(name) for name in raw.ch_names if canonical_name(name) is None}
    raw.set_channel_types(types, on_unit_change="ignore", verbose="ERROR")


def _kind(name: str) -> str:
    return next((kind for kind, pattern in _KINDS if pattern.search(name)), "misc")
