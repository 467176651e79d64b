"""What a run folder holds: the facts of its JSON files as types, and the one place that writes
and reads them.

``run.json`` is :class:`RunFacts`, ``metrics.json`` :class:`RunMetrics`, ``folds/NN/fold.json``
:class:`FoldFacts`; files of a study and of intervals are written and read here too.  Each says the
version of its format; the version table is :mod:`biot_bd.evaluation.run_versions`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypeAlias, TypedDict

import pandas as pd

from biot_bd.bounded_files import read_table
from biot_bd.evaluation.run_versions import COLUMNS, READERS, VERSION
from biot_bd.exceptions import RunFolderError
from biot_bd.json_values import DAMAGE, check_present, naming
from biot_bd.runs import atomic_path, read_json, write_json

RUN, METRICS, FOLD, PREDICTIONS = "run.json", "metrics.json", "fold.json", "predictions.parquet"
INTERVALS, FORMER_INTERVALS = "intervals.json", "certainty.json"
PREDICTION_COLUMNS = {
    "fold": "int64",
    "part": "string",
    "window": "int64",
    "recording": "string",
    "subject": "string",
    "start_s": "float64",
    "stop_s": "float64",
    "y_true": "int64",
    "proba": "float64",
    "threshold": "float64",
}
"""Columns of the table of predictions, and their types, which do not depend on their content."""

Cells: TypeAlias = dict[str, Any]
"""Facts whose names are data: a metric's name -> its :class:`ScoreFacts`, beside counts.

A parameter's name -> its value.
"""


class ScoreFacts(TypedDict):
    """A score, or the reason why there is none."""

    value: float | None
    reason: str | None


class MacroFacts(ScoreFacts):
    """A mean over the subjects for whom a score is defined."""

    n_subjects: int


class DataFacts(TypedDict):
    """The ``data`` entry of ``run.json``: what was scored."""

    kind: str
    fingerprint: str
    folder: str | None
    label_rule: str | None
    generated: bool
    n_windows: int
    n_seizure_windows: int | None
    prevalence: float | None
    hours: float | None
    ch_names: list[str] | None
    sfreq: float | None
    subjects: dict[str, dict[str, int]]
    tables: NotRequired[list[str]]
    """Fingerprints of the tables that prepared windows were read from; absent in older runs."""
    classes: NotRequired[list[str]]
    """Names by label, where they are not background and seizure, or there are soft targets."""
    anonymous: NotRequired[bool]
    """True where the windows have numbers for names; what is written of them has no dates."""
    soft_targets: NotRequired[bool]
    n_windows_by_class: NotRequired[list[int]]


class SplitFacts(TypedDict):
    """A fold by subject, as splits are stored."""

    fold: int
    train: list[str]
    valid: list[str]
    test: list[str]
    seed: int
    dropped_recordings: list[str]
    notes: list[str]


class ThresholdFacts(ScoreFacts):
    """A threshold, the rule it was chosen by, and why 0.5 where the rule could not choose."""

    rule: str


class RecordingEvents(TypedDict):
    """A test recording: its annotated seizures and its detected events ``[onset_s, offset_s,
    confidence]``.
    """

    subject: str
    duration_s: float
    covered_s: float
    reference: list[list[float]]
    events: list[list[float | None]]


class FoldEvents(TypedDict):
    """The ``events`` entry of ``fold.json``."""

    detector: Cells
    causal: Cells
    recordings: dict[str, RecordingEvents]
    without_windows: list[str]
    curve: list[dict[str, float]]


class FoldScores(TypedDict):
    """Scores of a fold's test subjects, together and each alone."""

    pooled: Cells
    subjects: dict[str, Cells]


class FoldFacts(SplitFacts):
    """The content of ``fold.json``."""

    fingerprint: str
    threshold: ThresholdFacts
    n_windows: dict[str, int]
    contamination: str | None
    estimator: str
    n_epochs: NotRequired[int]
    precision: NotRequired[Cells]
    search: NotRequired[Cells]
    probe: NotRequired[Cells]
    model: NotRequired[str | None]
    model_reason: NotRequired[str | None]
    scores: FoldScores
    events: FoldEvents | None
    wall_s: float


class Parameters(TypedDict):
    """The ``parameters`` entry of ``run.json``: how a study was made."""

    cv: Any
    scoring: list[str]
    threshold: str | float
    validation_fraction: float
    random_state: int
    event_detector: Cells


class StoredFacts(TypedDict):
    """What a study that goes on asks of ``run.json`` or ``study.json``."""

    kind: str
    state: str
    fingerprint: str
    started: str
    identity: Cells


class RunFacts(TypedDict):
    """The content of ``run.json``."""

    kind: str
    state: str
    title: str | None
    notes: list[str]
    not_a_result: str | None
    fingerprint: str
    started: str
    finished: NotRequired[str]
    parameters: Parameters
    seed: int
    data: DataFacts
    splits: list[SplitFacts]
    pipeline: str
    identity: Cells
    environment: Cells
    protocol: Cells
    splits_from: str | None
    allow_contaminated: bool
    checkpoints: list[Cells]
    contamination: str | None
    contaminated_subjects: list[str]
    search: NotRequired[Cells]
    """Of a search: its engine, and what it chose in each fold."""


class EventAverages(TypedDict):
    """Event scores averaged over subjects; those of samples beside them."""

    events: dict[str, MacroFacts]


class EventBaseline(TypedDict):
    """What a detector that knows nothing would get."""

    macro: EventAverages


