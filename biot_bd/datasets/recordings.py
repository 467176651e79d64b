"""What all loaders share: opening EDF lazily, seizures as annotations, outcomes, the finished data set."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mne
import pandas as pd
from braindecode.datasets import BaseConcatDataset, RawDataset

__all__ = [
    "OUTCOME_COLUMNS",
    "Outcomes",
    "RecordingError",
    "check_choice",
    "check_continuous",
    "check_text",
    "count_edf_records",
    "list_subjects",
    "make_dataset",
    "open_edf",
    "seizure_kind",
    "seizures_of",
    "set_seizures",
]

OUTCOME_COLUMNS = ["recording", "outcome", "detail"]
SEIZURE = "sz"
TIMEKEEPING_S = 0.01  # records may start off by this
_READERS = {".edf": mne.io.read_raw_edf, ".bdf": mne.io.read_raw_bdf}


class RecordingError(ValueError):
    """A recording cannot be used as its source describes it.

    Parameters
    ----------
    outcome : str
        The word for it in ``dataset.outcomes``, e.g. ``"unreadable"``.
    message : str
        Names the file, what was expected, what was found.
    """

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass
class Outcomes:
    """Collects what became of every recording that a source mentions.

    Parameters
    ----------
    source : str
        Name of the data set, for messages.
    """

    source: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, recording: str, outcome: str, detail: str = "") -> None:
        """Note one recording."""
        self.rows.append((recording, outcome, detail))

    def add_error(self, recording: str, error: RecordingError, on_error: str) -> None:
        """Note a failed recording, or raise the error again where ``on_error`` is ``"raise"``."""
        if on_error == "raise":
            raise error
        self.add(recording, error.outcome, str(error))

    def of(self, outcome: str) -> list[str]:
        """Return the recordings with that outcome."""
        return [name for name, found, _ in self.rows if found == outcome]

    def frame(self) -> pd.DataFrame:
        """Return the table ``recording``, ``outcome``, ``detail``."""
        return pd.DataFrame(self.rows, columns=OUTCOME_COLUMNS)

    def warn(self, outcome: str, what: str, stacklevel: int = 4) -> None:
        """Warn once, with the number and the first names, where an outcome occurred."""
        names = self.of(outcome)
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            warnings.warn(
                f"{self.source}: {len(names)} of {len(self.rows)} recordings {what}: {shown} (see dataset.outcomes)",
                stacklevel=stacklevel,
            )


def check_choice(option: str, value: Any, choices: Sequence[str]) -> None:
    """Raise a ValueError where an option is not one of its choices."""
    if value not in choices:
        raise ValueError(f"{option}={value!r}: expected one of {', '.join(map(repr, choices))}")


def check_text(option: str, value: Any, example: str) -> None:
    """Raise a ValueError where an option is neither None nor a text."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{option}={value!r}: expected a text, e.g. {option}={example!r}")


def list_subjects(subjects: Any) -> list[str | int] | None:
    """Return the option ``subjects`` as a list, None where all are meant.

    Parameters
    ----------
    subjects : iterable of str or int, str, int or None
        As the caller gave it.

    Returns
    -------
    list of str or int, or None

    Raises
    ------
    ValueError
        It is something else, or empty.
    """
    if subjects is None:
        return None
    single = isinstance(subjects, (str, int)) or not isinstance(subjects, Iterable) or isinstance(subjects, Mapping)
    found = [subjects] if single else list(subjects)
    if any(isinstance(subject, bool) or not isinstance(subject, (str, int)) for subject in found):
        raise ValueError(f"subjects={subjects!r}: expected texts or whole numbers, e.g. '01' or ['01', '02']")
    if not found:
        raise ValueError("subjects is empty; leave it out to take all")
    return found


def seizure_kind(text: str) -> str | None:
    """Return the description of a seizure so that it begins with ``sz``; None where the text is no seizure.

    ``sz...`` and ``seiz...`` are seizures in any case (``SZ``, ``Seizure``), except where the text says ``free``.

    Parameters
    ----------
    text : str
        An event type or annotation.

    Returns
    -------
    str or None
    """
    text = text.strip()
    low = text.lower()
    if low.startswith(SEIZURE):
        return SEIZURE + text[len(SEIZURE) :]
    return SEIZURE if low.startswith("seiz") and "free" not in low else None


