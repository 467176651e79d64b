"""The versions of a store's files: each is read as the present one.

Each JSON file of a store says its ``version`` (those of version 1 beside signals and relabelled
tables say none), and a manifest says that of its table, which may have been written earlier.  A
store stays as it was written: what a later ``prepare`` or ``relabel`` adds to it has the present
version.  A file has version 3 only where it says what version 2 could not: annotations that are no
seizures, classes other than background and seizure, shares of votes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from biot_bd.json_values import naming
from biot_bd.runs import read_json

STORE_VERSION = 2
CLASSES_VERSION = 3


def _from_version_1(found: Any) -> Any:
    """Version 1 (commit fb8defb) called a subject a person."""
    if isinstance(found, pd.DataFrame):
        return found.rename(columns={"person": "subject"})
    entry = {"subject" if key == "person" else key: value for key, value in found.items()}
    lists = [key for key in ("recordings", "failures") if key in entry]
    return entry | {key: [_from_version_1(listed) for listed in entry[key]] for key in lists}


def _unchanged(found: Any) -> Any:
    """Version 3 adds entries to version 2 and takes none away."""
    return found


READERS: dict[Any, Callable[[Any], Any]] = {
    1: _from_version_1,
    STORE_VERSION: _unchanged,
    CLASSES_VERSION: _unchanged,
}
"""Version -> what makes the present one of it."""


def version_for(*, newer: bool) -> int:
    """Return the version to write: the lowest that can say what a file says."""
    return CLASSES_VERSION if newer else STORE_VERSION


def read_description(path: Path, format: str | None = None) -> dict[str, Any]:
    """Return what a JSON file of a store says, in the present version.

    Parameters
    ----------
    path : Path
        A manifest, the description of a recording or of a relabelled table.
    format : str, optional
        What its entry ``format`` must be.

    Raises
    ------
    ValueError
        It is damaged, something else, or of a version that this biot_bd does not know.
    """
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != format:
        raise ValueError(f"{path}: not {'a manifest' if format else 'a description'} of prepared windows")
    return present_version(found, found.get("version", None if format else 1), path)


def present_version(found: Any, version: Any, path: Path) -> Any:
    """Return what was read from ``path`` in the present version.

    ValueError where the version is unknown.
    """
    if type(version) is not int or version not in READERS:
        raise ValueError(
            f"{path}: version {version!r}, this biot_bd reads versions {', '.join(map(str, READERS))}; "
            "delete that folder and prepare the recordings again"
        )
    with naming(path):
        return READERS[version](found)
