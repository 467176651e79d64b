"""Cohorts in which something is missing: each outcome is defined, said in the result, and never NaN."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from biot_bd import BIOTClassifier, SubjectSplit
from biot_bd.evaluation import cross_validate, search
from biot_bd.exceptions import SplitError
from biot_bd.signals import SubjectArray

pytestmark = pytest.mark.usefixtures("one_thread")
USUAL = {"a": (6, 3), "b": (6, 3), "c": (6, 3)}


def log_power(x):
    return np.log(np.var(np.asarray(x), axis=-1) + 1e-3)


def flat():
    return make_pipeline(FunctionTransformer(log_power), StandardScaler(), LogisticRegression())


def cohort(windows):
    """Make loud seizures; ``windows`` has (background, seizure) of each subject."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"s/{name}" for name in windows], [sum(counts) for counts in windows.values()]).astype(object)
    y = np.concatenate([[0] * n0 + [1] * n1 for n0, n1 in windows.values()]).astype(int)
    return (rng.standard_normal((len(y), 4, 200)) * (1 + 2 * y[:, None, None])).astype("float32"), y, groups


def run(windows, estimator=None, function=cross_validate, **options):
    X, y, groups = cohort(windows)
    made = flat() if estimator is None else estimator
    grid = () if function is cross_validate else ({"logisticregression__C": [0.1, 1.0]},)
    result = function(made, *grid, X, y=y, groups=groups, progress=False, **options)
    text = json.dumps([result.metrics, result.run])
    assert "NaN" not in text
    assert "Infinity" not in text
    return result


def undefined(result):
    return {subject.removeprefix("s/"): text for subject, text in result.table["undefined"].items() if text}


def noted(result, text):
    return any(text in note for note in result.run["notes"])


# --- scores that are undefined ---------------------------------------------------------------------

ONE_CLASS = {
    "a subject without seizures": ({**USUAL, "d": (6, 0)}, {"d": "no seizure windows"}),
    "a subject of seizures alone": ({**USUAL, "d": (0, 5)}, {"d": "no background windows"}),
    "a subject with one window": ({**USUAL, "d": (1, 0)}, {"d": "no seizure windows"}),
    "a subject with one seizure window": ({**USUAL, "d": (0, 1)}, {"d": "no background windows"}),
    "two of five with seizures": (
        {"a": (6, 3), "b": (6, 3), "c": (6, 0), "d": (6, 0), "e": (6, 0)},
        dict.fromkeys("cde", "no seizure windows"),
    ),
    "every subject of one class": (
        {"a": (6, 0), "b": (0, 6), "c": (6, 0), "d": (0, 6)},
        {
            "a": "no seizure windows",
            "b": "no background windows",
            "c": "no seizure windows",
            "d": "no background windows",
        },
    ),
}


@pytest.mark.parametrize("case", ONE_CLASS)
def test_who_has_one_class_has_no_area_but_a_reason_and_counts_in_the_pooled_score(case):
    windows, expected = ONE_CLASS[case]
    result = run(windows)
    assert undefined(result) == expected
    macro = result.metrics["macro"]["roc_auc"]
    assert macro["n_subjects"] == len(windows) - len(expected)
    assert (macro["value"] is None) == (len(expected) == len(windows))
    test = result.predictions.query("part == 'test'")
    assert len(test) == sum(map(sum, windows.values()))
    assert result.metrics["pooled"]["roc_auc"]["value"] == pytest.approx(roc_auc_score(test["y_true"], test["proba"]))
    for fold in result.metrics["folds"]:  # one test subject a fold
        subject = fold["test"][0].removeprefix("s/")
        assert fold["roc_auc"]["reason"] == expected.get(subject)


def test_a_test_fold_of_one_window_says_nothing_of_the_model():
    assert not noted(run({**USUAL, "d": (1, 0)}), "degenerate")


# --- who validates ---------------------------------------------------------------------------------


def test_where_nobody_can_validate_the_fold_says_what_holds_then():
    result = run({"a": (6, 3), "b": (6, 3), "c": (6, 0), "d": (6, 0), "e": (6, 0)})
    by_test = {fold["test"][0]: fold for fold in result.run["splits"]}
    for subject in ("s/a", "s/b"):  # the other one alone has seizures, and trains
        assert by_test[subject]["valid"] == []
        assert "no choice of validation subjects" in by_test[subject]["notes"][0]
    assert noted(result, "never validating, as no threshold can be chosen without a seizure: s/c, s/d, s/e")
    without = [fold for fold in result.metrics["folds"] if not by_test[fold["test"][0]]["valid"]]
    assert [fold["threshold"] for fold in without] == [0.5, 0.5]


@pytest.mark.parametrize("n_subjects", [2, 3])
def test_one_or_two_training_subjects_all_train(n_subjects):
    result = run(dict(list(USUAL.items())[:n_subjects]))
    assert noted(result, f"{n_subjects - 1} training subject(s) are too few to spare one for validation")
    assert all(fold["valid"] == [] for fold in result.run["splits"])


# --- training of one class -------------------------------------------------------------------------

REFUSED = {
    "one subject has seizures": (
        {"a": (6, 3), "b": (6, 0), "c": (6, 0)},
        {},
        r"fold 0 \(test s/a\).*s/a alone has windows of another class, so no model can be trained without that subject",
    ),
    "all with seizures are tested at once": (
        {"a": (6, 3), "b": (6, 3), "c": (6, 0), "d": (6, 0), "e": (6, 0)},
        {"cv": "subject-kfold-2"},
        "stratified-subject-kfold-N",
    ),
    "nobody has seizures": ({"a": (6, 0), "b": (6, 0), "c": (6, 0)}, {}, "no window is of another class.*label rule"),
    "nothing but seizures": ({"a": (0, 6), "b": (0, 6), "c": (0, 6)}, {}, "no window is of another class"),
}


