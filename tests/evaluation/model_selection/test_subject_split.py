"""``SubjectSplit`` against scikit-learn's own splitters, and what it refuses inside scikit-learn's tools."""

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    StratifiedGroupKFold,
    cross_val_score,
)
from sklearn.model_selection import cross_validate as sklearn_cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import biot_bd
from biot_bd import BIOTClassifier, ContaminationError, SubjectSplit, cross_validate
from biot_bd.evaluation import make_folds
from biot_bd.evaluation.final_model import fit_all
from biot_bd.evaluation.study_identity import describe
from biot_bd.exceptions import SplitError
from biot_bd.training import load_pipeline

SIX = "six-datasets-18"
CHB = [f"chb-mit/{number:02d}" for number in (1, 2, 3, 22)]
SITE = [f"site/{number:02d}" for number in range(1, 6)]


def log_power(x):
    return np.log(np.var(np.asarray(x), axis=-1))


def plain():
    return make_pipeline(FunctionTransformer(log_power), LogisticRegression())


def data_of(subjects, per_subject=9, seed=0):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.array(subjects, dtype=object), per_subject))
    y = (np.arange(len(groups)) % 3 == 0).astype(int)
    x = rng.standard_normal((len(y), 4, 300)).astype("float32") * (1 + 0.3 * y[:, None, None])
    return x, y, groups


def tiny(**params):
    size = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
    return BIOTClassifier(**{**size, "max_epochs": 1, "batch_size": 16, "device": "cpu", "random_state": 0, **params})


@pytest.fixture(params=[False, True], ids=["routing off", "routing on"])
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


def handed_on(groups, routing):
    """scikit-learn's functions take groups= with routing off and params= with routing on."""
    return {"params": {"groups": groups}} if routing else {"groups": groups}


# --- the rows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "splitter",
    [
        GroupKFold(3),
        LeaveOneGroupOut(),
        LeavePGroupsOut(2),
        StratifiedGroupKFold(2, shuffle=True, random_state=3),
        GroupShuffleSplit(4, test_size=0.4, random_state=1),
    ],
)
def test_gives_the_rows_of_the_splitter_that_it_wraps(splitter):
    x, y, groups = data_of(SITE)
    wrapped = SubjectSplit(splitter, checkpoint="prest-16")
    expected = list(splitter.split(x, y, groups))
    found = list(wrapped.split(x, y, groups))
    assert wrapped.get_n_splits(x, y, groups) == splitter.get_n_splits(x, y, groups) == len(found)
    for (train, test), (train_wanted, test_wanted) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(train, np.sort(train_wanted))
        np.testing.assert_array_equal(test, np.sort(test_wanted))


@pytest.mark.parametrize("name", ["subject-loo", "subject-kfold-3", "stratified-subject-kfold-2"])
def test_names_mean_what_they_mean_in_cross_validate(name):
    x, y, groups = data_of(SITE)
    folds = make_folds(name, y, groups, validation_fraction=0, random_state=7)
    found = list(SubjectSplit(name, random_state=7).split(x, y, groups))
    assert [sorted(set(groups[test])) for _, test in found] == [list(fold.test) for fold in folds]
    assert [sorted(set(groups[train])) for train, _ in found] == [list(fold.train) for fold in folds]


def test_a_fixed_split_trains_on_its_validation_subjects_too():
    subjects = [f"chb-mit/{number:02d}" for number in range(1, 25) if number != 21]
    x, y, groups = np.zeros((69, 1)), None, np.repeat(subjects, 3)
    found = list(SubjectSplit("biot-code").split(x, y, groups))
    assert SubjectSplit("biot-code").get_n_splits() == len(found) == 1
    assert set(groups[found[0][1]]) == {"chb-mit/23", "chb-mit/24"}
    assert "chb-mit/22" in groups[found[0][0]]
    with pytest.raises(SplitError, match="chb-mit/24"):
        SubjectSplit("biot-code").split(x[:-3], y, groups[:-3])
    with pytest.raises(SplitError, match="chb-mit/24"):
        SubjectSplit("biot-code", checkpoint=SIX).split(x[:-3], y, groups[:-3])
    assert list(SubjectSplit("biot-code", checkpoint=SIX).split(x, y, groups))
    with pytest.raises(ContaminationError, match="chb-mit/20"):
        SubjectSplit("biot-paper", checkpoint=SIX).split(x, y, groups)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=40).filter(lambda ids: len(set(ids)) > 1))
