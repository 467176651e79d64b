"""Bring the runs of several regimes on the same subjects together: scores by subject, intervals, paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biot_bd.evaluation.result import Result
from biot_bd.evaluation.statistics.bootstrap import macro_interval, pooled_interval
from biot_bd.evaluation.statistics.paired_tests import holm, paired_test
from biot_bd.evaluation.studies.event_comparison import compare_event_runs, pairs_of

POOLED_RESAMPLES = 499
"""Fewer than for macro scores: each resample scores all windows anew."""


def subject_scores(results: Sequence[Result], metric: str) -> dict[str, float | None]:
    """Return each subject's score, averaged over runs that differ in their seed only.

    Parameters
    ----------
    results : sequence of Result
        On the same subjects.
    metric : str
        One of the runs' metrics.

    Returns
    -------
    dict
        Score by subject; None where it is undefined in any run.

    Raises
    ------
    ValueError
        No runs, runs on other subjects, or a metric that they do not have.
    """
    _check_same_subjects({"this regime": results})
    if any(metric not in result.scoring for result in results):
        raise ValueError(f"no metric {metric!r} in these runs; there are {', '.join(results[0].scoring)}")
    out: dict[str, float | None] = {}
    for subject in results[0].metrics["subjects"]:
        values = [result.metrics["subjects"][subject][metric]["value"] for result in results]
        out[subject] = None if any(value is None for value in values) else float(np.mean(values))
    return out


def compare_runs(
    results: Mapping[str, Mapping[int, Result]],
    *,
    against: str | None = None,
    level: float = 0.95,
    method: str = "BCa",
    n_resamples: int = 9999,
    random_state: int = 0,
) -> dict[str, Any]:
    """Compare regimes that were run on the same subjects, folds and seeds.

    Parameters
    ----------
    results : mapping of str to (mapping of int to Result)
        Runs by regime and seed.
    against : str, optional
        Test every other regime against this one; all pairs by default.
    level, method, n_resamples, random_state
        Of the intervals and tests, see :mod:`biot_bd.evaluation.statistics.bootstrap`.

    Returns
    -------
    dict
        The content of ``comparison.json``: ``scoring``, ``subjects``, ``prevalence`` (by subject), ``regimes`` (by name: ``subjects``, ``macro``,
        ``pooled``, ``seeds``), ``tests`` (one entry a pair and metric), ``events`` (the same of event scores, see
        :func:`~biot_bd.evaluation.studies.event_comparison.compare_event_runs`), ``caveats``.

    Raises
    ------
    ValueError
        No runs; other subjects, windows, label rules, folds or metrics; an unknown ``against``.
    """
    if not results or not all(results.values()):
        raise ValueError("there are no runs to compare")
    if against is not None and against not in results:
        raise ValueError(f"against={against!r} is no regime; there are {', '.join(results)}")
    runs = {name: list(by_seed.values()) for name, by_seed in results.items()}
    _check_same_subjects(runs)
    _check_same_study(results)
    any_run = next(iter(runs.values()))[0]
    scoring = any_run.scoring
    options: dict[str, Any] = {"level": level, "method": method, "random_state": random_state}
    scores = {name: {metric: subject_scores(runs[name], metric) for metric in scoring} for name in runs}
    regimes = {
        name: {
            "subjects": {metric: scores[name][metric] for metric in scoring},
            "macro": {
                metric: macro_interval(scores[name][metric], n_resamples=n_resamples, **options).as_dict()
                for metric in scoring
            },
            "pooled": {
                metric: _pooled(runs[name], metric, min(n_resamples, POOLED_RESAMPLES), options) for metric in scoring
            },
            "seeds": {str(seed): _macro_of(result) for seed, result in results[name].items()},
        }
        for name in runs
    }
    tests = _tests(scores, scoring, against, {**options, "n_resamples": n_resamples})
    events = compare_event_runs(runs, against, {**options, "n_resamples": n_resamples})
    return {
        "scoring": scoring,
        "level": level,
        "method": method,
        "n_resamples": n_resamples,
        "random_state": random_state,
        "against": against,
        "subjects": list(any_run.metrics["subjects"]),
        "prevalence": {subject: entry["prevalence"] for subject, entry in any_run.metrics["subjects"].items()},
        "regimes": regimes,
        "tests": tests,
        "events": events,
        "caveats": _caveats(regimes, tests, results),
    }


def _macro_of(result: Result) -> dict[str, float | None]:
    return {metric: result.metrics["macro"][metric]["value"] for metric in result.scoring}


def _pooled(results: Sequence[Result], metric: str, n_resamples: int, options: dict[str, Any]) -> dict[str, Any]:
    tables = [result.predictions[result.predictions["part"] == "test"] for result in results]
    # The jackknife of BCa would score all windows once more a subject; percentile is enough for what stands apart.
    return pooled_interval(tables, metric, n_resamples=n_resamples, **{**options, "method": "percentile"}).as_dict()


def _tests(
    scores: Mapping[str, Mapping[str, dict[str, float | None]]],
    scoring: Sequence[str],
    against: str | None,
    options: dict[str, Any],
) -> list[dict[str, Any]]:
    """Test all pairs, or all against one; p-values of one metric are one family for Holm's procedure."""
    pairs = pairs_of(scores, against)
    out = []
    for metric in scoring:
        found = [paired_test(scores[a][metric], scores[b][metric], **options) for a, b in pairs]
        adjusted = holm([test.p_permutation for test in found])
        out += [
            {"metric": metric, "first": a, "second": b, **test.as_dict(), "p_holm": p}
            for (a, b), test, p in zip(pairs, found, adjusted, strict=True)
        ]
    return out


