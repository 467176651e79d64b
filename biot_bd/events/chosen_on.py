"""On how much an operating point was chosen: subjects, seizures and hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from biot_bd.events.types import RecordingScores
from biot_bd.number_texts import count_text, hours_text


class ChosenOn(TypedDict):
    """What an operating point was chosen on; ``n_seizures`` is None where a former version wrote
    no number, ``what`` says which recordings where they are not those of validation.
    """

    n_subjects: int
    n_seizures: int | None
    hours: float
    what: NotRequired[str]


def chosen_on(recordings: Sequence[RecordingScores]) -> ChosenOn:
    """Count what an operating point is chosen on.

    Parameters
    ----------
    recordings : sequence of RecordingScores
        Their annotated seizures count, before a scorer merges or splits any.

    Returns
    -------
    ChosenOn

    See Also
    --------
    chosen_on_text : The same in words.

    Examples
    --------
    >>> from biot_bd.events import RecordingScores
    >>> from biot_bd.events.chosen_on import chosen_on
    >>> chosen_on(
    ...     [RecordingScores("rec01", "site/01", [0.1, 0.9], [0, 10], 1800.0, [(10, 20)])]
    ... )
    {'n_subjects': 1, 'n_seizures': 1, 'hours': 0.5}
    """
    return {
        "n_subjects": len({str(r.subject) for r in recordings}),
        "n_seizures": sum(len(r.reference) for r in recordings),
        "hours": float(sum(r.duration_s for r in recordings)) / 3600,
    }


def chosen_on_of(point: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the ``chosen_on`` of an operating point of ``metrics.json``, of any version.

    Parameters
    ----------
    point : mapping
        Of ``events["operating_points"]``.
    """
    if "chosen_on" in point:
        return point["chosen_on"]
    return former_chosen_on(point.get("target"), point.get("reason"), point.get("validation") or {})


def former_chosen_on(target: str | None, reason: str | None, validation: Mapping[str, Any]) -> ChosenOn | None:
    """Return what files without ``chosen_on`` tell of it: subjects and hours, not the seizures.

    Parameters
    ----------
    target, reason : str or None
        What was asked for, and why it did not choose alone.
    validation : mapping
        ``validation_`` of the detector.
    """
    if target is None or not validation.get("n_recordings") or (reason or "").endswith("parameters kept"):
        return None
    return {"n_subjects": len(validation["subjects"]), "n_seizures": None, "hours": float(validation["hours"])}


def chosen_on_text(found: Mapping[str, Any] | None) -> str:
    """Say in words what an operating point was chosen on.

    Parameters
    ----------
    found : mapping or None
        A :class:`ChosenOn`; None where nothing was chosen.

    Returns
    -------
    str

    See Also
    --------
    EventDetector.fit : Chooses, and keeps it as ``chosen_on_``.

    Examples
    --------
    >>> from biot_bd.events import chosen_on_text
    >>> chosen_on_text({"n_subjects": 1, "n_seizures": 2, "hours": 0.3})
    '1 subject, 2 seizures, 0.3 h'
    >>> chosen_on_text(None)
    'not chosen on any recording'
    """
    if found is None:
        return "not chosen on any recording"
    n = found["n_seizures"]
    seizures = "seizures unknown" if n is None else count_text(n, "seizure")
    what = f" ({found['what']})" if "what" in found else ""
    return f"{count_text(found['n_subjects'], 'subject')}, {seizures}, {hours_text(found['hours'])} h{what}"
