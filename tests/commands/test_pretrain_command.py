"""``biot-bd pretrain`` on recordings without labels, and ``train`` and ``cv`` that start from it."""

import json
import shutil

import pytest
from cheap_pictures import take_no_pictures

from biot_bd import Windows, load_dataset, load_pipeline
from biot_bd.cli import main
from biot_bd.models import provenance_of
from biot_bd.pretraining import load_pretraining
from biot_bd.windows.store_users import users_of

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = ["--param", "module__embed_dim=16", "--param", "module__num_heads=2", "--param", "module__num_layers=1"]
QUICK = ["--epochs", "1", "--batch-size", "8", "--param", "device=cpu"]
UNDRAWN = [*QUICK, "--param", "callbacks__reconstruction=null"]
"""Without pictures in TensorBoard, which take seconds."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Windows of EDF files alone of three subjects, and labelled ones of two others and of one of the three."""
    root = tmp_path_factory.mktemp("pretrain")
    load_dataset("demo", root / "demo", n_subjects=5, recordings=1, minutes=1)
    for subject in ("demo03", "demo04", "demo05"):
        (root / "clinic" / subject).mkdir(parents=True)
        shutil.copy(root / "demo" / subject / f"{subject}_01.edf", root / "clinic" / subject)
    clinic = ["prepare", "recordings-folder", str(root / "clinic"), "-o", str(root / "unlabelled")]
    assert main([*clinic, "--labels", "none", "--stride-s", "10"]) == 0
    for name, subjects in (("apart", "01,02"), ("mixed", "01,02,03")):
        prepare = ["prepare", "demo", str(root / "demo"), "-o", str(root / f"{name}-windows"), "--stride-s", "10"]
        assert main([*prepare, "--subjects", subjects]) == 0
    return root


@pytest.fixture(scope="module")
def run(stores):
    folder = stores / "run"
    command = ["pretrain", str(stores / "unlabelled"), "-o", str(folder), "--objective", "masked-spectrum"]
    weighted = ["--objective", "biot-contrastive=0.5", "--validation-fraction", "0", "--hold-out", "clinic/demo05"]
    with pytest.MonkeyPatch.context() as patch:
        take_no_pictures(patch)
        assert main([*command, *weighted, *TINY, *UNDRAWN]) == 0
    return folder


def last_line(capsys):
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_recordings_without_labels_become_windows_that_only_pretraining_takes(stores, tmp_path, capsys):
    windows = Windows.open(stores / "unlabelled")
    assert (windows.label_rule, len(windows), int(windows.y.sum())) == ("none", 18, 0)
    assert main(["train", str(stores / "unlabelled"), "-o", str(tmp_path / "model")]) == 1
    assert "none is of a seizure (label rule none), so nothing can be learnt" in last_line(capsys)


def test_the_folder_holds_model_curves_record_and_page(run, stores):
    names = {path.name for path in run.iterdir()}
    assert names >= {
        *("config.json", "model.safetensors", "objectives.safetensors", "history.json", "trained_on.json"),
        *("pretraining.json", "tensorboard", "report.html"),
    }
    assert not (run / ".pretraining").exists()
    record = json.loads((run / "pretraining.json").read_text())["record"]
    assert record["title"] == "biot, pretrained by masked-spectrum + biot-contrastive"
    assert record["subjects"] == {
        "train": ["clinic/demo03", "clinic/demo04"],
        "valid": [],
        "hold_out": ["clinic/demo05"],
    }
    assert record["valid"] is None
    assert record["hold_out"].keys() >= {"loss", "masked-spectrum_skill", "biot-contrastive_chance"}
    assert record["hold_out"]["loss"] == pytest.approx(
        load_pretraining(run)[-1].evaluate(
            load_pretraining(run)[:-1].transform(
                Windows.open(stores / "unlabelled").query("subject == 'clinic/demo05'")
            )
        )["loss"]
    )
    assert [user.path for user in users_of(stores / "unlabelled")] == [run.resolve()]


