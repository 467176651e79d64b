"""scikit-learn's own searches and scores on our pipelines: no subject on two sides, at any level.

Who is where is read from the samples themselves, not from what the tools say of groups.
"""

import mne
import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    LeaveOneGroupOut,
    RandomizedSearchCV,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, SubjectLeakError, SubjectSplit, load_dataset, prepare
from biot_bd.signals import PercentileScaler, SubjectArray

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("error::sklearn.exceptions.FitFailedWarning", "error:.*non-finite:UserWarning"),
]
TINY = {"module__embed_dim": 4, "module__num_heads": 1, "module__num_layers": 1, "device": "cpu"}
GRID = {"biotclassifier__lr": [1e-3, 1e-2]}
FITS = []
SUBJECT_OF = {}


def first_samples(X):
    samples = X.read(np.arange(len(X))) if hasattr(X, "read") else np.asarray(X)
    return {round(float(sample), 4) for sample in samples[:, 0, 0]}


def names(samples):
    """Return whose the windows are, by the first sample of each."""
    return {SUBJECT_OF[sample] for sample in samples}


class Watched(TransformerMixin, BaseEstimator):
    """Changes nothing, and notes who fits and who is asked for afterwards (training scores apart)."""

    def fit(self, X, y=None):
        self.fitted_ = first_samples(X)
        self.seen_ = {"fit": names(self.fitted_), "tested": set()}
        FITS.append(self.seen_)
        return self

    def fit_transform(self, X, y=None):
        self.fit(X)
        return X

    def transform(self, X):
        self.seen_["tested"] |= names(first_samples(X) - self.fitted_)
        return X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array, tags.input_tags.two_d_array = True, False
        return tags


@pytest.fixture(scope="module", autouse=True)
def untrained():
    """Leave out the epochs, and note which windows train and which stop the training."""

    def noted(self, data, train, valid, groups, seed):
        FITS[-1] |= {"train": names(first_samples(data.read(np.array(train.indices))))}
        if valid is not None:
            FITS[-1] |= {"valid": names(first_samples(data.read(np.array(valid.indices))))}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BIOTClassifier, "_run_epochs", noted)
        yield


def known(samples, groups):
    SUBJECT_OF.update(zip((round(float(s), 4) for s in samples[:, 0, 0]), groups, strict=True))


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    recordings = load_dataset("demo", folder / "edf", n_subjects=6, recordings=1, minutes=2)
    prepared = prepare(recordings, folder / "windows", window_s=2.0, stride_s=2.0, dtype="float32")
    rows = [
        np.flatnonzero((prepared.groups == subject) & (prepared.y == label))[:n]
        for subject in sorted(set(prepared.groups))
        for label, n in ((0, 4), (1, 3))
    ]
    some = prepared[np.concatenate(rows)]
    known(some.read(np.arange(len(some))), some.groups)
    assert len({*SUBJECT_OF.values()}) == 6
    return some


@pytest.fixture(scope="module")
def array():
    rng = np.random.default_rng(0)
    groups = np.repeat([f"set/{i:02d}" for i in range(6)], 7).astype(object)
    y = np.tile([0, 0, 1, 0, 1, 0, 1], 6)
    x = rng.standard_normal((len(y), 4, 200)).astype("float32")
    x[:, 0, 0] = np.arange(len(y)) + 1000
    known(x, groups)
    return x, y, groups


def pipe(**params):
    net = BIOTClassifier(max_epochs=1, random_state=0, **{**TINY, **params})
    return make_pipeline(Watched(), net)


def search(kind, cv, **params):
    made = {
        "grid": GridSearchCV,
        "random": lambda *args, **more: RandomizedSearchCV(*args, n_iter=2, random_state=0, **more),
        "halving": lambda *args, **more: HalvingGridSearchCV(
            *args, random_state=0, factor=2, resource="biotclassifier__max_epochs", max_resources=2, **more
        ),
        "halving, windows": lambda *args, **more: HalvingGridSearchCV(
            *args, random_state=0, factor=2, min_resources=24, **more
        ),
    }[kind]
    return made(pipe(), GRID, cv=cv, error_score="raise", **params)


def scored(score, estimator, cv, X, y, handed, **params):
    return score(estimator, X, y, cv=cv, **params, **handed)


