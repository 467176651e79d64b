"""A fold is the same whenever and wherever it is computed: alone, last, after other random numbers."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from biot_bd import BIOTClassifier
from biot_bd.evaluation import cross_validate, make_folds
from biot_bd.evaluation.data import as_data
from biot_bd.evaluation.fold import FoldTask, configure, run_fold
from biot_bd.evaluation.metrics.window_metrics import as_metrics

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu", "batch_size": 8}


def log_power(x):
    return np.log(np.var(np.asarray(x), axis=-1) + 1e-3)


def features(*steps):
    return make_pipeline(FunctionTransformer(log_power), *steps)


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    groups = np.repeat([f"s/{i}" for i in range(5)], 10).astype(object)
    y = np.tile([0, 0, 1, 0, 1], 10)
    return (rng.standard_normal((50, 4, 200)) * (1 + 0.2 * y[:, None, None])).astype("float32"), y, groups


def forest():
    return RandomForestClassifier(3)


RANDOM = {
    "a network": lambda: BIOTClassifier(max_epochs=2, **TINY),
    "a forest": lambda: features(forest()),
    "an unseeded splitter inside": lambda: GridSearchCV(
        features(forest()), {"randomforestclassifier__max_depth": [1, 3]}, cv=GroupShuffleSplit(2, test_size=1)
    ),
    "estimators that a grid lists": lambda: GridSearchCV(
        VotingClassifier([("a", features(LogisticRegression()))], voting="soft"),
        [{"a": [features(forest()), features(LogisticRegression())]}],
        cv=GroupKFold(2),
    ),
    "a search that draws": lambda: RandomizedSearchCV(
        features(forest()), {"randomforestclassifier__max_depth": list(range(1, 9))}, n_iter=2, cv=GroupKFold(2)
    ),
}


@pytest.mark.parametrize("what", RANDOM)
def test_folds_alone_in_another_order_and_all_together_are_equal_to_the_digit(cohort, what):
    X, y, groups = cohort
    expected = cross_validate(RANDOM[what](), X, y=y, groups=groups, cv="subject-kfold-3", progress=False).predictions
    data, metrics = as_data(X, y, groups), as_metrics(["roc_auc"])
    for fold in reversed(make_folds("subject-kfold-3", y, groups)):
        np.random.seed(fold.index + 7)  # noqa: NPY002  what ran before in this process
        torch.manual_seed(fold.index + 7)
        alone = run_fold(FoldTask(RANDOM[what](), data, fold, metrics, "balanced-accuracy", "any")).predictions
        own = expected[expected["fold"] == fold.index].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, own, check_exact=True)


@pytest.mark.parametrize("what", ["a forest", "an unseeded splitter inside", "estimators that a grid lists"])
def test_another_seed_is_another_run(cohort, what):
    X, y, groups = cohort
    one, two = (
        cross_validate(
            RANDOM[what](),
            X,
            y=y,
            groups=groups,
            cv=GroupKFold(3),
            validation_fraction=0,
            random_state=n,
            progress=False,
        )
        for n in (0, 1)
    )
    assert not one.predictions["proba"].equals(two.predictions["proba"])


def test_what_has_a_seed_keeps_it_and_the_callers_objects_are_not_changed(cohort):
    _, y, groups = cohort
    fold = make_folds("subject-loo", y, groups)[0]
    own, drawn = GroupShuffleSplit(2, random_state=5), GroupShuffleSplit(2)
    search = GridSearchCV(RandomForestClassifier(random_state=3), {"random_state": [None, 4]}, cv=own)
    made = configure(search, fold, None)
    assert (made.estimator.random_state, made.cv.random_state, made.param_grid["random_state"]) == (3, 5, [None, 4])
    listed = RandomForestClassifier()
    search = GridSearchCV(listed, {"estimator": [listed]}, cv=drawn)
    made = configure(search, fold, None)
    assert made.param_grid["estimator"][0].random_state == made.cv.random_state == fold.seed
    assert listed.random_state is None
    assert drawn.random_state is None
    assert GroupKFold(2).random_state is None
    assert configure(GridSearchCV(listed, {}, cv=GroupKFold(2)), fold, None).cv.random_state is None  # it draws nothing
