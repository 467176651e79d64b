"""``biot-bd detect``: files, folders, options, what is printed, exit status."""

import json
import re
import shutil

import mne
import numpy as np
import pandas as pd
import pytest
from deploy_files import REFERENTIAL, write_edf
from epilepsy2bids.annotations import Annotations
from small_model import save_small_model

from biot_bd.cli import main
from biot_bd.events.detector import EventDetector, load_event_detector, save_event_detector
from biot_bd.events.files import read_event_file


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_small_model(tmp_path_factory.mktemp("model") / "small")
    save_event_detector(EventDetector(window_s=10, threshold=1e-4, smoothing_s=0, target=None), folder)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for subject in ("01", "02"):
        for run in (0, 1):
            name = f"sub-{subject}/eeg/sub-{subject}_task-szMonitoring_run-{run:02d}_eeg.edf"
            write_edf(root / name, ch_names=REFERENTIAL, seconds=23 + run, seed=run)
    return root


def detect(*arguments):
    return main(["detect", *map(str, arguments)])


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_tree_in_a_tree_out(model, tree, tmp_path, capsys):
    assert detect(model, tree, "-o", tmp_path / "out") == 0
    assert files(tmp_path / "out") == [
        f"sub-{s}/eeg/sub-{s}_task-szMonitoring_run-{r:02d}_{what}"
        for s in ("01", "02")
        for r in (0, 1)
        for what in ("detection.json", "events.tsv")
    ]
    path = tmp_path / "out/sub-02/eeg/sub-02_task-szMonitoring_run-01_events.tsv"
    (event,) = Annotations.loadTsv(path).events
    assert (event["onset"], event["duration"], event["recordingDuration"]) == (0, 24, 24)
    assert event["dateTime"].isoformat() == "2010-05-04T12:30:15"
    assert 0 < event["confidence"] <= 1
    out, err = capsys.readouterr()
    assert "4 recordings done, 4 events" in out
    assert "run-01_eeg.edf: events: 0 to 24 s" in err


LABELS = "onset\tduration\teventType\n5\t4\tsz\n"


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("target", ["", "sub-01/eeg/sub-01_events.tsv", "sub-01/eeg/sub-01_eeg.tsv"])
def test_detections_are_never_written_where_labels_lie(model, tmp_path, capsys, target, there):
    recording = write_edf(tmp_path / "sub-01/eeg/sub-01_eeg.edf", ch_names=REFERENTIAL, seconds=12)
    table = tmp_path / (target or "sub-01/eeg/sub-01_events.tsv")
    if there:
        table.write_text(LABELS)
    before = files(tmp_path)
    assert detect(model, recording if target else tmp_path, "-o", tmp_path / target) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        f"biot-bd detect: {table}: detections would lie where the labels of {recording} are looked for"
    )
    assert ("replace what is there" in said, said.count("\n")) == (there, 1)
    assert main(["stream", str(model), str(recording), "--speed", "max", "-o", str(table)]) == 1
    assert "where the labels of" in capsys.readouterr().err
    assert files(tmp_path) == before
    assert not there or table.read_text() == LABELS
    # Results that nobody takes for labels may lie there.
    assert detect(model, recording, "-o", table.with_suffix(".json"), "--format", "json") == 0


def test_every_format_says_the_same(model, tree, tmp_path):
    formats = ("tsv", "csv_bi", "edf", "mne", "json")
    options = [part for name in formats for part in ("--format", name)]
    source = tree / "sub-01/eeg/sub-01_task-szMonitoring_run-00_eeg.edf"
    assert detect(model, source, "-o", tmp_path, *options) == 0
    stem = "sub-01_task-szMonitoring_run-00_events"
    endings = (".tsv", ".csv_bi", ".edf", "_annot.fif", ".json")
    assert files(tmp_path) == sorted(
        [f"{stem}{e}" for e in endings] + ["sub-01_task-szMonitoring_run-00_detection.json"]
    )
    for ending in (".tsv", ".csv_bi", ".edf", "_annot.fif"):
        told = read_event_file(tmp_path / f"{stem}{ending}")
        assert [(e.onset_s, e.offset_s) for e in told.events] == [(0, 23)]
        assert told.duration_s == 23
    facts = json.loads((tmp_path / f"{stem}.json").read_text())
    assert (facts["events"][0]["onset_s"], facts["events"][0]["offset_s"], facts["gaps"]) == (0, 23, [])
    assert facts["channels"]["T7-P7"] == "EEG T3-REF minus EEG T5-REF"


