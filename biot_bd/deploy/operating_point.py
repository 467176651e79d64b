"""What the threshold of a detector was chosen on, as facts and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from biot_bd.events.detector import EventDetector
from biot_bd.number_texts import count_text, hours_text


class OperatingPoint(TypedDict):
    """What the threshold was chosen on; a count is None where nobody says.

    ``chosen``: ``"validation"``, ``"given"`` (by an option) or ``"default"``; ``reason``: what kept
    validation from choosing.  ``sensitivity`` and ``fa_per_24h`` are those on the recordings that
    it was chosen on.  ``what``: which those are, where they are not those of validation.
    """

    chosen: str
    reason: str | None
    n_subjects: int | None
    n_recordings: int | None
    n_seizures: int | None
    hours: float | None
    sensitivity: float | None
    fa_per_24h: float | None
    what: NotRequired[str]


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
    chosen_on = getattr(detector, "chosen_on_", {})
    fitted = hasattr(detector, "threshold_") and chosen_on is not None
    found: dict[str, Any] = getattr(detector, "validation_", None) or {}
    point = found.get("point") or {}
    if given or not fitted:
        found, point = {}, {}
    subjects = found.get("subjects")
    what_is_known: OperatingPoint = {
        "chosen": "given" if given else "validation" if fitted else "default",
        "reason": getattr(detector, "reason_", None) if found else None,
        "n_subjects": None if subjects is None else len(subjects),
        "n_recordings": found.get("n_recordings"),
        "n_seizures": point.get("n_reference"),
        "hours": found.get("hours"),
        "sensitivity": point.get("sensitivity"),
        "fa_per_24h": point.get("fa_per_24h"),
    }
    if found and "what" in (chosen_on or {}):
        what_is_known["what"] = chosen_on["what"]
    return what_is_known


def in_words(point: OperatingPoint | None, threshold: float) -> str:
    """Return one or two sentences about a threshold.

    Examples
    --------
    >>> in_words(None, 0.5)
    'Threshold 0.5; on what it was chosen is unknown.'
    >>> print(
    ...     in_words(
    ...         {
    ...             "chosen": "validation",
    ...             "reason": None,
    ...             "n_subjects": 1,
    ...             "n_recordings": 3,
    ...             "n_seizures": 2,
    ...             "hours": 0.3,
    ...             "sensitivity": 1.0,
    ...             "fa_per_24h": 0.0,
    ...         },
    ...         0.1536,
    ...     )
    ... )
    Threshold 0.154, chosen on 1 validation subject with 2 seizures in 0.3 h. There it ...
    """
    named = f"Threshold {threshold:.3g}"
    if point is None:
        return f"{named}; on what it was chosen is unknown."
    if point["chosen"] == "given":
        return f"{named}; threshold or event rules were set by hand for this run, so no validation speaks for them."
    if point["chosen"] == "default":
        return f"{named}: a default, chosen on no recording; nothing is known of how many seizures it finds."
    subjects, seizures, hours = (
        _counted(point["n_subjects"], "subject" if "what" in point else "validation subject"),
        _counted(point["n_seizures"], "seizure"),
        "an unknown number of hours" if point["hours"] is None else f"{hours_text(point['hours'])} h",
    )
    which = f" ({point['what']})" if "what" in point else ""
    text = f"{named}, chosen on {subjects} with {seizures} in {hours}{which}."
    if point["reason"]:
        return f"{text} Validation could not choose: {point['reason']}."
    if point["sensitivity"] is not None and point["n_seizures"]:
        n_found = round(point["sensitivity"] * point["n_seizures"])
        text += f" There it found {n_found} of {_counted(point['n_seizures'], 'seizure')}"
        if point["fa_per_24h"] is not None and point["hours"] is not None:
            text += f", with {_counted(round(point['fa_per_24h'] * point['hours'] / 24), 'false alarm')}"
        text += "; few seizures and hours promise little for other recordings." if _is_little(point) else "."
    return text


def _is_little(point: OperatingPoint) -> bool:
    return (point["n_seizures"] or 0) < 20 or (point["hours"] or 0) < 24


def _counted(n: int | None, what: str) -> str:
    return f"an unknown number of {what}s" if n is None else count_text(n, what)
