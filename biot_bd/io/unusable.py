"""Channels whose microvolts nobody can tell, and why: from the header alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_header import EdfHeader, read_edf_header
from biot_bd.io.told_units import correct_told_units, corrected_units, told_faults
from biot_bd.io.units import IMPOSSIBLE_STEP_UV, UV_PER_V, channel_uv, uv_per_unit

if TYPE_CHECKING:
    import mne

_LIKE_EDF = ("RawEDF", "RawBDF", "RawGDF")
_BOUNDS = (("physical", "min"), ("physical", "max"), ("digital", "min"), ("digital", "max"))
# Among MNE's extras: units as the header spells them, of channels that were corrected.
_TOLD = "biot_bd_units"
_GDF_UNITS = {0: "", 512: "", 4256: "V", 4274: "mV", 4275: "uV", 4276: "nV"}
# Units that MNE knows in a header; it takes all others for volts.
_OF_MNE = ("uV", "µV", "μV", "\x83\xcaV", "mV", "V")


def unusable_channels(raw: mne.io.BaseRaw | EdfHeader) -> dict[str, str]:
    """Return the channels that cannot be used, and why; no sample is read.

    Parameters
    ----------
    raw : mne.io.BaseRaw or EdfHeader
        A recording, lazy or not; what it was cropped, picked or renamed from is known.  Or the
        header of an EDF file, whose ranges are numbers.

    Returns
    -------
    dict of str to str
        Channel as the recording names it -> reason in one phrase.  EDF, BDF and GDF: an empty or
        impossible range, no samples, a unit that is not known or that MNE takes for another.  Other
        formats: a unit that is not known or that MNE takes for another, where the file tells one.

    See Also
    --------
    biot_bd.signals.plan_montage : Takes it, and uses none of these.
    biot_bd.io.OpenRecording.unusable : The same of an open recording.

    Examples
    --------
    >>> import tempfile, edfio, mne, numpy as np
    >>> from biot_bd.io import unusable_channels
    >>> x = np.sin(np.arange(512))
    >>> signals = [edfio.EdfSignal(x, 256, label="Fp1", physical_dimension="uV")]
    >>> signals += [edfio.EdfSignal(x, 256, label="Fp2", physical_dimension="mmHg")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     edfio.Edf(signals).write(f"{folder}/x.edf")
    ...     raw = mne.io.read_raw_edf(f"{folder}/x.edf", verbose="error")
    ...     unusable_channels(raw)
    {'Fp2': "unit 'mmHg' is not known"}
    """
    if not isinstance(raw, EdfHeader) and type(raw).__name__ not in _LIKE_EDF:
        return told_faults(raw)
    return {channel.name: reason for channel in _described(raw) if (reason := channel.fault())}


def read_otherwise(raw: mne.io.BaseRaw) -> dict[str, float | str]:
    """Return the channels that are read otherwise than MNE alone reads them.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording, opened by :func:`biot_bd.io.open_raw`.

    Returns
    -------
    dict of str to float or str
        Channel -> microvolts a unit, or the reason why it is not used; empty where the header says
        everything as its standard wants it.
    """
    corrected = {
        channel.name: channel.uv
        for channel in _described(raw)
        if channel.uv is not None and channel.unit not in _OF_MNE
    }
    return corrected | corrected_units(raw) | unusable_channels(raw)


def correct_units(raw: mne.io.BaseRaw) -> None:
    """Let a lazy recording be read in volts where MNE does not know how its header spells the unit.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        As MNE opened it; nothing is done to formats other than EDF, BDF, GDF and BrainVision.
    """
    for channel in _described(raw):
        if channel.uv is not None and not channel.is_read_so:
            # Beside MNE's factors, so that what the header says is known of copies and parts, too.
            channel.extras.setdefault(_TOLD, {})[channel.place] = channel.unit
            channel.extras["units"][channel.place] = channel.uv / UV_PER_V
    correct_told_units(raw)


def unit_notes(raw: mne.io.BaseRaw | EdfHeader, ch_names: Sequence[str]) -> list[str]:
    """Say which channels' unit was concluded from their range.

    Parameters
    ----------
    raw : mne.io.BaseRaw or EdfHeader
        The recording, or the header of an EDF file, whose ranges are numbers.
    ch_names : sequence of str
        The channels that are used.

    Returns
    -------
    list of str
        Empty where all units are as the standard spells them.
    """
    concluded: dict[str, list[str]] = {}
    for channel in _described(raw):
        used = channel.name in ch_names and channel.is_read_so
        if used and channel.uv is not None and uv_per_unit(channel.unit) is None:
            unit = "mV" if channel.uv > 1 else "uV"
            concluded.setdefault(f"unit {channel.unit!r} read as {unit}, by the range", []).append(channel.name)
    return [f"{what}: {', '.join(names)}" for what, names in concluded.items()]


@dataclass(frozen=True)
class _Described:
    """What a header says of a channel; MNE's tables and its place there, where MNE reads it."""

    name: str
    unit: str
    low: float
    high: float
    digital_low: float
    digital_high: float
    n_samples: int
    extras: dict[str, Any] = field(default_factory=dict)
    place: int = 0

    @property
    def _step(self) -> float:
        return abs(self.high - self.low) / abs(self.digital_high - self.digital_low)

    @cached_property
    def uv(self) -> float | None:
        """Microvolts a unit; None where the header does not tell, or its range is none."""
        if self._range_fault():
            return None
        return channel_uv(self.unit, max(abs(self.low), abs(self.high)), self._step)

    @property
    def is_read_so(self) -> bool:
        """Whether what reads it multiplies by what the unit is."""
        if not self.extras:
            return self.uv is not None
        read = float(self.extras["units"][self.place]) * UV_PER_V
        return self.uv is not None and math.isclose(read, self.uv, rel_tol=1e-6)

    def _range_fault(self) -> str | None:
        if self.n_samples < 1:
            return "it has no samples in a record"
        for what, a, b in (
            ("physical", self.low, self.high),
            ("digital", self.digital_low, self.digital_high),
        ):
            if not (math.isfinite(a) and math.isfinite(b)):
                return f"its {what} range is from {a:g} to {b:g}"
            if a == b:
                return f"its {what} minimum and maximum are both {a:g}"
        return None

    def fault(self) -> str | None:
        if fault := self._range_fault():
            return fault
        if self.uv is None:
            return f"unit {self.unit!r} is not known" if self.unit else self._blank()
        if self._step * self.uv > IMPOSSIBLE_STEP_UV:
            return f"with unit {self.unit!r} and that range a digital step would be {self._step * self.uv:g} uV"
        if not self.is_read_so:
            factor = self.extras["units"][self.place]
            return (
                f"unit {self.unit!r} was read as {factor:g} V, it is {self.uv / UV_PER_V:g} V; open the file by "
                "biot_bd.io.open_recording"
            )
        return None

    def _blank(self) -> str:
        return f"its unit is blank, and the range from {self.low:g} to {self.high:g} fits several"


def _described(raw: mne.io.BaseRaw | EdfHeader) -> Iterator[_Described]:
    """Yield what headers say of the channels, of each file of a joined recording; no triggers."""
    if isinstance(raw, EdfHeader):
        units, bounds = raw.field("unit"), [raw.field(f"{kind}_{end}") for kind, end in _BOUNDS]
        for name, i in raw.channels:
            low, high, lowest, highest = (float(texts[i]) for texts in bounds)
            yield _Described(name, units[i].strip("\0 "), low, high, lowest, highest, raw.samples[i])
        return
    if type(raw).__name__ not in _LIKE_EDF:
        return
    for path, extras, picks in zip(raw.filenames, raw._raw_extras, raw._read_picks, strict=True):
        units = _units(raw, path, extras)
        for place, unit in extras.get(_TOLD, {}).items():
            units[place] = unit
        for index, place in enumerate(picks[: len(raw.ch_names)]):
            if place >= len(extras["sel"]) or place in extras["stim_channel_idxs"]:
                continue
            low, high, lowest, highest = (float(extras[f"{kind}_{end}"][place]) for kind, end in _BOUNDS)
            n_samples, name = int(extras["n_samps"][extras["sel"][place]]), raw.ch_names[index]
            yield _Described(name, units[place], low, high, lowest, highest, n_samples, extras, int(place))


def _units(raw: mne.io.BaseRaw, path: Path | None, extras: dict[str, Any]) -> list[str]:
    """Return the units as the header spells them, of MNE's channels."""
    known = {1e-6: "uV", 1e-3: "mV"}
    # A unit that was given to MNE's reader, which takes it where the header has none.
    given = [known.get(round(float(factor), 9), "") for factor in extras["units"]]
    if path is None:
        return given
    try:
        told = _gdf_units(path) if type(raw).__name__ == "RawGDF" else read_edf_header(path).field("unit")
        return [told[signal].strip("\0 ") or unit for signal, unit in zip(extras["sel"], given, strict=True)]
    except (RecordingError, OSError, ValueError, IndexError):
        return given


def _gdf_units(path: Path) -> list[str]:
    """Return the units of a GDF file; from version 1.9 on they are codes.

    References
    ----------
    https://arxiv.org/abs/cs/0608052
    """
    with path.open("rb") as file:
        head = file.read(256)
        n = int.from_bytes(head[252:254], "little")
        signals = file.read(256 * n)
    if float(head[4:8]) < 1.9:
        return [signals[at : at + 8].decode("latin-1").strip() for at in range(96 * n, 104 * n, 8)]
    codes = [int.from_bytes(signals[at : at + 2], "little") for at in range(102 * n, 104 * n, 2)]
    return [_GDF_UNITS.get(code, f"code {code}") for code in codes]
