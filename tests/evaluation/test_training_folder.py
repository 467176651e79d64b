"""A training that is killed at any moment goes on by the same call; the model appears whole or not at all."""

import json
import multiprocessing
import os
import signal
import sys

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biot_bd import BIOTClassifier, load_pipeline
from biot_bd.evaluation import fit_all
from biot_bd.events import load_event_detector
from biot_bd.exceptions import RunFolderError

pytestmark = pytest.mark.usefixtures("one_thread")
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")
"""What the system tells before a name on disk changes."""
PARTS = {"config.json", "model.safetensors", "pipeline.json", "tensorboard", "metrics.json"}
SUBJECTS = np.repeat(["site/01", "site/02", "site/03", "site/04"], 8)
Y = np.tile(np.arange(8) % 2, 4)
X = np.random.default_rng(0).normal(0, 20, (32, 2, 400)).astype("float32")


def train(folder, seed=0):
    small = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1}
    net = BIOTClassifier(max_epochs=2, device="cpu", verbose=0, **small)
    return fit_all(net, X, folder, y=Y, groups=SUBJECTS, hold_out=["site/04"], random_state=seed)


def _train_and_die(folder, step):
    left = [step]

    def hook(event, arguments):
        # Threads of TensorBoard change nothing that matters, and at other moments every time.
        if event in CHANGES and str(folder) in " ".join(map(str, arguments)):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    train(folder)
    os._exit(step - left[0])


def killed_at(step, folder):
    """Train in a process that is killed before its ``step``-th change of a name; return its exit code."""
    process = multiprocessing.get_context("fork").Process(target=_train_and_die, args=(folder, step))
    process.start()
    process.join(120)
    return process.exitcode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "model"
    record = train(folder)
    return record, load_pipeline(folder).predict_proba(X), {path.name for path in folder.iterdir()}


def check(folder, undisturbed):
    """Check a folder between the kill and the next call, call again, and check what that made."""
    record, proba, names = undisturbed
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if "pipeline.json" in there:  # it says that all is there
        assert names <= there
    again = train(folder)
    assert {path.name for path in folder.iterdir()} == names
    np.testing.assert_array_equal(load_pipeline(folder).predict_proba(X), proba)
    for facts in (again, record):
        facts["precision"].pop("seconds_a_window", None)  # measured anew, or not again
    assert again == record
    assert json.loads((folder / "metrics.json").read_text())["pooled"] == record["scores"]["pooled"]


def test_a_training_leaves_what_belongs_to_the_model(undisturbed):
    assert undisturbed[2] == PARTS


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(step=st.integers(1, 40))
def test_killed_anywhere_it_goes_on(undisturbed, tmp_path_factory, step):
    folder = tmp_path_factory.mktemp("killed") / "model"
    killed_at(step, folder)
    check(folder, undisturbed)


@pytest.mark.slow
def test_killed_at_every_change_of_a_name_it_goes_on(undisturbed, tmp_path):
    step, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        step += 1
        code = killed_at(step, tmp_path / str(step) / "model")
        if code == -signal.SIGKILL:
            check(tmp_path / str(step) / "model", undisturbed)
    assert code == step - 1 >= 20


def test_a_killed_training_goes_on_with_the_epoch_where_it_stopped(tmp_path, monkeypatch):
    from biot_bd.training.resume import RestartPoint

    folder, save = tmp_path / "model", RestartPoint.save
    epochs = []

    def saved(point, net):
        epochs.append(len(net.history))
        save(point, net)
        if len(epochs) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(RestartPoint, "save", saved)
    with pytest.raises(KeyboardInterrupt):
        train(folder)
    assert [path.name for path in folder.iterdir()] == [".training"]
    train(folder)
    assert epochs == [1, 2]


def test_of_two_processes_one_trains_and_the_other_is_told(tmp_path):
    folder = tmp_path / "model"
    (folder / ".training").mkdir(parents=True)
    with FileLock(folder / ".training" / ".lock"), pytest.raises(RunFolderError, match="trained into by another"):
        train(folder)


def test_a_training_that_fails_at_once_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="lr"):
        fit_all(BIOTClassifier(lr="fast", device="cpu", max_epochs=1), X, tmp_path / "model", y=Y, groups=SUBJECTS)
    assert not (tmp_path / "model").exists()


def test_the_finished_model_of_another_training_is_not_replaced_where_only_tidying_up_was_stopped(tmp_path):
    folder = tmp_path / "model"
    record = train(folder)
    for seed in (0, 1):
        (folder / ".training").mkdir()
        (folder / ".training" / "study.json").write_text(json.dumps({"study": record["study"]}))
        if seed == 0:
            assert train(folder, seed) == record
        else:
            with pytest.raises(FileExistsError, match="holds a model already"):
                train(folder, seed)
        assert {path.name for path in folder.iterdir()} == PARTS


def test_an_earlier_model_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "model"
    train(folder)
    (folder / "events.json").write_text("of an earlier model")
    (folder / "notes.txt").write_text("mine")
    train(folder, seed=1)
    assert {path.name for path in folder.iterdir()} == {*PARTS, "notes.txt"}
    with pytest.raises(FileNotFoundError):
        load_event_detector(folder)
