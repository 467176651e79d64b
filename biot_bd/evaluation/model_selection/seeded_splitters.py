"""Splitters that shuffle in another way each time, and their seed."""

from __future__ import annotations

from copy import copy
from typing import Any


def draws_unseeded(splitter: Any) -> bool:
    """Return whether a splitter of scikit-learn shuffles, each time in another way."""
    if hasattr(splitter, "get_params") or not hasattr(splitter, "split") or not hasattr(splitter, "random_state"):
        return False
    return splitter.random_state is None and getattr(splitter, "shuffle", True) is not False


def seeded_splitter(splitter: Any, seed: int) -> Any:
    """Return a copy of a splitter that draws from a seed."""
    seeded = copy(splitter)
    seeded.random_state = seed
    return seeded
