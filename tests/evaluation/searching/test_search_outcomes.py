"""What a search says where nothing can be compared: undefined scores, failed fits, too few subjects."""

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedKFold
from small_searches import GRID, Fussy, cheap, made

from biot_bd import BIOTClassifier
from biot_bd.evaluation import (
    GridEngine,
    HalvingSearch,
    OptunaSearch,
    RandomSearch,
    Range,
    SearchRecord,
    choose,
    search,
)
from biot_bd.evaluation.data import as_data
from biot_bd.evaluation.model_selection.folds import Fold
from biot_bd.evaluation.searching.candidate_scores import best_of, ranks, summarise
from biot_bd.evaluation.searching.inner_folds import make_inner_folds
from biot_bd.evaluation.searching.trial import TrialOutcome, trial_seed
from biot_bd.exceptions import ContaminationError, SearchError, SplitError, SubjectLeakError

pytestmark = pytest.mark.usefixtures("one_thread")


def searched(folder=None, estimator=None, grid=GRID, data=None, **options):
    x, y, subjects = made(n_subjects=4) if data is None else data
    options = {"cv": GroupKFold(2), "inner_cv": "subject-loo", "progress": False, **options}
    return search(estimator or cheap(), grid, x, y=y, groups=subjects, folder=folder, **options)


def test_an_inner_fold_without_seizures_is_left_out_of_the_mean_and_said(tmp_path):
    result = searched(tmp_path, data=made(n_subjects=6, without=(0,)), cv=GroupKFold(3))
    record = SearchRecord.open(tmp_path)
    lonely = record.trials["reason"] == "no seizure windows"
    assert record.trials.loc[lonely, "score"].isna().all()
    assert record.trials.loc[~lonely, "score"].notna().all()
    inside = [split["fold"] for split in result.run["splits"] if "site/00" not in split["test"]]
    assert set(record.trials.loc[lonely, "fold"]) == set(inside)
    for (fold, candidate), row in record.table.set_index(["fold", "candidate"]).iterrows():
        own = record.trials[(record.trials["fold"] == fold) & (record.trials["candidate"] == candidate)]
        assert (row["n_defined"], row["n_inner"]) == (own["score"].notna().sum(), 4)
        assert row["mean"] == pytest.approx(own["score"].dropna().astype(float).mean(), abs=1e-15)
    assert any("undefined in 2 of 12 inner folds (e.g. no seizure windows)" in note for note in result.notes)


def test_where_no_inner_fold_is_defined_the_first_is_taken_and_said(tmp_path):
    # inside each outer fold only one subject has seizures: it tests alone, or its fold trains on one class
    data = made(n_subjects=4, without=(0, 1))
    result = searched(tmp_path, data=data, cv=_Fixed([(0, 2), (1, 3)]))
    record = SearchRecord.open(tmp_path)
    assert record.table["mean"].isna().all()
    assert set(record.table["state"]) == {"undefined"}
    assert record.table.loc[record.table["chosen"], "candidate"].tolist() == [0, 0]
    notes = [note for note in result.notes if "undefined for every candidate, so the first is taken" in note]
    assert [note.split(":")[0] for note in notes] == ["fold 0", "fold 1"]
    one_class = record.trials["reason"].str.contains("have only windows of class 0")
    assert one_class.sum() == 2 * 6
    fitted = [len(list((tmp_path / "search" / name).glob("*.json"))) for name in ("fold-00", "fold-01")]
    assert fitted == [6, 6]  # nothing is fitted on one class


def test_a_candidate_that_fails_is_out_and_named(tmp_path):
    result = searched(tmp_path, Fussy(), {"broken": [True, False], "C": [1.0]})
    record = SearchRecord.open(tmp_path)
    failed = record.table[record.table["state"] == "failed"]
    assert failed["candidate"].tolist() == [0, 0]
    assert failed["rank"].isna().all()
    assert failed["mean"].isna().all()
    assert record.table.loc[record.table["chosen"], "candidate"].tolist() == [1, 1]
    assert set(record.trials.loc[record.trials["state"] == "failed", "reason"]) == {"ValueError: out of order"}
    assert any("fold 1: candidate 0 (C=1.0, broken=True) failed and is out" in note for note in result.notes)


def test_errors_of_the_machine_end_the_search(monkeypatch):
    def full(self, X, y):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Fussy, "fit", full)
    with pytest.raises(OSError, match="No space left"):
        searched(estimator=Fussy(), grid={"C": [1.0, 2.0]})


