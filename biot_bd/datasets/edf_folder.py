"""Any folder of EDF or BDF files, each beside a SzCORE event table or without one."""

from __future__ import annotations

import os
import re
from pathlib import Path

import mne
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets.recordings import (
    Outcomes,
    check_choice,
    check_text,
    make_dataset,
    seizures_of,
    set_events,
    set_seizures,
)
from biot_bd.events.szcore import SEIZURE, seizure_kind
from biot_bd.exceptions import RecordingError
from biot_bd.io.edf import open_edf, read_edf_header

_ENDINGS = (".edf", ".bdf")


def load_edf_folder(
    root: str | os.PathLike[str],
    *,
    subject: str | None = None,
    namespace: str | None = None,
    unlisted: str = "exclude",
    on_error: str = "raise",
) -> BaseConcatDataset:
    """Load every EDF and BDF file below a folder.

    Labels come from the event table beside the file (``x_events.tsv`` or ``x.tsv`` for ``x.edf``;
    for ``..._eeg.edf`` BIDS's ``..._events.tsv``), else from annotations within the file that begin
    with ``sz`` or ``seiz`` or are ``bckg``, in any case; other annotations mean nothing.

    Parameters
    ----------
    root : path-like
        Searched with its subfolders; hidden files and folders are left alone.
    subject : str, optional
        Regular expression, searched in the path below ``root`` (with ``/``); its first group is the
        subject.  By default the ``sub-`` of a BIDS name or of the path, else the folder that holds
        the file; needed where files without ``sub-`` lie more than one folder below ``root``, as a
        folder of days would be taken for a subject.
    namespace : str, optional
        Stands before the subject, as in ``"clinic/01"``; the name of ``root`` by default.
    unlisted : {"exclude", "background"}, default="exclude"
        What becomes of recordings without labels.  ``"background"`` takes them as free of seizures:
        for detection, or where that is known.
    on_error : {"raise", "skip"}, default="raise"
        When a file or table is damaged; ``"skip"`` notes it in ``outcomes``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts.  ``recording`` is the file's BIDS name, else its path below ``root`` joined
        with ``__``. ``outcomes``: ``loaded``, ``unlisted``, ``unreadable`` or ``bad-annotation``.

    Raises
    ------
    FileNotFoundError
        The folder is not there, or holds no EDF or BDF file.
    RecordingError
        A file or a table is damaged, and ``on_error="raise"``.
    ValueError
        No recording has labels, the subject of a file is not found or not certain, or two files
        have one name.
    """
    check_choice("unlisted", unlisted, ("exclude", "background"))
    check_choice("on_error", on_error, ("raise", "skip"))
    check_text("subject", subject, r"P_ID(\d+)")
    check_text("namespace", namespace, "clinic")
    root = Path(root).absolute()
    pattern = _pattern(subject)
    space = _space(namespace or root.name)
    files = _find(root)
    outcomes, parts = Outcomes("edf-folder"), list[RawDataset]()
    for path, name in files.items():
        relative = path.relative_to(root).as_posix()
        try:
            raw, short = open_edf(path, allow_truncated=True), read_edf_header(path).cut_short
            labelled = _annotate(raw, path)
        except RecordingError as error:
            outcomes.add_error(name, error, on_error)
            continue
        if not labelled and unlisted == "exclude":
            outcomes.add(
                name, "unlisted", f"{relative}: no event table and no sz, seizure or bckg annotation, labels unknown"
            )
            continue
        details = [f"cut short: {short}"] if short else []
        details += [] if labelled else ["no labels, taken as free of seizures"]
        parts.append(RawDataset(raw, _describe(path, root, name, pattern, space)))
        outcomes.add(name, "loaded", "; ".join(details))
    if not parts and outcomes.of("unlisted"):
        raise ValueError(
            f"{root}: none of {len(files)} recordings has labels (e.g. {next(iter(files)).stem}_events.tsv); "
            "unlisted='background' loads them as free of seizures"
        )
    dataset = make_dataset(parts, outcomes.frame())
    outcomes.warn({"unlisted": "have no labels: left out"})
    return dataset


