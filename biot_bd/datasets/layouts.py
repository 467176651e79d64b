"""Which data set a folder looks like, told by the names in it."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from biot_bd import registry
from biot_bd.exceptions import PluginError
from biot_bd.io.notes import counted, one_line
from biot_bd.io.walk import OURS, SKIPPED_FOLDERS, find_recordings, is_folder_recording, searched_endings

FOLDER = "recordings-folder"
# Deeper folders are those of subjects, sessions and modalities.
DEEPEST = 3
_Loader = TypeVar("_Loader", bound=Callable[..., Any])


@dataclass(frozen=True)
class Layout:
    """What a folder looks like.

    Parameters
    ----------
    path : Path
        The folder.
    dataset : str or None
        Name in ``registry.datasets`` of what reads it; None where it holds no recordings to load.
    why : str
        What tells so, or what the folder is instead.

    See Also
    --------
    find_layouts : Looks at a folder and at those in it.

    Examples
    --------
    >>> Layout(Path("data/chb-mit"), "chb-mit", "1 case: chb01").dataset
    'chb-mit'
    """

    path: Path
    dataset: str | None
    why: str


def recognised_by(looks_like: Callable[[Path], str]) -> Callable[[_Loader], _Loader]:
    """Say how :func:`find_layouts` knows the folders of a data set.

    Parameters
    ----------
    looks_like : callable
        Takes a folder and returns what tells that the data set reads it, in a phrase for users;
        ``""`` where nothing does.  It should look at names alone.

    Returns
    -------
    callable
        A decorator of the loader, which gets ``looks_like`` as an attribute.  A loader that is a
        class may have a static method of that name instead.

    See Also
    --------
    find_layouts : Asks every registered data set.
    biot_bd.hookspecs.register_datasets : The hook for loaders.

    Examples
    --------
    >>> from biot_bd.datasets import recognised_by
    >>> @recognised_by(lambda folder: "ward.ini" if (folder / "ward.ini").is_file() else "")
    ... def load_ward(root): ...
    >>> load_ward.looks_like(Path("."))
    ''
    """

    def mark(loader: _Loader) -> _Loader:
        loader.looks_like = looks_like  # type: ignore[attr-defined]
        return loader

    return mark


def find_layouts(folder: str | os.PathLike[str]) -> list[Layout]:
    """Say which data set a folder looks like, or which its subfolders look like.

    Parameters
    ----------
    folder : path-like
        Looked at by names, three floors deep; hidden folders, ``derivatives`` and ``sourcedata``
        are left alone, as loaders do.

    Returns
    -------
    list of Layout
        One for the folder itself; or, where folders below it are data sets, windows, runs or models
        of their own, one for each of them and of those beside them that hold recordings.  Empty
        where there is no recording at all.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is no such folder.

    See Also
    --------
    inspect_folder : Also looks into the recordings.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("chbmit/chb01/chb01-summary.txt", "own/P1/night.edf"):
    ...         path = Path(folder, name)
    ...         path.parent.mkdir(parents=True)
    ...         _ = path.write_text("0")
    ...     [(layout.path.name, layout.dataset) for layout in find_layouts(folder)]
    [('chbmit', 'chb-mit'), ('own', 'recordings-folder')]
    """
    folder = check_folder(folder)
    return _own_layouts(folder, DEEPEST, set()) or _plain(folder)


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Return a folder as a path; FileNotFoundError or NotADirectoryError where it is none."""
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{folder}: is a file; expected a folder of recordings, such as {folder.absolute().parent}"
        )
    return folder


