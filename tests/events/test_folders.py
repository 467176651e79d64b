"""Scores of folders of event files, and the command over them."""

import json
import warnings

import pytest

from biot_bd.cli import main
from biot_bd.events.files import read_event_file, write_event_file
from biot_bd.events.folders import score_folders
from biot_bd.exceptions import MissingPredictionError


@pytest.fixture
def trees(tmp_path):
    truth, said = tmp_path / "truth", tmp_path / "said"
    for subject, run, reference, hypothesis in (
        ("01", "00", [(1000, 1040)], [(1010, 1050)]),
        ("01", "01", [(1000, 1005)], [(2000, 2100)]),
        ("02", "00", [], []),
    ):
        name = f"sub-{subject}/ses-01/eeg/sub-{subject}_ses-01_task-szMonitoring_run-{run}"
        write_event_file(truth / f"{name}_events.tsv", reference, 3600)
        write_event_file(said / f"{name}_events.tsv", hypothesis, 3600)
    (truth / "participants.tsv").write_text("participant_id\nsub-01\n")
    return truth, said


def test_bids_trees_by_subject(trees):
    scores = score_folders(*trees)
    one, two = scores["subjects"]["sub-01"]["events"], scores["subjects"]["sub-02"]["events"]
    assert (one["tp"], one["fp"], one["n_reference"], one["fa_per_24h"]) == (1, 1, 2, 12.0)
    assert (two["sensitivity"], two["fa_per_24h"]) == (None, 0.0)
    assert scores["macro"]["events"]["fa_per_24h"]["value"] == 6.0
    assert len(scores["recordings"]) == 3
    together = score_folders(*trees, same_subject={"sub-02": "sub-01"})
    assert list(together["subjects"]) == ["sub-01"]


def test_a_file_in_place_of_a_folder_is_told_as_one(trees, capsys):
    table = next(trees[1].rglob("*run-01_events.tsv"))
    assert main(["score", str(trees[0]), str(table)]) == 1
    said = f"biot-bd score: {table}: is a file; expected a folder of event files, such as {table.parent}\n"
    assert capsys.readouterr().err == said


def test_a_missing_prediction_is_an_error_not_background(trees):
    next(trees[1].rglob("*run-01_events.tsv")).unlink()
    with pytest.raises(MissingPredictionError, match=r"1 of 3.*run-01"):
        score_folders(*trees)


def test_flat_folders_and_other_endings_match_by_name(tmp_path, trees):
    flat = tmp_path / "flat"
    for path in trees[1].rglob("*_events.tsv"):
        write_event_file(flat / f"{path.stem.removesuffix('_events')}_eeg.csv_bi", [], 3600)
    write_event_file(flat / "stranger.csv_bi", [], 3600)
    scores = score_folders(trees[0], flat)
    assert scores["pooled"]["events"]["tp"] == 0
    assert scores["unused"] == ["stranger"]


def test_lengths_must_agree_and_be_known(trees):
    path = next(trees[1].rglob("*run-01_events.tsv"))
    write_event_file(path, [], 3500)
    with pytest.raises(ValueError, match="3500 s, but 3600 s"):
        score_folders(*trees)
    for folder in trees:
        next(folder.rglob("*run-01_events.tsv")).write_text("onset\tduration\teventType\n0\t10\tbckg\n")
    with pytest.raises(ValueError, match="no recordingDuration"):
        score_folders(*trees)


def test_an_alarm_up_to_the_end_of_a_slightly_longer_prediction_is_cut(trees):
    path = next(trees[1].rglob("*run-01_events.tsv"))
    write_event_file(path, [(3590, 3600.8)], 3600.8)
    one = next(r for name, r in score_folders(*trees)["recordings"].items() if name.endswith("run-01"))
    assert one["hypothesis"] == [[3590.0, 3600.0]]
    write_event_file(path, [(3600.2, 3600.8)], 3600.8)
    one = next(r for name, r in score_folders(*trees)["recordings"].items() if name.endswith("run-01"))
    assert one["hypothesis"] == []
    text = path.read_text().replace("0.60", "9.60")  # beyond its own length: damaged
    path.write_text(text)
    with pytest.raises(ValueError, match="not inside the recording"):
        score_folders(*trees)


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        score_folders(tmp_path / "a", tmp_path)
    with pytest.raises(FileNotFoundError, match="no files of events"):
        score_folders(tmp_path, tmp_path)


