"""Whether a recording, or its subject, trained the model that looks at it."""

from __future__ import annotations

from typing import TypedDict

from biot_bd.io.notes import one_line
from biot_bd.io.recordings import OpenRecording
from biot_bd.models.checkpoints.provenance import Provenance, canonical_name, some


class InTraining(TypedDict):
    """What a model's training had of a recording.

    ``recording``: whether it trained the model, None where nobody can tell; ``subject``: what its
    subject was called in training, None where nothing is known of any.
    """

    recording: bool | None
    subject: str | None


UNKNOWN: InTraining = {"recording": None, "subject": None}


def digest_of(recording: OpenRecording) -> tuple[str | None, str | None]:
    """Return a recording's digest, None where it has none, and what kept it from being made."""
    try:
        return recording.digest(), None
    except Exception as error:  # MNE fails in many ways; what is damaged is said when it is read
        return None, one_line(error)


def training_overlap(
    provenance: Provenance | None, digest: str | None, fault: str | None = None, subject: str | None = None
) -> tuple[InTraining, list[str]]:
    """Compare a recording with what trained a model, by content and by its subject's name.

    Parameters
    ----------
    provenance : Provenance or None
        What the model saw; None where there is no record at all.
    digest, fault : str or None
        Of :func:`digest_of`.
    subject : str, optional
        Full name of its subject, such as ``"clinic/01"``.

    Returns
    -------
    found : InTraining
    notes : list of str
        What a reader of the results must know.
    """
    if provenance is None:
        return UNKNOWN, []
    there, notes = None, []
    if provenance.recordings:
        there = None if digest is None else provenance.saw_recording(digest)
        notes = [] if fault is None else [f"not compared with the model's training recordings ({fault})"]
    if there:
        who = some(there, 3)
        return {"recording": True, "subject": there[0]}, [
            f"this recording trained the model (as one of the recordings of {who}), so what is found in it says nothing of how well the model does"
        ]
    recording = False if there is not None and provenance.tells_recordings else None
    if subject is not None and provenance.saw([name := canonical_name(subject)]):
        known = "" if recording is None else "; this recording is not one of those"
        return {"recording": recording, "subject": name}, [*notes, f"a subject called {name} trained the model{known}"]
    if recording is None and not notes:
        why = "this recording has no channel that moves" if provenance.tells_recordings else "the model does not say"
        notes.append(
            f"nobody can tell whether this recording trained the model: {why}"
            + ("" if provenance.tells_recordings else " which did")
        )
    return {"recording": recording, "subject": None}, notes
