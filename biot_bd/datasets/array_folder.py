"""A folder of arrays, ``.npy`` or ``.npz``, described by one JSON file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any, NotRequired, TypedDict

from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets.array_recordings import open_array
from biot_bd.datasets.layouts import recognised_by
from biot_bd.datasets.recordings import Outcomes, check_choice, check_text, list_subjects, make_dataset
from biot_bd.exceptions import RecordingError
from biot_bd.json_values import check_values, naming
from biot_bd.runs import read_json

ARRAYS_JSON = "arrays.json"
FORMAT = "biot_bd arrays"


class ArrayEntry(TypedDict):
    """What ``arrays.json`` says of a recording.

    Keys
    ----
    file : str
        Path of the array inside the folder.
    subject : str
        Whose recording it is.
    key : str, optional
        Name of the array in an ``.npz`` file.
    recording, session, run : str, optional
        Names; a recording is named by its file (and key) where it has none.
    sfreq, unit, ch_names : optional
        Where they are not those of the whole folder.
    annotations : list of [onset_s, duration_s, description], optional
        Seconds from the first sample; seizures begin with ``sz``.
    labels : list of str, optional
        Of windows, one each.
    """

    file: str
    subject: str
    key: NotRequired[str]
    recording: NotRequired[str]
    session: NotRequired[str]
    run: NotRequired[str]
    sfreq: NotRequired[float]
    unit: NotRequired[str]
    ch_names: NotRequired[list[str]]
    annotations: NotRequired[list[list[Any]]]
    labels: NotRequired[list[str]]


class ArraysFile(TypedDict):
    """What ``arrays.json`` holds.

    Keys
    ----
    format : str
        ``"biot_bd arrays"``.
    recordings : list of ArrayEntry
        The recordings.
    sfreq : float, optional
        Rate in Hz of all recordings that do not say another.
    unit : str, optional
        ``"uV"``, ``"mV"``, ``"V"`` or ``"nV"``.
    ch_names : list of str, optional
        Channels, in the order of the arrays' rows.
    namespace : str, optional
        Stands before the subjects; the folder's name where it is missing.
    generated : bool, optional
        Whether a program made the signals.
    """

    format: str
    recordings: list[ArrayEntry]
    sfreq: NotRequired[float]
    unit: NotRequired[str]
    ch_names: NotRequired[list[str]]
    namespace: NotRequired[str]
    generated: NotRequired[bool]


def _looks_like(folder: Path) -> str:
    return f"{ARRAYS_JSON}: arrays with their names and rate" if (folder / ARRAYS_JSON).is_file() else ""


@recognised_by(_looks_like)
def load_arrays(
    root: str | os.PathLike[str],
    *,
    subjects: Iterable[str] | str | None = None,
    namespace: str | None = None,
    on_error: str = "raise",
) -> BaseConcatDataset:
    r"""Load arrays in ``.npy`` and ``.npz`` files, which ``arrays.json`` in their folder describes.

    The file says what numbers alone do not: the rate, the unit, the channels, whose recording each
    array is, and what is annotated in it.  An array is a recording ``(n_chans, n_samples)``, or
    windows ``(n_windows, n_chans, n_times)`` that were cut before.

    Parameters
    ----------
    root : path-like
        The folder.
    subjects : iterable of str, optional
        Those to load, as the file names them or with the name space; all by default.
    namespace : str, optional
        Stands before the subjects; that of the file by default, else the folder's name.
    on_error : {"raise", "skip"}, default="raise"
        When an array is not there, damaged or of another shape; ``"skip"`` notes it in
        ``outcomes``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy (``.npy`` files are memory-mapped), in volts, with the annotations of the file.

    Raises
    ------
    FileNotFoundError
        There is no ``arrays.json``, or none of a subject's recordings.
    RecordingError
        An array cannot be used and ``on_error="raise"``.
    ValueError
        ``arrays.json`` lacks something or says something impossible; the message has the key.

    See Also
    --------
    open_array : One array, for loaders of other layouts.

    Examples
    --------
    >>> import json, tempfile
    >>> import numpy as np
    >>> from biot_bd.datasets import load_arrays
    >>> about = {"format": "biot_bd arrays", "sfreq": 200, "unit": "uV", "namespace": "clinic"}
    >>> about["ch_names"] = ["Fp1-F7", "F7-T7"]
    >>> one = {"file": "a.npy", "subject": "01", "annotations": [[2.0, 3.0, "sz"]]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(folder + "/a.npy", np.random.default_rng(0).normal(0, 20, (2, 2000)))
    ...     with open(folder + "/arrays.json", "w") as file:
    ...         json.dump({**about, "recordings": [one]}, file)
    ...     dataset = load_arrays(folder)
    >>> dataset.datasets[0].description[["subject", "recording"]].tolist()
    ['clinic/01', 'clinic_a']
    """
    check_choice("on_error", on_error, ("raise", "skip"))
    check_text("namespace", namespace, "clinic")
    root = Path(root)
    path = root / ARRAYS_JSON
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; it says rate, unit, channels and subjects of the arrays")
    found = read_json(path)
    with naming(path):
        check_values(found, ArraysFile)
        if found["format"] != FORMAT:
            raise ValueError(f"format is {found['format']!r}, expected {FORMAT!r}")
        if not found["recordings"]:
            raise ValueError("recordings is empty")
    space = namespace or found.get("namespace") or root.resolve().name
    entries = _chosen(path, found, list_subjects(subjects), space)
    outcomes, parts = Outcomes("arrays"), list[RawDataset]()
    for number, entry in entries:
        where = f"recordings[{number}]"
        name = entry.get("recording") or _name_of(space, entry)
        subject = f"{space}/{entry['subject']}"
        try:
            with naming(path):
                file, settings = _settings(root, found, entry, where)
            raw = open_array(file, **settings)
        except RecordingError as error:
            outcomes.add_error(name, error, on_error, subject=subject, path=root / entry["file"])
            continue
        about = {"session": entry.get("session", ""), "run": entry.get("run", ""), "path": str(file)}
        given = namespace or found.get("namespace")
        about |= {} if given else {"namespace_from": "folder"}
        parts.append(RawDataset(raw, {"subject": subject, "recording": name, **about}))
        outcomes.add(name, "loaded")
    dataset = make_dataset(parts, outcomes.frame(), generated=bool(found.get("generated", False)))
    outcomes.warn({"missing-file": "are not on the disk"})
    return dataset


def _chosen(
    path: Path, found: ArraysFile, subjects: list[str | int] | None, space: str
) -> list[tuple[int, ArrayEntry]]:
    every = list(enumerate(found["recordings"]))
    if subjects is None:
        return every
    wanted = {str(subject).removeprefix(f"{space}/") for subject in subjects}
    if absent := sorted(wanted - {entry["subject"] for _, entry in every}):
        raise FileNotFoundError(f"{path}: no recording of subject {', '.join(absent)}")
    return [(number, entry) for number, entry in every if entry["subject"] in wanted]


def _name_of(space: str, entry: ArrayEntry) -> str:
    file = PurePath(entry["file"] or "unnamed").with_suffix("")
    parts = [space, *file.parts, *([entry["key"]] if "key" in entry else [])]
    return "_".join(parts).replace(":", "_")


def _settings(root: Path, found: ArraysFile, entry: ArrayEntry, where: str) -> tuple[Path, dict[str, Any]]:
    """Return the file of an entry, and what :func:`open_array` takes beside it."""
    file = PurePath(entry["file"])
    if not file.parts or file.is_absolute() or ".." in file.parts:
        raise ValueError(f"{where}.file is {entry['file']!r}, expected a path inside the folder")
    if not entry["subject"] or "/" in entry["subject"]:
        raise ValueError(f"{where}.subject is {entry['subject']!r}, expected a name without /")
    settings: dict[str, Any] = {}
    for name in ("sfreq", "unit", "ch_names"):
        value: Any = entry.get(name, found.get(name))
        if value is None:
            raise ValueError(f"{name} is missing: give it for the whole folder, or in {where}")
        settings[name] = value
    for number, row in enumerate(entry.get("annotations", [])):
        at = f"{where}.annotations[{number}]"
        if len(row) != 3:
            raise ValueError(f"{at}: expected [onset_s, duration_s, description], found {row!r}")
        check_values(row[:2], list[float], at)
        check_values(row[2], str, f"{at}[2]")
    named = {name: entry[name] for name in ("key", "annotations", "labels") if name in entry}  # type: ignore[literal-required]
    return root / file, settings | named
