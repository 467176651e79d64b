"""Subjects stay apart in scikit-learn's tools, and in every ``cv`` inside ``cross_validate``."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import sklearn
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.feature_selection import RFECV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeavePGroupsOut,
    PredefinedSplit,
    RandomizedSearchCV,
    ShuffleSplit,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    validation_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from biot_bd import (
    BIOTClassifier,
    PercentileScaler,
    SubjectLeakError,
    SubjectSplit,
    Windows,
    cross_validate,
    load_dataset,
    prepare,
)
from biot_bd.evaluation.model_selection.inner_splits import InnerSplit
from biot_bd.exceptions import SplitError
from biot_bd.signals.subject_array import SubjectArray

pytestmark = pytest.mark.usefixtures("one_thread")
MIX = StratifiedKFold(2, shuffle=True, random_state=0)
APART = SubjectSplit("stratified-subject-kfold-2")
GRID = {"biotclassifier__lr": [1e-3]}
TINY = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("apart")
    recordings = load_dataset("demo", folder / "edf", n_subjects=4, recordings=1, minutes=2)
    return prepare(recordings, folder / "windows")


def net(**kwargs):
    return BIOTClassifier(max_epochs=1, random_state=0, **{"train_split": None, **TINY, **kwargs})


def pipe(**kwargs):
    return make_pipeline(PercentileScaler(), net(**kwargs))


def features(x):
    return np.log(np.var(np.asarray(x), axis=-1) + 1e-3)


def flat():
    return make_pipeline(FunctionTransformer(features), LogisticRegression())


# --- scikit-learn's tools on Windows --------------------------------------------------------------


RAISING = {
    "cross_val_predict": lambda cv, w: cross_val_predict(pipe(), w, w.y, cv=cv, method="predict_proba"),
    "calibrated": lambda cv, w: CalibratedClassifierCV(pipe(), cv=cv).fit(w, w.y),
    "calibrated, one model": lambda cv, w: CalibratedClassifierCV(pipe(), cv=cv, ensemble=False).fit(w, w.y),
    "stacking": lambda cv, w: StackingClassifier([("a", pipe())], cv=cv).fit(w, w.y),
    "tuned threshold": lambda cv, w: TunedThresholdClassifierCV(pipe(), cv=cv).fit(w, w.y),
    "scores": lambda cv, w: cross_val_score(pipe(), w, w.y, cv=cv, error_score="raise"),
    "search": lambda cv, w: GridSearchCV(pipe(), GRID, cv=cv, error_score="raise").fit(w, w.y),
}


@pytest.mark.parametrize("tool", RAISING)
@pytest.mark.parametrize("cv", [None, MIX], ids=["default", "stratified"])
def test_tools_that_mix_subjects_raise(windows, tool, cv):
    with pytest.raises(SubjectLeakError, match=r"nothing was trained: demo/0.*SubjectSplit"):
        RAISING[tool](cv, windows)


@pytest.mark.parametrize("tool", RAISING)
def test_tools_whose_selections_do_not_know_each_other_raise_when_they_test(windows, tool, monkeypatch):
    """Two guards: what is trained on both sides' behalf, and what is asked afterwards."""
    monkeypatch.setattr(Windows, "other_side", None)
    with pytest.raises(SubjectLeakError, match="trained on other windows of demo/0"):
        RAISING[tool](MIX, windows)


