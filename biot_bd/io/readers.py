"""Formats of recordings: endings, a probe of the first bytes, how to open a file lazily.

The formats that MNE opens are registered by the package itself (hook ``register_readers``); a
plugin's reader goes before them where its probe knows the first bytes.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from biot_bd import registry
from biot_bd.exceptions import PluginError, RecordingError
from biot_bd.io.edf import open_edf
from biot_bd.io.fif_tags import check_fif
from biot_bd.io.files import fault_of, first_bytes, pointer_fault
from biot_bd.io.mat_elements import check_mat
from biot_bd.io.notes import collecting, one_line
from biot_bd.io.unusable import correct_units

if TYPE_CHECKING:
    import mne

SEARCHES = ("ending", "probe", "never")


@dataclass(frozen=True)
class Reader:
    """How files of one format are recognised and opened.

    Parameters
    ----------
    endings : tuple of str
        In lower case and with their dot, as ``(".fif", ".fif.gz")``; files' endings match in any
        case.
    probe : callable or None
        ``(head) -> bool``: whether a file that begins with the bytes ``head`` (1,024, or fewer
        where the file is shorter; none of a folder) is of this format.  None leaves that to
        ``read``, for formats of MNE only.
    read : callable
        ``(path) -> mne.io.BaseRaw``: opens the recording without reading its samples, in volts.
        Whatever it raises becomes an error of one line that names the file; what it warns of
        becomes a note.
    search : {"ending", "probe", "never"}, default="ending"
        What makes a file in a searched folder a recording: its ending alone, the probe's yes, or
        nothing (a file that is named is still read).
    folder : bool, default=False
        A recording is a folder with that ending.
    beside : str, default=""
        Ending of a file that must lie beside it, where there is one.

    Raises
    ------
    ValueError
        An ending has no dot or has capitals, or ``search`` is none of the three, or asks a probe
        that is not there.

    See Also
    --------
    open_raw : Opens a recording by the reader that claims it.
    biot_bd.testing.check_reader : Checks a reader in the tests of a plugin.

    Examples
    --------
    >>> import mne
    >>> reader = Reader((".abc",), lambda head: head.startswith(b"ABC1"), mne.io.read_raw)
    >>> reader.matches("Night.ABC"), reader.probe(b"ABC1 ...")
    (True, True)
    """

    endings: tuple[str, ...]
    probe: Callable[[bytes], bool] | None
    read: Callable[[Path], mne.io.BaseRaw]
    search: str = "ending"
    folder: bool = False
    beside: str = ""

    def __post_init__(self) -> None:
        wrong = [
            e
            for e in self.endings
            if not isinstance(e, str) or not re.fullmatch(r"(\.[^.\s/\\]+)+", e) or e != e.lower()
        ]
        if not isinstance(self.endings, tuple) or not self.endings or wrong:
            raise ValueError(
                f"endings={self.endings!r}: expected a tuple of endings in lower case, e.g. ('.edf', '.fif.gz')"
            )
        if self.search not in SEARCHES:
            raise ValueError(f"search={self.search!r}: expected one of {', '.join(map(repr, SEARCHES))}")
        if self.search == "probe" and self.probe is None:
            raise ValueError("search='probe' needs a probe")

    def matches(self, name: str) -> bool:
        """Return whether a file's name has one of the endings."""
        return name.lower().endswith(self.endings)


def readers_of(name: str) -> dict[str, Reader]:
    """Return the registered readers whose ending a file's name has, by their names.

    Parameters
    ----------
    name : str
        Of a file or folder.

    Returns
    -------
    dict of Reader
        Empty where no reader has that ending.

    Examples
    --------
    >>> sorted(readers_of("a.EDF"))
    ['bdf', 'edf']
    """
    return {key: reader for key, reader in _registered() if reader.matches(name)}


def find_reader(path: str | os.PathLike[str]) -> Reader:
    """Return the reader for a file: a plugin's whose probe says yes, else the one of MNE's formats.

    Parameters
    ----------
    path : path-like
        A file or folder that exists.

    Returns
    -------
    Reader

    Raises
    ------
    RecordingError
        ``unreadable``: no reader has this ending, none claims the first bytes, or two do.
    OSError
        The first bytes cannot be read.

    See Also
    --------
    open_raw : Opens the file by this reader.

    Examples
    --------
    >>> find_reader("recording.txt.unknown")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'recording.txt.unknown'
    """
    path = Path(path)
    head = first_bytes(path)
    if fault := pointer_fault(head):
        raise RecordingError("missing-file", f"{path}: {fault}")
    fitting = readers_of(path.name)
    foreign = [name for name in fitting if registry.readers.owner(name) != registry.BUILTIN]
    claims = [name for name in foreign if _claims(name, fitting[name], head, path)]
    claims = claims or [n for n, r in fitting.items() if n not in foreign and (r.probe is None or r.probe(head))]
    if not fitting:  # an EDF of any name says what it is
        claims = [name for name, start in _MAGIC.items() if head.startswith(start)]
        fitting = {name: registry.readers[name] for name in claims}
    if len(claims) == 1:
        return fitting[claims[0]]
    if claims:
        owners = ", ".join(f"{name!r} of plugin {registry.readers.owner(name)!r}" for name in claims)
        raise RecordingError("unreadable", f"{path}: is claimed by the readers {owners}; uninstall all but one")
    raise RecordingError("unreadable", f"{path}: {_unclaimed(path, fitting)}, found {head[:16]!r}")


