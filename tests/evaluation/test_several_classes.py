"""Cross-validation of more than two classes, and of soft targets: scores are those of other libraries."""

import sys
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from scipy.special import rel_entr
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

from biot_bd import BIOTClassifier, Windows, cross_validate, load_pipeline, prepare
from biot_bd.evaluation import Metric, Result, assess, baseline, fit_all, make_folds, rescore
from biot_bd.evaluation.run_facts import PREDICTION_COLUMNS, class_columns
from biot_bd.signals import Montage
from biot_bd.windows import Annotated

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from soft_losses import SharedCrossEntropy

SUBJECTS = np.repeat([f"site/{k:02d}" for k in range(6)], 10)


def _divergence(targets, proba):
    return float(rel_entr(targets, np.clip(proba, 1e-12, 1)).sum(axis=1).mean())


DIVERGENCE = Metric("divergence", _divergence, needs_classes=(), greater_is_better=False, soft_targets=True)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    targets = rng.dirichlet(np.full(3, 0.5), len(SUBJECTS))
    X = rng.normal(0, 20, (len(SUBJECTS), 3, 200)).astype("float32")
    X[np.arange(len(X)), targets.argmax(axis=1)] *= 3
    return X, targets


def net(**settings):
    small = {"module__embed_dim": 8, "module__num_heads": 1, "module__num_layers": 1, "max_epochs": 2}
    given = {"criterion": SharedCrossEntropy, "classes": None, "monitor": "valid_loss", "device": "cpu"}
    return BIOTClassifier(**{**small, **given, **settings})


def _table(result):
    test = result.predictions[result.predictions["part"] == "test"]
    return test["y_true"].to_numpy(), test[class_columns(test, "proba")].to_numpy(), test


@pytest.fixture(scope="module")
def hard(data, tmp_path_factory):
    X, targets = data
    folder = tmp_path_factory.mktemp("several") / "run"
    scoring = ("balanced_accuracy", "accuracy", "f1_macro", "roc_auc_ovr")
    pipeline = baseline("line-length", X)
    return cross_validate(
        pipeline,
        X,
        y=targets.argmax(axis=1),
        groups=SUBJECTS,
        cv="subject-kfold-3",
        scoring=scoring,
        folder=folder,
        progress=False,
    )


def test_scores_of_three_classes_are_those_of_scikit_learn(hard):
    y, proba, _ = _table(hard)
    decided, pooled = proba.argmax(axis=1), hard.metrics["pooled"]
    assert pooled["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(y, decided))
    assert pooled["accuracy"]["value"] == pytest.approx(accuracy_score(y, decided))
    assert pooled["f1_macro"]["value"] == pytest.approx(f1_score(y, decided, average="macro"))
    assert pooled["roc_auc_ovr"]["value"] == pytest.approx(roc_auc_score(y, proba, multi_class="ovr"))
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)


def test_a_run_of_three_classes_reads_back_and_says_its_classes(hard):
    again = Result.open(hard.folder)
    pd.testing.assert_frame_equal(again.predictions, hard.predictions)
    assert again.run["data"]["classes"] == ["0", "1", "2"]
    assert again.run["data"]["n_windows_by_class"] == np.bincount(_table(hard)[0]).tolist()
    assert (again.run["data"]["prevalence"], again.metrics["prevalence"]) == (None, None)
    assert again.predictions["threshold"].isna().all()
    assert "classes: 0 0, 1 1, 2 2" in str(again)


def test_the_column_proba_is_of_the_class_decided_on(hard):
    _, proba, test = _table(hard)
    np.testing.assert_array_equal(test["proba"], proba.max(axis=1))


def test_macro_scores_have_an_interval_over_subjects(hard):
    found = assess(hard, n_resamples=99)
    interval = found["windows"]["macro"]["balanced_accuracy"]
    values = hard.table["balanced_accuracy"].astype(float)
    assert interval["value"] == pytest.approx(values.mean())
    assert values.min() <= interval["low"] < interval["value"] < interval["high"] <= values.max()
    assert found["calibration"] is None


