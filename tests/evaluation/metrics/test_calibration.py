"""Calibration and recalibration against scikit-learn, by hand, and with a giveaway planted in the test subjects."""

import json

import numpy as np
import pandas as pd
import pytest
from handmade_run import real_run, store  # noqa: F401
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from biot_bd import BIOTClassifier, PercentileScaler, SubjectSplit, cross_validate, load_pipeline
from biot_bd.evaluation.metrics.calibration import calibration
from biot_bd.evaluation.recalibration import (
    Recalibration,
    fit_recalibration,
    load_recalibration,
    recalibrate,
    recalibrate_predictions,
    save_recalibration,
)


def overconfident(n=4000, seed=0):
    """Labels, and probabilities twice as extreme on the logit scale as they should be."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 1.5, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    return y, 1 / (1 + np.exp(-2 * logit))


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_the_curve_is_scikit_learns(strategy):
    y, p = overconfident()
    found = calibration(y, p, n_bins=7, strategy=strategy)
    share, mean = calibration_curve(y, p, n_bins=7, strategy=strategy)
    filled = [entry for entry in found["bins"] if entry["n_windows"]]
    assert [entry["share_seizure"] for entry in filled] == pytest.approx(share)
    assert [entry["mean_proba"] for entry in filled] == pytest.approx(mean)
    assert sum(entry["n_windows"] for entry in found["bins"]) == len(y)
    assert found["brier"] == pytest.approx(brier_score_loss(y, p))
    assert found["brier_reference"] == pytest.approx(brier_score_loss(y, np.full(len(y), y.mean())))
    assert found["brier_skill"] == pytest.approx(1 - found["brier"] / found["brier_reference"])
    assert found["binning"].startswith("7 bins of equal")


def test_ece_by_hand():
    # Bin 0-0.5: mean 0.2, share 1/4; bin 0.5-1: mean 0.9, share 1/2.
    found = calibration([0, 0, 0, 1, 0, 1], [0.1, 0.1, 0.3, 0.3, 0.9, 0.9], n_bins=2)
    assert found["ece"] == pytest.approx(4 / 6 * 0.05 + 2 / 6 * 0.4)
    assert found["brier"] == pytest.approx((0.01 + 0.01 + 0.09 + 0.49 + 0.81 + 0.01) / 6)
    empty = calibration([0, 1], [0.1, 0.95], n_bins=10)["bins"][5]
    assert (empty["n_windows"], empty["mean_proba"], empty["share_seizure"]) == (0, None, None)


def test_ends_of_the_scale_and_degenerate_windows():
    perfect = calibration([0, 1], [0.0, 1.0])
    assert (perfect["brier"], perfect["ece"], perfect["brier_skill"]) == (0, 0, 1)
    background = calibration([0, 0], [0.2, 0.1])
    assert background["brier_skill"] is None
    none = calibration([], [])
    assert (none["brier"], none["ece"], none["reason"], none["bins"]) == (None, None, "no windows", [])
    json.dumps([perfect, background, none], allow_nan=False)


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1], [0.1, np.nan], "finite"),
        ([0, 1], [0.1, 1.2], "between 0 and 1"),
        ([0, 2], [0.1, 0.2], "labels must be 0"),
        ([0], [0.1, 0.2], "one shape"),
    ],
)
def test_bad_input_raises(y, p, message):
    with pytest.raises(ValueError, match=message):
        calibration(y, p)
    with pytest.raises(ValueError, match="no binning"):
        calibration([0, 1], [0.1, 0.2], strategy="log")
    with pytest.raises(ValueError, match="n_bins"):
        calibration([0, 1], [0.1, 0.2], n_bins=0)


# --- recalibration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_recalibration_is_that_of_calibrated_classifier_cv(method, tmp_path):
    X, y = make_classification(600, 4, weights=[0.8], flip_y=0.1, random_state=1)
    model = GaussianNB().fit(X[:200], y[:200])
    found = recalibrate(model, X[200:400], y[200:400], method=method)
    reference = CalibratedClassifierCV(FrozenEstimator(model), method=method, cv=3, ensemble=False)
    reference.fit(X[200:400], y[200:400])
    np.testing.assert_allclose(found.predict_proba(X[400:]), reference.predict_proba(X[400:]), atol=1e-7)
    save_recalibration(found.recalibration, tmp_path)
    stored = load_recalibration(tmp_path)
    assert stored == found.recalibration
    np.testing.assert_array_equal(stored(model.predict_proba(X)[:, 1]), found.predict_proba(X)[:, 1])


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_recalibration_mends_overconfidence_and_keeps_the_order(method):
    y, p = overconfident(seed=1)
    curve = fit_recalibration(y, p, method)
    y_new, p_new = overconfident(seed=2)
    before, after = calibration(y_new, p_new), calibration(y_new, curve(p_new))
    assert after["ece"] < 0.5 * before["ece"]
    assert after["brier"] < before["brier"]
    assert np.all(np.diff(curve(np.linspace(0, 1, 101))) >= 0)
    if method == "sigmoid":
        assert roc_auc_score(y_new, curve(p_new)) == pytest.approx(roc_auc_score(y_new, p_new))


def test_what_cannot_be_recalibrated(tmp_path):
    with pytest.raises(
        ValueError, match="two background and two seizure windows of validation subjects, found 3 and 1"
    ):
        fit_recalibration([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match="there are sigmoid, isotonic"):
        fit_recalibration([0, 1], [0.1, 0.2], "temperature")
    with pytest.raises(ValueError, match="finite"):
        fit_recalibration([0, 0, 1, 1], [0.1, 0.2, np.nan, 0.4])
    assert load_recalibration(tmp_path) is None
    for text in (
        '{"method": "sigmoid", "a": null, "b": 1}',
        '{"who": 1}',
        "[]",
        '{"method": "isotonic", "x": [1, 0], "y": [0, 1]}',
    ):
        (tmp_path / "recalibration.json").write_text(text)
        with pytest.raises(ValueError, match=r"recalibration\.json"):
            load_recalibration(tmp_path)


def predictions(seed=3):
    parts = []
    for fold, (valid, test) in enumerate((("a", "b"), ("b", "c"), ("c", "a"))):
        for part, subject in (("valid", valid), ("test", test)):
            y, p = overconfident(300, seed=seed + 10 * fold + (part == "test"))
            parts.append(
                pd.DataFrame(
                    {"fold": fold, "part": part, "subject": subject, "y_true": y, "proba": p, "threshold": 0.5}
                )
            )
    return pd.concat(parts, ignore_index=True)


def test_a_giveaway_in_the_test_subjects_changes_no_curve():
    table = predictions()
    planted = table.copy()
    test = planted["part"] == "test"
    planted.loc[test, "proba"] = planted.loc[test, "y_true"].astype(float)  # test probabilities give the label away
    for method in ("sigmoid", "isotonic"):
        _, before, _ = recalibrate_predictions(table, method)
        after_table, after, _ = recalibrate_predictions(planted, method)
        assert before == after
        assert {fold: curve.subjects for fold, curve in after.items()} == {0: ("a",), 1: ("b",), 2: ("c",)}
        assert set(after_table["part"]) == {"test"}
    planted.loc[~test, "proba"] = 1 - planted.loc[~test, "proba"]  # the same in validation does change them
    assert recalibrate_predictions(planted, "sigmoid")[1] != before


def test_folds_that_cannot_be_recalibrated_are_named():
    table = predictions()
    table.loc[(table["fold"] == 1) & (table["part"] == "valid"), "y_true"] = 0
    test, curves, left_out = recalibrate_predictions(table)
    assert set(curves) == {0, 2}
    assert left_out == {1: "validation subjects have 300 background and 0 seizure windows"}
    assert set(test["fold"]) == {0, 2}
    nothing, curves, left_out = recalibrate_predictions(table[table["part"] == "test"])
    assert (len(nothing), curves, set(left_out)) == (0, {}, {0, 1, 2})


def test_a_pipeline_that_ends_in_biot_is_recalibrated_on_windows(real_run, store, tmp_path):  # noqa: F811
    """scikit-learn's own tool agrees on the very same pipeline and ``Windows``."""
    place = real_run / "folds" / "00" / "model"
    pipeline = load_pipeline(place)
    subjects = json.loads((real_run / "folds" / "00" / "fold.json").read_text())
    held = store[np.isin(store.groups, ["site/01", "site/02"])]
    assert pipeline.steps[-1][1].train_subjects_ == tuple(subjects["train"])
    with pytest.raises(ValueError, match=f"{', '.join(subjects['train'])} trained the model"):
        recalibrate(pipeline, store)
    pipeline.steps[-1][1].train_subjects_ = ()
    found = recalibrate(pipeline, held, method="sigmoid")
    reference = CalibratedClassifierCV(FrozenEstimator(pipeline), method="sigmoid", cv=2, ensemble=False).fit(
        held, held.y
    )
    # Both solve the same problem by iteration, scikit-learn in the model's float32, we in float64.
    np.testing.assert_allclose(found.predict_proba(store), reference.predict_proba(store), atol=1e-4)
    np.testing.assert_array_equal(found.predict(store), pipeline.predict(store))
    assert found.recalibration.subjects == ("site/01", "site/02")
    save_recalibration(found.recalibration, tmp_path)
    again = load_recalibration(tmp_path)
    np.testing.assert_array_equal(again(pipeline.predict_proba(store)[:, 1]), found.predict_proba(store)[:, 1])


