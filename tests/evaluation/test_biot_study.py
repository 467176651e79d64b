"""Cross-validation of ``BIOTClassifier``: subjects, seeds, files, and a kill in the middle of a fold."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, PercentileScaler, cross_validate, load_pipeline
from biot_bd.evaluation.final_model import fit_all
from biot_bd.evaluation.fold import configure
from biot_bd.evaluation.model_selection.folds import fold_seed, make_folds

TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cohort(n_subjects=4, n_windows=16, seed=0):
    rng = np.random.default_rng(seed)
    subjects = np.repeat([f"p{i}" for i in range(n_subjects)], n_windows)
    y = np.tile(np.r_[np.ones(4, int), np.zeros(n_windows - 4, int)], n_subjects)
    t = np.arange(400) / 200
    X = rng.standard_normal((len(y), 2, 400)) + 3 * y[:, None, None] * np.sin(2 * np.pi * 4 * t)
    return X.astype("float32"), y, subjects


def pipeline(**params):
    settings = {"max_epochs": 4, "batch_size": 16, "patience": 3, "lr": 3e-3, **TINY, **params}
    return make_pipeline(PercentileScaler(), BIOTClassifier("biot", **settings))


def run(pipe=None, data=None, **options):
    X, y, subjects = data or cohort()
    return cross_validate(pipe or pipeline(), X, y=y, groups=subjects, progress=False, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "run"
    torch.set_num_threads(1)
    return run(folder=folder)


def test_configure_hands_on_subjects_seed_and_folders(tmp_path):
    _, y, subjects = cohort()
    fold = make_folds("subject-loo", y, subjects, random_state=3)[1]
    net = configure(pipeline(), fold, tmp_path)[-1]
    assert net.random_state == fold.seed == fold_seed(3, 1)
    assert tuple(net.train_split.valid_subjects) == fold.valid
    assert net.log_dir == str(tmp_path / "tensorboard" / "fold-01")
    assert net.restart_dir == str(tmp_path / "folds" / "01" / "restart")
    net = configure(pipeline(), fold, None)[-1]
    assert net.log_dir is None
    assert net.restart_dir is None


def test_too_few_subjects_train_without_validation():
    result = run(data=cohort(3))
    assert (result.predictions["part"] == "test").all()
    assert (result.predictions["threshold"] == 0.5).all()
    assert any("fixed epochs, no early stopping" in note for note in result.notes)


def test_files_of_a_fold(finished):
    folder = finished.folder
    for fold in finished.run["splits"]:
        place = folder / "folds" / f"{fold['fold']:02d}"
        facts = json.loads((place / "fold.json").read_text())
        history = json.loads((place / "history.json").read_text())
        assert facts["n_epochs"] == len(history) >= 1
        assert {"train_loss", "valid_loss"} <= set(history[0])
        assert facts["model"] == "model"
        assert list((folder / "tensorboard" / f"fold-{fold['fold']:02d}").rglob("events*"))
        assert not (place / "restart").exists()


def test_the_saved_model_gives_the_stored_probabilities(finished):
    X, _, subjects = cohort()
    loaded = load_pipeline(finished.folder / "folds" / "02" / "model")
    test = finished.predictions.query("fold == 2 and part == 'test'")
    np.testing.assert_allclose(loaded.predict_proba(X[subjects == "p2"])[:, 1], test["proba"], atol=1e-6)
    called = test["proba"] >= test["threshold"]
    np.testing.assert_array_equal(loaded.predict(X[subjects == "p2"]), called.astype(int))


def test_the_test_scores_are_logged_once(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished.folder / "tensorboard" / "fold-00"))
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if "test" in tag.lower() and "average_precision" in tag]
    assert tags
    values = events.Scalars(tags[0])
    assert len(values) == 1
    expected = finished.metrics["folds"][0]["average_precision"]["value"]
    assert values[0].value == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_equal_with_two_jobs_and_without_a_folder(finished, tmp_path):
    two = run(folder=tmp_path / "two", n_jobs=2)
    pd.testing.assert_frame_equal(two.predictions, finished.predictions, check_exact=True)
    without = run()
    assert without.folder is None
    pd.testing.assert_frame_equal(without.predictions, finished.predictions, check_exact=True)
    assert without.metrics == finished.metrics


def test_equal_with_metadata_routing_on(finished):
    with sklearn.config_context(enable_metadata_routing=True):
        routed = run()
    pd.testing.assert_frame_equal(routed.predictions, finished.predictions, check_exact=True)


def test_a_fold_does_not_depend_on_the_others():
    """Seeds come from (random_state, fold) alone; only whose turn it is to validate depends on the other folds."""

    class Backwards:
        def split(self, X, y, groups):
            # The same folds, but the others are made trivially different by leaving p1 and p3 untested.
            for subject in ("p0", "p3", "p2", "p1"):
                yield np.flatnonzero(groups != subject), np.flatnonzero(groups == subject)

    finished, other = (run(cv=cv, validation_fraction=0) for cv in ("subject-loo", Backwards()))
    columns = ["window", "y_true", "proba", "threshold"]
    for fold in (0, 2):
        expected = finished.predictions.query(f"fold == {fold}")[columns].reset_index(drop=True)
        found = other.predictions.query(f"fold == {fold}")[columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_search_inside_by_subject():
    search = GridSearchCV(
        pipeline(max_epochs=2, train_split=None), {"biotclassifier__lr": [1e-3, 3e-3]}, cv=GroupKFold(2)
    )
    result = run(search, cv="subject-kfold-2", validation_fraction=0)
    assert len(result.predictions) == len(cohort()[1])


def test_fit_all_saves_a_pipeline_with_its_record(tmp_path):
    X, y, subjects = cohort()
    record = fit_all(pipeline(), X, tmp_path / "model", y=y, groups=subjects, title="tiny")
    assert sorted(record["subjects"]["train"] + record["subjects"]["valid"]) == sorted(set(subjects))
    assert len(record["subjects"]["valid"]) == 1
    loaded = load_pipeline(tmp_path / "model")
    assert loaded.predict_proba(X).shape == (len(X), 2)
    assert list((tmp_path / "model" / "tensorboard").rglob("events*"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_fit_all_refuses_what_cannot_be_saved(tmp_path):
    from sklearn.linear_model import LogisticRegression

    X, y, subjects = cohort()
    with pytest.raises(TypeError, match="BIOTClassifier"):
        fit_all(LogisticRegression(), X, tmp_path / "model", y=y, groups=subjects)


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from biot_bd.training.classifier import biot_classifier as classifier
from biot_bd.training import resume as restart
from test_biot_study import run

if sys.argv[2] == "kill":
    save, saves = restart.RestartPoint.save, []

    def save_and_die(self, net):
        save(self, net)
        saves.append(1)
        if len(saves) == 6:  # four epochs of fold 0, two of fold 1
            os.kill(os.getpid(), signal.SIGKILL)

    restart.RestartPoint.save = save_and_die
else:
    train, epochs = classifier.BIOTClassifier.on_epoch_end, []

    def count(self, *args, **kwargs):
        epochs.append(1)
        return train(self, *args, **kwargs)

    classifier.BIOTClassifier.on_epoch_end = count
run(folder=sys.argv[1])
if sys.argv[2] != "kill":
    print("epochs", len(epochs))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_killed_in_the_middle_of_a_fold_and_resumed_equals_the_uninterrupted_run(finished, tmp_path):
    folder = tmp_path / "run"
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}

    def start(how):
        command = [sys.executable, "-c", KILLED, str(folder), how]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    killed = start("kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (folder / "folds" / "00" / "fold.json").is_file()
    assert not (folder / "folds" / "01" / "fold.json").exists()
    assert list((folder / "folds" / "01" / "restart").iterdir())
    again = start("again")
    assert again.returncode == 0, again.stderr
    # Two epochs of fold 1 were kept, and all of fold 0.
    total = sum(len(json.loads(path.read_text())) for path in folder.rglob("history.json"))
    first = len(json.loads((folder / "folds" / "00" / "history.json").read_text()))
    assert int(again.stdout.split()[-1]) == total - first - 2
    found = pd.read_parquet(folder / "predictions.parquet")
    pd.testing.assert_frame_equal(found, pd.read_parquet(finished.folder / "predictions.parquet"), check_exact=True)
    assert json.loads((folder / "metrics.json").read_text()) == finished.metrics | {"version": 2}
