"""Folders of the model registry: made so that a version appears whole, and once.

A version is written under a hidden name in the registry and renamed.  The system renames a folder
onto one that holds something for nobody, so of two writers one is first, on network folders without
locks, too.  What a killed writer left is hidden and goes when it is an hour old.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from biot_bd.exceptions import ModelRegistryError, VersionExistsError
from biot_bd.runs import make_folder

INCOMING = ".incoming-"
ABANDONED_S = 3600
"""Seconds without a new file after which a version that somebody began to write is nobody's."""
_THERE = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def default_root() -> Path:
    """Return the folder of the registry where nobody names one.

    Returns
    -------
    Path
        ``$BIOT_BD_REGISTRY``, else ``biot_bd/model-registry`` in ``$XDG_DATA_HOME`` (default
        ``~/.local/share``).

    See Also
    --------
    biot_bd.deploy.Registry : Takes another one.

    Examples
    --------
    >>> import os
    >>> from biot_bd.deploy.model_registry import default_root
    >>> os.environ["BIOT_BD_REGISTRY"] = "/data/models"
    >>> default_root().as_posix()
    '/data/models'
    >>> del os.environ["BIOT_BD_REGISTRY"]
    >>> default_root().parts[-2:]
    ('biot_bd', 'model-registry')
    """
    named = os.environ.get("BIOT_BD_REGISTRY")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "biot_bd" / "model-registry"


@contextlib.contextmanager
def incoming(root: Path) -> Iterator[Path]:
    """Yield a new hidden folder in a registry; what is left of it afterwards is deleted.

    Parameters
    ----------
    root : Path
        The registry; made where needed.

    Raises
    ------
    OSError
        It cannot be written: the error names the registry, whichever file it was.
    """
    folder = root / f"{INCOMING}{uuid.uuid4().hex[:12]}"
    try:
        make_folder(root)
        _delete_abandoned(root)
        folder.mkdir()
        yield folder
    except OSError as error:
        if error.errno is None or not _concerns(error, root, folder):
            raise
        told = "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "cannot be written"
        raise OSError(error.errno, f"{os.strerror(error.errno)} (the model registry {told})", str(root)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _concerns(error: OSError, root: Path, folder: Path) -> bool:
    """Return whether an error is of writing into a registry, and not of what is read elsewhere."""
    named = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    if not named:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(path == root or path.is_relative_to(folder) or root.is_relative_to(path) for path in named)


def _delete_abandoned(root: Path) -> None:
    """Delete what killed writers left; what is younger may be somebody's who is at work."""
    for path in root.glob(f"{INCOMING}*"):
        with contextlib.suppress(OSError):  # it is another's, or another one deletes it now
            newest = max(one.stat(follow_symlinks=False).st_mtime for one in (path, *path.rglob("*")))
            if time.time() - newest > ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)


def place(folder: Path, root: Path, name: str, version: str) -> Path:
    """Move a finished folder to where its version lies; it is there whole, or not at all.

    Parameters
    ----------
    folder : Path
        Of :func:`incoming`.
    root : Path
        The registry.
    name, version : str
        Checked.

    Returns
    -------
    Path
        ``root/name/version``.

    Raises
    ------
    VersionExistsError
        Something is there already.
    OSError
        The registry cannot be written.
    """
    target = root / name / version
    if not target.parent.is_dir():
        make_folder(target.parent)
        _set_mode(target.parent, root.stat().st_mode & 0o777)
    share(folder, root)
    if os.path.lexists(target):  # an empty folder would give way
        raise VersionExistsError(f"{target}: is there already; versions are never replaced")
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno in _THERE:
            raise VersionExistsError(f"{target}: is there already; versions are never replaced") from error
        raise
    return target


def share(folder: Path, root: Path) -> None:
    """Let whoever may read a registry read a version, and nobody change its files by mistake."""
    readers = root.stat().st_mode & 0o777
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.is_symlink():
            raise ModelRegistryError(f"{path}: a link, where a version has files of its own")
        _set_mode(path, 0o700 | (readers & 0o055) if path.is_dir() else 0o400 | (readers & 0o044))


def _set_mode(path: Path, mode: int) -> None:
    with contextlib.suppress(OSError):  # a file system without modes, or a folder of a colleague
        path.chmod(path.stat().st_mode & 0o7000 | mode)
