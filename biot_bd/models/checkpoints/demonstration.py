"""What every output of a model says that learnt from generated data: it is a demonstration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SIGN = "model trained on generated data"
"""By which the note is told among others, in results of earlier versions, too."""
IN_SHORT = "demonstration, never for clinical use"


def demonstration_note(record: Mapping[str, Any] | None) -> str | None:
    """Say that a model is a demonstration, where any of its training data was generated.

    Parameters
    ----------
    record : mapping or None
        What is known of the model, as ``fit_all`` and ``cross_validate`` write it into the saved
        model: ``data.generated`` decides, ``title`` is named.

    Returns
    -------
    str or None
        One line; None of a model of recordings alone, and of one that tells nothing of its data.

    See Also
    --------
    demonstration_among : Finds the line among the notes of a detection.

    Examples
    --------
    >>> from biot_bd.models.checkpoints.demonstration import demonstration_note
    >>> demonstration_note({"title": "small BIOT", "data": {"generated": True}})
    'demonstration: model trained on generated data, never for clinical use (small BIOT)'
    >>> demonstration_note({"title": "small BIOT", "data": {"generated": False}}) is None
    True
    """
    if not ((record or {}).get("data") or {}).get("generated"):
        return None
    title = (record or {}).get("title")
    return f"demonstration: {SIGN}, never for clinical use" + (f" ({title})" if title else "")


def demonstration_among(notes: Iterable[str]) -> str | None:
    """Return the note that says so, or None.

    Parameters
    ----------
    notes : iterable of str
        Of a detection.

    Examples
    --------
    >>> from biot_bd.models.checkpoints.demonstration import demonstration_among
    >>> demonstration_among(
    ...     ["file is cut", "model trained on generated data: not for patients"]
    ... )
    'model trained on generated data: not for patients'
    """
    return next((note for note in notes if SIGN in note), None)
