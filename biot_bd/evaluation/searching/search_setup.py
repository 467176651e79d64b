"""A search before anything is fitted: every candidate checked, outer and inner folds made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biot_bd.evaluation.parallel import jobs_at_once
from biot_bd.evaluation.planned_run import SEARCH, PlannedRun, identify, plan_run
from biot_bd.evaluation.run_facts import Cells
from biot_bd.evaluation.searching.engine import Engine
from biot_bd.evaluation.searching.engines import as_engine, engine_facts
from biot_bd.evaluation.searching.grids import (
    as_grids,
    describe_grid,
    grid_texts,
    some_value,
    weights_in,
    with_params,
)
from biot_bd.evaluation.searching.inner_folds import InnerFolds, make_inner_folds
from biot_bd.evaluation.searching.search_record import SCORE_TYPES
from biot_bd.evaluation.searching.search_rounds import SearchPlan, check_inside
from biot_bd.evaluation.study_identity import describe, final_step
from biot_bd.events.detector import EventDetector
from biot_bd.runs import fingerprint
from biot_bd.training import BIOTClassifier


@dataclass(frozen=True)
class SearchSetup:
    """A search that can begin.

    Attributes
    ----------
    plan : PlannedRun
        The run whose outer folds score what is chosen.
    rounds : SearchPlan
    n_known : int
        Candidates that are known beforehand; 0 where they depend on scores.
    facts : dict
        What ``search.json`` says before anything is tried.
    """

    plan: PlannedRun
    rounds: SearchPlan
    n_known: int
    facts: Cells


def set_up(
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
) -> SearchSetup:
    """Check everything that a search can know before its first fit; parameters as there.

    Raises
    ------
    ContaminationError, SubjectLeakError, SplitError, SavedPipelineError, ValueError, TypeError
        As :func:`~biot_bd.evaluation.search`.
    """
    engine, grids = as_engine(engine), as_grids(grid)
    variants = known_variants(estimator, engine, grids, random_state)
    plan = plan_run(
        estimator,
        X,
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
        protocol=None,
        splits_from=splits_from,
        allow_contaminated=allow_contaminated,
        event_detector=event_detector,
        variants=variants,
        weights=variants or weights_in(estimator, grids),
    )
    inner = [
        make_inner_folds(
            plan.data, fold, inner_cv, validation_fraction=validation_fraction, random_state=plan.run["seed"]
        )
        for fold in plan.folds
    ]
    for variant in variants:
        check_inside(variant, plan.data, inner)
    rounds = SearchPlan(
        estimator=estimator,
        grids=grids,
        engine=engine,
        data=plan.data,
        outer=plan.folds,
        inner=inner,
        metric=plan.metrics[0],
        threshold=plan.threshold,
        random_state=plan.run["seed"],
        folder=None if plan.folder is None else plan.folder / SEARCH,
        at_once=jobs_at_once(n_jobs) != 1,
    )
    facts = search_options(rounds, inner_cv)
    identify(plan.run, search=search_identity(rounds, facts))
    return SearchSetup(plan, rounds, len(variants), facts)


def known_variants(estimator: Any, engine: Engine, grids: Sequence[Mapping[str, Any]], random_state: int) -> list[Any]:
    """Return the estimator with the parameters of each candidate that is known beforehand.

    Raises
    ------
    ValueError
        The estimator does not take them.
    """
    names = {name for part in grids for name in part}
    _check_not_set_in_folds(estimator, names)
    if taken := sorted(names & set(SCORE_TYPES)):
        raise ValueError(
            f"grid: the table of candidates has a column {taken[0]} already; search make_pipeline(estimator), "
            f"whose parameter is {type(estimator).__name__.lower()}__{taken[0]}"
        )
    known = engine.candidates(grids, random_state)
    if not known:
        for part in grids:
            _check_parameters(estimator, part)
    return [with_params(estimator, params, f"candidate {number}") for number, params in enumerate(known)]


def _check_parameters(estimator: Any, part: Mapping[str, Any]) -> None:
    """Raise for a parameter that is not there: nets list none of their module's beforehand."""
    unlisted = [name for name in part if name not in estimator.get_params()]
    for name in unlisted:
        try:
            with_params(estimator, {name: some_value(part[name])}, "grid")
        except ValueError as error:
            raise ValueError(f"grid: {type(estimator).__name__} has no parameter {name}") from error


