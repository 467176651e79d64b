"""Run folders: atomic writes, JSON, fingerprints, what the machine was.

Every file is written under a temporary name in its own folder and renamed, so a reader never sees
half a file and a killed process leaves the old one.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
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


DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a quota, a limit on the size of files: never the fault of what is written."""
DEEPEST_JSON = 100


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends well.

    The temporary may become a file or a folder (an existing folder at ``path`` is replaced).  When
    the block raises, the temporary is removed and ``path`` stays as it was.  A file gets the mode
    that any new file gets there, also where a library writes files that only their owner may read.

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
    OSError
        The disk is full, or the file may not be written: whatever the block raised for it, the
        error names ``path`` and has the system's ``errno``.

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
    make_folder(path.parent)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield temporary
        if not os.path.lexists(temporary):
            raise FileNotFoundError(f"nothing was written for {path}")
        _as_any_new_file(temporary)
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
    except BaseException as error:
        fault = _disk_fault(error, temporary)
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # a folder that may not be written is told by the error itself
                temporary.unlink(missing_ok=True)
        if fault is not None:
            raise OSError(fault, os.strerror(fault), str(path)) from error
        raise


def _as_any_new_file(temporary: Path) -> None:
    """Give a file that only its owner may read the mode that the umask gives any other."""
    if temporary.is_symlink() or not temporary.is_file() or temporary.stat().st_mode & 0o077:
        return
    # A new file tells the mode; to ask for the umask would change it for all threads.
    probe = temporary.with_name(f"{temporary.name}.mode")
    with contextlib.suppress(OSError):  # a mode that cannot be set is no reason to lose the file
        try:
            with probe.open("xb") as file:
                mode = os.fstat(file.fileno()).st_mode
            temporary.chmod(mode & 0o777)
        finally:
            probe.unlink(missing_ok=True)


def _disk_fault(error: BaseException, temporary: Path) -> int | None:
    """Return the errno of a write that failed, or None where something else went wrong.

    Libraries hide it: torch and numpy raise errors without it, safetensors has it in its text.
    """
    if not isinstance(error, Exception):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        ours = error.filename is not None and Path(os.fsdecode(error.filename)) == temporary
        return error.errno if ours or (error.filename is None and error.errno in DISK_FAULTS) else None
    told = re.search(r"os error (\d+)", str(error))
    if told and int(told[1]) in DISK_FAULTS:
        return int(told[1])
    if not isinstance(error, (OSError, RuntimeError)) or not temporary.is_file():
        return None
    try:  # where the disk is full, it says so once more
        with temporary.open("ab", buffering=0) as file:
            file.write(b"\0" * 65536)
    except OSError as again:
        return again.errno if again.errno in DISK_FAULTS else None
    return None


_done: dict[str, tuple[int, int]] = {}
_finished: list[str] = []
_finishing: list[str] = []


def note_done(what: str, done: int, total: int) -> None:
    """Note how far this process is, for the line that is printed where it is stopped.

    Parameters
    ----------
    what : str
        Of what, e.g. ``"folds"``.
    done, total : int
        How many are done, of how many; 0 forgets it.

    See Also
    --------
    what_is_done : Tells it.

    Examples
    --------
    >>> from biot_bd.runs import note_done, what_is_done
    >>> note_done("folds", 2, 6), note_done("epochs", 3, 10), what_is_done()
    (None, None, '2 of 6 folds, 3 of 10 epochs')
    >>> note_done("folds", 0, 6), note_done("epochs", 0, 10), what_is_done()
    (None, None, '')
    """
    if done:
        _done[what] = done, total
    else:
        _done.pop(what, None)


def what_is_done() -> str:
    """Return what :func:`note_done` noted, e.g. ``"2 of 6 folds"``; empty before anything is done.

    Returns
    -------
    str
        The parts between commas.

    See Also
    --------
    note_done : Notes it.

    Examples
    --------
    >>> from biot_bd.runs import note_done, what_is_done
    >>> note_done("recordings", 5, 24)
    >>> what_is_done()
    '5 of 24 recordings'
    >>> note_done("recordings", 0, 24)
    """
    return ", ".join(f"{done} of {total} {what}" for what, (done, total) in _done.items())


