"""Metrics against closed forms and counting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biot_bd import registry
from biot_bd.evaluation.metrics.window_metrics import (
    AVERAGE_PRECISION,
    BALANCED_ACCURACY,
    ROC_AUC,
    SENSITIVITY,
    SPECIFICITY,
    Metric,
    as_metric,
    as_metrics,
)

Y = np.array([0, 0, 1, 1, 0])
P = np.array([0.1, 0.8, 0.9, 0.4, 0.3])


def test_average_precision_by_hand():
    # Descending: 0.9 (1), 0.8 (0), 0.4 (1): precision 1 at recall 1/2, 2/3 at recall 1.
    assert AVERAGE_PRECISION(Y, P).value == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_roc_auc_is_the_share_of_ordered_pairs():
    pairs = [(p > q) + 0.5 * (p == q) for p in P[Y == 1] for q in P[Y == 0]]
    assert ROC_AUC(Y, P).value == pytest.approx(np.mean(pairs))


def test_threshold_metrics_by_counting():
    # At 0.4: 0.8, 0.9, 0.4 are called seizures.
    assert SENSITIVITY(Y, P, 0.4).value == 1
    assert SPECIFICITY(Y, P, 0.4).value == pytest.approx(2 / 3)
    assert BALANCED_ACCURACY(Y, P, 0.4).value == pytest.approx((1 + 2 / 3) / 2)


def test_every_window_has_its_own_threshold():
    thresholds = np.array([0.5, 0.9, 0.5, 0.4, 0.2])
    assert SPECIFICITY(Y, P, thresholds).value == pytest.approx(2 / 3)
    assert SENSITIVITY(Y, P, thresholds).value == 1


@pytest.mark.parametrize("metric", [AVERAGE_PRECISION, ROC_AUC, BALANCED_ACCURACY, SENSITIVITY])
def test_without_seizures_undefined_with_the_reason(metric):
    score = metric(np.zeros(4, int), np.linspace(0, 1, 4), 0.5)
    assert score.value is None
    assert "no seizure windows" in score.reason


@pytest.mark.parametrize("metric", [AVERAGE_PRECISION, ROC_AUC, BALANCED_ACCURACY, SPECIFICITY])
def test_without_background_undefined_with_the_reason(metric):
    score = metric(np.ones(4, int), np.linspace(0, 1, 4), 0.5)
    assert score.value is None
    assert "no background windows" in score.reason


def test_one_sided_metrics_need_their_own_class_only():
    assert SENSITIVITY(np.ones(2, int), [0.1, 0.9], 0.5).value == 0.5
    assert SPECIFICITY(np.zeros(2, int), [0.1, 0.9], 0.5).value == 0.5


def test_no_windows():
    assert AVERAGE_PRECISION([], []).reason == "no windows"


def test_a_function_that_gives_nan_is_undefined_not_nan():
    score = Metric("odd", lambda y, p: float("nan"))(Y, P)
    assert score.value is None
    assert "odd is nan" in score.reason


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1], [0.1], "one shape"),
        ([0, 2], [0.1, 0.2], "labels 0"),
        ([0, 1], [0.1, np.nan], "1 of 2 probabilities are not finite"),
    ],
)
def test_bad_input_raises(y, p, message):
    with pytest.raises(ValueError, match=message):
        ROC_AUC(y, p)


def test_a_missing_threshold_raises():
    with pytest.raises(ValueError, match="needs a threshold"):
        BALANCED_ACCURACY(Y, P)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=40))
def test_values_are_in_range_or_none_with_a_reason(rows):
    y = np.array([int(label) for label, _ in rows])
    p = np.array([value / 8 for _, value in rows])
    for metric in (AVERAGE_PRECISION, ROC_AUC, BALANCED_ACCURACY, SENSITIVITY, SPECIFICITY):
        score = metric(y, p, 0.5)
        defined = all((y == label).any() for label in metric.needs_classes)
        assert (score.value is not None) == defined == (score.reason is None)
        assert not defined or 0 <= score.value <= 1


@pytest.mark.parametrize("name", ["average_precision", "roc_auc", "balanced_accuracy", "sensitivity", "specificity"])
def test_registered_under_its_own_name(name):
    metric = registry.metrics[name]
    assert metric.name == name
    assert metric.description
    assert metric.greater_is_better
    assert as_metric(name) is metric


def test_scoring_takes_one_or_several_and_functions():
    def brier(y, p):
        return float(np.mean((y - p) ** 2))

    assert [m.name for m in as_metrics("roc_auc")] == ["roc_auc"]
    assert [m.name for m in as_metrics(("roc_auc", brier))] == ["roc_auc", "brier"]
    assert as_metric(brier)([0, 1], [0.5, 1.0]).value == pytest.approx(0.125)


def test_bad_scoring():
    with pytest.raises(registry.UnknownNameError, match="average_precision"):
        as_metrics("auc")
    with pytest.raises(ValueError, match="more than once"):
        as_metrics(["roc_auc", "roc_auc"])
    with pytest.raises(ValueError, match="empty"):
        as_metrics([])
    with pytest.raises(TypeError, match="int"):
        as_metrics([3])
