"""Which recordings are meant by files and folders on a command line, and where their results go."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ENDINGS = (".edf", ".bdf", ".fif", ".fif.gz", ".vhdr", ".set", ".gdf", ".cnt", ".nwx", ".mff")
"""What is taken from folders; a file that is named is read whatever its ending, if MNE knows it."""

# Results of ours and FIF files that hold no recording, and folders that hold no recordings of their
# own.
_RESULT = re.compile(r"_events\.edf$|_annot\.fif$|[-_](eve|ave|epo|cov|proj|fwd|trans|src)\.fif(\.gz)?$")
# Names that MNE gives to the later parts of a recording that it writes in several files.
_LATER_PART = re.compile(r"-\d+(?=\.fif(\.gz)?$)|(?<=_split-)\d+(?=(_[a-z]+)?\.fif(\.gz)?$)", re.IGNORECASE)
_SKIPPED = ("derivatives", "sourcedata")


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
    if not given.is_dir() or given.name.lower().endswith(".mff"):
        # What is wrong with a file is said when it is opened, so that the others are still done.
        yield Item(given, Path(_stem(given.name)), patient_of(Path(given.name)))
        return
    found = 0
    for path in _walk(given, skipped):
        relative = path.relative_to(given)
        found += 1
        if relative == Path():  # the folder itself cannot be read
            yield Item(path, Path(path.name), path.name)
            continue
        yield Item(path, relative.with_name(_stem(path.name)), patient_of(given.resolve().name / relative))
    if not found:
        raise FileNotFoundError(f"{given}: holds no recording; files ending in {', '.join(ENDINGS)} are looked for")


def _walk(folder: Path, skipped: set[Path]) -> Iterator[Path]:
    """Yield the recordings below a folder, sorted, and folders that cannot be read, so that
    opening them fails.
    """
    try:
        with os.scandir(folder) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        yield folder
        return
    for entry in children:
        path, name = folder / entry.name, entry.name.lower()
        if name.startswith("."):
            continue
        if name.endswith(ENDINGS) and not _RESULT.search(name):
            if not _is_later_part(path):
                yield path
        elif entry.is_dir() and name not in _SKIPPED and path.resolve() not in skipped:
            yield from _walk(path, skipped)


def _is_later_part(path: Path) -> bool:
    """Return whether MNE reads a file as part of a recording that begins in another one.

    A name alone does not tell.
    """
    match = _LATER_PART.search(path.name)
    if match is None:
        return False
    first = path.with_name(_LATER_PART.sub("" if match[0].startswith("-") else "01", path.name))
    if first == path or not first.is_file():
        return False
    import mne

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            parts = mne.io.read_raw_fif(first, verbose="ERROR").filenames
    except Exception:  # what is wrong with the first one is said when its turn comes
        return False
    return path.resolve() in [Path(part).resolve() for part in parts if part is not None]


def _stem(name: str) -> str:
    """Return a file's name without its ending, of BIDS names without ``_eeg``, too."""
    ending = next((e for e in sorted(ENDINGS, key=len, reverse=True) if name.lower().endswith(e)), None)
    stem = name[: -len(ending)] if ending else Path(name).stem
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
