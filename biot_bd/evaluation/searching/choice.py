"""The choice on all subjects, for a final model that nobody scores."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biot_bd.evaluation.data import as_data, check_classes
from biot_bd.evaluation.fold import check_scorable, check_splits_inside
from biot_bd.evaluation.metrics.thresholds import check_threshold_rule
from biot_bd.evaluation.model_selection.contamination import find_origins
from biot_bd.evaluation.model_selection.folds import Fold
from biot_bd.evaluation.parallel import jobs_at_once
from biot_bd.evaluation.planned_run import SEARCH, checked_seed, checkpoints_of, locked, metrics_of
from biot_bd.evaluation.run_facts import RUN, Cells, read_facts, write_facts
from biot_bd.evaluation.searching.engines import as_engine
from biot_bd.evaluation.searching.grids import as_grids, weights_in, with_params
from biot_bd.evaluation.searching.inner_folds import make_inner_folds
from biot_bd.evaluation.searching.search_notes import choice_lines, seen_notes
from biot_bd.evaluation.searching.search_record import RECORD, SearchRecord, search_facts, write_record
from biot_bd.evaluation.searching.search_rounds import SearchPlan, check_inside, run_rounds
from biot_bd.evaluation.searching.search_setup import known_variants, search_identity, search_options
from biot_bd.evaluation.study_identity import differences, identity_of, refuse_other_study
from biot_bd.exceptions import RunFolderError, SplitError
from biot_bd.runs import fingerprint, to_jsonable

IDENTITY = "identity.json"


@dataclass(frozen=True)
class ChosenPipeline:
    """What was chosen on all subjects.

    Parameters
    ----------
    pipeline : estimator
        The estimator with the chosen parameters, not fitted.
    params : dict
        The chosen parameters.
    record : SearchRecord
        What was tried.

    See Also
    --------
    choose : Makes one.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, choose
    >>> subjects = np.repeat(["site/01", "site/02", "site/03"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 3).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (60, 2, 200)) * (1 + y[:, None, None])
    >>> pipeline = baseline("line-length", X)
    >>> grid = {f"{pipeline.steps[-1][0]}__C": [1.0]}
    >>> choice = choose(pipeline, grid, X, "runs/chosen", y=y, groups=subjects, progress=False)
    >>> choice.params
    {'logisticregression__C': 1.0}
    """

    pipeline: Any
    params: dict[str, Any]
    record: SearchRecord


def choose(
    estimator: Any,
    grid: Any,
    X: Any,
    folder: str | os.PathLike[str],
    *,
    y: Any = None,
    groups: Any = None,
    inner_cv: Any = "subject-kfold-3",
    n_jobs: int | None = 1,
    progress: bool = True,
    engine: Any = "grid",
    scoring: Any = ("average_precision", "roc_auc", "balanced_accuracy"),
    threshold: str | float = "balanced-accuracy",
    validation_fraction: float = 0.25,
    random_state: int = 0,
) -> ChosenPipeline:
    """Choose parameters by an inner split of all subjects, for a model that is fitted on all.

    The means of the candidates are those that they were chosen by, not scores of the model: for
    these run :func:`search`.

    Parameters
    ----------
    estimator, grid, X : object
        As in :func:`search`.
    folder : path
        Gets ``search.json`` and ``search/``; a call that was killed goes on with the same call.
    y, groups, inner_cv, n_jobs, progress, engine, scoring, threshold : object
        As in :func:`search`.
    validation_fraction : float
        As in :func:`search`.
    random_state : int
        As in :func:`search`.

    Returns
    -------
    ChosenPipeline

    Raises
    ------
    SearchError
        Every candidate failed.
    SplitError
        Fewer than two subjects, or a subject on two sides.
    RunFolderError
        The folder holds something else, or is in use.
    ValueError, TypeError
        As :func:`search`.

    See Also
    --------
    fit_all : Fits the chosen pipeline.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, choose
    >>> subjects = np.repeat(["site/01", "site/02", "site/03"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 3).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (60, 2, 200)) * (1 + y[:, None, None])
    >>> pipeline = baseline("line-length", X)
    >>> grid = {f"{pipeline.steps[-1][0]}__C": [0.01, 1.0]}
    >>> choice = choose(pipeline, grid, X, "runs/choice", y=y, groups=subjects, progress=False)
    >>> choice.record.table["n_inner"].tolist()
    [3, 3]
    """
    engine, grids, folder = as_engine(engine), as_grids(grid), Path(folder)
    random_state = checked_seed(random_state)
    data = as_data(X, y, groups)
    variants = known_variants(estimator, engine, grids, random_state)
    fold = Fold(0, tuple(sorted(set(data.subjects))), (), (), 0)  # the outer fold of a choice that nobody scores
    inner = make_inner_folds(data, fold, inner_cv, validation_fraction=validation_fraction, random_state=random_state)
    if not inner.folds:
        raise SplitError(f"a choice by subject needs at least 2 subjects: {'; '.join(inner.notes)}")
    for one in variants:
        check_classes(one, len(data.classes))
        check_scorable(one)
        check_splits_inside(one, data, fold)
        check_inside(one, data, [inner])
    rounds = SearchPlan(
        estimator=estimator,
        grids=grids,
        engine=engine,
        data=data,
        outer=[fold],
        inner=[inner],
        metric=metrics_of(scoring, data)[0],
        threshold=check_threshold_rule(threshold),
        random_state=random_state,
        folder=folder / SEARCH,
        at_once=jobs_at_once(n_jobs) != 1,
    )
    facts = search_options(rounds, inner_cv)
    origins = find_origins(variants or weights_in(estimator, grids))
    identity = {
        "pipeline": identity_of(estimator),
        "data": data.facts["fingerprint"],
        "parameters": {
            "scoring": rounds.metric.name,
            "threshold": rounds.threshold,
            "validation_fraction": float(validation_fraction),
            "random_state": random_state,
        },
        "search": search_identity(rounds, facts),
        "checkpoints": checkpoints_of(origins),
    }
    with locked(_checked(folder)):
        marked = _same_choice(folder, to_jsonable(identity))
        found = run_rounds(
            rounds,
            marked,
            n_jobs=n_jobs,
            progress=progress,
            known=len(variants),
            retry=not (folder / RECORD).is_file(),
        )
        facts |= to_jsonable(search_facts(found, common=bool(variants)))
        facts["notes"] = [*seen_notes(rounds, origins), *choice_lines(rounds, found)]
        write_record(
            folder, {"state": "chosen", "fingerprint": marked, **facts}, found, rounds.metric.greater_is_better
        )
    final = dict(found[0].final)
    return ChosenPipeline(with_params(estimator, final, "the chosen"), final, SearchRecord.open(folder))


def _checked(folder: Path) -> Path:
    """Return the folder where a choice may be made in it."""
    if folder.is_file():
        raise RunFolderError(f"{folder} is a file; name a folder for the choice")
    if (folder / RUN).is_file():
        raise RunFolderError(f"{folder} holds a run; name another folder for the choice on all subjects")
    others = sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
    if others and not (folder / SEARCH / IDENTITY).is_file():
        raise RunFolderError(f"{folder} holds no choice and is not empty ({', '.join(others[:5])}); name a new one")
    return folder


def _same_choice(folder: Path, identity: Cells) -> str:
    """Return the fingerprint of the choice; refuse a folder of another one."""
    path = folder / SEARCH / IDENTITY
    if path.is_file():
        stored = read_facts(path)
        refuse_other_study(folder, differences(stored["identity"], identity))
        return str(stored["fingerprint"])
    write_facts(path, {"fingerprint": fingerprint(identity), "identity": identity})
    return fingerprint(identity)
