"""``detect`` says in every result where a recording, or its subject, trained the model; it never refuses."""

import json
import shutil

import pytest
from epilepsy2bids.annotations import Annotations
from two_clinics import anonymous_copy, prepared, save_model, write_clinic

from biot_bd import Detector
from biot_bd.cli import main
from biot_bd.events import read_event_file
from biot_bd.io import open_recording


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("overlap")


@pytest.fixture(scope="module")
def model(place):
    return save_model(prepared(write_clinic(place / "recordings"), place / "seen"), place / "model")


@pytest.fixture(scope="module")
def mixed(place, model):
    """A folder of another name: a hidden copy of a training recording, and a stranger."""
    root = anonymous_copy(place / "recordings", place / "night")
    shutil.rmtree(root / "P02")
    shutil.rmtree(root / "P03")
    write_clinic(root, ("P07",), seed=5)
    return root


def detect(capsys, model, source, folder):
    formats = [word for name in ("tsv", "json", "csv_bi") for word in ("--format", name)]
    main(["detect", str(model), str(source), "-o", str(folder), "--html", *formats])
    out = capsys.readouterr()
    return out.out + out.err


def results(folder, stem):
    tsv = (folder / f"{stem}_events.tsv").read_text().splitlines()
    page = (folder / f"{stem.parent.name}_report.html").read_text()
    return (
        [line.split("\t")[-1] for line in tsv],
        json.loads((folder / f"{stem}_events.json").read_text()),
        (folder / f"{stem}_events.csv_bi").read_text(),
        page,
    )


def test_a_training_recording_is_told_everywhere_and_a_stranger_is_not(model, mixed, tmp_path, capsys):
    told = detect(capsys, model, mixed, tmp_path)
    (copy,), (stranger,) = (list(tmp_path.glob(f"{name}/*_events.tsv")) for name in ("P01", "P07"))
    last, facts, csv, page = results(tmp_path, copy.relative_to(tmp_path).with_name("visit"))
    assert last[0] == "inTraining"
    assert set(last[1:]) == {"recording"}
    assert facts["in_training"] == {"recording": True, "subject": "recordings/P01"}
    said = "this recording trained the model (as one of the recordings of recordings/P01)"
    assert any(note.startswith(said) for note in facts["notes"])
    assert "# inTraining = recording" in csv
    assert said in page
    assert told.count(said) == 1
    last, facts, csv, page = results(tmp_path, stranger.relative_to(tmp_path).with_name("rec1"))
    assert last[0] == "recordingDuration"
    assert facts["in_training"] == {"recording": False, "subject": None}
    assert "inTraining" not in csv
    assert "trained the model" not in page
    # The column is one more; who reads SzCORE's reads it.
    assert read_event_file(copy).duration_s == 30
    assert len(Annotations.loadTsv(str(copy)).events) == len(copy.read_text().splitlines()) - 1


def test_a_subject_is_told_by_its_name_where_the_recording_is_another(model, place, tmp_path, capsys):
    again = write_clinic(tmp_path / "recordings", ("P01",), seed=9)
    detect(capsys, model, again, tmp_path / "out")
    last, facts, csv, page = results(tmp_path / "out", (again / "P01" / "rec1").relative_to(again))
    assert set(last[1:]) == {"subject"}
    assert facts["in_training"] == {"recording": False, "subject": "recordings/P01"}
    said = "a subject called recordings/P01 trained the model; this recording is not one of those"
    assert said in facts["notes"]
    assert said in page
    assert "# inTraining = subject" in csv


def test_a_raw_recording_and_a_given_subject(model, place):
    detector = Detector.load(model)
    raw = open_recording(place / "recordings" / "P02" / "rec1.edf").raw
    assert detector.detect(raw.load_data(verbose="error")).in_training["recording"] is True
    other = write_clinic(place / "more", ("P01",), seed=11) / "P01" / "rec1.edf"
    assert detector.detect(other, subject="recordings/P03").in_training["subject"] == "recordings/P03"
    assert detector.detect(other).in_training == {"recording": False, "subject": None}


def test_models_of_before_say_that_nobody_can_tell(model, mixed, tmp_path):
    old = shutil.copytree(model, tmp_path / "old")
    text = (old / "pipeline.json").read_text()
    (old / "pipeline.json").write_text(text.replace('"recordings": [', '"forgotten": ['))
    found = Detector.load(old).detect(mixed / "P01" / "visit.edf", subject="night/P01")
    assert found.in_training == {"recording": None, "subject": None}
    assert any("nobody can tell whether this recording trained the model" in note for note in found.notes)
    named = Detector.load(old).detect(mixed / "P01" / "visit.edf", subject="recordings/P01")
    assert named.in_training == {"recording": None, "subject": "recordings/P01"}


def test_a_record_that_cannot_be_read_refuses_no_recording(model, mixed, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "trained_on.json").write_text('{"trained_on": 7}')
    assert Detector.load(broken).detect(mixed / "P07" / "rec1.edf").in_training["recording"] is None
