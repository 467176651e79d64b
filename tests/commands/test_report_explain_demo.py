from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from deploy_files import write_edf

from biot_bd import Detector
from biot_bd.cli import main


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    status = main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_report_command(cheap_pictures: list[str], real_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert (
        "expected a run folder or a pretrained model or embedded windows or a study of foundation models, found" in err
    )
    assert err.count("\n") == 1


def test_explain_command(
    cheap_pictures: list[str], real_run: Path, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "explain",
        real_run,
        store.folder,
        "--probe",
        "attention",
        "--probe",
        "attention-qk",
        "-o",
        tmp_path / "out",
    ]
    status, out, err = run(capsys, *words, "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert list(facts["probes"]) == ["attention", "attention-qk"]
    assert facts["model"].startswith("small BIOT, ")
    assert facts["window"]["label"] == 1
    assert facts["command"] == shlex.join(map(str, ["biot-bd", *words[:3], "--output", tmp_path / "out", *words[3:7]]))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"explain.html", "explain.json", "maps.npz", "pictures"}


def test_explain_the_window_around_a_moment_of_a_saved_model(
    cheap_pictures: list[str], real_run: Path, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = real_run / "folds" / "01" / "model"
    args = ["explain", model, store.folder, "--recording", "rec03", "--at-s", 24, "--probe", "attention"]
    status, out, err = run(capsys, *args, "-o", tmp_path / "out")
    assert status == 0, err
    assert "rec03, 20 to 30 s (labelled no seizure), the window around 24 s, as asked for: probability" in out
    assert "this evidence means nothing clinically: nothing beside the model says" in out
    status, _, err = run(capsys, *args, "-o", tmp_path / "out")  # an earlier explanation is replaced
    assert status == 0, err


def test_explain_a_recording(
    cheap_pictures: list[str], real_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = real_run / "folds" / "01" / "model"
    night = write_edf(tmp_path / "night.edf", seconds=60)
    args = ["explain", model, night, "--probe", "attention", "-o", tmp_path / "out", "--json"]
    status, out, err = run(capsys, *args)
    assert status == 0, err
    facts = json.loads(out)
    found = Detector.load(model, engine="torch").detect(night)
    best = int(found.probabilities.argmax())
    assert facts["window"]["start_s"] == found.start_s[best]
    assert facts["window"]["probability"] == pytest.approx(found.probabilities[best], abs=1e-5)
    assert facts["window"]["label"] is None
    assert "recordings have no labels here" in facts["window"]["chosen"]
    status, out, err = run(capsys, *args, "--at-s", 31)
    assert status == 0, err
    assert json.loads(out)["window"]["start_s"] == 25
    status, _, err = run(capsys, *args, "--at-s", 400)
    assert status == 1
    assert "no window covers 400 s; its windows lie between 0 and 60 s" in err


def test_explain_bad_arguments(real_run: Path, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["explain", real_run, store.folder, "-o", tmp_path / "out"]
    status, _, err = run(capsys, *common, "--probe", "crystal-ball")
    assert status == 1
    assert "attention-qk" in err
    status, _, err = run(capsys, "explain", tmp_path, store.folder, "-o", tmp_path / "out")
    assert status == 1
    assert "expected a saved model or a run folder, found" in err
    status, _, err = run(capsys, "explain", real_run, tmp_path / "nowhere", "-o", tmp_path / "out")
    assert status == 1
    assert "expected prepared windows, found no such folder" in err
    night = write_edf(tmp_path / "night.edf", seconds=60)
    status, _, err = run(capsys, "explain", real_run, night, "-o", tmp_path / "out")
    assert status == 2
    assert "--fold" in err
    assert not (tmp_path / "out").exists()
    status, _, err = run(capsys, "explain", real_run, store.folder, "-o", tmp_path)
    assert status == 1
    assert "is no explanation and not empty" in err


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
