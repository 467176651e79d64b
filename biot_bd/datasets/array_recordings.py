"""An array in an ``.npy`` or ``.npz`` file as a recording of MNE that reads it when asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray

from biot_bd.bounded_files import npz_names, read_npy, read_npz
from biot_bd.events.texts import SEIZURE
from biot_bd.exceptions import RecordingError
from biot_bd.io.segments import set_annotations
from biot_bd.io.units import uv_per_unit

MOST_SFREQ = 1e9
SPLICE = "BAD boundary"


class ArrayRaw(mne.io.BaseRaw):
    """A recording whose samples lie in an array on the disk, in any unit of voltage.

    Made by :func:`open_array`; samples of an ``.npy`` file are read from a memory map.

    Parameters
    ----------
    info : mne.Info
        Channels and rate.
    path : Path
        The file.
    key : str or None
        Name of the array in an ``.npz`` file.
    n_samples : int
        Length of the recording.
    volts : float
        Volts a unit of the array.

    See Also
    --------
    open_array : Makes and checks one.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from biot_bd.datasets import open_array
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(folder + "/a.npy", np.full((1, 400), 20, np.int16))
    ...     raw = open_array(folder + "/a.npy", sfreq=200, unit="uV", ch_names=["Cz"])
    ...     round(float(raw.get_data()[0, 0]), 9), raw.preload
    (2e-05, False)
    """

    def __init__(self, info: mne.Info, path: Path, key: str | None, n_samples: int, volts: float) -> None:
        extras = [{"path": os.fspath(path), "key": key, "volts": volts}]
        super().__init__(
            info, preload=False, filenames=[path], last_samps=[n_samples - 1], raw_extras=extras, verbose="error"
        )

    def _read_segment_file(
        self,
        data: NDArray[Any],
        idx: Any,
        fi: int,
        start: int,
        stop: int,
        cals: NDArray[Any],
        mult: NDArray[Any] | None,
    ) -> None:
        """Fill ``data`` with samples in volts; called by MNE with ``stop`` behind the last."""
        extras = self._raw_extras[fi]
        stored = _stored(extras["path"], extras["key"])
        if stored.ndim == 3:  # windows, one behind the other
            length = stored.shape[2]
            first, last = start // length, (stop - 1) // length + 1
            part = np.concatenate(list(stored[first:last]), axis=1)
            part = part[:, start - first * length : stop - first * length]
        else:
            part = stored[:, start:stop]
        volts = part.astype(np.float64) * extras["volts"]
        data[:] = mult @ volts if mult is not None else volts[idx] * cals.reshape(-1, 1)


def _stored(path: str, key: str | None) -> NDArray[Any]:
    """Return the array of a file, a map of an ``.npy``; nothing in it is executed."""
    return _unpacked(path, key, os.stat(path).st_mtime_ns) if key is not None else _mapped(path)


def _mapped(path: str) -> NDArray[Any]:
    return read_npy(path)


@lru_cache(maxsize=2)
def _unpacked(path: str, key: str, changed: int) -> NDArray[Any]:
    return read_npz(path, [key])[key]


def open_array(
    path: str | os.PathLike[str],
    *,
    sfreq: float,
    unit: str,
    ch_names: Sequence[str],
    key: str | None = None,
    annotations: Sequence[tuple[float, float, str]] = (),
    labels: Sequence[str] | None = None,
) -> ArrayRaw:
    """Open an array of signals as a recording, without reading it.

    Parameters
    ----------
    path : path-like
        An ``.npy`` file, or an ``.npz``, which cannot be mapped: its array is read as a whole when
        a sample of it is.
    sfreq : float
        Rate in Hz.
    unit : str
        ``"uV"``, ``"mV"``, ``"V"`` or ``"nV"``; numbers do not tell it, so it is never guessed.
    ch_names : sequence of str
        Channels, in the order of the array's rows.
    key : str, optional
        Name of the array in an ``.npz`` file; needed where it holds several.
    annotations : sequence of (onset_s, duration_s, description)
        In seconds from the first sample.
    labels : sequence of str, optional
        Of windows, one each: an annotation over the whole of it.

    Returns
    -------
    ArrayRaw
        Of an array ``(n_chans, n_samples)``; or of windows ``(n_windows, n_chans, n_times)``, one
        behind the other with a splice between any two, so that no window that is cut from it later
        reaches over two of them, nor is anything resampled across.

    Raises
    ------
    RecordingError
        The file is not there, no array of numbers (pickled objects are refused), or of another
        shape than the channels, or something is annotated outside of it.
    ValueError
        The rate or the unit makes no sense, or labels and windows differ in number.

    See Also
    --------
    biot_bd.datasets.load_arrays : A folder of such files.

    Examples
    --------
    Three windows of two seconds, labelled:

    >>> import tempfile
    >>> import numpy as np
    >>> from biot_bd.datasets import open_array
    >>> x = np.random.default_rng(0).normal(0, 20, (3, 2, 200)).astype("float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(folder + "/x.npy", x)
    ...     about = {"sfreq": 100, "unit": "uV", "ch_names": ["C3", "C4"]}
    ...     raw = open_array(folder + "/x.npy", **about, labels=["left", "right", "left"])
    ...     int(raw.n_times), [str(text) for text in raw.annotations.description]
    (600, ['left', 'BAD boundary', 'right', 'BAD boundary', 'left'])
    """
    path = Path(path)
    if not 0 < sfreq < MOST_SFREQ:
        raise ValueError(f"{path}: sfreq={sfreq!r}: expected a positive number of Hz, below {MOST_SFREQ:g}")
    uv = uv_per_unit(unit)
    if uv is None:
        raise ValueError(f"{path}: unit={unit!r}: expected a unit of voltage, e.g. 'uV', 'mV' or 'V'")
    key = _key_of(path, key)
    stored = _read(path, key)
    if stored.ndim not in (2, 3) or stored.shape[-2] != len(ch_names) or 0 in stored.shape:
        raise RecordingError(
            "unreadable",
            f"{path}: an array of shape {stored.shape} for {len(ch_names)} channels; expected ({len(ch_names)}, n_samples), "
            f"or windows (n_windows, {len(ch_names)}, n_times)",
        )
    info = mne.create_info(list(ch_names), float(sfreq), "eeg", verbose="error")
    n_samples = stored.shape[-1] * (len(stored) if stored.ndim == 3 else 1)
    raw = ArrayRaw(info, path, key, n_samples, uv * 1e-6)
    rows = _inside(path, annotations, n_samples / float(sfreq))
    if stored.ndim == 3:
        rows += _window_rows(path, len(stored), stored.shape[2] / float(sfreq), labels)
    elif labels is not None:
        raise ValueError(
            f"{path}: labels are for windows (n_windows, n_chans, n_times); annotate this recording instead"
        )
    set_annotations(raw, sorted(rows))
    return raw


def _inside(
    path: Path, annotations: Sequence[tuple[float, float, str]], length_s: float
) -> list[tuple[float, float, str]]:
    """Return annotations as rows; MNE would cut or drop those that are not inside the recording."""
    rows = [(float(onset), float(duration), str(text)) for onset, duration, text in annotations]
    for onset_s, duration_s, text in rows:
        empty = text.startswith(SEIZURE) and duration_s == 0
        if empty or not (onset_s >= 0 and duration_s >= 0 and onset_s + duration_s <= length_s + 0.011):
            raise RecordingError(
                "bad-annotation",
                f"{path}: {text!r} from {onset_s:g} s for {duration_s:g} s; expected a time inside the recording of {length_s:g} s",
            )
    return rows


def _window_rows(
    path: Path, n_windows: int, window_s: float, labels: Sequence[str] | None
) -> list[tuple[float, float, str]]:
    """Return splices between windows, and their labels."""
    if labels is not None and len(labels) != n_windows:
        raise ValueError(f"{path}: {len(labels)} labels for {n_windows} windows")
    rows = [(k * window_s, 0.0, SPLICE) for k in range(1, n_windows)]
    return rows + [(k * window_s, window_s, str(label)) for k, label in enumerate(labels or ())]


def _key_of(path: Path, key: str | None) -> str | None:
    if not path.is_file():
        raise RecordingError("missing-file", f"{path}: no such file")
    if path.suffix.lower() != ".npz":
        if key is not None:
            raise ValueError(f"{path}: key={key!r} names an array of an .npz file; leave it out")
        return None
    try:
        keys = npz_names(path)
    except (OSError, ValueError) as error:
        raise RecordingError("unreadable", str(error)) from error
    if key is None and len(keys) == 1:
        return keys[0]
    if key not in keys:
        raise RecordingError("unreadable", f"{path}: key={key!r}, and it holds {', '.join(keys) or 'nothing'}")
    return key


def _read(path: Path, key: str | None) -> NDArray[Any]:
    try:
        stored = _stored(os.fspath(path), key)
    except (OSError, ValueError) as error:
        told = " ".join(str(error).removeprefix(f"{path}: ").split())[:300]
        raise RecordingError(
            "unreadable", f"{path}: not an array of numbers ({told}); arrays of Python objects are never read"
        ) from error
    if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "iuf":
        raise RecordingError(
            "unreadable", f"{path}: expected real numbers, found {getattr(stored, 'dtype', type(stored))}"
        )
    return stored
