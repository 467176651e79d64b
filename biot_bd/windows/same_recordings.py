"""Recordings that are the same under two names, and names that two recordings share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from biot_bd.exceptions import SubjectLeakError
from biot_bd.windows.store import Recording

_REMEDY = (
    "load each data set with its own namespace=, e.g. load_dataset('recordings-folder', root, namespace='clinic-b'), "
    "and prepare it again"
)


def shared_recordings(recordings: pd.DataFrame) -> str | None:
    """Say which recordings are the same by their samples, but of two subjects by their names.

    Parameters
    ----------
    recordings : pandas.DataFrame
        ``Windows.recordings``.

    Returns
    -------
    str or None
        None where there are none.
    """
    known = recordings[recordings["digest"].notna()]
    if known["digest"].is_unique:
        return None
    counts = known.groupby("digest", sort=False)["subject"].nunique()
    shared = counts.index[counts > 1]
    if not len(shared):
        return None
    first = known[known["digest"] == shared[0]].drop_duplicates("subject")
    if first["recording"].nunique() == 1:
        named = f"recording {first['recording'].iloc[0]!r} is one of {' and '.join(first['subject'])}"
    else:
        named = " and ".join(f"{row.recording!r} of {row.subject}" for row in first.itertuples()) + " are one recording"
    more = f", and so are {len(shared) - 1} more" if len(shared) > 1 else ""
    return (
        f"{named} by the samples{more}, so a split by subject would put it on two sides; "
        f"leave one out, e.g. windows.query(\"recording != '{first['recording'].iloc[-1]}'\"), or give the child one name"
    )


def check_recordings_apart(recordings: pd.DataFrame) -> None:
    """Raise where a recording is there under the names of two subjects.

    Raises
    ------
    SubjectLeakError
        What :func:`shared_recordings` says.
    """
    found = shared_recordings(recordings)
    if found is not None:
        raise SubjectLeakError(found)


def told_apart(tables: Sequence[Sequence[Recording]]) -> list[list[Recording]]:
    """Return the recordings of several stores under names that tell them apart.

    Where one name is that of recordings of two namespaces, the namespace stands before it, as in
    ``"clinic__P01_rec1"``.
    """
    spaces = defaultdict[str, set[str]](set)
    for recordings in tables:
        for one in recordings:
            spaces[one.recording].add(_space(one.subject))

    def named(one: Recording) -> Recording:
        space = _space(one.subject)
        return replace(one, recording=f"{space}__{one.recording}") if space and len(spaces[one.recording]) > 1 else one

    return [[named(one) for one in recordings] for recordings in tables]


def check_names_apart(recordings: Sequence[Recording]) -> None:
    """Raise where two recordings of stores that are joined have one name and one subject.

    Raises
    ------
    ValueError
        Nobody could tell whose windows are whose.
    """
    known: dict[tuple[str, str], Recording] = {}
    for one in recordings:
        other = known.setdefault((one.subject, one.recording), one)
        if None not in (one.digest, other.digest) and one.digest != other.digest:
            raise ValueError(
                f"two recordings are called {one.recording!r} of {one.subject}, and their samples differ; {_REMEDY}"
            )


def shared_subjects(tables: Sequence[Sequence[Recording]]) -> str | None:
    """Say which subjects of joined stores may be two, as only a folder's name tells them apart.

    None where no recording speaks for it.
    """
    seen: dict[str, list[set[str]]] = {}
    for recordings in tables:
        of_table = defaultdict[str, set[str]](set)
        for one in recordings:
            if one.namespace_from == "folder" and one.digest is not None:
                of_table[one.subject].add(one.digest)
        for subject, digests in of_table.items():
            seen.setdefault(subject, []).append(digests)
    doubtful = sorted(s for s, sets in seen.items() if len(sets) > 1 and not set.intersection(*sets))
    if not doubtful:
        return None
    shown = ", ".join(doubtful[:3]) + (f" and {len(doubtful) - 3} more" if len(doubtful) > 3 else "")
    return (
        f"{shown}: the same names in stores that share no recording of them, named after folders called "
        f"{_space(doubtful[0])!r}, are taken for one child each; where they are two, {_REMEDY}"
    )


def namespace_note(recordings: pd.DataFrame) -> str | None:
    """Say which namespaces are but names of folders, which other data sets may have, too.

    Parameters
    ----------
    recordings : pandas.DataFrame
        ``Windows.recordings``.
    """
    subjects = recordings.loc[recordings["namespace_from"] == "folder", "subject"]
    if subjects.empty:
        return None
    named = ", ".join(sorted({_space(subject) for subject in subjects}))
    return (
        f"subjects are named after the folder {named} ({subjects.iloc[0]}, ...); another data set in a folder of that name "
        "would share their names: namespace= (--option namespace=NAME) gives this one its own"
    )


def _space(subject: str) -> str:
    """Return the namespace of a subject, which may have none."""
    return subject.rpartition("/")[0].replace("/", "-")