def _pattern(subject: str | None) -> re.Pattern[str] | None:
    if subject is None:
        return None
    try:
        pattern = re.compile(subject)
    except re.error as error:
        raise ValueError(f"subject={subject!r} is not a regular expression: {error}") from error
    if pattern.groups < 1:
        raise ValueError(f"subject={subject!r}: put the subject in parentheses, e.g. 'P_ID(\\d+)'")
    return pattern


def _space(text: str) -> str:
    return re.sub(r"[\s/]+", "-", text) or "edf-folder"


def _find(root: Path) -> dict[Path, str]:
    """Return path -> recording name, sorted; names are unique."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    found = [
        path
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in _ENDINGS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    if not found:
        raise FileNotFoundError(f"{root}: holds no file ending in {' or '.join(_ENDINGS)}")
    names, owners = dict[Path, str](), dict[str, Path]()
    for path in found:
        relative = path.relative_to(root)
        is_bids = path.stem.endswith("_eeg") and path.stem.startswith("sub-")
        name = path.stem.removesuffix("_eeg") if is_bids else "__".join([*relative.parent.parts, path.stem])
        name = re.sub(r"[\\:]", "-", name)
        # Case matters not on every disk, and the name becomes a file's.
        if (other := owners.setdefault(name.lower(), path)) is not path:
            raise ValueError(f"{other} and {path} are both called {name!r}; rename one of them")
        names[path] = name
    return names


def _table(path: Path) -> Path | None:
    stems = {f"{path.stem}_events.tsv", f"{path.stem}.tsv", f"{path.stem.removesuffix('_eeg')}_events.tsv"}
    found = sorted(table for stem in stems if (table := path.with_name(stem)).is_file())
    if len(found) > 1:
        raise RecordingError(
            "bad-annotation", f"{path}: several event tables: {', '.join(p.name for p in found)}; keep one"
        )
    return found[0] if found else None


def _annotate(raw: mne.io.BaseRaw, path: Path) -> bool:
    """Set or check the annotations; return whether the labels are known."""
    table = _table(path)
    if table is not None:
        set_events(raw, table)
        return True
    texts = set(map(str, raw.annotations.description))
    background = {text: "bckg" for text in texts if text.strip().lower() == "bckg"}
    raw.annotations.rename({text: seizure_kind(text) or background.get(text, text) for text in texts})
    kinds = [str(text) for text in raw.annotations.description]
    seizures = [text for text in kinds if text.startswith(SEIZURE)]
    set_seizures(raw, seizures_of(raw), where=str(path), kinds=seizures)
    return bool(seizures) or "bckg" in kinds


def _subject(path: Path, root: Path) -> str:
    """Return the ``sub-`` of name or path, else the folder.

    Raise where it is not certain which folder.
    """
    relative = path.relative_to(root)
    if label := _entity("sub", path.name) or _entity("sub", relative.as_posix()):
        return label
    if len(relative.parts) > 2:
        raise ValueError(
            f"{path}: not certain which of the folders {', '.join(relative.parent.parts)} is the subject; say it by "
            f"subject=, e.g. subject='^([^/]+)/' for {relative.parts[0]!r} or subject='([^/]+)/[^/]+$' for {path.parent.name!r}"
        )
    return path.parent.name


def _describe(path: Path, root: Path, name: str, pattern: re.Pattern[str] | None, space: str) -> dict[str, str]:
    relative = path.relative_to(root).as_posix()
    if pattern is not None:
        match = pattern.search(relative)
        if match is None or not match[1]:
            raise ValueError(f"{path}: the subject is not found by subject={pattern.pattern!r} in {relative!r}")
        subject = match[1]
    else:
        subject = _subject(path, root)
    return {
        "subject": f"{space}/{_space(subject)}",
        "session": _entity("ses", relative),
        "run": _entity("run", path.stem),
        "recording": name,
        "path": str(path),
    }


def _entity(key: str, text: str) -> str:
    match = re.search(rf"(?:^|[_/]){key}-([A-Za-z0-9]+)", text)
    return match[1] if match else ""
