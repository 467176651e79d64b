"""Demo recordings, generated as EDF files and summaries in CHB-MIT's layout."""

from __future__ import annotations

import datetime
import os
import re
from pathlib import Path
from typing import Any

import edfio
import numpy as np
from braindecode.datasets import BaseConcatDataset
from filelock import FileLock

from biot_bd.datasets import demo_signals as signals
from biot_bd.datasets.chbmit import Layout, load_layout
from biot_bd.datasets.recordings import RecordingError, count_edf_records
from biot_bd.runs import atomic_path, read_json, write_json, write_text

__all__ = ["DEMO", "NOTICE", "generate_demo", "load_demo"]

DEMO = Layout("demo", "demo")
NOTICE = "generated data: signals made by biot_bd, not recordings of a person"
VERSION = 1  # raise it when the generator changes, so that old files are made again
STEP_UV = 0.1
LARGEST_UV = 32767 * STEP_UV


def load_demo(
    root: str | os.PathLike[str],
    *,
    persons: int = 6,
    recordings: int = 3,
    minutes: int = 6,
    seed: int = 0,
    subjects: list[str] | str | None = None,
    namespace: str = "demo",
) -> BaseConcatDataset:
    """Generate the demo recordings where they are not there yet, and load them.

    Parameters
    ----------
    root : path-like
        Folder for ``demo01/demo01_01.edf``, ``demo01/demo01-summary.txt``, ..., ``demo.json``.
    persons, recordings : int, default=6, 3
        Number of persons, and of recordings of each.
    minutes : int, default=6
        Length of each recording.
    seed : int, default=0
        The same seed gives the same files, byte for byte.
    subjects : list of str, optional
        Load these only (``"demo01"``, ``"demo/01"``); all by default.
    namespace : str, default="demo"
        First part of the persons' names.  Give those of another seed another one: they are other persons, and a model
        that learnt from the ones may be tested on the others.

    Returns
    -------
    BaseConcatDataset of RawDataset
        As :func:`biot_bd.datasets.chbmit.load_chbmit` returns it, with ``generated`` True and persons ``demo/01``, ...

    Raises
    ------
    ValueError
        A number is too small, or ``namespace`` is none (letters, digits, ``-``, ``_``, ``.``).
    FileExistsError
        The folder holds ``demoNN`` folders that this function did not make.
    """
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*", namespace) is None:
        raise ValueError(f"namespace={namespace!r}: expected letters, digits, - _ or . , e.g. 'demo-b'")
    generate_demo(root, persons=persons, recordings=recordings, minutes=minutes, seed=seed)
    layout = Layout(namespace, DEMO.prefix)
    return load_layout(
        root, layout, subjects=subjects, unlisted="exclude", on_missing="raise", on_error="raise", generated=True
    )


def generate_demo(
    root: str | os.PathLike[str], *, persons: int = 6, recordings: int = 3, minutes: int = 6, seed: int = 0
) -> Path:
    """Write the demo recordings; only what is missing, all anew when a parameter differs.

    Parameters
    ----------
    root, persons, recordings, minutes, seed
        As in :func:`load_demo`.

    Returns
    -------
    Path
        The folder.
    """
    _check_numbers(persons, recordings, minutes, seed)
    root = Path(root)
    parameters: dict[str, Any] = {
        "notice": NOTICE,
        "version": VERSION,
        "persons": persons,
        "recordings": recordings,
        "minutes": minutes,
        "seed": seed,
    }
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".demo.lock"):
        _make_room(root, parameters)
        for number in range(1, persons + 1):
            _write_person(root, number, recordings, minutes * 60, seed)
    return root


def _check_numbers(persons: int, recordings: int, minutes: int, seed: int) -> None:
    numbers = {"persons": (persons, 1, 99), "recordings": (recordings, 1, 99), "minutes": (minutes, 1, 240)}
    for name, (value, low, high) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{name}={value!r}: expected a whole number from {low} to {high}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed={seed!r}: expected a whole number, 0 or more")