def _own_layouts(folder: Path, floors: int, seen: set[Path]) -> list[Layout]:
    """Return the layouts at or below a folder; nothing where there is none but recordings."""
    if (real := folder.resolve()) in seen:
        return []
    seen.add(real)
    if found := _of(folder):
        return [found]
    if not floors:
        return []
    inner = {child: _own_layouts(child, floors - 1, seen) for child in _subfolders(folder)}
    if not any(inner.values()):
        return []
    layouts = [layout for child, below in inner.items() for layout in below or _plain(child)]
    loose = [found for found in find_recordings(folder, skip=inner) if found.path.parent == folder]
    if loose:
        why = (
            f"{counted(len(loose), 'recording')} beside folders that are data sets of their own: move them to a folder"
        )
        layouts.append(Layout(folder, None, why))
    return layouts


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError:  # said by whoever reads it
        return []
    paths = [folder / name for name in names if name.lower() not in SKIPPED_FOLDERS]
    return [path for path in paths if not is_folder_recording(path)]


def _plain(folder: Path) -> list[Layout]:
    recordings = find_recordings(folder)
    told = counted(len(recordings), "recording")
    return [Layout(folder, FOLDER, f"{told}, and the layout of no other data set")] if recordings else []


def _of(folder: Path) -> Layout | None:
    """Return what a folder is by itself, None where nothing tells."""
    for names, what in OURS.items():
        if all(os.path.exists(folder / name) for name in names):
            return Layout(folder, None, what)
    claims = {name: why for name in registry.datasets if (why := _claim(name, folder))}
    if len(claims) > 1:
        told = "; ".join(f"{name} ({why})" for name, why in claims.items())
        return Layout(folder, None, f"{told}: say which, as in `biot-bd doctor {next(iter(claims))} FOLDER`")
    for name, why in claims.items():
        return Layout(folder, name, why)
    title = bids_title(folder)
    return None if title is None else Layout(folder, FOLDER, title)


def _claim(name: str, folder: Path) -> str:
    """Return what tells that a data set reads a folder; a plugin that fails is warned of."""
    try:
        looks_like = getattr(registry.datasets[name], "looks_like", None)
    except PluginError as error:
        warnings.warn(f"data set {name!r} is left out: {one_line(error)}", stacklevel=2)
        return ""
    try:
        return "" if looks_like is None else str(looks_like(folder))
    except Exception as error:  # whatever a plugin does, the other data sets are still asked
        warnings.warn(f"data set {name!r} fails to look at {folder}: {one_line(error)}", stacklevel=2)
        return ""


def bids_title(folder: Path) -> str | None:
    """Return what a BIDS data set calls itself, in a phrase; None where the folder is none.

    Parameters
    ----------
    folder : Path
        With ``participants.tsv`` and ``sub-`` folders, if it is one.
    """
    if not (folder / "participants.tsv").is_file() or not any(c.name.startswith("sub-") for c in _subfolders(folder)):
        return None
    try:
        told = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = None
    name = told.get("Name") if isinstance(told, dict) else None
    if isinstance(name, str) and name:
        return f"a BIDS data set named {one_line(name, 100)!r}"
    return "a BIDS data set without a name"


def nothing_in(folder: str | os.PathLike[str]) -> str:
    """Say what a folder without recordings holds instead, in a phrase.

    Parameters
    ----------
    folder : path-like
        Searched with its subfolders.

    Returns
    -------
    str
        Endings of its files with their numbers, and those that are looked for.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.docx", "b.docx", "notes"):
    ...         _ = Path(folder, name).write_text("0")
    ...     told = nothing_in(folder)
    >>> told[:74]
    'holds no recording, but 3 files (2 .docx, 1 without ending); files of thes'
    """
    found = Counter(Path(name).suffix.lower() for _, _, names in os.walk(folder) for name in names)
    named = [f"{n:,} {ending or 'without ending'}" for ending, n in found.most_common(5)]
    told = f", but {counted(found.total(), 'file')} ({', '.join(named)}{', ...' if len(found) > 5 else ''})"
    return (
        f"holds no recording{told if found else ': it is empty'}; files of these endings are looked for: "
        f"{', '.join(searched_endings())} (company such as hidden files, derivatives and sub-01_ecg.edf is left alone)"
    )
