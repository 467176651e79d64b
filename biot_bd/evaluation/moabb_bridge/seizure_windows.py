"""Windows of recordings as a data set of MOABB, one annotation a window."""

from __future__ import annotations

import hashlib
from typing import Any

import mne
import numpy as np
import pandas as pd
from moabb.datasets.base import BaseDataset

from biot_bd.exceptions import SplitError
from biot_bd.windows import Windows

EVENTS = {"background": 1, "seizure": 2}
"""Codes of the classes in MOABB; as sorted texts they are labelled 0 and 1, as here."""

SESSION = "0"
"""MOABB scores each session alone, and a session without a seizure has no score; a subject's
recordings are one session, its runs.
"""

_UV_PER_V = 1e6


class SeizureWindows(BaseDataset):  # type: ignore[misc]  # MOABB has no types
    """Prepared windows as a data set that MOABB's evaluations take.

    Each recording becomes a run of its subject's only session, in which its windows lie end to end
    in their order, each with one annotation: ``background`` or ``seizure``, as the label rule says.
    So epochs are the very windows, sample by sample, overlapping ones too, and MOABB must not
    filter them; :class:`SeizureDetection` does not.

    Parameters
    ----------
    windows : Windows
        In microvolts, of two classes.  A selection is a data set of its own.

    Attributes
    ----------
    code : str
        ``SeizureWindows-`` and a digest of the windows, under which MOABB keeps results: windows of
        another rule, montage or selection are others.
    subject_list : list of str
        Names of the subjects, as in ``windows.groups`` and in their order.

    Raises
    ------
    ValueError
        Scaled windows, or other classes than background and seizure.
    SplitError
        Fewer than two subjects.

    See Also
    --------
    SeizureDetection : The paradigm that takes it.
    to_moabb_table : Results of :func:`biot_bd.cross_validate` beside those of MOABB.

    Notes
    -----
    MOABB holds all windows in memory as float64: 16 channels of 10 s at 200 Hz are 256 kB a window.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.datasets import load_dataset
    >>> from biot_bd.evaluation import SeizureDetection, SeizureWindows
    >>> from biot_bd.windows import prepare
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     recordings = load_dataset("demo", folder, n_subjects=2, recordings=1, minutes=1)
    ...     data = SeizureWindows(prepare(recordings, f"{folder}/windows"))
    ...     x, labels, metadata = SeizureDetection().get_data(data)
    >>> print(x.shape[1:], *sorted(set(labels)), *metadata.columns)
    (16, 2000) background seizure subject session run
    """

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self._ch_names, self._sfreq = _check(windows)
        super().__init__(
            subjects=[str(name) for name in pd.unique(windows.groups)],
            sessions_per_subject=1,
            events=dict(EVENTS),
            code=f"SeizureWindows-{hashlib.sha256(windows.fingerprint.encode()).hexdigest()[:12]}",
            interval=[0.0, (windows.info.n_times - 1) / self._sfreq],  # MNE's last sample is inside
            paradigm="seizure",
            unit_factor=_UV_PER_V,
        )

    def _get_single_subject_data(self, subject: str) -> dict[str, dict[str, mne.io.RawArray]]:
        runs = {}
        for number, rows in enumerate(self._runs(subject)):
            runs[str(number)] = self._raw(rows)
        return {SESSION: runs}

    def _runs(self, subject: str) -> list[np.ndarray]:
        """Return the rows of each recording of a subject, in the order of the windows."""
        rows = np.flatnonzero(self.windows.groups == subject)
        names = self.windows.metadata["recording"].to_numpy()[rows]
        return [rows[names == name] for name in pd.unique(names)]

    def _raw(self, rows: np.ndarray) -> mne.io.RawArray:
        x = self.windows.read(rows)
        n_windows, n_chans, n_times = x.shape
        laid = x.transpose(1, 0, 2).reshape(n_chans, -1).astype(np.float64) / _UV_PER_V
        raw = mne.io.RawArray(laid, mne.create_info(self._ch_names, self._sfreq, "eeg"), verbose="error")
        onsets = np.arange(n_windows) * n_times / self._sfreq
        texts = np.array(list(EVENTS))[self.windows.y[rows]]
        return raw.set_annotations(mne.Annotations(onsets, n_times / self._sfreq, texts))

    def get_additional_metadata(self, subject: str, session: str, run: str) -> pd.DataFrame:
        """Return where each window of a run lies (``recording``, ``start_s``, ``stop_s``, ...).

        ``SeizureDetection().get_data(..., additional_metadata="all")`` asks for it.
        """
        rows = self._runs(subject)[int(run)]
        return self.windows.metadata.iloc[rows].reset_index(drop=True).assign(subject=subject, session=session, run=run)

    def data_path(
        self,
        subject: str,
        path: str | None = None,
        force_update: bool = False,
        update_path: bool | None = None,
        verbose: Any = None,
    ) -> list[str]:
        """Return the folder of the windows, which are there already: nothing is downloaded."""
        return [] if self.windows.folder is None else [str(self.windows.folder)]


def _check(windows: Windows) -> tuple[list[str], float]:
    """Return channels and rate of windows that can be such a data set."""
    if not isinstance(windows, Windows):
        raise TypeError(
            f"SeizureWindows: expected biot_bd.Windows, found {type(windows).__name__}; prepare(recordings, folder) makes "
            "them of what load_dataset returns"
        )
    if windows.unit != "uV" or windows.ch_names is None or windows.sfreq is None:
        raise ValueError(
            f"SeizureWindows: expected windows in microvolts, found the unit {windows.unit!r}; give them as they were "
            "prepared, and put scaling into the pipeline"
        )
    if tuple(windows.classes) != tuple(EVENTS):
        raise ValueError(
            f"SeizureWindows: expected the classes background and seizure, found {', '.join(windows.classes)}; relabel the "
            "windows with a rule of two classes"
        )
    if len(found := sorted(set(windows.groups))) < 2:
        raise SplitError(f"SeizureWindows: expected at least two subjects, found {len(found)} ({', '.join(found)})")
    return list(windows.ch_names), float(windows.sfreq)
