"""Channel names as recordings write them, read as electrodes of the 10-20 and 10-10 systems.

``parse_name`` accepts any case and spaces, the prefixes ``EEG`` and ``POL``, trailing dots
(``Fc5.``) and units (``Fp1 (uV)``), the old names T3, T4, T5 and T6, references (``-REF``,
``_Ref``, ``-LE``, ``/A2``, ...) and the ``-0``, ``-1`` that MNE puts behind duplicate labels.
Whatever does not start with a scalp electrode is not EEG here.  One label alone does not tell a
scalp electrode from a contact of the same name: :func:`biot_bd.signals.judge_names` looks at all of
a recording.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

# fmt: off
ELECTRODES: tuple[str, ...] = (
    "Fp1", "Fpz", "Fp2", "AF9", "AF7", "AF5", "AF3", "AF1", "AFz", "AF2", "AF4", "AF6", "AF8", "AF10",
    "F9", "F7", "F5", "F3", "F1", "Fz", "F2", "F4", "F6", "F8", "F10",
    "FT9", "FT7", "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "FT8", "FT10",
    "T9", "T7", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "T8", "T10",
    "TP9", "TP7", "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "TP8", "TP10",
    "P9", "P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8", "P10",
    "PO9", "PO7", "PO5", "PO3", "PO1", "POz", "PO2", "PO4", "PO6", "PO8", "PO10",
    "O9", "O1", "Oz", "O2", "O10", "Iz", "A1", "A2", "M1", "M2", "T1", "T2",
)
# fmt: on
"""Electrodes known by name: the 10-10 system, ear lobes, mastoids and the temporal T1 and T2."""

DERIVATIONS: tuple[str, ...] = ("BTEleft", "BTEright", "CROSStop")
"""Channels of two electrodes behind an ear, or of one behind each, as SeizeIT2 names them; none of
their electrodes has a place in the 10-10 system."""

OLD_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}

_KNOWN = {name.upper(): name for name in ELECTRODES} | OLD_NAMES
# The recorder is a Sensor Dot ("BTEleft SD").
_KNOWN |= {name.upper() + dot: name for name in DERIVATIONS for dot in ("", "SD")}
# Channels against these are no EEG derivations, whatever stands in front.
_NO_REFERENCE = re.compile(r"(ECG|EKG|EMG|EOG|VNS|LOC|ROC|CHIN|DC|SAT|CO)\d*$")
# One spelling for each common reference; anything else stands for itself.
_REFERENCES = {"AV": "AVG", "AVE": "AVG", "AR": "AVG", "A1A2": "LE", "A1+A2": "LE"}
_DUPLICATE = re.compile(r"(?<=[^-])(-\d+)+$")
_REFERENCE = re.compile(r"[A-Z0-9+()/]{1,12}$")
_PREFIX = re.compile(r"(EEG|POL)[\s:_-]*")
_UNIT = re.compile(r"\s*[(\[](µ|μ|u|m|n)?V[)\]]\s*$", re.IGNORECASE)
# Behind a hyphen anything may stand; behind the others a number is part of the name.
_BETWEEN = re.compile(r"-|[_/:](?=[A-Z(])")


@dataclass(frozen=True)
class ChannelName:
    """What a channel's name says.

    Parameters
    ----------
    electrode : str
        The electrode at the plus side, e.g. ``"T7"``; or a derivation that has a name of its own
        (``"BTEleft"``).
    reference : str or None
        What it is measured against: an electrode (``"P7"``), a common reference in capitals
        (``"REF"``, ``"CS2"``), or None where the name does not say.
    """

    electrode: str
    reference: str | None

    @property
    def bipolar(self) -> bool:
        """True where both sides are electrodes."""
        return self.reference in ELECTRODES


def split_prefix(name: str) -> tuple[str, str]:
    """Split a channel's name into what is written before it and the name itself.

    Parameters
    ----------
    name : str
        As the recording writes it, e.g. ``"POL Fp1"``.

    Returns
    -------
    prefix, text : str
        ``"EEG"``, ``"POL"`` or nothing, and the rest in capitals, without spaces and unit.
    """
    text = re.sub(r"[–—−]", "-", _UNIT.sub("", str(name))).strip().upper()
    found = _PREFIX.match(text)
    prefix, rest = (found[1], text[found.end() :]) if found else ("", text)
    return prefix, re.sub(r"\s+", "", rest)


@lru_cache(maxsize=4096)
def parse_name(name: str) -> ChannelName | None:
    """Read a channel's name.

    Parameters
    ----------
    name : str
        As the recording writes it, e.g. ``"EEG T3-REF"``, ``"FP1-F7"``, ``"Fc5."``, ``"T8-P8-1"``.

    Returns
    -------
    ChannelName or None
        None for dummies (``-``, ``--0``, ``.``), for channels that are not EEG (``ECG``,
        ``LOC-ROC``, ``VNS``) and for electrodes outside the 10-10 system.

    See Also
    --------
    biot_bd.signals.judge_names : Reads all names of a recording together.
    """
    _, text = split_prefix(name)
    first, *rest = _BETWEEN.split(_DUPLICATE.sub("", text), maxsplit=1)
    electrode = _KNOWN.get(first.rstrip("."))
    if electrode is None:
        return None
    second = "".join(rest).rstrip(".")
    if not second:
        return ChannelName(electrode, None)
    if _NO_REFERENCE.match(second) or not _REFERENCE.match(second):
        return None
    reference = _KNOWN.get(second) or _REFERENCES.get(second, second)
    return None if reference == electrode else ChannelName(electrode, reference)


def canonical_name(name: str) -> str | None:
    """Return a channel's name in one spelling.

    Parameters
    ----------
    name : str
        As the recording writes it.

    Returns
    -------
    str or None
        ``"Fp1-F7"`` for a derivation of two electrodes, ``"Fp1"`` for a referential channel, None
        where the name is no EEG channel.

    See Also
    --------
    MontageMapper : Finds channels by these names.
    montage_of : The montage that channels are, by these names.

    Examples
    --------
    >>> [canonical_name(name) for name in ("EEG T3-REF", "fp1-f7", "T8-P8-1", "ECG")]
    ['T7', 'Fp1-F7', 'T8-P8', None]
    """
    parsed = parse_name(name)
    if parsed is None:
        return None
    return f"{parsed.electrode}-{parsed.reference}" if parsed.bipolar else parsed.electrode