def test_a_model_that_starts_from_it_remembers_both_steps(run, stores, tmp_path, capsys):
    command = ["train", str(stores / "apart-windows"), "-o", str(tmp_path / "model"), "--pretrained", str(run), *QUICK]
    assert main([*command, "--validation-fraction", "0", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["title"] == "BIOT, pretrained run"
    seen = [(one.dataset, one.subjects, one.how) for one in provenance_of(tmp_path / "model").trained_on]
    assert seen == [
        ("clinic", ("clinic/demo03", "clinic/demo04"), "unsupervised"),
        ("demo", ("demo/01", "demo/02"), "supervised"),
    ]
    assert load_pipeline(tmp_path / "model")[-1].module_.get_config()["embed_dim"] == 16


def test_a_recording_that_it_saw_under_another_name_is_refused_in_a_test(run, stores, tmp_path, capsys):
    command = ["train", str(stores / "mixed-windows"), "-o", str(tmp_path / "model"), "--pretrained", str(run), *QUICK]
    assert main([*command, "--hold-out", "demo/03"]) == 1
    assert "clinic/demo03" in last_line(capsys)
    assert main(["cv", str(stores / "mixed-windows"), "-o", str(tmp_path / "cv"), "--pretrained", str(run)]) == 1
    assert "clinic/demo03" in last_line(capsys)
    assert not list(tmp_path.iterdir())


def test_who_was_seen_before_cannot_be_held_out_of_a_second_pretraining(run, stores, tmp_path, capsys):
    command = ["pretrain", str(stores / "unlabelled"), "-o", str(tmp_path / "second"), "--pretrained", str(run)]
    assert main([*command, "--hold-out", "clinic/demo04"]) == 1
    assert f"hold_out: {run} saw clinic/demo04" in (line := last_line(capsys))
    assert "allow_contaminated" not in line


def test_it_goes_on_from_a_pretraining_with_its_model_and_steps(cheap_pictures, run, stores, tmp_path):
    command = ["pretrain", str(stores / "unlabelled"), "-o", str(tmp_path / "second"), "--pretrained", str(run)]
    assert main([*command, *UNDRAWN, "--objective", "biot-contrastive", "--validation-fraction", "0"]) == 0
    description = json.loads((tmp_path / "second" / "pretraining.json").read_text())
    assert description["model"]["config"]["embed_dim"] == 16
    assert description["record"]["started_from"]["source"] == str(run)
    assert provenance_of(tmp_path / "second").saw(["clinic/demo04", "clinic/demo05"]) == [
        "clinic/demo04",
        "clinic/demo05",
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--objective", "masked-spektrum"], "no objectives named 'masked-spektrum'; .*did you mean 'masked-spectrum'"),
        (["--objective", "biot-contrastive=0"], "--objective biot-contrastive=0: expected NAME or NAME=WEIGHT"),
        (["--objective", "biot-contrastive=much"], "with a weight above 0, e.g. biot-contrastive=0.5"),
        (["--objective", "biot-contrastive", "--objective", "biot-contrastive=2"], "biot-contrastive is given twice"),
        (["--model", "biott"], "no models named 'biott'; .*did you mean 'biot'"),
        (["--model", "eegnet"], "token_stages"),
        (["--precision", "fp61"], "--precision fp61: expected one of"),
        (["--param", "objective=masked-patch"], "--param objective: this parameter has an option of its own"),
        (["--param", "module__no_such=1"], "--param module__no_such: biot takes"),
        (["--param", "no_such=1"], "no_such"),
        (["--hold-out", "clinic/demo09"], "no windows of clinic/demo09"),
        (["--pretrained", "nowhere"], "no checkpoint 'nowhere'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(stores, tmp_path, capsys, more, said):
    import re

    command = ["pretrain", str(stores / "unlabelled"), "-o", str(tmp_path / "run"), *QUICK]
    assert main([*command, *more]) == 1
    line = last_line(capsys)
    assert re.search(said, line), line
    assert not (tmp_path / "run").exists()


def test_another_model_than_the_pretrained_one_is_refused(run, stores, tmp_path, capsys):
    command = ["train", str(stores / "apart-windows"), "-o", str(tmp_path / "model"), "--pretrained", str(run)]
    assert main([*command, "--model", "masked-vit"]) == 1
    assert f"--model masked-vit: {run} is a pretrained biot; leave --model out" in last_line(capsys)


def test_a_model_of_several_scales_starts_from_a_pretrained_biot(run, stores, tmp_path):
    command = ["train", str(stores / "apart-windows"), "-o", str(tmp_path / "model"), "--pretrained", str(run), *QUICK]
    assert main([*command, "--model", "multi-scale-biot", "--validation-fraction", "0"]) == 0
    assert type(load_pipeline(tmp_path / "model")[-1].module_).__name__ == "MultiScaleBIOT"
    assert provenance_of(tmp_path / "model").saw(["clinic/demo03"]) == ["clinic/demo03"]


def test_folders_that_hold_something_are_left_alone(run, stores, tmp_path, capsys):
    before = (run / "pretraining.json").read_bytes()
    (tmp_path / "mine.txt").write_text("mine")
    for folder, said in ((run, "holds a pretrained model already"), (tmp_path, "not empty (mine.txt)")):
        assert main(["pretrain", str(stores / "unlabelled"), "-o", str(folder)]) == 1
        assert said in last_line(capsys)
    assert (run / "pretraining.json").read_bytes() == before


def test_commands_that_take_no_pretraining_say_what_it_is(run, tmp_path, capsys):
    for command in (
        ["detect", str(run), str(tmp_path), "-o", str(tmp_path / "out")],
        ["models", "audit", str(run)],
        ["cv", str(run), "-o", str(tmp_path / "out")],
    ):
        assert main(command) == 1
        line = last_line(capsys)
        assert "found a pretrained model" in line
        assert f"`biot-bd train WINDOWS --pretrained {run} -o MODEL` takes" in line


def test_verify_loads_it_and_says_whom_it_saw(run, tmp_path, capsys):
    assert main(["models", "verify", str(run)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "a pretrained biot of" in told
    assert "objectives masked-spectrum x 1, biot-contrastive x 0.5; epochs 1" in told
    assert "windows of 16 channels and 2000 samples at 200 Hz, percentile-95" in told
    assert "trained on clinic (unsupervised; 2 subjects: clinic/demo03, clinic/demo04)" in told
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "objectives.safetensors").write_bytes(b"")
    assert main(["models", "verify", str(copy)]) == 1
    assert "objectives.safetensors: the weights are damaged" in last_line(capsys)


def test_its_page_is_made_anew(cheap_pictures, run, stores):
    (run / "report.html").unlink()
    assert main(["report", str(run), "--windows", str(stores / "unlabelled")]) == 0
    assert (run / "report.html").stat().st_size > 10_000
    assert cheap_pictures


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("objective__mask_ratio=abc", "objective__mask_ratio='abc'"),
        ("objective__block_frames=2.5", "objective__block_frames=2.5"),
        ("module__embed_dim=abc", "module__embed_dim='abc'"),
        ("max_epochs=0", "max_epochs=0: there would be nothing to save"),
        ("log_dir=elsewhere", "--param log_dir: it has a place of its own"),
    ],
)
def test_a_parameter_that_cannot_be_is_named_before_anything_is_written(stores, tmp_path, capsys, param, message):
    assert main(["pretrain", str(stores / "unlabelled"), "-o", str(tmp_path / "run"), "--param", param]) == 1
    assert message in last_line(capsys)
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_pretrained_is_no_bug(stores, tmp_path, capsys):
    assert main(["pretrain", str(stores / "unlabelled"), "-o", str(tmp_path / "run"), "--model", "shallow"]) == 1
    line = last_line(capsys)
    assert "has no token_stages()" in line
    assert "this is a bug" not in line


def test_seizures_are_not_missed_where_no_labels_were_asked_for(stores, tmp_path):
    command = ["prepare", "demo", str(stores / "demo"), "-o", str(tmp_path / "w"), "--labels", "none"]
    assert main([*command, "--subjects", "01", "--stride-s", "10"]) == 0
    assert "no positive window" not in (tmp_path / "w" / "manifest.json").read_text()
