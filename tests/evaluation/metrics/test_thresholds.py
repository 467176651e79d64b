"""Thresholds against exhaustive search and counting."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from biot_bd.evaluation.metrics.thresholds import choose_threshold

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60)


def split(rows):
    return np.array([int(label) for label, _ in rows]), np.array([value / 20 for _, value in rows])


@given(ROWS)
def test_no_threshold_has_a_better_balanced_accuracy(rows):
    y, p = split(rows)
    assume(0 < y.sum() < len(y))
    chosen = choose_threshold(y, p)
    best = max(balanced_accuracy_score(y, p >= cut) for cut in [*np.unique(p), 2.0])
    if chosen.reason is None:
        assert balanced_accuracy_score(y, p >= chosen.value) == pytest.approx(best)
    else:
        assert best == pytest.approx(0.5)
        assert chosen.value == 0.5


def test_lies_halfway_between_probabilities():
    assert choose_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]).value == pytest.approx(0.4)


def test_adjacent_floats_are_still_told_apart():
    low = 0.3
    high = np.nextafter(low, 1)
    chosen = choose_threshold([0, 1], [low, high])
    assert low < chosen.value <= high


@given(ROWS)
def test_matched_prevalence_calls_as_many_seizures_as_there_are(rows):
    y, p = split(rows)
    p = p + np.arange(len(p)) * 1e-6  # no ties, so that the count can be met
    assume(0 < y.sum() < len(y))
    chosen = choose_threshold(y, p, "matched-prevalence")
    assert (p >= chosen.value).sum() == y.sum()


def test_a_number_is_taken_as_it_is():
    chosen = choose_threshold([0, 1], [0.9, 0.1], 0.3)
    assert (chosen.value, chosen.rule, chosen.reason) == (0.3, "fixed", None)


@pytest.mark.parametrize("rule", ["balanced-accuracy", "matched-prevalence"])
@pytest.mark.parametrize(
    ("y", "reason"),
    [([], "no validation windows"), ([0, 0], "no seizure windows"), ([1, 1], "no background windows")],
)
def test_without_both_classes_one_half_with_the_reason(rule, y, reason):
    chosen = choose_threshold(y, np.linspace(0, 1, len(y)), rule)
    assert chosen.value == 0.5
    assert reason in chosen.reason


@pytest.mark.parametrize("rule", ["youden", -0.1, 1.5, True])
def test_bad_rules(rule):
    with pytest.raises(ValueError, match="threshold"):
        choose_threshold([0, 1], [0.1, 0.9], rule)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        choose_threshold([0, 1], [0.1])
