"""``biot-bd detect --html --viewer``: pages of what was just found and of what was there, notes said once."""

import json
import re

import pytest
from deploy_files import write_edf
from small_model import save_small_model

from biot_bd.cli import main
from biot_bd.deploy import Detector
from biot_bd.events.detector import EventDetector, save_event_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_small_model(tmp_path_factory.mktemp("model") / "small")
    save_event_detector(EventDetector(window_s=10, threshold=1e-4, smoothing_s=0, target=None), folder)
    return folder


@pytest.fixture
def tree(tmp_path):
    for subject, run in (("01", 0), ("01", 1), ("02", 0)):
        write_edf(tmp_path / f"in/sub-{subject}/sub-{subject}_run-{run}_eeg.edf", seconds=23 + run, seed=run)
    return tmp_path / "in"


def detect(*arguments):
    return main(["detect", *map(str, arguments)])


def test_pages_and_viewers_are_made_of_records_without_detecting_again(model, tree, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert detect(model, tree, "-o", out) == 0
    events = {path: path.stat().st_mtime_ns for path in out.rglob("*_events.tsv")}

    def never(*_, **__):
        raise AssertionError("detected again")

    monkeypatch.setattr(Detector, "detect", never)
    assert detect(model, tree, "-o", out, "--resume", "--html", "--viewer") == 0
    assert "0 recordings done, 0 events, 3 were there" in capsys.readouterr().out
    page = (out / "sub-01_report.html").read_text()
    assert "<strong>2 events</strong> in 47 s of 2 recordings" in page
    assert page.count("data-eeg-viewer aria-label=") == 2
    assert 'href="sub-01/sub-01_run-0_viewer-01.html"' in page
    assert sorted(path.name for path in out.rglob("*_viewer-*.html")) == [
        "sub-01_run-0_viewer-01.html",
        "sub-01_run-1_viewer-01.html",
        "sub-02_run-0_viewer-01.html",
    ]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*_events.tsv")} == events
    # Nothing is left to do, so nothing is written.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.html")}
    assert detect(model, tree, "-o", out, "--resume", "--html", "--viewer") == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.html")} == before


def test_a_page_says_what_was_detected_with_other_settings(model, tree, tmp_path):
    out = tmp_path / "out"
    assert detect(model, tree, "-o", out, "--threshold", 0.9) == 0
    next(out.rglob("sub-01_run-1_events.tsv")).unlink()
    assert detect(model, tree, "-o", out, "--resume", "--html") == 0
    page = (out / "sub-01_report.html").read_text()
    assert re.search(r"detected earlier \(\d{4}-\d\d-\d\d\) with other settings", page)
    assert "sub-01_run-0_eeg.edf: Threshold 0.9; threshold or event rules were set by hand" in page
    assert "sub-01_run-1_eeg.edf: Threshold 0.0001, not chosen on any recording" in page


def test_a_damaged_record_is_made_anew(model, tree, tmp_path, capsys):
    out = tmp_path / "out"
    assert detect(model, tree, "-o", out) == 0
    record = next(out.rglob("sub-02_run-0_detection.json"))
    whole = json.loads(record.read_text())
    record.write_text("{")
    capsys.readouterr()
    assert detect(model, tree, "-o", out, "--resume", "--html", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_skipped"] == 2
    assert json.loads(record.read_text())["windows"] == whole["windows"]


def test_a_recording_that_changed_is_not_shown_beside_old_events(model, tree, tmp_path, capsys):
    out = tmp_path / "out"
    assert detect(model, tree, "-o", out) == 0
    write_edf(tree / "sub-01/sub-01_run-0_eeg.edf", seconds=23, seed=9)
    assert detect(model, tree, "-o", out, "--resume", "--html") == 0
    page = (out / "sub-01_report.html").read_text()
    assert "The EEG is not shown: " in page
    assert "not the recording of" in page
    # A viewer of it cannot be: one line, and the rest is done.
    capsys.readouterr()
    assert detect(model, tree, "-o", out, "--resume", "--viewer") == 1
    (failed,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert "its viewer cannot be written" in failed
    assert "run-0" in failed
    assert len(list(out.rglob("*_viewer-01.html"))) == 2


def test_notes_are_said_once(model, tree, tmp_path, capsys):
    assert detect(model, tree, "-o", tmp_path / "out") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert [line for line in said if "(all 3 recordings)" in line] == said
    assert len(said) == len(set(said)) >= 1
