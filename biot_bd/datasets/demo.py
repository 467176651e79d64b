"""Demo recordings, generated as EDF files and summaries in CHB-MIT's layout."""

from __future__ import annotations

import datetime
import os
import re
from contextlib import nullcontext, suppress
from numbers import Integral
from pathlib import Path

import edfio
import numpy as np
from braindecode.datasets import BaseConcatDataset
from filelock import FileLock

from biot_bd.datasets import demo_signals as signals
from biot_bd.datasets.chbmit import Layout, load_layout
from biot_bd.datasets.layouts import recognised_by
from biot_bd.datasets.recordings import check_text
from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_header import read_edf_header
from biot_bd.json_values import check_values, naming
from biot_bd.runs import atomic_path, make_folder, read_json, write_json, write_text

DEMO = Layout("demo", "demo")
NOTICE = "generated data: signals made by biot_bd, not recordings of a human being"
VERSION = 1  # raise it when the generator changes, so that old files are not mixed with new ones
DEFAULTS = {"n_subjects": 6, "recordings": 3, "minutes": 6, "seed": 0}
BIPOLAR, REFERENTIAL = REFERENCES = ("bipolar", "referential")
CHANNELS = {BIPOLAR: signals.CH_NAMES, REFERENTIAL: signals.ELECTRODES}
STEP_UV = 0.1
LARGEST_UV = 32767 * STEP_UV


def holds_demo(folder: Path) -> str:
    """Say by what demo recordings are told that lie in a folder; ``""`` where none do.

    Parameters
    ----------
    folder : Path
        The folder.

    See Also
    --------
    load_demo : Makes them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.datasets.demo import holds_demo
    >>> holds_demo(Path("nowhere"))
    ''
    """
    there = (folder / "demo.json").is_file() and any(folder.glob(f"{DEMO.prefix}[0-9][0-9]"))
    return "demo.json: made by `biot-bd demo`, not recorded" if there else ""


@recognised_by(holds_demo)
def load_demo(
    root: str | os.PathLike[str],
    *,
    n_subjects: int | None = None,
    recordings: int | None = None,
    minutes: int | None = None,
    seed: int | None = None,
    reference: str | None = None,
    subjects: list[str] | str | None = None,
    namespace: str = "demo",
) -> BaseConcatDataset:
    """Generate the demo recordings where they are not there yet, and load them.

    Parameters
    ----------
    root : path-like
        Folder for ``demo01/demo01_01.edf``, ``demo01/demo01-summary.txt``, ..., ``demo.json``.
    n_subjects, recordings : int, optional
        Number of subjects, and of recordings of each; those of the recordings that are there, else
        6 and 3.
    minutes : int, optional
        Length of each recording; that of those that are there, else 6.
    seed : int, optional
        The same seed gives the same files, byte for byte; that of the recordings that are there,
        else 0.
    reference : {"bipolar", "referential"}, optional
        CHB-MIT's bipolar channels, or 21 electrodes against one reference; that of the recordings
        that are there, else bipolar.
    subjects : list of str, optional
        Load these only (``"demo01"``, ``"demo/01"``); all by default.
    namespace : str, default="demo"
        First part of the subjects' names.  Give those of another seed another one: they are other
        subjects, and a model that learnt from the ones may be tested on the others.

    Returns
    -------
    BaseConcatDataset of RawDataset
        As :func:`biot_bd.datasets.chbmit.load_chbmit` returns it, with ``generated`` True and
        subjects ``demo/01``, ...

    Raises
    ------
    ValueError
        A number is too small, the folder holds recordings of other parameters than those given, or
        ``namespace`` is none (letters, digits, ``-``, ``_``, ``.``).
    FileExistsError
        The folder holds ``demoNN`` folders that this function did not make.
    """
    check_text("namespace", namespace, "demo-b")
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*", namespace) is None:
        raise ValueError(f"namespace={namespace!r}: expected letters, digits, - _ or . , e.g. 'demo-b'")
    generate_demo(root, n_subjects=n_subjects, recordings=recordings, minutes=minutes, seed=seed, reference=reference)
    layout = Layout(namespace, DEMO.prefix)
    return load_layout(
        root, layout, subjects=subjects, unlisted="exclude", on_missing="raise", on_error="raise", generated=True
    )


def generate_demo(
    root: str | os.PathLike[str],
    *,
    n_subjects: int | None = None,
    recordings: int | None = None,
    minutes: int | None = None,
    seed: int | None = None,
    reference: str | None = None,
) -> Path:
    """Write the demo recordings; only what is missing.  Nothing that is there is deleted.

    Parameters
    ----------
    root, n_subjects, recordings, minutes, seed, reference
        As in :func:`load_demo`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError, FileExistsError
        As :func:`load_demo`.
    """
    asked = {"n_subjects": n_subjects, "recordings": recordings, "minutes": minutes, "seed": seed}
    given = {name: value for name, value in asked.items() if value is not None}
    _check_numbers(**{**DEFAULTS, **given})
    given = {name: int(value) for name, value in given.items()}  # a narrow number of numpy overflows
    if reference not in (None, *REFERENCES):
        raise ValueError(f"reference={reference!r}: expected {' or '.join(map(repr, REFERENCES))}")
    root = Path(root)
    make_folder(root)
    # Where nothing may be written, nobody else writes either; what is there may still be read.
    with FileLock(root / ".demo.lock") if os.access(root, os.W_OK) else nullcontext():
        made, kept = _settle(root, given, reference)
        for number in range(1, made["n_subjects"] + 1):
            _write_subject(root, number, made["recordings"], made["minutes"] * 60, made["seed"], kept)
    return root