@settings(max_examples=40, deadline=None)
def test_no_subject_is_ever_on_two_sides(ids):
    groups = np.array([f"site/{i}" for i in ids])
    tested = []
    for train, test in SubjectSplit("subject-loo").split(np.zeros((len(ids), 1)), groups=groups):
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == len(ids)
        tested.extend(test)
    assert sorted(tested) == list(range(len(ids)))


def test_number_of_splits_without_data():
    assert SubjectSplit(GroupKFold(4)).get_n_splits() == 4
    with pytest.raises(ValueError, match="subjects"):
        SubjectSplit("subject-loo").get_n_splits()
    assert SubjectSplit("subject-loo").get_n_splits(groups=["site/1", "site/2", "site/2"]) == 2


# --- what it refuses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("splitter", [KFold(3), KFold(3, shuffle=True, random_state=0)])
def test_a_subject_on_two_sides_raises_from_split(splitter):
    x, y, groups = data_of(SITE)
    with pytest.raises(SplitError, match="in training and in test"):
        SubjectSplit(splitter).split(x, y, groups)
    with pytest.raises(SplitError, match="in training and in test"):
        GridSearchCV(plain(), {"logisticregression__C": [1]}, cv=SubjectSplit(splitter)).fit(x, y, groups=groups)


def test_arrays_without_subjects_raise():
    x, y, _ = data_of(SITE)
    with pytest.raises(ContaminationError, match=r"(?s)no subjects.*groups="):
        SubjectSplit(GroupKFold(2), checkpoint=SIX).split(x, y)
    with pytest.raises(ContaminationError, match="no subjects"):
        SubjectSplit(GroupKFold(2), checkpoint=SIX, allow_contaminated=True).split(x, y)
    with pytest.raises(SplitError, match="no subjects"):
        SubjectSplit(GroupKFold(2)).split(x, y)
    with pytest.raises(ContaminationError, match="no subjects"):
        cross_val_score(plain(), x, y, cv=SubjectSplit(checkpoint="prest-16"))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["site/1"] * 44, "expected shape"),
        (["site/1"] * 45, "at least 2 subjects"),
        (["site/1", None] + ["site/2"] * 43, "window 1 has no subject"),
        (["site/1", ""] + ["site/2"] * 43, "window 1 has no subject"),
    ],
)
def test_malformed_subjects_raise(groups, message):
    x, y, _ = data_of(SITE)
    with pytest.raises(SplitError, match=message):
        SubjectSplit().split(x, y, np.array(groups, dtype=object))


@pytest.mark.parametrize("cv", ["subject-lo", 3, None])
def test_what_is_no_split_raises(cv):
    x, y, groups = data_of(SITE)
    with pytest.raises(SplitError, match="subject-loo"):
        SubjectSplit(cv).split(x, y, groups)


@pytest.mark.parametrize(
    "checkpoint",
    [
        SIX,
        ["prest-16", SIX],
        BIOTClassifier(pretrained=SIX),
        make_pipeline(FunctionTransformer(), BIOTClassifier(pretrained=SIX)),
        {"biotclassifier__pretrained": [None, "prest-16", SIX]},
    ],
    ids=["name", "list", "classifier", "pipeline", "grid"],
)
def test_a_contaminated_checkpoint_raises_from_split(checkpoint):
    x, y, groups = data_of(CHB)
    with pytest.raises(ContaminationError, match="chb-mit/01, chb-mit/02, chb-mit/03 of"):
        SubjectSplit(GroupKFold(2), checkpoint=checkpoint).split(x, y, groups)
    assert len(list(SubjectSplit(GroupKFold(2), checkpoint="prest-16").split(x, y, groups))) == 2


