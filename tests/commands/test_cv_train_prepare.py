"""``biot-bd prepare``, ``cv`` and ``train`` on real excerpts, called in this process."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from biot_bd import Windows, load_pipeline, registry
from biot_bd.cli import main
from biot_bd.commands._options import TrainingOptions
from biot_bd.commands._pipelines import SMALL_BIOT, build_pipeline, describe_model, parse_assignments

TINY = ["--param", "module__embed_dim=16", "--param", "module__num_heads=2", "--param", "module__num_layers=1"]
QUICK = [*TINY, "--epochs", "1", "--batch-size", "32", "--param", "device=cpu"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def excerpts(shared, tmp_path_factory):
    """Two recordings each of chb01, chb02 and chb03, and their summaries."""
    root = tmp_path_factory.mktemp("chbmit")
    names = {
        "chb01": ["chb01_03", "chb01_18_pre"],
        "chb02": ["chb02_16_ict", "chb02_16_pre"],
        "chb03": ["chb03_01_ict", "chb03_01_pre"],
    }
    for case, recordings in names.items():
        (root / case).mkdir()
        source = shared / "data" / "chbmit-excerpts" / case
        for name in recordings:
            (root / case / f"{name}.edf").symlink_to(source / f"{name}.edf")
        shutil.copy(source / f"{case}-summary.txt", root / case)
    return root


@pytest.fixture(scope="module")
def store(excerpts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "excerpts"
    assert main(["prepare", "chb-mit", str(excerpts), "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cv") / "run"
    assert main(["cv", str(store), "-o", str(folder), *QUICK]) == 0
    return folder


def test_prepare_prints_facts_as_json_only(excerpts, store, capsys):
    assert main(["prepare", "chb-mit", str(excerpts), "-o", str(store), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    windows = Windows.open(store)
    assert facts["n_windows"] == len(windows) > 6
    assert facts["n_seizure_windows"] == int(windows.y.sum()) > 0
    assert facts["shape"] == [len(windows), 16, 2000]
    assert facts["label_rule"] == "overlap"
    assert facts["generated"] is False
    assert set(facts["subjects"]) == {"chb-mit/01", "chb-mit/02", "chb-mit/03"}
    assert {row["outcome"] for row in facts["not_loaded"]} == {"missing-file"}


def test_prepare_prints_a_table(excerpts, store, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["prepare", "chb-mit", str(excerpts), "-o", str(store)]) == 0
    text = capsys.readouterr().out
    assert "chb-mit/03" in text
    assert re.search(
        r"^- \d+ recordings: missing-file: chb01_\w+, chb01_\w+, chb01_\w+ and \d+ more", text, re.MULTILINE
    )
    assert str(store) in text


def test_prepare_hands_options_on(excerpts, tmp_path, capsys):
    args = [
        "--montage",
        "double-banana-18",
        "--window-s",
        "5",
        "--stride-s",
        "2.5",
        "--subjects",
        "chb03",
        "--labels",
        "overlap",
    ]
    assert main(["prepare", "chb-mit", str(excerpts), "-o", str(tmp_path / "w"), *args, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["shape"][1:] == [18, 1000]
    assert set(facts["subjects"]) == {"chb-mit/03"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["chb-mitt", "{root}", "-o", "{out}"], "chb-mit"),
        (["chb-mit", "{out}/nowhere", "-o", "{out}/w"], "nowhere"),
        (["chb-mit", "{root}", "-o", "{out}/w", "--montage", "biot-17"], "biot-16"),
        (["chb-mit", "{root}", "-o", "{out}/w", "--option", "color=1"], "color"),
        (["chb-mit", "{root}", "-o", "{out}/w", "--option", "color"], "KEY=VALUE"),
    ],
)
def test_prepare_fails_in_one_line(excerpts, tmp_path, capsys, args, message):
    assert main(["prepare", *(arg.format(root=excerpts, out=tmp_path) for arg in args)]) == 1
    stderr = capsys.readouterr().err.strip()
    assert message in stderr
    assert stderr.splitlines()[-1].startswith("biot-bd prepare: ")


def test_cv_writes_the_run_folder(run, store):
    stored = json.loads((run / "run.json").read_text())
    assert stored["state"] == "finished"
    assert stored["data"]["label_rule"] == "overlap"
    assert stored["not_a_result"].startswith("only 3 subjects")
    assert stored["title"].startswith("small BIOT (embed_dim 16")
    predictions = pd.read_parquet(run / "predictions.parquet").query("part == 'test'").sort_values("window")
    metadata = Windows.open(store).metadata.reset_index(drop=True)
    assert list(predictions["window"]) == list(metadata.index)
    for column in ("recording", "subject", "start_s", "stop_s"):
        assert predictions[column].tolist() == metadata[column].tolist()
    assert predictions["y_true"].tolist() == metadata["label"].tolist()
    for part in ("metrics.json", "report.html", "tensorboard/fold-02", "folds/02/model/pipeline.json"):
        assert (run / part).exists()


def test_cv_again_computes_nothing_and_prints_json(run, store, capsys):
    before = (run / "folds" / "00" / "fold.json").stat().st_mtime_ns
    assert main(["cv", str(store), "-o", str(run), *QUICK, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["subjects"].keys() == {"chb-mit/01", "chb-mit/02", "chb-mit/03"}
    assert any("not a result" in note for note in facts["notes"])
    assert (run / "folds" / "00" / "fold.json").stat().st_mtime_ns == before


def test_cv_prints_a_table(run, store, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["cv", str(store), "-o", str(run), *QUICK]) == 0
    text = capsys.readouterr().out
    for part in ("NOT A RESULT", "small BIOT", "chb-mit/02", "macro", "pooled", "label rule: overlap", "report.html"):
        assert part in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{out}", "-o", "{out}/r"], "biot-bd prepare"),
        (["{store}", "-o", "{run}", *QUICK, "--seed", "1"], "random_state: was 0, now is 1"),
        (["{store}", "-o", "{out}/r", "--cv", "loo"], "subject-loo"),
        (["{store}", "-o", "{out}/r", "--cv", "biot-paper"], "missing: chb-mit/04"),
        (["{store}", "-o", "{out}/r", "--model", "biott"], "eegnet"),
        (["{store}", "-o", "{out}/r", "--loss", "hinge"], "focal"),
        (["{store}", "-o", "{out}/r", "--scoring", "auc_roc"], "roc_auc"),
        (["{store}", "-o", "{out}/r", "--threshold", "best"], "matched-prevalence"),
        (["{store}", "-o", "{out}/r", "--param", "depth=3"], "depth"),
        (["{store}", "-o", "{out}/r", "--param", "module__depth=3"], "module__num_layers"),
        (["{store}", "-o", "{out}/r", "--lr", "1", "--param", "lr=2"], "option of its own"),
    ],
)
def test_cv_fails_in_one_line(run, store, tmp_path, capsys, args, message):
    assert main(["cv", *(arg.format(run=run, store=store, out=tmp_path) for arg in args)]) == 1
    stderr = capsys.readouterr().err.strip()
    assert message in stderr
    assert stderr.splitlines()[-1].startswith("biot-bd cv: ")


def test_train_saves_a_pipeline_of_all_subjects(store, tmp_path, capsys):
    folder = tmp_path / "model"
    assert main(["train", str(store), "-o", str(folder), *QUICK, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert sorted(facts["subjects"]["train"] + facts["subjects"]["valid"]) == ["chb-mit/01", "chb-mit/02", "chb-mit/03"]
    assert facts["subjects"]["test"] == []
    assert facts["data"]["label_rule"] == "overlap"
    windows = Windows.open(store)
    proba = load_pipeline(folder).predict_proba(windows)
    assert proba.shape == (len(windows), 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert list((folder / "tensorboard").rglob("events*"))
    assert main(["train", str(store), "-o", str(folder), *QUICK]) == 1
    assert "holds a model already" in capsys.readouterr().err


def test_train_says_what_the_model_saw(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["train", str(store), "-o", str(tmp_path / "model"), *QUICK, "--validation-fraction", "0"]) == 0
    text = capsys.readouterr().out
    assert "trained on 3 subjects, validated on nobody" in text
    assert "label rule overlap" in text
    assert "score this pipeline with `biot-bd cv`" in text


def test_parse_assignments():
    found = parse_assignments(["a=2", "b=1e-3", "c=text", "d=[1, 2]", "e=null", "f=x=y", "g=true"])
    assert found == {"a": 2, "b": 1e-3, "c": "text", "d": [1, 2], "e": None, "f": "x=y", "g": True}
    for bad, message in ((["a"], "KEY=VALUE"), (["=1"], "KEY=VALUE"), (["a=1", "a=2"], "twice")):
        with pytest.raises(ValueError, match=message):
            parse_assignments(bad)


def test_build_pipeline(store):
    options = TrainingOptions(loss="cross-entropy", epochs=3, lr=0.1, patience=2)
    pipeline = build_pipeline(Windows.open(store), options, params=SMALL_BIOT)
    assert list(pipeline.named_steps) == ["montagemapper", "percentilescaler", "biotclassifier"]
    params = pipeline[-1].get_params()
    assert (params["max_epochs"], params["lr"], params["patience"], params["criterion"]) == (3, 0.1, 2, "cross-entropy")
    assert pipeline[0].get_params()["montage"] == "biot-16"


def test_models_are_named_by_their_size():
    assert describe_model("biot") == "BIOT, full size"
    assert describe_model("biot", SMALL_BIOT).startswith("small BIOT (embed_dim 64")
    assert describe_model("eegnet") == "eegnet"
    assert describe_model("eegnet", {"module__F1": 4}) == "eegnet (F1 4)"


def test_small_biot_is_smaller():
    biot = registry.models["biot"]

    def size(**params):
        return sum(p.numel() for p in biot(n_outputs=2, n_chans=16, n_times=2000, sfreq=200, **params).parameters())

    small = {name.removeprefix("module__"): value for name, value in SMALL_BIOT.items()}
    assert size(**small) < size() / 10


def test_prepare_skips_what_cannot_be_opened_and_takes_subjects_with_commas(excerpts, tmp_path, capsys):
    root = tmp_path / "root"
    shutil.copytree(excerpts, root)
    cut = root / "chb02" / "chb02_16_pre.edf"
    cut.write_bytes(cut.read_bytes()[:-100_000])
    args = ["prepare", "chb-mit", str(root), "-o", str(tmp_path / "w"), "--subjects", "1, 2", "--subjects", "chb02"]
    assert main(args) == 1
    assert "chb02_16_pre.edf: incomplete" in capsys.readouterr().err
    assert main([*args, "--on-error", "skip"]) == 0
    said = capsys.readouterr()
    assert "chb02_16_pre: unreadable: " in said.out
    assert "1 of 16 recordings cannot be read: left out: chb02_16_pre" in said.err
    assert main([*args, "--on-error", "skip", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts["subjects"]) == {"chb-mit/01", "chb-mit/02"}
    left_out = {row["recording"]: row["outcome"] for row in facts["not_loaded"] if row["outcome"] != "missing-file"}
    assert left_out == {"chb02_16_pre": "unreadable"}
    assert main([*args[:5], "--subjects", ","]) == 2
    assert "no subject is named" in capsys.readouterr().err


def test_many_recordings_that_are_left_out_are_one_line_with_a_count():
    from biot_bd.commands.prepare import _left_out

    rows = [{"recording": f"r{i}", "outcome": "unlisted", "detail": f"r{i}.edf: no labels"} for i in range(24)]
    rows.insert(5, {"recording": "bad", "outcome": "unreadable", "detail": "bad.edf: cut short"})
    assert _left_out(rows) == [
        "- 24 recordings: unlisted: r0, r1, r2 and 21 more (--json lists all); e.g. r0.edf: no labels",
        "- bad: unreadable: bad.edf: cut short",
    ]
    assert _left_out(rows[:2]) == ["- r0: unlisted: r0.edf: no labels", "- r1: unlisted: r1.edf: no labels"]


def test_windows_without_a_seizure_train_nothing(world, tmp_path, capsys):
    from biot_bd.commands._pipelines import open_labelled_windows

    assert len(open_labelled_windows(world.windows)) > 0
    windows = type("Windows", (), {"y": np.zeros(5, int), "label_rule": "overlap", "__len__": lambda self: 5})()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("biot_bd.commands._pipelines.open_windows", lambda folder: windows)
        for command in ("cv", "train"):
            assert main([command, str(world.windows), "-o", str(tmp_path / "out")]) == 1
            assert (
                "5 windows, and none is of a seizure (label rule overlap), so nothing can be learnt"
                in capsys.readouterr().err
            )
    assert not (tmp_path / "out").exists()