def count_edf_records(path: str | Path) -> tuple[int, int]:
    """Count the data records of an EDF or BDF file.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    declared : int
        What the header says, -1 where the recorder never wrote it.
    present : int
        Whole records that the file's size holds.

    Raises
    ------
    RecordingError
        The header is not that of an EDF or BDF file.

    References
    ----------
    https://www.edfplus.info/specs/edf.html
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(256)
            n_signals = int(head[252:256])
            signals = file.read(256 * n_signals)
        samples = signals[216 * n_signals : 224 * n_signals]
        per_record = sum(int(samples[i : i + 8]) for i in range(0, 8 * n_signals, 8))
        sample_bytes = 3 if head[0] == 0xFF else 2
        return int(head[236:244]), (path.stat().st_size - int(head[184:192])) // (sample_bytes * per_record)
    except (ValueError, IndexError, ZeroDivisionError, OSError) as error:
        raise RecordingError(
            "unreadable", f"{path}: the header is not that of an EDF or BDF file ({type(error).__name__}: {error})"
        ) from error


def check_continuous(path: str | Path) -> None:
    """Refuse EDF+D and BDF+D files with gaps: MNE joins their records, so everything after a gap would shift.

    Parameters
    ----------
    path : str or Path
        Of an EDF or BDF file; only those whose header says that they are discontinuous are read further.

    Raises
    ------
    RecordingError
        ``unreadable``: a record does not begin where the one before it ends, or does not say when it begins.

    References
    ----------
    https://www.edfplus.info/specs/edfplus.html
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(256)
        kind = head[192:197].decode("latin1")
        if kind not in ("EDF+D", "BDF+D"):
            return
        advice = "export it as a continuous file, or one file for each stretch"
        try:
            onsets, record_s = _record_onsets(file, head)
        except (ValueError, IndexError) as error:
            raise RecordingError(
                "unreadable", f"{path}: is {kind}, and its records do not say when they begin ({error}); {advice}"
            ) from error
    for number, onset in enumerate(onsets):
        expected = onsets[0] + number * record_s
        if abs(onset - expected) > TIMEKEEPING_S:
            raise RecordingError(
                "unreadable",
                f"{path}: is {kind} with a gap: record {number + 1} begins at {onset:g} s, expected {expected:g} s; {advice}",
            )


def _record_onsets(file: Any, head: bytes) -> tuple[list[float], float]:
    """Return when each record begins, by the first annotation in it, and the length of a record in seconds."""
    n_signals, n_bytes = int(head[252:256]), 3 if head[0] == 0xFF else 2
    fields = file.read(256 * n_signals)
    labels = [fields[16 * i : 16 * (i + 1)].strip() for i in range(n_signals)]
    counts = fields[216 * n_signals : 224 * n_signals]
    sizes = [n_bytes * int(counts[8 * i : 8 * (i + 1)]) for i in range(n_signals)]
    index = next((i for i, label in enumerate(labels) if label in (b"EDF Annotations", b"BDF Annotations")), None)
    if index is None:
        raise ValueError("no signal of annotations")
    header, record, before = int(head[184:192]), sum(sizes), sum(sizes[:index])
    onsets = []
    for start in range(header, file.seek(0, 2) - record + 1, record):
        file.seek(start + before)
        onsets.append(float(file.read(sizes[index]).split(b"\x14", 1)[0]))
    return onsets, float(head[244:252])


