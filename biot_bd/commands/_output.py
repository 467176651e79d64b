"""Where commands write, and facts as JSON on stdout."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from biot_bd.runs import to_jsonable


def check_output(folder: Path) -> None:
    """Raise ``ValueError`` if a path cannot be a folder, because it or a part of it is a file."""
    found = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if found is not None:
        raise ValueError(f"--output {folder}: expected a folder, but {found} is a file; name another place")


def check_writable(path: Path) -> None:
    """Raise ``OSError`` where a file can surely not be written, before long work for it."""
    folder = next(one for one in path.absolute().parents if one.exists())
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file where a folder should be", str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def print_json(facts: Mapping[str, Any] | list[dict[str, Any]]) -> None:
    """Print facts as JSON on stdout, nothing else."""
    typer.echo(json.dumps(to_jsonable(facts), indent=1, ensure_ascii=False, allow_nan=False))