def test_scikit_learns_calibration_with_inner_folds_by_subject(store):  # noqa: F811
    """``CalibratedClassifierCV`` refits the pipeline on other subjects and calibrates on those left out."""
    net = BIOTClassifier(
        max_epochs=1, batch_size=64, module__embed_dim=8, module__num_heads=1, module__num_layers=1, train_split=None
    )
    seen = []

    class Watched(SubjectSplit):
        def split(self, X, y=None, groups=None):
            for train, test in super().split(X, y, groups):
                seen.append((set(X.groups[train]), set(X.groups[test])))
                yield train, test

    pipeline = make_pipeline(PercentileScaler(), net)
    held = store[np.isin(store.groups, ["site/01", "site/02"])]
    found = CalibratedClassifierCV(pipeline, method="sigmoid", cv=Watched(GroupKFold(2))).fit(held, held.y)
    proba = found.predict_proba(store)
    assert proba.shape == (len(store), 2)
    assert np.isfinite(proba).all()
    assert len(found.calibrated_classifiers_) == 2
    assert all(not train & test for train, test in seen)
    assert {frozenset(test) for _, test in seen} == {frozenset({"site/01"}), frozenset({"site/02"})}


def test_a_curve_is_plain_data():
    curve = Recalibration("isotonic", x=(0.1, 0.5), y=(0.0, 1.0))
    assert curve([0.0, 0.3, 0.9]).tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert Recalibration.from_dict(json.loads(json.dumps(curve.as_dict()))) == curve
    sigmoid = Recalibration("sigmoid", a=-4.0, b=2.0)
    assert sigmoid([0.5])[0] == pytest.approx(0.5)
    assert sigmoid([1.0])[0] == pytest.approx(1 / (1 + np.exp(-2)))
    with pytest.raises(ValueError, match="finite"):
        sigmoid([np.nan])