def _caveats(
    regimes: Mapping[str, Any], tests: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[int, Result]]
) -> list[str]:
    """Say once what holds for many numbers."""
    out = [note for regime in regimes.values() for cell in regime["macro"].values() for note in cell["notes"]]
    out += [note for test in tests for note in test["notes"]]
    out += [note for regime in regimes.values() for cell in regime["pooled"].values() for note in cell["notes"]]
    seeds = {len(by_seed) for by_seed in results.values()}
    if seeds == {1}:
        out.append("one seed: how much the scores depend on the seed is not known; intervals are over subjects only")
    else:
        out.append("scores are means over seeds by subject; intervals are over subjects, not over seeds")
    # Which method an interval got stands beside it; as a caveat of the whole study it would say nothing.
    return [note for note in dict.fromkeys(out) if not note.startswith("percentile interval")]


def _check_same_subjects(runs: Mapping[str, Sequence[Result]]) -> None:
    first: tuple[str, list[str]] | None = None
    for name, results in runs.items():
        if not results:
            raise ValueError(f"{name}: no runs")
        for result in results:
            subjects = sorted(result.metrics["subjects"])
            if first is None:
                first = name, subjects
            elif subjects != first[1]:
                only = sorted(set(subjects) ^ set(first[1]))
                raise ValueError(
                    f"{name} and {first[0]} were tested on other subjects (in one of them only: {', '.join(only[:8])}); "
                    "paired comparisons need the same"
                )


def _check_same_study(results: Mapping[str, Mapping[int, Result]]) -> None:
    """Raise where scores cannot be compared: other windows, labels, folds or metrics."""
    reference = next(iter(results.values()))
    names = list(results)
    for name, by_seed in results.items():
        if set(by_seed) != set(reference):
            raise ValueError(f"{name} has the seeds {sorted(by_seed)}, {names[0]} has {sorted(reference)}")
        for seed, result in by_seed.items():
            other = reference[seed]
            for what, a, b in (
                ("label rule", result.run["data"]["label_rule"], other.run["data"]["label_rule"]),
                ("windows", result.run["data"]["fingerprint"], other.run["data"]["fingerprint"]),
                ("folds", _sides(result), _sides(other)),
                ("metrics", result.scoring, other.scoring),
            ):
                if a != b:
                    raise ValueError(
                        f"{name} and {names[0]} (seed {seed}) differ in their {what}, so their scores cannot be compared"
                    )


def _sides(result: Result) -> list[tuple[Any, ...]]:
    return [tuple(tuple(split[side]) for side in ("train", "valid", "test")) for split in result.run["splits"]]
