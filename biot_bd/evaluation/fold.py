"""One fold: fit, choose the threshold on validation, save the model, score the test subjects
once.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone
from sklearn.ensemble import StackingClassifier
from sklearn.model_selection._search import BaseSearchCV

from biot_bd.embedding.frozen_probes.base import ONE_VALUE
from biot_bd.evaluation import run_facts
from biot_bd.evaluation.data import Data
from biot_bd.evaluation.fold_events import Detectors, aggregate_events, event_facts, fit_detectors
from biot_bd.evaluation.fold_seeds import seeds_of
from biot_bd.evaluation.metrics.thresholds import NO_THRESHOLD, choose_threshold
from biot_bd.evaluation.metrics.window_metrics import Metric
from biot_bd.evaluation.model_selection.contamination import Origin, check_contamination, full_record
from biot_bd.evaluation.model_selection.folds import Fold
from biot_bd.evaluation.model_selection.inner_splits import (
    bind_inner_splits,
    check_inner_splits,
    has_inner_splits,
    needs_subjects,
)
from biot_bd.evaluation.run_facts import Cells, FoldFacts
from biot_bd.evaluation.study_identity import describe, final_step
from biot_bd.evaluation.window_scores import FoldOutcome, fold_scores
from biot_bd.events.detector import EventDetector, save_event_detector
from biot_bd.exceptions import RunFolderError, SavedPipelineError
from biot_bd.json_values import check_values, naming
from biot_bd.models.checkpoints.anonymous_model import anonymise_model
from biot_bd.runs import write_json
from biot_bd.signals.subject_array import SubjectArray
from biot_bd.training import BIOTClassifier, FixedSubjects, check_savable, log_test_metrics, save_pipeline
from biot_bd.training.classifier._data_loading import training_note
from biot_bd.training.persistence.kinds import is_saved
from biot_bd.training.pretrained import recordings_of, write_load_report
from biot_bd.training.private_paths import FitPlace


@dataclass(frozen=True)
class FoldTask:
    """All that a fold needs, in this process or in a worker.

    Attributes
    ----------
    pipeline : estimator
        Cloned, never fitted itself.
    data : Data
    fold : Fold
    metrics : tuple of Metric
    threshold : str or float
        Rule, see :func:`biot_bd.evaluation.metrics.thresholds.choose_threshold`.
    fingerprint : str
        Of the study; stored in ``fold.json``.
    folder : Path or None
        The run folder; None writes nothing.
    origins : tuple of Origin
        Weights that the pipeline starts from.
    event_detector : EventDetector
        Template of the fold's event detector.
    chosen : dict or None
        What a search chose for this fold, for ``fold.json``.
    """

    pipeline: Any
    data: Data
    fold: Fold
    metrics: tuple[Metric, ...]
    threshold: str | float
    fingerprint: str
    folder: Path | None = None
    origins: tuple[Origin, ...] = ()
    event_detector: EventDetector = field(default_factory=EventDetector)
    chosen: Cells | None = None

    @property
    def label(self) -> str:
        """What the task is called in messages and names of jobs."""
        return f"fold-{self.fold.index:02d}"


UNCHOSEN = "no candidate has a score that is defined in every inner fold, so the first was taken"
"""What ``fold.json`` says of a search of scikit-learn that had nothing to choose by."""


def fold_folder(run: Path, index: int) -> Path:
    """Return the folder of a fold in a run folder."""
    return run / "folds" / f"{index:02d}"


def finished_fold(run: Path, index: int, fingerprint: str, metrics: Sequence[Metric] = ()) -> FoldOutcome | None:
    """Read a fold that an earlier call finished, or return None; it has a score of each metric.

    Raises
    ------
    ValueError
        ``fold.json`` is damaged, or belongs to another study.
    """
    folder = fold_folder(run, index)
    if not (folder / run_facts.FOLD).is_file() or not (folder / run_facts.PREDICTIONS).is_file():
        return None
    facts = run_facts.read_facts(folder / run_facts.FOLD, run_facts.FoldFacts)
    if facts.get("fingerprint") != fingerprint:
        raise ValueError(f"{folder}: belongs to another study ({facts.get('fingerprint')}); delete the run folder")
    with naming(folder / run_facts.FOLD, RunFolderError):
        _check_fold(facts, index, metrics)
    return FoldOutcome(facts, run_facts.read_predictions(folder / run_facts.PREDICTIONS))


def _check_fold(facts: Any, index: int, metrics: Sequence[Metric]) -> None:
    """Raise where facts lack what the scores of a study are made of."""
    if facts["fold"] != index:
        raise ValueError(f"fold is {facts['fold']}, expected {index}")
    check_values({name: facts[name] for name in ("test", "threshold", "scores")}, _Scored)
    for where, scores in [("pooled", facts["scores"]["pooled"]), *facts["scores"]["subjects"].items()]:
        for metric in metrics:
            check_values(scores[metric.name], run_facts.ScoreFacts, f"scores of {where}, {metric.name}")
    aggregate_events([facts])


class _Scored(TypedDict):
    test: list[str]
    threshold: run_facts.ThresholdFacts
    scores: run_facts.FoldScores


def training_notes(pipeline: Any) -> list[str]:
    """Return what to know of training: drawn or changed windows (``sampler``, ``augment``), and of
    a fitted probe whether it converged and its regularisation was chosen.
    """
    _, last = final_step(pipeline)
    note = training_note(last.sampler, last.augment) if isinstance(last, BIOTClassifier) else None
    notes = [] if note is None else [note]
    chosen = getattr(last, "chosen_", None)
    if isinstance(chosen, Mapping) and chosen.get("reason") not in (None, ONE_VALUE):
        notes.append(
            f"{chosen['parameter']}={chosen['value']} was not chosen by validation subjects: {chosen['reason']}"
        )
    if getattr(last, "converged_", True) is False:
        notes.append(f"{type(last).__name__} did not converge")
    return notes


def configure(pipeline: Any, fold: Fold, run: Path | None, place: FitPlace | None = None) -> Any:
    """Clone a pipeline and give it the fold's seed and, for a ``BIOTClassifier``, its subjects
    and folders.

    Parameters
    ----------
    pipeline : estimator
    fold : Fold
    run : Path or None
        The run folder; without one nothing is logged and there are no restart points.
    place : FitPlace, optional
        Where the callbacks of every ``BIOTClassifier`` inside write; None: where they were told to.

    Returns
    -------
    estimator
        Not fitted.  Whatever has no seed gets the fold's
        (:func:`~biot_bd.evaluation.fold_seeds.seeds_of`), the last-step ``BIOTClassifier`` always.
    """
    estimator = clone(pipeline)
    prefix, last = final_step(estimator)
    settings: Cells = seeds_of(estimator, fold.seed)
    if isinstance(last, BIOTClassifier):
        settings[f"{prefix}random_state"] = fold.seed
        settings[f"{prefix}train_split"] = FixedSubjects(fold.valid) if fold.valid else None
        settings[f"{prefix}log_dir"] = str(run / "tensorboard" / f"fold-{fold.index:02d}") if run else None
        settings[f"{prefix}restart_dir"] = str(fold_folder(run, fold.index) / "restart") if run else None
    for inside in (estimator, *estimator.get_params(deep=True).values()):
        if isinstance(inside, BIOTClassifier):
            inside.write_in(place)
    return estimator.set_params(**settings)


def fit(estimator: Any, X: Any, y: np.ndarray, subjects: np.ndarray, targets: np.ndarray | None = None) -> Any:
    """Fit, handing subjects on to whoever splits inside, at any depth, routing on or off.

    Parameters
    ----------
    estimator : estimator
        Its inner splitters are changed to find the subjects.
    X : Windows, array or mne.Epochs
    y, subjects : ndarray, shape (n,)
    targets : ndarray, shape (n, n_classes), optional
        Soft targets, for a last step that takes them (``takes_soft_targets``).

    Raises
    ------
    SubjectLeakError
        A split inside would put a subject on two sides.
    """
    prefix, last = final_step(estimator)
    check_inner_splits(estimator, X, y, subjects)
    bind_inner_splits(estimator, y, subjects)
    if targets is not None and getattr(last, "takes_soft_targets", False):
        y = targets
    if not isinstance(last, BIOTClassifier) and isinstance(X, np.ndarray) and needs_subjects(estimator):
        X = SubjectArray(X, subjects)
    if not isinstance(last, (BIOTClassifier, BaseSearchCV)):
        return estimator.fit(X, y)
    name = "groups" if sklearn.get_config()["enable_metadata_routing"] else f"{prefix}groups"
    return estimator.fit(X, y, **{name: subjects})


def probabilities(estimator: Any, X: Any, where: str) -> np.ndarray:
    """Return the probability of class 1 of each window, float64.

    Parameters
    ----------
    estimator : fitted classifier
    X : windows
    where : str
        Named in messages, e.g. ``"fold 3"``.

    Raises
    ------
    ValueError
        The estimator has no ``predict_proba``, does not know class 1, or its probabilities are not
        finite.
    """
    if len(X) == 0:
        return np.zeros(0)
    if not hasattr(estimator, "predict_proba"):
        _refuse_without_probabilities(estimator)
    classes = [int(label) for label in estimator.classes_]
    if 1 not in classes:
        raise ValueError(f"{where}: the fitted model knows the classes {classes}, not class 1 (seizure)")
    proba = np.asarray(estimator.predict_proba(X), dtype=np.float64)
    if proba.shape != (len(X), len(classes)):
        raise ValueError(f"{where}: predict_proba gave shape {proba.shape}, expected {(len(X), len(classes))}")
    proba = proba[:, classes.index(1)]
    _check_finite(proba, where)
    return proba


def class_probabilities(estimator: Any, X: Any, where: str, n_classes: int) -> np.ndarray:
    """Return the probability of each class of each window, float64 ``(n, n_classes)``.

    Parameters
    ----------
    estimator : fitted classifier
        A class that it does not know (no training window had it) has the probability 0.
    X, where
        As in :func:`probabilities`.
    n_classes : int
        Of the data; labels are 0 to ``n_classes - 1``.

    Raises
    ------
    ValueError
        As in :func:`probabilities`.
    """
    if n_classes == 2:
        positive = probabilities(estimator, X, where)
        return np.column_stack([1 - positive, positive])
    out = np.zeros((len(X), n_classes))
    if len(X) == 0:
        return out
    if not hasattr(estimator, "predict_proba"):
        _refuse_without_probabilities(estimator)
    classes = [int(label) for label in estimator.classes_]
    if not set(classes) <= set(range(n_classes)):
        raise ValueError(
            f"{where}: the fitted model knows the classes {classes}, expected some of 0 to {n_classes - 1}"
        )
    proba = np.asarray(estimator.predict_proba(X), dtype=np.float64)
    if proba.shape != (len(X), len(classes)):
        raise ValueError(f"{where}: predict_proba gave shape {proba.shape}, expected {(len(X), len(classes))}")
    _check_finite(proba, where)
    out[:, classes] = proba
    return out


def _check_finite(proba: np.ndarray, where: str) -> None:
    faulty = ~np.isfinite(proba)
    if faulty.any():
        raise ValueError(
            f"{where}: {int(faulty.reshape(len(proba), -1).any(axis=1).sum())} of {len(proba)} probabilities are not finite: "
            "training diverged; lower the learning rate or look for bad input"
        )


def predictions_of(data: Data, fold: Fold, part: str, rows: np.ndarray, proba: np.ndarray) -> pd.DataFrame:
    """Return the table of predictions of one part of a fold, without the threshold.

    Parameters
    ----------
    data : Data
    fold : Fold
    part : {"valid", "test"}
    rows : ndarray of int, shape (n,)
        Of the windows.
    proba : ndarray, shape (n,) or (n, n_classes)
        Of class 1, or of each class; of more than two the largest stands in the column ``proba``.
    """
    table = data.table.iloc[rows].reset_index(drop=True)
    columns = proba if proba.ndim == 2 else np.column_stack([1 - proba, proba])
    one = columns[:, 1] if columns.shape[1] == 2 else columns.max(axis=1)
    table = table.assign(fold=fold.index, part=part, window=rows, y_true=data.y[rows], proba=one, threshold=np.nan)
    if not data.by_class:
        return table[list(run_facts.PREDICTION_COLUMNS)]
    table = table[list(run_facts.PREDICTION_COLUMNS)].assign(**{f"proba_{k}": p for k, p in enumerate(columns.T)})
    if data.targets is None:
        return table
    return table.assign(**{f"target_{k}": share for k, share in enumerate(data.targets[rows].T)})


def run_fold(task: FoldTask, watch: Callable[[Any], None] | None = None) -> FoldOutcome:
    """Fit one fold and score its test subjects; the test data is touched after the model is final.

    Parameters
    ----------
    task : FoldTask
    watch : callable, optional
        Called with the last step before it is fitted, so that a progress bar can read its history.

    Returns
    -------
    FoldOutcome
        Also written to ``folds/NN/`` where the task has a folder, ``fold.json`` last.

    Raises
    ------
    ValueError
        Bad probabilities, a search that mixes subjects; errors of the fit pass through.
    """
    return _run(task, time.perf_counter(), watch)


def check_scorable(pipeline: Any) -> None:
    """Raise where a pipeline would have no probabilities once it is fitted.

    Raises
    ------
    ValueError
        A search that keeps no model (``refit=False``), or an estimator without ``predict_proba``.
    """
    for name, value in [("", pipeline), *pipeline.get_params(deep=True).items()]:
        if isinstance(value, BaseSearchCV) and not value.refit:
            where = f"{name}__refit" if name else "refit"
            raise ValueError(f"{where}: found False, so {type(value).__name__} keeps no model to score; set refit=True")
    _, last = final_step(pipeline)
    if not hasattr(last, "get_params"):
        raise ValueError(f"the last step of the pipeline is {last!r}, which classifies nothing; end it in a classifier")
    if not hasattr(last, "predict_proba") and all(map(_tells_before, [last, *last.get_params(deep=True).values()])):
        _refuse_without_probabilities(last)


def _tells_before(part: Any) -> bool:
    """Return whether a part of an estimator says before ``fit`` whether it will have
    probabilities.
    """
    known = type(part).__module__.startswith("sklearn.") or isinstance(part, BIOTClassifier)
    return not hasattr(part, "get_params") or (known and not isinstance(part, StackingClassifier))


def _refuse_without_probabilities(estimator: Any) -> None:
    raise ValueError(
        f"{type(estimator).__name__} has no predict_proba; wrap it, e.g. in CalibratedClassifierCV, or set probability=True"
    )


def check_kept(pipeline: Any) -> None:
    """Raise where a model of a pipeline could not be written into a folder.

    What ends in another estimator than ``save_pipeline`` takes is not saved.

    Raises
    ------
    SavedPipelineError
        Names the parameter.
    """
    if not is_saved(pipeline):
        return
    try:
        check_savable(pipeline)
    except SavedPipelineError as error:
        raise SavedPipelineError(f"{error}; without a folder nothing is saved, and this may stay") from error


def check_splits_inside(pipeline: Any, data: Data, fold: Fold) -> None:
    """Raise where anything inside a pipeline would split the fold's windows within subjects.

    Raises
    ------
    SubjectLeakError, SplitError
        See :func:`~biot_bd.evaluation.model_selection.inner_splits.check_inner_splits`.
    """
    if not has_inner_splits(pipeline):
        return  # no copy of an array for nothing
    rows = fitted_rows(pipeline, fold.rows(data.subjects, data.recordings))
    check_inner_splits(pipeline, data.X[rows], data.y[rows], data.subjects[rows])


def fitted_rows(pipeline: Any, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Return the windows that a fold's fit is given."""
    # A BIOTClassifier gets the validation subjects to watch; any other estimator never sees them.
    if isinstance(final_step(pipeline)[1], BIOTClassifier):
        return np.sort(np.concatenate([rows["train"], rows["valid"]]))
    return rows["train"]


