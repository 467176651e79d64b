"""Bring the runs of several regimes on the same subjects together.

Scores by subject, intervals, paired tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from biot_bd.evaluation.result import LABELS, Result
from biot_bd.evaluation.run_facts import Cells
from biot_bd.evaluation.statistics.intervals import METHOD, N_RESAMPLES, notes_by_score
from biot_bd.evaluation.statistics.paired_tests import PairedTest, holm, paired_test
from biot_bd.evaluation.statistics.resampled_scores import EVENT_SCORES
from biot_bd.evaluation.study_identity import comparable_facts
from biot_bd.evaluation.uncertainty import (
    event_counts_of,
    event_intervals,
    mean_event_scores,
    mean_or_none,
    window_intervals,
)

CHANCE = {"roc_auc": 0.5, "balanced_accuracy": 0.5}
"""What a detector that guesses gets, where it does not depend on the data."""
Scores = Mapping[str, Mapping[str, float | None]]
"""Score or metric -> subject -> value."""


def compare_runs(
    results: Mapping[str, Mapping[int, Result]],
    *,
    against: str | None = None,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    random_state: int = 0,
) -> Cells:
    """Compare regimes that were run on the same subjects, folds and seeds.

    Parameters
    ----------
    results : mapping of str to (mapping of int to Result)
        Runs by regime and seed.
    against : str, optional
        Test every other regime against this one; all pairs by default.
    level, n_resamples, random_state
        Of the intervals and tests, see :mod:`biot_bd.evaluation.statistics.intervals`.

    Returns
    -------
    dict
        The content of ``comparison.json``: ``scoring``, ``subjects``, ``prevalence`` (by subject),
        ``pooled_prevalence``,
        ``regimes`` (by name: ``subjects``, ``macro``, ``pooled``, ``seeds``), ``tests`` (one entry
        a pair and metric), ``events`` (the same of event scores, see :func:`compare_event_runs`),
        ``caveats``.

    Raises
    ------
    ValueError
        No runs; other subjects, windows, label rules, folds or metrics; an unknown ``against``.
    """
    _check_same_study(results)
    return compare_scores(results, against=against, level=level, n_resamples=n_resamples, random_state=random_state)


def compare_scores(
    results: Mapping[str, Mapping[int, Result]],
    *,
    against: str | None = None,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    random_state: int = 0,
) -> Cells:
    """Compare runs whose test windows are known to be the same; as :func:`compare_runs`."""
    runs = {name: list(by_seed.values()) for name, by_seed in results.items()}
    any_run = next(iter(runs.values()))[0]
    scoring = any_run.scoring
    options: Cells = {"level": level, "n_resamples": n_resamples, "random_state": random_state}
    subjects = list(any_run.metrics["subjects"])
    scores = {
        name: {
            metric: {s: mean_or_none([run.metrics["subjects"][s][metric]["value"] for run in found]) for s in subjects}
            for metric in scoring
        }
        for name, found in runs.items()
    }
    regimes = {}
    for name, found in runs.items():
        tables = [result.predictions[result.predictions["part"] == "test"] for result in found]
        intervals = window_intervals(tables, [result.metrics for result in found], **options)
        regimes[name] = {
            "subjects": scores[name],
            "macro": intervals["macro"],
            "pooled": intervals["pooled"],
            "seeds": {
                str(seed): {metric: result.metrics["macro"][metric]["value"] for metric in result.scoring}
                for seed, result in results[name].items()
            },
        }
    tests = _tests(scores, scoring, against, options)
    events = compare_event_runs(runs, against, options)
    return {
        "scoring": scoring,
        **options,
        "method": METHOD,
        "against": against,
        "subjects": subjects,
        "prevalence": {subject: entry["prevalence"] for subject, entry in any_run.metrics["subjects"].items()},
        "pooled_prevalence": any_run.metrics["prevalence"],
        "regimes": regimes,
        "tests": tests,
        "events": events,
        "caveats": _caveats(regimes, tests, results),
    }


def chance_of(comparison: Mapping[str, Any], metric: str) -> float | None:
    """Return what a detector that guesses gets on average over the subjects, None where unknown.

    Parameters
    ----------
    comparison : mapping
        Content of ``comparison.json``.
    metric : str
    """
    if metric != "average_precision":
        return CHANCE.get(metric)
    scores = [regime["subjects"][metric] for regime in comparison["regimes"].values()]
    known = [
        prevalence
        for subject, prevalence in comparison["prevalence"].items()
        if prevalence is not None and all(of.get(subject) is not None for of in scores)
    ]
    return float(np.mean(known)) if known else None


def _tests(scores: Mapping[str, Scores], names: Sequence[str], against: str | None, options: Cells) -> list[Cells]:
    """Test all pairs, or all against one.

    P-values of one score are one family for Holm's procedure.
    """
    if against is not None:
        pairs = [(name, against) for name in scores if name != against]
    else:  # the later one first, so that a gain over the first regime is positive
        pairs = [(b, a) for a, b in combinations(scores, 2)]
    out = []
    for name in names:
        found = [paired_test(scores[a][name], scores[b][name], **options) for a, b in pairs]
        adjusted = holm([test.p_permutation for test in found])
        out += [
            {"metric": name, "first": a, "second": b, **test.as_dict(), "p_holm": p}
            for (a, b), test, p in zip(pairs, found, adjusted, strict=True)
        ]
    return out


def _caveats(
    regimes: Mapping[str, Any], tests: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[int, Result]]
) -> list[str]:
    """Say once what holds for many numbers."""
    parts = [regime[average] for average in ("macro", "pooled") for regime in regimes.values()]
    notes = [(LABELS.get(name, name), cell["notes"]) for part in parts for name, cell in part.items()]
    notes += [(LABELS.get(test["metric"], test["metric"]), test["notes"]) for test in tests]
    out = notes_by_score(notes)
    seeds = {len(by_seed) for by_seed in results.values()}
    if seeds == {1}:
        out.append("one seed: how much the scores depend on the seed is not known; intervals are over subjects only")
    else:
        out.append("scores are means over seeds by subject; intervals are over subjects, not over seeds")
    return list(dict.fromkeys(out))


def _check_same_study(results: Mapping[str, Mapping[int, Result]]) -> None:
    """Raise where scores cannot be compared: other windows, labels, folds or metrics."""
    reference = next(iter(results.values()))
    names = list(results)
    for name, by_seed in results.items():
        if set(by_seed) != set(reference):
            raise ValueError(f"{name} has the seeds {sorted(by_seed)}, {names[0]} has {sorted(reference)}")
        for seed, result in by_seed.items():
            wanted, found = (comparable_facts(one.run, one.scoring) for one in (reference[seed], result))
            if differing := [
                what
                for what in ("label rule", "data", "subjects of the folds", "metrics")
                if found[what] != wanted[what]
            ]:
                raise ValueError(
                    f"{name} and {names[0]} (seed {seed}) differ in their {', '.join(differing)}, so their scores cannot be "
                    "compared"
                )


# --- events ---------------------------------------------------------------------------------------


def compare_events(first: Result, second: Result, **options: Any) -> dict[str, PairedTest]:
    """Compare the event scores of two runs on the same subjects.

    Parameters
    ----------
    first, second : Result
        Of runs with event scores.
    **options
        Of :func:`~biot_bd.evaluation.statistics.paired_tests.paired_test`: ``level``,
        ``n_resamples``, ``random_state``.

    Returns
    -------
    dict
        Score (``sensitivity``, ``precision``, ``f1``, ``fa_per_24h``) -> paired test by subject;
        the difference is first minus second, so for ``fa_per_24h`` a negative one speaks for the
        first.

    Raises
    ------
    ValueError
        A run has no event scores, they were scored with other parameters, or on other recordings or
        seizures.

    See Also
    --------
    paired_test : Of any score.

    Examples
    --------
    >>> import pandas as pd
    >>> from biot_bd.evaluation import Result, compare_events
    >>> def run(hits):
    ...     counts = {"fp": 0, "n_reference": 2, "duration_s": 3600.0}
    ...     rows = [{"subject": s, "recording": s, "tp": n, **counts} for s, n in hits.items()]
    ...     scores = {"events": {"recordings": rows, "scorer": {"name": "timescoring"}}}
    ...     return Result(scores, pd.DataFrame(), {})
    >>> tests = compare_events(run({"a": 2, "b": 1}), run({"a": 1, "b": 0}))
    >>> tests["sensitivity"].difference.value
    0.5
    """
    a, b = map(mean_event_scores, _event_counts({"first": [first], "second": [second]}).values())
    return {name: paired_test(a[name], b[name], **options) for name in EVENT_SCORES}


def compare_event_runs(runs: Mapping[str, Sequence[Result]], against: str | None, options: Cells) -> Cells | None:
    """Compare the event scores of regimes.

    Parameters
    ----------
    runs : mapping of str to sequence of Result
        By regime, one run a seed; a subject's score is the mean over seeds.
    against : str or None
        Test every other regime against this one; all pairs where None.
    options : mapping
        ``level``, ``n_resamples``, ``random_state`` of intervals and tests.

    Returns
    -------
    dict or None
        ``scorer``; ``regimes`` (by name: ``subjects`` and ``macro``, score -> values); ``tests``,
        one entry a pair and score, with ``p_holm`` over the pairs of a score.  None where no run
        has event scores.

    Raises
    ------
    ValueError
        As in :func:`compare_events`; also where only some runs have event scores.
    """
    everyone = [result for results in runs.values() for result in results]
    if all(not result.metrics.get("events") for result in everyone):
        return None
    counts = _event_counts(runs)
    scores = {name: mean_event_scores(tables) for name, tables in counts.items()}
    return {
        "scorer": (everyone[0].metrics["events"] or {})["scorer"],
        "regimes": {
            name: {"subjects": scores[name], "macro": event_intervals(tables, **options)["macro"]}
            for name, tables in counts.items()
        },
        "tests": _tests(scores, list(EVENT_SCORES), against, options),
    }


def _event_counts(runs: Mapping[str, Sequence[Result]]) -> dict[str, list[pd.DataFrame]]:
    """Return each regime's counts by recording, one table a run, all in one order.

    Raise where they cannot be compared.
    """
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in runs}
    facts: Any = None
    for name, result in ((name, result) for name, results in runs.items() for result in results):
        counts = event_counts_of(result.metrics)
        if counts is None:
            raise ValueError(f"the {name} run has no event scores ({result.folder or 'not stored'})")
        counts = counts.sort_values(["subject", "recording"], ignore_index=True)
        same = counts[["subject", "recording", "n_reference", "duration_s"]].to_dict("split")["data"]
        own = (result.metrics["events"] or {})["scorer"], same
        facts = own if facts is None else facts
        if own[0] != facts[0]:
            raise ValueError(f"the runs were scored differently, so they cannot be compared: {facts[0]} and {own[0]}")
        if own[1] != facts[1]:
            raise ValueError(
                f"the {name} run differs in its recordings, durations or annotated seizures; paired tests need the same"
            )
        found[name].append(counts)
    return found