@pytest.mark.parametrize("routing", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("tool", RAISING)
def test_tools_that_split_by_subject_need_no_groups(windows, tool, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        RAISING[tool](APART, windows)


TELLING = {
    "search": lambda w, cv: GridSearchCV(pipe(), GRID, cv=cv).fit(w, w.y),
    "search, area": lambda w, cv: GridSearchCV(pipe(), GRID, cv=cv, scoring="roc_auc", return_train_score=True).fit(
        w, w.y
    ),
    "search, two scores": lambda w, cv: GridSearchCV(pipe(), GRID, cv=cv, scoring=["roc_auc"], refit="roc_auc").fit(
        w, w.y
    ),
    "scores": lambda w, cv: cross_val_score(pipe(), w, w.y, cv=cv),
    "learning curve": lambda w, cv: learning_curve(
        pipe(), w, w.y, cv=cv, train_sizes=[0.7, 1.0], shuffle=True, random_state=0
    ),
}


@pytest.mark.parametrize("cv", [None, MIX], ids=["default", "stratified"])
@pytest.mark.parametrize("tool", TELLING)
def test_tools_as_they_are_raise_too(windows, tool, cv):
    """With their default ``error_score=nan``: no model, no score, scikit-learn's error with ours in it."""
    with pytest.raises(ValueError, match=r"(?s)All the .* fits failed.*SubjectLeakError: nothing was trained: demo/0"):
        TELLING[tool](windows, cv)


def test_a_tool_that_drops_errors_warns(windows):
    with pytest.warns(UserWarning, match="nothing was trained: demo/0"):
        found = validation_curve(
            pipe(), windows, windows.y, param_name="biotclassifier__lr", param_range=[1e-3], cv=MIX
        )
    assert np.isnan(found).all()


def test_where_some_splits_mix_only_those_have_no_score(windows):
    """Nobody tells a classifier of all splits, so scikit-learn warns and the mean is NaN."""
    first = np.isin(windows.groups, sorted(set(windows.groups))[:2])
    rows = np.arange(len(windows))
    splits = [(rows[first], rows[~first]), (rows[::2], rows[1::2])]
    with pytest.warns(FitFailedWarning, match="(?s)1 fits failed.*SubjectLeakError"):
        search = GridSearchCV(pipe(), GRID, cv=splits).fit(windows, windows.y)
    assert np.isfinite(search.cv_results_["split0_test_score"]).all()
    assert np.isnan(search.cv_results_["split1_test_score"]).all()
    assert np.isnan(search.best_score_)


@pytest.mark.parametrize("option", ["allow", "warn"])
def test_the_option_reaches_every_clone(windows, option):
    mixed = GridSearchCV(pipe(seen_subjects=option), GRID, cv=MIX, scoring="roc_auc")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert np.isfinite(mixed.fit(windows, windows.y).best_score_)
    told = [str(w.message) for w in caught if "trained on other windows of demo" in str(w.message)]
    assert len(told) == (0 if option == "allow" else 2)  # once a split, where it is tested


@pytest.mark.slow
def test_a_search_in_other_processes_raises_too(windows):
    for error_score in ("raise", np.nan):
        search = GridSearchCV(pipe(), GRID, cv=MIX, error_score=error_score, n_jobs=2)
        with pytest.raises(ValueError, match="nothing was trained: demo/0"):
            search.fit(windows, windows.y)


@pytest.mark.slow
def test_two_processes_score_what_one_does(windows):
    one, two = (
        GridSearchCV(pipe(train_split="subject", patience=None), GRID, cv=APART, n_jobs=n, error_score="raise").fit(
            windows, windows.y
        )
        for n in (1, 2)
    )
    for key in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(one.cv_results_[key], two.cv_results_[key])


SPLITTERS = {
    "k-fold": lambda n, seed: KFold(n),
    "k-fold, shuffled": lambda n, seed: KFold(n, shuffle=True, random_state=seed),
    "stratified": lambda n, seed: StratifiedKFold(n),
    "shuffle": lambda n, seed: ShuffleSplit(n, test_size=0.3, random_state=seed),
    "predefined": lambda n, seed: PredefinedSplit(np.arange(32) // 8 % n),
    "by subject": lambda n, seed: SubjectSplit(GroupKFold(n)),
    "subjects left out": lambda n, seed: SubjectSplit(LeavePGroupsOut(1)),
    "subjects shuffled": lambda n, seed: SubjectSplit(GroupShuffleSplit(n, test_size=0.5, random_state=seed)),
}


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(SPLITTERS)),
    n=st.integers(2, 4),
    seed=st.integers(0, 9),
    tool=st.sampled_from(["cross_val_predict", "calibrated", "stacking", "scores", "search"]),
)
def test_any_splitter_in_any_tool_keeps_subjects_apart_or_raises(windows, untrained, name, n, seed, tool):
    rows = [
        np.flatnonzero((windows.groups == subject) & (windows.y == label))[:4]
        for subject in sorted(set(windows.groups))
        for label in (0, 1)
    ]
    some = windows[np.concatenate(rows)]
    cv = SPLITTERS[name](n, seed)
    splits = list(cv.split(some, some.y))
    assume(all(len(set(some.y[train])) == 2 for train, _ in splits))
    if tool in ("cross_val_predict", "calibrated", "stacking"):  # these want a partition
        assume(sorted(np.concatenate([test for _, test in splits])) == list(range(len(some))))
    mixed = any(set(some.groups[train]) & set(some.groups[test]) for train, test in splits)
    with pytest.raises(SubjectLeakError) if mixed else nullcontext():
        RAISING[tool](cv, some)


@pytest.fixture(scope="module")
def untrained():
    """Leave out what makes a fit slow: which windows it was given is what matters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BIOTClassifier, "_run_epochs", lambda *args: None)
        yield


# --- inside cross_validate ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arrays():
    """Return six subjects whose seizures are louder; they have different numbers of windows."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"set/{i:02d}" for i in range(6)], [9, 10, 11, 12, 13, 14]).astype(object)
    y = (rng.permutation(len(groups)) % 3 == 0).astype(int)
    x = rng.standard_normal((len(y), 4, 200)).astype(np.float32) * np.where(y, 3, 1)[:, None, None]
    return x.astype(np.float32), y, groups


def score(estimator, arrays):
    x, y, groups = arrays
    return cross_validate(estimator, x, y=y, groups=groups, cv="subject-kfold-3", validation_fraction=0, progress=False)


class Counted(ClassifierMixin, BaseEstimator):
    """Counts fits, and keeps what it was given."""

    fits = 0

    def __init__(self, shift=0.0):
        self.shift = shift

    def fit(self, X, y):
        type(self).fits += 1
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        p = np.clip(np.asarray(X).var(axis=(1, 2)) / 10 + self.shift, 0, 1)
        return np.c_[1 - p, p]

    def predict(self, X):
        return self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)]