def test_a_subject_without_a_class_has_no_area_under_the_curve_and_says_why(data):
    X, _ = data
    y = np.tile(np.arange(10) % 3, 6)
    y[:10] = np.arange(10) % 2
    result = cross_validate(
        baseline("line-length", X), X, y=y, groups=SUBJECTS, cv="subject-kfold-3", scoring="roc_auc_ovr", progress=False
    )
    assert result.metrics["subjects"]["site/00"]["roc_auc_ovr"] == {"value": None, "reason": "no windows of class 2"}
    assert result.metrics["macro"]["roc_auc_ovr"]["n_subjects"] == 5


def test_soft_targets_are_trained_on_and_scored_against(data):
    X, targets = data
    result = cross_validate(
        net(), X, y=targets, groups=SUBJECTS, cv="subject-kfold-2", scoring=(DIVERGENCE, "accuracy"), progress=False
    )
    y, proba, test = _table(result)
    shares = test[class_columns(test, "target")].to_numpy()
    np.testing.assert_array_equal(shares, targets[test["window"]])
    np.testing.assert_array_equal(y, shares.argmax(axis=1))
    assert result.metrics["pooled"]["divergence"]["value"] == pytest.approx(_divergence(shares, proba))
    of_one = test["subject"] == "site/03"
    assert result.metrics["subjects"]["site/03"]["divergence"]["value"] == pytest.approx(
        _divergence(shares[of_one], proba[of_one])
    )
    by_label = cross_validate(
        net(classes=(0, 1, 2)), X, y=targets.argmax(axis=1), groups=SUBJECTS, cv="subject-kfold-2", progress=False
    )
    assert by_label.run["data"]["fingerprint"] != result.run["data"]["fingerprint"]
    assert np.abs(_table(by_label)[1] - proba).max() > 1e-4


class Shares(ClassifierMixin, BaseEstimator):
    """Says the mean of what it was fitted on, and takes soft targets."""

    takes_soft_targets = True

    def fit(self, X, y):
        self.classes_, self.mean_ = np.arange(y.shape[1]), y.mean(axis=0)
        return self

    def predict_proba(self, X):
        return np.tile(self.mean_, (len(X), 1))


def test_any_estimator_may_take_soft_targets(data):
    X, targets = data
    result = cross_validate(
        Shares(),
        X,
        y=targets,
        groups=SUBJECTS,
        cv="subject-loo",
        validation_fraction=0,
        scoring=DIVERGENCE,
        progress=False,
    )
    _, proba, test = _table(result)
    of_first = (test["subject"] == "site/00").to_numpy()
    np.testing.assert_allclose(proba[of_first][0], targets[10:].mean(axis=0))
    assert "degenerate" in str(result)


def test_two_classes_keep_their_columns(data):
    X, targets = data
    y = (targets[:, 0] > 0.4).astype(int)
    result = cross_validate(baseline("line-length", X), X, y=y, groups=SUBJECTS, cv="subject-kfold-2", progress=False)
    assert list(result.predictions) == list(PREDICTION_COLUMNS)
    assert "classes" not in result.run["data"]


def test_soft_targets_of_two_classes_keep_threshold_and_prevalence(data):
    X, targets = data
    two = np.column_stack([targets[:, 0], 1 - targets[:, 0]])
    result = cross_validate(
        net(), X, y=two, groups=SUBJECTS, cv="subject-kfold-2", scoring=(DIVERGENCE, "roc_auc"), progress=False
    )
    y, proba, test = _table(result)
    np.testing.assert_array_equal(test["proba"], proba[:, 1])
    assert test["threshold"].between(0, 1).all()
    assert result.metrics["prevalence"] == pytest.approx(y.mean())
    assert result.metrics["pooled"]["roc_auc"]["value"] == pytest.approx(roc_auc_score(y, proba[:, 1]))


def test_a_final_model_is_fitted_on_votes_and_scored_on_its_hold_out(data, tmp_path, soft_plugin):
    X, targets = data
    record = fit_all(
        net(criterion="soft-for-tests"),
        X,
        tmp_path / "model",
        y=targets,
        groups=SUBJECTS,
        hold_out=["site/05"],
        scoring=DIVERGENCE,
    )
    assert record["threshold"]["value"] is None
    held_out = SUBJECTS == "site/05"
    proba = load_pipeline(tmp_path / "model").predict_proba(X[held_out])
    expected = _divergence(targets[held_out], proba)
    assert record["scores"]["pooled"]["divergence"]["value"] == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def soft_plugin():
    from types import SimpleNamespace

    from biot_bd import registry
    from biot_bd.hookspecs import hookimpl

    @hookimpl
    def register_losses(register):
        register("soft-for-tests", SharedCrossEntropy)

    registry.add_plugin(SimpleNamespace(register_losses=register_losses), "soft-for-tests")


