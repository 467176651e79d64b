"""Run folders: atomic writes, JSON, fingerprints, what the machine was.

Every file is written under a temporary name in its own folder and renamed, so a reader never sees
half a file and a killed process leaves the old one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import shutil
import uuid
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = (
    "biot-bd",
    "braindecode",
    "skorch",
    "torch",
    "mne",
    "moabb",
    "scikit-learn",
    "timescoring",
    "numpy",
    "pluggy",
)


DEEPEST_JSON = 100


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends well.

    The temporary may become a file or a folder (an existing folder at ``path`` is replaced).  When
    the block raises, the temporary is removed and ``path`` stays as it was.

    Parameters
    ----------
    path : path-like
        File or folder to write; folders above it are made.

    Yields
    ------
    pathlib.Path
        Where to write: hidden, in the same folder, with the same suffix.

    Raises
    ------
    FileNotFoundError
        The block ended well, but wrote nothing.

    See Also
    --------
    write_text, write_json : Write a file of text or JSON like this.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.runs import atomic_path
    >>> with atomic_path("runs/a/scores.csv") as temporary:
    ...     written = temporary.write_text("auc_pr,0.7", encoding="utf-8")
    >>> Path("runs/a/scores.csv").read_text(encoding="utf-8")
    'auc_pr,0.7'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield temporary
        if not os.path.lexists(temporary):
            raise FileNotFoundError(f"nothing was written for {path}")
        if temporary.is_dir() and path.is_dir():
            old = temporary.with_name(temporary.name + ".old")
            os.replace(path, old)
            try:
                os.replace(temporary, path)
            except BaseException:
                os.replace(old, path)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, path)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write UTF-8 text atomically and return its path.

    Parameters
    ----------
    path : path-like
        File to write or replace.
    text : str
        Its content.

    Returns
    -------
    pathlib.Path
        ``path``.

    See Also
    --------
    atomic_path : The same for any content.

    Examples
    --------
    >>> from biot_bd.runs import write_text
    >>> write_text("notes.txt", "40 µV").read_text(encoding="utf-8")
    '40 µV'
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def to_jsonable(value: Any) -> Any:
    """Turn numpy values, paths, sets, tuples and NaN into what JSON holds; NaN becomes None.

    Parameters
    ----------
    value : object
        Dicts, lists, tuples, sets, arrays, paths, numbers, texts, None, and what is made of them.

    Returns
    -------
    object
        The same of dicts with text as keys, lists, numbers, texts and None; sets are sorted.

    Raises
    ------
    TypeError
        A value has no faithful JSON form.

    See Also
    --------
    write_json : Writes it.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.runs import to_jsonable
    >>> to_jsonable({"scores": np.array([0.5, np.nan]), "subjects": {"b", "a"}, 1: np.int64(2)})
    {'scores': [0.5, None], 'subjects': ['a', 'b'], '1': 2}
    """
    if isinstance(value, dict):
        texts = {str(k): to_jsonable(v) for k, v in value.items()}
        if len(texts) < len(value):
            raise TypeError(f"keys that are the same text in JSON: {sorted(map(repr, value))}")
        return texts
    if isinstance(value, (list, tuple)):
        return [to_jsonable(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(to_jsonable(v) for v in value)
    if isinstance(value, np.ndarray):
        return to_jsonable(value.tolist())
    if isinstance(value, np.generic):
        return to_jsonable(value.item())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")


def write_json(path: str | os.PathLike[str], data: Any) -> Path:
    """Write ``data`` as indented JSON, atomically.

    Parameters
    ----------
    path : path-like
        File to write or replace.
    data : object
        What :func:`to_jsonable` accepts.

    Returns
    -------
    pathlib.Path
        ``path``.

    See Also
    --------
    read_json : Reads it.
    atomic_path : How it is written.

    Examples
    --------
    >>> from biot_bd.runs import read_json, write_json
    >>> read_json(write_json("runs/a/facts.json", {"seed": 0, "subjects": ("a", "b")}))
    {'seed': 0, 'subjects': ['a', 'b']}
    """
    return write_text(path, json.dumps(to_jsonable(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file as :func:`write_json` writes one.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    object
        What it holds: numbers are finite, whole ones have at most 1000 bits, no object has a key
        twice, and nothing is nested more than 100 deep.

    Raises
    ------
    ValueError
        The file is not such JSON; the message names it, and the key where there is one.
    OSError
        It cannot be read, or is a pipe or device.

    See Also
    --------
    write_json : Writes such a file.
    biot_bd.json_values.check_values : Whether the content has the form that was expected.

    Examples
    --------
    >>> from biot_bd.runs import read_json, write_text
    >>> read_json(write_text("run.json", '{"seed": 0'))
    Traceback (most recent call last):
    ...
    ValueError: run.json: not valid JSON (Expecting ',' delimiter: ...); delete it and ...
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(f"{path}: a pipe or device, no file; delete it and run the command again")
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number, object_pairs_hook=_unique_keys)
        _check_values_of_json(found)
    except (ValueError, RecursionError, MemoryError) as error:  # not JSON, or not UTF-8
        raise ValueError(f"{path}: not valid JSON ({error}); delete it and run the command again") from error
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {twice!r} twice")
    return found


def _check_values_of_json(found: Any) -> None:
    """Raise where a number is too large for any machine's, or objects are nested too deep."""
    level = [("", found)]
    for _ in range(DEEPEST_JSON):
        inner: list[tuple[str, Any]] = []
        for key, value in level:
            if isinstance(value, dict):
                inner += value.items()
            elif isinstance(value, list):
                inner += [(key, one) for one in value]
            elif isinstance(value, float):
                if not math.isfinite(value):
                    raise ValueError(f"{key or 'the number'} is too large for a number")
            elif isinstance(value, int) and value.bit_length() > 1000:
                raise ValueError(f"{key or 'the number'} is a whole number of more than 1000 bits")
        if not inner:
            return
        level = inner
    raise ValueError(f"objects are nested more than {DEEPEST_JSON} deep")


def fingerprint(data: Any) -> str:
    """Return 16 hexadecimal digits that change when ``data`` changes.

    Parameters
    ----------
    data : object
        What :func:`to_jsonable` accepts; the order of a dict's keys does not matter.

    Returns
    -------
    str
        The first 16 digits of the SHA-256 of its JSON.

    See Also
    --------
    to_jsonable : What is hashed.

    Examples
    --------
    >>> from biot_bd.runs import fingerprint
    >>> fingerprint({"sfreq": 200, "montage": "biot-16"})
    'd22673c4eeb77f5a'
    >>> fingerprint({"montage": "biot-16", "sfreq": 200})
    'd22673c4eeb77f5a'
    """
    text = json.dumps(to_jsonable(data), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def environment() -> dict[str, Any]:
    """Describe the software and machine: Python, operating system, processors, package versions.

    Returns
    -------
    dict
        ``python``, ``system``, ``processors`` and ``packages`` (name -> version, None where it
        is missing).

    See Also
    --------
    write_json : Writes it beside what was made.

    Examples
    --------
    >>> from biot_bd.runs import environment
    >>> sorted(environment())
    ['packages', 'processors', 'python', 'system']
    """
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return {
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "processors": os.cpu_count(),
        "packages": found,
    }
