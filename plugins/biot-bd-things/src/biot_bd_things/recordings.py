"""The data set ``things-eeg2``: raw recordings as they are published, read where they lie."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
from braindecode.datasets import BaseConcatDataset, RawDataset
from numpy.typing import NDArray

from biot_bd.datasets import make_dataset, recognised_by
from biot_bd.exceptions import RecordingError
from biot_bd_things.images import PARTS
from biot_bd_things.layout import NAMESPACE, folder_of, two_digits
from biot_bd_things.object_npy import ObjectFileError, read_object_npy

TARGET = 99999
"""Number of the trials in which subjects pressed a button; they show no image of the set."""
SHOWN_S = 0.1
"""How long an image was shown, in seconds; the next one came 0.2 s after its onset."""
FASTEST_V = 0.05
"""Median magnitude in volts beyond which samples cannot be volts of EEG."""
_NEEDED = ("raw_eeg_data", "ch_names", "ch_types", "sfreq")


def _files(root: Path) -> dict[tuple[str, str, str], Path]:
    """Return the recordings by subject, session and part."""
    found = {}
    for path in sorted(folder_of(root, "raw_data").glob("sub-*/ses-*/raw_eeg_*.npy")):
        match = re.fullmatch(r"raw_eeg_(training|test)\.npy", path.name)
        if match:
            found[path.parts[-3].removeprefix("sub-"), path.parts[-2].removeprefix("ses-"), match[1]] = path
    return found


def _looks_like(folder: Path) -> str:
    """Say what tells that a folder is one of these."""
    n = len(_files(folder))
    return f"{n} raw recordings of THINGS-EEG2" if n else ""


@recognised_by(_looks_like)
def load_things_eeg2(
    root: str | os.PathLike[str],
    *,
    subjects: Iterable[str | int] | None = None,
    sessions: Iterable[str | int] | None = None,
    parts: Sequence[str] = PARTS,
    generated: bool = False,
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load raw recordings of THINGS-EEG2.

    Parameters
    ----------
    root : path
        Holds ``sub-01/ses-01/raw_eeg_training.npy`` and so on, below ``eeg_dataset/raw_data`` or
        ``raw_data`` or directly.
    subjects, sessions : iterable of str or int, optional
        Numbers; all on the disk by default.
    parts : sequence of {"training", "test"}
        Which recordings.
    generated : bool
        Whether :func:`generate_things` made the folder; every output then says so.
    on_error : {"raise", "skip"}
        When a file cannot be read; ``"skip"`` notes it in ``outcomes``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        In volts, mapped from the files and read when asked for.  Each presentation is an annotation
        ``image/training/12`` (0.1 s long; the number counts from 1, as in the files), or ``target``
        where the subject had to press a button.  No seizures.  ``description``: ``subject``
        (``things-eeg2/01``), ``session``, ``run`` (the part), ``recording``.

    Raises
    ------
    FileNotFoundError
        No recording is there.
    RecordingError
        A file is damaged, or says something else than its layout, and ``on_error="raise"``.
    ValueError
        An option has an unknown value.

    Notes
    -----
    The training recording of a session is five files in one: what lies between them is not said
    in the data, so a window across such a join cannot be told.

    References
    ----------
    Gifford, A. T., Dwivedi, K., Roig, G., Cichy, R. M. (2022). A large and rich EEG dataset for
    modeling human visual object recognition. NeuroImage 264, 119754. https://osf.io/3jk45
    """
    if unknown := sorted(set(parts) - set(PARTS)):
        raise ValueError(f"parts: there are 'training' and 'test', found {unknown[0]!r}")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', found {on_error!r}")
    found = _files(Path(root))
    wanted = {"subject": two_digits(subjects), "session": two_digits(sessions)}
    for what, position in (("subject", 0), ("session", 1)):
        missing = sorted(set(wanted[what] or ()) - {key[position] for key in found})
        if missing:
            raise FileNotFoundError(
                f"{root}: no recording of {what} {missing[0]}; there are {sorted({k[position] for k in found})}"
            )
    kept = {
        key: path
        for key, path in found.items()
        if key[2] in parts and all(w is None or k in w for k, w in zip(key, wanted.values(), strict=False))
    }
    if not kept:
        raise FileNotFoundError(f"{root}: no sub-*/ses-*/raw_eeg_training.npy or raw_eeg_test.npy here")
    recordings, outcomes = [], []
    for (subject, session, part), path in kept.items():
        name = f"sub-{subject}_ses-{session}_{part}"
        try:
            raw = open_things_raw(path, part)
        except (ObjectFileError, RecordingError) as error:
            if on_error == "raise":
                raise RecordingError("unreadable", str(error)) from error
            outcomes.append((name, "unreadable", str(error)))
            continue
        description = {
            "subject": f"{NAMESPACE}/{subject}",
            "session": session,
            "run": part,
            "recording": name,
            "path": str(path),
        }
        recordings.append(RawDataset(raw, description))
        outcomes.append((name, "loaded", ""))
    frame = pd.DataFrame(outcomes, columns=["recording", "outcome", "detail"])
    return make_dataset(recordings, frame, generated=generated)


