"""What a reader of a detection should know of the recording's channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from biot_bd.signals.montages import MontagePlan, parse_name


def channel_facts(plan: MontagePlan) -> dict[str, str]:
    """Say how each channel of the montage came about."""
    facts = {}
    for channel in plan.channels:
        names = [plan.ch_names[source] for source in channel.sources]
        if channel.how == "direct":
            facts[channel.name] = names[0]
        elif channel.how == "reversed":
            facts[channel.name] = f"{names[0]}, sign changed"
        elif channel.how == "difference":
            facts[channel.name] = f"{names[0]} minus {names[1]}"
        else:
            facts[channel.name] = channel.how
    return facts


def bad_notes(bads: Sequence[str], needed: Sequence[str]) -> list[str]:
    """Say which needed channels the recording marks as bad."""
    used = [name for name in needed if name in bads]
    return [f"marked as bad in the recording, used all the same: {', '.join(used)}"] if used else []


def channel_notes(plan: MontagePlan, n_absent: dict[str, int]) -> list[str]:
    """Say which channels were doubled, missing, interpolated, or left out in ``n_absent`` windows."""
    notes = _duplicates(plan)
    if plan.missing:
        notes.append(f"missing channels, left out: {', '.join(plan.missing)}")
    filled = [channel.name for channel in plan.channels if channel.how == "interpolated"]
    if filled:
        notes.append(f"interpolated channels: {', '.join(filled)}")
    if n_absent:
        named = ", ".join(f"{name} ({n} windows)" for name, n in n_absent.items())
        notes.append(f"flat or not finite, left out there: {named}")
    return notes


def _duplicates(plan: MontagePlan) -> list[str]:
    """Name the channels that stand several times and are used."""
    same: dict[Any, list[int]] = {}
    for position, name in enumerate(plan.ch_names):
        same.setdefault(parse_name(name), []).append(position)
    used = {source for channel in plan.channels for source in channel.sources}
    return [
        f"{', '.join(plan.ch_names[place] for place in places)} have one name; the first was used"
        for parsed, places in same.items()
        if parsed is not None and len(places) > 1 and used & set(places)
    ]


def gap_notes(gaps: list[tuple[float, float]]) -> list[str]:
    """Say in which stretches ``(start_s, stop_s)`` no channel was usable."""
    if not gaps:
        return []
    named = ", ".join(f"{a:g} to {b:g} s" for a, b in gaps[:5]) + (
        f" and {len(gaps) - 5} more" if len(gaps) > 5 else ""
    )
    return [f"no probability, because no channel was usable: {named}"]
