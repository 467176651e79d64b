"""scikit-learn's own ensembles over pipelines of windows: what they do, whose windows they mix, and what calibrates members."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from biot_bd import (
    BIOTClassifier,
    PercentileScaler,
    SubjectLeakError,
    SubjectSplit,
    cross_validate,
    load_dataset,
    prepare,
)
from biot_bd.ensembles import SeedEnsemble
from biot_bd.evaluation import recalibrate
from biot_bd.signals.subject_array import SubjectArray

pytestmark = pytest.mark.usefixtures("one_thread")
APART = SubjectSplit("subject-kfold-2")
TINY = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sklearn-ensembles")
    recordings = load_dataset("demo", folder / "edf", n_subjects=4, recordings=1, minutes=2)
    return prepare(recordings, folder / "windows")


def power(x):
    return np.log(np.var(np.asarray(x), axis=-1) + 1e-3)


def line_length(x):
    return np.log(np.abs(np.diff(np.asarray(x), axis=-1)).mean(axis=-1) + 1e-3)


def flat(features=power, C=1.0):
    return make_pipeline(FunctionTransformer(features), StandardScaler(), LogisticRegression(C=C))


def net():
    return make_pipeline(
        PercentileScaler(), BIOTClassifier(max_epochs=1, random_state=0, train_split="subject", **TINY)
    )


def out_of_subject(estimator, X, y, groups):
    """Return probabilities of each half of the subjects by a model of the other half, by hand."""
    out = np.zeros(len(y))
    for train, test in APART.split(X, y, groups):
        assert not set(groups[train]) & set(groups[test])
        out[test] = clone(estimator).fit(X[train], y[train]).predict_proba(X[test])[:, 1]
    return out


@pytest.mark.parametrize("kind", ["Windows", "array that carries subjects"])
def test_stacking_by_subject_is_a_regression_on_probabilities_of_unseen_subjects(windows, kind):
    y, groups = np.asarray(windows.y), np.asarray(windows.groups)
    X = windows if kind == "Windows" else SubjectArray(np.asarray(windows), groups)
    members = [("power", flat()), ("line", flat(line_length, C=0.1))]
    stacked = StackingClassifier(members, final_estimator=LogisticRegression(), cv=APART).fit(X, y)
    columns = np.column_stack([out_of_subject(member, X, y, groups) for _, member in members])
    by_hand = LogisticRegression().fit(columns, y)
    np.testing.assert_allclose(stacked.final_estimator_.coef_, by_hand.coef_, rtol=1e-6)


def test_stacking_that_mixes_subjects_is_refused_by_cross_validation_and_by_networks(windows):
    mixing = StratifiedKFold(2, shuffle=True, random_state=0)
    with pytest.raises(SubjectLeakError):
        cross_validate(StackingClassifier([("a", flat())], cv=mixing), windows, progress=False)
    with pytest.raises(SubjectLeakError):
        StackingClassifier([("a", net())], cv=mixing).fit(windows, windows.y)


def test_voting_is_the_mean_of_the_members_and_runs_in_cross_validation(windows):
    members = [("power", flat()), ("line", flat(line_length)), ("seeds", SeedEnsemble(net(), seeds=(0, 1)))]
    voting = VotingClassifier(members, voting="soft").fit(windows, windows.y)
    alone = [clone(member).fit(windows, windows.y).predict_proba(windows) for _, member in members]
    np.testing.assert_allclose(voting.predict_proba(windows), np.mean(alone, axis=0), atol=1e-6)


def test_members_calibrated_across_subjects_never_see_a_subject_on_both_sides(windows):
    member = CalibratedClassifierCV(flat(), cv=APART, ensemble=False)
    stacked = StackingClassifier([("a", member), ("b", flat(line_length))], cv=SubjectSplit("subject-loo"))
    result = cross_validate(
        VotingClassifier([("calibrated", member), ("line", flat(line_length))], voting="soft"), windows, progress=False
    )
    assert result.predictions["proba"].between(0, 1).all()
    with pytest.raises(SubjectLeakError):  # its own cv, nested in a fold, is looked at too
        cross_validate(stacked.set_params(a__cv=StratifiedKFold(2)), windows, progress=False)


def test_fitted_members_recalibrated_on_validation_subjects_vote_frozen(windows):
    subjects = np.unique(windows.groups)
    rows = {
        name: np.flatnonzero(np.isin(windows.groups, part))
        for name, part in zip("tv", (subjects[:2], subjects[2:]), strict=True)
    }
    train, valid = windows[rows["t"]], windows[rows["v"]]
    members = [recalibrate(member.fit(train, train.y), valid) for member in (flat(), flat(line_length))]
    frozen = [(f"m{i}", FrozenEstimator(member)) for i, member in enumerate(members)]
    voting = VotingClassifier(frozen, voting="soft").fit(valid, valid.y)
    wanted = np.mean([member.predict_proba(valid) for member in members], axis=0)
    np.testing.assert_allclose(voting.predict_proba(valid), wanted)
