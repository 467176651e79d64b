"""What all loaders share: seizures as annotations, outcomes, the finished data set."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any

import mne
import pandas as pd

from biot_bd.events.szcore import COLUMNS, events_of
from biot_bd.events.tables import read_table
from biot_bd.events.texts import SEIZURE
from biot_bd.exceptions import EmptyDatasetError, RecordingError
from biot_bd.io.segments import TimeLine, annotations_of, set_annotations
from biot_bd.io.timeline import tells_of_time, timeline_of

if TYPE_CHECKING:
    from braindecode.datasets import BaseConcatDataset, RawDataset

OUTCOME_COLUMNS = ["recording", "outcome", "detail"]
LEFT_OUT = {
    "unreadable": "cannot be read: left out",
    "bad-annotation": "have impossible annotations: left out",
}
"""What is said of recordings that a loader left out, whatever the data set."""


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
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(
        self,
        recording: str,
        outcome: str,
        detail: str = "",
        *,
        subject: str | None = None,
        path: str | os.PathLike[str] | None = None,
        seizures: Iterable[tuple[float, float]] = (),
    ) -> None:
        """Note one recording; of one that is left out also what the source says of it."""
        self.rows.append((recording, outcome, detail))
        if outcome != "loaded":
            where = None if path is None else os.fspath(path)
            self.known[recording] = {"subject": subject, "path": where, "seizures": [list(s) for s in seizures]}

    def add_error(
        self,
        recording: str,
        error: RecordingError,
        on_error: str,
        *,
        subject: str | None = None,
        path: str | os.PathLike[str] | None = None,
        seizures: Iterable[tuple[float, float]] = (),
    ) -> None:
        """Note a failed recording, or raise the error again where ``on_error`` is ``"raise"``.

        What is not on the disk is not damaged: it is noted, and the others are loaded.
        """
        if on_error == "raise" and error.outcome != "missing-file":
            raise error
        self.add(recording, error.outcome, str(error), subject=subject, path=path, seizures=seizures)

    def of(self, outcome: str) -> list[str]:
        """Return the recordings with that outcome."""
        return [name for name, found, _ in self.rows if found == outcome]

    def frame(self) -> pd.DataFrame:
        """Return the table ``recording``, ``outcome``, ``detail``.

        Its ``attrs["left_out"]`` has what is known of each recording that is not loaded:
        ``{"subject", "path", "seizures"}``.
        """
        frame = pd.DataFrame(self.rows, columns=OUTCOME_COLUMNS)
        frame.attrs["left_out"] = self.known
        return frame

    def warn(self, said: Mapping[str, str]) -> None:
        """Warn of each outcome that occurred, with the number and the first names.

        Parameters
        ----------
        said : mapping of str to str
            Outcome -> what to say of such recordings, beside those of :data:`LEFT_OUT`.
        """
        for outcome, what in {**said, **LEFT_OUT}.items():
            if names := self.of(outcome):
                shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                warnings.warn(
                    f"{self.source}: {len(names)} of {len(self.rows)} recordings {what}: {shown} (see dataset.outcomes)",
                    stacklevel=4,
                )


def entity(key: str, text: str) -> str:
    """Return what BIDS calls an entity of a name or path, ``""`` where it has none.

    Examples
    --------
    >>> entity("run", "sub-01_ses-02_run-03_eeg.edf"), entity("acq", "sub-01_eeg.edf")
    ('03', '')
    """
    match = re.search(rf"(?:^|[_/]){key}-([A-Za-z0-9]+)", text)
    return match[1] if match else ""


def check_choice(option: str, value: Any, choices: Sequence[str]) -> None:
    """Raise a ValueError where an option is not one of its choices."""
    if value not in choices:
        raise ValueError(f"{option}={value!r}: expected one of {', '.join(map(repr, choices))}")


def check_text(option: str, value: Any, example: str) -> None:
    """Raise a ValueError where an option is neither None nor a text."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{option}={value!r}: expected a text, e.g. {option}={example!r}")


def list_words(option: str, value: Any) -> list[str]:
    """Return an option of words as a list; a ValueError where it is none, or one is empty."""
    words = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(words, Iterable) or isinstance(words, Mapping):
        raise ValueError(f"{option}={value!r}: expected texts, e.g. {option}=['Anfall']")
    found = list(words)
    if any(not isinstance(word, str) or not word.strip() for word in found):
        raise ValueError(f"{option}={value!r}: expected texts that are not empty, e.g. {option}=['Anfall']")
    return found


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
    single = (
        isinstance(subjects, (str, Integral)) or not isinstance(subjects, Iterable) or isinstance(subjects, Mapping)
    )
    found = [subjects] if single else list(subjects)
    if any(isinstance(subject, bool) or not isinstance(subject, (str, Integral)) for subject in found):
        raise ValueError(f"subjects={subjects!r}: expected texts or whole numbers, e.g. '01' or ['01', '02']")
    if not found:
        raise ValueError("subjects is empty; leave it out to take all")
    return found


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
        Onset and offset in seconds since the recording's start, pauses included.
    where : str
        Names the recording and the source of the annotations, for messages.
    kinds : sequence of str, optional
        Description of each seizure, beginning with ``sz``; all ``"sz"`` by default.
    slack_s : float, default=0
        An offset may pass the end by less than this (annotations rounded to seconds); it is set to
        the end.

    Raises
    ------
    RecordingError
        ``bad-annotation``: a seizure has no length, or is not inside the recording.
    """
    line = timeline_of(raw, samples=False)
    checked = [_check_seizure(onset, offset, line.duration_s, slack_s, where) for onset, offset in seizures]
    kinds = [SEIZURE] * len(checked) if kinds is None else list(kinds)
    rows = [row for row in annotations_of(raw) if not row[2].startswith(SEIZURE)]
    set_annotations(raw, rows + recorded(line, [(*times, kind) for times, kind in zip(checked, kinds, strict=True)]))


def recorded(line: TimeLine, rows: Iterable[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Turn (onset_s, offset_s, text) into (onset, duration, text), pauses left out."""
    found = []
    for onset_s, offset_s, text in rows:
        if line.is_continuous:
            found.append((onset_s, offset_s - onset_s, text))
        else:
            onset, offset = line.position_of([onset_s, offset_s]) / line.sfreq
            found.append((float(onset), float(offset - onset), text))
    return found


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


