"""Units of voltage as headers and streams spell them, and how many microvolts each is."""

from __future__ import annotations

import re
from functools import lru_cache

UV_PER_V = 1e6
_MICRO_SIGNS = "µμ"
# As a header that is decoded as latin-1 shows the sign of another encoding; the longest go first.
_MICRO = sorted(
    {"Μ", *_MICRO_SIGNS}
    | {
        sign.encode(codec, "ignore").decode("latin-1")
        for sign in _MICRO_SIGNS
        for codec in ("utf-8", "latin-1", "cp437", "iso8859-7", "shift_jis", "euc_jp", "euc_kr", "big5")
    }
    - {""},
    key=len,
    reverse=True,
)
_PREFIXES = {
    **dict.fromkeys(("u", "micro", "mikro", "mc"), 1.0),
    **dict.fromkeys(("m", "milli"), 1e3),
    **dict.fromkeys(("n", "nano"), 1e-3),
    "": UV_PER_V,
}
_VOLTS = re.compile(r"([a-z]*?)[ _-]?v(?:olts?)?", re.IGNORECASE)
# Of all signs that may stand before a V only micro is outside ASCII, so that only micro gets lost.
_LOST_SIGN = re.compile("[^a-zA-Z0-9+/*-]{1,3}v(?:olts?)?", re.IGNORECASE)

# EEG as recorders write it: no coarser than this, and room for as much.
COARSEST_STEP_UV = 5.0
SMALLEST_TOP_UV, LARGEST_TOP_UV = 100.0, 1e6
# With a coarser step EEG is one digit: the unit cannot be as it is spelled.  A BDF of 262 mV that
# was written as EDF has 8 uV, a range of 3277 in 16 bits that is said to be millivolts 100 uV.
IMPOSSIBLE_STEP_UV = 50.0
# What a range that is meant in millivolts may look like at the coarsest.
_COARSE_STEP_UV = 10.0


def uv_per_unit(text: str) -> float | None:
    r"""Return how many microvolts a unit is.

    Parameters
    ----------
    text : str
        As a header spells it; bytes of other encodings decoded as latin-1.

    Returns
    -------
    float or None
        None where the text says nothing sure: other words, blank, a lost sign (``"?V"``), and
        ``"mv"`` and ``"MV"``, which nobody can tell from a carelessly written ``"uV"``.

    See Also
    --------
    uv_per_unit_by_range : What the range of a channel proves of those.

    Examples
    --------
    >>> from biot_bd.io.units import uv_per_unit
    >>> [uv_per_unit(text) for text in ("uV", "µV", "UV", "uVolts", "mV", "V", "nV\0")]
    [1.0, 1.0, 1.0, 1.0, 1000.0, 1000000.0, 0.001]
    >>> [uv_per_unit(text) for text in ("", "?V", "MV", "mmHg")]
    [None, None, None, None]
    """
    return _told(text)


@lru_cache(maxsize=1024)  # the channels of a recording, and its neighbours', spell alike
def _told(text: str) -> float | None:
    text = _plain(text)
    match = _VOLTS.fullmatch(text)
    if match is None or text in ("mv", "MV", "Mv"):
        return None
    return _PREFIXES.get(match[1].lower())


def uv_per_unit_by_range(text: str, top: float, step: float) -> float | None:
    """Return how many microvolts an unsure unit is, where the range of the channel proves it.

    Parameters
    ----------
    text : str
        As a header spells it.
    top, step : float
        Largest absolute value of the physical range, and size of a digital step, both in that unit.

    Returns
    -------
    float or None
        1.0 for a blank unit whose range fits EEG in microvolts and in nothing else, and for ``?V``
        (a lost micro sign) whose range fits microvolts; 1000.0 for ``mv`` and ``MV`` whose range
        fits millivolts; None for all other.

    See Also
    --------
    uv_per_unit : Of units that are sure.

    Examples
    --------
    >>> from biot_bd.io.units import uv_per_unit_by_range
    >>> (
    ...     uv_per_unit_by_range("", top=3276.8, step=0.1),
    ...     uv_per_unit_by_range("", top=5, step=1e-4),
    ... )
    (1.0, None)
    >>> uv_per_unit_by_range("mv", 3.2768, 1e-4), uv_per_unit_by_range("mv", 3276.8, 0.1)
    (1000.0, None)
    """
    text = _plain(text)
    if text in ("mv", "MV", "Mv"):
        return 1e3 if _fits(top * 1e3, step * 1e3) else None
    fits_uv = _fits(top, step)
    if _LOST_SIGN.fullmatch(text):
        return 1.0 if fits_uv else None
    fits_mv = top * 1e3 <= LARGEST_TOP_UV and step * 1e3 <= _COARSE_STEP_UV
    fits_nv = top * 1e-3 >= SMALLEST_TOP_UV
    return 1.0 if not text and fits_uv and not fits_mv and not fits_nv else None


def channel_uv(text: str, top: float, step: float) -> float | None:
    """Return how many microvolts the unit of a channel is: told, or proved by its range.

    Parameters
    ----------
    text, top, step
        As for :func:`uv_per_unit_by_range`.

    Returns
    -------
    float or None
        None where neither says it.

    Examples
    --------
    >>> channel_uv("mV", top=3.2768, step=1e-4), channel_uv("", top=3276.8, step=0.1)
    (1000.0, 1.0)
    """
    told = uv_per_unit(text)
    return uv_per_unit_by_range(text, top, step) if told is None else told


def uv_per_unit_of_factor(factor: float, digital_top: float) -> float | None:
    """Return how many microvolts the unit of a factor is, where its size leaves one answer.

    Parameters
    ----------
    factor : float
        Size of a digital step in an unknown unit of volts.
    digital_top : float
        Largest absolute digital value.

    Returns
    -------
    float or None
        1.0, 1000.0 or 1000000.0 where the range fits EEG in microvolts, millivolts or volts and in
        no other of them; None else.

    See Also
    --------
    uv_per_unit_by_range : Where the unit is spelled, carelessly.

    Examples
    --------
    >>> [uv_per_unit_of_factor(factor, 2**15) for factor in (0.165, 1.65e-4, 1.65e-7, 0.004)]
    [1.0, 1000.0, 1000000.0, None]
    """
    fitting = [uv for uv in (1.0, 1e3, UV_PER_V) if _fits(digital_top * factor * uv, factor * uv)]
    return fitting[0] if len(fitting) == 1 else None


def _fits(top_uv: float, step_uv: float) -> bool:
    return SMALLEST_TOP_UV <= top_uv <= LARGEST_TOP_UV and step_uv <= COARSEST_STEP_UV


def _plain(text: str) -> str:
    """Return a unit without what pads it, its micro sign as ``u``."""
    text = text.replace("\0", " ").strip(" \t\r\n[]()")
    for sign in _MICRO:
        if text.startswith(sign):
            return "u" + text[len(sign) :].strip()
    return text
