"""Check readers of recordings."""

from __future__ import annotations

import os
from pathlib import Path

import mne
import numpy as np

from biot_bd.io.files import first_bytes
from biot_bd.io.readers import Reader
from biot_bd.testing._base import attempt, pickled, require

__all__ = ["check_reader"]


def check_reader(reader: Reader, path: str | os.PathLike[str] | None = None) -> None:
    """Check what is given to ``register_readers``.

    Parameters
    ----------
    reader : biot_bd.io.readers.Reader
        The reader.
    path : path-like, optional
        A small recording of that format to read.

    Raises
    ------
    ConformanceError
        The reader has no probe, its probe fails on foreign bytes or claims zeros or an empty file,
        or it cannot be pickled; or it does not claim the recording, or what it opens is no lazy
        :class:`mne.io.BaseRaw`, has no channel of EEG or no finite sample, or differs when it is
        read in pieces.

    See Also
    --------
    biot_bd.io.readers.Reader : What its parts mean.

    Examples
    --------
    >>> from biot_bd import registry
    >>> check_reader(registry.readers["nihon-kohden"])
    >>> check_reader("nihon-kohden")
    Traceback (most recent call last):
    biot_bd.exceptions.ConformanceError: expected a biot_bd.io.readers.Reader, got 'nihon-kohden'
    """
    require(isinstance(reader, Reader), f"expected a biot_bd.io.readers.Reader, got {reader!r}")
    name = f"the reader of {', '.join(reader.endings)}"
    require(reader.probe is not None, f"{name}: has no probe; a plugin's reader is used only where its probe says yes")
    require(callable(reader.read), f"{name}: read must be a function (path) -> mne.io.BaseRaw, got {reader.read!r}")
    pickled(reader.read, f"{name}: its function read")
    probe = reader.probe
    for what, head in (("no bytes", b""), ("zeros", bytes(1024)), ("one byte", b"\x01")):
        said = attempt(f"{name}: the probe of {what}", probe, head)  # type: ignore[arg-type]
        require(not said, f"{name}: the probe says yes to {what}; look for what only this format begins with")
    if path is None:
        return
    path = Path(path)
    require(reader.matches(path.name), f"{name}: {path.name} has none of its endings")
    if not reader.folder:
        said = attempt(f"{name}: the probe of {path.name}", probe, first_bytes(path))  # type: ignore[arg-type]
        require(said, f"{name}: the probe says no to {path.name}")
    _check_raw(attempt(f"{name}: reading {path.name}", reader.read, path), name)


def _check_raw(raw: mne.io.BaseRaw, name: str) -> None:
    require(isinstance(raw, mne.io.BaseRaw), f"{name}: expected an mne.io.BaseRaw, got {type(raw).__name__}")
    require(not raw.preload, f"{name}: reads all samples when it opens a recording; a day of EEG would fill the memory")
    require(len(mne.pick_types(raw.info, eeg=True)) > 0, f"{name}: no channel of type 'eeg' among {raw.ch_names}")
    x = attempt(f"{name}: reading all samples", raw.get_data)
    require(np.isfinite(x).any(), f"{name}: no finite sample")
    middle = raw.n_times // 2
    pieces = [raw.get_data(start=0, stop=middle), raw.get_data(start=middle)]
    require(
        np.array_equal(x, np.concatenate(pieces, axis=1), equal_nan=True),
        f"{name}: samples differ when the recording is read in two pieces",
    )
