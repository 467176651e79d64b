"""``biot-bd detect --anonymous``: numbers that stay, the key, what is refused, and reviews of such results."""

import datetime
import json

import pandas as pd
import pytest
from planted_names import found_in, found_in_text, plant
from small_model import save_small_model

from biot_bd.cli import main
from biot_bd.deploy import read_detection
from biot_bd.deploy.review.marks import Mark
from biot_bd.deploy.review.reviewed_results import ReviewedResults
from biot_bd.events.detector import EventDetector, save_event_detector
from biot_bd.exceptions import DetectionError, ReviewError

TODAY = [datetime.date.today()]


@pytest.fixture(scope="module")
def model(tmp_path_factory, one_thread):
    folder = save_small_model(tmp_path_factory.mktemp("model") / "small")
    save_event_detector(EventDetector(window_s=10, threshold=1e-4, smoothing_s=0, target=None), folder)
    return folder


@pytest.fixture(scope="module")
def edf(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("recordings"), seconds=25, subjects=("quillfeather", "thistlewood"))


@pytest.fixture(scope="module")
def results(model, edf, tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    given = [
        "detect",
        model,
        edf,
        "-o",
        root / "out",
        "--anonymous",
        "--key",
        root / "key.tsv",
        "--format",
        "edf",
        "--format",
        "tsv",
    ]
    assert main([*map(str, given)]) == 0
    return root


def test_nothing_in_results_names_anybody(results, edf):
    assert found_in(results / "out", TODAY) == []
    record = read_detection(results / "out/recording-0001_detection.json")
    assert record.subject is not None
    assert (record.patient, record.subject[-12:], record.detection.start_time) == ("subject-001", "/subject-001", None)
    key = pd.read_csv(results / "key.tsv", sep="\t").set_index("recording")
    assert key.loc["recording-0001", "subject_name"].endswith("/Quillfeather")
    assert sorted(key["file"]) == sorted(map(str, edf.rglob("*.edf")))


def test_more_recordings_keep_the_numbers_of_those_that_are_done(results, model, edf, tmp_path, capsys):
    more = plant(tmp_path, seconds=25, subjects=("applegarth",))
    before = {path.name: path.read_bytes() for path in (results / "out").glob("*_detection.json")}
    given = ["detect", model, more, edf, "-o", results / "out", "--anonymous", "--skip-existing", "--json"]
    assert main([*map(str, given)]) == 0
    out = capsys.readouterr().out
    assert [one["source"] for one in json.loads(out)["recordings"]] == ["recording-0005", "recording-0006"]
    assert found_in_text(out, TODAY) == []
    assert {name: (results / "out" / name).read_bytes() for name in before} == before
    assert read_detection(results / "out/recording-0005_detection.json").patient == "subject-003"


def test_results_with_and_without_names_are_not_mixed(results, model, edf, tmp_path, capsys):
    assert main(["detect", str(model), str(edf), "-o", str(results / "out")]) != 0
    assert "add --anonymous" in capsys.readouterr().err
    assert main(["detect", str(model), str(next(edf.rglob("*.edf"))), "-o", str(tmp_path / "named")]) == 0
    assert main(["detect", str(model), str(edf), "-o", str(tmp_path / "named"), "--anonymous"]) != 0
    assert "choose another folder" in capsys.readouterr().err
    assert main(["detect", str(model), str(edf), "-o", str(tmp_path / "x"), "--key", str(tmp_path / "k.tsv")]) != 0
    assert "add --anonymous" in capsys.readouterr().err


def test_reviewers_have_numbers_and_marks_no_date(results, edf):
    with pytest.raises(ReviewError, match="reviewer-1"):
        ReviewedResults(results / "out", "zimmerwald", recordings=edf)
    with pytest.raises(DetectionError, match="--recordings"):
        ReviewedResults(results / "out", "reviewer-1").pieces("recording-0001")
    reviewed = ReviewedResults(results / "out", "reviewer-1", recordings=edf)
    reviewed.pieces("recording-0001")  # found by its content
    saved = reviewed.save("recording-0001", 0, [Mark("added", 6.0, 19.0)], read_whole=False)
    assert (saved.revision, saved.saved) == (1, "n/a")
    assert found_in(results / "out", TODAY) == []
