"""What ``prepare(anonymous=True)`` calls recordings, and what it leaves out of a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biot_bd.io.segments import tells_of_time

_KINDS = frozenset(
    # SzCORE and HED-SCORE: sz_foc_ia, sz_gen_m_tonicClonic, ...
    "sz foc gen uon unk ia a ua f2b m nm um tonic clonic tonicclonic tonic-clonic myoclonic atonic spasms spasm "
    "hyperkinetic automatisms autonomic arrest behavior cognitive emotional sensory absence typical atypical eyelid "
    "nonconvulsive motor nonmotor onset unknown "
    # TUSZ
    "bckg seiz fnsz gnsz spsz cpsz absz tnsz cnsz tcsz atsz mysz nesz".split()
)


@dataclass(frozen=True)
class Anonymous:
    """What stays of a recording that is named by a number.

    Parameters
    ----------
    content : str or None
        What tells it by its samples.
    words : frozenset of str
        Descriptions of annotations that stay beside the usual words for kinds of seizures: those
        that the label rule was given.
    """

    content: str | None
    words: frozenset[str]

    def keeps(self, description: str) -> bool:
        """Return whether an annotation's description stays; free text may name anybody."""
        return description in self.words or tells_of_time(description) or is_kind(description)


def is_kind(description: str) -> bool:
    """Return whether a description is a usual word for a kind of seizure.

    Examples
    --------
    >>> is_kind("sz_foc_ia"), is_kind("fnsz"), is_kind("sz_Smith"), is_kind("eyes open")
    (True, True, False, False)
    """
    return all(part in _KINDS for part in description.lower().split("_"))


def words_of(rule: Any) -> frozenset[str]:
    """Return the descriptions that a label rule was told to look for."""
    given: Mapping[str, str] = getattr(rule, "descriptions", None) or {}
    return frozenset([*(getattr(rule, "classes", None) or ()), *given])


def anonymous_outcomes(rows: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what a data set says of its recordings, without names, paths and texts.

    Parameters
    ----------
    rows : iterable of mapping
        The table ``outcomes`` of a data set.
    names : mapping of str to str
        What recordings are called instead; those that were not loaded have no number.
    """
    return [
        {
            "recording": names.get(str(row.get("recording")), "not loaded"),
            "outcome": row.get("outcome"),
            "detail": "",
        }
        for row in rows
    ]


def check_kind(manifest: Mapping[str, Any], folder: Path, anonymous: bool) -> None:
    """Raise where a store has names and the call wants none, or the other way round.

    Raises
    ------
    ValueError
        What to do; names could stay in tables and embeddings if the store were replaced.
    """
    if bool(manifest.get("anonymous", False)) == anonymous:
        return
    if anonymous:
        raise ValueError(
            f"{folder} holds windows with the names of subjects; with anonymous=True (--anonymous) choose another folder, "
            "or delete that one"
        )
    raise ValueError(
        f"{folder} holds anonymous windows: prepare them with anonymous=True (--anonymous), or choose another folder"
    )