@pytest.mark.parametrize("function", [cross_validate, search])
@pytest.mark.parametrize("case", REFUSED)
def test_a_fold_that_cannot_be_trained_is_refused_before_anything_is_fitted(case, function, monkeypatch):
    monkeypatch.setattr(LogisticRegression, "fit", lambda *args: pytest.fail("something was fitted"))
    windows, options, message = REFUSED[case]
    with pytest.raises(SplitError, match=message):
        run(windows, function=function, **options)


class NotA:
    """Tests every subject but the first."""

    def split(self, X, y, groups):
        for subject in sorted(set(groups))[1:]:
            yield np.flatnonzero(groups != subject), np.flatnonzero(groups == subject)


def test_what_the_message_proposes_runs():
    result = run({"a": (6, 3), "b": (6, 0), "c": (6, 0)}, cv=NotA())
    assert undefined(result) == dict.fromkeys("bc", "no seizure windows")
    assert result.metrics["macro"]["roc_auc"]["reason"] == "defined for no subject"


# --- searches inside -------------------------------------------------------------------------------

FEW = {"a": (6, 3), "b": (6, 3), "c": (6, 3), "d": (6, 0), "e": (6, 0), "f": (6, 0)}


def grid(cv, **options):
    return GridSearchCV(flat(), {"logisticregression__C": [0.1, 1.0]}, cv=cv, **options)


def test_an_inner_training_part_of_one_class_is_refused_with_what_leaves_it_out(monkeypatch):
    monkeypatch.setattr(LogisticRegression, "fit", lambda *args: pytest.fail("something was fitted"))
    with pytest.raises(SplitError, match=r"GridSearchCV.*biot_bd.evaluation.search"):
        run({"a": (6, 3), "b": (6, 3), "c": (6, 0), "d": (6, 0), "e": (6, 0)}, grid(GroupKFold(2)))


class SeizuresTrain:
    """An inner split whose test part has no seizures."""

    def get_n_splits(self, X=None, y=None, groups=None):
        return 1

    def split(self, X, y, groups):
        without = next(s for s in sorted(set(groups)) if not y[groups == s].any())
        yield np.flatnonzero(groups != without), np.flatnonzero(groups == without)


@pytest.mark.filterwarnings("ignore:Only one class is present", "ignore:One or more of the test scores")
def test_a_search_that_had_nothing_to_choose_by_says_so(tmp_path):
    result = run(FEW, grid(SeizuresTrain(), scoring="roc_auc"), cv="subject-kfold-2", folder=tmp_path / "run")
    for fold in (0, 1):
        facts = json.loads((tmp_path / "run" / "folds" / f"{fold:02d}" / "fold.json").read_text())
        assert facts["search"]["best_params"] == {"logisticregression__C": 0.1}
        assert facts["search"]["best_score"] is None
        assert "the first was taken" in facts["search"]["reason"]
        assert noted(result, f"fold {fold}: the search inside: no candidate has a score")


def test_our_search_says_what_was_left_out_inside():
    result = run({"a": (6, 3), "b": (6, 3), "c": (6, 0), "d": (6, 0), "e": (6, 0)}, function=search)
    assert undefined(result) == dict.fromkeys("cde", "no seizure windows")
    chosen = {fold["fold"]: fold for fold in result.run["search"]["chosen"]}
    assert set(chosen) == set(range(5))
    assert all(fold["mean"] is None or np.isfinite(fold["mean"]) for fold in chosen.values())


def test_our_search_with_one_subject_left_inside_takes_the_first_and_says_so():
    result = run({"a": (6, 3), "b": (6, 3)}, function=search)
    assert [fold["candidate"] for fold in result.run["search"]["chosen"]] == [0, 0]
    assert noted(result, "only one subject (s/b) is left inside, so nothing can be chosen")


# --- windows without anything ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["array", "SubjectArray"])
def test_windows_without_any_channel_are_refused_by_name_before_anything_is_fitted(how, monkeypatch):
    monkeypatch.setattr(BIOTClassifier, "fit", lambda *args: pytest.fail("something was fitted"))
    X, y, groups = cohort(USUAL)
    X[(groups == "s/b") & (y == 1)] = np.nan
    given = (X, groups) if how == "array" else (SubjectArray(X, groups), None)
    with pytest.raises(ValueError, match=r"3 windows \(the first is 15; of s/b\) are NaN throughout"):
        cross_validate(BIOTClassifier(), given[0], y=y, groups=given[1], progress=False)


def test_a_channel_that_is_absent_here_and_there_stays_allowed():
    X, y, groups = cohort(USUAL)
    X[::2, 1] = np.nan
    tiny = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu", "max_epochs": 1}
    result = cross_validate(BIOTClassifier(**tiny), X, y=y, groups=groups, progress=False, cv="subject-kfold-2")
    assert len(result.predictions.query("part == 'test'")) == len(y)


def test_an_array_may_bring_its_subjects():
    X, y, groups = cohort(USUAL)
    carried = cross_validate(flat(), SubjectArray(X, groups), y=y, progress=False)
    assert carried.metrics == cross_validate(flat(), X, y=y, groups=groups, progress=False).metrics
    assert len(list(SubjectSplit().split(SubjectArray(X, groups)))) == 3