def test_one_subject_inside_leaves_nothing_to_choose(tmp_path):
    result = searched(tmp_path, data=made(n_subjects=2), cv="subject-loo")
    assert set(SearchRecord.open(tmp_path).table["n_inner"]) == {0}
    assert [choice["candidate"] for choice in result.run["search"]["chosen"]] == [0, 0]
    assert any("fold 0: only one subject (site/01) is left inside" in note for note in result.notes)


@pytest.mark.parametrize("engine", [RandomSearch(2), HalvingSearch(), OptunaSearch(3)])
def test_every_engine_stands_one_subject_inside(engine):
    result = searched(data=made(n_subjects=2), cv="subject-loo", engine=engine)
    assert [choice["mean"] for choice in result.run["search"]["chosen"]] == [None, None]


def test_more_inner_folds_than_subjects_leave_each_out_once(tmp_path):
    result = searched(tmp_path, inner_cv="subject-kfold-3", cv="subject-kfold-2")
    assert SearchRecord.open(tmp_path).table["n_inner"].unique().tolist() == [2]
    assert any("'subject-kfold-3' has more folds than the 2 subjects inside" in note for note in result.notes)


def test_inner_folds_that_spare_nobody_say_so():
    x, y, subjects = made(n_subjects=4)
    data, outer = as_data(x, y, subjects), Fold(0, ("site/00", "site/01"), ("site/02",), ("site/03",), 7)
    inner = make_inner_folds(data, outer, "subject-loo", validation_fraction=0.25, random_state=0)
    assert [fold.test for fold in inner.folds] == [("site/00",), ("site/01",), ("site/02",)]
    assert all("too few to spare one for validation" in fold.notes[0] for fold in inner.folds)
    assert not any("site/03" in (*fold.train, *fold.valid, *fold.test) for fold in inner.folds)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"inner_cv": StratifiedKFold(2)}, SplitError, "inner folds of fold 0"),
        ({"inner_cv": "biot-paper"}, SplitError, "names the sides of a whole data set"),
        ({"inner_cv": "5-fold"}, SplitError, "no split named '5-fold'"),
        (
            {"grid": {"logisticregression__c": [1]}},
            ValueError,
            "candidate 0 .*logisticregression__c=1.*Invalid parameter",
        ),
        (
            {"grid": {"logisticregression__c": [1]}, "engine": "optuna"},
            ValueError,
            "no parameter logisticregression__c",
        ),
        ({"grid": {}}, ValueError, "no parameter to choose"),
        ({"grid": {"logisticregression__C": []}}, ValueError, "has no values"),
        ({"grid": {"logisticregression__C": "0.1"}}, TypeError, "give a list of values"),
        ({"grid": {"logisticregression__C": Range(1e-3, 1.0)}}, ValueError, "tries every combination"),
        ({"engine": "bayes"}, ValueError, "no search engine 'bayes'; there are grid, random, halving, optuna"),
        ({"engine": RandomSearch}, TypeError, "or an object such as"),
        ({"engine": RandomSearch(0)}, ValueError, "at least 1"),
        ({"engine": HalvingSearch("epochs")}, ValueError, "no such parameter"),
        ({"engine": HalvingSearch("C"), "grid": GRID}, ValueError, "which is the resource"),
        ({"engine": "optuna", "grid": [GRID, GRID]}, ValueError, "takes one grid"),
    ],
)
def test_what_has_no_meaning_is_refused_before_a_fit(options, error, said, monkeypatch, tmp_path):
    monkeypatch.setattr("sklearn.linear_model.LogisticRegression.fit", _never)
    with pytest.raises(error, match=said):
        searched(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").rglob("c*.json"))


def test_a_cv_inside_a_candidate_that_mixes_subjects_is_refused_before_a_fit(monkeypatch):
    from sklearn.calibration import CalibratedClassifierCV

    mixing = CalibratedClassifierCV(cheap(), cv=StratifiedKFold(2, shuffle=True, random_state=0))
    monkeypatch.setattr("sklearn.linear_model.LogisticRegression.fit", _never)
    with pytest.raises(SubjectLeakError, match="CalibratedClassifierCV"):
        searched(estimator=mixing, grid={"method": ["sigmoid", "isotonic"]})


def _never(*args, **kwargs):
    raise AssertionError("a fit began")


class _Fixed:
    """Outer folds whose test subjects are named by number."""

    def __init__(self, tests):
        self.tests = tests

    def split(self, X, y=None, groups=None):
        for test in self.tests:
            tested = np.isin(groups, [f"site/{i:02d}" for i in test])
            yield np.flatnonzero(~tested), np.flatnonzero(tested)


def outcome(candidate, inner, score, state="finished", rung=0):
    return TrialOutcome(0, candidate, rung, inner, state, score, None if score is not None else "why")


def test_equals_share_a_rank_and_the_first_is_chosen():
    outcomes = [
        outcome(c, i, s)
        for c, scores in enumerate([(0.25, 0.5), (0.5, 0.25), (0.375, 0.375), (None, 0.125)])
        for i, s in enumerate(scores)
    ]
    scores = summarise(outcomes, {c: {"c": c} for c in range(4)}, set())
    assert ranks(scores, True) == {0: 1, 1: 1, 2: 1, 3: 4}
    assert ranks(scores, False) == {3: 1, 0: 2, 1: 2, 2: 2}
    assert best_of(scores, True, "fold 0").candidate == 0
    assert best_of(scores, False, "fold 0").candidate == 3


def test_a_later_rung_stands_before_a_better_score_of_an_earlier_one():
    outcomes = [outcome(0, 0, 0.9), outcome(1, 0, 0.5), outcome(1, 0, 0.6, rung=1)]
    scores = summarise(outcomes, {0: {}, 1: {}}, set())
    assert best_of(scores, True, "fold 0").candidate == 1
    assert [score.mean for score in scores] == [0.9, 0.6]


def test_one_failed_fit_puts_a_candidate_out():
    outcomes = [outcome(0, 0, 0.9), outcome(0, 1, None, "failed"), outcome(1, 0, 0.1), outcome(1, 1, 0.1)]
    assert best_of(summarise(outcomes, {0: {}, 1: {}}, set()), True, "fold 0").candidate == 1
    with pytest.raises(
        SearchError, match=r"fold 0: no candidate of 1 could be fitted; candidate 0 \(\), inner fold 1: why"
    ):
        best_of(summarise(outcomes[:2], {0: {}}, set()), True, "fold 0")


def test_seeds_are_of_fold_candidate_and_inner_fold_alone():
    seeds = {
        trial_seed(0, outer, candidate, inner) for outer in range(5) for candidate in range(20) for inner in range(5)
    }
    assert len(seeds) == 500
    assert trial_seed(0, 1, 2, 3) == trial_seed(0, 1, 2, 3) != trial_seed(1, 1, 2, 3)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_choice_on_all_subjects_is_that_of_leaving_each_out_once(tmp_path):
    from sklearn.model_selection import GridSearchCV

    x, y, subjects = made(n_subjects=4)
    options = {"y": y, "groups": subjects, "inner_cv": LeaveOneGroupOut(), "progress": False, "engine": GridEngine()}
    choice = choose(cheap(), GRID, x, tmp_path / "choice", validation_fraction=0, **options)
    peer = GridSearchCV(cheap(), GRID, cv=LeaveOneGroupOut(), scoring="average_precision").fit(x, y, groups=subjects)
    assert choice.params == peer.best_params_
    assert choice.pipeline.get_params()["logisticregression__C"] == peer.best_params_["logisticregression__C"]
    ours = choice.record.table["mean"].to_numpy(float)
    np.testing.assert_allclose(ours, peer.cv_results_["mean_test_score"], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"holds another study.*validation_fraction"):
        choose(cheap(), GRID, x, tmp_path / "choice", **options)


def test_a_checkpoint_in_the_grid_that_saw_test_subjects_is_refused_before_a_fit(monkeypatch, tmp_path):
    x, y, subjects = made(n_subjects=4)
    subjects = np.char.replace(subjects, "site", "chb-mit")
    net = BIOTClassifier(device="cpu")
    monkeypatch.setattr(BIOTClassifier, "fit", _never)
    options = {"y": y, "groups": subjects, "inner_cv": "subject-loo", "progress": False, "folder": tmp_path / "run"}
    with pytest.raises(ContaminationError, match="chb-mit/01, chb-mit/02, chb-mit/03"):
        search(net, {"pretrained": [None, "six-datasets-18"]}, x, **options)
    assert not (tmp_path / "run").exists()
    with pytest.raises(SearchError, match="a fit began"):  # every candidate replaces what saw them
        search(net.set_params(pretrained="six-datasets-18"), {"pretrained": [None], "lr": [1e-3]}, x, **options)
