"""Which recordings are meant by files and folders on a command line, and where their results go."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
    subject : str, optional
        The patient's full name, as ``load_dataset("recordings-folder", ...)`` makes it of the
        folder that was named.
    own : Item, optional
        Of a recording that is named by a number: the item with its own names.
    """

    path: Path
    stem: Path
    patient: str
    target: Path | None = None
    subject: str | None = None
    own: Item | None = None

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
        In the order given, within a folder by name.  Where results would differ in case alone,
        which not every disk tells apart, their names get a digest.

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
            other = items.setdefault(str(item.stem), item)
            if other.path.resolve() != item.path.resolve():
                raise ValueError(
                    f"{other.path} and {item.path} would both be written to {item.stem}_events; give them to separate outputs"
                )
    return _told_apart(list(items.values()))


def _told_apart(items: list[Item]) -> list[Item]:
    counts = Counter(_folded(str(item.stem)) for item in items)
    return [item if counts[_folded(str(item.stem))] == 1 else _with_digest(item) for item in items]


def _with_digest(item: Item) -> Item:
    return replace(item, stem=item.stem.with_name(f"{item.stem.name}-{_digest(str(item.stem))}"))


def page_paths(items: Sequence[Item], folder: Path) -> dict[str, Path]:
    """Return where the page of each patient goes.

    A name with letters that not every disk and browser takes, or that differs from another's in
    case alone, gets a digest of the patient.

    Parameters
    ----------
    items : sequence of Item
        All recordings, so that names stay where only some are worked on.
    folder : Path
        Of the results.

    Returns
    -------
    dict of str to Path
        By patient.
    """
    names = {item.patient: re.sub(r"[^A-Za-z0-9._-]", "_", item.patient).lstrip(".") for item in items}
    counts = Counter(_folded(name) for patient, name in names.items() if name == patient)
    for patient, name in names.items():
        if name != patient or counts[_folded(name)] > 1:
            names[patient] = f"{name or 'patient'}-{_digest(patient)}"
    return {patient: folder / f"{name}_report.html" for patient, name in names.items()}


def _folded(name: str) -> str:
    """Return what names have in common that a disk may take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


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
        patient = patient_of(given.resolve().name / relative)
        subject = f"{_word(given.resolve().name)}/{_word(patient.removeprefix('sub-'))}"
        yield Item(path, relative.with_name(_stem(path.name)), patient, subject=subject)


def _word(name: str) -> str:
    return re.sub(r"[\s/]+", "-", name)


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
