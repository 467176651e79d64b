"""Event scores of several runs on the same subjects: intervals over subjects and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from biot_bd.evaluation.result import Result
from biot_bd.evaluation.statistics.bootstrap import macro_interval
from biot_bd.evaluation.statistics.paired_tests import PairedTest, holm, paired_test
from biot_bd.evaluation.statistics.resampled_scores import EVENT_SCORES
from biot_bd.evaluation.uncertainty import event_counts_of, event_scores_by_subject

Scores = dict[str, dict[str, float | None]]


def compare_events(first: Result, second: Result, **options: Any) -> dict[str, PairedTest]:
    """Compare the event scores of two runs on the same subjects.

    Parameters
    ----------
    first, second : Result
        Of runs with event scores.
    **options
        Of :func:`~biot_bd.evaluation.statistics.paired_tests.paired_test`: ``level``, ``method``, ``n_resamples``, ``random_state``.

    Returns
    -------
    dict
        Score (``sensitivity``, ``precision``, ``f1``, ``fa_per_24h``) -> paired test by subject; the difference is first minus
        second, so for ``fa_per_24h`` a negative one speaks for the first.

    Raises
    ------
    ValueError
        A run has no event scores, they were scored with other parameters, or on other recordings or seizures.
    """
    a, b = _scores({"first": [first], "second": [second]}).values()
    return {name: paired_test(a[name], b[name], **options) for name in EVENT_SCORES}


def compare_event_runs(
    runs: Mapping[str, Sequence[Result]], against: str | None, options: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Compare the event scores of regimes.

    Parameters
    ----------
    runs : mapping of str to sequence of Result
        By regime, one run a seed; a subject's score is the mean over seeds.
    against : str or None
        Test every other regime against this one; all pairs where None.
    options : mapping
        ``level``, ``method``, ``n_resamples``, ``random_state`` of intervals and tests.

    Returns
    -------
    dict or None
        ``scorer``; ``regimes`` (by name: ``subjects`` and ``macro``, score -> values); ``tests``, one entry a pair and score, with
        ``p_holm`` over the pairs of a score.  None where no run has event scores.

    Raises
    ------
    ValueError
        As in :func:`compare_events`; also where only some runs have event scores.
    """
    everyone = [result for results in runs.values() for result in results]
    if all(not result.metrics.get("events") for result in everyone):
        return None
    scores = _scores(runs)
    tests = []
    for name in EVENT_SCORES:
        found = [(a, b, paired_test(scores[a][name], scores[b][name], **options)) for a, b in pairs_of(scores, against)]
        adjusted = holm([test.p_permutation for _, _, test in found])
        tests += [
            {"metric": name, "first": a, "second": b, **test.as_dict(), "p_holm": p}
            for (a, b, test), p in zip(found, adjusted, strict=True)
        ]
    return {
        "scorer": (everyone[0].metrics["events"] or {})["scorer"],
        "regimes": {
            regime: {
                "subjects": found,
                "macro": {name: macro_interval(found[name], **options).as_dict() for name in EVENT_SCORES},
            }
            for regime, found in scores.items()
        },
        "tests": tests,
    }


def pairs_of(names: Mapping[str, Any], against: str | None) -> list[tuple[str, str]]:
    """Return the pairs to test: all against one, or all, the later one first, so that a gain over the first regime is positive."""
    if against is not None:
        return [(name, against) for name in names if name != against]
    return [(b, a) for a, b in combinations(names, 2)]


def _scores(runs: Mapping[str, Sequence[Result]]) -> dict[str, Scores]:
    """Return regime -> score -> subject -> mean over the regime's runs; raise where they cannot be compared."""
    found: dict[str, list[dict[str, dict[str, float | None]]]] = {}
    facts: Any = None
    for name, results in runs.items():
        for result in results:
            counts = event_counts_of(result.metrics)
            if counts is None:
                raise ValueError(f"the {name} run has no event scores ({result.folder or 'not stored'})")
            same = counts.sort_values(["subject", "recording"])[["subject", "recording", "n_reference", "duration_s"]]
            own = (result.metrics["events"] or {})["scorer"], same.to_dict("split")["data"]
            facts = own if facts is None else facts
            if own[0] != facts[0]:
                raise ValueError(
                    f"the runs were scored differently, so they cannot be compared: {facts[0]} and {own[0]}"
                )
            if own[1] != facts[1]:
                raise ValueError(
                    f"the {name} run differs in its recordings, durations or annotated seizures; paired tests need the same"
                )
            found.setdefault(name, []).append(event_scores_by_subject(counts))
    return {
        name: {
            score: {subject: _mean([table[subject][score] for table in tables]) for subject in tables[0]}
            for score in EVENT_SCORES
        }
        for name, tables in found.items()
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
