"""What cannot be saved or scored is refused before the first fold is trained, in one line."""

import re

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC, LinearSVC
from skorch.callbacks import Callback, EpochScoring, LRScheduler

from biot_bd import BIOTClassifier, PercentileScaler
from biot_bd.evaluation import Metric, compare_regimes, cross_validate, fit_all
from biot_bd.exceptions import SavedPipelineError
from biot_bd.models import BIOT
from biot_bd.training.classifier._training_loop import TrainingLoop

RNG = np.random.default_rng(0)
SUBJECTS = np.repeat([f"set/{n:02d}" for n in range(4)], 10)
Y = np.tile(np.arange(10) % 3 == 0, 4).astype(int)
X = (RNG.standard_normal((40, 2, 200)) * (1 + 2 * Y[:, None, None])).astype(np.float32)


def net(**kwargs):
    settings = {"max_epochs": 1, "batch_size": 16, "device": "cpu"} | kwargs
    return BIOTClassifier(settings.pop("module", "shallow"), **settings)


@pytest.fixture
def epochs(monkeypatch):
    trained = []
    original = TrainingLoop._one_epoch
    monkeypatch.setattr(TrainingLoop, "_one_epoch", lambda *args: (trained.append(1), original(*args))[1])
    return trained


def validated(estimator, **kwargs):
    return cross_validate(estimator, X, y=Y, groups=SUBJECTS, cv="subject-kfold-2", progress=False, **kwargs)


class Own(Callback):
    """A callback of the user's."""

    def bound(self, epoch):
        return 0.5**epoch


