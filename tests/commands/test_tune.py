"""``biot-bd tune``, and the whole circle: detect, review, tune, prepare from the reviews, train, detect."""

import json

import numpy as np
import pytest
import typer
from child_commands import TINY
from epilepsy2bids.annotations import Annotations
from typer.testing import CliRunner

from biot_bd import load_dataset
from biot_bd.cli import main
from biot_bd.commands.tune import tune
from biot_bd.datasets.recordings import seizures_of
from biot_bd.deploy import read_detection
from biot_bd.deploy.review import Mark, Review, save_review
from biot_bd.events import load_event_detector
from biot_bd.windows import Windows


def run_tune(*arguments):
    app = typer.Typer()
    app.command()(tune)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """Generated recordings of four subjects, a model that three of them trained, and where their seizures are."""
    root = tmp_path_factory.mktemp("circle")
    dataset = load_dataset("demo", root / "demo", n_subjects=4, recordings=2, minutes=4)
    truth = {}
    for part in dataset.datasets:
        path = next((root / "demo").rglob(f"{part.description['recording']}.edf"))
        moved = root / "clinic" / path.parent.name / path.name
        moved.parent.mkdir(parents=True, exist_ok=True)
        moved.write_bytes(path.read_bytes())
        truth[f"{path.parent.name}/{path.stem}"] = seizures_of(part.raw)
    assert sum(map(len, truth.values())) > 1
    training = ["--epochs", 1, *TINY]
    run("prepare", "demo", root / "demo", "-o", root / "windows", "--option", "n_subjects=4", "--option", "recordings=2",
        "--option", "minutes=4")  # fmt: skip
    run("train", root / "windows", "-o", root / "model", *training)
    return root, truth, training


@pytest.fixture(scope="module")
def results(clinic):
    """What the model found, reviewed by somebody who knows the seizures and read all but one recording whole."""
    root, truth, _ = clinic
    folder = root / "results"
    run("detect", root / "model", root / "clinic", "-o", folder, "--threshold", 0.9)
    for number, path in enumerate(sorted(folder.rglob("*_detection.json"))):
        record = read_detection(path)
        name = path.relative_to(folder).as_posix().removesuffix("_detection.json")
        found = [(round(event.onset_s, 2), round(event.offset_s, 2)) for event in record.detection.events]
        marks = [Mark("rejected", *span, detected=span) for span in found]
        marks += [Mark("added", *span) for span in truth[name]]
        facts = {"digest": record.recording["digest"], "source": record.recording["path"], "model": dict(record.model)}
        review = Review(
            "anna",
            name,
            record.detection.duration_s,
            detections=tuple(found),
            marks=tuple(marks),
            read_whole=number > 0,
            **facts,
        )
        save_review(folder, review)
    return folder


@pytest.mark.slow
def test_training_recordings_are_refused_and_nothing_is_written(clinic, results):
    root, _, _ = clinic
    done = run_tune(root / "model", results, "-o", root / "refused")
    assert done.exit_code == 1
    assert "trained the model" in str(done.exception)
    assert "--allow-contaminated" in str(done.exception)
    assert not (root / "refused").exists()


@pytest.mark.slow
def test_the_comparison_fits_a_console_and_says_what_it_is(clinic, results):
    root, _, _ = clinic
    done = run_tune(root / "model", results, "--allow-contaminated")
    assert done.exit_code == 0, done.exception
    table = done.stdout[done.stdout.index("before") : done.stdout.index("note:")]
    assert max(map(len, table.splitlines())) <= 80
    first = done.stdout.splitlines()[0]
    assert first.startswith("CONTAMINATED: ")
    for said in ("reviewed by anna", "seizures found", "not read whole, left out: demo01/demo01_01", "not saved; name"):
        assert said in done.stdout
    facts = json.loads(run_tune(root / "model", results, "--allow-contaminated", "--json").stdout)
    assert facts["left_out"] == ["demo01/demo01_01"]
    assert facts["contamination"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--event-target", "none"), "nothing would be chosen"),
        (("--event-target", "f2"), "expected f1, fa_per_24h=2"),
        (("--event-target", "f1", "--target-fa-per-24h", 1), "exclude each other"),
    ],
)
def test_bad_options_are_one_line(tmp_path, options, said):
    (tmp_path / "pipeline.json").touch()  # told by its name
    done = run_tune(tmp_path, tmp_path / "results", *options)
    assert done.exit_code == 1
    assert said in str(done.exception)
    assert len(str(done.exception).splitlines()) == 1


@pytest.mark.slow
def test_the_circle(clinic, results, tmp_path, capsys):
    root, truth, training = clinic
    done = run_tune(root / "model", results, "--allow-contaminated", "-o", tmp_path / "tuned")
    assert done.exit_code == 0, done.exception
    capsys.readouterr()
    run("detect", tmp_path / "tuned", root / "clinic", "-o", tmp_path / "again")
    assert "operating point chosen on" in capsys.readouterr().err
    chosen = load_event_detector(tmp_path / "tuned").setting()
    record = read_detection(tmp_path / "again" / "demo02" / "demo02_01_detection.json")
    assert record.detection.setting["events"] == chosen

    reviews = results / "reviews" / "anna"
    for table in reviews.rglob("*_events.tsv"):
        name = table.relative_to(reviews).as_posix().removesuffix("_events.tsv")
        said = Annotations.loadTsv(str(table)).getEvents()
        np.testing.assert_allclose(
            np.array(said, float).reshape(-1, 2), np.array(truth[name]).reshape(-1, 2), atol=0.01
        )
    run("prepare", "recordings-folder", root / "clinic", "-o", tmp_path / "windows", "--events", reviews)
    windows = Windows.open(tmp_path / "windows")
    left_out = "demo01__demo01_01"
    assert {one.recording for one in windows.entries} == {name.replace("/", "__") for name in truth} - {left_out}
    assert {one.recording: [tuple(event) for event in one.events] for one in windows.entries} == {
        name.replace("/", "__"): spans for name, spans in truth.items() if name.replace("/", "__") != left_out
    }
    run("train", tmp_path / "windows", "-o", tmp_path / "model", *training)
    run("detect", tmp_path / "model", root / "clinic", "-o", tmp_path / "third")
    assert len(list((tmp_path / "third").rglob("*_events.tsv"))) == len(truth)
