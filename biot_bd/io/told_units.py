"""Units of channels that other formats than EDF tell, and what MNE takes them for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from biot_bd.io.units import UV_PER_V, uv_per_unit

if TYPE_CHECKING:
    import mne

# Readers that scale by a unit of each channel, and what they take the unit for, in V.
_SCALED_BY_UNIT = ("RawBrainVision", "RawCurry", "RawANT")


def told_faults(raw: mne.io.BaseRaw) -> dict[str, str]:
    """Return the channels whose unit is told and not known, or not the one that MNE takes it for.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        A recording of a format other than EDF, BDF and GDF.

    Returns
    -------
    dict of str to str
        Channel -> reason in one phrase.  Nothing is said of formats that tell no unit.

    See Also
    --------
    biot_bd.io.unusable_channels : The same of any format.
    """
    found = {}
    for index, name in enumerate(raw.ch_names):
        if reason := _fault(raw, index):
            found[name] = reason
    return found


def corrected_units(raw: mne.io.BaseRaw) -> dict[str, float]:
    """Return channels that :func:`correct_told_units` scaled, with their microvolts a unit."""
    from mne.io.constants import FIFF

    return {
        raw.ch_names[index]: uv
        for index, uv in _brainvision(raw)
        if raw.info["chs"][index]["unit"] != FIFF.FIFF_UNIT_V and _same(raw, index, uv)
    }


def correct_told_units(raw: mne.io.BaseRaw) -> None:
    """Let a lazy BrainVision recording be read in volts where MNE does not know the spelling.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        As MNE opened it; nothing is done to other formats.
    """
    for index, uv in _brainvision(raw):
        if not raw.preload and not _same(raw, index, uv):
            channel = raw.info["chs"][index]
            channel["range"] = uv / UV_PER_V
            raw._cals[index] = channel["cal"] * channel["range"]


def _brainvision(raw: mne.io.BaseRaw) -> Iterator[tuple[int, float]]:
    """Yield the channels of a BrainVision recording with their microvolts a unit, where sure."""
    if type(raw).__name__ == "RawBrainVision":
        for index, name in enumerate(raw.ch_names):
            uv = uv_per_unit(raw._orig_units.get(name, ""))
            if uv is not None:
                yield index, uv


def _same(raw: mne.io.BaseRaw, index: int, uv: float) -> bool:
    return math.isclose(raw.info["chs"][index]["range"] * UV_PER_V, uv, rel_tol=1e-6)


def _fault(raw: mne.io.BaseRaw, index: int) -> str | None:
    """Return why the microvolts of a channel cannot be told."""
    from mne.io.constants import FIFF

    channel = raw.info["chs"][index]
    kind, told = type(raw).__name__, raw._orig_units.get(raw.ch_names[index])
    if channel["kind"] == FIFF.FIFFV_EEG_CH:
        if channel["unit"] != FIFF.FIFF_UNIT_V:
            return f"its unit is not volts (FIFF code {int(channel['unit'])})"
        if channel["unit_mul"] != FIFF.FIFF_UNITM_NONE:
            return f"its unit is 1e{int(channel['unit_mul'])} V, which MNE reads as V"
    if kind == "RawBCI2k":
        return "its gain is not read"
    if kind == "RawANT":
        told = raw._raw_extras[0]["orig_ch_units"][int(raw._read_picks[0][index])]
    if channel["kind"] == FIFF.FIFFV_STIM_CH:
        return None
    if told is None:  # a label that occurs twice
        lost = kind == "RawBrainVision" and channel["unit"] != FIFF.FIFF_UNIT_V
        return "its unit is not known" if lost else None
    if told == "n/a" or (kind in _SCALED_BY_UNIT and uv_per_unit(told) is None):
        return f"its unit {'' if told == 'n/a' else repr(told) + ' '}is not known"
    factor = _factor(raw, index, told)
    uv = uv_per_unit(told)
    if factor is None or uv is None or math.isclose(factor * UV_PER_V, uv, rel_tol=1e-6):
        return None
    return (
        f"unit {told!r} was read as {factor:g} V, it is {uv / UV_PER_V:g} V; open the file by biot_bd.io.open_recording"
    )


def _factor(raw: mne.io.BaseRaw, index: int, told: str) -> float | None:
    """Return the volts that MNE takes a unit for."""
    kind = type(raw).__name__
    if kind == "RawBrainVision":
        return float(raw.info["chs"][index]["range"])
    if kind == "RawCurry":
        return 1e-6 if told == "uV" else 1.0
    if kind == "RawANT":
        return 1e-6 if told in ("uv", "µv") else 1.0
    return None
