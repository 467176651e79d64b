"""Splits that a data set brings itself: which part a subject is in stands in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from biot_bd.exceptions import SplitError
from biot_bd.windows import Windows

#: By name: what the data set calls its training, validation and test part.
OFFICIAL_SPLITS: dict[str, tuple[str, str, str]] = {"tusz-official": ("train", "dev", "eval")}


def official_parts(X: Any) -> dict[str, set[str]]:
    """Return the parts of its data set that each subject's recordings are in.

    Parameters
    ----------
    X : Windows or array
        Prepared from a data set whose recordings have a ``split`` in their description.

    Returns
    -------
    dict of str to set of str
        Subject -> parts; empty for arrays, and where the data set brings no split.
    """
    found: dict[str, set[str]] = {}
    for entry in X.entries if isinstance(X, Windows) else ():
        if entry.split is not None:
            found.setdefault(entry.subject, set()).add(entry.split)
    return found


def official_sides(
    name: str, subjects: np.ndarray, parts: Mapping[str, set[str]]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the subjects that train, validate and are tested, and notes.

    Parameters
    ----------
    name : str
        In :data:`OFFICIAL_SPLITS`.
    subjects : ndarray of shape (n,)
        Subject of each window.
    parts : mapping
        As :func:`official_parts` returns it.

    Raises
    ------
    SplitError
        A part has no subject, or a subject is in two.
    """
    words, present = OFFICIAL_SPLITS[name], sorted(set(subjects))
    if both := [subject for subject in present if len(parts.get(subject, ())) > 1]:
        told = "; ".join(f"{subject} in {', '.join(sorted(parts[subject]))}" for subject in both[:3])
        raise SplitError(f"split {name!r}: {told}; every subject belongs in one part only")
    train, valid, test = (tuple(s for s in present if parts.get(s) == {word}) for word in words)
    if empty := [word for word, side in zip(words, (train, valid, test), strict=True) if not side]:
        raise SplitError(
            f"split {name!r} needs subjects of {', '.join(words)}; none of these windows is of {', '.join(empty)}. Prepare "
            "all parts with the data set's own loader, or take a split made from the subjects there are (subject-loo)"
        )
    notes = (f"split {name!r}: {words[1]} validates, {words[2]} is tested; test it once, with nothing left to choose",)
    unused = sorted(set(present) - {*train, *valid, *test})
    return (
        train,
        valid,
        test,
        notes + ((f"subjects that {name!r} does not use: {', '.join(unused)}",) if unused else ()),
    )
