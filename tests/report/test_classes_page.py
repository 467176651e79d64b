"""The page of a run with more than two classes, and the metrics of several classes."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from biot_bd import cross_validate, registry, write_report

NAMES = ["0", "1", "2"]


def amplitudes(x):
    return np.log(np.asarray(x).std(axis=2))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Cross-validate windows of three amplitudes that overlap; four subjects."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1, 2], 40)
    x = rng.normal(0, 1, (120, 2, 50)) * np.exp(0.25 * y + rng.normal(0, 0.2, 120))[:, None, None]
    groups = np.repeat([f"lab/{k}" for k in range(4)], 30)
    pipeline = make_pipeline(FunctionTransformer(amplitudes), LogisticRegression())
    folder = tmp_path_factory.mktemp("classes") / "run"
    scoring = ("balanced_accuracy", "cohen_kappa", "f1_weighted", "roc_auc_ovr")
    return cross_validate(pipeline, x, y=y, groups=groups, cv="subject-kfold-2", scoring=scoring, folder=folder)


def test_the_page_says_which_class_was_taken_for_which(result):
    page = write_report(result.folder).read_text(encoding="utf-8")
    test = result.predictions.query("part == 'test'")
    proba = test[["proba_0", "proba_1", "proba_2"]].to_numpy()
    counts = confusion_matrix(test["y_true"], proba.argmax(axis=1))
    found = re.findall(r'data-class="([^"]*)" data-as="([^"]*)" data-value="(\d+)"', page)
    assert [int(n) for _, _, n in found] == counts.ravel().tolist()
    assert 0 < np.trace(counts) < counts.sum()
    table = pd.read_csv(result.folder / "tables/classes.csv")
    np.testing.assert_allclose(table["recall"], np.diag(counts) / counts.sum(axis=1))
    np.testing.assert_allclose(table["precision"], np.diag(counts) / counts.sum(axis=0))
    assert "Windows of 3 classes" in page
    assert not re.search("seizure windows|AUC-PR|False alarm", page)


def test_scores_of_several_classes_are_those_of_scikit_learn(result):
    test = result.predictions.query("part == 'test'")
    y, called = test["y_true"].to_numpy(), test[["proba_0", "proba_1", "proba_2"]].to_numpy().argmax(axis=1)
    pooled = result.metrics["pooled"]
    # Cohen's kappa by its definition: agreement beyond that of independent raters.
    agreed = (y == called).mean()
    by_chance = sum((y == k).mean() * (called == k).mean() for k in range(3))
    assert pooled["cohen_kappa"]["value"] == pytest.approx((agreed - by_chance) / (1 - by_chance))
    assert pooled["balanced_accuracy"]["value"] == pytest.approx(
        np.mean([(called[y == k] == k).mean() for k in range(3)])
    )
    assert 0.5 < pooled["roc_auc_ovr"]["value"] < 1
    assert 0 < pooled["f1_weighted"]["value"] < 1


def test_kappa_scores_two_classes_at_their_threshold():
    kappa = registry.metrics["cohen_kappa"]
    assert kappa([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9], threshold=0.5).value == pytest.approx(0.5)
    assert kappa([0, 0], [0.1, 0.2], threshold=0.5).value is None
