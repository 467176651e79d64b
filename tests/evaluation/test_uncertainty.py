"""Intervals of a run against its stored scores; paired tests of event scores by hand."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from handmade_run import add_events, write_run

from biot_bd.evaluation.result import Result
from biot_bd.evaluation.studies.comparison import compare_event_runs, compare_events
from biot_bd.evaluation.uncertainty import assess, event_intervals, window_intervals

SUBJECTS = {"site/01": "rec01", "site/02": "rec02", "site/03": "rec03"}


@pytest.fixture
def run(tmp_path):
    return Result.open(add_events(write_run(tmp_path / "run", SUBJECTS, without_seizures="site/03")).folder)


def test_values_are_the_runs_own_and_nothing_is_nan(run):
    found = assess(run, n_resamples=199, random_state=3)
    json.dumps(found, allow_nan=False)
    for average in ("macro", "pooled"):
        for name in run.scoring:
            cell = found["windows"][average][name]
            assert cell["value"] == run.metrics[average][name]["value"]
            assert cell["low"] <= cell["value"] <= cell["high"]
            assert (cell["n_resamples"], cell["random_state"]) == (199, 3)
    events = run.metrics["events"]
    for name in ("sensitivity", "precision", "f1", "fa_per_24h"):
        assert found["events"]["macro"][name]["value"] == pytest.approx(events["macro"]["events"][name]["value"])
        assert found["events"]["macro"][name]["n_defined"] == events["macro"]["events"][name]["n_subjects"]
        assert found["events"]["pooled"][name]["value"] == pytest.approx(events["pooled"]["events"][name])
        for subject, entry in events["subjects"].items():
            assert found["events"]["subjects"][subject][name]["value"] == pytest.approx(entry["events"][name])
    nobody = found["windows"]["subjects"]["site/03"]["roc_auc"]
    assert (nobody["value"], nobody["low"]) == (None, None)
    assert assess(run, n_resamples=199, random_state=3) == found


def test_a_run_without_events_or_recordings_has_intervals_over_subjects(run):
    alone = replace(run, metrics={**run.metrics, "events": None}, predictions=run.predictions.assign(recording=pd.NA))
    found = assess(alone, n_resamples=99)
    assert found["events"] is None
    cell = found["windows"]["macro"]["roc_auc"]
    assert (cell["n_subjects"], cell["n_recordings"]) == (3, 3)
    assert "one recording a subject" in " ".join(cell["notes"])


def test_a_subject_of_several_recordings_has_an_own_interval(run):
    table = run.predictions.copy()
    table["recording"] = table["recording"] + "-" + (np.arange(len(table)) % 2).astype(str)
    cell = window_intervals(table, run.metrics, n_resamples=199)["subjects"]["site/02"]["roc_auc"]
    assert cell["resampled"] == "recordings of one subject"
    assert cell["n_recordings"] == 2
    assert cell["low"] <= cell["value"] <= cell["high"]


def test_subjects_tested_in_several_folds_count_once_with_the_mean_of_their_folds(run):
    again = run.predictions.copy()
    again["fold"] += 3
    both = pd.concat([run.predictions, again], ignore_index=True)
    once = window_intervals(run.predictions, run.metrics, n_resamples=99)
    twice = window_intervals(both, run.metrics, n_resamples=99)
    assert twice["macro"] == once["macro"]


def test_of_a_plugins_metric_subjects_alone_are_resampled(run):
    own = {"value": 0.5, "reason": None}
    metrics = {
        **run.metrics,
        "scoring": [*run.scoring, "of-a-plugin"],
        "macro": {**run.metrics["macro"], "of-a-plugin": own},
        "pooled": {**run.metrics["pooled"], "of-a-plugin": own},
        "subjects": {
            subject: {**scores, "of-a-plugin": {"value": value, "reason": None}}
            for (subject, scores), value in zip(run.metrics["subjects"].items(), (0.2, 0.5, 0.8), strict=True)
        },
    }
    found = window_intervals(run.predictions, metrics, n_resamples=199)
    macro, pooled = found["macro"]["of-a-plugin"], found["pooled"]["of-a-plugin"]
    assert (macro["value"], macro["resampled"], macro["n_defined"]) == (0.5, "subjects", 3)
    assert (macro["low"], macro["high"]) == pytest.approx((0.2, 0.8))
    assert (pooled["value"], pooled["low"]) == (0.5, None)
    assert "a metric of a plugin" in pooled["notes"][-1]
    with pytest.raises(ValueError, match="no test windows"):
        window_intervals(run.predictions.iloc[:0], run.metrics)


def counts(tp, fp, n_reference=2):
    return [
        {"subject": f"p{i}", "recording": f"r{i}", "tp": a, "fp": b, "n_reference": n_reference, "duration_s": 43_200.0}
        for i, (a, b) in enumerate(zip(tp, fp, strict=True))
    ]


def scored(rows):
    return Result({"events": {"recordings": rows, "scorer": {"name": "timescoring"}}}, pd.DataFrame(), {})


def test_event_intervals_by_hand():
    found = event_intervals(pd.DataFrame(counts([2, 1, 0], [0, 2, 4])))
    assert found["macro"]["sensitivity"]["value"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["macro"]["fa_per_24h"]["value"] == pytest.approx((0 + 4 + 8) / 3)
    assert found["pooled"]["sensitivity"]["value"] == pytest.approx(3 / 6)
    # 27 resamples of three subjects: all of the best, or all of the worst, once each (3.7 %), are the ends of 99 %.
    wide = event_intervals(pd.DataFrame(counts([2, 1, 0], [0, 2, 4])), level=0.99)["macro"]["sensitivity"]
    assert (wide["low"], wide["high"]) == (0.0, 1.0)
    assert (found["subjects"]["p1"]["f1"]["value"], found["subjects"]["p1"]["f1"]["low"]) == (
        pytest.approx(2 / 5),
        None,
    )


def test_runs_are_compared_on_the_same_subjects_with_exact_p():
    better, worse = scored(counts([2, 2, 2, 2, 2], [1, 0, 2, 0, 1])), scored(counts([1, 1, 0, 1, 1], [1, 3, 4, 0, 2]))
    found = compare_events(better, worse)
    # All five subjects are better: of 32 flips only two are as extreme.
    assert found["sensitivity"].p_permutation == pytest.approx(2 / 32)
    assert found["sensitivity"].exact
    assert found["sensitivity"].difference.value == pytest.approx((0.5 * 4 + 1) / 5)
    # False alarms a day: differences 0, -6, -4, 0, -2; the zeros flip for nothing, so 8 signs count, two as extreme.
    assert found["fa_per_24h"].p_permutation == pytest.approx(2 / 8)
    assert found["fa_per_24h"].difference.value == pytest.approx(-12 / 5)
    assert (found["fa_per_24h"].n_better, found["fa_per_24h"].n_worse, found["fa_per_24h"].n_equal) == (0, 3, 2)


def test_runs_that_cannot_be_compared():
    first = scored(counts([1, 1], [0, 0]))
    with pytest.raises(ValueError, match="the second run has no event scores"):
        compare_events(first, Result({"events": None}, pd.DataFrame(), {}))
    with pytest.raises(ValueError, match="differs in its recordings, durations or annotated seizures"):
        compare_events(first, scored(counts([1, 1], [0, 0], n_reference=3)))
    with pytest.raises(ValueError, match="differs in its recordings"):
        compare_events(first, scored(counts([1], [0])))
    other = scored(counts([1, 1], [0, 0]))
    other.metrics["events"]["scorer"] = {"name": "another"}
    with pytest.raises(ValueError, match="scored differently"):
        compare_events(first, other)


def test_regimes_are_compared_with_their_seeds_averaged_and_holm():
    runs = {
        "a": [scored(counts([0, 1, 0], [0, 0, 0])), scored(counts([0, 1, 2], [0, 0, 0]))],
        "b": [scored(counts([2, 2, 2], [0, 0, 0]))] * 2,
        "c": [scored(counts([1, 1, 1], [0, 0, 0]))] * 2,
    }
    found = compare_event_runs(runs, None, {"n_resamples": 199})
    json.dumps(found, allow_nan=False)
    assert found["regimes"]["a"]["subjects"]["sensitivity"] == {"p0": 0.0, "p1": 0.5, "p2": 0.5}
    assert found["regimes"]["a"]["subjects"]["precision"]["p0"] is None  # undefined in both seeds
    assert found["regimes"]["b"]["macro"]["sensitivity"]["value"] == 1.0
    tests = [test for test in found["tests"] if test["metric"] == "sensitivity"]
    assert [(test["first"], test["second"]) for test in tests] == [("b", "a"), ("c", "a"), ("c", "b")]
    assert tests[0]["p_permutation"] == pytest.approx(2 / 8)
    assert tests[0]["p_holm"] == pytest.approx(3 * 2 / 8)
    only = compare_event_runs(runs, "c", {"n_resamples": 199})
    assert {(test["first"], test["second"]) for test in only["tests"]} == {("a", "c"), ("b", "c")}
    assert compare_event_runs({"a": [Result({}, pd.DataFrame(), {})]}, None, {}) is None
