"""Intervals and paired tests against closed forms, brute force and scipy."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from biot_bd.evaluation.metrics.window_metrics import as_metric
from biot_bd.evaluation.statistics.intervals import DEGENERATE, macro_interval
from biot_bd.evaluation.statistics.paired_tests import holm, paired_test
from biot_bd.evaluation.uncertainty import window_intervals


def named(values):
    return pd.Series(values, index=[f"p{i:02d}" for i in range(len(values))], dtype=float)


def cohort(n_subjects=12, per_subject=40, seed=0, without=()):
    rng = np.random.default_rng(seed)
    subject = np.repeat([f"p{i:02d}" for i in range(n_subjects)], per_subject)
    y = np.tile(np.arange(per_subject) % 5 == 0, n_subjects).astype(int)
    y[np.isin(subject, without)] = 0
    shift = np.repeat(rng.normal(0, 0.15, n_subjects), per_subject)
    proba = np.clip(0.3 + 0.3 * y + shift + rng.normal(0, 0.15, len(y)), 0, 1)
    return pd.DataFrame({"subject": subject, "y_true": y, "proba": proba, "threshold": 0.5})


def all_resamples(values):
    return np.array([np.mean(chosen) for chosen in product(values, repeat=len(values))])


def test_the_percentile_interval_of_few_subjects_is_that_of_all_resamples():
    values = [0.1, 0.4, 0.5, 0.9, 0.35, 0.62]
    found = macro_interval(values, level=0.8, n_resamples=50_000)
    low, high = np.quantile(all_resamples(values), [0.1, 0.9])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)
    assert found.value == pytest.approx(np.mean(values))
    assert (found.method, found.resampled, found.n_subjects) == ("percentile bootstrap", "subjects", 6)


def test_the_interval_is_scipys():
    values = np.random.default_rng(1).beta(2, 4, 20)
    found = macro_interval(values, n_resamples=9999, random_state=5)
    low, high = stats.bootstrap(
        (values,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-3)
    assert found.notes == ()


def test_the_interval_covers_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        found = macro_interval(rng.normal(0.6, 0.1, 24), n_resamples=499, random_state=trial)
        hits += found.low <= 0.6 <= found.high
    # Binomial: 300 trials at the true coverage of about 0.93 lie in this range with certainty enough.
    assert 0.88 <= hits / 300 <= 0.98


def test_undefined_subjects_are_left_out_and_few_are_said_to_be_few():
    found = macro_interval({"a": 0.5, "b": None, "c": 0.7, "d": float("nan"), "e": 0.6})
    assert found.n_subjects == 3
    assert found.value == pytest.approx(0.6)
    assert "3 subjects are few" in " ".join(found.notes)


def test_no_interval_where_there_can_be_none():
    nobody = macro_interval({"a": None}).as_dict()
    assert (nobody["value"], nobody["low"], nobody["high"], nobody["n_subjects"]) == (None, None, None, 0)
    assert nobody["notes"][0] == "defined for no subject"
    one = macro_interval([0.4])
    assert (one.value, one.low) == (0.4, None)
    assert one.notes == ("one subject: there is no interval over subjects",)


def test_equal_scores_give_no_interval_and_say_why():
    found = macro_interval([0.5] * 12)
    assert (found.value, found.low, found.high) == (0.5, None, None)
    assert DEGENERATE in found.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 95}, "level must lie between"),
        ({"n_resamples": 3}, "at least 99"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=message):
        macro_interval([0.1, 0.2], **change)
    with pytest.raises(ValueError, match="p01 is not finite"):
        macro_interval(named([0.1, np.inf]))


def pooled(tables, metric, **options):
    """Return the interval of the pooled score of one run or of several; the scores themselves are scikit-learn's."""
    tables = [tables] if isinstance(tables, pd.DataFrame) else tables
    metrics = []
    for table in tables:
        named_metric = as_metric(metric)
        scores = {
            subject: {metric: named_metric(part["y_true"], part["proba"], part["threshold"]).as_dict()}
            for subject, part in table.groupby("subject")
        }
        value = named_metric(table["y_true"], table["proba"], table["threshold"]).as_dict()
        metrics.append({"scoring": [metric], "subjects": scores, "macro": {metric: value}, "pooled": {metric: value}})
    tables = [table.assign(recording=pd.NA) for table in tables]
    return window_intervals(tables, metrics, **options)["pooled"][metric]


