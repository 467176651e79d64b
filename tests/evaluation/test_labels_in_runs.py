"""Labels through whole runs: 0 and 1 of any kind and in any order, or one clear line before the first fit."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, PercentileScaler, cross_validate, load_pipeline
from biot_bd.evaluation import compare_regimes, fit_all
from biot_bd.report import write_report

pytestmark = pytest.mark.usefixtures("one_thread")
RNG = np.random.default_rng(0)
GROUPS = np.repeat([f"set/{i:02d}" for i in range(4)], 12).astype(object)
Y = np.tile(np.arange(12) % 3 == 0, 4).astype(int)
X = (RNG.standard_normal((48, 2, 200)) * np.where(Y, 1.3, 1)[:, None, None]).astype(np.float32)
KINDS = {
    "int": Y,
    "bool": Y.astype(bool),
    "float": Y.astype(float),
    "list": Y.tolist(),
    "objects": Y.astype(object),
    "series": pd.Series(Y, index=RNG.permutation(48)),
    "nullable": pd.Series(Y, dtype="Int8"),
    "categories": pd.Series(Y, dtype="category"),
    "unmasked": np.ma.array(Y, mask=False),
}


def net(**kwargs):
    small = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1}
    return BIOTClassifier(max_epochs=1, device="cpu", random_state=0, **{**small, **kwargs})


class Power(ClassifierMixin, BaseEstimator):
    """A classifier whose truth is known, and whose classes come in any order."""

    def __init__(self, turned=False):
        self.turned = turned

    def fit(self, X, y):
        assert set(y) == {0, 1}
        self.classes_ = np.array([1, 0] if self.turned else [0, 1])
        return self

    def predict_proba(self, X):
        p = np.clip(np.var(X, axis=(1, 2)) / 3, 0, 1)
        return np.c_[p, 1 - p] if self.turned else np.c_[1 - p, p]


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.booleans())
def test_labels_of_any_kind_score_alike(kind, turned):
    found = cross_validate(
        Power(turned), X, y=KINDS[kind], groups=GROUPS, cv="subject-loo", validation_fraction=0, progress=False
    )
    table = found.predictions.query("part == 'test'").sort_values("window")
    np.testing.assert_array_equal(table["y_true"], Y)
    np.testing.assert_allclose(table["proba"], np.clip(np.var(X, axis=(1, 2)) / 3, 0, 1), rtol=1e-6)
    for subject in set(GROUPS):
        own = subject == GROUPS
        expected = average_precision_score(Y[own], table["proba"].to_numpy()[own])
        assert found.table.loc[subject, "average_precision"] == pytest.approx(expected)


def test_classes_the_other_way_round_go_through_everything(tmp_path):
    runs = []
    for classes in ((0, 1), (1, 0), None):
        folder = tmp_path / str(classes)
        pipeline = make_pipeline(PercentileScaler(), net(classes=classes))
        cross_validate(pipeline, X, y=Y, groups=GROUPS, cv="subject-kfold-2", progress=False, folder=folder)
        table = pd.read_parquet(folder / "predictions.parquet")
        test = table[table["part"] == "test"]
        np.testing.assert_array_equal(test["y_true"], Y[test["window"]])
        model = load_pipeline(folder / "folds" / "00" / "model")
        rows = test.loc[test["fold"] == 0, "window"].to_numpy()
        p = model.predict_proba(X[rows])[:, model.classes_.tolist().index(1)]
        np.testing.assert_allclose(test.loc[test["fold"] == 0, "proba"], p, atol=1e-6)
        decided = p >= test.loc[test["fold"] == 0, "threshold"].to_numpy()
        np.testing.assert_array_equal(model.predict(X[rows]), decided.astype(int))
        runs.append(table)
    test = runs[1].query("part == 'test'")
    assert f"{roc_auc_score(test['y_true'], test['proba']):.3f}" in write_report(tmp_path / "(1, 0)").read_text()
    pd.testing.assert_frame_equal(runs[0], runs[1])
    pd.testing.assert_frame_equal(runs[0], runs[2])


REFUSED = [
    (np.array(["background", "seizure"])[Y], r"numbers, found \['background', 'seizure'\]; compare them, e.g. y=np.as"),
    (Y + 1, r"must be 0 \(background\) and 1 \(seizure\), numbers, found \[1, 2\]"),
    (Y * 2 - 1, r"found \[-1, 1\]"),
    (Y.astype(str), r"numbers, found \['0', '1'\]"),
    (Y * 0.5, "continuous targets"),
]


@pytest.mark.parametrize(("y", "match"), REFUSED)
def test_other_labels_are_refused_in_one_line(y, match, tmp_path, monkeypatch):
    monkeypatch.setattr(BIOTClassifier, "fit", lambda *args, **kwargs: pytest.fail("fitted"))
    for run in (
        lambda: cross_validate(net(classes=None), X, y=y, groups=GROUPS, folder=tmp_path / "run", progress=False),
        lambda: fit_all(net(classes=None), X, tmp_path / "model", y=y, groups=GROUPS),
        lambda: compare_regimes(X, {"a": net(classes=None)}, tmp_path / "study", y=y, groups=GROUPS, progress=False),
    ):
        with pytest.raises(ValueError, match=match) as error:
            run()
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("classes", [("background", "seizure"), (1, 2), (0, 1, 2), ("0", "1"), (0,)])
def test_other_classes_are_refused_in_one_line(classes, tmp_path, monkeypatch):
    monkeypatch.setattr(BIOTClassifier, "fit", lambda *args, **kwargs: pytest.fail("fitted"))
    deep = GridSearchCV(make_pipeline(PercentileScaler(), net(classes=classes)), {}, cv=GroupKFold(2))
    own = net(classes=classes)
    for run in (
        lambda: cross_validate(deep, X, y=Y, groups=GROUPS, folder=tmp_path / "run", progress=False),
        lambda: cross_validate(own, X, y=Y, groups=GROUPS, progress=False),
        lambda: fit_all(own, X, tmp_path / "model", y=Y, groups=GROUPS),
        lambda: compare_regimes(X, {"a": own}, tmp_path / "study", y=Y, groups=GROUPS, progress=False),
    ):
        with pytest.raises(ValueError, match=r"classes=\(.*give classes=\(0, 1\), or leave them out") as error:
            run()
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
