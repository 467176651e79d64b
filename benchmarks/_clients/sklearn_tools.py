"""scikit-learn's tools that split, on ``Windows``.

Each by its default ``cv``, which mixes the windows of a subject, and by subject; with metadata
routing off and on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    LearningCurveDisplay,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    ValidationCurveDisplay,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)

from _clients.checks import REFUSED, WORKS, check, same, true
from _clients.world import World, pipe

CLIENT = "scikit-learn, tools that split"
LR, EPOCHS = "biotclassifier__lr", "biotclassifier__max_epochs"
VARIANTS = {
    "default cv, routing off": REFUSED,
    "default cv, routing on": REFUSED,
    "SubjectSplit, routing off": WORKS,
    "SubjectSplit, routing on": WORKS,
}


def splits(tool: str, what: str, why: str = "") -> Callable[..., Any]:
    """Register ``run(world, cv)`` for both splitters, with metadata routing off and on."""

    def register(function: Callable[[World, Any], None]) -> Callable[[World, Any], None]:
        def run(world: World, variant: str) -> None:
            cv = world.split if variant.startswith("SubjectSplit") else None
            with sklearn.config_context(enable_metadata_routing=variant.endswith("on")):
                function(world, cv)

        check(CLIENT, tool, what, expected=VARIANTS, why=why)(run)
        return function

    return register


def plain(world: World, **parameters: Any) -> Any:
    """Return P(seizure) of all windows by a fit on all of them."""
    return pipe(**parameters).fit(world.windows, world.y).predict_proba(world.windows)[:, 1]


@splits("GridSearchCV", "scores by split equal those of fits by hand; the refitted model a plain fit")
def grid_search(world: World, cv: Any) -> None:
    search = GridSearchCV(pipe(), {LR: [3e-3, 1e-4]}, cv=cv, scoring="roc_auc", error_score="raise")
    search.fit(world.windows, world.y)
    found = [[search.cv_results_[f"split{i}_test_score"][k] for i in range(3)] for k in range(2)]
    truth = [world.aucs(world.fits(pipe(lr=lr))) for lr in (3e-3, 1e-4)]
    same(found, truth, "AUC", 1e-12)
    best = search.best_params_[LR]
    same(search.predict_proba(world.windows)[:, 1], plain(world, lr=best), "probabilities")


@splits("RandomizedSearchCV", "scores by split of a learning rate that was drawn equal those of fits by hand")
def randomised_search(world: World, cv: Any) -> None:
    from scipy.stats import loguniform

    search = RandomizedSearchCV(
        pipe(), {LR: loguniform(1e-4, 1e-2)}, n_iter=1, cv=cv, scoring="roc_auc", random_state=0, error_score="raise"
    ).fit(world.windows, world.y)
    truth = world.aucs(world.fits(pipe(lr=search.best_params_[LR])))
    same([search.cv_results_[f"split{i}_test_score"][0] for i in range(3)], truth, "AUC", 1e-12)


@splits("HalvingGridSearchCV", "over epochs: the last round's scores equal those of fits by hand with all epochs")
def halving_search(world: World, cv: Any) -> None:
    search = HalvingGridSearchCV(
        pipe(),
        {LR: [3e-3, 1e-4]},
        resource=EPOCHS,
        max_resources=2,
        min_resources=1,
        factor=2,
        cv=cv,
        scoring="roc_auc",
        error_score="raise",
        random_state=0,
    ).fit(world.windows, world.y)
    last = np.flatnonzero(search.cv_results_["n_resources"] == 2)
    true(len(last) == 1, "one candidate is left in the last round")
    truth = world.aucs(world.fits(pipe(max_epochs=2, lr=search.best_params_[LR])))
    same([search.cv_results_[f"split{i}_test_score"][last[0]] for i in range(3)], truth, "AUC", 1e-12)


@splits("cross_val_score", "equals the scores of fits by hand")
def scores(world: World, cv: Any) -> None:
    found = cross_val_score(pipe(), world.windows, world.y, cv=cv, scoring="roc_auc", error_score="raise")
    same(found, world.aucs(), "AUC", 1e-12)


@splits("cross_validate", "scores, training scores and models equal those of fits by hand")
def cross_validation(world: World, cv: Any) -> None:
    found = cross_validate(
        pipe(),
        world.windows,
        world.y,
        cv=cv,
        scoring=["roc_auc", "balanced_accuracy"],
        return_estimator=True,
        return_train_score=True,
        error_score="raise",
    )
    models = world.fits()
    same(found["test_roc_auc"], world.aucs(models), "AUC", 1e-12)
    same(np.concatenate(world.probabilities(found["estimator"])), np.concatenate(world.probabilities(models)))
    trained = [
        sklearn.metrics.roc_auc_score(world.y[train], m.predict_proba(world.windows[train])[:, 1])
        for m, (train, _) in zip(models, world.rows, strict=True)
    ]
    same(found["train_roc_auc"], trained, "AUC of training", 1e-12)


@splits("cross_val_predict", "each window's probability equals that of the fit by hand that did not see its subject")
def predictions(world: World, cv: Any) -> None:
    found = cross_val_predict(pipe(), world.windows, world.y, cv=cv, method="predict_proba")[:, 1]
    truth = np.empty(len(world.y))
    for p, (_, test) in zip(world.probabilities(world.fits()), world.rows, strict=True):
        truth[test] = p
    same(found, truth, "probabilities")


@splits("learning_curve", "its last point, all training windows, equals fits by hand")
def curve_of_learning(world: World, cv: Any) -> None:
    _, _, tests = learning_curve(
        pipe(), world.windows, world.y, cv=cv, train_sizes=[0.9, 1.0], scoring="roc_auc", error_score="raise"
    )
    same(tests[-1], world.aucs(), "AUC", 1e-12)


@splits("validation_curve", "each point equals fits by hand")
def curve_of_validation(world: World, cv: Any) -> None:
    _, tests = validation_curve(
        pipe(),
        world.windows,
        world.y,
        param_name=LR,
        param_range=[3e-3, 1e-4],
        cv=cv,
        scoring="roc_auc",
        error_score="raise",
    )
    same(tests, [world.aucs(world.fits(pipe(lr=lr))) for lr in (3e-3, 1e-4)], "AUC", 1e-12)


@splits("LearningCurveDisplay, ValidationCurveDisplay", "the drawn points equal the scores of fits by hand")
def displays_of_curves(world: World, cv: Any) -> None:
    common = {"cv": cv, "scoring": "roc_auc", "error_score": "raise"}
    learning = LearningCurveDisplay.from_estimator(pipe(), world.windows, world.y, train_sizes=[0.9, 1.0], **common)
    validation = ValidationCurveDisplay.from_estimator(
        pipe(), world.windows, world.y, param_name=LR, param_range=[3e-3, 1e-4], **common
    )
    same(learning.test_scores[-1], world.aucs(), "AUC", 1e-12)
    same(validation.test_scores[0], world.aucs(), "AUC", 1e-12)


@splits("permutation_test_score", "the score equals the mean of fits by hand")
def permutation_test(world: World, cv: Any) -> None:
    score, permuted, _ = permutation_test_score(
        pipe(), world.windows, world.y, cv=cv, scoring="roc_auc", n_permutations=2, random_state=0
    )
    same(score, world.aucs().mean(), "AUC", 1e-12)
    true(np.isfinite(permuted).all(), "scores of permuted labels are numbers")


@splits("CalibratedClassifierCV", "the models inside equal fits by hand, the result is the mean of their sigmoids")
def calibrated(world: World, cv: Any) -> None:
    found = CalibratedClassifierCV(pipe(), cv=cv).fit(world.windows, world.y)
    inside = [c.estimator for c in found.calibrated_classifiers_]
    same(np.concatenate(world.probabilities(inside)), np.concatenate(world.probabilities(world.fits())))
    others = world.windows[world.rows[0][0]]  # windows of the first model's own training
    true(np.allclose(inside[0].predict_proba(others).sum(1), 1, atol=1e-6), "probabilities sum to 1")
    sigmoids = [
        c.calibrators[0].predict(c.estimator.predict_proba(others)[:, 1]) for c in found.calibrated_classifiers_[:1]
    ]
    same(found.calibrated_classifiers_[0].predict_proba(others)[:, 1], sigmoids[0], "calibrated", 1e-12)


@splits(
    "CalibratedClassifierCV(ensemble=False)", "the model inside equals a plain fit, and the sigmoid keeps its order"
)
def calibrated_once(world: World, cv: Any) -> None:
    found = CalibratedClassifierCV(pipe(), cv=cv, ensemble=False).fit(world.windows, world.y)
    (inner,) = found.calibrated_classifiers_
    raw = inner.estimator.predict_proba(world.windows)[:, 1]
    same(raw, plain(world), "probabilities")
    calibrator = inner.calibrators[0]
    same(
        found.predict_proba(world.windows)[:, 1], 1 / (1 + np.exp(calibrator.a_ * raw + calibrator.b_)), "sigmoid", 1e-6
    )


@splits("StackingClassifier", "the last estimator equals a logistic regression on probabilities out of fold, by hand")
def stacked(world: World, cv: Any) -> None:
    found = StackingClassifier([("a", pipe()), ("b", pipe(lr=1e-4))], cv=cv).fit(world.windows, world.y)
    columns = np.empty((len(world.y), 2))
    for k, lr in enumerate((3e-3, 1e-4)):
        for p, (_, test) in zip(world.probabilities(world.fits(pipe(lr=lr))), world.rows, strict=True):
            columns[test, k] = p
    truth = LogisticRegression().fit(columns, world.y)
    same(found.final_estimator_.coef_, truth.coef_, "coefficients", 1e-4)


@splits(
    "TunedThresholdClassifierCV", "the model equals a plain fit, the threshold lies within probabilities out of fold"
)
def tuned(world: World, cv: Any) -> None:
    found = TunedThresholdClassifierCV(pipe(), cv=cv, thresholds=20).fit(world.windows, world.y)
    p = found.estimator_.predict_proba(world.windows)[:, 1]
    same(p, plain(world), "probabilities")
    same(found.predict(world.windows), (p >= found.best_threshold_).astype(int), "decisions")
    out = np.concatenate(world.probabilities(world.fits()))
    true(out.min() <= found.best_threshold_ <= out.max(), "the threshold lies within probabilities out of fold")
