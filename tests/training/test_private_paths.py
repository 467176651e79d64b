"""Every fit of a clone has files of its own; a classifier that is no clone writes where it was told to."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from skorch.callbacks import Callback, Checkpoint, EpochScoring, LoadInitState, TensorBoard, TrainEndCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from training_data import small

from biot_bd.training import TensorBoardLogger, log_test_metrics
from biot_bd.training.private_paths import FitPlace, hides_paths, names_paths, private_callbacks


class Writes(Callback):
    """Names paths of all kinds, and what was derived from them."""

    def __init__(self, folder, table="scores.csv", extra=None, template_file=None, monitor="valid/loss"):
        self.folder, self.table, self.extra = folder, table, extra
        self.template_file, self.monitor = template_file, monitor
        self.derived = Path(folder) / "rows.csv"


class Reads(Writes):
    reads_paths = ("template_file",)


class Hides(Callback):
    def on_train_end(self, net, **kwargs):
        with open("/somewhere/x.txt", "w") as file:
            file.write("x")


class Quiet(Callback):
    def on_train_end(self, net, **kwargs):
        net.history.record("quiet", 1)


def one(callback, place):
    callback.initialize()
    return private_callbacks([("cb", callback)], place)[0][1]


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


# --- places ---------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    folders=st.lists(st.sampled_from(["a", "b", "a/c", "."]), min_size=1, max_size=6),
    clones=st.integers(1, 4),
    parts=st.sampled_from([(), ("fold-03",)]),
)
def test_no_two_clones_share_a_folder(tmp_path_factory, folders, clones, parts):
    root = tmp_path_factory.mktemp("places")
    places = [FitPlace(parts).for_clone() for _ in range(clones)]
    for folder in set(folders):
        found = [place.of(root / folder) for place in places]
        assert len(set(found)) == clones
        assert found == [place.of(str(root / folder)) for place in places]  # a second fit of the same one goes on there
        assert all(path.is_dir() and path.is_relative_to(root / folder / Path(*parts)) for path in found)


def test_claims_of_many_threads_are_unique(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: FitPlace(claims=True).of(tmp_path), range(60)))
    assert len(set(found)) == 60 == len(list(tmp_path.iterdir()))


def test_the_folder_of_a_fold_stands_for_itself(tmp_path):
    place = FitPlace(["fold-01"])
    assert place.of(tmp_path / "fold-01") == tmp_path / "fold-01"
    assert place.of(tmp_path) == tmp_path / "fold-01"


# --- callbacks ------------------------------------------------------------------------------------


def test_all_paths_of_a_callback_move_and_nothing_else(tmp_path):
    (tmp_path / "template.json").write_text("{}")
    extra = {"log": [tmp_path / "a.log", 3]}
    given = Writes(str(tmp_path), str(tmp_path / "scores.csv"), extra, str(tmp_path / "template.json"))
    made = one(given, FitPlace(["fold-00"]))
    inside = tmp_path / "fold-00"
    assert made.folder == str(inside)
    assert made.table == str(inside / "scores.csv")
    assert made.extra == {"log": [inside / "a.log", 3]}
    assert made.derived == inside / "rows.csv"
    assert made.template_file == str(inside / "template.json")
    assert made.monitor == "valid/loss"
    assert given.folder == str(tmp_path)
    assert given.extra == extra
    read = one(Reads(str(tmp_path), template_file=str(tmp_path / "template.json")), FitPlace(["fold-00"]))
    assert read.template_file == str(tmp_path / "template.json")
    assert read.folder == str(inside)


def test_a_callback_without_paths_stays_the_same_object():
    scoring = EpochScoring("roc_auc", name="valid/auc").initialize()
    assert private_callbacks([("s", scoring)], FitPlace(["x"])) == [("s", scoring)]


def test_a_file_in_memory_stays_and_the_files_beside_it_move(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    memory = io.BytesIO()
    made = one(Checkpoint(f_params=memory, fn_prefix="a_"), FitPlace(["x"]))
    assert made.f_params is memory
    assert made.f_history_ == "x/a_history.json"


@pytest.mark.parametrize("kind", [Checkpoint, TrainEndCheckpoint])
def test_checkpoints_move_also_from_the_working_folder(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    made = one(kind(f_pickle=str(tmp_path / "far" / "net.pkl")), FitPlace(["fold-00"]))
    assert made.dirname == "fold-00"
    assert made.f_params == "params.pt"
    assert made.f_pickle == str(tmp_path / "far" / "fold-00" / "net.pkl")
    if kind is TrainEndCheckpoint:
        assert made.checkpoint_.dirname == "fold-00"


def test_a_load_of_what_the_net_writes_is_left_out_and_of_other_files_stays(tmp_path):
    writes, same = Checkpoint(dirname=str(tmp_path)), Checkpoint(dirname=str(tmp_path))  # a clone copies it twice
    other = LoadInitState(TrainEndCheckpoint(dirname=str(tmp_path / "other")))
    made = private_callbacks(
        [("a", LoadInitState(same)), ("b", other), ("c", writes.initialize())], FitPlace(["fold-00"])
    )
    assert [name for name, _ in made] == ["b", "c"]
    assert made[0][1].checkpoint.dirname == str(tmp_path / "other")


def test_who_writes_where_nobody_sees_is_known(tmp_path):
    assert hides_paths(Hides())
    assert not hides_paths(Quiet())
    assert not hides_paths(Writes(str(tmp_path)))
    assert not hides_paths(Checkpoint())
    assert not hides_paths(EpochScoring("roc_auc"))
    assert names_paths(Checkpoint())
    assert not names_paths(Quiet())


# --- classifiers ----------------------------------------------------------------------------------


def search(net, data, **options):
    x, y, groups = data
    with sklearn.config_context(enable_metadata_routing=True):
        found = GridSearchCV(net, cv=GroupKFold(2), scoring="roc_auc", error_score="raise", **options)
        return found.fit(x, y, groups=groups)


def test_fits_of_a_search_share_no_file_and_tensorboard_shows_each(data, tmp_path):
    net = small(
        max_epochs=2,
        callbacks=[
            ("best", Checkpoint(dirname=str(tmp_path / "cp"), load_best=True)),
            ("curves", TensorBoardLogger(str(tmp_path / "log"), attention=False)),
        ],
    )
    found = search(net, data, param_grid={"lr": [1e-2, 1e-3]})
    fits = [f"fit-{number:04d}" for number in range(1, 6)]  # two rates, two splits, and the refit
    assert sorted(path.name for path in (tmp_path / "cp").iterdir()) == fits
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == fits
    rates = []
    for fit in fits:
        curves = EventAccumulator(str(tmp_path / "log" / fit), size_guidance={"scalars": 0}).Reload()
        assert [point.step for point in curves.Scalars("loss/train")] == [1, 2]
        rates.append(round(curves.Scalars("learning_rate")[0].value, 6))
    assert rates[:4] == [1e-2, 1e-2, 1e-3, 1e-3]
    last = torch.load(tmp_path / "cp" / "fit-0005" / "params.pt", weights_only=True)
    for name, weight in found.best_estimator_.module_.state_dict().items():
        assert torch.equal(weight, last[name])


def test_curves_of_a_clone_and_its_test_scores_lie_together(data, tmp_path):
    x, y, groups = data
    net = clone(small(max_epochs=1, log_dir=str(tmp_path), callbacks=[("own", TensorBoardLogger(attention=False))]))
    net.fit(x, y, groups=groups)
    assert dict(net.callbacks_)["own"].log_dir == str(tmp_path / "fit-0001")
    log_test_metrics(net, {"roc_auc": 0.5})
    assert {path.split("/")[0] for path in files(tmp_path)} == {"fit-0001"}
    assert net.log_dir == str(tmp_path)


def test_a_net_that_is_no_clone_writes_where_it_was_told_to_and_goes_on_there(data, tmp_path):
    x, y, groups = data
    best = Checkpoint(dirname=str(tmp_path), monitor=None)
    net = small(max_epochs=1, callbacks=[("best", best), ("go_on", LoadInitState(best))])
    net.fit(x, y, groups=groups)
    first = torch.load(tmp_path / "params.pt", weights_only=True)
    net.fit(x, y, groups=groups)
    assert len(net.history) == 2  # skorch's way to go on
    assert any(not torch.equal(first[k], v) for k, v in torch.load(tmp_path / "params.pt", weights_only=True).items())
    assert not [path for path in files(tmp_path) if "/" in path]
    copied = clone(net).fit(x, y, groups=groups)
    assert len(copied.history) == 1
    assert (tmp_path / "fit-0001" / "params.pt").is_file()
    copied.fit(x, y, groups=groups)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["fit-0001"]


def test_an_open_writer_is_refused_before_any_fit(data, tmp_path):
    net = small(callbacks=[TensorBoard(SummaryWriter(str(tmp_path)))])
    with pytest.raises(TypeError, match=r"callback TensorBoard holds something open.*log_dir="):
        search(net, data, param_grid={"lr": [1e-2]})
    assert not hasattr(net, "module_")


def test_identical_fits_with_one_restart_folder_are_the_fit_alone(data, tmp_path):
    alone = search(small(max_epochs=2), data, param_grid={"lr": [1e-2]})
    shared = search(small(max_epochs=2, restart_dir=str(tmp_path)), data, param_grid={"lr": [1e-2]})
    np.testing.assert_array_equal(alone.cv_results_["split1_test_score"], shared.cv_results_["split1_test_score"])
    np.testing.assert_array_equal(alone.predict_proba(data[0]), shared.predict_proba(data[0]))
