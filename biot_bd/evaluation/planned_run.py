"""A run before anything of it is fitted: everything checked, its folds made, its identity known.

Cross-validation and search share it, and the folder that they write into.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout

from biot_bd import runs
from biot_bd.anonymous import NOT_TOLD
from biot_bd.evaluation import run_facts
from biot_bd.evaluation.data import Data, as_data, check_classes
from biot_bd.evaluation.fold import (
    FoldTask,
    check_kept,
    check_scorable,
    check_splits_inside,
    configure,
    finished_fold,
    training_notes,
)
from biot_bd.evaluation.fold_callbacks import check_callbacks
from biot_bd.evaluation.fold_events import detector_parameters, write_events
from biot_bd.evaluation.metrics.thresholds import check_threshold_rule
from biot_bd.evaluation.metrics.window_metrics import Metric, as_metrics
from biot_bd.evaluation.model_selection.contamination import (
    Contamination,
    Origin,
    check_contamination,
    comparison_notes,
    contamination_facts,
    find_origins,
)
from biot_bd.evaluation.model_selection.folds import Fold, make_folds
from biot_bd.evaluation.model_selection.official_split import official_parts
from biot_bd.evaluation.parallel import jobs_at_once
from biot_bd.evaluation.protocols import CUSTOM, Protocol, as_protocol, averaged
from biot_bd.evaluation.result import Result, degenerate_notes
from biot_bd.evaluation.run_facts import Cells, RunFacts
from biot_bd.evaluation.stored_folds import DEFAULTS, SCORING_OF_SEVERAL, kept_folds, settled, stored_folds, stored_run
from biot_bd.evaluation.study_identity import (
    describe,
    differences,
    identity_of,
    protocol_values,
    refuse_other_study,
)
from biot_bd.evaluation.window_scores import FoldOutcome, aggregate
from biot_bd.events.detector import EventDetector
from biot_bd.exceptions import RunFolderError
from biot_bd.json_values import naming
from biot_bd.models.checkpoints.anonymous_facts import without_places
from biot_bd.runs import fingerprint
from biot_bd.training._validation import launched_processes
from biot_bd.training.pretrained import checkpoint_identity
from biot_bd.windows import Windows
from biot_bd.windows.store_users import note_user

SEARCH = "search"
"""Folder of a run with what a search tried."""


@dataclass
class PlannedRun:
    """All that a run is made of, before its folds are fitted.

    Attributes
    ----------
    pipeline : estimator
        As given.
    data : Data
    folds : sequence of Fold
    metrics : tuple of Metric
    threshold : str or float
        Rule.
    event_detector : EventDetector
        Template.
    preset : Protocol or None
    origins : list of Origin
        Weights that anything may start from.
    folder : Path or None
    run : dict
        Content of ``run.json`` while the run goes on.
    """

    pipeline: Any
    data: Data
    folds: Sequence[Fold]
    metrics: tuple[Metric, ...]
    threshold: str | float
    event_detector: EventDetector
    preset: Protocol | None
    origins: list[Origin]
    folder: Path | None
    run: RunFacts

    def task(self, fold: Fold, pipeline: Any, origins: Sequence[Origin], chosen: Cells | None = None) -> FoldTask:
        """Return the task of a fold.

        Parameters
        ----------
        fold : Fold
        pipeline : estimator
            What is fitted in it.
        origins : sequence of Origin
            Weights that it starts from.
        chosen : dict, optional
            What a search chose, for ``fold.json``.
        """
        return FoldTask(
            pipeline,
            self.data,
            fold,
            self.metrics,
            self.threshold,
            self.run["fingerprint"],
            self.folder,
            tuple(origins),
            event_detector=self.event_detector,
            chosen=chosen,
        )

    def finished_folds(self) -> list[FoldOutcome | None]:
        """Return what earlier calls finished, None where a fold is missing."""
        if self.folder is None:
            return [None for _ in self.folds]
        marked = self.run["fingerprint"]
        return [finished_fold(self.folder, fold.index, marked, self.metrics) for fold in self.folds]


def plan_run(
    pipeline: Any,
    windows: Any,
    *,
    y: Any,
    groups: Any,
    folder: str | os.PathLike[str] | None,
    cv: Any,
    scoring: Any,
    threshold: str | float,
    validation_fraction: float,
    n_jobs: int | None,
    random_state: int,
    title: str | None,
    notes: Sequence[str],
    protocol: str | Protocol | None,
    splits_from: Any,
    allow_contaminated: bool,
    event_detector: EventDetector | None,
    variants: Sequence[Any] | None = None,
    weights: Any = None,
) -> PlannedRun:
    """Check everything, make the folds, describe the run; nothing is fitted or written.

    Parameters
    ----------
    pipeline, windows
        As in :func:`~biot_bd.cross_validate`, as all others but the last two.
    variants : sequence of estimators, optional
        What may be fitted in a fold; ``pipeline`` alone by default.
    weights : object, optional
        Where :func:`find_origins` looks for weights; ``pipeline`` by default.

    Raises
    ------
    ValueError
        As :func:`~biot_bd.cross_validate`, of any variant.
    """
    pipelines = (pipeline,) if variants is None else variants
    preset = None if protocol is None else as_protocol(protocol)
    source = None if splits_from is None else stored_run(splits_from)
    if preset is not None:
        preset.check_windows(windows)
        preset.check_pipeline(pipeline)
    given = {"cv": cv, "scoring": scoring, "threshold": threshold, "validation_fraction": validation_fraction}
    cv, scoring, threshold, validation_fraction = settled(given, preset, source)
    data = as_data(windows, y, groups)
    for one in pipelines:
        check_classes(one, len(data.classes))
    metrics = metrics_of(scoring, data)
    for one in pipelines:
        check_scorable(one)
    rule = check_threshold_rule(threshold)
    random_state, validation_fraction = checked_seed(random_state), float(validation_fraction)
    if source is not None:
        folds: Sequence[Fold] = stored_folds(source, data.y, data.subjects, data.recordings, random_state)
    else:
        folds = make_folds(
            cv,
            data.y,
            data.subjects,
            recordings=data.recordings,
            parts=official_parts(data.X),
            validation_fraction=validation_fraction,
            random_state=random_state,
        )
    parameters: run_facts.Parameters = {
        "cv": cv if isinstance(cv, str) or source is not None else describe(cv),
        "scoring": [metric.name for metric in metrics],
        "threshold": rule,
        "validation_fraction": validation_fraction,
        "random_state": random_state,
        "event_detector": detector_parameters(event_detector),
    }
    if folder is not None and source is None:
        asked = {name: parameters[name] for name in ("cv", "validation_fraction", "random_state")}  # type: ignore[literal-required]
        folds = kept_folds(Path(folder), folds, runs.to_jsonable(asked), data)
    for one in pipelines:
        check_variant(one, data, folds, kept=folder is not None, at_once=jobs_at_once(n_jobs) != 1)
    origins = find_origins(pipeline if weights is None else weights)
    contamination = check_weights(origins, data, folds, allow_contaminated)
    notes = [*notes, *comparison_notes(origins, data.recording_table)]
    identity: Cells = {
        "pipeline": identity_of(pipeline),
        "data": data.facts["fingerprint"],
        "parameters": parameters,
        "splits": {str(fold.index): fold.sides() for fold in folds},
    }
    if preset is not None:
        identity["protocol"] = protocol_values(preset.as_dict())
    if origins:
        identity["checkpoints"] = checkpoints_of(origins)
    told = training_notes(pipeline) if variants is None else []  # of a search, those of what was chosen
    run = _describe_run(pipeline, data, folds, identity, [*notes, *told])
    run["title"] = title
    run["protocol"] = runs.to_jsonable({"name": CUSTOM} if preset is None else preset.as_dict())
    run["splits_from"] = None if source is None else source["fingerprint"]
    run |= contamination_facts(origins, contamination, allow_contaminated)  # type: ignore[typeddict-item]
    if data.facts.get("anonymous"):
        run = without_places(run, [origin.provenance.source for origin in origins])
    template = EventDetector() if event_detector is None else event_detector
    path = None if folder is None else Path(folder)
    return PlannedRun(pipeline, data, folds, metrics, rule, template, preset, origins, path, run)


def metrics_of(scoring: Any, data: Data) -> tuple[Metric, ...]:
    """Return metrics by what was asked for; of several classes other ones by default.

    Raises
    ------
    ValueError
        A metric is unknown, or cannot score such labels.
    """
    if len(data.classes) > 2 and scoring == DEFAULTS["scoring"]:
        scoring = SCORING_OF_SEVERAL
    return as_metrics(scoring, len(data.classes), data.targets is not None)


def checked_seed(random_state: Any) -> int:
    """Return a seed as int.

    Raises
    ------
    ValueError
        It is none.
    """
    if isinstance(random_state, bool) or not isinstance(random_state, Integral) or random_state < 0:
        raise ValueError(f"random_state must be an int of at least 0, got {random_state!r}")
    return int(random_state)


def check_variant(pipeline: Any, data: Data, folds: Sequence[Fold], *, kept: bool, at_once: bool) -> None:
    """Raise where a pipeline cannot be saved, or would mix subjects or files in a fold.

    Parameters
    ----------
    pipeline : estimator
    data : Data
    folds : sequence of Fold
    kept : bool
        Whether models are saved.
    at_once : bool
        Whether several are fitted at once.
    """
    if kept:
        check_kept(configure(pipeline, folds[0], None))
    if at_once:
        check_callbacks(pipeline)
    for fold in folds:
        check_splits_inside(pipeline, data, fold)


def check_weights(
    origins: Sequence[Origin], data: Data, folds: Sequence[Fold], allow_contaminated: bool
) -> Contamination | None:
    """Return the contamination of the test subjects of any fold; raise where it is not allowed.

    Raises
    ------
    ContaminationError
        Weights saw a test subject, or nobody knows what they saw.
    """
    tested = [subject for fold in folds for subject in fold.test]
    return check_contamination(origins, tested, recordings=data.recording_table, allow=allow_contaminated)


def checkpoints_of(origins: Sequence[Origin]) -> list[str]:
    """Return the content of weights: another file under the same name is another study."""
    return sorted({checkpoint_identity(origin.source) for origin in origins if origin.source is not None})


def identify(run: RunFacts, **further: Any) -> None:
    """Add to what tells a run from another one."""
    identity = {**run["identity"], **runs.to_jsonable(further)}
    run["identity"], run["fingerprint"] = identity, fingerprint(identity)


def _describe_run(pipeline: Any, data: Data, folds: Sequence[Fold], identity: Cells, notes: Sequence[str]) -> RunFacts:
    """Return the content of ``run.json``."""
    fold_notes = [note for fold in folds for note in fold.notes]
    common = [note for note in dict.fromkeys(fold_notes) if fold_notes.count(note) == len(folds)]
    single = [f"fold {f.index}: {note}" for f in folds for note in f.notes if note not in common]
    described: RunFacts = runs.to_jsonable(
        {
            "kind": "cross-validation",
            "state": "running",
            "notes": [*notes, *common, *single],
            "not_a_result": data.not_a_result(),
            "fingerprint": fingerprint(identity),
            "started": now(),
            "parameters": identity["parameters"],
            "seed": identity["parameters"]["random_state"],
            "data": data.facts,
            "splits": [fold.as_dict() for fold in folds],
            "pipeline": repr(pipeline),
            "identity": identity,
            "environment": runs.environment() | {"torch_threads": torch.get_num_threads()},
        }
    )
    if data.facts.get("anonymous"):
        described["started"] = NOT_TOLD
    return described


@contextmanager
def opened(plan: PlannedRun) -> Iterator[None]:
    """Hold the run folder for this process, where there is one.

    Check that it is new or holds a part of the same study.

    Raises
    ------
    RunFolderError
        It holds something else, or is in use.
    """
    if plan.folder is None:
        yield
        return
    folder = plan.folder
    run_facts.stored_facts(folder, run_facts.RUN)  # refuses what is no run folder before a lock is laid in it
    with locked(folder):
        _check_folder(folder, plan.run)
        run_facts.write_facts(folder / run_facts.RUN, plan.run)
        if isinstance(plan.data.X, Windows):
            note_user(plan.data.X, folder)
        yield


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, made where it is not there, for this process.

    Raises
    ------
    RunFolderError
        It is in use, or a launcher started several processes that train one model together.
    """
    if (n_processes := launched_processes()) > 1:
        raise RunFolderError(
            f"{folder}: started as one of {n_processes} processes by a launcher, which train one model together (biot-bd train); "
            "folds and fits are spread by --jobs, n_jobs or biot_bd.evaluation.workers: start one process"
        )
    runs.make_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunFolderError(
            f"{folder} is being written by another process; wait for it or name another "
            f"(if it ended with its machine, delete {lock.lock_file})"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _check_folder(folder: Path, run: RunFacts) -> None:
    """Check what a folder holds.

    Of the same study ``run`` takes over when it began, and what its folds are marked with.
    """
    old = run_facts.stored_facts(folder, run_facts.RUN)
    if old is None:
        return
    with naming(folder / run_facts.RUN, RunFolderError):
        fingerprint_of_folds = old["fingerprint"]
        lines = differences(old.get("identity", {}), run["identity"])
    if lines and _nothing_done(folder, old):
        for part in ("folds", "tensorboard", SEARCH):
            shutil.rmtree(folder / part, ignore_errors=True)
        return
    refuse_other_study(folder, lines)
    run["started"] = old.get("started", run["started"])
    run["fingerprint"] = fingerprint_of_folds


def _nothing_done(folder: Path, old: Mapping[str, Any]) -> bool:
    """Return whether a study failed before it computed anything that is worth keeping."""
    if old.get("kind") != "cross-validation" or old.get("state") != "running":
        return False
    computed = ("folds/*/fold.json", "folds/*/restart/*.pt", f"{SEARCH}/fold-*/*.json")
    if any(any(folder.glob(pattern)) for pattern in computed):
        return False
    return not any((folder / name).exists() for name in (run_facts.PREDICTIONS, run_facts.METRICS))


def finish(plan: PlannedRun, outcomes: Sequence[FoldOutcome]) -> Result:
    """Bring the folds together, write what the run found, and say that it is finished.

    Parameters
    ----------
    plan : PlannedRun
    outcomes : sequence of FoldOutcome
        In the folds' order.
    """
    run, path = plan.run, plan.folder
    scores = aggregate(plan.metrics, outcomes)
    name, averaging = (CUSTOM, "subjects") if plan.preset is None else (plan.preset.name, plan.preset.averaging)
    scores["protocol"] = {"name": name, "averaging": averaging, "scores": averaged(scores, averaging)}
    scores["contamination"] = run["contamination"]
    run["notes"] = [*run["notes"], *degenerate_notes(outcomes)]
    predictions = pd.concat([outcome.predictions for outcome in outcomes], ignore_index=True)
    if path is None:
        return Result(scores, predictions, {**run, "state": "finished"})
    write_events(path, [outcome.facts for outcome in outcomes])
    run_facts.write_predictions(path / run_facts.PREDICTIONS, predictions)
    run_facts.write_facts(path / run_facts.METRICS, scores)
    finished = NOT_TOLD if plan.data.facts.get("anonymous") else now()
    run_facts.write_facts(
        path / run_facts.RUN, {**run, "state": "finished", "finished": finished}
    )  # the last: it says that all is there
    return Result.open(path)


def now() -> str:
    """Return the time, as run folders hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
