"""What a search refuses before its first fit, and what it makes of files that are not as it left them."""

import json
import shutil

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, PredefinedSplit
from small_searches import GRID, Fussy, cheap, made, without_times

from biot_bd import BIOTClassifier, save_pipeline
from biot_bd.evaluation import OptunaSearch, RandomSearch, Range, SearchRecord, choose, search
from biot_bd.exceptions import ContaminationError, RunFolderError, SearchError, SplitError

TINY = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "module__hop_length": 100}
pytestmark = pytest.mark.usefixtures("one_thread")


def searched(folder=None, estimator=None, grid=GRID, data=None, **options):
    x, y, subjects = made(n_subjects=4) if data is None else data
    options = {"cv": GroupKFold(2), "inner_cv": "subject-loo", "progress": False, **options}
    return search(estimator or cheap(), grid, x, y=y, groups=subjects, folder=folder, **options)


def _never(*args, **kwargs):
    raise AssertionError("a fit began")


@pytest.mark.parametrize("name", ["random_state", "train_split", "log_dir", "restart_dir"])
def test_what_a_fold_sets_cannot_be_chosen(monkeypatch, name):
    monkeypatch.setattr(BIOTClassifier, "fit", _never)
    with pytest.raises(ValueError, match=f"grid: {name} cannot be chosen, every fold sets it"):
        searched(estimator=BIOTClassifier(device="cpu"), grid={name: [1, 2]})


class Ranked(Fussy):
    """Has a parameter that is called as a column of the table of candidates."""

    def __init__(self, rank=1):
        super().__init__()
        self.rank = rank


def test_a_parameter_is_no_column_of_the_table():
    with pytest.raises(ValueError, match=r"a column rank already.* ranked__rank"):
        searched(estimator=Ranked(), grid={"rank": [1, 2]})


@pytest.mark.parametrize(
    ("grid", "error", "message"),
    [
        ({"logisticregression": ["passthrough"]}, ValueError, "last step of the pipeline is 'passthrough'"),
        ({"logisticregression__C": {1.0, 2.0}}, TypeError, "has a set, whose order differs"),
    ],
)
def test_grids_without_meaning_are_refused(grid, error, message):
    with pytest.raises(error, match=message):
        searched(grid=grid)


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_a_splitter_of_other_windows_is_refused():
    with pytest.raises(SplitError, match=r"inner folds of fold 0: PredefinedSplit.* splits other windows"):
        searched(inner_cv=PredefinedSplit([0, 1] * 48))


def test_a_splitter_that_shuffles_without_a_seed_makes_the_same_folds_in_every_call(tmp_path):
    options = {"cv": GroupShuffleSplit(2, test_size=0.5), "inner_cv": GroupShuffleSplit(3)}
    first = searched(tmp_path, **options)
    files = {path: path.read_bytes() for path in tmp_path.glob("search/fold-*/*.json")}
    (tmp_path / "run.json").write_text((tmp_path / "run.json").read_text().replace('"finished"', '"running"'))
    assert searched(tmp_path, **options).run["splits"] == first.run["splits"]
    assert {path: path.read_bytes() for path in tmp_path.glob("search/fold-*/*.json")} == files
    splits = [json.loads(text) for text in files.values()]
    assert len({tuple(one["test"]) for one in splits if one["candidate"] == 0}) > 1  # drawn anew in each fold


def test_a_scored_fold_of_another_choice_is_not_taken(tmp_path):
    searched(tmp_path)
    shutil.rmtree(tmp_path / "search")
    (tmp_path / "search.json").unlink()
    path = tmp_path / "folds" / "01" / "fold.json"
    facts = json.loads(path.read_text())
    facts["search"]["best_params"]["logisticregression__C"] = 7.0
    path.write_text(json.dumps(facts))
    with pytest.raises(RunFolderError, match="fold 1 was scored with"):
        searched(tmp_path)


def test_a_file_of_no_known_state_is_damaged(tmp_path):
    searched(tmp_path)
    path = next(tmp_path.glob("search/fold-01/*.json"))
    path.write_text(path.read_text().replace('"finished"', '"perhaps"'))
    with pytest.raises(RunFolderError, match="state is 'perhaps'"):
        searched(tmp_path)


class _Unlucky(Fussy):
    """Some fits fail, as on a device without memory; one ends the process."""

    n, failing, last = 0, (), None

    def fit(self, X, y):
        _Unlucky.n += 1
        if _Unlucky.n == _Unlucky.last:
            raise KeyboardInterrupt
        if _Unlucky.n in _Unlucky.failing:
            raise RuntimeError("out of memory")
        return super().fit(X, y)


def _optuna(folder, n_trials=12):
    pytest.importorskip("optuna")
    return searched(folder, _Unlucky(), {"C": Range(1e-4, 10.0, log=True)}, engine=OptunaSearch(n_trials))