class EventMetrics(TypedDict):
    """The ``events`` entry of ``metrics.json``, for checks of what was read."""

    scorer: Cells
    subjects: dict[str, Cells]
    macro: EventAverages
    pooled: Cells
    by_length: list[Cells]
    seizures: list[Cells]
    recordings: list[Cells]
    baselines: dict[str, EventBaseline]
    coverage: float
    without_windows: list[str]
    detections: list[Cells]
    operating_points: list[Cells]
    curve: list[dict[str, float | None]]


class RunMetrics(TypedDict):
    """The content of ``metrics.json``."""

    scoring: list[str]
    folds: list[Cells]
    subjects: dict[str, Cells]
    macro: dict[str, MacroFacts]
    pooled: dict[str, ScoreFacts]
    prevalence: float | None
    events: Cells | None
    protocol: NotRequired[Cells]
    contamination: NotRequired[str | None]


def write_facts(path: str | os.PathLike[str], facts: Mapping[str, Any]) -> Path:
    """Write facts with the version of their format, atomically; return the path."""
    return write_json(path, {"version": VERSION, **facts})


def read_facts(path: str | os.PathLike[str], form: Any = None) -> Any:
    """Read what :func:`write_facts` wrote, by this or an earlier version, in the words of this one.

    Parameters
    ----------
    path : path
        The file.
    form : type, optional
        What the facts that are there must be, e.g. :class:`RunFacts`; older files lack some.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, or of a later version; the message names it, and the key that is
        another than it must be.
    """
    facts = read_json(path)
    if not isinstance(facts, dict):
        raise ValueError(f"{path}: expected an object of facts, found {type(facts).__name__}; delete it and run again")
    version = facts.pop("version", 1)
    if type(version) is not int or version not in READERS:
        known = ", ".join(map(str, READERS))
        raise ValueError(f"{path}: format version {version!r}; this biot_bd reads version {known}: update it")
    with naming(path, RunFolderError):
        facts = READERS[version](facts)
        if form is not None:
            check_present(facts, form)
    return facts


def stored_facts(folder: Path, name: str) -> Any:
    """Return the facts that a run (``run.json``) or study folder holds, None where it is new or
    empty.

    Raises
    ------
    RunFolderError
        It is a file, holds other things, or is damaged.
    """
    kind = Path(name).stem
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; name a folder for the {kind}")
    if (folder / name).is_file():
        return read_facts(folder / name, StoredFacts)
    if folder.is_dir() and (others := sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))):
        raise RunFolderError(f"{folder} is no {kind} folder and not empty ({', '.join(others[:5])}); name a new one")
    return None


def check_finished(folder: Path, names: Iterable[str], kind: str) -> None:
    """Raise ``FileNotFoundError`` where a file of a finished run or study is missing."""
    again = "cross-validation" if kind == "run" else kind
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder}: no {name}, so this is no finished {kind}; run the same {again} again to finish it"
            )


def read_intervals(folder: str | os.PathLike[str]) -> Any:
    """Read the intervals of a run folder (``intervals.json``, formerly ``certainty.json``), None
    where there are none.
    """
    paths = (Path(folder) / name for name in (INTERVALS, FORMER_INTERVALS))
    return next((read_facts(path) for path in paths if path.is_file()), None)


def of_seizures(classes: Sequence[str] | None) -> bool:
    """Return whether the second of two classes is that of seizures, so that there are events.

    Parameters
    ----------
    classes : sequence of str or None
        Names by label; None where they are background and seizure.
    """
    return classes is None or (len(classes) == 2 and classes[1].lower().startswith(("seiz", "sz")))


def class_columns(table: pd.DataFrame, stem: str) -> list[str]:
    """Return the columns ``<stem>_0``, ``<stem>_1``, ... of predictions, none where there are none.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions; with more than two classes, or soft targets, they have such columns.
    stem : {"proba", "target"}
        Probabilities, or soft targets.
    """
    found = [name for name in table.columns if re.fullmatch(rf"{stem}_\d+", str(name))]
    return sorted(found, key=lambda name: int(name.rpartition("_")[2]))


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with their columns in order, of types that do not depend on their
    content.
    """
    by_class = [*class_columns(table, "proba"), *class_columns(table, "target")]
    types = PREDICTION_COLUMNS | dict.fromkeys(by_class, "float64")
    return table.astype(types)[list(types)]


def write_predictions(path: Path, table: pd.DataFrame) -> None:
    """Write predictions atomically."""
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read predictions, of this or an earlier version.

    Raises
    ------
    ValueError
        The file is damaged or lacks a column; the message names it.
    """
    try:
        table = typed(read_table(path).rename(columns=COLUMNS))
        _check_predictions(table)
    except (OSError, *DAMAGE) as error:
        raise RunFolderError(
            f"{path}: no readable predictions ({' '.join(str(error).split())[:300]}); delete it and run the study again"
        ) from error
    return table


def _check_predictions(table: pd.DataFrame) -> None:
    """Raise where a column holds what no study writes."""
    columns = class_columns(table, "proba")
    fits = {"proba": table["proba"].between(0, 1), "y_true": table["y_true"].isin(range(max(2, len(columns))))}
    fits |= {name: table[name].between(0, 1) for name in (*columns, *class_columns(table, "target"))}
    fits["part"] = table["part"].isin(("valid", "test"))
    for column, good in fits.items():
        if not bool(good.fillna(False).all()):
            row = int((~good.fillna(False)).to_numpy().argmax())
            raise ValueError(f"row {row}, column {column}: {table[column].iloc[row]!r}")
