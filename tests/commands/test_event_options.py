"""What ``--event-target`` and ``--target-fa-per-24h`` mean, and that ``cv`` and ``train`` hand them on."""

import json

import pytest

from biot_bd.cli import main
from biot_bd.commands._pipelines import event_detector
from biot_bd.events import load_event_detector

TINY = ["--param", "module__embed_dim=16", "--param", "module__num_heads=2", "--param", "module__num_layers=1"]
QUICK = [*TINY, "--epochs", "1", "--batch-size", "64", "--param", "device=cpu"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "demo"
    arguments = [
        "prepare",
        "demo",
        str(folder.parent / "edf"),
        "-o",
        str(folder),
        "--option",
        "n_subjects=4",
        "--option",
        "recordings=1",
    ]
    assert main([*arguments, "--option", "minutes=4"]) == 0
    return folder


@pytest.mark.parametrize(
    ("target", "rate", "expected"),
    [
        ("f1", None, ("f1", None, None)),
        ("none", None, (None, None, None)),
        ("fa_per_24h=2", None, ("fa_per_24h", 2.0, None)),
        ("sensitivity=0.9", None, ("sensitivity", None, 0.9)),
        (None, 0.5, ("fa_per_24h", 0.5, None)),
    ],
)
def test_what_the_options_ask_for(target, rate, expected):
    found = event_detector(target, rate)
    assert (found.target, found.target_fa_per_24h, found.target_sensitivity) == expected
    assert event_detector(None, None) is None


@pytest.mark.parametrize(
    "target", ["recall", "f1=3", "sensitivity", "sensitivity=much", "sensitivity=2", "fa_per_24h=-1"]
)
def test_targets_that_mean_nothing_are_refused(target):
    with pytest.raises(ValueError, match=f"--event-target {target}"):
        event_detector(target, None)


def test_two_targets_are_refused():
    with pytest.raises(ValueError, match="exclude each other"):
        event_detector("f1", 2.0)


def test_cv_fits_saves_and_prints_events(store, tmp_path, capsys):
    run = tmp_path / "run"
    split = ["--cv", "subject-kfold-2", "--validation-fraction", "0.4"]
    assert main(["cv", str(store), "-o", str(run), *split, *QUICK, "--target-fa-per-24h", "100"]) == 0
    assert "timescoring" in capsys.readouterr().out
    points = json.loads((run / "metrics.json").read_text())["events"]["operating_points"]
    assert [point["target_fa_per_24h"] for point in points] == [100.0, 100.0]
    for point in points:
        saved = load_event_detector(run / "folds" / f"{point['fold']:02d}" / "model")
        assert saved.threshold_ == point["threshold"]
    assert len(list((run / "events").glob("*.tsv"))) == 4


def test_train_saves_the_detector_and_says_its_threshold(store, tmp_path, capsys):
    model = tmp_path / "model"
    arguments = ["train", str(store), "-o", str(model), *QUICK, "--validation-fraction", "0.4"]
    assert main([*arguments, "--event-target", "sensitivity=0.5"]) == 0
    saved = load_event_detector(model)
    assert f"events: threshold {saved.threshold_:.3f}" in capsys.readouterr().out
    assert (saved.target, saved.target_sensitivity) == ("sensitivity", 0.5)
    assert load_event_detector(model, causal=True).causal