def set_types(raw: mne.io.BaseRaw, types: Mapping[str, str]) -> None:
    """Give channels that are no EEG their type; all others keep theirs.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Changed in place; values stay as they are.
    types : mapping of str to str
        How names begin, in capitals and before digits (``"ECG"`` of ``ECG2``) -> type of MNE.
    """
    found = {name: types.get(re.match(r"[A-Z]*", name.upper())[0]) for name in raw.ch_names}  # type: ignore[index]
    known = {name: kind for name, kind in found.items() if kind is not None}
    raw.set_channel_types(known, on_unit_change="ignore", verbose="ERROR")


def set_events(raw: mne.io.BaseRaw, path: str | os.PathLike[str]) -> list[str]:
    """Replace the annotations of ``raw`` by an event table, the type as description.

    Marks of pauses and splices stay.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Changed in place.
    path : path-like
        The table.

    Returns
    -------
    list of str
        Notes: that the table is only a header.

    Raises
    ------
    RecordingError
        The table is not understood, or a seizure is not inside the recording.
    """
    table = read_table(path, COLUMNS)
    events = events_of(table)
    others = [e for e in events if not e.kind.startswith(SEIZURE)]
    rows = [(e.onset_s, e.onset_s + max(0.0, e.duration_s), e.kind) for e in others]
    marks = [row for row in annotations_of(raw) if tells_of_time(row[2])]
    set_annotations(raw, marks + recorded(timeline_of(raw, samples=False), rows))
    seizures = [e for e in events if e.kind.startswith(SEIZURE)]
    spans = [(e.onset_s, e.onset_s + e.duration_s) for e in seizures]
    set_seizures(raw, spans, where=str(path), kinds=[e.kind for e in seizures])
    return [f"{table.path.name} is only a header, taken as free of seizures"] if table.is_header_only else []


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
    EmptyDatasetError
        There is no recording at all.
    ValueError
        Two have one name.

    See Also
    --------
    biot_bd.testing.check_dataset : Whether a loader keeps to what this package needs.

    Examples
    --------
    >>> import pandas as pd
    >>> from biot_bd.datasets import make_dataset
    >>> import mne, numpy as np
    >>> from braindecode.datasets import BaseConcatDataset, RawDataset
    >>> info = mne.create_info(["Cz"], 2.0, "eeg")
    >>> raw = mne.io.RawArray(np.zeros((1, 7200)), info, verbose="error")
    >>> _ = raw.set_annotations(mne.Annotations([60], [30], ["sz"]))
    >>> rows = [("a", "loaded", ""), ("b", "unreadable", "cut short")]
    >>> outcomes = pd.DataFrame(rows, columns=["recording", "outcome", "detail"])
    >>> part = RawDataset(raw, {"subject": "clinic/01", "recording": "a"})
    >>> dataset = make_dataset([part], outcomes)
    >>> len(dataset.datasets), dataset.outcomes["outcome"].tolist(), dataset.generated
    (1, ['loaded', 'unreadable'], False)
    """
    # Importing braindecode takes seconds; reading and checking recordings does without.
    from braindecode.datasets import BaseConcatDataset

    if not parts:
        counts = ", ".join(f"{n} {what}" for what, n in outcomes["outcome"].value_counts().items())
        first = "" if outcomes.empty else f"; the first: {outcomes['recording'].iloc[0]}: {outcomes['detail'].iloc[0]}"
        raise EmptyDatasetError(
            f"no recording could be loaded ({counts or 'the source mentions none'}){first}", outcomes
        )
    names = pd.Series([part.description["recording"] for part in parts])
    if names.duplicated().any():
        raise ValueError(f"recordings share a name: {', '.join(sorted(names[names.duplicated()].unique()))}")
    dataset = BaseConcatDataset(parts)
    dataset.outcomes = outcomes.reset_index(drop=True)
    dataset.generated = generated
    return dataset


def seizures_of(raw: mne.io.BaseRaw, line: TimeLine | None = None) -> list[tuple[float, float]]:
    """Return (onset_s, offset_s) of annotations ``sz...`` since the start, pauses included.

    ``line`` is its time line, where it is known already.
    """
    found = [(onset, onset + duration) for onset, duration, text in annotations_of(raw) if text.startswith(SEIZURE)]
    return (line or timeline_of(raw, samples=False)).clock_times(found)
