"""The score of a candidate: the mean of the inner folds for which the metric is defined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biot_bd.evaluation.searching.grids import params_text
from biot_bd.evaluation.searching.trial import FAILED, FINISHED, TrialOutcome
from biot_bd.exceptions import SearchError

PRUNED, UNDEFINED = "pruned", "undefined"


@dataclass(frozen=True)
class CandidateScore:
    """What a candidate reached in an outer fold, on the last rung that it came to.

    Attributes
    ----------
    candidate, rung : int
    params : mapping
    mean, std : float or None
        Of the inner folds with a score; None where there is none, or a fit failed.
    n_defined, n_inner : int
        Inner folds with a score, and all that were tried.
    state : {"finished", "failed", "pruned", "undefined"}
    reason : str or None
        Of a candidate without a score.
    """

    candidate: int
    rung: int
    params: Mapping[str, Any]
    mean: float | None
    std: float | None
    n_defined: int
    n_inner: int
    state: str
    reason: str | None


def mean_scores(outcomes: Iterable[TrialOutcome]) -> dict[int, float | None]:
    """Return the mean score of each candidate, None where nothing is defined or a fit failed."""
    return {candidate: _mean(found) for candidate, found in _by_candidate(outcomes).items()}


def _by_candidate(outcomes: Iterable[TrialOutcome]) -> dict[int, list[TrialOutcome]]:
    found: dict[int, list[TrialOutcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.candidate, []).append(outcome)
    return found


def _mean(outcomes: Sequence[TrialOutcome]) -> float | None:
    values = [outcome.score for outcome in outcomes if outcome.score is not None]
    failed = any(outcome.state == FAILED for outcome in outcomes)
    return None if failed or not values else float(np.mean(values))


def summarise(
    outcomes: Sequence[TrialOutcome], params: Mapping[int, Mapping[str, Any]], pruned: set[int]
) -> list[CandidateScore]:
    """Return the score of each candidate of an outer fold, by its number.

    Parameters
    ----------
    outcomes : sequence of TrialOutcome
        Of this outer fold.
    params : mapping
        Candidate -> its parameters.
    pruned : set of int
        Candidates that were given up.
    """
    found = _by_candidate(outcomes)
    return [_summary(one, found.get(one, []), given, pruned) for one, given in sorted(params.items())]


def _summary(
    candidate: int, outcomes: list[TrialOutcome], params: Mapping[str, Any], pruned: set[int]
) -> CandidateScore:
    rung = max((outcome.rung for outcome in outcomes), default=0)
    last = [outcome for outcome in outcomes if outcome.rung == rung]
    values = [outcome.score for outcome in last if outcome.score is not None]
    mean, state = _mean(last), FINISHED
    if any(outcome.state == FAILED for outcome in last):
        state = FAILED
    elif candidate in pruned:
        state = PRUNED
    elif mean is None:
        state = UNDEFINED
    reasons = [outcome for outcome in last if (outcome.state == FAILED) == (state == FAILED) and outcome.reason]
    reason = None if mean is not None or not reasons else f"inner fold {reasons[0].inner}: {reasons[0].reason}"
    std = None if mean is None else float(np.std(values))
    return CandidateScore(candidate, rung, params, mean, std, len(values), len(last), state, reason)


def ranked(scores: Sequence[CandidateScore], greater_is_better: bool) -> list[CandidateScore]:
    """Return candidates, the best first.

    Later rungs stand before earlier ones, then scores decide, then numbers; whoever was pruned has
    an undefined score, or failed, comes last.
    """
    order = {FINISHED: 0, PRUNED: 1, UNDEFINED: 2, FAILED: 3}
    sign = -1 if greater_is_better else 1
    return sorted(scores, key=lambda s: (order[s.state], -s.rung, sign * (s.mean or 0.0), s.candidate))


def ranks(scores: Sequence[CandidateScore], greater_is_better: bool) -> dict[int, int]:
    """Return the rank of each candidate that can be chosen, from 1; equals share one."""
    places: dict[tuple[int, float], int] = {}
    found: dict[int, int] = {}
    for place, score in enumerate(ranked(scores, greater_is_better), 1):
        if score.state == FINISHED and score.mean is not None:
            found[score.candidate] = places.setdefault((score.rung, score.mean), place)
    return found


def best_of(scores: Sequence[CandidateScore], greater_is_better: bool, where: str) -> CandidateScore:
    """Return the candidate that is chosen; the first where no score is defined.

    Raises
    ------
    SearchError
        Every candidate failed.
    """
    whole = [score for score in scores if score.state != FAILED]
    if not whole:
        first = scores[0]
        raise SearchError(
            f"{where}: no candidate of {len(scores)} could be fitted; candidate {first.candidate} ({params_text(first.params)}), "
            f"{first.reason}"
        )
    best = ranked(whole, greater_is_better)[0]
    return best if best.mean is not None and best.state == FINISHED else min(whole, key=lambda s: s.candidate)


def choice_notes(where: str, scores: Sequence[CandidateScore], chosen: CandidateScore, metric: str) -> list[str]:
    """Say what a reader must know of the choice in one outer fold."""
    notes = []
    if chosen.mean is None and chosen.n_inner:
        notes.append(f"{where}: {metric} is undefined for every candidate, so the first is taken ({chosen.reason})")
    for score in scores:
        if score.state == FAILED:
            notes.append(
                f"{where}: candidate {score.candidate} ({params_text(score.params)}) failed and is out: {score.reason}"
            )
    return notes
