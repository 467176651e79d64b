"""EPILEPSIAE recordings: text in ``.head``, samples of 16 bits in ``.data``, read by MNE.

MNE's ``read_raw_nicolet`` drops the fraction of a second of ``start_ts``, believes ``num_samples``
and reads ``conversion_factor`` as microvolts; some centres wrote files that are shorter, and
factors in millivolts or volts.  The header is therefore read here.
"""

from __future__ import annotations

import datetime as dt
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
from mne.io.nicolet.nicolet import RawNicolet

from biot_bd.exceptions import RecordingError
from biot_bd.io.units import UV_PER_V, uv_per_unit_of_factor

SAMPLE_BYTES = 2
_START = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})[ T]+(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d+))?")
_NAMES = {1.0: "uV", 1e3: "mV", 1e6: "V"}


@dataclass(frozen=True)
class EpilepsiaeHead:
    """What the ``.head`` of a block says.

    Parameters
    ----------
    path : Path
        The file.
    start_time : datetime.datetime
        Clock of the first sample; without a time zone in the file, so UTC here.
    sfreq : float
        Rate in Hz.
    n_samples : int
        Samples a channel, as declared.
    ch_names : tuple of str
        Channels, in the order of the samples.
    uv_per_step : float
        Microvolts of a digital step.
    unit : str
        What ``conversion_factor`` is in: ``"uV"`` as documented, ``"mV"`` or ``"V"`` by its size.
    patient : str
        ``pat_id``; empty where it is not there.
    """

    path: Path
    start_time: dt.datetime
    sfreq: float
    n_samples: int
    ch_names: tuple[str, ...]
    uv_per_step: float
    unit: str
    patient: str

    @property
    def n_samples_present(self) -> int:
        """Samples a channel that the ``.data`` beside it holds, of those declared."""
        size = self.path.with_suffix(".data").stat().st_size
        return min(self.n_samples, size // (SAMPLE_BYTES * len(self.ch_names)))


def read_epilepsiae_head(path: Path) -> EpilepsiaeHead:
    """Read the header of a block.

    Parameters
    ----------
    path : Path
        The ``.head`` file.

    Returns
    -------
    EpilepsiaeHead

    Raises
    ------
    RecordingError
        ``unreadable``: a line is missing or not what the format has there, samples are not of 16
        bits, or nobody can tell the unit of ``conversion_factor``; names the file.
    """
    said = dict[str, str]()
    for line in path.read_text(encoding="latin-1").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            said[key.strip().lower()] = value.strip()
    names = tuple(name.strip() for name in said.get("elec_names", "").strip("[]").split(",") if name.strip())
    n_chans = _number(said, "num_channels", path)
    if not names or len(names) != n_chans:
        raise _fault(path, f"elec_names has {len(names)} names and num_channels is {n_chans:g}; expected as many")
    if (found := _number(said, "sample_bytes", path, SAMPLE_BYTES)) != SAMPLE_BYTES:
        raise _fault(path, f"sample_bytes is {found:g}; only samples of {SAMPLE_BYTES} bytes are read")
    factor = _number(said, "conversion_factor", path)
    uv = uv_per_unit_of_factor(abs(factor), 2**15)
    if uv is None:
        raise _fault(
            path,
            f"conversion_factor is {factor:g}, which as uV, mV or V a step gives no range of EEG, or several; correct it to uV",
        )
    sfreq, n_samples = _number(said, "sample_freq", path), _number(said, "num_samples", path)
    if not (sfreq > 0 and n_samples >= 1):
        raise _fault(path, f"declares {n_samples:g} samples at {sfreq:g} Hz")
    return EpilepsiaeHead(
        path, _start(said, path), sfreq, int(n_samples), names, factor * uv, _NAMES[uv], said.get("pat_id", "")
    )


def read_epilepsiae(path: Path) -> mne.io.BaseRaw:
    """Open a block lazily; what the head says otherwise than the data is warned of.

    Parameters
    ----------
    path : Path
        The ``.data`` file; the ``.head`` lies beside it.

    Returns
    -------
    mne.io.BaseRaw
        In volts, as far as the file goes.

    Raises
    ------
    RecordingError
        As :func:`read_epilepsiae_head`, or the file holds no sample.
    """
    head = read_epilepsiae_head(path.with_suffix(".head"))
    present = head.n_samples_present
    if present < 1:
        raise RecordingError("unreadable", f"{path}: holds no samples (the head declares {head.n_samples})")
    if present < head.n_samples:
        lost_s = (head.n_samples - present) / head.sfreq
        warnings.warn(
            f"cut short: the head declares {head.n_samples} samples, the file holds {present} ({lost_s:g} s are missing)",
            stacklevel=2,
        )
    if head.unit != "uV":
        warnings.warn(f"conversion_factor read as {head.unit} a step, by its size (documented is uV)", stacklevel=2)
    return _RawEpilepsiae(path, head, present)


class _RawEpilepsiae(RawNicolet):
    """MNE's reader of the samples, with the header as it is read here."""

    def __init__(self, path: Path, head: EpilepsiaeHead, n_samples: int) -> None:
        info = mne.create_info(list(head.ch_names), head.sfreq, "eeg", verbose="ERROR")
        info.set_meas_date(head.start_time)
        for channel in info["chs"]:
            channel["cal"] = head.uv_per_step / UV_PER_V
        extras: list[dict[str, Any]] = [{"pat_id": head.patient, "n_samples": n_samples}]
        mne.io.BaseRaw.__init__(
            self,
            info,
            False,
            filenames=[path.absolute()],
            raw_extras=extras,
            last_samps=[n_samples - 1],
            orig_format="int",
            verbose="WARNING",
        )


def epilepsiae_clock(text: str) -> dt.datetime | None:
    """Return a clock time as heads and tables of EPILEPSIAE write it, None where it is none.

    Parameters
    ----------
    text : str
        Year first, numbers padded with zeros or not, with or without a fraction of a second.

    Returns
    -------
    datetime.datetime or None
        In UTC, as the database names no time zone.

    Examples
    --------
    >>> print(epilepsiae_clock("2008-3-1 1:02:3.5"))
    2008-03-01 01:02:03.500000+00:00
    """
    match = _START.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    try:
        return dt.datetime(
            year, month, day, hour, minute, second, int((match[7] or "0")[:6].ljust(6, "0")), tzinfo=dt.UTC
        )
    except ValueError:
        return None


def _start(said: dict[str, str], path: Path) -> dt.datetime:
    start = epilepsiae_clock(said.get("start_ts", ""))
    if start is None:
        raise _fault(path, f"start_ts is {said.get('start_ts', '')!r}; expected e.g. 2008-11-03 12:28:32.000")
    return start


def _number(said: dict[str, str], key: str, path: Path, absent: float | None = None) -> float:
    text = said.get(key, "" if absent is None else str(absent))
    try:
        return float(text)
    except ValueError:
        raise _fault(path, f"{key} is {text!r}; expected a number") from None


def _fault(path: Path, what: str) -> RecordingError:
    return RecordingError("unreadable", f"{path.with_suffix('.data')}: in {path.name}, {what}")
