"""A search that was interrupted goes on; what its files say is checked, not trusted."""

import json
import shutil

import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold
from small_searches import GRID, Fussy, cheap, made, without_times

from biot_bd.evaluation import OptunaSearch, Range, SearchRecord, planned_fits, search
from biot_bd.evaluation.searching import trial
from biot_bd.exceptions import RunFolderError, SearchError

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = {"cv": GroupKFold(2), "inner_cv": GroupKFold(2), "progress": False}


def searched(folder, estimator=None, grid=GRID, **options):
    x, y, subjects = made(n_subjects=4)
    return search(estimator or cheap(), grid, x, y=y, groups=subjects, folder=folder, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = searched(folder)
    return folder, result, SearchRecord.open(folder)


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "run")


def unfinished(folder):
    """Take away what is written behind the rounds."""
    for name in ("search.json", "metrics.json", "predictions.parquet"):
        (folder / name).unlink()
    shutil.rmtree(folder / "folds")


def fits_counted(monkeypatch):
    counted = []
    real = trial._scored
    monkeypatch.setattr(trial, "_scored", lambda task: counted.append(task.label) or real(task))
    return counted


def same(folder, whole):
    again = SearchRecord.open(folder)
    for ours, theirs in zip(without_times(again), without_times(whole[2]), strict=True):
        pd.testing.assert_frame_equal(ours, theirs)
    return again


def test_only_missing_fits_run_again_and_the_tables_are_the_same(whole, copied, monkeypatch):
    unfinished(copied)
    gone = sorted((copied / "search").glob("fold-*/*.json"))[1::3]
    for path in gone:
        path.unlink()
    counted = fits_counted(monkeypatch)
    again = searched(copied)
    assert sorted(counted) == [f"{path.parent.name}/{path.stem}" for path in gone]
    same(copied, whole)
    pd.testing.assert_frame_equal(again.predictions, whole[1].predictions)
    assert again.table.equals(whole[1].table)


def test_a_finished_search_fits_nothing_again(whole, copied, monkeypatch):
    counted = fits_counted(monkeypatch)
    searched(copied)
    assert counted == []
    same(copied, whole)


def test_counts_say_what_is_done(whole, copied):
    x, y, subjects = made(n_subjects=4)
    next((copied / "search").glob("fold-*/*.json")).unlink()
    counts = planned_fits(
        cheap(), GRID, x, y=y, groups=subjects, folder=copied, cv=GroupKFold(2), inner_cv=GroupKFold(2)
    )
    assert counts == {
        "outer_folds": 2, "candidates": 6, "inner_folds": 2, "inner_fits": 24, "outer_fits": 2, "inner_done": 23, "outer_done": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"grid": {"logisticregression__C": [1e-4, 1.0]}}, "search.grid"),
        ({"inner_cv": "subject-loo"}, "search.inner_cv"),
        ({"scoring": "roc_auc"}, "parameters.scoring"),
        ({"random_state": 1}, "parameters.random_state"),
        ({"engine": "random", "grid": GRID}, "search.engine"),
    ],
)
def test_another_search_in_the_folder_is_refused_by_what_differs(copied, changed, said):
    before = sorted(path.name for path in copied.rglob("*"))
    with pytest.raises(RunFolderError, match=said.replace(".", r"\.")):
        searched(copied, **changed)
    assert sorted(path.name for path in copied.rglob("*")) == before


def test_a_fit_of_other_parameters_is_not_taken(copied):
    unfinished(copied)
    path = copied / "search" / "fold-00" / "c0001-r0-i00.json"
    facts = json.loads(path.read_text())
    facts["params"]["logisticregression__C"] = 5.0
    path.write_text(json.dumps(facts))
    with pytest.raises(RunFolderError, match=r"c0001-r0-i00.json: params is .*5\.0.*now it would be"):
        searched(copied)


def test_a_changed_score_does_not_change_the_choice_behind_the_folds(copied):
    chosen = json.loads((copied / "search.json").read_text())["chosen"][0]["candidate"]
    for path in (copied / "search" / "fold-00").glob(f"c{chosen:04d}*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "score": 0.0}))
    with pytest.raises(RunFolderError, match=r"fold\(s\) 0 would now be given other parameters"):
        searched(copied)


def test_half_a_file_is_named(copied):
    unfinished(copied)
    path = copied / "search" / "fold-01" / "c0000-r0-i01.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(ValueError, match=r"c0000-r0-i01.json"):
        searched(copied)


def test_a_record_of_an_unfinished_search_says_what_to_do(copied):
    unfinished(copied)
    with pytest.raises(FileNotFoundError, match="run the same search again"):
        SearchRecord.open(copied)


def test_fits_that_failed_are_tried_again_until_the_choice_is_made(tmp_path):
    grid = {"broken": [True]}
    with pytest.raises(
        SearchError, match=r"fold 0: no candidate of 1 could be fitted; candidate 0 \(broken=True\).*out of order"
    ):
        searched(tmp_path / "run", Fussy(), grid)
    Fussy.repaired = True
    try:
        result = searched(tmp_path / "run", Fussy(), grid)
    finally:
        Fussy.repaired = False
    assert result.metrics["macro"]["roc_auc"]["n_subjects"] == 4
    searched(tmp_path / "run", Fussy(), grid)  # fits nothing, so nothing fails


@pytest.mark.slow
def test_optuna_goes_on_as_if_it_had_not_been_stopped(tmp_path, monkeypatch):
    grid = {"logisticregression__C": Range(1e-4, 1e2, log=True)}
    options = {"engine": OptunaSearch(n_trials=12, batch=2), "grid": grid}
    searched(tmp_path / "whole", **options)
    real, left = trial._scored, iter(range(21))

    def stopped(task):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(task)

    monkeypatch.setattr(trial, "_scored", stopped)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "run", **options)
    monkeypatch.setattr(trial, "_scored", real)
    counted = fits_counted(monkeypatch)
    searched(tmp_path / "run", **options)
    assert len(counted) == 2 * 2 * 12 - 21
    both = [without_times(SearchRecord.open(tmp_path / name)) for name in ("whole", "run")]
    for ours, theirs in zip(*both, strict=True):
        pd.testing.assert_frame_equal(ours, theirs)
