"""The version table of run and study folders.

One reader a version, from stored facts to those of today.

Version 1 (files that name no version) is that of commit fb8defb, which said ``person`` for subject.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from biot_bd.training.persistence.readers.version1 import WORDS

VERSION = 2

COLUMNS = {"person": "subject"}
"""Columns of tables, former name -> name."""

_NAMED = ("persons", "recordings", "regimes", "runs", "reasons")  # their keys are names of yours
_VALUES = ("cv", "sampler", "averaging", "resampled", "train_split", "reason")  # they say words of ours
COSINE = "biot_bd:Cosine"
_ADDRESS = re.compile(r"\bbiot_bd(?:\.\w+)*:(?=\w)")


def read_version_1(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts that commit fb8defb wrote, in the words and the form of today.

    Texts for readers stay as they are.
    """
    out = _renamed(facts)
    if "identity" not in out:  # neither run.json nor study.json
        return out
    identity = out["identity"] = _public(out["identity"])
    if isinstance(identity.get("pipeline"), dict):
        identity["pipeline"] = _with_schedules(identity["pipeline"])
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
    return f"{before}{step}{WORDS.get(name, name)}"


def _with_schedules(described: dict[str, Any]) -> dict[str, Any]:
    """Return the description of an estimator with the schedules of today: the same learning rates.

    ``Cosine`` had no ``by_epoch``, and protocols gave skorch's ``LRScheduler`` as a callback.
    """
    out = dict(described)
    for key, value in described.items():
        before, found, _ = key.partition("callbacks__lr_schedule__policy")
        if found and value == "CosineAnnealingLR":
            final = round(out[f"{before}callbacks__lr_schedule__eta_min"] / out[f"{before}lr"], 12)
            out = {k: v for k, v in out.items() if not k.startswith(f"{before}callbacks__lr_schedule")}
            told = {"by_epoch": True, "final": final, "start": 0.0, "warmup_epochs": 0.0}
            out |= {f"{before}callbacks": None, f"{before}schedule": COSINE}
            out |= {f"{before}schedule__{name}": setting for name, setting in told.items()}
        elif value == COSINE:
            out.setdefault(f"{key}__by_epoch", False)
        elif key.rpartition("__")[2] == "module" and value == "BIOT":  # braindecode's, then
            out[key] = "braindecode.models.biot:BIOT"
    return out


def _public(value: Any) -> Any:
    """Return a description with the addresses of today.

    Our package and the name of the class, wherever its file lies.
    """
    if isinstance(value, Mapping):
        found = {key: _public(item) for key, item in value.items()}
        return {**found, "by_epoch": False} if found.get("class") == COSINE else found
    if isinstance(value, list):
        return [_public(item) for item in value]
    if not isinstance(value, str) or not _ADDRESS.search(value):
        return value
    return _ADDRESS.sub("biot_bd:", value).replace("Persons", "Subjects").replace("Person", "Subject")
