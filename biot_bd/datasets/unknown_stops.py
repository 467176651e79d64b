"""Seizures whose end nobody noted: left out with their recording, refused, or ended as assumed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from biot_bd.exceptions import RecordingError

EXCLUDE = "exclude-recording"
_ASSUME = re.compile(r"assume-(\d+(?:\.\d+)?)s")

Marked = tuple[float, float | None, str]
"""Onset, stop (None where it is not known) and kind of a seizure, times in seconds."""


def check_unknown_stop(value: str, example_s: int) -> None:
    """Raise a ValueError where the option ``unknown_stop`` is none of its choices.

    Parameters
    ----------
    value : str
        ``"exclude-recording"``, ``"raise"``, or ``"assume-30s"`` with any number of seconds.
    example_s : int
        Seconds that others assumed for the data set, for the message.
    """
    if value not in (EXCLUDE, "raise") and assumed_s(value) is None:
        raise ValueError(
            f"unknown_stop={value!r}: expected '{EXCLUDE}', 'raise' or a length to assume, e.g. 'assume-{example_s}s'"
        )


def assumed_s(value: str) -> float | None:
    """Return the seconds that an option assumes for a seizure without a stop, None where none.

    Examples
    --------
    >>> assumed_s("assume-30s"), assumed_s("raise"), assumed_s("assume-0s")
    (30.0, None, None)
    """
    match = _ASSUME.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) or None if match else None


def close_seizures(
    seizures: Iterable[Marked], how: str, *, duration_s: float, where: str
) -> tuple[list[tuple[float, float, str]], list[str]]:
    """Give every seizure a stop, by the option ``unknown_stop``.

    Parameters
    ----------
    seizures : iterable of (onset_s, stop_s or None, kind)
        As the source has them.
    how : str
        See :func:`check_unknown_stop`.
    duration_s : float
        Length of the recording; no assumed stop lies behind it.
    where : str
        Names recording and source, for messages.

    Returns
    -------
    seizures : list of (onset_s, stop_s, kind)
    notes : list of str
        Which stops were assumed.

    Raises
    ------
    RecordingError
        A stop is not known: ``bad-annotation`` with ``"raise"``, else ``unlisted``, as the labels
        are known in part only.
    """
    closed, opened = list[tuple[float, float, str]](), list[float]()
    length_s = assumed_s(how)
    for onset_s, stop_s, kind in seizures:
        if stop_s is None:
            opened.append(onset_s)
            stop_s = onset_s if length_s is None else min(onset_s + length_s, max(duration_s, onset_s + 0.01))
        closed.append((onset_s, stop_s, kind))
    if not opened:
        return closed, []
    times = ", ".join(f"{onset_s:g} s" for onset_s in opened)
    if length_s is None:
        raise RecordingError(
            "bad-annotation" if how == "raise" else "unlisted",
            f"{where}: the stop of the seizure at {times} is not known, and so not which windows are seizures; "
            "unknown_stop='assume-30s' takes it as so long",
        )
    return closed, [f"stop of the seizure at {times} not known, {length_s:g} s assumed"]