def _run(task: FoldTask, started: float, watch: Callable[[Any], None] | None) -> FoldOutcome:
    fold, data, where = task.fold, task.data, f"fold {task.fold.index}"
    rows = fold.rows(data.subjects, data.recordings)
    seen = fitted_rows(task.pipeline, rows)
    estimator = configure(task.pipeline, fold, task.folder, FitPlace([task.label]))
    prefix, last = final_step(estimator)
    if data.facts.get("anonymous") and isinstance(last, BIOTClassifier):
        estimator.set_params(**{f"{prefix}log_dir": None})  # TensorBoard names the machine and dates every value
    if watch is not None:
        watch(last)
    fit(
        estimator, data.X[seen], data.y[seen], data.subjects[seen], None if data.targets is None else data.targets[seen]
    )
    two = len(data.classes) == 2
    proba = class_probabilities(estimator, data.X[rows["valid"]], where, len(data.classes))
    valid = predictions_of(data, fold, "valid", rows["valid"], proba)
    threshold = choose_threshold(valid["y_true"], valid["proba"], task.threshold) if two else NO_THRESHOLD
    if two and is_saved(estimator):
        last.threshold_ = threshold.value  # what the saved model's predict uses
    detectors = fit_detectors(task.event_detector, data, valid)
    # Of this fold; the study was allowed before.
    seen_before = check_contamination(task.origins, fold.test, recordings=data.recording_table, allow=True)
    known: Cells = {
        **fold.as_dict(),
        "fingerprint": task.fingerprint,
        "threshold": threshold.as_dict(),
        "n_windows": {side: len(index) for side, index in rows.items()},
        "contamination": None if seen_before is None else seen_before.text,
        **training_facts(last),
        **({} if task.chosen is None else {"search": task.chosen}),
    }
    history = [{k: v for k, v in row.items() if k != "batches"} for row in getattr(last, "history_", None) or []]
    if task.folder is not None:
        known |= _save_model(estimator, fold_folder(task.folder, fold.index) / "model", task, known, detectors)
    proba = class_probabilities(estimator, data.X[rows["test"]], where, len(data.classes))
    test = predictions_of(data, fold, "test", rows["test"], proba)
    predictions = pd.concat([valid, test], ignore_index=True)
    predictions = run_facts.typed(predictions.assign(threshold=np.nan if threshold.value is None else threshold.value))
    facts: FoldFacts = {
        **known,  # type: ignore[typeddict-item]  # mypy follows no ** of plain facts
        "scores": fold_scores(task.metrics, predictions),
        "events": None if detectors is None else event_facts(detectors, data, test),
        "wall_s": time.perf_counter() - started,
    }
    if task.folder is not None:
        _write(task, fold_folder(task.folder, fold.index), facts, predictions, history, last)
    return FoldOutcome(facts, predictions)