METAS = {
    "search": lambda cv: GridSearchCV(Counted(), {"shift": [0.0, 0.1]}, cv=cv),
    "random search": lambda cv: RandomizedSearchCV(Counted(), {"shift": [0.0, 0.1]}, cv=cv, n_iter=1, random_state=0),
    "calibrated": lambda cv: CalibratedClassifierCV(Counted(), cv=cv),
    "tuned threshold": lambda cv: TunedThresholdClassifierCV(Counted(), cv=cv, thresholds=4),
    "stacking": lambda cv: StackingClassifier([("a", Counted()), ("b", flat())], cv=cv),
    "stacking, its last": lambda cv: StackingClassifier(
        [("a", Counted())], cv=GroupKFold(2), final_estimator=LogisticRegressionCV(cv=cv, use_legacy_attributes=False)
    ),
    "voting": lambda cv: VotingClassifier(
        [("a", CalibratedClassifierCV(Counted(), cv=cv)), ("b", flat())], voting="soft"
    ),
    "search of tuned": lambda cv: GridSearchCV(
        TunedThresholdClassifierCV(Counted(), cv=cv, thresholds=4), {"estimator__shift": [0.0]}, cv=GroupKFold(2)
    ),
    "tuned of calibrated": lambda cv: TunedThresholdClassifierCV(
        CalibratedClassifierCV(Counted(), cv=cv), cv=GroupKFold(2), thresholds=4
    ),
    "a grid's cv": lambda cv: GridSearchCV(
        TunedThresholdClassifierCV(Counted(), cv=GroupKFold(2), thresholds=4),
        {"cv": [GroupKFold(2), cv]},
        cv=GroupKFold(2),
    ),
    "a grid's estimator": lambda cv: GridSearchCV(
        VotingClassifier([("a", Counted())], voting="soft"),
        [{"a": [Counted(), CalibratedClassifierCV(Counted(), cv=cv)]}],
        cv=GroupKFold(2),
    ),
    "regression": lambda cv: make_pipeline(
        FunctionTransformer(features), LogisticRegressionCV(cv=cv, use_legacy_attributes=False)
    ),
    "selection": lambda cv: make_pipeline(
        FunctionTransformer(features), RFECV(LogisticRegression(), cv=cv), LogisticRegression()
    ),
}


