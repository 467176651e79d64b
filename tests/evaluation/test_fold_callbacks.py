"""Folds share no file of a callback, and the number of jobs changes no digit."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from braindecode import EEGClassifier
from braindecode.models import ShallowFBCSPNet
from sklearn.model_selection import GridSearchCV, GroupKFold
from skorch.callbacks import Callback, Checkpoint, EpochScoring, LRScheduler, TensorBoard
from torch.utils.tensorboard import SummaryWriter

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from training_data import make_data, small

from biot_bd.evaluation import cross_validate
from biot_bd.evaluation.fold_callbacks import check_callbacks


class Spy(Callback):
    """Write the subjects, the threads and the weights that a fit ended with."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_end(self, net, **kwargs):
        lines = [
            str(net.train_subjects_),
            str(torch.get_num_threads()),
            str(float(next(net.module_.parameters()).detach().sum())),
        ]
        Path(self.folder, "seen.txt").write_text("\n".join(lines))


class Hides(Callback):
    def on_train_end(self, net, **kwargs):
        with open("x.txt", "w") as file:
            file.write("x")


def run(net, data, **options):
    x, y, groups = data
    return cross_validate(net, x, y=y, groups=groups, **{"progress": False, "cv": "subject-kfold-2", **options})


@pytest.fixture(scope="module")
def few():
    return make_data(n_subjects=6, per_subject=5)


def same(one, two):
    pd.testing.assert_frame_equal(one.predictions, two.predictions, check_exact=True)
    assert one.metrics["folds"] == two.metrics["folds"]


def test_each_fold_has_its_files_and_takes_its_own_best_weights(few, tmp_path):
    callbacks = [
        ("best", Checkpoint(dirname=str(tmp_path / "cp"), load_best=True)),
        ("spy", Spy(tmp_path / "spy")),
    ]
    result = run(small(max_epochs=2, callbacks=callbacks), few)
    again = run(small(max_epochs=2, callbacks=callbacks), few)  # nothing is taken from the files of before
    same(result, again)
    folds = ["fold-00", "fold-01"]
    for part in ("cp", "spy"):
        assert sorted(path.name for path in (tmp_path / part).iterdir()) == folds
    for fold in result.run["splits"]:
        text = (tmp_path / "spy" / f"fold-{fold['fold']:02d}" / "seen.txt").read_text().splitlines()
        assert text[0] == str(tuple(fold["train"]))
        kept = torch.load(tmp_path / "cp" / f"fold-{fold['fold']:02d}" / "params.pt", weights_only=True)
        assert float(text[2]) == float(next(iter(kept.values())).sum())
    assert not list(tmp_path.rglob("fold-*/fold-*"))


def test_fits_of_a_search_in_a_fold_have_folders_inside_that_of_the_fold(few, tmp_path):
    net = small(max_epochs=1, train_split=None, callbacks=[("cp", Checkpoint(dirname=str(tmp_path), monitor=None))])
    run(GridSearchCV(net, {"lr": [1e-2]}, cv=GroupKFold(2), error_score="raise"), few, cv="subject-kfold-2")
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("params.pt"))
    assert found == [f"fold-{fold:02d}/fit-{fit:04d}/params.pt" for fold in range(2) for fit in (1, 2, 3)]


def plain_net(*callbacks):
    return EEGClassifier(ShallowFBCSPNet, callbacks=list(callbacks))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (small(callbacks=[Hides()]), "callback Hides writes files.*n_jobs=1"),
        (small(callbacks=[("own", Hides())]), "callback Hides writes files.*n_jobs=1"),
        (plain_net(Checkpoint()), "callback Checkpoint of EEGClassifier names a path.*n_jobs=1"),
    ],
)
def test_what_folds_would_share_is_refused_where_they_run_at_once(few, net, message):
    with pytest.raises(ValueError, match=message):
        run(net, few, n_jobs=2)
    check_callbacks(small(callbacks=[Spy("x"), Checkpoint()]))


def test_an_open_writer_is_refused_before_the_first_fold(few, tmp_path):
    with pytest.raises(TypeError, match="callback TensorBoard holds something open"):
        run(small(callbacks=[TensorBoard(SummaryWriter(str(tmp_path / "log")))]), few, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- jobs -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_jobs_give_the_digits_of_one(few, tmp_path):
    from skorch.callbacks import GradientNormClipping

    scheduler = LRScheduler("StepLR", step_size=1)
    nets = {
        sampler: small(max_epochs=2, sampler=sampler)
        for sampler in ("class-balanced", "subject-balanced", "class-subject-balanced", "background-subsample")
    }
    nets |= {augment: small(max_epochs=2, augment=augment) for augment in ("light", "strong")}
    nets["recipe"] = small(max_epochs=2, finetune="gradual", schedule="cosine", random_state=None)
    for name, net in nets.items():
        spied = [("cp", Checkpoint(dirname=str(tmp_path / name), load_best=True)), ("spy", Spy(tmp_path / name))]
        others = [EpochScoring("roc_auc", name="auc", lower_is_better=False), GradientNormClipping(1.0)]
        net.set_params(callbacks=[*spied, *others, *([] if name == "recipe" else [("rate", scheduler)])])
        same(run(net, few), run(net, few, n_jobs=2))


@pytest.mark.slow
def test_a_search_in_workers_computes_with_the_threads_of_its_origin(few, tmp_path):
    x, y, groups = few
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # unlike what joblib gives a worker
    try:
        scores = []
        for n_jobs in (1, 2):
            folder = tmp_path / str(n_jobs)
            net = small(max_epochs=2, callbacks=[Spy(folder), ("cp", Checkpoint(dirname=str(folder), load_best=True))])
            search = GridSearchCV(net, {"lr": [1e-2, 1e-3]}, cv=GroupKFold(2), scoring="roc_auc", n_jobs=n_jobs)
            with sklearn.config_context(enable_metadata_routing=True):
                search.fit(x, y, groups=groups)
            scores.append([search.cv_results_[f"split{k}_test_score"] for k in range(2)])
            seen = [path.read_text().splitlines() for path in sorted(folder.rglob("seen.txt"))]
            assert len(seen) == 5
            assert {lines[1] for lines in seen} == {"3"}
        np.testing.assert_array_equal(scores[0], scores[1])
    finally:
        torch.set_num_threads(before)
