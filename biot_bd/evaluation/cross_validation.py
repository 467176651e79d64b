"""Cross-validation by subject.

Our loop over scikit-learn's splitters, with files that survive a kill.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from biot_bd.evaluation._progress import FoldProgress
from biot_bd.evaluation.fold import FoldTask, run_fold
from biot_bd.evaluation.parallel import run_tasks
from biot_bd.evaluation.planned_run import finish, opened, plan_run
from biot_bd.evaluation.protocols import Protocol
from biot_bd.evaluation.result import Result
from biot_bd.evaluation.window_scores import FoldOutcome
from biot_bd.events.detector import EventDetector


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
    n_jobs: int | None = 1,
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
        Folds computed at once, on the backend of ``joblib.parallel_config`` or of
        :func:`~biot_bd.evaluation.workers`.  The result does not depend on it: every fold uses as
        many torch threads as the calling process (``torch.set_num_threads``), and files of
        callbacks of its own (``fold-NN`` in each folder that one names).  With threads the fits of
        neural nets run one after another.
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
    LostWorkerError
        A worker was killed; the same call again computes what is missing.
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
    plan = plan_run(
        pipeline,
        windows,
        y=y,
        groups=groups,
        folder=folder,
        cv=cv,
        scoring=scoring,
        threshold=threshold,
        validation_fraction=validation_fraction,
        n_jobs=n_jobs,
        random_state=random_state,
        title=title,
        notes=notes,
        protocol=protocol,
        splits_from=splits_from,
        allow_contaminated=allow_contaminated,
        event_detector=event_detector,
    )
    with opened(plan):
        tasks = [plan.task(fold, pipeline, plan.origins) for fold in plan.folds]
        return finish(plan, compute_folds(tasks, plan.finished_folds(), n_jobs, progress))


def compute_folds(
    tasks: Sequence[FoldTask], done: Sequence[FoldOutcome | None], n_jobs: int | None, progress: bool
) -> list[FoldOutcome]:
    """Run the folds that are not done yet; return all in their order.

    Parameters
    ----------
    tasks : sequence of FoldTask
        Of all folds.
    done : sequence of FoldOutcome or None
        Those that earlier calls finished.
    n_jobs, progress
        As in :func:`cross_validate`.
    """
    outcomes = {outcome.facts["fold"]: outcome for outcome in done if outcome is not None}
    missing = [task for task in tasks if task.fold.index not in outcomes]
    with FoldProgress(len(tasks), already=len(outcomes), show=progress) as bar:
        here = partial(run_fold, watch=bar.watch)
        for outcome in run_tasks(run_fold, missing, n_jobs=n_jobs, here=here):
            outcomes[outcome.facts["fold"]] = outcome
            bar.fold_finished(outcome.facts)
    return [outcomes[task.fold.index] for task in tasks]