RAISE = {"error_score": "raise"}
SEARCHES = {
    "grid": lambda cv, X, y, fit, _: search("grid", cv).fit(X, y, **fit),
    "random": lambda cv, X, y, fit, _: search("random", cv).fit(X, y, **fit),
    "halving": lambda cv, X, y, fit, _: search("halving", cv).fit(X, y, **fit),
    "halving, windows": lambda cv, X, y, fit, _: search("halving, windows", cv).fit(X, y, **fit),
    "several scores": lambda cv, X, y, fit, _: search(
        "grid", cv, scoring=["roc_auc", "average_precision"], refit="roc_auc"
    ).fit(X, y, **fit),
    "own choice": lambda cv, X, y, fit, _: search("grid", cv, refit=lambda results: 1).fit(X, y, **fit),
}
SCORES = {
    "cross_val_score": lambda cv, X, y, _, kw: scored(cross_val_score, pipe(), cv, X, y, kw, **RAISE),
    "cross_validate": lambda cv, X, y, _, kw: scored(
        cross_validate, pipe(), cv, X, y, kw, scoring=["roc_auc", "f1"], return_estimator=True, **RAISE
    ),
    "cross_val_predict": lambda cv, X, y, _, kw: scored(
        cross_val_predict, pipe(), cv, X, y, kw, method="predict_proba"
    ),
    "learning_curve": lambda cv, X, y, _, kw: scored(
        learning_curve, pipe(), cv, X, y, kw, train_sizes=[0.6, 1.0], shuffle=True, random_state=0, **RAISE
    ),
    "validation_curve": lambda cv, X, y, _, kw: scored(
        validation_curve, pipe(), cv, X, y, kw, param_name="biotclassifier__lr", param_range=[1e-3], **RAISE
    ),
    "permutation_test_score": lambda cv, X, y, _, kw: scored(
        permutation_test_score, pipe(), cv, X, y, kw, n_permutations=1, random_state=0
    ),
}
DATA = {
    # what is given, whether the subjects are handed on, whether metadata routing is on
    "Windows": ("windows", False, False),
    "Windows, routing": ("windows", False, True),
    "Windows and groups, routing": ("windows", True, True),
    "SubjectArray": ("subjects", False, False),
    "SubjectArray, routing": ("subjects", False, True),
    "array and groups, routing": ("array", True, True),
}


def given(request, kind):
    what, hand_on, routing = DATA[kind]
    if what == "windows":
        X = request.getfixturevalue("windows")
        y, groups = X.y, X.groups
    else:
        X, y, groups = request.getfixturevalue("array")
        X = SubjectArray(X, groups) if what == "subjects" else X
    handed = {"params": {"groups": groups}} if routing else {"groups": groups}
    return X, y, groups, {"groups": groups} if hand_on else {}, handed if hand_on else {}, routing


def check_fits(everybody):
    """No test subject fitted, nobody who fitted stopped the training of the same fit."""
    assert FITS
    for seen in FITS:
        assert seen["train"]
        assert seen["valid"]
        assert not seen["train"] & seen["valid"]
        assert seen["train"] | seen["valid"] == seen["fit"]
        assert not seen["fit"] & seen["tested"]
    assert set().union(*(seen["tested"] for seen in FITS)) == everybody


def quick_and_slow(tools, quick):
    """Every tool on every kind of data; the quick run has all tools and all kinds, not all pairs."""
    pairs = [(kind, tool) for kind in DATA for tool in tools]
    return [pytest.param(*pair, marks=() if pair in quick else pytest.mark.slow) for pair in pairs]


QUICK = {("SubjectArray", tool) for tool in (*SEARCHES, *SCORES)} | {
    ("Windows", "grid"),
    ("Windows", "halving, windows"),
    ("Windows, routing", "cross_val_predict"),
    ("Windows and groups, routing", "random"),
    ("SubjectArray, routing", "cross_val_score"),
    ("array and groups, routing", "several scores"),
}
QUICK_NESTED = {("Windows", "grid"), ("SubjectArray", "random"), ("array and groups, routing", "halving")}


@pytest.mark.parametrize(("kind", "tool"), quick_and_slow([*SEARCHES, *SCORES], QUICK))
def test_no_tool_puts_a_subject_on_two_sides(request, kind, tool):
    X, y, groups, fit, handed, routing = given(request, kind)
    FITS.clear()
    with sklearn.config_context(enable_metadata_routing=routing):
        {**SEARCHES, **SCORES}[tool](SubjectSplit("subject-kfold-3"), X, y, fit, handed)
    check_fits(set(groups))


@pytest.mark.parametrize(("kind", "inner"), quick_and_slow(["grid", "random", "halving"], QUICK_NESTED))
def test_a_search_inside_never_meets_who_tests_it(request, kind, inner):
    X, y, groups, _, handed, routing = given(request, kind)
    FITS.clear()
    nested = search(inner, SubjectSplit("subject-kfold-2"), refit=True)
    with sklearn.config_context(enable_metadata_routing=routing):
        scores = cross_val_score(nested, X, y, cv=SubjectSplit("subject-kfold-3"), error_score="raise", **handed)
    check_fits(set(groups))
    assert len(scores) == 3
    n = len(FITS) // 3
    assert n >= 5  # two candidates on two inner folds, and the refit
    for part in (FITS[:n], FITS[n : 2 * n], FITS[2 * n :]):
        *tried, refitted = part
        assert len(refitted["fit"]) == 4
        for seen in tried:
            assert seen["fit"] | seen["tested"] == refitted["fit"]
            assert not refitted["tested"] & (seen["fit"] | seen["tested"])


