from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biot_bd.cli import main


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    status = main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_report_command(real_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "report", real_run)
    assert status == 0
    assert "not a result: only 3 subjects" in out
    assert str(real_run / "report.html") in out
    status, out, _ = run(capsys, "report", real_run, "--json")
    facts = json.loads(out)
    assert status == 0
    assert facts["report"] == str(real_run / "report.html")
    assert facts["bytes"] == (real_run / "report.html").stat().st_size


def test_report_of_moved_windows(hand_made: Any, store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, _ = run(capsys, "report", hand_made.folder)
    assert status == 0
    assert "no longer at" in (hand_made.folder / "report.html").read_text()
    status, _, _ = run(capsys, "report", hand_made.folder, "--windows", store.folder)
    assert status == 0
    assert "no longer at" not in (hand_made.folder / "report.html").read_text()


def test_report_opens_the_page(
    hand_made: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    run(capsys, "report", hand_made.folder, "--open")
    assert opened == [(hand_made.folder / "report.html").resolve().as_uri()]


def test_report_of_no_run_fails_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "report", tmp_path / "nowhere")
    assert (status, out) == (1, "")
    assert "expected a run folder, found no such folder" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("probe", ["attention", "attention-qk"])
def test_explain_command(
    probe: str, real_run: Path, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(
        capsys, "explain", real_run, store.folder, "--probe", probe, "--windows", 2, "-o", tmp_path / "out", "--json"
    )
    assert status == 0, err
    facts = json.loads(out)
    assert facts["probe"] == probe
    assert facts["shape"][0] == 2
    assert facts["model"].startswith("small BIOT, ")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "explanation.html",
        "explanation.json",
        "explanation.npz",
    }


def test_explain_one_window_of_a_saved_model(
    real_run: Path, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = real_run / "folds" / "01" / "model"
    args = ["explain", model, store.folder, "--recording", "rec03", "--start-s", 20, "-o", tmp_path / "out"]
    status, out, err = run(capsys, *args)
    assert status == 0, err
    assert "rec03, 20 to 30 s (background): probability" in out
    assert "reconstruction error:" in out


def test_explain_bad_arguments(real_run: Path, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["explain", real_run, store.folder, "-o", tmp_path / "out"]
    status, _, err = run(capsys, *common, "--recording", "rec01")
    assert status == 2
    assert "--start-s" in err
    status, _, err = run(capsys, *common, "--probe", "crystal-ball")
    assert status == 1
    assert "attention-qk" in err
    status, _, err = run(capsys, "explain", tmp_path, store.folder, "-o", tmp_path / "out")
    assert status == 1
    assert "expected a saved model or a run folder, found" in err
    assert not (tmp_path / "out").exists()


def test_demo_refuses_foreign_folders_and_other_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    status, _, err = run(capsys, "demo", tmp_path)
    assert status == 1
    assert "is not empty and holds no demo" in err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    other = tmp_path / "demo"
    other.mkdir()
    (other / "demo.json").write_text(json.dumps({"seed": 1, "full": False, "epochs": 3}))
    status, _, err = run(capsys, "demo", other, "--seed", 2)
    assert status == 1
    assert "other settings" in err


@pytest.mark.slow
def test_demo_ends_with_scores_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    args = ["demo", folder, "--seed", 3, "--epochs", 1, "--jobs", 1]
    status, out, err = run(capsys, *args)
    assert status == 0, err
    for text in (
        "demo/01",
        "small BIOT",
        "generated data: not a clinical result",
        "times the prevalence",
        "tensorboard",
    ):
        assert text in out, text
    report = (folder / "run" / "report.html").read_text()
    assert "Generated data: not a clinical result" in report
    assert "small BIOT" in report
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("fold.json")}
    assert len(before) == 6
    status, out, err = run(capsys, *args, "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert facts["generated"] is True
    assert facts["ratio"] == pytest.approx(facts["pooled_average_precision"] / facts["prevalence"])
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("fold.json")}