def open_raw(path: str | os.PathLike[str]) -> tuple[mne.io.BaseRaw, list[str]]:
    """Open a recording of any registered format without reading its samples.

    Parameters
    ----------
    path : path-like
        The file, or the folder of formats that are folders.

    Returns
    -------
    raw : mne.io.BaseRaw
        Lazy, in volts.
    notes : list of str
        What the reader warned of, in our words, e.g. that the file is cut short.

    Raises
    ------
    RecordingError
        ``missing-file`` or ``unreadable``: no regular file (a pipe, a device, a link that leads
        nowhere), empty, of no known format, or damaged.  One line that names the file, whatever the
        reader raised.

    See Also
    --------
    open_recording : The same for a detector.
    find_reader : The reader alone.

    Examples
    --------
    >>> open_raw("/dev/null")
    Traceback (most recent call last):
    biot_bd.exceptions.RecordingError: /dev/null: is a device; expected a file
    """
    path = Path(path)
    reader, notes = checked_reader(path), list[str]()
    try:
        with collecting(notes):
            raw = reader.read(path)
    except RecordingError:
        raise
    # Readers fail in any way on damaged files, and converters made for a command line exit.
    except (Exception, SystemExit) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {one_line(error)}"
        raise RecordingError("unreadable", f"{path}: cannot be read as EEG ({reason})") from error
    _check(raw, path)
    return raw, notes


def checked_reader(path: Path) -> Reader:
    """Return the reader of a path that can be opened, of the kind and company of its format.

    Raises
    ------
    RecordingError
        As :func:`open_raw`.
    """
    if fault := fault_of(path):
        raise RecordingError("unreadable" if os.path.exists(path) else "missing-file", f"{path}: {fault}")
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise RecordingError("unreadable", f"{path}: the file is empty (0 bytes)")
        reader = find_reader(path)
    except OSError as error:
        raise RecordingError("unreadable", f"{path}: cannot be opened ({error.strerror or error})") from error
    if path.is_dir() != reader.folder:
        is_, expected = ("a file", "a folder") if reader.folder else ("a folder", "a file")
        raise RecordingError("unreadable", f"{path}: is {is_}; a recording ending in {path.suffix} is {expected}")
    if reader.beside and not path.with_suffix(reader.beside).is_file():
        raise RecordingError("unreadable", f"{path}: {path.stem}{reader.beside} does not lie beside it; copy both")
    return reader


def is_raw(source: object) -> TypeGuard[mne.io.BaseRaw]:
    """Return whether an object is a recording of MNE; it cannot be one before MNE is loaded."""
    return isinstance(source, getattr(sys.modules.get("mne.io.base"), "BaseRaw", ()))


def _registered() -> Iterator[tuple[str, Reader]]:
    """Yield all readers; one whose module cannot be imported is warned of, for the others go on."""
    for name in registry.readers:
        try:
            reader = registry.readers[name]
        except PluginError as error:
            warnings.warn(f"reader {name!r} was skipped: {error}", stacklevel=2)
            continue
        if not isinstance(reader, Reader):
            raise PluginError(f"readers: {name!r} is {type(reader).__name__}; expected a biot_bd.io.readers.Reader")
        yield name, reader


def _claims(name: str, reader: Reader, head: bytes, path: Path) -> bool:
    try:
        return reader.probe is not None and bool(reader.probe(head))
    except Exception as error:  # the probe is foreign code
        raise RecordingError(
            "unreadable", f"{path}: the probe of reader {name!r} failed ({type(error).__name__}: {one_line(error)})"
        ) from error


def _unclaimed(path: Path, fitting: dict[str, Reader]) -> str:
    """Say why no reader takes a file."""
    if not fitting and path.is_dir():
        return "is a folder; expected a recording"
    if not fitting:
        return f"no reader for files ending in {path.suffix or 'nothing'!r}; `biot-bd plugins` lists the formats that are known"
    if path.suffix.lower() == ".eeg":
        return "holds samples of a BrainVision recording or is no recording of Nihon Kohden; give the .vhdr file"
    return f"its first bytes are not those of {' or '.join(fitting)}"


