"""What ``prepare(anonymous=True)`` calls recordings, and what it leaves out of a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biot_bd.anonymous import Numbers
from biot_bd.io.segments import tells_of_time
from biot_bd.json_values import naming
from biot_bd.runs import read_json, write_json

FILE = "anonymous.json"
FORMAT = "biot_bd anonymous recordings"

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


def numbers_file(folder: Path) -> bytes | None:
    """Return the file of a store's numbers as it is; None where there is none."""
    path = folder / FILE
    return path.read_bytes() if path.is_file() else None


def read_numbers(folder: Path) -> Numbers:
    """Return the numbers that recordings of a store have; new ones where it has none.

    Raises
    ------
    ValueError
        The file is damaged, or that of a later version.
    """
    path = folder / FILE
    if not path.is_file():
        return Numbers()
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != 1:
        raise ValueError(f"{path}: not the numbers of recordings, version 1; delete that folder and prepare again")
    with naming(path):
        return Numbers.from_dict(found.get("names"))


def write_numbers(folder: Path, numbers: Numbers) -> None:
    """Write the numbers; they are read by the next call, whatever becomes of this one."""
    write_json(folder / FILE, {"format": FORMAT, "version": 1, "names": numbers.as_dict()})


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


def outcome_counts(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how many recordings have which outcome, for a message that names none."""
    return ", ".join(f"{n} {outcome}" for outcome, n in Counter(str(row["outcome"]) for row in rows).items())
