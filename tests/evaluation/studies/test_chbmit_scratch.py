"""``experiments/chbmit_scratch.py`` end to end on the real excerpts, with a small BIOT."""

import importlib.util
from pathlib import Path

import pytest
import torch

from biot_bd.evaluation import Result

SCRIPT = Path(__file__).parents[3] / "experiments" / "chbmit_scratch.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("chbmit_scratch", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_trains_and_scores_on_the_excerpts_and_says_that_it_is_no_result(script, shared, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    root = shared / "data" / "chbmit-excerpts"
    args = ["--dataset", "chb-mit", "--root", str(root), "--out", str(tmp_path), "--small", "--epochs", "1"]
    try:
        assert script.main(args) == 0
    finally:
        torch.set_num_threads(before)
    text = capsys.readouterr().out
    counts = {
        line.split("│")[1].strip(): line.split("│")[2:4] for line in text.splitlines() if line.startswith("│ chb-mit/")
    }
    assert set(counts) == {"chb-mit/01", "chb-mit/02", "chb-mit/03"}
    for part in (
        "fixed epochs, no early stopping",
        "NOT A RESULT",
        "not a result: only 3 subjects",
        "small BIOT",
        "report.html",
    ):
        assert part in text
    result = Result.open(tmp_path / "run")
    assert result.run["title"].startswith("small BIOT")
    assert [fold["valid"] for fold in result.run["splits"]] == [[], [], []]
    assert (tmp_path / "run" / "report.html").is_file()
    for fold in range(3):
        assert list((tmp_path / "run" / "tensorboard" / f"fold-{fold:02d}").rglob("events*"))


def test_a_root_is_needed_but_for_generated_recordings(script, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        script.parse(["--dataset", "chb-mit", "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert "--root" in capsys.readouterr().err
    assert script.parse(["--dataset", "demo", "--out", str(tmp_path)]).root == tmp_path / "recordings"


def test_errors_are_one_line(script, tmp_path, capsys):
    assert script.main(["--root", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 1
    stderr = capsys.readouterr().err.strip()
    assert stderr.splitlines()[-1].startswith("chbmit_scratch: ")
    assert "nowhere" in stderr
