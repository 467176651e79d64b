"""What probes and their values are called in pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd import registry
from biot_bd.models.attention.token_map import TokenMap


def title_of(found: TokenMap) -> str:
    """Return the title that the probe's class gives itself, else its name."""
    probe = registry.probes.get(found.probe)
    said = getattr(probe, "title", None)
    return capitalised(said) if isinstance(said, str) and said else f"Importance by the probe {found.probe}"


def capitalised(text: str) -> str:
    """Return the text with a capital at its beginning, the rest as it is."""
    return text[:1].upper() + text[1:]


def target_of(found: TokenMap, window: int | None, name: str | None) -> str:
    """Return the class explained, in words."""
    if name is not None:
        return name
    classes = set(found.target or ()) if window is None else {found.target[window]} if found.target else set()
    return f"class {classes.pop()}" if len(classes) == 1 else "the class explained"


def meaning(found: TokenMap, window: int | None, target_name: str | None, of_what: str) -> str:
    """Return what colours mean: for and against a class, or more than the average."""
    if found.signed:
        target = target_of(found, window, target_name)
        return f"blue: speaks against {target}; orange: speaks for {target} ({found.unit})"
    return f"{found.unit}, times the average of {of_what} (pale: average or less)"


def window_of(values: NDArray[Any], window: int | None) -> NDArray[Any]:
    """Return the values of one window, or their mean over windows (None).

    Raises
    ------
    ValueError
        There is no such window.
    """
    if window is None:
        known = np.isfinite(values).sum(axis=0)
        return np.where(known > 0, np.nansum(values, axis=0) / np.maximum(known, 1), np.nan)
    if not -len(values) <= window < len(values):
        raise ValueError(f"there is no window {window}: the map has {len(values)}")
    return np.asarray(values[window])


def listed(names: list[str], most: int = 6) -> str:
    """Return names with commas, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
