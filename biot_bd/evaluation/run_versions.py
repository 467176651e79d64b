"""The version table of run and study folders.

One reader a version, from stored facts to those of today.

Version 1 (files that name no version) is that of commit fb8defb, which said ``person`` for subject.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

VERSION = 2

COLUMNS = {"person": "subject"}
"""Columns of tables, former name -> name."""

_KEYS = {
    **COLUMNS,
    "persons": "subjects",
    "n_persons": "n_subjects",
    "contaminated_persons": "contaminated_subjects",
    "train_persons": "train_subjects",
    "valid_persons": "valid_subjects",
    "valid_fraction": "validation_fraction",
    "compute": "precision",
}
_NAMED = ("persons", "recordings", "regimes", "runs", "reasons")  # their keys are names of yours
_VALUES = ("cv", "sampler", "averaging", "resampled", "train_split", "reason")  # they say words of ours
_ADDRESS = re.compile(r"\bbiot_bd(?:\.\w+)*:(?=\w)")


def read_version_1(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts that commit fb8defb wrote, in the words and the form of today.

    Texts for readers stay as they are.
    """
    out = _renamed(facts)
    if "identity" not in out:  # neither run.json nor study.json
        return out
    identity = out["identity"] = _public(out["identity"])
    if identity.get("protocol"):
        identity["protocol"] = {k: v for k, v in identity["protocol"].items() if k not in ("source", "remarks")}
    for stored in (out["parameters"], identity["parameters"]):
        if "events" in stored:
            stored["event_detector"] = stored.pop("events")
    return out


READERS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: read_version_1, VERSION: dict}


def _renamed(value: Any, key: str = "", named: bool = False) -> Any:
    """Rename keys, also behind a step's name (``net__compute``), and the words that are values
    of our own options.
    """
    if isinstance(value, Mapping):
        items = ((k if named else _key(k), _renamed(v, k, k in _NAMED)) for k, v in value.items())
        return dict(items)
    if isinstance(value, list):
        return [_renamed(item, key) for item in value]
    if isinstance(value, str) and key.rpartition("__")[2] in _VALUES:
        return value.replace("person", "subject")
    return value


def _key(key: str) -> str:
    before, step, name = key.rpartition("__")
    return f"{before}{step}{_KEYS.get(name, name)}"


def _public(value: Any) -> Any:
    """Return a description with the addresses of today.

    Our package and the name of the class, wherever its file lies.
    """
    if isinstance(value, Mapping):
        return {key: _public(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_public(item) for item in value]
    if not isinstance(value, str) or not _ADDRESS.search(value):
        return value
    return _ADDRESS.sub("biot_bd:", value).replace("Persons", "Subjects").replace("Person", "Subject")
