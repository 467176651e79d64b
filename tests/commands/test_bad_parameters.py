"""What ``biot-bd cv`` and ``biot-bd train`` refuse at the door, before anything is written."""

import json

import pytest
import torch
from made_cases import windows_of

from biot_bd.cli import main
from biot_bd.evaluation import PROTOCOLS, Result

TINY = ["--param", "module__embed_dim=16", "--param", "module__num_heads=2", "--param", "module__num_layers=1"]
QUICK = [*TINY, "--epochs", "1", "--batch-size", "32", "--param", "device=cpu", "--cv", "subject-kfold-2"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return windows_of(tmp_path_factory.mktemp("store") / "w", PROTOCOLS["biot-code"]).folder


BAD = [
    ("module__embed_dim=abc", "module__embed_dim='abc'"),
    ("module__num_layers=1.5", "module__num_layers=1.5"),
    ("module__activation=relu", "activation"),
    ("optimizer=SDG", "did you mean 'SGD'"),
    ("optimizer=3", "optimizer must be a class of torch.optim or its name, found 3"),
    ("optimizer__foo=1", "optimizer__foo: AdamW takes optimizer__lr"),
    ("optimizer__betas=abc", "optimizer__betas='abc'"),
    ("criterion__foo=1", "criterion__foo: "),
    ("criterion__alpha=3", "alpha"),
    ("lr=abc", "lr must be a number of at least 0, found 'abc'"),
    ("max_epochs=abc", "max_epochs must be a whole number of epochs, found 'abc'"),
    ("batch_size=0", "batch_size must be a positive whole number"),
    ("patience=2.5", "patience must be a positive number of epochs or None, found 2.5"),
    ("callbacks=nosuch", 'callbacks must be a callback, or a list of callbacks and names, e.g. ["accuracy"]'),
    ('callbacks=["nosuch"]', "nosuch"),
    ("device=nosuch", "device='nosuch' cannot be used here"),
]


@pytest.mark.parametrize(("param", "message"), BAD)
@pytest.mark.parametrize("command", ["cv", "train"])
def test_a_bad_parameter_is_refused_in_one_line_and_nothing_is_written(
    store, tmp_path, capsys, command, param, message
):
    assert main([command, str(store), "-o", str(tmp_path / "out"), "--param", param]) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert "this is a bug" not in line
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(store, tmp_path, capsys):
    assert main(["cv", str(store), "-o", str(tmp_path / "r"), "--param", "device=cuda"]) == 1
    error = capsys.readouterr().err
    assert "device='cuda' cannot be used here (no CUDA GPU" in error
    assert "this is a bug" not in error


@pytest.mark.slow
def test_a_corrected_parameter_and_an_optimizer_by_name_train_in_the_same_folder(store, tmp_path):
    out = ["cv", str(store), "-o", str(tmp_path / "r"), *QUICK]
    assert main([*out, "--param", "criterion__alpha=3"]) == 1
    assert main([*out, "--param", "criterion__alpha=0.3", "--param", "optimizer=SGD"]) == 0
    assert "SGD" in str(Result.open(tmp_path / "r").run["identity"])


@pytest.mark.slow
def test_json_is_alone_on_stdout_whatever_verbose(store, tmp_path, capsys):
    assert main(["cv", str(store), "-o", str(tmp_path / "r"), *QUICK, "--json", "--param", "verbose=1"]) == 0
    found = capsys.readouterr()
    assert "folder" in json.loads(found.out)
    assert "valid_loss" in found.err


@pytest.mark.parametrize("command", ["cv", "train"])
@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_as_output_is_refused(store, tmp_path, capsys, command, place):
    (tmp_path / "file").write_text("mine")
    assert main([command, str(store), "-o", str(tmp_path / place)]) == 1
    assert "expected a folder, but" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_no_jobs_are_refused(store, tmp_path, capsys):
    assert main(["cv", str(store), "-o", str(tmp_path / "r"), "--jobs", "0"]) == 1
    assert "--jobs 0: expected" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_train_leaves_a_folder_of_something_else_alone(store, capsys):
    before = sorted(path.name for path in store.iterdir())
    assert main(["train", str(store), "-o", str(store), *QUICK[:-2]]) == 1
    assert "is no model's folder and not empty" in capsys.readouterr().err
    assert sorted(path.name for path in store.iterdir()) == before


def test_a_sampler_is_not_the_protocol(store, tmp_path, capsys):
    for option in (["--sampler", "class-balanced"], ["--augment", "light"]):
        assert main(["cv", str(store), "-o", str(tmp_path / "r"), "--protocol", "biot-code", *option]) == 1
        assert f"fixes {option[0].removeprefix('--')} at None" in capsys.readouterr().err
