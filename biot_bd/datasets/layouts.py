"""Which data set a folder looks like, told by the names in it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from biot_bd import registry
from biot_bd.datasets.chbmit import CHB_MIT, case_folders
from biot_bd.datasets.demo import DEMO
from biot_bd.io.walk import OURS, SKIPPED_FOLDERS, find_recordings, is_folder_recording

FOLDER = "recordings-folder"
# Deeper folders are those of subjects, sessions and modalities.
DEEPEST = 3
# What the names of BIDS editions say -> the data set that reads them.
_EDITIONS = (("siena", "siena"), ("chb", "chb-mit-bids"))


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
        raise NotADirectoryError(f"{folder}: is a file; expected a folder of recordings")
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
            f"{_counted(len(loose), 'recording')} beside folders that are data sets of their own: move them to a folder"
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
    told = _counted(len(recordings), "recording")
    return [Layout(folder, FOLDER, f"{told}, and the layout of no other data set")] if recordings else []


def _of(folder: Path) -> Layout | None:
    """Return what a folder is by itself, None where nothing tells."""
    for names, what in OURS.items():
        if all(os.path.exists(folder / name) for name in names):
            return Layout(folder, None, what)
    if (
        "demo" in registry.datasets
        and (folder / "demo.json").is_file()
        and any(folder.glob(f"{DEMO.prefix}[0-9][0-9]"))
    ):
        return Layout(folder, "demo", "demo.json: made by `biot-bd demo`, not recorded")
    if "chb-mit" in registry.datasets and (cases := _cases(folder)):
        named = ", ".join(f"{CHB_MIT.prefix}{case}" for case in cases[:3]) + (", ..." if len(cases) > 3 else "")
        return Layout(folder, "chb-mit", f"{_counted(len(cases), 'case')} of CHB-MIT as on PhysioNet: {named}")
    return _bids(folder)


def _cases(folder: Path) -> list[str]:
    try:
        return sorted(case_folders(folder, CHB_MIT))
    except OSError:  # no case, or the folder cannot be searched
        return []


def _bids(folder: Path) -> Layout | None:
    if not (folder / "participants.tsv").is_file() or not any(c.name.startswith("sub-") for c in _subfolders(folder)):
        return None
    title = _title(folder / "dataset_description.json")
    named = f"a BIDS data set named {title!r}" if title else "a BIDS data set without a name"
    for word, dataset in _EDITIONS:
        if word in title.lower() and dataset in registry.datasets:
            return Layout(folder, dataset, named)
    return Layout(folder, FOLDER, named)


def _title(path: Path) -> str:
    """Return a data set's name by its BIDS description; empty where it has none."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    name = told.get("Name") if isinstance(told, dict) else None
    return name if isinstance(name, str) else ""


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")