def _check(raw: Any, path: Path) -> None:
    if not is_raw(raw):
        raise RecordingError("unreadable", f"{path}: its reader returned {type(raw).__name__}, no mne.io.BaseRaw")
    sfreq = float(raw.info["sfreq"])
    if raw.n_times < 1 or not 0 < sfreq < float("inf"):
        raise RecordingError("unreadable", f"{path}: holds {raw.n_times} samples at {sfreq:g} Hz")


# The formats of MNE -------------------------------------------------------------------------------

_MAGIC = {"edf": b"0       ", "bdf": b"\xffBIOSEMI"}


def _read_edf(path: Path) -> mne.io.BaseRaw:
    notes = list[str]()
    raw = open_edf(path, allow_truncated=True, notes=notes)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return raw


def opens_edf(reader: Reader) -> bool:
    """Return whether a reader is our own of EDF and BDF files, not one of a plugin."""
    return reader.read is _read_edf


def _read(name: str, path: Path, **options: Any) -> mne.io.BaseRaw:
    import mne

    raw = getattr(mne.io, name)(path, preload=False, verbose="WARNING", **options)
    correct_units(raw)
    return raw


def _read_eeglab(path: Path) -> mne.io.BaseRaw:
    check_mat(path)
    return _read("read_raw_eeglab", path)


def _read_fif(path: Path) -> mne.io.BaseRaw:
    check_fif(path)
    return _read("read_raw_fif", path)


def _read_persyst(path: Path) -> mne.io.BaseRaw:
    with contextlib.redirect_stdout(io.StringIO()):  # MNE prints of birthdays, and `stream` writes its lines there
        return _read("read_raw_persyst", path)


def _read_epilepsiae(path: Path) -> mne.io.BaseRaw:
    from biot_bd.io.epilepsiae import read_epilepsiae

    return read_epilepsiae(path)


def _by_mne(name: str, **options: Any) -> Callable[[Path], mne.io.BaseRaw]:
    return partial(_read, name, **options)


def _is_bdf(head: bytes) -> bool:
    return head.startswith(b"\xff")


def _is_no_bdf(head: bytes) -> bool:
    return not head.startswith(b"\xff")


def _is_ant(head: bytes) -> bool:
    return head.startswith((b"RIFF", b"RF64"))


def _is_no_ant(head: bytes) -> bool:
    return not _is_ant(head)


def _is_nihon_kohden(head: bytes) -> bool:
    return re.match(rb"(EEG|QI|DAE)-\d{3,4}[A-Z ]\s* ?V\d\d\.\d\d", head) is not None


def _is_no_bci2000(head: bytes) -> bool:
    return not _is_bci2000(head)


def _is_bci2000(head: bytes) -> bool:
    return head.startswith((b"HeaderLen=", b"BCI2000V"))


# What an EDF or BDF is says its first byte, whatever its ending.
EDF = Reader((".edf", ".bdf"), _is_no_bdf, _read_edf)
BDF = Reader((".edf", ".bdf"), _is_bdf, _read_edf)
GDF = Reader((".gdf",), None, _by_mne("read_raw_gdf"))
BRAINVISION = Reader((".vhdr", ".ahdr"), None, _by_mne("read_raw_brainvision"))
EEGLAB = Reader((".set",), None, _read_eeglab)
FIF = Reader((".fif", ".fif.gz"), None, _read_fif)
NEUROSCAN = Reader((".cnt",), _is_no_ant, _by_mne("read_raw_cnt"))
ANT = Reader((".cnt",), _is_ant, _by_mne("read_raw_ant"))
EGI = Reader((".mff",), None, _by_mne("read_raw_egi"), folder=True)
PERSYST = Reader((".lay",), None, _read_persyst)
NIHON_KOHDEN = Reader((".eeg",), _is_nihon_kohden, _by_mne("read_raw_nihon"), search="probe")
EPILEPSIAE = Reader((".data",), None, _read_epilepsiae, beside=".head")
NEDF = Reader((".nedf",), None, _by_mne("read_raw_nedf"))
MEF = Reader((".mefd",), None, _by_mne("read_raw_mef"), folder=True)
CURRY = Reader((".cdt", ".dap"), None, _by_mne("read_raw_curry"))
CURRY_PARTS = Reader(
    (".dat", ".rs3", ".cdt.dpa", ".cdt.cef", ".cef"),
    _is_no_bci2000,
    _by_mne("read_raw_curry"),
    search="never",
)
BCI2000 = Reader((".dat",), _is_bci2000, _by_mne("read_raw_bci2k"), search="probe")
EXIMIA = Reader((".nxe",), None, _by_mne("read_raw_eximia"))
BLACKROCK = Reader((".ns3",), None, _by_mne("read_raw_nsx"))
# Magnetic, optical and ocular recordings: read where they are named, and never looked for.
MNE_OTHER = Reader(
    (".hdr", ".snirf", ".mat", ".bin", ".sqd", ".con", ".txt", ".asc"), None, _by_mne("read_raw"), search="never"
)
CTF = Reader((".ds",), None, _by_mne("read_raw_ctf"), search="never", folder=True)
