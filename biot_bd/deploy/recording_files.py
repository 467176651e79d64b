"""Which recordings are meant by files and folders on a command line, and where their results go."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from biot_bd.io.walk import find_recordings, is_folder_recording, searched_endings, stem_of


@dataclass(frozen=True)
class Item:
    """A recording to work on.

    Parameters
    ----------
    path : Path
        The recording.
    stem : Path
        Where its results go, relative to the output folder and without an ending:
        ``sub-01/eeg/sub-01_run-01``.
    patient : str
        Whose it is: the BIDS subject, else the folder that holds the file; of a file that was
        named, the file itself.
    target : Path, optional
        The event file to write, where it was named; else the stem says it.
    """

    path: Path
    stem: Path
    patient: str
    target: Path | None = None

    def output(self, folder: Path, ending: str) -> Path:
        """Return the path of a result in the output folder.

        The stem and an ending, e.g. ``_events.tsv``.
        """
        return folder / self.stem.with_name(f"{self.stem.name}{ending}")


def find_items(inputs: Sequence[str | os.PathLike[str]], skip: Iterable[Path] = ()) -> list[Item]:
    """List the recordings that files and folders stand for; a folder's tree is kept in the results.

    Parameters
    ----------
    inputs : sequence of path
        Files, and folders that are searched with their subfolders (BIDS trees, too).
    skip : iterable of Path
        Folders that are not searched: the output.

    Returns
    -------
    list of Item
        In the order given, within a folder by name.

    Raises
    ------
    FileNotFoundError
        An input does not exist, or a folder holds no recording.
    ValueError
        Two recordings would have the same result.
    """
    skipped = {path.resolve() for path in skip}
    items: dict[str, Item] = {}
    for given in map(Path, inputs):
        for item in _items_of(given, skipped):
            # Case matters not on every disk.
            other = items.setdefault(str(item.stem).lower(), item)
            if other.path.resolve() != item.path.resolve():
                raise ValueError(
                    f"{other.path} and {item.path} would both be written to {item.stem}_events; give them to separate outputs"
                )
    return list(items.values())


def _items_of(given: Path, skipped: set[Path]) -> Iterator[Item]:
    if not given.is_dir() or is_folder_recording(given):
        # What is wrong with a file is said when it is opened, so that the others are still done.
        yield Item(given, Path(_stem(given.name)), patient_of(Path(given.name)))
        return
    found = find_recordings(given, skipped)
    if not found:
        endings = ", ".join(searched_endings())
        raise FileNotFoundError(f"{given}: holds no recording; files ending in {endings} are looked for")
    for path in (one.path for one in found):
        relative = path.relative_to(given)
        if relative == Path():  # the folder itself cannot be read
            yield Item(path, Path(path.name), path.name)
            continue
        yield Item(path, relative.with_name(_stem(path.name)), patient_of(given.resolve().name / relative))


def _stem(name: str) -> str:
    """Return a file's name without its ending, of BIDS names without ``_eeg``, too."""
    stem = stem_of(name)
    return re.sub(r"_(eeg|ieeg|raw)$", "", stem) or stem


def patient_of(relative: Path) -> str:
    """Return whose recording a path below the input is.

    ``sub-...`` of its name or folders, else its folder, else its name.
    """
    match = re.search(r"(?:^|[_/])(sub-[A-Za-z0-9]+)", relative.name) or re.search(
        r"(?:^|[_/])(sub-[A-Za-z0-9]+)", relative.as_posix()
    )
    if match:
        return match[1]
    return relative.parent.name or _stem(relative.name)