def made(meta, cv):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return METAS[meta](cv)


@pytest.mark.filterwarnings("ignore:.*groups parameter is ignored")
@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("meta", METAS)
def test_a_mixing_split_inside_is_refused_before_the_first_fit(arrays, meta, routing):
    Counted.fits = 0
    for cv in (MIX, 3, None):
        with (
            sklearn.config_context(enable_metadata_routing=routing),
            pytest.raises(SubjectLeakError, match="puts set/0"),
        ):
            score(made(meta, cv), arrays)
    assert Counted.fits == 0


class MixingAtLast(GroupKFold):
    """Mixes subjects where the last one is not among them."""

    def split(self, X, y=None, groups=None):
        return super().split(X, y, groups) if "set/05" in groups else MIX.split(X, y)


def test_every_fold_is_looked_at_before_the_first_fit(arrays):
    x, y, groups = arrays
    Counted.fits = 0
    estimator = CalibratedClassifierCV(Counted(), cv=MixingAtLast(2))
    with pytest.raises(SubjectLeakError, match="CalibratedClassifierCV"):
        cross_validate(estimator, x, y=y, groups=groups, cv="subject-loo", validation_fraction=0, progress=False)
    assert Counted.fits == 0


@pytest.mark.filterwarnings("error::sklearn.exceptions.FitFailedWarning", "error:.*non-finite:UserWarning")
@pytest.mark.parametrize("routing", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("meta", METAS)
def test_a_split_by_subject_inside_gets_the_subjects(arrays, meta, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        assert len(score(made(meta, GroupKFold(2)), arrays).table) == 6


class Watching(GroupKFold):
    """Keeps which windows it put where, by their loudest sample."""

    seen = []

    def split(self, X, y=None, groups=None):
        for train, test in super().split(X, y, groups):
            sides = [set(np.asarray(X)[rows][:, 0, 0].tolist()) for rows in (train, test)]
            self.seen.append(sides)
            yield train, test


@pytest.mark.parametrize("meta", ["search", "calibrated", "tuned threshold", "search of tuned", "tuned of calibrated"])
def test_the_subjects_that_it_gets_are_the_right_ones(arrays, meta):
    """By the windows themselves: each has a first sample of its own."""
    x, _, groups = arrays
    subject = dict(zip(x[:, 0, 0].tolist(), groups, strict=True))
    assert len(subject) == len(x)
    Watching.seen.clear()
    score(made(meta, Watching(2)), arrays)
    met = [[{subject[sample] for sample in side} for side in sides] for sides in Watching.seen]
    assert len(met) >= 12  # 3 folds, tried beforehand and split, in 2 parts
    assert all(train and test and not (train & test) for train, test in met)


@pytest.mark.parametrize("routing", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_networks_inside_split_off_validation_by_subject(arrays, routing):
    """Arrays carry the subjects down to the network, through the steps in front of it."""
    for estimator in (
        TunedThresholdClassifierCV(make_pipeline(PercentileScaler(), net(train_split="subject")), cv=GroupKFold(2)),
        VotingClassifier([("net", make_pipeline(PercentileScaler(), net(train_split="subject")))], voting="soft"),
        GridSearchCV(net(train_split="subject"), {"lr": [1e-3]}, cv=GroupKFold(2)),
    ):
        with sklearn.config_context(enable_metadata_routing=routing):
            assert len(score(estimator, arrays).table) == 6


def test_windows_bring_their_subjects_to_every_depth(windows):
    inner = CalibratedClassifierCV(pipe(), cv=GroupKFold(2))
    search = GridSearchCV(inner, {"estimator__biotclassifier__lr": [1e-3]}, cv=GroupKFold(3), error_score="raise")
    found = cross_validate(search, windows, cv="subject-loo", validation_fraction=0, progress=False)
    assert len(found.table) == 4


def test_features_that_lost_their_subjects_are_refused(arrays):
    nested = TunedThresholdClassifierCV(
        make_pipeline(
            FunctionTransformer(features), LogisticRegressionCV(cv=GroupKFold(2), use_legacy_attributes=False)
        ),
        cv=GroupKFold(2),
    )
    with pytest.raises(SplitError, match="features of which nobody can tell the subjects"):
        score(nested, arrays)


def test_a_split_that_cannot_be_made_says_whose_it_is(arrays):
    Counted.fits = 0
    with pytest.raises(SplitError, match=r"CalibratedClassifierCV\(cv=GroupKFold\(n_splits=9.*number of splits"):
        score(CalibratedClassifierCV(Counted(), cv=GroupKFold(9)), arrays)
    with pytest.raises(SplitError, match="TunedThresholdClassifierCV"):  # rows of other windows
        score(TunedThresholdClassifierCV(Counted(), cv=[(np.arange(500), np.arange(500, 600))]), arrays)
    assert Counted.fits == 0


def test_a_share_of_the_windows_is_a_split_too(arrays):
    with pytest.raises(SubjectLeakError, match=r"TunedThresholdClassifierCV\(cv=0.3\)"):
        score(TunedThresholdClassifierCV(Counted(), cv=0.3), arrays)


def test_what_trains_nothing_is_left_alone(arrays):
    x, y, _ = arrays
    frozen = CalibratedClassifierCV(FrozenEstimator(Counted().fit(x, y)))
    with pytest.raises(Exception, match="frozen Counted"):  # nobody knows what it saw; its split is no matter
        score(frozen, arrays)


def test_the_callers_estimator_is_not_changed(arrays):
    search = made("a grid's estimator", GroupKFold(2))
    before = search.get_params()
    values = search.param_grid[0]["a"]
    score(search, arrays)
    assert {k: id(v) for k, v in search.get_params().items()} == {k: id(v) for k, v in before.items()}
    assert isinstance(values[1].cv, GroupKFold)


def test_the_splitter_finds_subjects_or_says_that_it_cannot():
    y, subjects = np.array([0, 1] * 4), np.repeat(["a", "b"], 4).astype(object)
    split = InnerSplit(GroupKFold(2), "Search", y, subjects)
    x = SubjectArray(np.zeros((8, 1, 1)), subjects)
    assert [test.tolist() for _, test in split.split(x[2:6], y[2:6])] == [[2, 3], [0, 1]]
    assert len(list(split.split(np.zeros((8, 3)), y))) == split.get_n_splits() == 2
    assert len(list(split.split(np.zeros((4, 3)), y[:4], groups=["a", "a", "b", "b"]))) == 2
    for other in (y[:4], 1 - y, np.zeros(8)):
        same = np.array_equal(np.unique(other, return_inverse=True)[1], y)
        assert not same
        with pytest.raises(SplitError, match="nobody can tell the subjects"):
            split.split(np.zeros((len(other), 3)), other)
