"""The fastest of some candidates, measured on a machine once and kept for the next process.

The file is ``precision.json`` in ``$BIOT_BD_CACHE`` (default ``~/.cache/biot_bd``).  A key names
all that a choice depends on, the processor with its instructions first: a folder that machines
share never hands one of them the choice of another.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from biot_bd.runs import read_json, write_json


def best_of(times: Mapping[str, float], gain: float = 0.03) -> str:
    """Return the first candidate unless another is faster by more than ``gain``; then the fastest.

    Parameters
    ----------
    times : mapping of str to float
        Seconds; the candidate to prefer first.  Not-finite ones are never taken.
    gain : float
        Smallest share of time for which the first one is given up.

    Raises
    ------
    ValueError
        No time is finite.
    """
    finite = {name: t for name, t in times.items() if math.isfinite(t)}
    if not finite:
        raise ValueError(f"no candidate has a time: {dict(times)}")
    fastest = min(finite, key=finite.__getitem__)
    first = next(iter(finite))
    return first if finite[first] * (1 - gain) <= finite[fastest] else fastest


def cache_folder() -> Path:
    """Return the folder of what this machine found out: ``$BIOT_BD_CACHE``, or its default."""
    return Path(os.environ.get("BIOT_BD_CACHE") or Path.home() / ".cache" / "biot_bd")


def choices_file() -> Path:
    """Return where choices are kept."""
    return cache_folder() / "precision.json"


def cached_choice(
    key: str, measure: Callable[[], dict[str, Any]], valid: Callable[[dict[str, Any]], object] = bool
) -> dict[str, Any]:
    """Return the choice kept under ``key``, or measure and keep it.

    Processes that ask at the same time for the same thing measure once.  Where the folder cannot be
    written, every process measures for itself.

    Parameters
    ----------
    key : str
        All that the choice depends on, the machine too.
    measure : callable
        ``measure() -> dict`` of values that JSON holds.
    valid : callable
        ``valid(choice)``: false for what was kept by another version, or is damaged; it is measured
        again then.

    Returns
    -------
    dict

    Examples
    --------
    >>> import os
    >>> from biot_bd.kept_choices import cached_choice
    >>> os.environ["BIOT_BD_CACHE"] = "choices"
    >>> cached_choice("a processor, a model", lambda: {"engine": "onnx"})
    {'engine': 'onnx'}
    >>> cached_choice("a processor, a model", lambda: {"engine": "torch"})
    {'engine': 'onnx'}
    >>> cached_choice("another processor, a model", lambda: {"engine": "torch"})
    {'engine': 'torch'}
    >>> del os.environ["BIOT_BD_CACHE"]
    """
    path = choices_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One object for a path: what is measured may ask for a choice of its own.
        locked = FileLock(path.with_suffix(".lock"), is_singleton=True).acquire()
    except OSError:
        return measure()
    with locked:
        kept = _read(path)
        if key not in kept or not valid(kept[key]):
            found = measure()
            kept = {**_read(path), key: found}
            with contextlib.suppress(OSError):
                write_json(path, kept)
        return dict(kept[key])


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Read what is kept; a damaged file only costs a new measurement."""
    try:
        kept = read_json(path)
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in kept.items() if isinstance(v, dict)} if isinstance(kept, dict) else {}
