"""Fit a pipeline on all subjects, or all but a hold-out, and save it with a record of what it
saw.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from biot_bd import runs
from biot_bd.evaluation.data import Data, as_data, check_classes
from biot_bd.evaluation.fold import (
    class_probabilities,
    configure,
    fit,
    predictions_of,
    training_facts,
    training_notes,
)
from biot_bd.evaluation.fold_events import Detectors, detector_parameters, event_facts, fit_detectors, operating_point
from biot_bd.evaluation.metrics.thresholds import NO_THRESHOLD, Threshold, check_threshold_rule, choose_threshold
from biot_bd.evaluation.metrics.window_metrics import Metric
from biot_bd.evaluation.model_selection.contamination import (
    check_contamination,
    comparison_notes,
    contamination_facts,
    find_origins,
    full_record,
)
from biot_bd.evaluation.model_selection.folds import Fold, split_all
from biot_bd.evaluation.planned_run import metrics_of
from biot_bd.evaluation.run_facts import METRICS, Cells, FoldFacts, RunMetrics, write_facts
from biot_bd.evaluation.study_identity import final_step, identity_of
from biot_bd.evaluation.training_folder import TrainingFolder
from biot_bd.evaluation.window_scores import FoldOutcome, aggregate, fold_scores
from biot_bd.events.detector import EventDetector, save_event_detector
from biot_bd.exceptions import SplitError
from biot_bd.models.checkpoints.anonymous_model import anonymise_model
from biot_bd.models.checkpoints.pipeline_folder import PIPELINE
from biot_bd.training import BIOTClassifier, check_savable, save_pipeline
from biot_bd.training.net.distributed import beside_the_main_process, find_processes, processes_of
from biot_bd.training.persistence.kinds import is_saved
from biot_bd.training.pretrained import recordings_of
from biot_bd.windows import Windows
from biot_bd.windows.store_users import forgotten_with, note_user


def fit_all(
    pipeline: Any,
    windows: Any,
    folder: str | os.PathLike[str],
    *,
    y: Any = None,
    groups: Any = None,
    validation_fraction: float = 0.2,
    threshold: str | float = "balanced-accuracy",
    random_state: int = 0,
    title: str | None = None,
    notes: Sequence[str] = (),
    hold_out: Sequence[str] = (),
    scoring: Any = ("average_precision", "roc_auc", "balanced_accuracy"),
    allow_contaminated: bool = False,
    event_detector: EventDetector | None = None,
) -> Cells:
    """Fit a pipeline on all subjects, but for a hold-out, some of whom validate, and save it.

    Parameters
    ----------
    pipeline : Pipeline or BIOTClassifier
        Must end in a :class:`~biot_bd.BIOTClassifier`, a probe behind an
        :class:`~biot_bd.Embedder`, or a :class:`~biot_bd.ensembles.SeedEnsemble` of these; it is
        cloned.
    windows : Windows, array of shape (n, n_chans, n_times) or mne.Epochs
        As in :func:`~biot_bd.cross_validate`.
    folder : path
        Gets what ``save_pipeline`` writes, with the record, ``tensorboard/`` and, with a hold-out,
        ``metrics.json`` (as in a run folder); an earlier model is replaced.  All appear when the
        training has ended.  One that was killed goes on with the same call.  Of the processes that
        ``torchrun`` starts, which train together, the first one writes.
    y, groups : array of shape (n,), optional
        As in :func:`~biot_bd.cross_validate`: labels, and the subject of each window.
    validation_fraction : float
        Share of the subjects that stop the training and give the threshold; with fewer than three
        subjects, or 0, none does.
    threshold : {"balanced-accuracy", "matched-prevalence"} or float
        How the threshold is chosen on the validation predictions.
    random_state : int
        Seed of the split and of the training.
    title : str, optional
        Goes into the record.
    notes : sequence of str
        Remarks that go into the record.
    hold_out : sequence of str
        Subjects who neither train nor validate, and are scored once, when the model is final.
    scoring : str, Metric, callable or sequence of them
        As in :func:`~biot_bd.cross_validate`, for the hold-out.
    allow_contaminated : bool
        Score a hold-out that the checkpoint (``pretrained``) saw, or may have; the record and the
        scores say so.
    event_detector : EventDetector, optional
        As in :func:`~biot_bd.cross_validate`; fitted on the validation subjects and saved with the
        model (``events.json``).

    Returns
    -------
    dict
        The record: subjects, data set, label rule, threshold, epochs, environment, ``"trained_on"``
        (all that the model has seen, also through its checkpoint) and, with a hold-out,
        ``"scores"``.

    Raises
    ------
    ContaminationError
        The checkpoint saw a subject of the hold-out, or nobody knows what it saw: before anything
        is loaded or fitted.
    RunFolderError
        Another process trains into the folder.
    FileExistsError
        The folder holds the model of another training that was stopped while it tidied up.
    TypeError
        The pipeline does not end in what can be saved.
    SavedPipelineError
        Something in it cannot be saved (the message names the parameter), before it is fitted.
    SplitError, ValueError
        As in :func:`~biot_bd.cross_validate`.

    See Also
    --------
    cross_validate : Scores of the pipeline on subjects that it has not seen.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from biot_bd import BIOTClassifier
    >>> from biot_bd.evaluation import fit_all
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 8)
    >>> y = np.tile(np.arange(8) % 2, 4)
    >>> X = np.random.default_rng(0).normal(0, 20, (32, 2, 400)).astype("float32")
    >>> small = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1}
    >>> net = BIOTClassifier(max_epochs=1, device="cpu", verbose=0, **small)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     record = fit_all(
    ...         net, X, folder + "/model", y=y, groups=subjects, hold_out=["site/04"]
    ...     )
    >>> record["subjects"]["test"], record["n_epochs"]
    (['site/04'], 1)
    """
    if not is_saved(pipeline):
        raise TypeError(
            "only pipelines that end in BIOTClassifier, in a probe behind an Embedder, or in an ensemble of these are saved, "
            f"not {type(pipeline).__name__}"
        )
    data, rule = as_data(windows, y, groups), check_threshold_rule(threshold)
    n_classes = len(data.classes)
    check_classes(pipeline, n_classes)
    metrics = metrics_of(scoring, data)
    template = EventDetector() if event_detector is None else event_detector
    detector_parameters(template)  # raises before anything is fitted
    fold = _split(data, hold_out, validation_fraction, random_state)
    origins = find_origins(pipeline)
    contamination, compared = None, list[str]()
    if fold.test:
        contamination = check_contamination(
            origins, fold.test, recordings=data.recording_table, allow=allow_contaminated
        )
        compared = comparison_notes(origins, data.recording_table)
    estimator = configure(pipeline, fold, None)
    prefix, last = final_step(estimator)
    check_savable(estimator)
    study = runs.fingerprint(
        {
            "pipeline": identity_of(pipeline),
            "data": data.facts["fingerprint"],
            "splits": fold.sides(),
            "parameters": [rule, random_state, [metric.name for metric in metrics], detector_parameters(template)],
            "texts": [title, list(notes), allow_contaminated],
        }
    )
    place = TrainingFolder(Path(folder), study)
    stored = data.X if isinstance(data.X, Windows) else None
    rows = fold.rows(data.subjects)
    # A classifier of ours watches its validation subjects; what else is fitted never sees them.
    watches = isinstance(last, BIOTClassifier)

    def train() -> None:
        if watches:
            log = None if data.facts.get("anonymous") else str(place.log)  # it names the machine and dates all
            estimator.set_params(**{f"{prefix}log_dir": log, f"{prefix}restart_dir": str(place.restart)})
        seen = np.sort(np.concatenate([rows["train"], rows["valid"]])) if watches else rows["train"]
        whole: tuple[Any, ...] = data.X, data.y, data.subjects, data.targets
        every = len(seen) == len(data.y)
        fit(estimator, *(part if every or part is None else part[seen] for part in whole))

    processes = processes_of(last) if watches else find_processes()
    if not processes.is_main:
        return cast(Cells, beside_the_main_process(processes, train))
    with nullcontext() if stored is None else forgotten_with(stored, place.folder), place.opened() as finished:
        processes.agreed(finished)
        if finished is not None:
            return finished
        if stored is not None:
            note_user(stored, place.folder)
        train()
        proba = class_probabilities(estimator, data.X[rows["valid"]], "validation", n_classes)
        chosen, detectors = NO_THRESHOLD, None
        if n_classes == 2:
            chosen = choose_threshold(data.y[rows["valid"]], proba[:, 1], rule)
            detectors = fit_detectors(template, data, predictions_of(data, fold, "valid", rows["valid"], proba))
            last.threshold_ = chosen.value  # what the saved model's predict uses
        record = runs.to_jsonable(
            {
                "title": title,
                "notes": [*notes, *training_notes(estimator), *fold.notes, *compared],
                "not_a_result": data.not_a_result()
                if fold.test
                else "the model saw all subjects, so it has no score of its own",
                "subjects": fold.sides(),
                "threshold": chosen.as_dict(),
                "events": None if detectors is None else operating_point(detectors.offline),
                **training_facts(last),
                "seed": random_state,
                "data": data.facts,
                "environment": runs.environment(),
                "study": study,
                **contamination_facts(origins, contamination, allow_contaminated),
                "trained_on": full_record(
                    last, origins, (*fold.train, *fold.valid), recordings_of(data.X, (*fold.train, *fold.valid))
                ),
            }
        )
        scores = _scores(estimator, data, fold, metrics, chosen, detectors) if fold.test else None
        if scores is not None:
            scores["contamination"] = record["contamination"]
            record["scores"] = scores
        if watches:
            estimator.set_params(**{f"{prefix}log_dir": None, f"{prefix}restart_dir": None})
        shutil.rmtree(place.model, ignore_errors=True)  # of a call that was killed here
        save_pipeline(estimator, place.model, record=record)
        if detectors is not None:
            save_event_detector(detectors.offline, place.model, detectors.causal)
        if scores is not None:
            write_facts(place.model / METRICS, scores)
        if data.facts.get("anonymous"):
            anonymise_model(place.model, hashes=True)
            record = runs.read_json(place.model / PIPELINE)["record"]
        place.publish()
        processes.agreed(record)
        return record


def _split(data: Data, hold_out: Sequence[str], validation_fraction: float, random_state: int) -> Fold:
    """Take the hold-out away and split the others into training and validation."""
    if isinstance(hold_out, str):
        raise TypeError(f"hold_out is a list of subjects, found the text {hold_out!r}")
    held = tuple(sorted({str(subject) for subject in hold_out}))
    present = sorted(set(data.subjects))
    unknown = [subject for subject in held if subject not in present]
    if unknown:
        raise SplitError(f"hold_out: no windows of {', '.join(unknown)}; the windows are of {', '.join(present)}")
    if len(held) == len(present):
        raise SplitError(f"hold_out: all {len(present)} subjects are held out, so nobody is left to train on")
    rest = ~np.isin(data.subjects, held)
    fold = split_all(
        data.y[rest], data.subjects[rest], validation_fraction=validation_fraction, random_state=random_state
    )
    return replace(fold, test=held)


def _scores(
    estimator: Any,
    data: Data,
    fold: Fold,
    metrics: tuple[Metric, ...],
    chosen: Threshold,
    detectors: Detectors | None,
) -> RunMetrics:
    """Score the hold-out, in the form of a run folder's ``metrics.json``."""
    rows = fold.rows(data.subjects)["test"]
    proba = class_probabilities(estimator, data.X[rows], "hold-out", len(data.classes))
    table = predictions_of(data, fold, "test", rows, proba)
    table = table.assign(threshold=np.nan if chosen.value is None else chosen.value)
    facts: Cells = {
        **fold.as_dict(),
        "threshold": chosen.as_dict(),
        "scores": fold_scores(metrics, table),
        "events": None if detectors is None else event_facts(detectors, data, table),
    }
    return runs.to_jsonable(aggregate(metrics, [FoldOutcome(cast(FoldFacts, facts), table)]))