def test_a_giveaway_planted_before_cross_validation_changes_no_curve_of_that_fold():
    """The test subject's signals give the labels away; the curve of the fold that tests this subject stays the same."""
    rng = np.random.default_rng(0)
    subjects = np.repeat(list("abcdef"), 60)
    y = (rng.random(len(subjects)) < 0.3).astype(int)
    X = rng.normal(0, 1, (len(y), 2, 5)) + 0.4 * y[:, None, None]
    planted = X.copy()
    planted[subjects == "d"] = 50.0 * (2 * y[subjects == "d"] - 1)[:, None, None]
    pipeline = make_pipeline(FunctionTransformer(lambda x: x.reshape(len(x), -1)), GaussianNB())
    options = {"y": y, "groups": subjects, "progress": False}
    first, second = (cross_validate(pipeline, x, **options).predictions for x in (X, planted))
    fold = int(first.loc[(first["part"] == "test") & (first["subject"] == "d"), "fold"].iloc[0])
    for method in ("sigmoid", "isotonic"):
        before, after = (recalibrate_predictions(table, method)[1] for table in (first, second))
        assert before[fold] == after[fold]
        assert "d" not in after[fold].subjects
        assert before != after  # where d trains or validates, d matters
    test = (first["part"] == "test") & (first["subject"] == "d")
    assert (first.loc[test, "proba"].to_numpy() != second.loc[test, "proba"].to_numpy()).any()