def training_facts(last: Any) -> Cells:
    """Return what a fitted last step says of its training, as records and ``fold.json`` have it."""
    facts: Cells = {"estimator": type(last).__name__}
    if getattr(last, "history_", None) is not None:
        facts["n_epochs"] = len(last.history_)
    if isinstance(last, BIOTClassifier):
        facts["precision"] = last.precision_report_
    if hasattr(last, "chosen_") and hasattr(last, "converged_"):
        facts["probe"] = {"chosen": describe(last.chosen_), "converged": bool(last.converged_)}
    if isinstance(last, BaseSearchCV) and hasattr(last, "best_params_"):
        facts["search"] = {"best_params": describe(last.best_params_), **_best_score(last)}
    return facts


def _best_score(search: BaseSearchCV) -> Cells:
    """Return the score of what a search chose, with a reason where it has none."""
    best = getattr(search, "best_score_", None)
    if best is None:
        return {"best_score": None}
    if np.isfinite(best):
        return {"best_score": float(best)}
    if np.isfinite(search.cv_results_["mean_test_score"]).any():
        return {"best_score": None, "reason": "the score of what was chosen is undefined in an inner fold"}
    return {"best_score": None, "reason": UNCHOSEN}


def _save_model(estimator: Any, folder: Path, task: FoldTask, facts: Cells, detectors: Detectors | None) -> Cells:
    if not is_saved(estimator):
        what = "BIOTClassifier, a probe behind an Embedder, or an ensemble of these"
        return {"model": None, "model_reason": f"only pipelines that end in {what} are saved (no pickle)"}
    seen = (*task.fold.train, *task.fold.valid)
    record = {
        "fold": facts["fold"],
        "subjects": task.fold.sides(),
        "threshold": facts["threshold"],
        "data": {k: v for k, v in task.data.facts.items() if k != "subjects"},
        "study": task.fingerprint,
        "trained_on": full_record(final_step(estimator)[1], task.origins, seen, recordings_of(task.data.X, seen)),
        "contamination": facts["contamination"],
    }
    if detectors is not None:  # first: a folder with a description holds all that belongs to it
        save_event_detector(detectors.offline, folder, detectors.causal)
    save_pipeline(estimator, folder, record=record)
    if task.data.facts.get("anonymous"):
        anonymise_model(folder, hashes=True)
    return {"model": "model", "model_reason": None}


def _write(
    task: FoldTask, folder: Path, facts: FoldFacts, predictions: pd.DataFrame, history: list[Cells], last: Any
) -> None:
    """Write the fold's files; ``fold.json`` comes last and marks the fold as finished."""
    if isinstance(last, BIOTClassifier):
        values = {m.name: facts["scores"]["pooled"][m.name]["value"] for m in task.metrics}
        values["prevalence"] = facts["scores"]["pooled"]["prevalence"]  # beside the AUC-PR, of which it is the chance
        test = predictions[predictions["part"] == "test"]
        both = test["y_true"].nunique() == 2 and len(task.data.classes) == 2
        curve = (test["y_true"].to_numpy(), test["proba"].to_numpy()) if both else (None, None)
        # Before fold.json: a kill between the two writes the same values again, at the same tags
        # and step, which TensorBoard shows once; behind it, a kill would leave them out for good.
        log_test_metrics(last, {name: value for name, value in values.items() if value is not None}, *curve)
    write_json(folder / "history.json", history)
    write_load_report(last, folder)
    run_facts.write_predictions(folder / run_facts.PREDICTIONS, predictions)
    run_facts.write_facts(folder / run_facts.FOLD, facts)
    shutil.rmtree(folder / "restart", ignore_errors=True)