def test_allowed_contamination_warns():
    x, y, groups = data_of(CHB)
    split = SubjectSplit(GroupKFold(2), checkpoint=SIX, allow_contaminated=True)
    with pytest.warns(UserWarning, match="contaminated: six-datasets-18 was trained on chb-mit/01"):
        folds = split.split(x, y, groups)
    assert len(list(folds)) == 2


# --- in scikit-learn's tools ------------------------------------------------------------------------------


def test_a_grid_search_is_stopped_before_the_first_fit(routing, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("something was fitted")

    monkeypatch.setattr(BIOTClassifier, "fit", fail)
    monkeypatch.setattr("biot_bd.models.checkpoints.hub.fetch", fail)
    x, y, groups = data_of(CHB)
    grid = {"biotclassifier__pretrained": [None, "prest-16", SIX]}
    search = GridSearchCV(make_pipeline(BIOTClassifier()), grid, cv=SubjectSplit(GroupKFold(2), checkpoint=grid))
    with pytest.raises(ContaminationError, match=SIX):
        search.fit(x, y, groups=groups)
    with pytest.raises(ContaminationError, match=SIX):
        cross_val_score(
            make_pipeline(BIOTClassifier()),
            x,
            y,
            cv=SubjectSplit("subject-loo", checkpoint=SIX),
            **handed_on(groups, routing),
        )


def test_scores_are_those_of_the_wrapped_splitter(routing):
    x, y, groups = data_of(SITE)
    expected = cross_val_score(plain(), x, y, cv=LeaveOneGroupOut(), scoring="roc_auc", **handed_on(groups, routing))
    found = sklearn_cross_validate(
        plain(),
        x,
        y,
        cv=SubjectSplit("subject-loo", checkpoint="prest-16"),
        scoring="roc_auc",
        **handed_on(groups, routing),
    )
    np.testing.assert_array_equal(found["test_score"], expected)
    grid = {"logisticregression__C": [0.01, 1.0]}
    ours = GridSearchCV(plain(), grid, cv=SubjectSplit(GroupKFold(3))).fit(x, y, groups=groups)
    theirs = GridSearchCV(plain(), grid, cv=GroupKFold(3)).fit(x, y, groups=groups)
    np.testing.assert_array_equal(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


def test_groups_are_asked_for_by_default_and_the_request_can_be_changed():
    with sklearn.config_context(enable_metadata_routing=True):
        default = GroupKFold(2).get_metadata_routing().split.requests
        by_either = {"groups": True, "subjects": True}  # MOABB routes subjects
        assert default == {"groups": True}
        assert SubjectSplit(GroupKFold(2)).get_metadata_routing().split.requests == by_either
        renamed = SubjectSplit().set_split_request(groups="whose")
        assert renamed.get_metadata_routing().split.requests == {**by_either, "groups": "whose"}
        cloned = clone(GridSearchCV(plain(), {}, cv=renamed)).cv.get_metadata_routing().split.requests
        assert cloned == {**by_either, "groups": "whose"}
        x, y, groups = data_of(SITE)
        for split, name in ((renamed, "whose"), (SubjectSplit(), "groups"), (SubjectSplit(), "subjects")):
            assert len(cross_val_score(plain(), x, y, cv=split, params={name: groups})) == len(SITE)


def test_subjects_are_another_name_of_groups_and_must_not_differ_from_them():
    x, y, groups = data_of(SITE)
    first = [test.tolist() for _, test in SubjectSplit().split(x, y, groups)]
    assert [test.tolist() for _, test in SubjectSplit().split(x, y, subjects=groups)] == first
    assert [test.tolist() for _, test in SubjectSplit().split(x, y, groups, subjects=groups)] == first
    assert SubjectSplit().get_n_splits(x, y, subjects=groups) == len(SITE)
    with pytest.raises(ValueError, match="groups and subjects both name the subjects of the windows, and differ"):
        SubjectSplit().split(x, y, groups, subjects=groups[::-1])


def test_params_repr_and_clone():
    split = SubjectSplit(GroupKFold(3), checkpoint=SIX)
    assert repr(split).startswith("SubjectSplit(checkpoint='six-datasets-18'")
    assert "GroupKFold(n_splits=3" in repr(split)
    assert split.get_params() == {"allow_contaminated": False, "checkpoint": SIX, "cv": split.cv, "random_state": 0}
    copy = clone(split)
    assert copy is not split
    assert copy.get_params() == split.get_params()
    search = clone(GridSearchCV(plain(), {}, cv=split)).set_params(cv__checkpoint="prest-16")
    assert search.cv.checkpoint == "prest-16"
    assert split.checkpoint == SIX
    assert describe(split) == describe(copy)
    assert biot_bd.SubjectSplit is SubjectSplit


def test_in_our_own_cross_validate():
    x, y, groups = data_of(SITE)
    ours = cross_validate(plain(), x, y=y, groups=groups, cv=SubjectSplit("subject-loo"), progress=False)
    theirs = cross_validate(plain(), x, y=y, groups=groups, cv="subject-loo", progress=False)
    assert ours.metrics["subjects"] == theirs.metrics["subjects"]
    x, y, groups = data_of(CHB)
    with pytest.raises(ContaminationError, match=SIX):
        cross_validate(plain(), x, y=y, groups=groups, cv=SubjectSplit(checkpoint=SIX), progress=False)


def test_a_model_that_we_trained_is_refused_on_its_subjects(tmp_path):
    x, y, groups = data_of(SITE[:4])
    fit_all(tiny(), x, tmp_path / "model", y=y, groups=groups)
    new, y_new, groups_new = data_of([*SITE[3:], "new/01"])
    grid = {"pretrained": [None, str(tmp_path / "model")]}
    for checkpoint in (tmp_path / "model", grid, load_pipeline(tmp_path / "model")):
        search = GridSearchCV(tiny(), grid, cv=SubjectSplit("subject-loo", checkpoint=checkpoint))
        with pytest.raises(ContaminationError, match="site/04 of site"):
            search.fit(new, y_new, groups=groups_new)
        # A clone of the search must know as much.
        with pytest.raises(ContaminationError, match="site/04 of site"):
            clone(search).fit(new, y_new, groups=groups_new)
    others, y_others, groups_others = data_of(["new/01", "new/02", "new/03"])
    search = GridSearchCV(
        tiny(train_split=None), grid, cv=SubjectSplit("subject-kfold-2", checkpoint=grid), refit=False
    )
    search.fit(others, y_others, groups=groups_others)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_windows_bring_their_subjects(tmp_path, shared, routing):
    windows = prepared(tmp_path, shared)
    split = SubjectSplit(GroupKFold(2))
    folds = list(split.split(windows))
    assert split.get_n_splits(windows) == len(folds) == 2
    for train, test in folds:
        assert not set(windows.groups[train]) & set(windows.groups[test])
    with pytest.raises(ContaminationError, match="chb-mit/01, chb-mit/02"):
        SubjectSplit(GroupKFold(2), checkpoint=SIX).split(windows)
    with pytest.raises(SplitError, match="leave groups out"):
        split.split(windows, groups=windows.groups[::-1])
    search = GridSearchCV(
        tiny(train_split=None), {"lr": [1e-3]}, cv=SubjectSplit("subject-loo", checkpoint="prest-16"), refit=False
    )
    search.fit(windows, windows.y)  # no groups= needed
    assert search.n_splits_ == 2


def prepared(tmp_path, shared):
    import shutil

    from biot_bd import load_dataset, prepare

    names = {"chb01": ["chb01_03", "chb01_18_pre"], "chb02": ["chb02_16_ict", "chb02_16_pre"]}
    for case, recordings in names.items():
        (tmp_path / "raw" / case).mkdir(parents=True)
        source = shared / "data" / "chbmit-excerpts" / case
        for name in recordings:
            (tmp_path / "raw" / case / f"{name}.edf").symlink_to(source / f"{name}.edf")
        shutil.copy(source / f"{case}-summary.txt", tmp_path / "raw" / case)
    return prepare(load_dataset("chb-mit", tmp_path / "raw"), tmp_path / "windows")