def _check_numbers(n_subjects: int, recordings: int, minutes: int, seed: int) -> None:
    numbers = {"n_subjects": (n_subjects, 1, 99), "recordings": (recordings, 1, 99), "minutes": (minutes, 1, 240)}
    for name, (value, low, high) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or not low <= value <= high:
            raise ValueError(f"{name}={value!r}: expected a whole number from {low} to {high}")
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed={seed!r}: expected a whole number, 0 or more")


def _settle(root: Path, given: dict[str, int], reference: str | None) -> tuple[dict[str, int], str]:
    """Return the numbers and the reference: those of the recordings that are there, else those
    given.

    Raise where they differ.
    """
    note = root / "demo.json"
    if not note.is_file():
        if found := sorted(root.glob("demo[0-9][0-9]")):
            raise FileExistsError(
                f"{found[0]} is there, but no {note}: not made by this program; choose another folder"
            )
        wanted, reference = {**DEFAULTS, **given}, reference or BIPOLAR
        told = {} if reference == BIPOLAR else {"reference": reference}  # bipolar notes are as they always were
        write_json(note, {"notice": NOTICE, "version": VERSION, **wanted, **told})
        return wanted, reference
    old = read_json(note)
    if isinstance(old, dict) and "persons" in old:  # the word of commit fb8defb
        old["n_subjects"] = old.pop("persons")
    if not isinstance(old, dict) or not {"version", *DEFAULTS} <= set(old):
        raise ValueError(f"{note}: expected {', '.join(['version', *DEFAULTS])}, found {old!r}; choose another folder")
    old.setdefault("reference", BIPOLAR)
    asked = {"version": VERSION, **given, **({} if reference is None else {"reference": reference})}
    differing = [
        f"{name} is {old[name]!r} there and {value!r} here" for name, value in asked.items() if old[name] != value
    ]
    if differing:
        raise ValueError(
            f"{root} holds demo recordings of other parameters: {'; '.join(differing)}; choose another folder, or delete that one"
        )
    wanted = {name: old[name] for name in DEFAULTS}
    with naming(note):
        check_values(wanted, dict[str, int])
        _check_numbers(**wanted)
        if old["reference"] not in REFERENCES:
            raise ValueError(f"reference is {old['reference']!r}, expected {' or '.join(map(repr, REFERENCES))}")
    return wanted, old["reference"]


def _write_subject(root: Path, number: int, recordings: int, duration_s: int, seed: int, reference: str) -> None:
    case = f"{DEMO.prefix}{number:02d}"
    rng = np.random.default_rng([seed, number])
    subject = signals.draw_subject(rng)
    plan = signals.plan_seizures(rng, recordings, duration_s)
    for index, seizures in enumerate(plan, start=1):
        path, complete = root / case / f"{case}_{index:02d}.edf", False
        with suppress(RecordingError):
            header = read_edf_header(path)
            complete = header.declared == header.present == duration_s
        if not complete:
            # Own source of chance for each file, so that one that is missing can be made alone.
            own = np.random.default_rng([seed, number, index])
            generate = signals.generate_recording if reference == BIPOLAR else signals.generate_electrodes
            x_uv = generate(own, subject, duration_s, seizures)
            _write_edf(path, x_uv, CHANNELS[reference], start_s=8 * 3600 + (index - 1) * duration_s)
    note, summary = root / case / f"{case}-summary.txt", _summary(case, plan, duration_s, CHANNELS[reference])
    if not note.is_file() or note.read_text(encoding="utf-8", errors="replace") != summary:
        write_text(note, summary)


def _write_edf(path: Path, x_uv: np.ndarray, ch_names: tuple[str, ...], start_s: int) -> None:
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
            for name, row in zip(ch_names, digital, strict=True)
        ],
        patient=edfio.Patient(code="generated", additional=("biot_bd",)),
        recording=edfio.Recording(
            startdate=datetime.date(2000, 1, 1), hospital_administration_code="generated", additional=("biot_bd",)
        ),
        starttime=_clock(start_s),
        data_record_duration=1,
    )
    with atomic_path(path) as temporary:
        edf.write(temporary)


def _summary(
    case: str, plan: list[list[tuple[int, int]]], duration_s: int, ch_names: tuple[str, ...] = signals.CH_NAMES
) -> str:
    lines = [f"Data Sampling Rate: {signals.SFREQ} Hz", "*" * 25, "", "Channels in EDF Files:", "*" * 22]
    lines += [f"Channel {i}: {name}" for i, name in enumerate(ch_names, start=1)]
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


def _clock(seconds: int) -> datetime.time:
    return (datetime.datetime.min + datetime.timedelta(seconds=seconds)).time()
