"""The rounds of a search: what engines propose is fitted, all outer folds side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biot_bd.evaluation.data import Data
from biot_bd.evaluation.fold import check_scorable, check_splits_inside
from biot_bd.evaluation.metrics.window_metrics import Metric
from biot_bd.evaluation.model_selection.folds import Fold
from biot_bd.evaluation.parallel import run_tasks
from biot_bd.evaluation.planned_run import check_variant
from biot_bd.evaluation.searching.candidate_scores import CandidateScore, best_of, summarise
from biot_bd.evaluation.searching.engine import Engine, Proposal, Proposer, SearchSite
from biot_bd.evaluation.searching.grids import with_params
from biot_bd.evaluation.searching.inner_folds import InnerFolds
from biot_bd.evaluation.searching.search_progress import SearchProgress
from biot_bd.evaluation.searching.trial import (
    TrialOutcome,
    TrialTask,
    read_trial,
    run_trial,
    with_seed,
)


@dataclass(frozen=True)
class SearchPlan:
    """What is searched, on which folds.

    Attributes
    ----------
    estimator : estimator
        Whose parameters are chosen.
    grids : list of dict
    engine : Engine
    data : Data
    outer : sequence of Fold
    inner : sequence of InnerFolds
        One an outer fold.
    metric : Metric
        Which candidates are compared by.
    threshold : str or float
        Rule, for metrics that need one.
    random_state : int
    folder : Path or None
        Of the files of trials.
    at_once : bool
        Whether several fits run at once.
    """

    estimator: Any
    grids: Sequence[Mapping[str, Any]]
    engine: Engine
    data: Data
    outer: Sequence[Fold]
    inner: Sequence[InnerFolds]
    metric: Metric
    threshold: str | float
    random_state: int
    folder: Path | None
    at_once: bool = False

    def n_fits(self) -> int:
        """Return how many inner fits the search takes at most."""
        return sum(self.engine.n_fits(self.grids, self.site(at)) for at in range(len(self.outer)))

    def site(self, at: int) -> SearchSite:
        """Return what the engine is told of an outer fold."""
        inner, fold = self.inner[at], self.outer[at]
        rows = [len(one.rows(self.data.subjects, self.data.recordings)["train"]) for one in inner.usable]
        return SearchSite(
            fold=fold.index,
            seed=int(np.random.SeedSequence(self.random_state, spawn_key=(fold.index, 5)).generate_state(1)[0] >> 1),
            common_seed=self.random_state,
            estimator=self.estimator,
            n_inner=len(inner.usable),
            n_windows=max(rows, default=0),
            n_classes=len(self.data.classes),
            greater_is_better=self.metric.greater_is_better,
            storage=self.folder,
        )


@dataclass(frozen=True)
class FoldSearch:
    """What was tried in one outer fold, what was chosen, and with which parameters it is fitted."""

    fold: int
    params: Mapping[int, Mapping[str, Any]]
    outcomes: Sequence[TrialOutcome]
    scores: Sequence[CandidateScore]
    rungs: Sequence[dict[str, Any]]
    chosen: CandidateScore
    final: Mapping[str, Any]


def run_rounds(
    plan: SearchPlan, fingerprint: str, *, n_jobs: int | None, progress: bool, known: int, retry: bool
) -> list[FoldSearch]:
    """Try candidates until no engine proposes more; choose one in each outer fold.

    Parameters
    ----------
    plan : SearchPlan
    fingerprint : str
        Of the study; files of another one are refused.
    n_jobs, progress
        As in :func:`~biot_bd.evaluation.search`.
    known : int
        Candidates that were checked beforehand, by their number.
    retry : bool
        Whether fits that failed in an earlier call are tried again; not those after which
        candidates were proposed that have a score.

    Raises
    ------
    SearchError
        Every candidate failed in an outer fold.
    """
    params: list[dict[int, Mapping[str, Any]]] = [{} for _ in plan.outer]
    outcomes: list[list[TrialOutcome]] = [[] for _ in plan.outer]
    proposers = [plan.engine.proposer(plan.grids, plan.site(at)) for at in range(len(plan.outer))]
    with SearchProgress(show=progress) as bar:
        while rounds := [(at, one) for at, proposer in enumerate(proposers) for one in proposer.ask()]:
            for at, proposal in rounds:
                _check(plan, at, proposal, known)
                params[at][proposal.candidate] = proposal.params
            for at, told in _round(plan, fingerprint, rounds, n_jobs, bar, retry, known).items():
                outcomes[at] += told
                proposers[at].tell(told)
    return [_chosen(plan, at, params[at], outcomes[at], proposers[at]) for at in range(len(plan.outer))]


def check_inside(pipeline: Any, data: Data, inner: Sequence[InnerFolds]) -> None:
    """Raise where a pipeline would mix subjects in an inner fold.

    Raises
    ------
    SubjectLeakError, SplitError
        A ``cv`` in it does.
    """
    for one in inner:
        for fold in one.usable:
            check_splits_inside(pipeline, data, fold)


def _check(plan: SearchPlan, at: int, proposal: Proposal, known: int) -> None:
    """Look at a candidate that was not known beforehand as at the others."""
    if proposal.candidate < known:
        return
    pipeline = with_params(plan.estimator, proposal.params, f"candidate {proposal.candidate}")
    check_scorable(pipeline)
    check_variant(pipeline, plan.data, [plan.outer[at]], kept=plan.folder is not None, at_once=plan.at_once)
    check_inside(pipeline, plan.data, [plan.inner[at]])


def _round(
    plan: SearchPlan,
    fingerprint: str,
    rounds: Sequence[tuple[int, Proposal]],
    n_jobs: int | None,
    bar: SearchProgress,
    retry: bool,
    known: int,
) -> dict[int, list[TrialOutcome]]:
    """Return the outcomes of a round by outer fold, in the order of proposals and inner folds."""
    slots = [(at, proposal, fold) for at, proposal in rounds for fold in _folds(plan.inner[at], proposal)]
    outcomes: dict[int, TrialOutcome] = {}
    tasks: dict[tuple[int, int, int, int], tuple[int, TrialTask]] = {}
    for number, (at, proposal, fold) in enumerate(slots):
        reason = plan.inner[at].undefined.get(fold.index)
        outer = plan.outer[at].index
        if reason is not None:
            outcomes[number] = TrialOutcome(
                outer, proposal.candidate, proposal.rung, fold.index, "finished", None, reason
            )
            continue
        task = _task(plan, outer, proposal, fold, fingerprint)
        stored = read_trial(task, retry=retry, built_on=known == 0)
        if stored is not None:
            outcomes[number] = stored
        else:
            tasks[outer, proposal.candidate, proposal.rung, fold.index] = number, task
    bar.round_begins(len(slots), already=len(outcomes))
    for outcome in run_tasks(run_trial, [task for _, task in tasks.values()], n_jobs=n_jobs):
        number, _ = tasks[outcome.fold, outcome.candidate, outcome.rung, outcome.inner]
        outcomes[number] = outcome
        bar.trial_finished(outcome)
    by_fold: dict[int, list[TrialOutcome]] = {at: [] for at, _ in rounds}
    for number, (at, _, _) in enumerate(slots):
        by_fold[at].append(outcomes[number])
    return by_fold


def _folds(inner: InnerFolds, proposal: Proposal) -> list[Fold]:
    """Return the inner folds of a proposal; those that cannot be fitted count with the first."""
    usable = inner.usable
    if proposal.inner is None:
        return list(inner.folds) if usable else []
    chosen = [usable[position] for position in proposal.inner]
    unusable = [fold for fold in inner.folds if fold.index in inner.undefined]
    return chosen + (unusable if 0 in proposal.inner else [])


def _task(plan: SearchPlan, outer: int, proposal: Proposal, fold: Fold, fingerprint: str) -> TrialTask:
    return TrialTask(
        pipeline=plan.estimator,
        settings={**proposal.params, **proposal.extra},
        data=plan.data,
        outer=outer,
        fold=with_seed(fold, plan.random_state, outer, proposal.candidate),
        candidate=proposal.candidate,
        rung=proposal.rung,
        share=proposal.share,
        metric=plan.metric,
        threshold=plan.threshold,
        fingerprint=fingerprint,
        folder=plan.folder,
    )


def _chosen(
    plan: SearchPlan,
    at: int,
    params: Mapping[int, Mapping[str, Any]],
    outcomes: Sequence[TrialOutcome],
    proposer: Proposer,
) -> FoldSearch:
    fold = plan.outer[at].index
    scores = summarise(outcomes, params, proposer.pruned())
    rungs = [{"fold": fold, **rung} for rung in proposer.rungs()]
    chosen = best_of(scores, plan.metric.greater_is_better, f"fold {fold}")
    return FoldSearch(fold, params, outcomes, scores, rungs, chosen, {**chosen.params, **proposer.final()})