@pytest.mark.parametrize(
    ("y", "scoring", "told"),
    [
        (lambda t: t.argmax(axis=1), "average_precision", "one of two classes, and there are 3"),
        (lambda t: t.argmax(axis=1), "f1", "f1 fails on labels and probabilities of 3 classes"),
        (lambda t: t.argmax(axis=1), DIVERGENCE, "soft targets, and there are none"),
        (lambda t: t.argmax(axis=1) * 2, "accuracy", r"labels must be 0 \(background\) and 1"),
        (lambda t: t * 1.5, DIVERGENCE, "row 0 sums to 1.5"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_fitted(data, y, scoring, told):
    X, targets = data
    with pytest.raises(ValueError, match=told):
        cross_validate("never fitted", X, y=y(targets), groups=SUBJECTS, scoring=scoring, progress=False)


def test_a_classifier_of_other_classes_is_refused(data):
    X, targets = data
    with pytest.raises(ValueError, match=r"classes=\(0, 1\), but the labels are 0 to 2; give classes=\(0, 1, 2\)"):
        cross_validate(net(classes=(0, 1)), X, y=targets, groups=SUBJECTS, scoring="accuracy", progress=False)


def test_somebody_validates_though_no_choice_leaves_every_class_on_both_sides():
    subjects = np.repeat(["a", "b", "c", "d", "e"], 4)
    y = np.repeat([0, 1, 2, 3, 4], 4)  # each class of one subject alone
    folds = make_folds("subject-loo", y, subjects, validation_fraction=0.25)
    assert all(len(fold.valid) == 1 for fold in folds)
    assert sorted(name for fold in folds for name in fold.valid) == ["a", "b", "c", "d", "e"]


def annotated_windows(folder, classes, lab="lab"):
    """Two recordings of 20 s, the first half of which has one annotation, the second another."""
    names, parts = ("Fp1-F7", "F7-T7"), []
    for number in range(2):
        x = np.random.default_rng([number, len(lab)]).normal(0, 2e-5, (2, 2000))
        raw = mne.io.RawArray(x, mne.create_info(list(names), 100.0, "eeg"), verbose="error")
        raw.set_annotations(mne.Annotations([0.0, 10.0], [10.0, 10.0], list(classes)))
        parts.append(RawDataset(raw, {"subject": f"{lab}/{number}", "recording": f"{lab}{number}"}))
    asked = {"labels": Annotated(classes=classes), "montage": Montage("two", names, "bipolar")}
    return prepare(BaseConcatDataset(parts), folder, sfreq=100, window_s=5, stride_s=5, **asked)


@pytest.mark.parametrize("classes", [("left", "right"), ("rest", "sz")])
def test_two_classes_that_are_no_seizures_have_no_events_and_no_false_alarms(tmp_path, classes):
    """Windows of a task are no alarms: a run of left and right would report hundreds of them a day."""
    windows = annotated_windows(tmp_path / "w", classes)
    result = cross_validate(baseline("line-length", windows), windows, folder=tmp_path / "run", progress=False)
    further = rescore(tmp_path / "run")["further"]
    if classes[1] == "sz":
        assert result.metrics["events"]["macro"]["events"]["fa_per_24h"]["n_subjects"] == 2
        assert further["chance"]["pooled"]["n_seizures"] == 2
        return
    assert result.metrics["events"] is None
    assert "- classes: 0 left, 1 right" in str(result)
    for reason in (further["sens_fa_auc"]["strict"]["reason"], further["chance"]["reason"]):
        assert reason == "the classes are others than background and seizure"


def test_corpora_whose_labels_mean_other_things_are_not_scored_as_one(tmp_path):
    first = annotated_windows(tmp_path / "first", ("left", "right"))
    second = annotated_windows(tmp_path / "second", ("right", "left"), lab="other")
    with pytest.raises(ValueError, match=r"left, right \| right, left \(from 0 on\); relabel all of them by one rule"):
        cross_validate(baseline("line-length", first), Windows.mix([first, second]), progress=False)