def test_nothing_found_gives_a_background_row(model, tree, tmp_path):
    assert detect(model, tree / "sub-01", "-o", tmp_path, "--threshold", 1) == 0
    for path in tmp_path.rglob("*.tsv"):
        (event,) = Annotations.loadTsv(path).events
        assert (event["eventType"].value, event["onset"]) == ("bckg", 0)
        assert event["duration"] == event["recordingDuration"]


def test_a_named_file(model, tree, tmp_path, capsys):
    source = tree / "sub-01/eeg/sub-01_task-szMonitoring_run-00_eeg.edf"
    assert detect(model, source, "-o", tmp_path / "deep" / "mine.tsv") == 0
    assert files(tmp_path) == ["deep/mine.tsv"]
    assert detect(model, tree, "-o", tmp_path / "mine.tsv") == 2
    assert "expected one recording" in capsys.readouterr().err
    assert detect(model, source, "-o", source) == 2
    assert detect(model, source, "-o", tmp_path / "mine.json", "--format", "json") == 0


def test_pictures_pages_and_probabilities(model, tree, tmp_path):
    assert detect(model, tree, "-o", tmp_path, "--plot", "--html", "--probabilities", "--stride-s", 2) == 0
    stem = "sub-01/eeg/sub-01_task-szMonitoring_run-00"
    assert {f"{stem}_event-01.png", f"{stem}_probabilities.tsv", "sub-01_report.html", "sub-02_report.html"} <= set(
        files(tmp_path)
    )
    table = pd.read_csv(tmp_path / f"{stem}_probabilities.tsv", sep="\t")
    assert table["start_s"].tolist() == [0, 2, 4, 6, 8, 10, 12, 13]
    assert table["probability"].between(0, 1).all()
    page = (tmp_path / "sub-02_report.html").read_text()
    assert "<strong>2 events</strong> in 47 s of 2 recordings" in page
    assert page.count("data-eeg-viewer aria-label=") == 2
    assert "data:image" not in page
    assert not re.search("https?://", page)
    # A picture whose event is gone goes, too.
    assert detect(model, tree, "-o", tmp_path, "--plot", "--threshold", 1) == 0
    assert not list(tmp_path.rglob("*.png"))


def test_a_page_is_for_the_keyboard_and_has_no_empty_table(model, tree, tmp_path):
    (tmp_path / "in" / "sub-09").mkdir(parents=True)
    shutil.copy(next(tree.rglob("*.edf")), tmp_path / "in" / "sub-08_eeg.edf")
    (tmp_path / "in" / "sub-09" / "sub-09_eeg.edf").touch()
    assert detect(model, tmp_path / "in", "-o", tmp_path / "out", "--html") == 1
    page = (tmp_path / "out" / "sub-08_report.html").read_text()
    assert page.count('class="scroll"') == page.count('class="scroll" tabindex="0" role="region" aria-label=') == 2
    failed = (tmp_path / "out" / "sub-09_report.html").read_text()
    assert "the file is empty" in failed
    assert "<table>" not in failed


def test_a_page_escapes_what_recordings_say(model, tree, tmp_path):
    source = tmp_path / "in" / "<b>x&y.edf"
    source.parent.mkdir()
    shutil.copy(next(tree.rglob("*.edf")), source)
    assert detect(model, source, "-o", tmp_path / "out", "--html") == 0
    (page,) = (tmp_path / "out").glob("*_report.html")
    assert "<b>x" not in page.read_text()
    assert "&lt;b&gt;x&amp;y" in page.read_text()


def test_patients_whose_names_differ_in_their_letters_alone_have_a_page_each(model, tree, tmp_path, capsys):
    names = ("M\u00fcller", "M\u00f6ller", "m\u00fcller", "\u738b\u4f1f")
    for name in names:
        (tmp_path / "in" / name).mkdir(parents=True)
        shutil.copy(next(tree.rglob("*.edf")), tmp_path / "in" / name / "x.edf")
    options = (model, tmp_path / "in", "-o", tmp_path / "out", "--html")
    assert detect(*options) == 0
    pages = sorted((tmp_path / "out").glob("*_report.html"))
    titles = [re.search("<title>(.*?)</title>", page.read_text())[1] for page in pages]
    assert len(pages) == 4
    assert sum(any(name in title for title in titles) for name in names) == 4
    assert len({path.name.lower() for path in pages}) == 4
    assert len(list((tmp_path / "out").rglob("*_events.tsv"))) == 4
    capsys.readouterr()
    (lost,) = (page for page in pages if "\u738b\u4f1f" in page.read_text())
    lost.unlink()
    assert detect(*options, "--resume", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["n_skipped"], facts["recordings"]) == (4, [])  # the page is made of the record
    assert lost.is_file()
    assert sorted((tmp_path / "out").glob("*_report.html")) == pages