class _Samples:
    """Rows of ``raw_eeg_data`` of a file; a copy, also in another process, maps the file anew."""

    def __init__(self, path: Path, rows: list[int]) -> None:
        self.path, self.rows = path, rows
        self._mapped: Any = None

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        if self._mapped is None:
            self._mapped = read_object_npy(self.path)["raw_eeg_data"]
        return np.asarray(self._mapped[:, start:stop], dtype=np.float64)[self.rows]

    def __reduce__(self) -> tuple[Any, ...]:
        return _Samples, (self.path, self.rows)


class MappedRaw(mne.io.BaseRaw):
    """A recording whose samples stay in a file of THINGS-EEG2 until they are asked for."""

    def __init__(self, info: mne.Info, path: Path, rows: list[int], n_samples: int) -> None:
        super().__init__(
            info,
            preload=False,
            filenames=[path],
            last_samps=[n_samples - 1],
            raw_extras=[{"samples": _Samples(path, rows)}],
            orig_format="double",
            verbose="error",
        )

    def _read_segment_file(self, data: Any, idx: Any, fi: int, start: int, stop: int, cals: Any, mult: Any) -> None:
        block = self._raw_extras[fi]["samples"].read(start, stop)
        data[:] = block[idx] if mult is None else mult @ block


def open_things_raw(path: str | os.PathLike[str], part: str) -> mne.io.BaseRaw:
    """Open one raw file.

    Parameters
    ----------
    path : path
        ``raw_eeg_training.npy`` or ``raw_eeg_test.npy``.
    part : {"training", "test"}
        Which of the two.

    Returns
    -------
    mne.io.BaseRaw
        Not preloaded, without the stimulus channel, whose numbers are the annotations.

    Raises
    ------
    ObjectFileError
        The file is no dictionary of arrays.
    RecordingError
        It lacks something, or its samples cannot be volts.
    """
    path = Path(path)
    told = read_object_npy(path)
    if missing := [key for key in _NEEDED if key not in told]:
        raise RecordingError("unreadable", f"{path}: has no {missing[0]!r}; found {', '.join(told)}")
    samples, names, types = told["raw_eeg_data"], list(told["ch_names"]), list(told["ch_types"])
    if np.ndim(samples) != 2 or not len(names) == len(types) == len(samples) or types.count("stim") != 1:
        raise RecordingError(
            "unreadable",
            f"{path}: expected one row a channel and one channel of the type 'stim', found the shape {np.shape(samples)}, "
            f"{len(names)} names and the types {sorted(set(types))}",
        )
    sfreq = float(told["sfreq"])
    if not sfreq > 0:
        raise RecordingError("unreadable", f"{path}: sfreq is {sfreq:g}; expected Hz > 0")
    eeg = [k for k, kind in enumerate(types) if kind != "stim"]
    middle = float(np.median(np.abs(samples[eeg, : int(10 * sfreq)])))
    if not middle < FASTEST_V:
        raise RecordingError(
            "unreadable",
            f"{path}: the median magnitude of its first 10 s is {middle:g}; expected volts, so below {FASTEST_V:g}",
        )
    stim = np.asarray(samples[types.index("stim")])
    info = mne.create_info([names[k] for k in eeg], sfreq, [types[k] for k in eeg])
    raw = MappedRaw(info, path, eeg, samples.shape[1])
    at = np.flatnonzero((stim != 0) & (np.concatenate([[0], stim[:-1]]) != stim))
    numbers = stim[at]
    if ((numbers % 1 != 0) | (numbers < 0)).any():
        raise RecordingError(
            "unreadable",
            f"{path}: the stimulus channel holds {numbers[(numbers % 1 != 0) | (numbers < 0)][0]:g}; expected numbers of images",
        )
    texts = ["target" if number == TARGET else f"image/{part}/{int(number)}" for number in numbers]
    raw.set_annotations(mne.Annotations(at / sfreq, np.full(len(at), SHOWN_S), texts))
    return raw