@contextlib.contextmanager
def finishing(what: str) -> Iterator[None]:
    """Do the one step that finishes a command: it happens and is noted, or neither.

    A signal that would stop the command waits until the block ends (the command line asks
    :func:`is_finishing`), so that nobody is told to run a command again that is done.

    Parameters
    ----------
    what : str
        What is there afterwards, e.g. ``"models/mine holds the model"``.

    Yields
    ------
    None

    See Also
    --------
    what_is_finished : Tells it.

    Examples
    --------
    >>> from biot_bd.runs import finishing, forget_done, what_is_finished
    >>> with finishing("models/mine holds the model"):
    ...     pass  # rename the last file
    >>> what_is_finished()
    'models/mine holds the model'
    >>> forget_done()
    """
    _finishing.append(what)
    try:
        yield
        _finished.append(what)
    finally:
        _finishing.pop()


def is_finishing() -> bool:
    """Return whether this process is inside of :func:`finishing`.

    Returns
    -------
    bool

    See Also
    --------
    finishing : The block.

    Examples
    --------
    >>> from biot_bd.runs import is_finishing
    >>> is_finishing()
    False
    """
    return bool(_finishing)


def what_is_finished() -> str:
    """Return what was finished last (:func:`finishing`); empty before that.

    Returns
    -------
    str

    See Also
    --------
    finishing : Notes it.

    Examples
    --------
    >>> from biot_bd.runs import what_is_finished
    >>> what_is_finished()
    ''
    """
    return _finished[-1] if _finished else ""


def forget_done() -> None:
    """Forget what :func:`note_done` and :func:`finishing` noted: a new command begins.

    See Also
    --------
    note_done, finishing : Note it.

    Examples
    --------
    >>> from biot_bd.runs import forget_done, note_done, what_is_done
    >>> note_done("folds", 2, 6)
    >>> forget_done()
    >>> what_is_done()
    ''
    """
    _done.clear()
    _finished.clear()


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, and those above it, where they are not there yet.

    Parameters
    ----------
    path : path-like
        The folder.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    NotADirectoryError
        It, or a folder above it, is a file or a link that leads nowhere; the error names that one.
    OSError
        It may not be made.

    See Also
    --------
    atomic_path : Makes the folder of what it writes.

    Examples
    --------
    >>> from biot_bd.runs import make_folder, write_text
    >>> make_folder(write_text("notes.txt", "mine"))
    Traceback (most recent call last):
    ...
    NotADirectoryError: [Errno 20] a file where a folder should be; name another place: 'notes.txt'
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        found = next((one for one in (path, *path.parents) if os.path.lexists(one) and not one.is_dir()), path)
        raise NotADirectoryError(
            errno.ENOTDIR, "a file where a folder should be; name another place", str(found)
        ) from error
    return path


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


_PLAIN = (str, int, bool, type(None))


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
    # Nearly all values are one of these, and manifests hold many of them.
    if type(value) in _PLAIN or (type(value) is float and math.isfinite(value)):
        return value
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


@functools.cache
def git_revision() -> str | None:
    """Return the commit of the biot_bd that runs, with ``"+changes"`` where files were changed.

    Returns
    -------
    str or None
        Of the checkout that it is imported from, or that ``pip install git+...`` took; None where
        neither is known, as for a release.

    See Also
    --------
    environment : Holds it.

    Examples
    --------
    >>> from biot_bd.runs import git_revision
    >>> found = git_revision()
    >>> found is None or len(found.removesuffix("+changes")) == 40
    True
    """
    package = Path(__file__).resolve().parent
    if (package.parent / ".git").exists():
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # no git, or no checkout that it accepts
            asked = ("git", "-C", str(package))
            found = subprocess.run(
                [*asked, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
            )
            status = [*asked, "status", "--porcelain", "--untracked-files=no", "--", "."]
            changed = subprocess.run(status, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            return found.stdout.strip() + ("+changes" if changed else "")
    with contextlib.suppress(PackageNotFoundError, ValueError, AttributeError):
        told = json.loads(distribution("biot-bd").read_text("direct_url.json") or "null")
        return str(told["vcs_info"]["commit_id"]) if told and "vcs_info" in told else None
    return None


def environment() -> dict[str, Any]:
    """Describe the software and machine: Python, operating system, processors, package versions.

    Returns
    -------
    dict
        ``python``, ``system``, ``processors``, ``packages`` (name -> version, None where it is
        missing) and ``git_revision`` (:func:`git_revision`).

    See Also
    --------
    write_json : Writes it beside what was made.

    Examples
    --------
    >>> from biot_bd.runs import environment
    >>> sorted(environment())
    ['git_revision', 'packages', 'processors', 'python', 'system']
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
        "git_revision": git_revision(),
    }