def open_edf(path: str | Path, *, allow_truncated: bool = False) -> mne.io.BaseRaw:
    """Open an EDF or BDF file without reading its samples, and without MNE's warnings of repeated names.

    Parameters
    ----------
    path : str or Path
        The file; the ending may be in capitals.
    allow_truncated : bool, default=False
        Accept a file that holds fewer records than its header declares.

    Returns
    -------
    mne.io.BaseRaw
        Lazy, in volts.

    Raises
    ------
    RecordingError
        The file is not EDF or BDF, is damaged, empty, discontinuous (EDF+D with gaps), or shorter than its header says.
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise RecordingError("unreadable", f"{path}: expected a file ending in .edf or .bdf")
    declared, present = count_edf_records(path)
    if present == 0:
        raise RecordingError("unreadable", f"{path}: holds no samples (the header declares {declared} records)")
    if present < declared and not allow_truncated:
        raise RecordingError(
            "unreadable",
            f"{path}: incomplete: the header declares {declared} records, the file holds {present}; copy or download it again",
        )
    check_continuous(path)
    read = _READERS[path.suffix.lower()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # repeated labels (T8-P8) are expected
            try:
                return read(path, preload=False, verbose="ERROR")
            except UnicodeDecodeError:
                return read(path, preload=False, verbose="ERROR", encoding="latin1")
    except Exception as error:  # MNE fails in many ways on damaged files
        raise RecordingError("unreadable", f"{path}: MNE cannot read it ({type(error).__name__}: {error})") from error


def set_seizures(
    raw: mne.io.BaseRaw,
    seizures: Iterable[tuple[float, float]],
    *,
    where: str,
    kinds: Sequence[str] | None = None,
    slack_s: float = 0.0,
) -> None:
    """Make ``seizures`` the seizure annotations of ``raw``; other annotations stay.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Changed in place.
    seizures : iterable of (float, float)
        Onset and offset in seconds from the recording's start.
    where : str
        Names the recording and the source of the annotations, for messages.
    kinds : sequence of str, optional
        Description of each seizure, beginning with ``sz``; all ``"sz"`` by default.
    slack_s : float, default=0
        An offset may pass the end by less than this (annotations rounded to seconds); it is set to the end.

    Raises
    ------
    RecordingError
        ``bad-annotation``: a seizure has no length, or is not inside the recording.
    """
    seizures = list(seizures)
    kinds = [SEIZURE] * len(seizures) if kinds is None else list(kinds)
    duration_s = raw.n_times / raw.info["sfreq"]
    checked = [_check_seizure(onset, offset, duration_s, slack_s, where) for onset, offset in seizures]
    others = [not str(text).startswith(SEIZURE) for text in raw.annotations.description]
    added = mne.Annotations(
        [onset for onset, _ in checked],
        [offset - onset for onset, offset in checked],
        kinds,
        orig_time=raw.annotations.orig_time,
    )
    raw.set_annotations(raw.annotations[others] + added, verbose="ERROR")


def _check_seizure(onset: float, offset: float, duration_s: float, slack_s: float, where: str) -> tuple[float, float]:
    event = f"{where}: seizure from {onset:g} s to {offset:g} s"
    if not (math.isfinite(onset) and math.isfinite(offset)) or offset <= onset:
        raise RecordingError("bad-annotation", f"{event} does not end after it begins; correct the annotation")
    # A hundredth of a second is what SzCORE tables resolve.
    slack_s = max(slack_s, 0.011)
    if onset < 0 or onset >= duration_s or offset >= duration_s + slack_s:
        raise RecordingError(
            "bad-annotation",
            f"{event} is not inside the recording of {duration_s:g} s; the file is cut short or the annotation belongs to another file",
        )
    return onset, min(offset, duration_s)


def make_dataset(parts: list[RawDataset], outcomes: pd.DataFrame, *, generated: bool = False) -> BaseConcatDataset:
    """Join recordings into a data set with ``outcomes`` and ``generated``.

    Parameters
    ----------
    parts : list of RawDataset
        The recordings that could be loaded.
    outcomes : pandas.DataFrame
        ``recording``, ``outcome``, ``detail``, one row for every recording the source mentions.
    generated : bool, default=False
        Whether the signals were made by a program.

    Returns
    -------
    BaseConcatDataset

    Raises
    ------
    ValueError
        There is no recording at all, or two have one name.
    """
    if not parts:
        counts = ", ".join(f"{n} {what}" for what, n in outcomes["outcome"].value_counts().items())
        first = "" if outcomes.empty else f"; the first: {outcomes['recording'].iloc[0]}: {outcomes['detail'].iloc[0]}"
        raise ValueError(f"no recording could be loaded ({counts or 'the source mentions none'}){first}")
    names = pd.Series([part.description["recording"] for part in parts])
    if names.duplicated().any():
        raise ValueError(f"recordings share a name: {', '.join(sorted(names[names.duplicated()].unique()))}")
    dataset = BaseConcatDataset(parts)
    dataset.outcomes = outcomes.reset_index(drop=True)
    dataset.generated = generated
    return dataset


def seizures_of(raw: mne.io.BaseRaw) -> list[tuple[float, float]]:
    """Return (onset_s, offset_s) of the annotations that begin with ``sz``, from the recording's start."""
    start = raw.first_time if raw.annotations.orig_time is not None else 0.0
    return [
        (float(a["onset"]) - start, float(a["onset"]) - start + float(a["duration"]))
        for a in raw.annotations
        if a["description"].startswith(SEIZURE)
    ]