def _make_room(root: Path, parameters: dict[str, Any]) -> None:
    """Remove files of other parameters; refuse to touch a folder that is not ours."""
    note = root / "demo.json"
    if note.is_file():
        if read_json(note) == parameters:
            return
        # Files go before the note: after a crash the old note still says what may lie here.
        for path in sorted(root.glob("demo[0-9][0-9]/demo[0-9][0-9]*")):
            if path.name.endswith((".edf", "-summary.txt")):
                path.unlink()
        for folder in root.glob("demo[0-9][0-9]"):
            if not any(folder.iterdir()):
                folder.rmdir()
    elif found := sorted(root.glob("demo[0-9][0-9]")):
        raise FileExistsError(f"{found[0]} is there, but no {note}: not made by this program; choose another folder")
    write_json(note, parameters)


def _write_person(root: Path, number: int, recordings: int, duration_s: int, seed: int) -> None:
    case = f"{DEMO.prefix}{number:02d}"
    rng = np.random.default_rng([seed, number])
    person = signals.draw_person(rng)
    plan = signals.plan_seizures(rng, recordings, duration_s)
    for index, seizures in enumerate(plan, start=1):
        path = root / case / f"{case}_{index:02d}.edf"
        if not _is_complete(path, duration_s):
            # Own source of chance for each file, so that one that is missing can be made alone.
            own = np.random.default_rng([seed, number, index])
            x_uv = signals.generate_recording(own, person, duration_s, seizures)
            _write_edf(path, x_uv, start_s=8 * 3600 + (index - 1) * duration_s)
    write_text(root / case / f"{case}-summary.txt", _summary(case, plan, duration_s))


def _is_complete(path: Path, duration_s: int) -> bool:
    try:
        return path.is_file() and count_edf_records(path) == (duration_s, duration_s)
    except RecordingError:
        return False


def _write_edf(path: Path, x_uv: np.ndarray, start_s: int) -> None:
    digital = np.rint(x_uv / STEP_UV)
    if not np.isfinite(digital).all() or np.abs(digital).max() > 32767:
        raise RuntimeError(f"{path}: generated samples reach {np.abs(x_uv).max():g} uV, more than {LARGEST_UV:g} uV")
    edf = edfio.Edf(
        [
            edfio.EdfSignal.from_digital(
                row.astype(np.int16),
                signals.SFREQ,
                label=name,
                transducer_type="generated",
                physical_dimension="uV",
                physical_range=(-LARGEST_UV, LARGEST_UV),
                digital_range=(-32767, 32767),
            )
            for name, row in zip(signals.CH_NAMES, digital, strict=True)
        ],
        patient=edfio.Patient(code="generated", additional=("biot_bd",)),
        recording=edfio.Recording(
            startdate=datetime.date(2000, 1, 1), hospital_administration_code="generated", additional=("biot_bd",)
        ),
        starttime=datetime.time(start_s // 3600 % 24, start_s // 60 % 60, start_s % 60),
        data_record_duration=1,
    )
    with atomic_path(path) as temporary:
        edf.write(temporary)


def _summary(case: str, plan: list[list[tuple[int, int]]], duration_s: int) -> str:
    lines = [f"Data Sampling Rate: {signals.SFREQ} Hz", "*" * 25, "", "Channels in EDF Files:", "*" * 22]
    lines += [f"Channel {i}: {name}" for i, name in enumerate(signals.CH_NAMES, start=1)]
    start_s = 8 * 3600
    for index, seizures in enumerate(plan, start=1):
        lines += [
            "",
            f"File Name: {case}_{index:02d}.edf",
            f"File Start Time: {_clock(start_s)}",
            f"File End Time: {_clock(start_s + duration_s)}",
            f"Number of Seizures in File: {len(seizures)}",
        ]
        for onset, offset in seizures:
            lines += [f"Seizure Start Time: {onset} seconds", f"Seizure End Time: {offset} seconds"]
        start_s += duration_s
    return "\n".join(lines) + "\n"


def _clock(seconds: int) -> str:
    seconds %= 86400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