@pytest.mark.parametrize(
    "splitter", [GroupKFold(3), StratifiedGroupKFold(3), pytest.param(LeaveOneGroupOut(), marks=pytest.mark.slow)]
)
def test_group_splitters_take_the_subjects_from_groups(request, splitter):
    for kind in ("Windows and groups, routing", "array and groups, routing"):
        X, y, groups, fit, handed, _ = given(request, kind)
        FITS.clear()
        with sklearn.config_context(enable_metadata_routing=True):
            SEARCHES["grid"](splitter, X, y, fit, handed)
            SCORES["cross_val_predict"](splitter, X, y, fit, handed)
        check_fits(set(groups))


def test_with_routing_off_an_array_needs_its_subjects_twice(array):
    """Once for the splitter and once for the network; or it carries them itself."""
    X, y, groups = array
    made = search("grid", GroupKFold(3))
    with pytest.raises(ValueError, match=r"SubjectArray.*biotclassifier__groups=subjects"):
        made.fit(X, y, groups=groups)
    FITS.clear()
    made.fit(X, y, groups=groups, biotclassifier__groups=groups)
    check_fits(set(groups))


@pytest.mark.parametrize("tool", ["grid", pytest.param("halving", marks=pytest.mark.slow)])
def test_the_same_choice_whatever_the_data_are_called(array, tool):
    X, y, groups = array
    cv = SubjectSplit("subject-kfold-3")
    carried = search(tool, cv).fit(SubjectArray(X, groups), y)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = search(tool, cv).fit(X, y, groups=groups)
    for key, values in carried.cv_results_.items():
        if key.endswith("_score"):
            np.testing.assert_array_equal(values, routed.cv_results_[key])


# --- what cannot work says what does ---------------------------------------------------------------


def test_a_splitter_that_knows_no_subjects_is_refused(windows):
    for cv in (None, StratifiedKFold(2, shuffle=True, random_state=0)):
        with (
            pytest.raises(SubjectLeakError, match="SubjectSplit"),
            pytest.warns(UserWarning, match="nothing was trained"),
        ):
            search("halving", cv).fit(windows, windows.y)


@pytest.mark.parametrize("routing", [False, True])
def test_epochs_that_were_taken_apart_are_refused(array, routing):
    X, y, groups = array
    epochs = mne.EpochsArray(X.astype(float) * 1e-6, mne.create_info(4, 200.0, "eeg"), verbose="error")
    net = BIOTClassifier(max_epochs=1, **TINY)
    handed = {"params": {"groups": groups}} if routing else {"groups": groups}
    for estimator in (net, make_pipeline(PercentileScaler(), net)):
        with sklearn.config_context(enable_metadata_routing=routing), pytest.raises(TypeError, match="SubjectArray"):
            cross_val_score(estimator, epochs, y, cv=GroupKFold(3), error_score="raise", **handed)
    FITS.clear()  # what the message says, works
    cross_val_score(pipe(), SubjectArray(epochs.get_data(units="uV"), groups), y, cv=SubjectSplit("subject-kfold-3"))
    check_fits(set(groups))


def test_halving_that_starts_on_too_few_windows_says_so(array):
    X, _, groups = array
    rare = (np.arange(len(X)) % 7 == 0).astype(int)
    halving = HalvingGridSearchCV(
        pipe(), GRID, cv=SubjectSplit("subject-kfold-2"), min_resources=8, random_state=0, error_score="raise"
    )
    with pytest.raises(ValueError, match="min_resources"):
        halving.fit(SubjectArray(X, groups), rare)


def test_one_subject_left_inside_says_how_to_train_without_validation(array):
    X, y, groups = array
    rows = np.isin(groups, ["set/00", "set/01"])
    made = search("grid", SubjectSplit("subject-kfold-2"))
    with pytest.raises(ValueError, match=r"one subject \(set/0.\).*train_split=None"):
        made.fit(SubjectArray(X[rows], groups[rows]), y[rows])
    FITS.clear()
    made.set_params(estimator__biotclassifier__train_split=None).fit(SubjectArray(X[rows], groups[rows]), y[rows])
    assert [len(seen["fit"]) for seen in FITS] == [1, 1, 1, 1, 2]
