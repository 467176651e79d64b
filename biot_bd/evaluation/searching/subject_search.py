"""Nested search by subject: parameters are chosen inside each outer fold, whose test subjects
score what was chosen.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from biot_bd.evaluation.cross_validation import compute_folds
from biot_bd.evaluation.fold import FoldTask, training_notes
from biot_bd.evaluation.model_selection.contamination import find_origins
from biot_bd.evaluation.planned_run import SEARCH, PlannedRun, finish, opened
from biot_bd.evaluation.result import Result
from biot_bd.evaluation.run_facts import Cells, read_facts
from biot_bd.evaluation.searching.grids import with_params
from biot_bd.evaluation.searching.search_notes import choice_lines, seen_notes
from biot_bd.evaluation.searching.search_record import RECORD, search_facts, write_record
from biot_bd.evaluation.searching.search_rounds import FoldSearch, run_rounds
from biot_bd.evaluation.searching.search_setup import set_up
from biot_bd.evaluation.study_identity import short
from biot_bd.evaluation.window_scores import FoldOutcome
from biot_bd.events.detector import EventDetector
from biot_bd.exceptions import RunFolderError
from biot_bd.runs import to_jsonable


def search(
    estimator: Any,
    grid: Any,
    X: Any,
    *,
    y: Any = None,
    groups: Any = None,
    cv: Any = "subject-loo",
    inner_cv: Any = "subject-kfold-3",
    folder: str | os.PathLike[str] | None = None,
    n_jobs: int | None = 1,
    progress: bool = True,
    engine: Any = "grid",
    scoring: Any = ("average_precision", "roc_auc", "balanced_accuracy"),
    threshold: str | float = "balanced-accuracy",
    validation_fraction: float = 0.25,
    random_state: int = 0,
    title: str | None = None,
    notes: Sequence[str] = (),
    splits_from: Any = None,
    allow_contaminated: bool = False,
    event_detector: EventDetector | None = None,
) -> Result:
    """Choose parameters inside each outer fold, and score what was chosen on its test subjects.

    In each outer fold the subjects who do not test it are split once more; every candidate is
    fitted and scored in every inner fold, and the one with the best mean is fitted and scored as by
    :func:`~biot_bd.cross_validate`.  No score that is returned is of a subject that any choice saw.

    Parameters
    ----------
    estimator : estimator
        As ``pipeline`` of :func:`~biot_bd.cross_validate`; it is not changed.
    grid : dict or list of dict
        Parameters (``"biotclassifier__lr"``) with lists of values; for engines that draw also with
        a :class:`Range` or a distribution.
    X : Windows, array of shape (n, n_chans, n_times) or mne.Epochs
        What is scored, as ``windows`` of :func:`~biot_bd.cross_validate`.
    y, groups : array, optional
        As in :func:`~biot_bd.cross_validate`: labels, and the subject of each window.
    cv : str or splitter
        The outer split.
    inner_cv : str or splitter
        The inner split, of all subjects of an outer fold who do not test it.  Of
        ``"subject-kfold-N"`` with fewer than N subjects inside each is left out once.  In every
        inner fold ``validation_fraction`` of the training subjects stop the training.
    folder : path, optional
        The run folder, that of :func:`~biot_bd.cross_validate` with ``search.json`` and ``search/``
        beside (:class:`SearchRecord` reads them).  A call that was killed goes on with the same
        call; at most the fits that ran are lost.
    n_jobs : int
        Fits computed at once, over all outer folds; the result does not depend on it.
    progress : bool
        Show progress bars on stderr.
    engine : str or engine
        ``"grid"``, ``"random"``, ``"halving"``, ``"optuna"`` or an object: :class:`GridEngine`,
        :class:`RandomSearch`, :class:`HalvingSearch`, :class:`OptunaSearch`.
    scoring : str, Metric, callable or sequence of them
        The first chooses; all score the chosen.
    threshold, title, notes, splits_from, event_detector : object
        As in :func:`~biot_bd.cross_validate`.
    validation_fraction : float
        Share of the training subjects that validate, of outer and of inner folds.
    allow_contaminated : bool
        As in :func:`~biot_bd.cross_validate`.
    random_state : int
        Seed of the splits and, with the numbers of outer fold, candidate and inner fold, of every
        fit.

    Returns
    -------
    Result
        ``run["search"]`` says what was chosen.

    Raises
    ------
    SearchError
        Every candidate failed in an outer fold; what failed is tried again by the same call.
    ContaminationError, SubjectLeakError, SplitError, RunFolderError, SavedPipelineError
        As :func:`~biot_bd.cross_validate`, of every candidate.
    MissingExtraError
        The engine's library is not installed.
    ValueError, TypeError
        The grid, a candidate or an option has no meaning.

    See Also
    --------
    choose : The choice on all subjects, for a final model.
    SearchRecord : What was tried.
    biot_bd.cross_validate : Scores one pipeline.

    Notes
    -----
    A candidate's score is the mean of the inner folds for which the metric is defined, their
    number stands beside it; of equals the first is chosen.  A candidate with a fit that raised is
    out.  This is the nested cross-validation of Varma and Simon, "Bias in error estimation when
    using cross-validation for model selection", BMC Bioinformatics 7:91, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, search
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + y[:, None, None])
    >>> pipeline = baseline("line-length", X)
    >>> grid = {f"{pipeline.steps[-1][0]}__C": [0.01, 1.0]}
    >>> result = search(pipeline, grid, X, y=y, groups=subjects, progress=False)
    >>> result.table["n_windows"].to_dict()
    {'site/01': 20, 'site/02': 20, 'site/03': 20, 'site/04': 20}
    >>> [fold["fold"] for fold in result.run["search"]["chosen"]]
    [0, 1, 2, 3]
    """
    setup = set_up(
        estimator,
        grid,
        X,
        y=y,
        groups=groups,
        cv=cv,
        inner_cv=inner_cv,
        folder=folder,
        n_jobs=n_jobs,
        engine=engine,
        scoring=scoring,
        threshold=threshold,
        validation_fraction=validation_fraction,
        random_state=random_state,
        title=title,
        notes=notes,
        splits_from=splits_from,
        allow_contaminated=allow_contaminated,
        event_detector=event_detector,
    )
    plan = setup.plan
    with opened(plan):
        before = _chosen_before(plan)
        found = run_rounds(
            setup.rounds,
            plan.run["fingerprint"],
            n_jobs=n_jobs,
            progress=progress,
            known=setup.n_known,
            retry=before is None,
        )
        facts = {**setup.facts, **to_jsonable(search_facts(found, common=setup.n_known > 0))}
        facts["notes"] = [*seen_notes(setup.rounds, plan.origins), *choice_lines(setup.rounds, found)]
        _check_same_choice(plan, before, facts["chosen"])
        if plan.folder is not None:
            marked = {"state": "chosen", "fingerprint": plan.run["fingerprint"], **facts}
            write_record(plan.folder, marked, found, plan.metrics[0].greater_is_better)
        return _scored(plan, estimator, facts, found, n_jobs, progress)


def _chosen_before(plan: PlannedRun) -> list[Cells] | None:
    """Return what an earlier call chose, None where it chose nothing yet."""
    path = None if plan.folder is None else plan.folder / RECORD
    if path is None or not path.is_file():
        return None
    stored = read_facts(path)
    if stored.get("fingerprint") != plan.run["fingerprint"]:
        raise RunFolderError(f"{path}: belongs to another study; delete it and run again")
    chosen: list[Cells] = stored["chosen"]
    return chosen


def _check_same_choice(plan: PlannedRun, before: list[Cells] | None, chosen: list[Cells]) -> None:
    if before is None or before == chosen:
        return
    folds = [str(new["fold"]) for old, new in zip(before, chosen, strict=False) if old != new]
    raise RunFolderError(
        f"{plan.folder}: fold(s) {', '.join(folds)} would now be given other parameters than before, so files in "
        f"{SEARCH}/ were changed; delete the folder and run again"
    )


def _scored(
    plan: PlannedRun, estimator: Any, facts: Cells, found: Sequence[FoldSearch], n_jobs: int | None, progress: bool
) -> Result:
    """Fit and score what was chosen in each outer fold."""
    plan.run["search"] = {name: facts[name] for name in ("engine", "inner_cv", "scoring", "chosen")}
    tasks, told = [], list(plan.run["notes"])
    for fold, one in zip(plan.folds, found, strict=True):
        pipeline = with_params(estimator, one.final, f"candidate {one.chosen.candidate}")
        best = next(choice for choice in facts["chosen"] if choice["fold"] == fold.index)
        chosen = {"best_params": best["params"], "best_score": best["mean"], "candidate": best["candidate"]}
        tasks.append(plan.task(fold, pipeline, find_origins(pipeline), chosen))
        told += [f"fold {fold.index}: {note}" for note in training_notes(pipeline)]
    plan.run["notes"] = [*told, *facts["notes"]]
    done = plan.finished_folds()
    _check_fitted(plan, tasks, done)
    return finish(plan, compute_folds(tasks, done, n_jobs, progress))


def _check_fitted(plan: PlannedRun, tasks: Sequence[FoldTask], done: Sequence[FoldOutcome | None]) -> None:
    """Raise where a fold was scored with other parameters than were chosen now."""
    for task, outcome in zip(tasks, done, strict=True):
        stored: Any = {} if outcome is None else outcome.facts.get("search")
        if outcome is not None and stored != task.chosen:
            raise RunFolderError(
                f"{plan.folder}: fold {task.fold.index} was scored with {short(stored)}, and {short(task.chosen)} is chosen now, "
                f"so files in {SEARCH}/ were changed or removed; delete the folder and run again"
            )
