"""Models of the registry by ``NAME`` or ``NAME/VERSION``, where a command takes a MODEL."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from biot_bd.deploy.model_registry.registry import Registry
    from biot_bd.deploy.version_folder import RegisteredVersion

_NAMED = re.compile(r"[a-z0-9][a-z0-9._-]*(/[0-9][0-9a-z.-]*)?")


def find_model(text: str) -> Path:
    """Return the folder that a MODEL of the command line means.

    Parameters
    ----------
    text : str
        A path, or ``NAME`` or ``NAME/VERSION`` of the model registry.  A folder of that name comes
        first, and where there is a model of that name too, that is said.

    Returns
    -------
    Path
        Of a version, or the text as a path: what lies there is looked at by others.

    Raises
    ------
    FileNotFoundError
        There is neither a folder nor a model of that name, but one of nearly that name.
    ModelRegistryError
        It is a version, and a file of it is another than was registered.
    """
    path = Path(text)
    if not _NAMED.fullmatch(text):
        return _checked(path)
    version = registered(text)
    if os.path.lexists(path):
        if version is not None:
            typer.echo(
                f"note: {text} is a folder here and a model of the registry; the folder is taken (give {version.folder} for the "
                "other)",
                err=True,
            )
        return _checked(path)
    if version is not None:
        return _checked(version.folder)
    if near := nearest(text):
        raise FileNotFoundError(
            f"{text}: no such folder, and no such model in the model registry; did you mean {near!r}?"
        )
    return path


def _checked(folder: Path) -> Path:
    """Return a folder; where it is a version, its files are those that were registered."""
    if (folder / "artifact.json").is_file():
        from biot_bd.deploy.version_folder import check_files, is_version, read_version

        if is_version(folder):
            check_files(read_version(folder), whole=False)
    return folder


def registered(text: str, registry: Registry | None = None) -> RegisteredVersion | None:
    """Return the version that ``NAME`` or ``NAME/VERSION`` means, None where there is none.

    Parameters
    ----------
    text : str
        What a user gave.
    registry : Registry, optional
        The usual one by default, where the shipped demonstration counts, too.

    Returns
    -------
    RegisteredVersion or None
    """
    from biot_bd.deploy.model_registry.registry import Registry
    from biot_bd.deploy.version_names import split_label
    from biot_bd.exceptions import ModelRegistryError

    try:
        split_label(text)
    except ModelRegistryError:
        return None
    try:
        return (Registry() if registry is None else registry).resolve(text)
    except FileNotFoundError:
        shown = shipped() if registry is None else None
        return shown if shown is not None and text in (shown.name, shown.label) else None


def shipped() -> RegisteredVersion | None:
    """Return the demonstration of the package, None where an installation lacks it."""
    from biot_bd.deploy import demo_model
    from biot_bd.deploy.version_folder import read_version

    try:
        return read_version(demo_model.shipped())
    except FileNotFoundError:
        return None


def nearest(text: str, registry: Registry | None = None) -> str | None:
    """Return the name or label of a registered model that is nearly a text."""
    from biot_bd.deploy.model_registry.registry import Registry

    known = {one.name for one in (Registry() if registry is None else registry).list()}
    if registry is None and (demonstration := shipped()) is not None:
        known.add(demonstration.name)
    name, slash, version = text.partition("/")
    if name in known:  # the version is what is not there
        return name if slash else None
    near = get_close_matches(name, known, n=1)
    return f"{near[0]}{slash}{version}" if near else None
