"""Cross-validation by subject.

Our loop over scikit-learn's splitters, with files that survive a kill.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout

from biot_bd import runs
from biot_bd.evaluation import run_facts
from biot_bd.evaluation._progress import FoldProgress
from biot_bd.evaluation.data import Data, as_data, check_classes
from biot_bd.evaluation.fold import (
    FoldTask,
    check_kept,
    check_scorable,
    check_splits_inside,
    configure,
    finished_fold,
    run_fold,
    training_notes,
)
from biot_bd.evaluation.fold_callbacks import check_callbacks
from biot_bd.evaluation.fold_events import detector_parameters, write_events
from biot_bd.evaluation.metrics.thresholds import check_threshold_rule
from biot_bd.evaluation.metrics.window_metrics import Metric, as_metrics
from biot_bd.evaluation.model_selection.contamination import (
    check_contamination,
    comparison_notes,
    contamination_facts,
    find_origins,
)
from biot_bd.evaluation.model_selection.folds import Fold, make_folds
from biot_bd.evaluation.model_selection.official_split import official_parts
from biot_bd.evaluation.parallel import run_tasks
from biot_bd.evaluation.protocols import CUSTOM, Protocol, as_protocol, averaged
from biot_bd.evaluation.result import Result, degenerate_notes
from biot_bd.evaluation.run_facts import Cells, RunFacts, RunMetrics
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
from biot_bd.runs import fingerprint
from biot_bd.training.pretrained import checkpoint_identity
from biot_bd.windows import Windows
from biot_bd.windows.store_users import note_user


def cross_validate(
    pipeline: Any,
    windows: Any,
    *,
    y: Any = None,
    groups: Any = None,
    folder: str | os.PathLike[str] | None = None,
    cv: Any = "subject-loo",
    scoring: Any = ("average_precision", "roc_auc", "balanced_accuracy"),
    threshold: str | float = "balanced-accuracy",
    validation_fraction: float = 0.25,
    n_jobs: int = 1,
    random_state: int = 0,
    title: str | None = None,
    notes: Sequence[str] = (),
    progress: bool = True,
    protocol: str | Protocol | None = None,
    splits_from: Any = None,
    allow_contaminated: bool = False,
    event_detector: EventDetector | None = None,
) -> Result:
    """Score a pipeline on subjects that it has not seen.

    In each fold the pipeline is cloned and fitted on the training subjects; validation subjects
    stop the training of a :class:`~biot_bd.BIOTClassifier` and give the threshold of every
    estimator; the test subjects are scored once, when the fold's model is final.  All sides are
    whole subjects.

    Parameters
    ----------
    pipeline : estimator
        A scikit-learn estimator with ``predict_proba``: usually a ``Pipeline`` that ends in
        ``BIOTClassifier``, but any classifier, search, calibration, stack and so on.  Every ``cv``
        inside must split by group, and is given the subjects.  It is not changed.
    windows : Windows, array of shape (n, n_chans, n_times) or mne.Epochs
        What is scored; arrays in the unit that the pipeline shall see.
    y : array of shape (n,) or (n, n_classes), optional
        Labels, 0 (background) or 1 (seizure), or 0 to n_classes - 1; ``Windows`` know theirs.  Or
        soft targets, rows of shares that sum to 1 (of ``Windows`` their ``targets``): a last step
        that takes them (``takes_soft_targets``) is fitted on them, metrics with ``soft_targets``
        compare with them, everything else with the most voted class.
    groups : array of shape (n,), optional
        Subject of each window; ``Windows`` know theirs.
    folder : path, optional
        The run folder, as docs/architecture.md describes it.  A call with a folder that holds a
        part of the same study computes what is missing; another study in it raises, unless that one
        has neither a finished fold nor a restart point (it failed at once): it is replaced.
        Without a folder nothing is written.
    cv : str or splitter
        ``"subject-loo"``, ``"subject-kfold-N"``, ``"stratified-subject-kfold-N"``,
        ``"biot-paper"``, ``"biot-code"``, ``"tusz-official"`` or a scikit-learn splitter, which
        gets the subjects as groups.
    scoring : str, Metric, callable or sequence of them
        Names in ``biot_bd.registry.metrics`` or of scorers of scikit-learn (``"f1"``),
        ``make_scorer(...)``, or functions of ``(y_true, proba)``.  Of more than two classes
        balanced accuracy, accuracy and macro F1 by default.
    threshold : {"balanced-accuracy", "matched-prevalence"} or float
        How the threshold is chosen on the validation predictions.
    validation_fraction : float
        Share of a fold's training subjects that validate, at least one; with fewer than three
        training subjects, or 0, none does: epochs are fixed, the threshold is 0.5.  Fixed splits
        bring their own.
    n_jobs : int
        Folds computed at once (joblib).  The result does not depend on it: every fold uses as many
        torch threads as the calling process (``torch.set_num_threads``), and files of callbacks of
        its own (``fold-NN`` in each folder that one names).  With joblib's threading backend the
        fits of neural nets run one after another.
    random_state : int
        Seed of the split; with a fold's number the seed of that fold.
    title : str, optional
        Stands above every output, e.g. ``"small BIOT (depth 1)"``.
    notes : sequence of str
        Remarks that go into every output.
    progress : bool
        Show a progress bar (on stderr, where that is a terminal) and a line for each finished fold.
    protocol : str or Protocol, optional
        A preset of :data:`~biot_bd.evaluation.PROTOCOLS`, which gives ``cv``, ``scoring``,
        ``threshold`` and ``validation_fraction`` and against which windows and pipeline are
        checked.  Without one the result is ``"custom"``.
    splits_from : Result or path, optional
        Another study (its run folder) whose stored folds are used, training, validation and test
        subjects; in place of ``cv`` and ``validation_fraction``.
    allow_contaminated : bool
        Score a pipeline whose checkpoint (``pretrained``, also in the grid of a search) saw test
        subjects, or may have; every output then says so.
    event_detector : EventDetector, optional
        How probabilities become events, and what their operating point is chosen for, e.g.
        ``EventDetector(target="fa_per_24h", target_fa_per_24h=2)``.  It is fitted in each fold on
        the predictions of the validation subjects, for whole recordings and causally, whatever its
        own ``causal`` and ``window_s``.  Needs ``Windows``: arrays name no recordings.

    Returns
    -------
    Result

    Raises
    ------
    ContaminationError
        A checkpoint saw a test subject of any fold, or nobody knows what it saw: before anything is
        loaded or fitted.
    SubjectLeakError
        A ``cv`` inside the pipeline, at any depth, puts a subject on two sides.
    SplitError
        Fewer than two subjects, subjects of a fixed split missing, a subject on two sides, a fold
        whose training part has one class: before anything is fitted.
    RunFolderError
        The folder holds another study (the message says what differs), is no run folder, or is in
        use.
    SavedPipelineError
        With ``folder``: something in the pipeline cannot be saved (the message names the
        parameter), before anything is fitted.
    ValueError
        Labels or subjects are missing or malformed, a metric cannot score labels and probabilities,
        the pipeline gives none, a model gives some that are not finite, or folds at once would
        share the files of a callback.

    See Also
    --------
    fit_all : The final model, fitted on all subjects.
    run_protocol : The same with the values of a protocol.
    compare_regimes : Several pipelines on the same folds.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, cross_validate
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + y[:, None, None])
    >>> pipeline = baseline("line-length", X)
    >>> result = cross_validate(pipeline, X, y=y, groups=subjects, progress=False)
    >>> result.table["n_windows"].to_dict()
    {'site/01': 20, 'site/02': 20, 'site/03': 20, 'site/04': 20}
    >>> result.metrics["macro"]["roc_auc"]["n_subjects"]
    4
    """
    preset = None if protocol is None else as_protocol(protocol)
    source = None if splits_from is None else stored_run(splits_from)
    if preset is not None:
        preset.check_windows(windows)
        preset.check_pipeline(pipeline)
    given = {"cv": cv, "scoring": scoring, "threshold": threshold, "validation_fraction": validation_fraction}
    cv, scoring, threshold, validation_fraction = settled(given, preset, source)
    data = as_data(windows, y, groups)
    check_classes(pipeline, len(data.classes))
    if len(data.classes) > 2 and scoring == DEFAULTS["scoring"]:
        scoring = SCORING_OF_SEVERAL
    metrics = as_metrics(scoring, len(data.classes), data.targets is not None)
    check_scorable(pipeline)
    rule = check_threshold_rule(threshold)
    if isinstance(random_state, bool) or not isinstance(random_state, Integral) or random_state < 0:
        raise ValueError(f"random_state must be an int of at least 0, got {random_state!r}")
    random_state, validation_fraction = int(random_state), float(validation_fraction)
    if source is not None:
        folds = stored_folds(source, data.y, data.subjects, data.recordings, random_state)
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
        asked = {name: parameters[name] for name in ("cv", "validation_fraction", "random_state")}
        folds = kept_folds(Path(folder), folds, runs.to_jsonable(asked), data)
    if folder is not None:
        check_kept(configure(pipeline, folds[0], None))
    if n_jobs != 1:
        check_callbacks(pipeline)
    for fold in folds:
        check_splits_inside(pipeline, data, fold)
    origins = find_origins(pipeline)
    tested = [subject for fold in folds for subject in fold.test]
    contamination = check_contamination(origins, tested, recordings=data.recording_table, allow=allow_contaminated)
    notes = [*notes, *comparison_notes(origins, data.recording_table)]
    identity: Cells = {
        "pipeline": identity_of(pipeline),
        "data": data.facts["fingerprint"],
        "parameters": parameters,
        "splits": {str(fold.index): fold.sides() for fold in folds},
    }
    if preset is not None:
        identity["protocol"] = protocol_values(preset.as_dict())
    if origins:  # their content: another file under the same name is another study
        identity["checkpoints"] = sorted({checkpoint_identity(o.source) for o in origins if o.source is not None})
    run = _describe_run(pipeline, data, folds, identity, notes)
    run["title"] = title
    run["protocol"] = runs.to_jsonable({"name": CUSTOM} if preset is None else preset.as_dict())
    run["splits_from"] = None if source is None else source["fingerprint"]
    run |= contamination_facts(origins, contamination, allow_contaminated)  # type: ignore[typeddict-item]
    path = None if folder is None else Path(folder)
    template = EventDetector() if event_detector is None else event_detector
    with nullcontext() if path is None else _opened(path, run):
        if path is not None and isinstance(data.X, Windows):
            note_user(data.X, path)
        tasks = [
            FoldTask(pipeline, data, fold, metrics, rule, run["fingerprint"], path, tuple(origins), None, template)
            for fold in folds
        ]
        done = [
            None if path is None else finished_fold(path, fold.index, run["fingerprint"], metrics) for fold in folds
        ]
        outcomes = _compute(tasks, done, n_jobs, progress)
        scores = _scores(metrics, outcomes, preset, run)
        predictions = pd.concat([outcome.predictions for outcome in outcomes], ignore_index=True)
        if path is None:
            return Result(scores, predictions, {**run, "state": "finished"})
        write_events(path, [outcome.facts for outcome in outcomes])
        run_facts.write_predictions(path / run_facts.PREDICTIONS, predictions)
        run_facts.write_facts(path / run_facts.METRICS, scores)
        run_facts.write_facts(
            path / run_facts.RUN, {**run, "state": "finished", "finished": now()}
        )  # the last: it says that all is there
        return Result.open(path)


def _describe_run(pipeline: Any, data: Data, folds: Sequence[Fold], identity: Cells, notes: Sequence[str]) -> RunFacts:
    """Return the content of ``run.json``."""
    fold_notes = [note for fold in folds for note in fold.notes]
    common = [note for note in dict.fromkeys(fold_notes) if fold_notes.count(note) == len(folds)]
    single = [f"fold {f.index}: {note}" for f in folds for note in f.notes if note not in common]
    return runs.to_jsonable(
        {
            "kind": "cross-validation",
            "state": "running",
            "notes": [*notes, *training_notes(pipeline), *common, *single],
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


@contextmanager
def _opened(folder: Path, run: RunFacts) -> Iterator[None]:
    """Hold the run folder for this process.

    Check that it is new or holds a part of the same study.
    """
    run_facts.stored_facts(folder, run_facts.RUN)  # refuses what is no run folder before a lock is laid in it
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
        _check_folder(folder, run)
        run_facts.write_facts(folder / run_facts.RUN, run)
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
        for part in ("folds", "tensorboard"):
            shutil.rmtree(folder / part, ignore_errors=True)
        return
    refuse_other_study(folder, lines)
    run["started"] = old.get("started", run["started"])
    run["fingerprint"] = fingerprint_of_folds


def _nothing_done(folder: Path, old: RunFacts) -> bool:
    """Return whether a study failed before it computed anything that is worth keeping."""
    if old.get("kind") != "cross-validation" or old.get("state") != "running":
        return False
    left = any(folder.glob("folds/*/fold.json")) or any(folder.glob("folds/*/restart/*.pt"))
    return not left and not any((folder / name).exists() for name in (run_facts.PREDICTIONS, run_facts.METRICS))


def _compute(
    tasks: Sequence[FoldTask], done: Sequence[FoldOutcome | None], n_jobs: int, progress: bool
) -> list[FoldOutcome]:
    """Run the folds that are not done yet; return all in their order."""
    outcomes = {outcome.facts["fold"]: outcome for outcome in done if outcome is not None}
    missing = [task for task in tasks if task.fold.index not in outcomes]
    with FoldProgress(len(tasks), already=len(outcomes), show=progress) as bar:
        for outcome in _outcomes(missing, n_jobs, bar):
            outcomes[outcome.facts["fold"]] = outcome
            bar.fold_finished(outcome.facts)
    return [outcomes[task.fold.index] for task in tasks]


def _outcomes(tasks: Sequence[FoldTask], n_jobs: int, bar: FoldProgress) -> Iterable[FoldOutcome]:
    here = n_jobs == 1 or len(tasks) < 2
    return run_tasks(partial(run_fold, watch=bar.watch) if here else run_fold, tasks, n_jobs=n_jobs)


def _scores(
    metrics: Sequence[Metric], outcomes: Sequence[FoldOutcome], preset: Protocol | None, run: RunFacts
) -> RunMetrics:
    """Return the content of ``metrics.json``; degenerate folds go into the notes of ``run``."""
    scores = aggregate(metrics, outcomes)
    name, averaging = (CUSTOM, "subjects") if preset is None else (preset.name, preset.averaging)
    scores["protocol"] = {"name": name, "averaging": averaging, "scores": averaged(scores, averaging)}
    scores["contamination"] = run["contamination"]
    run["notes"] = [*run["notes"], *degenerate_notes(outcomes)]
    return scores


def now() -> str:
    """Return the time, as run folders hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
