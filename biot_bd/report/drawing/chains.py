"""Derivations in the chains of a longitudinal montage, as EEG is read: left temporal, left
parasagittal, midline, right parasagittal, right temporal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

CHAINS = ("left temporal", "left parasagittal", "midline", "right parasagittal", "right temporal", "other")
_SIDES = {"left": "left", "midline": "middle", "right": "right", "other": "middle"}
_ELECTRODE = re.compile(r"([A-Z]+?)(\d+|Z)$")
# Electrodes of the temporal chain: names with T, and the lateral ones, numbered 7 to 10.
_LATERAL = 7


def chain_of(ch_name: str) -> str:
    """Return the chain of a derivation, or of an electrode against a reference.

    Parameters
    ----------
    ch_name : str
        Such as ``Fp1-F7``, ``C3`` or ``EEG C3-REF``.

    Returns
    -------
    str
        One of :data:`CHAINS`; ``"other"`` for a name of no electrode of the 10-20 or 10-10 system,
        and for a derivation across the midline.
    """
    found = [place for part in ch_name.upper().removeprefix("EEG").split("-") if (place := _place(part.strip()))]
    if not found:
        return "other"
    sides = {side for side, _ in found}
    if len(sides - {"midline"}) > 1:
        return "other"
    if sides == {"midline"}:
        return "midline"
    side = next(iter(sides - {"midline"}))
    return f"{side} {'temporal' if any(lateral for _, lateral in found) else 'parasagittal'}"


def side_of(ch_name: str) -> str:
    """Return ``"left"``, ``"right"`` or ``"middle"``, by which a trace is coloured."""
    return _SIDES[chain_of(ch_name).partition(" ")[0]]


def in_chains(ch_names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Return the channels by chain, in the order in which EEG is read.

    Parameters
    ----------
    ch_names : sequence of str

    Returns
    -------
    list of (str, list of int)
        Chain -> positions of its channels, in their own order; chains without channels are left
        out.
    """
    chains = [chain_of(name) for name in ch_names]
    return [
        (chain, own) for chain in CHAINS if (own := [index for index, found in enumerate(chains) if found == chain])
    ]


def _place(electrode: str) -> tuple[str, bool] | None:
    """Return side, and whether lateral, of an electrode; None where it is none of the scalp."""
    match = _ELECTRODE.fullmatch(electrode)
    if match is None:
        return None
    letters, number = match.groups()
    if number == "Z":
        return "midline", False
    lateral = "T" in letters or int(number) >= _LATERAL
    return ("left" if int(number) % 2 else "right"), lateral
