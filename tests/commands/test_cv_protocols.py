"""``biot-bd cv --protocol`` and ``--model`` with a baseline's word."""

import json

import pytest
from made_cases import windows_of

from biot_bd.cli import main
from biot_bd.evaluation import PROTOCOLS, Result, run_protocol

TINY = ["--param", "module__embed_dim=16", "--param", "module__num_heads=2", "--param", "module__num_layers=1"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return windows_of(tmp_path_factory.mktemp("store") / "w", PROTOCOLS["biot-code"]).folder


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cv") / "run"
    args = ["cv", str(store), "-o", str(folder), "--protocol", "biot-paper", "--model", "line-length"]
    assert main(args) == 0
    return folder


def test_the_command_does_what_run_protocol_does(run, store):
    found = Result.open(run)
    expected = run_protocol(
        "biot-paper", windows_of(store, PROTOCOLS["biot-code"]), model="line-length", progress=False
    )
    assert found.metrics == expected.metrics
    assert found.run["identity"] == expected.run["identity"]
    assert found.run["title"].startswith("line-length on w, protocol biot-paper")


def test_json_has_the_protocols_own_numbers(run, store, capsys):
    args = ["cv", str(store), "-o", str(run), "--protocol", "biot-paper", "--model", "line-length", "--json"]
    assert main(args) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["protocol"]["name"] == "biot-paper"
    assert facts["protocol"]["scores"]["roc_auc"]["n"] == 2
    assert any(note.startswith("protocol: biot-paper") for note in facts["notes"])


def test_stored_splits_and_a_baseline_print_custom(run, store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    args = ["cv", str(store), "-o", str(tmp_path / "r"), "--model", "always-off", "--splits-from", str(run)]
    assert main(args) == 0
    text = capsys.readouterr().out
    assert "protocol: custom" in text
    assert "degenerate" in text
    assert Result.open(tmp_path / "r").run["splits"] == Result.open(run).run["splits"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--protocol", "biot"], "biot-paper, biot-code, cbramod, ours"),
        (["--protocol", "ours"], "labels is 'biot-official', not 'overlap'"),
        (["--protocol", "biot-code", "--lr", "1"], "fixes lr at 0.001"),
        (["--protocol", "biot-code", "--threshold", "0.3", "--model", "line-length"], "fixes threshold"),
        (["--model", "line-length", "--epochs", "3"], "takes no 'max_epochs'"),
        (["--model", "nonsense"], "biot"),
    ],
)
def test_contradictions_are_one_line(store, tmp_path, capsys, args, message):
    assert main(["cv", str(store), "-o", str(tmp_path / "r"), *args]) == 1
    stderr = capsys.readouterr().err.strip()
    assert message in stderr
    assert stderr.splitlines()[-1].startswith("biot-bd cv: ")
    assert not (tmp_path / "r").exists()


def test_a_protocol_reaches_the_classifier(store, tmp_path, capsys):
    args = ["cv", str(store), "-o", str(tmp_path / "r"), "--protocol", "biot-code", *TINY, "--param", "device=cpu"]
    assert main(args) == 1  # the published batch of 512 without a last incomplete one: 160 windows are too few
    assert "fewer than batch_size=512" in capsys.readouterr().err