class Step(TransformerMixin, BaseEstimator):
    """A transformer of the user's."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


def rates(rate):
    return LRScheduler("LambdaLR", lr_lambda=rate)


UNSAVABLE = {
    "lambda": (
        lambda tmp: Pipeline([("net", net(callbacks=[("lr", rates(lambda e: 0.9**e))]))]),
        "^net__callbacks__lr__lr_lambda: found the function <lambda>",
    ),
    "without a name": (
        lambda tmp: net(callbacks=[rates(abs)]),
        "^callbacks__LRScheduler__lr_lambda: found the function abs",
    ),
    "bound": (lambda tmp: net(callbacks=(rates(Own().bound),)), r"^callbacks__LRScheduler__lr_lambda: .* Own\.bound"),
    "by prefix": (
        lambda tmp: net(callbacks=[("lr", LRScheduler("StepLR", step_size=1))], callbacks__lr__step_size=lambda: 1),
        r"^callbacks__lr__step_size: found the function",
    ),
    "own class": (lambda tmp: net(callbacks=[Own()]), "^callbacks__Own: .*:Own is neither registered.*plugin"),
    "own scorer": (
        lambda tmp: net(callbacks=[EpochScoring(lambda net, X, y: 1.0, name="one")]),
        "^callbacks__EpochScoring__scoring: found the function",
    ),
    "module": (
        lambda tmp: net(
            module=BIOT(n_chans=2, n_times=200, n_outputs=2, sfreq=200, embed_dim=8, num_heads=2, num_layers=1)
        ),
        "^module: found an instance of BIOT; give its class",
    ),
    "memory": (lambda tmp: make_pipeline(PercentileScaler(), net(), memory=str(tmp)), "^memory: found .*set None"),
    "memory inside": (
        lambda tmp: Pipeline([("all", make_pipeline(PercentileScaler(), net(), memory=str(tmp)))]),
        "^all__memory: found .*set None",
    ),
    "function": (
        lambda tmp: make_pipeline(FunctionTransformer(lambda x: x * 2), net()),
        "^functiontransformer__func: found the function <lambda>",
    ),
    "own step": (lambda tmp: make_pipeline(Step(), net()), "^step: .*:Step is neither registered"),
}


@pytest.mark.parametrize(("make", "message"), UNSAVABLE.values(), ids=UNSAVABLE)
def test_what_cannot_be_saved(make, message, tmp_path, epochs):
    pipeline = make(tmp_path / "memory")
    for run in (
        lambda: validated(pipeline, folder=tmp_path / "run"),
        lambda: fit_all(pipeline, X, tmp_path / "model", y=Y, groups=SUBJECTS),
        lambda: compare_regimes(
            X, {"plain": net(), "other": pipeline}, tmp_path / "study", y=Y, groups=SUBJECTS, progress=False
        ),
    ):
        with pytest.raises(SavedPipelineError) as caught:
            run()
        text = str(caught.value).removeprefix("regime 'other': ")
        assert re.search(message, text), text
        assert "\n" not in text
    assert epochs == []
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "study").exists()


def test_the_way_without_a_folder_is_named(tmp_path):
    with pytest.raises(SavedPipelineError, match="without a folder nothing is saved, and this may stay"):
        validated(net(callbacks=[Own()]), folder=tmp_path / "run")


@pytest.mark.parametrize("name", ["lambda", "own class", "function"])
def test_without_a_folder_it_works(name, tmp_path, epochs):
    result = validated(UNSAVABLE[name][0](tmp_path))
    assert result.metrics["pooled"]["roc_auc"]["value"] is not None
    assert len(epochs) == 2


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        (f1_score, r"^scoring: f1_score fails on .*scoring='f1', make_scorer\(f1_score\)"),
        (lambda y, p: p, "^scoring: <lambda> fails"),
        (lambda y, p: None, "^scoring: <lambda> fails"),
        (Metric("mine", lambda y, labels: 1 / 0, needs_threshold=True), "^scoring: mine fails .*ZeroDivisionError"),
    ],
)
def test_what_cannot_score(scoring, message, tmp_path, epochs):
    for run in (
        lambda: validated(net(), scoring=["roc_auc", scoring]),
        lambda: fit_all(net(), X, tmp_path / "model", y=Y, groups=SUBJECTS, scoring=scoring),
        lambda: compare_regimes(X, {"a": net()}, tmp_path / "study", y=Y, groups=SUBJECTS, scoring=scoring),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            run()
        assert "\n" not in str(caught.value)
    assert epochs == []


def test_names_scorers_and_metrics_score(tmp_path):
    scoring = ["f1", make_scorer(f1_score), brier_score_loss, "neg_brier_score", "roc_auc", "neg_log_loss"]
    result = validated(net(), scoring=scoring, folder=tmp_path / "run", threshold=0.4)
    test = result.predictions[result.predictions["part"] == "test"]
    y, proba = test["y_true"].to_numpy(), test["proba"].to_numpy()
    pooled = {name: cell["value"] for name, cell in result.metrics["pooled"].items() if isinstance(cell, dict)}
    assert pooled["f1"] == pooled["f1_score"] == f1_score(y, proba >= 0.4)
    assert pooled["brier_score_loss"] == -pooled["neg_brier_score"] == np.mean((proba - y) ** 2)
    chosen = np.where(y == 1, proba, 1 - proba)
    assert pooled["neg_log_loss"] == pytest.approx(np.mean(np.log(chosen)))


def test_what_keeps_no_model_or_gives_no_probabilities(epochs):
    grid = {"lr": [1e-2]}
    search = GridSearchCV(net(), grid, cv=GroupKFold(2), refit=False)
    with pytest.raises(
        ValueError, match=r"^refit: found False, so GridSearchCV keeps no model to score; set refit=True"
    ):
        validated(search)
    with pytest.raises(ValueError, match=r"^estimator__refit: found False"):
        validated(CalibratedClassifierCV(search, cv=GroupKFold(2)))
    flat = FunctionTransformer(np.reshape, kw_args={"newshape": None})
    for last in (LinearSVC(), make_pipeline(flat, SVC())):
        with pytest.raises(ValueError, match="has no predict_proba; wrap it"):
            validated(last)
    assert epochs == []


def flattened(x):
    return np.asarray(x).std(axis=2)


def test_a_stack_tells_only_when_fitted():
    stack = StackingClassifier([("a", LogisticRegression()), ("b", LogisticRegression(C=0.1))], cv=GroupKFold(2))
    result = validated(make_pipeline(FunctionTransformer(flattened), stack))
    assert result.metrics["pooled"]["roc_auc"]["value"] > 0.9
