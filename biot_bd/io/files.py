"""What a path is before anything is read from it: a file, a folder, a dead link, a pipe."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

HEAD_BYTES = 1024
"""What a probe of the first bytes is given."""

# git-annex keeps a locked file as a link into its objects, an unlocked one as a line of text;
# Git LFS keeps lines of text.
_ANNEX = re.compile(r"(^|[\\/])annex[\\/]objects[\\/]")
_POINTERS = ((b"/annex/objects/", "git annex get"), (b"version https://git-lfs", "git lfs pull"))
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def fault_of(path: str | os.PathLike[str]) -> str | None:
    """Return why a path is no file or folder that can be opened; None where it is one.

    Parameters
    ----------
    path : path-like
        Links are followed.  Nothing is opened, so that a named pipe without a writer stops nobody.

    Returns
    -------
    str or None
        E.g. ``"is a link to a file that git-annex has not fetched; ..."``.

    See Also
    --------
    first_bytes : What the file begins with.

    Examples
    --------
    >>> fault_of("/nowhere/chb01_03.edf")
    'cannot be opened (No such file or directory)'
    >>> fault_of("/dev/null")
    'is a device; expected a file'
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        return _link_fault(path, error)
    return next((f"is {name}; expected a file" for is_it, name in _KINDS if is_it(mode)), None)


def first_bytes(path: str | os.PathLike[str], n_bytes: int = HEAD_BYTES) -> bytes:
    """Return what a file begins with; nothing where it is a folder.

    Parameters
    ----------
    path : path-like
        A path without a :func:`fault_of`.
    n_bytes : int, default=1024
        How many; fewer where the file is shorter.

    Returns
    -------
    bytes

    Raises
    ------
    OSError
        The file cannot be opened or read.
    """
    path = Path(path)
    if path.is_dir():
        os.scandir(path).close()  # raises for a folder that may not be read
        return b""
    with path.open("rb") as file:
        return file.read(n_bytes)


def pointer_fault(head: bytes) -> str | None:
    """Return what to do where a file is only a pointer of git-annex or Git LFS, else None.

    Parameters
    ----------
    head : bytes
        What the file begins with.

    Returns
    -------
    str or None

    Examples
    --------
    >>> pointer_fault(b"/annex/objects/MD5E-s1--0.edf")
    'is a pointer to a file that was not fetched; fetch it by `git annex get`, then try again'
    """
    for start, command in _POINTERS:
        if head.startswith(start):
            return f"is a pointer to a file that was not fetched; fetch it by `{command}`, then try again"
    return None


def _link_fault(path: Path, error: OSError | ValueError) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    try:
        target = os.readlink(path)
    except (OSError, ValueError):
        return f"cannot be opened ({reason})"
    if getattr(error, "errno", None) == errno.ELOOP:
        return "is a link that leads back to itself"
    if _ANNEX.search(target):
        return "is a link to a file that git-annex has not fetched; fetch it by `git annex get` or `datalad get`"
    return f"is a link to {target}, which cannot be opened ({reason})"