def test_failures_are_lines_and_the_rest_is_done(model, tree, tmp_path, capsys):
    source = shutil.copytree(tree / "sub-01", tmp_path / "in" / "sub-01")
    (source / "eeg" / "empty.edf").write_bytes(b"")
    write_edf(source / "eeg" / "few.edf", ch_names=REFERENTIAL[:5], seconds=20)
    write_edf(source / "eeg" / "short.edf", ch_names=REFERENTIAL, seconds=4)
    assert detect(model, source, tmp_path / "gone.edf", "-o", tmp_path / "out", "--html") == 1
    failed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 4
    assert "empty.edf: the file is empty" in failed[0]
    assert "few.edf: montage 'biot-16'" in failed[1]
    assert "missing electrodes: " in failed[1]
    assert "short.edf: lasts 4 s" in failed[2]
    assert "gone.edf: cannot be opened (No such file or directory)" in failed[3]
    assert len(list((tmp_path / "out").rglob("*_events.tsv"))) == 2
    assert "few.edf" in (tmp_path / "out" / "sub-01_report.html").read_text()


def test_resume_does_only_what_is_missing(model, tree, tmp_path, capsys):
    assert detect(model, tree / "sub-01", "-o", tmp_path) == 0
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tsv")}
    lost = next(iter(done))
    lost.unlink()
    capsys.readouterr()
    assert detect(model, tree / "sub-01", "-o", tmp_path, "--resume", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["n_skipped"] == 1
    record = str(lost).replace("_events.tsv", "_detection.json")
    assert [recording["files"] for recording in facts["recordings"]] == [[record, str(lost)]]
    assert {p for p, t in done.items() if p.stat().st_mtime_ns == t} == set(done) - {lost}
    # Something more is wanted of each.
    assert detect(model, tree / "sub-01", "-o", tmp_path, "--skip-existing", "--probabilities", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_skipped"] == 0


def test_json_says_all_and_nothing_else_is_on_stdout(model, tree, tmp_path, capsys):
    (tmp_path / "empty.edf").touch()
    assert detect(model, tree / "sub-01", tmp_path / "empty.edf", "-o", tmp_path / "out", "--json", "--causal") == 1
    facts = json.loads(capsys.readouterr().out)
    assert [r["setting"]["causal"] for r in facts["recordings"]] == [True, True]
    assert facts["recordings"][0]["setting"]["events"] == load_event_detector(model).setting()
    assert set(facts["recordings"][0]["seconds"]) == {"read", "prepare", "model", "total"}
    (failure,) = facts["failures"]
    assert failure["source"] == str(tmp_path / "empty.edf")


def test_a_result_is_no_recording(model, tree, tmp_path):
    source = shutil.copytree(tree / "sub-01", tmp_path / "sub-01")
    for _ in range(2):
        assert detect(model, source, "-o", source, "--format", "edf", "--format", "mne") == 0
    assert len(list(source.rglob("*_events.edf"))) == 2


def test_annotations_fit_on_the_recording(model, tree, tmp_path):
    source = next(tree.rglob("*.edf"))
    assert detect(model, source, "-o", tmp_path, "--format", "mne") == 0
    raw = mne.io.read_raw(source, verbose="error")
    (path,) = tmp_path.glob("*_annot.fif")
    raw.set_annotations(mne.read_annotations(path))
    np.testing.assert_allclose(raw.annotations.onset[0], 0, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--format", "xml"], 2, "no format 'xml'"),
        (["--jobs", "0"], 2, "how many recordings"),
        (["--stride-s", "0"], 2, "stride"),
        (["--on-missing", "zero"], 1, "--on-missing zero: expected one of raise"),
        (["--precision", "int4"], 1, "--precision int4: expected one of auto"),
        (["--threshold", "0"], 1, "threshold"),
    ],
)
def test_wrong_options(model, tree, tmp_path, capsys, options, status, message):
    assert detect(model, tree, "-o", tmp_path / "out", *options) == status
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_no_model_no_input_no_folder(model, tree, tmp_path, capsys):
    assert detect(tmp_path, tree, "-o", tmp_path / "out") == 1
    assert "expected a saved model or an exported model, found an empty folder" in capsys.readouterr().err
    assert detect(model, tmp_path, "-o", tmp_path / "out") == 1
    assert "holds no recording" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert detect(model, tree, "-o", tmp_path / "file" / "out") == 1
    assert "expected a folder" in capsys.readouterr().err
