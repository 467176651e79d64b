"""The two-level bootstrap against closed forms, all resamples, and scikit-learn's and timescoring's scores."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    recall_score,
    roc_auc_score,
)
from timescoring.scoring import EventScoring

from biot_bd.evaluation.statistics.intervals import Draws
from biot_bd.evaluation.statistics.resampled_scores import EVENT_SCORES, EventParts, WindowParts, event_scores


def mean_of(values):
    """Score: weighted mean of one value a recording."""
    return lambda rows, weights: weights @ values[rows] / weights.sum(axis=1)


def test_the_spread_of_the_mean_is_the_closed_form():
    rng = np.random.default_rng(0)
    n_subjects, n_recordings = 8, 5
    values = rng.normal(rng.normal(0, 1, (n_subjects, 1)), 2, (n_subjects, n_recordings))
    draws = Draws(np.repeat(np.arange(n_subjects), n_recordings), n_resamples=20_000, random_state=1)
    scores = draws.macro(draws.by_subject(mean_of(values.ravel())))
    # Variance of a mean of subjects drawn, each the mean of recordings drawn.
    expected = (values.mean(axis=1).var() + values.var(axis=1).mean() / n_recordings) / n_subjects
    assert scores.var() == pytest.approx(expected, rel=0.04)
    assert scores.mean() == pytest.approx(values.mean(), abs=4 * np.sqrt(expected / 20_000))
    # With equally many recordings a subject, all recordings pooled are the mean over subjects.
    pooled = draws.pooled(mean_of(values.ravel()))
    assert np.quantile(pooled, [0.025, 0.975]) == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.05)


def test_the_interval_of_two_subjects_is_that_of_all_resamples():
    values = {"a": [1.0, 4.0], "b": [2.0, 9.0]}
    everything = []
    for subjects in product("ab", repeat=2):
        for first in product(values[subjects[0]], repeat=2):
            everything += [
                np.mean([np.mean(first), np.mean(second)]) for second in product(values[subjects[1]], repeat=2)
            ]
    draws = Draws(["a", "a", "b", "b"], n_resamples=40_000)
    scores = draws.macro(draws.by_subject(mean_of(np.array([1.0, 4.0, 2.0, 9.0]))))
    for value in np.unique(everything):
        assert np.mean(scores == value) == pytest.approx(np.mean(np.array(everything) == value), abs=0.01)
    found = draws.interval(4.0, scores, level=0.8)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(everything, [0.1, 0.9])), abs=0.26)
    assert (found.n_subjects, found.n_recordings, found.n_resamples, found.n_undefined) == (2, 4, 40_000, 0)
    assert found.resampled == "subjects, then recordings within subjects"


def test_resamples_hold_whole_draws_of_subjects_and_recordings():
    subjects = ["a"] * 3 + ["b"] * 2 + ["c"]
    draws = Draws(subjects, n_resamples=500, random_state=3)
    weights = draws.weights
    drawn = np.stack([weights[:, rows].sum(axis=1) / len(rows) for rows in draws.rows.values()], axis=1)
    assert (drawn == drawn.round()).all()
    assert (drawn.sum(axis=1) == 3).all()
    assert weights[:, 5].max() == 3
    assert (Draws(subjects, n_resamples=500, random_state=3).weights == weights).all()
    assert (Draws(subjects, n_resamples=500, random_state=4).weights != weights).any()


def test_the_interval_covers_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(5), 0
    subjects = np.repeat(np.arange(20), 4)
    for trial in range(200):
        values = rng.normal(np.repeat(rng.normal(0.6, 0.1, 20), 4), 0.15)
        draws = Draws(subjects, n_resamples=299, random_state=trial)
        found = draws.interval(values.mean(), draws.macro(draws.by_subject(mean_of(values))))
        hits += found.low <= 0.6 <= found.high
    # A percentile interval of 20 subjects covers 0.93 or more (the second level widens it): binomial limits around it.
    assert 0.88 <= hits / 200 <= 0.995


def test_recordings_taken_for_subjects_feign_certainty():
    rng = np.random.default_rng(6)
    values = np.repeat(rng.normal(0, 1, 10), 20) + rng.normal(0, 0.1, 200)
    by_subject = Draws(np.repeat(np.arange(10), 20))
    alone = Draws(np.arange(200))
    widths = []
    for draws in (by_subject, alone):
        found = draws.interval(0.0, draws.pooled(mean_of(values)))
        widths.append(found.high - found.low)
    assert widths[0] > 3 * widths[1]


def test_undefined_resamples_are_counted_and_left_out():
    draws = Draws(list("abcd"), n_resamples=4000)
    counts = pd.DataFrame({"tp": [1, 0, 0, 0], "fp": 0, "n_reference": [1, 0, 0, 0], "duration_s": 3600.0})
    parts = EventParts(counts)
    scores = draws.pooled(lambda rows, weights: parts.score("sensitivity", rows, weights))
    found = draws.interval(1.0, scores)
    # (3/4)^4 of the resamples miss the only subject with a seizure.
    assert found.n_undefined / 4000 == pytest.approx(0.75**4, abs=0.03)
    assert (found.low, found.high) == (None, None)  # all that are defined are 1
    assert f"undefined in {found.n_undefined} of 4000 resamples" in " ".join(found.notes)
    macro = draws.macro(draws.by_subject(lambda rows, weights: parts.score("sensitivity", rows, weights)))
    assert np.isnan(macro).mean() == pytest.approx(0.75**4, abs=0.03)


def test_degenerate_cohorts_have_no_interval_and_say_why():
    one = Draws(["a", "a", "a"])
    found = one.interval(0.5, one.pooled(mean_of(np.array([0.1, 0.5, 0.9]))))
    assert (found.value, found.low, found.high, found.n_undefined) == (0.5, None, None, 0)
    assert found.notes == ("one subject: there is no interval over subjects",)
    inside = one.interval_within("a", 0.5, one.by_subject(mean_of(np.array([0.1, 0.5, 0.9])))["a"])
    assert inside.low < 0.5 < inside.high
    assert inside.resampled == "recordings of one subject"
    assert "only 3 recordings" in inside.notes[0]
    alone = Draws(["a", "b"])
    single = alone.interval_within("a", 0.5, np.full(999, 0.5))
    assert (single.low, single.notes) == (None, ("one recording: there is no interval over recordings",))
    assert "one recording a subject" in " ".join(alone.interval(0.5, np.full(999, 0.5)).notes)
    undefined = alone.interval(None, np.full(999, np.nan))
    assert (undefined.value, undefined.low, undefined.n_undefined) == (None, None, 999)
    with pytest.raises(ValueError, match="at least 99"):
        Draws(["a", "b"], n_resamples=3)
    with pytest.raises(ValueError, match="level must lie between"):
        alone.interval(0.5, np.full(999, 0.5), level=95)
    with pytest.raises(ValueError, match="one recording or more"):
        Draws([])


# --- scores of many resamples at once ---------------------------------------------------------------------


@st.composite
def recordings_with_windows(draw):
    n = draw(st.integers(1, 4))
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, n - 1), st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0])),
            min_size=1,
            max_size=40,
        )
    )
    weights = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    return n, rows, weights


@settings(max_examples=150, deadline=None)
@given(recordings_with_windows())
def test_scores_of_resamples_are_scikit_learns(case):
    n, rows, weights = case
    recording, y, proba = (np.array(column) for column in zip(*rows, strict=True))
    table = pd.DataFrame({"y_true": y, "proba": proba, "threshold": np.where(recording % 2, 0.25, 0.6)})
    parts = WindowParts(table, recording, n)
    again = np.repeat(np.arange(len(y)), np.array(weights)[recording])  # the resample, window by window
    y_again, proba_again = y[again], proba[again]
    called = (proba_again >= table["threshold"].to_numpy()[again]).astype(int)
    wanted = dict.fromkeys(
        ("average_precision", "roc_auc", "balanced_accuracy", "sensitivity", "specificity", "brier"), np.nan
    )
    if len(again):
        wanted["brier"] = brier_score_loss(y_again, proba_again, pos_label=1)
    if (y_again == 1).any():
        wanted["sensitivity"] = recall_score(y_again, called, pos_label=1)
    if (y_again == 0).any():
        wanted["specificity"] = recall_score(y_again, called, pos_label=0)
    if len(set(y_again)) == 2:
        wanted["average_precision"] = average_precision_score(y_again, proba_again)
        wanted["roc_auc"] = roc_auc_score(y_again, proba_again)
        wanted["balanced_accuracy"] = balanced_accuracy_score(y_again, called)
    for name, expected in wanted.items():
        (found,) = parts.score(name, np.arange(n), np.array([weights]))
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize(("share", "tolerance"), [(0.01, 1e-9), (0.2, 2e-3)])
def test_many_windows_are_scored_exactly_up_to_a_thousand_seizure_windows(share, tolerance):
    rng = np.random.default_rng(8)
    y = (rng.random(60_000) < share).astype(int)
    proba = rng.beta(1 + 4 * y, 6)
    table = pd.DataFrame({"y_true": y, "proba": proba, "threshold": 0.5})
    parts = WindowParts(table, np.zeros(len(y), dtype=int), 1)
    one, rows = np.ones((1, 1), dtype=int), np.arange(1)
    wanted = {"average_precision": average_precision_score(y, proba), "roc_auc": roc_auc_score(y, proba)}
    for name, expected in wanted.items():
        assert parts.score(name, rows, one)[0] == pytest.approx(expected, abs=tolerance), name


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.floats(600, 90_000))
def test_event_scores_are_timescorings(tp, missed, fp, duration_s):
    scoring = EventScoring.__new__(EventScoring)
    scoring.tp, scoring.fp, scoring.refTrue = tp, fp, tp + missed
    scoring.fs, scoring.numSamples = 10, duration_s * 10
    scoring.computeScores()
    counts = {"tp": tp, "fp": fp, "n_reference": tp + missed, "duration_s": duration_s}
    found = event_scores(counts)
    for name, attribute in (
        ("sensitivity", "sensitivity"),
        ("precision", "precision"),
        ("f1", "f1"),
        ("fa_per_24h", "fpRate"),
    ):
        expected = getattr(scoring, attribute)
        assert (found[name] is None) == bool(np.isnan(expected)), name
        if found[name] is not None:
            assert found[name] == pytest.approx(expected)
    assert set(found) == set(EVENT_SCORES)


def test_counts_that_are_none():
    good = pd.DataFrame({"tp": [1], "fp": [0], "n_reference": [1], "duration_s": [3600.0]})
    with pytest.raises(ValueError, match=r"lack the column\(s\) fp"):
        EventParts(good.drop(columns="fp"))
    with pytest.raises(ValueError, match="not negative"):
        EventParts(good.assign(fp=-1))
    with pytest.raises(ValueError, match="finite"):
        EventParts(good.assign(duration_s=np.nan))