def test_a_fit_that_failed_by_chance_stays_failed_where_optuna_built_on_it(tmp_path, monkeypatch):
    monkeypatch.setattr("biot_bd.evaluation.searching.optuna_engine._storage", lambda *of_a_fold: None)  # is slow
    monkeypatch.setattr(_Unlucky, "n", 0)
    monkeypatch.setattr(_Unlucky, "failing", (5,))
    monkeypatch.setattr(_Unlucky, "last", 46)
    with pytest.raises(KeyboardInterrupt):
        _optuna(tmp_path / "run")
    before = {path: path.read_bytes() for path in tmp_path.glob("run/search/fold-*/*.json")}
    _optuna(tmp_path / "run")
    assert all(path.read_bytes() == content for path, content in before.items())
    monkeypatch.setattr(_Unlucky, "n", 0)
    monkeypatch.setattr(_Unlucky, "last", None)
    _optuna(tmp_path / "undisturbed")
    tables = [without_times(SearchRecord.open(tmp_path / name)) for name in ("run", "undisturbed")]
    assert tables[0][0].equals(tables[1][0])
    assert tables[0][1].equals(tables[1][1])
    assert tables[0][1]["state"].eq("failed").sum() == 1


def test_where_every_candidate_of_optuna_failed_all_are_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("biot_bd.evaluation.searching.optuna_engine._storage", lambda *of_a_fold: None)
    monkeypatch.setattr(_Unlucky, "failing", range(1000))
    with pytest.raises(SearchError, match="out of memory"):
        _optuna(tmp_path, n_trials=3)
    monkeypatch.setattr(_Unlucky, "failing", ())
    _optuna(tmp_path, n_trials=3)
    assert set(SearchRecord.open(tmp_path).table["state"]) == {"finished"}


def test_a_damaged_database_of_optuna_is_made_anew(tmp_path):
    result = _optuna(tmp_path, n_trials=2)
    (tmp_path / "search" / "optuna.db").write_bytes(b"no database " * 100)
    assert _optuna(tmp_path, n_trials=2).run["search"] == result.run["search"]
    assert (tmp_path / "search" / "optuna.db").read_bytes().startswith(b"SQLite format 3")


class _Drawn:
    """A distribution of checkpoints."""

    def __init__(self, checkpoint):
        self.checkpoint = checkpoint

    def rvs(self, size=None, random_state=None):
        return str(self.checkpoint)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Two small networks that were trained on site/00 and site/01 of the data."""
    folder, (x, y, subjects) = tmp_path_factory.mktemp("checkpoints"), _for_nets(n_subjects=2)
    net = BIOTClassifier(max_epochs=1, device="cpu", verbose=0, train_split=None, **TINY)
    for seed in (0, 1):
        save_pipeline(net.set_params(random_state=seed).fit(x, y, groups=subjects), folder / str(seed))
    return net, folder


def _for_nets(n_subjects):
    x, y, subjects = made(n_subjects=n_subjects, n=8)
    return np.tile(x, 5), y, subjects


def test_checkpoints_that_a_distribution_draws_are_looked_at(checkpoints, monkeypatch):
    net, folder = checkpoints
    monkeypatch.setattr(BIOTClassifier, "fit", _never)
    with pytest.raises(ContaminationError, match="site/00, site/01"):
        searched(estimator=net, grid={"pretrained": _Drawn(folder / "0")}, engine=RandomSearch(1))


@pytest.mark.filterwarnings("ignore")
def test_a_choice_names_who_was_seen_and_knows_a_checkpoint_by_its_content(checkpoints, tmp_path):
    net, folder = checkpoints
    x, y, subjects = data = _for_nets(n_subjects=4)
    shutil.copytree(folder / "0", tmp_path / "net")
    options = {"y": y, "groups": subjects, "inner_cv": "subject-kfold-2", "progress": False}
    grid = {"pretrained": [str(tmp_path / "net")]}
    notes = choose(net, grid, x, tmp_path / "choice", **options).record.facts["notes"]
    assert any("compared on subjects whom a checkpoint saw" in note and "site/00, site/01" in note for note in notes)
    clean = {"cv": _Halves(), "inner_cv": "subject-loo", "data": data}  # site/00 and site/01 are inside only
    assert any("compared on subjects whom" in note for note in searched(estimator=net, grid=grid, **clean).notes)
    shutil.rmtree(tmp_path / "net")
    shutil.copytree(folder / "1", tmp_path / "net")
    with pytest.raises(RunFolderError, match="checkpoints: was"):
        choose(net, grid, x, tmp_path / "choice", **options)


class _Halves:
    def split(self, X, y=None, groups=None):
        yield (groups < "site/02").nonzero()[0], (groups >= "site/02").nonzero()[0]
