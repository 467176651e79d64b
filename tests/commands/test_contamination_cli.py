"""``biot-bd cv`` and ``train`` with checkpoints that saw test subjects, called in this process."""

import json
import re
import shutil

import pytest

from biot_bd import BIOTClassifier
from biot_bd.cli import main
from biot_bd.commands._options import TrainingOptions
from biot_bd.commands._pipelines import build_pipeline, describe_model
from biot_bd.models import provenance_of

SIZE = ["--param", "module__embed_dim=16", "--param", "module__num_heads=2", "--param", "module__num_layers=1"]
QUICK = ["--epochs", "1", "--batch-size", "32", "--param", "device=cpu", "--validation-fraction", "0"]
EXCERPTS = {
    "chb01": ["chb01_03", "chb01_18_pre"],
    "chb02": ["chb02_16_ict", "chb02_16_pre"],
    "chb03": ["chb03_01_ict", "chb03_01_pre"],
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def excerpts(shared, tmp_path_factory):
    root = tmp_path_factory.mktemp("chbmit")
    for case, recordings in EXCERPTS.items():
        (root / case).mkdir()
        source = shared / "data" / "chbmit-excerpts" / case
        for name in recordings:
            (root / case / f"{name}.edf").symlink_to(source / f"{name}.edf")
        shutil.copy(source / f"{case}-summary.txt", root / case)
    folder = tmp_path_factory.mktemp("store") / "excerpts"
    assert main(["prepare", "chb-mit", str(root), "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def model(excerpts, tmp_path_factory):
    """A model trained on 01 and 03, scored on 02."""
    folder = tmp_path_factory.mktemp("model") / "own"
    assert main(["train", str(excerpts), "-o", str(folder), *SIZE, *QUICK, "--hold-out", "chb-mit/02"]) == 0
    return folder


@pytest.fixture
def untouched(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("something was loaded or fitted")

    monkeypatch.setattr(BIOTClassifier, "fit", fail)
    monkeypatch.setattr("biot_bd.training.pretrained.load_checkpoint", fail)
    monkeypatch.setattr("biot_bd.models.checkpoints.hub.fetch", fail)


def last_line(capsys):
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_cv_refuses_six_datasets_on_chbmit(excerpts, untouched, tmp_path, capsys):
    assert main(["cv", str(excerpts), "-o", str(tmp_path / "run"), "--pretrained", "six-datasets-18"]) == 1
    line = last_line(capsys)
    assert line.startswith("biot-bd cv: six-datasets-18 was trained on chb-mit/01, chb-mit/02, chb-mit/03")
    assert not (tmp_path / "run").exists()


def test_train_refuses_it_for_a_hold_out(excerpts, untouched, tmp_path, capsys):
    command = ["train", str(excerpts), "-o", str(tmp_path / "m"), "--pretrained", "six-datasets-18"]
    assert main([*command, "--hold-out", "chb-mit/03"]) == 1
    assert "trained on chb-mit/03 of chb-mit" in last_line(capsys)
    assert main([*command, "--hold-out", "chb-mit/04"]) == 1
    assert "no windows of chb-mit/04" in last_line(capsys)
    assert not list(tmp_path.iterdir())


def test_the_hold_out_is_scored_and_left_out(excerpts, model, tmp_path, capsys):
    scores = json.loads((model / "metrics.json").read_text())
    assert list(scores["subjects"]) == ["chb-mit/02"]
    assert provenance_of(model).saw(["chb-mit/01", "chb-mit/02", "chb-mit/03"]) == ["chb-mit/01", "chb-mit/03"]
    command = ["train", str(excerpts), "-o", str(tmp_path / "m"), *SIZE, *QUICK]
    assert main([*command, "--hold-out", "chb-mit/02", "--hold-out", "chb-mit/01", "--scoring", "roc_auc"]) == 0
    assert "chb-mit/01, chb-mit/02" in capsys.readouterr().out
    scores = json.loads((tmp_path / "m" / "metrics.json").read_text())
    assert scores["scoring"] == ["roc_auc"]
    assert list(scores["subjects"]) == ["chb-mit/01", "chb-mit/02"]
    assert provenance_of(tmp_path / "m").saw(["chb-mit/01", "chb-mit/02", "chb-mit/03"]) == ["chb-mit/03"]


def test_cv_from_a_model_that_we_trained(excerpts, model, tmp_path, capsys):
    command = ["cv", str(excerpts), "-o", str(tmp_path / "run"), "--pretrained", str(model), *QUICK]
    assert main(command) == 1
    assert "was trained on chb-mit/01, chb-mit/03 of chb-mit (supervised)" in last_line(capsys)
    assert main([*command, "--finetune", "linear-probe", "--allow-contaminated"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("CONTAMINATED: NOT A RESULT: BIOT, pretrained own, fine-tuned linear-probe on excerpts")
    assert "contaminated: " in out
    assert re.search(r"chb-mit/01, [^/]*contaminated", out)
    assert not re.search(r"chb-mit/02, [^/]*contaminated", out)
    stored = json.loads((tmp_path / "run" / "run.json").read_text())
    assert stored["allow_contaminated"] is True
    assert stored["contaminated_subjects"] == ["chb-mit/01", "chb-mit/03"]
    assert 'role="note">Contaminated: ' in (tmp_path / "run" / "report.html").read_text()
    assert main([*command, "--finetune", "linear-probe", "--allow-contaminated", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["contamination"].startswith("contaminated: ")
    assert facts["notes"][0] == facts["contamination"]


def test_train_from_a_model_that_we_trained(excerpts, model, tmp_path, capsys):
    command = ["train", str(excerpts), "--pretrained", str(model), *QUICK, "--finetune", "linear-probe"]
    assert main([*command, "-o", str(tmp_path / "a"), "--hold-out", "chb-mit/01"]) == 1
    assert "was trained on chb-mit/01 of chb-mit" in last_line(capsys)
    assert main([*command, "-o", str(tmp_path / "b"), "--hold-out", "chb-mit/02"]) == 0
    out = capsys.readouterr().out
    assert "hold-out (not a result" in out
    assert "CONTAMINATED" not in out
    assert main([*command, "-o", str(tmp_path / "c"), "--hold-out", "chb-mit/01", "--allow-contaminated"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("CONTAMINATED: BIOT, pretrained own")
    assert "hold-out (CONTAMINATED, not a result" in out
    assert json.loads((tmp_path / "c" / "metrics.json").read_text())["contamination"].startswith("contaminated: ")
    assert "chb-mit/01" in provenance_of(tmp_path / "c").saw(["chb-mit/01"])
    assert main([*command, "-o", str(tmp_path / "d"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["contamination"] is None
    assert facts["checkpoints"][0]["source"] == str(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pretrained", "prest-17"], "prest-16"),
        (["--pretrained", "prest-16", "--model", "eegnet"], "checkpoints are of BIOT"),
        (["--pretrained", "prest-16", "--model", "line-length"], "checkpoints are of BIOT"),
        (["--pretrained", "prest-16", "--param", "pretrained=x"], "option of its own"),
        (["--finetune", "all-of-it"], "linear-probe"),
        (["--finetune", "gradual", "--param", "finetune__speed=2"], "finetune__speed"),
    ],
)
def test_bad_options_fail_in_one_line(excerpts, untouched, tmp_path, capsys, arguments, message):
    assert main(["cv", str(excerpts), "-o", str(tmp_path / "run"), *arguments]) == 1
    assert message in last_line(capsys)
    assert not (tmp_path / "run").exists()


def test_options_reach_the_classifier(excerpts):
    from biot_bd import Windows

    windows = Windows.open(excerpts)
    net = build_pipeline(windows, TrainingOptions(pretrained="prest-16", finetune=["gradual"]))[-1]
    assert (net.pretrained, net.finetune) == ("prest-16", "gradual")
    net = build_pipeline(windows, TrainingOptions(finetune=["linear-probe", "cosine"]))[-1]
    assert (net.pretrained, net.finetune) == (None, ["linear-probe", "cosine"])
    assert describe_model("biot", {}, "prest-16", ["gradual"]) == "BIOT, pretrained prest-16, fine-tuned gradual"
    assert describe_model("biot", {}) == "BIOT, full size"
