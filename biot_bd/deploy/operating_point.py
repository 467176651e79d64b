"""What the threshold of a detector was chosen on, as facts and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from biot_bd.events.chosen_on import ChosenOn, chosen_on_text
from biot_bd.events.detector import EventDetector
from biot_bd.number_texts import count_text

LITTLE_SEIZURES, LITTLE_HOURS = 20, 24


class OperatingPoint(TypedDict):
    """How the threshold was chosen.

    ``chosen``: ``"recordings"``, ``"given"`` (by an option) or ``"default"``; ``reason``: what kept
    recordings from choosing; ``chosen_on``: None where none chose.  ``sensitivity`` and
    ``fa_per_24h`` are those on the recordings that it was chosen on, of ``n_reference`` seizures as
    the scorer merges and splits them; None where nobody says.
    """

    chosen: str
    reason: str | None
    chosen_on: ChosenOn | None
    n_reference: int | None
    sensitivity: float | None
    fa_per_24h: float | None


def operating_point_of(detector: EventDetector, given: Mapping[str, float]) -> OperatingPoint:
    """Return what is known of a detector's choice.

    Parameters
    ----------
    detector : EventDetector
        As the model has it; without fitted values its defaults.
    given : mapping of str to float
        Values that an option sets instead.

    Returns
    -------
    OperatingPoint

    See Also
    --------
    in_words : Says it.

    Examples
    --------
    >>> from biot_bd import EventDetector
    >>> operating_point_of(EventDetector(), {"threshold": 0.3})["chosen"]
    'given'
    """
    chosen_on = None if given else getattr(detector, "chosen_on_", None)
    found: dict[str, Any] = {} if given else getattr(detector, "validation_", None) or {}
    point = (found.get("point") if chosen_on else None) or {}
    return {
        "chosen": "given" if given else "recordings" if chosen_on else "default",
        "reason": None if given else getattr(detector, "reason_", None),
        "chosen_on": chosen_on,
        "n_reference": point.get("n_reference"),
        "sensitivity": point.get("sensitivity"),
        "fa_per_24h": point.get("fa_per_24h"),
    }


def in_words(point: OperatingPoint | None, threshold: float) -> str:
    """Return one or two sentences about a threshold.

    Examples
    --------
    >>> in_words(None, 0.5)
    'Threshold 0.5; on what it was chosen is unknown.'
    >>> print(
    ...     in_words(
    ...         {
    ...             "chosen": "recordings",
    ...             "reason": None,
    ...             "chosen_on": {"n_subjects": 1, "n_seizures": 2, "hours": 0.3},
    ...             "n_reference": 2,
    ...             "sensitivity": 1.0,
    ...             "fa_per_24h": 0.0,
    ...         },
    ...         0.1536,
    ...     )
    ... )
    Threshold 0.154, chosen on validation recordings: 1 subject, 2 seizures, 0.3 h. There it ...
    """
    named = f"Threshold {threshold:.3g}"
    if point is None:
        return f"{named}; on what it was chosen is unknown."
    if point["chosen"] == "given":
        return f"{named}; threshold or event rules were set by hand for this run, so no validation speaks for them."
    chosen_on = point["chosen_on"]
    if chosen_on is None:
        why = f" ({point['reason']})" if point["reason"] else ""
        return f"{named}, not chosen on any recording{why}; nothing is known of how many seizures it finds."
    which = "" if "what" in chosen_on else "validation recordings: "
    text = f"{named}, chosen on {which}{chosen_on_text(chosen_on)}."
    if point["reason"]:
        text += f" {point['reason'][:1].upper()}{point['reason'][1:]}."
    if point["sensitivity"] is None or not point["n_reference"]:
        return text
    n_found = round(point["sensitivity"] * point["n_reference"])
    text += f" There it found {n_found} of {count_text(point['n_reference'], 'seizure')}"
    if point["fa_per_24h"] is not None:
        text += f", with {count_text(round(point['fa_per_24h'] * chosen_on['hours'] / 24), 'false alarm')}"
    little = point["n_reference"] < LITTLE_SEIZURES or chosen_on["hours"] < LITTLE_HOURS
    return text + ("; few seizures and hours promise little for other recordings." if little else ".")