def test_pooled_intervals_resample_subjects_with_all_their_windows():
    table = cohort()
    found = pooled(table, "average_precision", n_resamples=499)
    assert found["value"] == pytest.approx(average_precision_score(table["y_true"], table["proba"]))
    parts = [part for _, part in table.groupby("subject")]
    rng, own = np.random.default_rng(9), []
    for _ in range(600):
        drawn = pd.concat([parts[i] for i in rng.integers(0, len(parts), len(parts))])
        own.append(average_precision_score(drawn["y_true"], drawn["proba"]))
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(own, [0.025, 0.975])), abs=0.03)
    windows = table.assign(subject=[f"w{i:04d}" for i in range(len(table))])
    alone = pooled(windows, "average_precision", n_resamples=199)
    assert alone["high"] - alone["low"] < found["high"] - found["low"]  # windows taken for subjects feign certainty


def test_pooled_intervals_use_each_windows_threshold():
    table = cohort()
    table["threshold"] = np.where(table["subject"] < "p06", 0.0, 1.1)
    found = pooled(table, "sensitivity", n_resamples=199)
    assert found["value"] == pytest.approx(0.5)
    assert found["low"] < 0.5 < found["high"]


def test_the_pooled_interval_of_two_seeds_is_that_of_their_mean():
    a, b = cohort(seed=1), cohort(seed=2)
    found = pooled([a, b], "roc_auc", n_resamples=99)
    alone = [pooled(table, "roc_auc", n_resamples=99) for table in (a, b)]
    assert found["value"] == pytest.approx(np.mean([cell["value"] for cell in alone]))
    assert min(c["low"] for c in alone) <= found["low"] <= found["high"] <= max(c["high"] for c in alone)
    with pytest.raises(ValueError, match="recordings differ"):
        pooled([a, a[a["subject"] != "p11"]], "roc_auc")


def test_pooled_resamples_without_seizures_are_counted():
    table = cohort(n_subjects=4, without=["p00", "p01", "p02"])
    found = pooled(table, "average_precision", n_resamples=999)
    # (3/4)^4 of the resamples miss the one subject with seizures.
    assert found["n_undefined"] / 999 == pytest.approx(0.75**4, abs=0.06)
    assert any(f"undefined in {found['n_undefined']} of 999" in note for note in found["notes"])
    nobody = pooled(cohort(without=[f"p{i:02d}" for i in range(12)]), "average_precision")
    assert (nobody["value"], nobody["low"]) == (None, None)


def test_the_sign_flip_test_counts_all_flips():
    d = np.array([0.2, 0.1, -0.05, 0.3, 0.15, 0.02, 0.07])
    found = paired_test(named(d + 0.4), named(np.full(7, 0.4)))
    flips = np.array([np.mean(d * signs) for signs in product([1, -1], repeat=7)])
    assert found.p_permutation == pytest.approx(np.mean(np.abs(flips) >= abs(d.mean()) - 1e-12))
    assert found.exact
    assert found.smallest_p == 2 / 2**7
    assert found.difference.value == pytest.approx(d.mean())
    assert (found.n_better, found.n_worse, found.n_equal) == (6, 1, 0)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_all_subjects_better_gives_the_smallest_p_there_is(n):
    d = np.linspace(0.1, 0.2, n)
    found = paired_test(named(0.5 + d), named(np.full(n, 0.5)))
    assert found.p_permutation == pytest.approx(2 / 2**n)
    assert found.p_wilcoxon == pytest.approx(2 / 2**n)
    said = any("cannot give a p below" in note for note in found.notes)
    assert said == (n < 6)


def test_wilcoxon_is_scipys_and_many_subjects_are_drawn():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.6, 0.1, 24), rng.normal(0.5, 0.1, 24)
    found = paired_test(named(a), named(b))
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert not found.exact
    assert found.p_permutation == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.01)
    swapped = paired_test(named(b), named(a))
    assert swapped.difference.value == pytest.approx(-found.difference.value)


def test_the_sign_flip_test_keeps_its_level():
    rng = np.random.default_rng(11)
    p = [
        paired_test(named(rng.normal(0, 1, 8)), named(rng.normal(0, 1, 8)), n_resamples=99).p_permutation
        for _ in range(300)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.09


def test_no_difference_and_undefined_subjects():
    same = paired_test({"a": 0.3, "b": 0.5, "c": None}, {"a": 0.3, "b": 0.1 + 0.4, "c": 0.2})
    assert (same.p_permutation, same.p_wilcoxon, same.n_equal) == (1.0, 1.0, 2)
    assert same.left_out == ("c",)
    single = paired_test({"a": 0.3, "b": None}, {"a": 0.2, "b": 0.1})
    assert single.p_permutation is None
    assert "nothing to test" in single.notes[0]
    with pytest.raises(ValueError, match=r"same subjects.*b, c"):
        paired_test({"a": 1.0, "b": 0.4}, {"a": 1.0, "c": 0.4})


def test_holm():
    # Holm's procedure by hand: 4 x 0.01, 3 x 0.02 = 0.06, 2 x 0.03 = 0.06, then never falling.
    assert holm([0.03, 0.01, None, 0.04, 0.02]) == pytest.approx([0.06, 0.04, None, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([1.2])