SET_IN_FOLDS = {
    "random_state": "the seed of each fit follows from random_state= of the search",
    "train_split": "validation subjects follow from validation_fraction=",
    "log_dir": "logs lie in the run folder",
    "restart_dir": "restart points lie in the run folder",
}
"""Parameters of a ``BIOTClassifier`` at the end that each fold sets, and what decides instead."""


def _check_not_set_in_folds(estimator: Any, names: Iterable[str]) -> None:
    """Raise where a grid would choose what every fold sets anew, so that candidates were alike."""
    prefix, last = final_step(estimator)
    if not isinstance(last, BIOTClassifier):
        return
    for name, why in SET_IN_FOLDS.items():
        if f"{prefix}{name}" in names:
            raise ValueError(f"grid: {prefix}{name} cannot be chosen, every fold sets it: {why}; leave it out")


def search_options(rounds: SearchPlan, inner_cv: Any) -> Cells:
    """Return what ``search.json`` says of how it searched."""
    return {
        "engine": engine_facts(rounds.engine),
        "grid": grid_texts(rounds.grids),
        "inner_cv": inner_cv if isinstance(inner_cv, str) else describe(inner_cv),
        "scoring": rounds.metric.name,
        "greater_is_better": rounds.metric.greater_is_better,
    }


def search_identity(rounds: SearchPlan, options: Cells) -> Cells:
    """Return what tells a search from another one on the same outer folds."""
    splits = {str(fold.index): _digest(one) for fold, one in zip(rounds.outer, rounds.inner, strict=True)}
    return {
        "engine": options["engine"],
        "grid": describe_grid(rounds.grids),
        "inner_cv": options["inner_cv"],
        "inner_splits": splits,
    }


def _digest(inner: InnerFolds) -> str:
    """Return a digest of the inner folds: another split is another study."""
    return fingerprint({str(fold.index): {**fold.sides(), "seed": fold.seed} for fold in inner.folds})


def planned_fits(
    estimator: Any,
    grid: Any,
    X: Any,
    *,
    y: Any = None,
    groups: Any = None,
    cv: Any = "subject-loo",
    inner_cv: Any = "subject-kfold-3",
    folder: str | os.PathLike[str] | None = None,
    engine: Any = "grid",
    scoring: Any = ("average_precision", "roc_auc", "balanced_accuracy"),
    validation_fraction: float = 0.25,
    random_state: int = 0,
    splits_from: Any = None,
    allow_contaminated: bool = False,
) -> dict[str, int | None]:
    """Say how much a search would fit; nothing is fitted or written, everything is checked.

    Parameters
    ----------
    estimator, grid, X : object
        As in :func:`~biot_bd.evaluation.search`.
    y, groups, cv, inner_cv, folder, engine, scoring, splits_from : object
        As in :func:`~biot_bd.evaluation.search`.
    validation_fraction : float
        As in :func:`~biot_bd.evaluation.search`.
    random_state : int
        As in :func:`~biot_bd.evaluation.search`.
    allow_contaminated : bool
        As in :func:`~biot_bd.evaluation.search`.

    Returns
    -------
    dict
        ``outer_folds``, ``candidates`` (None where they depend on scores), ``inner_folds`` (most of
        an outer fold), ``inner_fits`` (at most, over all folds), ``outer_fits``, and what is done
        already: ``inner_done``, ``outer_done``.

    Raises
    ------
    ValueError
        As :func:`~biot_bd.evaluation.search`.

    See Also
    --------
    search : Fits them.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, planned_fits
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (80, 2, 200))
    >>> pipeline = baseline("line-length", X)
    >>> grid = {f"{pipeline.steps[-1][0]}__C": [0.01, 1.0]}
    >>> fits = planned_fits(pipeline, grid, X, y=y, groups=subjects)
    >>> fits["inner_fits"], fits["outer_fits"]
    (24, 4)
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
        engine=engine,
        scoring=scoring,
        validation_fraction=validation_fraction,
        random_state=random_state,
        splits_from=splits_from,
        allow_contaminated=allow_contaminated,
    )
    done = Path(os.devnull) if folder is None else Path(folder)
    return {
        "outer_folds": len(setup.plan.folds),
        "candidates": setup.n_known or None,
        "inner_folds": max(len(one.usable) for one in setup.rounds.inner),
        "inner_fits": setup.rounds.n_fits(),
        "outer_fits": len(setup.plan.folds),
        "inner_done": len(list(done.glob(f"{SEARCH}/fold-*/c*.json"))),
        "outer_done": len(list(done.glob("folds/*/fold.json"))),
    }
