"""The one walk over folders: which files are recordings or tables of events, which company.

Left alone, in every tree: hidden files and folders (``._x.edf`` of macOS among them),
``derivatives`` and ``sourcedata``, files whose BIDS suffix says that they are no EEG, files of
annotations only, and what this package wrote itself.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from biot_bd import registry
from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_header import ANNOTATIONS, read_edf_header
from biot_bd.io.files import fault_of, first_bytes
from biot_bd.io.readers import Reader, open_raw, readers_of

if TYPE_CHECKING:
    import mne

TABLE_ENDINGS = (".tsv", ".csv_bi")
SKIPPED_FOLDERS = ("derivatives", "sourcedata")
# Suffixes of BIDS, and of data sets after its manner, for what is measured beside EEG.
OTHER_MODALITIES = frozenset(
    "acc beh bold ecg eda emg eog eyetrack gyro markers meg motion mov mrk nirs optodes pet physio pupil resp spo2 stim".split()
)
# Tables that BIDS puts beside recordings and that hold no events.
_OTHER_TABLES = re.compile(
    r"(^|_)(channels|electrodes|coordsystem|scans|sessions|participants|samples|coordinates|aslcontext|physio|stim)\.tsv$"
)
_RESULT = re.compile(r"_events\.edf$|_annot\.fif$|[-_](eve|ave|epo|cov|proj|fwd|trans|src)\.fif(\.gz)?$")
# Names that MNE gives to the later parts of a recording that it writes in several files.
_LATER_PART = re.compile(r"-\d+(?=\.fif(\.gz)?$)|(?<=_split-)\d+(?=(_[a-z]+)?\.fif(\.gz)?$)", re.IGNORECASE)
# A folder with one of these was written by `prepare`, `cv` or `train` and holds no data set.
OURS = {
    ("manifest.json", "signals"): "windows that `biot-bd prepare` made",
    ("run.json", "folds"): "a run of `biot-bd cv`",
    ("pipeline.json", "model.safetensors"): "a saved model",
}


@dataclass(frozen=True)
class Found:
    """What a walk comes upon.

    Parameters
    ----------
    path : Path
        The file, the folder of a format that is a folder, or a folder that cannot be searched.
    fault : str or None
        Why it cannot be read, e.g. that git-annex has not fetched it; None where it looks sound.

    See Also
    --------
    find_recordings, find_tables : Walk over folders.

    Examples
    --------
    >>> str(Found(Path("a.edf"), "is a link that leads back to itself"))
    'a.edf: is a link that leads back to itself'
    """

    path: Path
    fault: str | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}" if self.fault else str(self.path)


def find_recordings(folder: str | os.PathLike[str], skip: Iterable[Path] = ()) -> list[Found]:
    """List the recordings below a folder, of every format that is registered.

    Parameters
    ----------
    folder : path-like
        Searched with its subfolders, and with folders elsewhere that links in it lead to.
    skip : iterable of Path
        Folders that are not searched, e.g. the output.

    Returns
    -------
    list of Found
        In the order of names, folder by folder; also files that were not fetched and folders that
        cannot be searched, with their fault.  Links to folders that are searched already are warned
        of.

    See Also
    --------
    find_tables : The same walk for tables of events.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.edf", "._a.edf", "a.tsv", "sub-1_ecg.edf"):
    ...         _ = Path(folder, name).write_bytes(b"0")
    ...     [found.path.name for found in find_recordings(folder)]
    ['a.edf']
    """
    return list(_walk(Path(folder), _is_recording, is_folder_recording, {p.resolve() for p in skip}))


def find_tables(folder: str | os.PathLike[str], endings: tuple[str, ...] = TABLE_ENDINGS) -> list[Found]:
    r"""List the tables below a folder that may hold events.

    Parameters
    ----------
    folder : path-like
        Searched with its subfolders.
    endings : tuple of str
        In lower case.

    Returns
    -------
    list of Found
        In the order of names; tables that BIDS gives another purpose (``_channels.tsv``) are left
        alone.

    See Also
    --------
    find_recordings : The same walk for recordings.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a_events.tsv", "a_channels.tsv", "participants.tsv"):
    ...         _ = Path(folder, name).write_text("onset\n")
    ...     [found.path.name for found in find_tables(folder)]
    ['a_events.tsv']
    """

    def is_table(path: Path) -> bool:
        name = path.name.lower()
        return name.endswith(endings) and not _OTHER_TABLES.search(name)

    return list(_walk(Path(folder), is_table, lambda path: False, set()))


def open_found(found: Found) -> tuple[mne.io.BaseRaw, list[str]]:
    """Open what a walk found, as :func:`~biot_bd.io.readers.open_raw` does.

    Parameters
    ----------
    found : Found
        A recording.

    Returns
    -------
    raw : mne.io.BaseRaw
        Lazy, in volts.
    notes : list of str
        What its reader warned of.

    Raises
    ------
    RecordingError
        ``missing-file`` for links to what is not there, ``unreadable`` for other faults and damaged
        files.

    Examples
    --------
    >>> open_found(Found(Path("gone.edf"), "is a link that leads back to itself"))
    Traceback (most recent call last):
    biot_bd.exceptions.RecordingError: gone.edf: is a link that leads back to itself
    """
    if found.fault is not None:
        raise RecordingError("unreadable" if os.path.exists(found.path) else "missing-file", str(found))
    return open_raw(found.path)


def is_folder_recording(path: Path) -> bool:
    """Return whether a folder is one recording by its ending, as ``.mff`` and ``.mefd`` are.

    Examples
    --------
    >>> is_folder_recording(Path("night.MFF")), is_folder_recording(Path("sub-01"))
    (True, False)
    """
    return any(reader.folder for reader in readers_of(path.name).values())


def stem_of(name: str) -> str:
    """Return a recording's name without its ending, of endings of two parts, too.

    Examples
    --------
    >>> stem_of("night.fif.gz"), stem_of("sub-01_eeg.EDF"), stem_of("notes.v2.txt")
    ('night', 'sub-01_eeg', 'notes.v2')
    """
    endings = [e for reader in readers_of(name).values() for e in reader.endings if name.lower().endswith(e)]
    return name[: -len(max(endings, key=len))] if endings else Path(name).stem


def label_tables(path: str | os.PathLike[str]) -> list[Path]:
    """Return where the event table with the labels of a recording is looked for.

    Parameters
    ----------
    path : path-like
        The recording.

    Returns
    -------
    list of Path
        Beside it, whether they are there or not.

    Examples
    --------
    >>> [table.name for table in label_tables("sub-01_eeg.edf")]
    ['sub-01_eeg_events.tsv', 'sub-01_eeg.tsv', 'sub-01_events.tsv']
    """
    stem = stem_of(Path(path).name)
    names = (f"{stem}_events.tsv", f"{stem}.tsv", f"{stem.removesuffix('_eeg')}_events.tsv")
    return [Path(path).with_name(name) for name in dict.fromkeys(names)]


def searched_endings() -> list[str]:
    """Return the endings of files that a search takes for recordings, sorted.

    Examples
    --------
    >>> ".edf" in searched_endings(), ".snirf" in searched_endings()
    (True, False)
    """
    return sorted({e for reader in registry.readers.values() if reader.search != "never" for e in reader.endings})


def is_other_modality(name: str) -> bool:
    """Return whether a BIDS name says that a file holds something beside EEG.

    Examples
    --------
    >>> [is_other_modality(f"{stem}.edf") for stem in ("sub-1_run-1_ecg", "sub-1_eeg", "ecg")]
    [True, False, False]
    """
    stem = name.lower().split(".")[0]
    return stem.startswith("sub-") and stem.rpartition("_")[2] in OTHER_MODALITIES


def _walk(
    root: Path, is_wanted: Callable[[Path], bool], is_one: Callable[[Path], bool], skipped: set[Path]
) -> Iterator[Found]:
    """Yield what is wanted below ``root``; ``is_one`` tells folders that are one recording."""
    seen = {root.resolve(): root}

    def visit(folder: Path) -> Iterator[Found]:
        try:
            with os.scandir(folder) as entries:
                children = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        except OSError as error:
            yield Found(folder, f"cannot be opened ({error.strerror})")
            return
        for name in children:
            path = folder / name
            if os.path.isdir(path) and not is_one(path):
                if name.lower() not in SKIPPED_FOLDERS and not _is_ours(path):
                    yield from enter(path)
            elif is_wanted(path):
                yield Found(path, fault_of(path))

    def enter(folder: Path) -> Iterator[Found]:
        real = folder.resolve()
        if real in skipped:
            return
        # A folder inside the tree is searched where it lies; through a link its files would count
        # twice.
        if os.path.islink(folder) and real.is_relative_to(root.resolve()):
            warnings.warn(f"{folder}: is a link to {real}, which is searched where it lies", stacklevel=2)
        elif real in seen or root.resolve().is_relative_to(real):
            warnings.warn(f"{folder}: is a link that leads back to {seen.get(real, real)}; not searched", stacklevel=2)
        else:
            seen[real] = folder
            yield from visit(folder)

    yield from visit(root)


def _is_ours(folder: Path) -> bool:
    # os.path, as methods of Path raise where a folder may not be entered.
    return any(all(os.path.exists(folder / name) for name in names) for names in OURS)


def _is_recording(path: Path) -> bool:
    """Return whether a file, or a folder that is one recording, is taken for EEG."""
    name = path.name.lower()
    fitting = readers_of(name)
    if not fitting or _RESULT.search(name) or is_other_modality(name):
        return False
    if fault_of(path):  # said by its name alone, what it holds is not known
        return any(reader.search == "ending" for reader in fitting.values())
    if not any(_is_looked_for(reader, path) for reader in fitting.values()):
        return False
    if name.endswith((".edf", ".bdf")):
        return not _holds_only_annotations(path)
    return not _is_later_part(path)


def _is_looked_for(reader: Reader, path: Path) -> bool:
    if reader.folder != os.path.isdir(path) or (reader.beside and not os.path.isfile(path.with_suffix(reader.beside))):
        return False
    if reader.search != "probe":
        return reader.search == "ending"
    try:
        return bool(reader.probe and reader.probe(first_bytes(path)))
    except Exception:  # what is wrong is said when the file is opened
        return True


def _holds_only_annotations(path: Path) -> bool:
    """Return whether an EDF+ or BDF+ has no signal: hypnograms, lists of events."""
    try:
        labels = read_edf_header(path).labels
    except (OSError, RecordingError):
        return False  # what is wrong is said when the file is opened
    return bool(labels) and set(labels) <= set(ANNOTATIONS)


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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            import mne

            parts = mne.io.read_raw_fif(first, verbose="ERROR").filenames
    except Exception:  # what is wrong with the first one is said when its turn comes
        return False
    return path.resolve() in [Path(part).resolve() for part in parts if part is not None]
