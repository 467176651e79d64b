import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import registry
from biot_bd.windows.labels import (
    BiotOfficial,
    Overlap,
    Unlabelled,
    check_table,
    make_label_rule,
    rule_name,
    seizure_samples,
)

SFREQ = 16.0
whole = st.integers(0, 400)
times = st.lists(st.tuples(whole, whole).map(sorted), max_size=3)


def runs(mask):
    edges = np.flatnonzero(np.diff(mask.astype(int), prepend=0, append=0))
    return edges.reshape(-1, 2)


def slow_overlap(n, events, window, stride, enough, exclude_partial, guard):
    """The rule's text, sample by sample: rows of (start, label, fraction)."""
    ictal = np.zeros(n, bool)
    for on, off in events:
        ictal[on : max(off, on + 1)] = True
    rows = []
    for start in range(0, n - window + 1, stride):
        inside = ictal[start : start + window]
        held = int(inside.sum())
        positive = held >= min(enough, window)
        for a, b in runs(ictal):
            mine = sum(a <= s < b for s in range(start, start + window))
            positive |= mine >= min(enough, window, b - a)
        near = ictal[max(0, start - guard) : start + window + guard].any()
        if not positive and ((exclude_partial and held) or (guard and near)):
            continue
        rows.append((start, int(positive), held / window))
    return rows


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(0, 400),
    events=times,
    window=st.integers(1, 60),
    stride=st.integers(1, 60),
    enough=st.integers(1, 80),
    exclude_partial=st.booleans(),
    guard=st.integers(0, 40),
)
def test_overlap_is_what_counting_samples_gives(n, events, window, stride, enough, exclude_partial, guard):
    rule = Overlap(enough / SFREQ, exclude_partial, guard / SFREQ)
    table = rule(n, SFREQ, [(a / SFREQ, b / SFREQ) for a, b in events], window / SFREQ, stride / SFREQ)
    expected = slow_overlap(n, [e for e in events if e[0] < n], window, stride, enough, exclude_partial, guard)
    assert list(zip(table["start_sample"], table["label"], strict=True)) == [row[:2] for row in expected]
    np.testing.assert_allclose(table["seizure_fraction"], [row[2] for row in expected], atol=1e-12)
    assert (table["n_samples"] == window).all()
    assert (table["kind"] == "grid").all()


def test_a_seizure_shorter_than_the_overlap_makes_its_window_positive():
    table = Overlap(5)(256 * 30, 256, [(12, 14)], 10, 5)
    assert table["label"].tolist() == [0, 1, 1, 0, 0]


def test_a_window_inside_a_seizure_is_positive_however_short():
    table = Overlap(5)(256 * 30, 256, [(0, 30)], 2, 2)
    assert table["label"].all()
    assert len(table) == 15


def test_starts_do_not_drift_where_the_stride_is_no_whole_number_of_samples():
    table = Overlap()(100_000, 256.3, [], 10, 0.7)
    exact = np.arange(len(table)) * 0.7 * 256.3
    assert np.abs(table["start_sample"] - exact).max() <= 0.5 + 1e-6


def test_touching_seizures_are_one_and_those_outside_are_left_out():
    found = seizure_samples(1000, 10, [(50, 60), (5, 7), (7, 9), (200, 300), (95, 120)])
    assert found.tolist() == [[50, 90], [500, 600], [950, 1000]]


def test_biot_official_equals_the_published_program(shared):
    golden = json.loads((shared / "golden/chbmit-official-rule-windows.json").read_text())["chb01"]
    for recording in ("chb01_03", "chb01_15"):
        expected = {
            (w["start_sample"], w["samples"], w["kind"], w["label"]) for w in golden if w["recording"] == recording
        }
        table = BiotOfficial()(50 * 256, 256.0, [(10, 50)])
        found = list(zip(table["start_sample"], table["n_samples"], table["kind"], table["label"], strict=True))
        assert len(found) == len(expected)
        assert set(found) == expected


def test_biot_official_calls_the_inside_of_a_seizure_background():
    table = BiotOfficial()(100 * 256, 256, [(5, 95)]).query("kind == 'grid'")
    assert table["label"].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert table["seizure_fraction"].tolist() == [0.5] + [1.0] * 8 + [0.5]


def test_biot_official_refuses_other_windows():
    with pytest.raises(ValueError, match="10 s"):
        BiotOfficial()(5000, 256, [], window_s=5, stride_s=5)


@pytest.mark.parametrize("events", [[(3, 2)], [(np.nan, 2)], [(1, 2, 3)], [1, 2]])
@pytest.mark.parametrize("rule", [Overlap(), BiotOfficial()])
def test_events_that_make_no_sense_raise(rule, events):
    with pytest.raises(ValueError, match="events"):
        rule(5000, 256, events, 10, 10)


@pytest.mark.parametrize(
    ("rule", "options", "name"),
    [
        (Overlap(-1), {}, "min_overlap_s"),
        (Overlap(guard_s=np.inf), {}, "guard_s"),
        (Overlap(), {"window_s": 0}, "window_s"),
        (Overlap(), {"stride_s": np.nan}, "stride_s"),
    ],
)
def test_parameters_that_make_no_sense_raise(rule, options, name):
    with pytest.raises(ValueError, match=name):
        rule(5000, 256, [], **options)


def test_rules_by_name_and_back():
    assert make_label_rule("overlap") == Overlap()
    assert rule_name(Overlap()) == "overlap"
    assert rule_name(Overlap(guard_s=60)) == "overlap(guard_s=60)"
    assert rule_name(make_label_rule("biot-official")) == "biot-official"
    with pytest.raises(registry.UnknownNameError, match="overlap"):
        make_label_rule("overlapp")
    with pytest.raises(TypeError, match="instance"):
        make_label_rule(Overlap)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_sample": [0, 95]}, "outside"),
        ({"start_sample": [-1, 0]}, "outside"),
        ({"label": [0, -1]}, "negative label"),
        ({"kind": None}, "kind"),
    ],
)
def test_a_rule_that_breaks_its_word_is_named(change, message):
    table = pd.DataFrame(
        {"start_sample": [0, 10], "n_samples": 10, "label": 0, "kind": "grid", "seizure_fraction": 0.0}
    ).assign(**{k: v for k, v in change.items() if v is not None})
    table = table.drop(columns=[k for k, v in change.items() if v is None])
    with pytest.raises(ValueError, match=message):
        check_table(table, Overlap(), 100)


@given(n=st.integers(0, 400), events=times)
def test_without_labels_windows_are_those_of_overlap_and_none_is_a_seizure(n, events):
    seconds = np.array(events, dtype=float).reshape(-1, 2) / SFREQ
    found, wanted = (rule(n, SFREQ, seconds, window_s=2.0, stride_s=1.0) for rule in (Unlabelled(), Overlap()))
    pd.testing.assert_frame_equal(found.drop(columns="label"), wanted.drop(columns="label"))
    assert (found["label"] == 0).all()
    assert rule_name(Unlabelled()) == "none"
