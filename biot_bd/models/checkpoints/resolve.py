"""Where a checkpoint is: a known name, a file, a folder or a Hub repository becomes a path on
this disk.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

from biot_bd.models.checkpoints import hub
from biot_bd.models.checkpoints.published import KNOWN, WEB, Checkpoint, by_blob_id, git_blob_id

FOLDER_VARIABLE = "BIOT_BD_CHECKPOINTS"
"""Folder with published files that were fetched by hand.

They are found there under their published names.
"""

WEIGHTS = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_repository(source: str | os.PathLike[str]) -> bool:
    """Return whether ``source`` reads as ``owner/name`` of the Hub and is no path on this disk."""
    if not isinstance(source, str):
        return False
    text = source.removeprefix("hf://")
    named = _REPOSITORY.fullmatch(text) is not None and not text.lower().endswith(WEIGHTS)
    return named and (source != text or not os.path.lexists(source))


def find_source(source: str | os.PathLike[str]) -> Path:
    """Return the file or folder of a checkpoint, downloaded where needed.

    Parameters
    ----------
    source : str or path
        A known name, a file, a folder, or a Hub repository ``owner/name`` (``hf://owner/name``
        where a folder of that name lies here too).

    Returns
    -------
    Path
        A file of weights, or a folder with ``config.json`` and weights.

    Raises
    ------
    FileNotFoundError
        No such file, name or repository; the message lists the known names.
    ValueError
        A published file in the folder of :data:`FOLDER_VARIABLE` has other content.
    OSError
        The Hub cannot be reached, or offline mode is on and nothing is cached.
    """
    if not isinstance(source, (str, os.PathLike)) or not os.fspath(source):
        raise TypeError(f"a checkpoint is a name, a path or a Hub repository, found {source!r}")
    if isinstance(source, str) and source in KNOWN:
        return _by_hand(KNOWN[source]) or hub.fetch(source)
    path = Path(source).expanduser()
    if path.exists() and not str(source).startswith("hf://"):
        return path
    if is_repository(source):
        return hub.fetch(str(source))
    raise FileNotFoundError(not_found(str(source)))


def _by_hand(known: Checkpoint) -> Path | None:
    path = Path(os.environ.get(FOLDER_VARIABLE, "")).expanduser() / known.file
    if not os.environ.get(FOLDER_VARIABLE) or not path.is_file():
        return None
    check_published_file(known, path)
    return path


def check_published_file(known: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Raise ``ValueError`` unless ``path`` is, to the last bit, the published file of a known
    checkpoint.
    """
    found = git_blob_id(path)
    if found != known.blob_id:
        other = by_blob_id(found)
        what = f"it is {other.name}" if other else f"git blob id {found}, expected {known.blob_id}"
        raise ValueError(f"{path}: not the published {known.file} ({what}); get it again from {WEB}")


def not_found(source: str) -> str:
    """Return what an error says of a source that is nowhere, with the nearest name."""
    text = f"no checkpoint {source!r}: no such file or folder, and none of the known names {', '.join(KNOWN)}"
    close = get_close_matches(source.lower(), KNOWN, n=1)
    if close:
        return f"{text}; did you mean {close[0]!r}?"
    published = next((one for one in KNOWN.values() if one.file == Path(source).name), None)
    if published is not None:
        return f"{text}; {published.file} is published at {WEB} (or take pretrained={published.name!r})"
    return text
