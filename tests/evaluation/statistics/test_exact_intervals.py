"""Exact intervals of counts against their closed forms, and the cells that get them."""

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, poisson

from biot_bd.evaluation.statistics.exact_intervals import BINOMIAL, POISSON, binomial_interval, poisson_interval
from biot_bd.evaluation.statistics.intervals import DEGENERATE, METHOD, notes_by_score
from biot_bd.evaluation.uncertainty import event_intervals


def counts(rows):
    return pd.DataFrame(rows, columns=["subject", "recording", "tp", "fp", "n_reference", "duration_s"])


def test_all_of_n_is_the_closed_form():
    for n in (1, 2, 5, 40):
        assert binomial_interval(n, n) == (pytest.approx(0.025 ** (1 / n)), 1.0)
        assert binomial_interval(0, n) == (0.0, pytest.approx(1 - 0.025 ** (1 / n)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95]))
def test_binomial_ends_are_beta_quantiles_and_leave_the_tails_of_the_count(found, level):
    k, n = found
    low, high = binomial_interval(k, n, level)
    tail = (1 - level) / 2
    if k > 0:
        assert low == pytest.approx(beta.ppf(tail, k, n - k + 1), abs=1e-9)
        assert binom.sf(k - 1, n, low) == pytest.approx(tail, rel=1e-6)
    if k < n:
        assert high == pytest.approx(beta.ppf(1 - tail, k + 1, n - k), abs=1e-9)
        assert binom.cdf(k, n, high) == pytest.approx(tail, rel=1e-6)
    assert low <= k / n <= high
    assert high > low


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 200), st.floats(0.01, 50))
def test_poisson_ends_leave_the_tails_of_the_count(n, days):
    low, high = poisson_interval(n, days)
    assert poisson.cdf(n, high * days) == pytest.approx(0.025, rel=1e-6)
    if n:
        assert poisson.sf(n - 1, low * days) == pytest.approx(0.025, rel=1e-6)
    else:
        assert (low, high * days) == (0.0, pytest.approx(-math.log(0.025)))


def test_two_of_two_seizures_get_an_exact_interval_with_their_count():
    found = event_intervals(
        counts([("a", "a1", 1, 0, 1, 3600), ("a", "a2", 1, 0, 1, 3600), ("b", "b1", 0, 1, 1, 3600)]), n_resamples=99
    )
    cell = found["subjects"]["a"]["sensitivity"]
    assert (cell["low"], cell["high"]) == (pytest.approx(math.sqrt(0.025)), 1.0)
    assert (cell["method"], cell["counted"]) == (BINOMIAL, {"n": 2, "of": 2, "hours": None})
    rate = found["subjects"]["a"]["fa_per_24h"]
    assert (rate["low"], rate["high"]) == (0.0, pytest.approx(-math.log(0.025) * 12))
    assert (rate["method"], rate["counted"]) == (POISSON, {"n": 0, "of": None, "hours": 2.0})
    f1 = found["subjects"]["a"]["f1"]  # no share of counts: no interval, and the reason
    assert (f1["value"], f1["low"]) == (1.0, None)
    assert DEGENERATE in f1["notes"]
    # One recording gives no resamples at all, but a count.
    assert found["subjects"]["b"]["sensitivity"]["counted"] == {"n": 0, "of": 1, "hours": None}
    assert found["subjects"]["b"]["precision"]["counted"] == {"n": 0, "of": 1, "hours": None}


def test_what_varies_keeps_its_bootstrap_and_what_is_undefined_stays_so():
    rows = [(name, f"{name}{i}", tp, i, 2, 3600) for name in "abc" for i, tp in ((1, 2), (2, 1), (3, 0))]
    found = event_intervals(counts(rows), n_resamples=199)
    for average in (found["pooled"], found["macro"], found["subjects"]["a"]):
        assert average["sensitivity"]["method"] == METHOD
        assert average["sensitivity"]["counted"] is None
        assert average["sensitivity"]["low"] < average["sensitivity"]["high"]
    healthy = event_intervals(counts([("a", "a1", 0, 0, 0, 3600), ("b", "b1", 0, 0, 0, 3600)]), n_resamples=99)
    assert healthy["pooled"]["sensitivity"]["value"] is healthy["pooled"]["sensitivity"]["counted"] is None
    assert healthy["pooled"]["fa_per_24h"]["high"] == pytest.approx(-math.log(0.025) * 12)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)),
        min_size=2,
        max_size=8,
    )
)
def test_no_interval_has_no_width(rows):
    table = counts([(s, f"r{i}", tp, fp, tp + missed, 1800.0) for i, (s, tp, fp, missed) in enumerate(rows)])
    found = event_intervals(table, n_resamples=99)
    cells = [cell for part in (found["macro"], found["pooled"], *found["subjects"].values()) for cell in part.values()]
    for cell in cells:
        assert (cell["low"] is None) == (cell["high"] is None)
        if cell["low"] is not None:
            assert cell["low"] < cell["high"]
        if cell["counted"] is not None:
            assert cell["low"] - 1e-9 <= cell["value"] <= cell["high"] + 1e-9


def test_the_mean_of_several_runs_is_no_count():
    table = counts([("a", "a1", 1, 0, 1, 3600), ("b", "b1", 1, 0, 1, 3600)])
    found = event_intervals([table, table], n_resamples=99)
    assert found["pooled"]["sensitivity"]["low"] is None


def test_the_number_of_subjects_is_that_of_the_score():
    rows = [(name, f"{name}1", 1 if name < "c" else 0, 1, 1 if name < "c" else 0, 3600) for name in "abcd"]
    found = event_intervals(counts(rows), n_resamples=99)["macro"]
    assert found["sensitivity"]["notes"][0].startswith("2 subjects are few")
    assert found["fa_per_24h"]["notes"][0].startswith("4 subjects are few")


def test_notes_name_their_score_unless_all_scores_have_them():
    said = [("AUC-PR", ["3 few", "one seed"]), ("AUROC", ["4 few", "one seed"]), ("AUROC", ["4 few"])]
    assert notes_by_score(said) == ["AUC-PR: 3 few", "one seed", "AUROC: 4 few"]