def test_command(trees, tmp_path, capsys, monkeypatch):
    from biot_bd.commands.score import score

    monkeypatch.setenv("COLUMNS", "80")
    score(*trees, output=tmp_path / "scores.json")
    shown = capsys.readouterr().out
    assert "timescoring 0.0.7" in shown
    assert "always-on" in shown
    assert shown.startswith(f"reference: {trees[0]}\ndetections: {trees[1]}\n")
    table = shown.partition("scorer:")[0].partition("Events by subject")[2]
    assert max(map(len, table.splitlines())) <= 80
    assert "events closer than 90 s are merged" in shown
    assert "Annotated seizures by length" in shown
    row = next(line.split() for line in shown.splitlines() if "sub-01" in line)
    assert "…" not in shown
    assert row == ["sub-01", "2", "2", "1", "1", "0.500", "0.500", "0.500", "12", "10.0"]  # nothing cut at 80 columns
    score(*trees, json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["pooled"] == json.loads((tmp_path / "scores.json").read_text())["pooled"]


def test_events_of_other_tasks_and_derivatives_are_left_alone(trees, capsys):
    before = score_folders(*trees)
    assert before["notes"] == []
    other = trees[0] / "sub-01" / "ses-01" / "eeg" / "sub-01_ses-01_task-rest_events.tsv"
    other.write_text("onset\tduration\ttrial_type\n1\t2\tgo\n")
    for tree in trees:
        path = tree / "derivatives" / "x" / "sub-01" / "sub-01_events.tsv"
        write_event_file(path, [(1, 2)], 77)
    after = score_folders(*trees)
    assert after["notes"] == [f"{other}: has no column eventType, taken as of another task and left alone"]
    assert {**after, "notes": []} == before
    assert main(["score", *map(str, trees)]) == 0
    assert f"note: {other}" in capsys.readouterr().out
    # A prediction for it makes it one that must be understood.
    write_event_file(trees[1] / other.relative_to(trees[0]), [], 3600)
    with pytest.raises(ValueError, match=r"task-rest_events.*eventType"):
        score_folders(*trees)


def test_only_other_tasks_is_an_error_and_notes_of_files_are_told(trees):
    for path in trees[0].rglob("*_events.tsv"):
        path.write_text("onset\tduration\ttrial_type\n")
    for path in trees[1].rglob("*_events.tsv"):
        path.unlink()
    write_event_file(trees[1] / "y_events.tsv", [], 60)
    with pytest.raises(FileNotFoundError, match=r"no annotations of seizures.*eventType"):
        score_folders(*trees)
    (trees[0] / "y_events.tsv").write_text("onset\tduration\teventType\n")
    notes = score_folders(*trees)["notes"]
    assert len(notes) == 4
    assert "y_events.tsv: the table is only a header" in notes[-1]


@pytest.fixture
def detected(trees):
    """The two trees, the second one with the confidences of a detector."""
    for path in trees[1].rglob("*_events.tsv"):
        file = read_event_file(path)
        write_event_file(path, [(e.onset_s, e.offset_s, 0.8) for e in file.events], file.duration_s)
    return trees


def test_swapped_folders_are_told(detected, capsys):
    truth, said = map(str, detected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_folders(truth, said)
    with pytest.warns(UserWarning, match=rf"{said}, given as the reference, looks like detections .*0\.8.*swapped"):
        score_folders(said, truth)
    with pytest.warns(UserWarning, match="how far two detectors agree"):
        score_folders(said, said)
    assert main(["score", said, truth, "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("biot-bd score: warning: ")
    assert json.loads(shown.out)["folders"] == {"reference": said, "hypothesis": truth}


def test_a_column_of_detect_is_a_sign_and_certain_annotations_are_none(trees):
    path = next(trees[0].rglob("*run-00_events.tsv"))
    file = read_event_file(path)
    events = [(e.onset_s, e.offset_s, 1.0) for e in file.events]  # as TUSZ writes its annotations
    write_event_file(path, events, file.duration_s)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_folders(*trees)
    write_event_file(path, events, file.duration_s, facts={"inTraining": "subject"})
    with pytest.warns(UserWarning, match="inTraining"):
        score_folders(*trees)


def test_a_run_folder_stands_for_its_events_and_reviews_do_not_count(detected):
    truth, said = detected
    run = said.parent / "run"
    run.mkdir()
    said.rename(run / "events")
    (run / "run.json").write_text("{}")
    scores = score_folders(truth, run)
    assert scores["folders"]["hypothesis"] == str(run / "events")
    for path in list((run / "events").rglob("*_events.tsv")):
        write_event_file(run / "events" / "reviews" / "someone" / path.name, [], 3600)
    again = score_folders(truth, run)
    assert (again["pooled"], again["unused"]) == (scores["pooled"], [])


def test_a_folder_alone_must_be_a_run(tmp_path, trees, capsys):
    assert main(["score", str(trees[0])]) != 0
    assert (
        "is no run folder, so a second folder is needed: biot-bd score ANNOTATIONS DETECTIONS"
        in capsys.readouterr().err
    )
    assert main(["score", str(tmp_path / "nothing")]) == 1
    assert "no such folder" in capsys.readouterr().err
