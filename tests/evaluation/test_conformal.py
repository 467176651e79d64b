"""Conformal sets: the promise on exchangeable subjects, quantiles by hand, coverage of a run."""

import re

import numpy as np
import pytest

from biot_bd.evaluation import baseline, calibrate_sets, conformal_sets, cross_validate
from biot_bd.evaluation.conformal import sets_of


def subjects(rng, n, windows=(5, 40), share=0.2, spread=2.0):
    """Return labels, probabilities and subjects; each subject has a shift, a prevalence and a length of its own."""
    parts = []
    for number in range(n):
        m = int(rng.integers(*windows))
        y = (rng.random(m) < rng.uniform(0, 2 * share)).astype(int)
        p = 1 / (1 + np.exp(-(3 * y - 1.5 + spread * rng.normal() + rng.normal(size=m))))
        parts.append((y, np.column_stack([1 - p, p]), np.full(m, number)))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def coverages(rng, n_calibration, n_draws, **options):
    """Return the share of covered windows of a new subject in each draw, NaN where it has no such window."""
    out = []
    label = options.pop("of", None)
    for _ in range(n_draws):
        y, p, who = subjects(rng, n_calibration + 1)
        new = who == n_calibration
        inside = calibrate_sets(y[~new], p[~new], who[~new], **options)(p[new])
        covered = inside[np.arange(new.sum()), y[new]]
        covered = covered if label is None else covered[y[new] == label]
        out.append(covered.mean() if len(covered) else np.nan)
    return np.array(out)


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_a_window_of_a_new_subject_is_covered_as_often_as_promised(level):
    found = coverages(np.random.default_rng(1), 19, 600, level=level)
    error = found.std() / np.sqrt(len(found))
    assert level - 3 * error <= found.mean() <= level + 1 / 20 + 3 * error


def test_each_class_is_covered_as_often_as_promised():
    """The seizure class, of which some subjects have no window: whoever has some is a draw of those who have."""
    found = coverages(np.random.default_rng(2), 19, 600, level=0.8, by_class=True, of=1)
    found = found[np.isfinite(found)]
    assert found.mean() >= 0.8 - 3 * found.std() / np.sqrt(len(found))


def test_windows_as_unit_promise_too_much_where_subjects_differ():
    rng, found = np.random.default_rng(3), {"subject": [], "window": []}
    for _ in range(300):
        y, p, who = subjects(rng, 5, windows=(30, 31), spread=4.0)
        new = who == 4
        for unit, values in found.items():
            inside = calibrate_sets(y[~new], p[~new], who[~new], level=0.95, unit=unit)(p[new])
            values.append(inside[np.arange(new.sum()), y[new]].mean())
    assert np.mean(found["window"]) < 0.92
    assert np.mean(found["subject"]) == 1.0  # four subjects can promise 0.8 at most: all classes, and it says so


def test_one_window_a_subject_is_the_textbooks_quantile():
    rng = np.random.default_rng(4)
    scores = rng.random(39)
    p = np.column_stack([1 - scores, scores])
    for level in (0.5, 0.75, 0.9, 0.97):
        rank = int(np.ceil(level * 40 - 1e-9))
        for unit in ("subject", "window"):
            found = calibrate_sets(np.zeros(39, int), p, np.arange(39), level=level, unit=unit)
            assert found.thresholds[0] == pytest.approx(np.sort(scores)[rank - 1])


def test_too_few_subjects_promise_nothing_and_every_class_is_in_the_sets():
    y, p, who = subjects(np.random.default_rng(5), 8)
    known = calibrate_sets(y, p, who, level=0.9)
    assert known.thresholds == (np.inf, np.inf)
    assert known(p).all()
    assert known.highest_level == pytest.approx(8 / 9)
    assert np.isfinite(calibrate_sets(y, p, who, level=8 / 9).thresholds).all()


@pytest.fixture(scope="module")
def result():
    groups = np.repeat([f"site/{i:02d}" for i in range(8)], 20)
    y = np.tile(np.arange(20) % 4 == 0, 8).astype(int)
    X = np.random.default_rng(0).normal(0, 20, (160, 2, 200)) * (1 + y[:, None, None])
    return cross_validate(baseline("line-length", X), X, y=y, groups=groups, cv="subject-kfold-4", progress=False)


def test_coverage_of_a_run_is_counted_by_hand(result):
    found = conformal_sets(result, level=0.5)
    sets, coverage = found.sets, found.coverage
    assert len(sets) == 160
    inside = sets[["in_set_0", "in_set_1"]].to_numpy()
    assert (sets["covered"] == inside[np.arange(160), sets["y_true"]]).all()
    one = sets[sets["subject"] == "site/03"]
    assert coverage["subjects"]["site/03"]["coverage"] == one["covered"].mean()
    assert coverage["macro"]["value"] == pytest.approx(sets.groupby("subject")["covered"].mean().mean())
    assert coverage["pooled"]["coverage"] == coverage["pooled"]["interval"]["value"] == sets["covered"].mean()
    assert coverage["pooled"]["coverage_by_class"][1] == sets.loc[sets["y_true"] == 1, "covered"].mean()


def test_a_run_of_few_validation_subjects_says_what_it_can_promise(result):
    found = conformal_sets(result, level=0.9)
    assert found.coverage["pooled"]["share_all"] == 1.0
    note = found.coverage["notes"][0]
    assert re.search(r"^\d validation subjects?: a level of at most 0\.\d+ can be promised, so every class is", note)
    by_class = conformal_sets(result, level=0.9, by_class=True).coverage["notes"][0]
    assert re.search(r"^\d validation subjects? of classes 0 and 1: .* so these are in every set", by_class)


def test_calibration_sees_validation_windows_only(result):
    table = result.predictions.copy()
    table.loc[table["part"] == "test", "proba"] = 0.123
    for before, after in zip(sets_of(result.predictions, level=0.5)[1], sets_of(table, level=0.5)[1], strict=True):
        assert before == after


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"level": 1.0}, "level must lie between"),
        ({"unit": "recording"}, "no unit 'recording'"),
        ({"y_true": [0, 2]}, "labels must be 0 to 1"),
        ({"proba": [0.1, 0.2]}, "do not fit"),
        ({"proba": [[np.nan, 0.1], [0.5, 0.5]]}, "finite"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(changed, message):
    given = {"y_true": [0, 1], "proba": [[0.9, 0.1], [0.2, 0.8]], "subjects": ["a", "b"], **changed}
    with pytest.raises(ValueError, match=message):
        calibrate_sets(given.pop("y_true"), given.pop("proba"), given.pop("subjects"), **given)
