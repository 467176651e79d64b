"""``experiments/compare_regimes.py`` and ``chbmit_finetune.py`` end to end on generated subjects, with a tiny BIOT."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from biot_bd import load_pipeline
from biot_bd.datasets.demo import load_demo
from biot_bd.evaluation.studies.compare_regimes import StudyResult
from biot_bd.models import BIOT, provenance_of
from biot_bd.training.finetuning import OPTIONS

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TINY = {"embed_dim": 16, "num_heads": 2, "num_layers": 2, "hop_length": 200}


pytestmark = pytest.mark.usefixtures("one_thread")


def script(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(out, *more, subjects=3):
    args = ["--dataset", "demo", "--out", str(out), "--epochs", "2", "--stride-s", "10", *more]
    for name, value in TINY.items():
        args += ["--param", f"module__{name}={value}"]
    for text in (f"n_subjects={subjects}", "recordings=1", "minutes=2"):
        args += ["--data-param", text]
    return args


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Three regimes; the checkpoint was made on the way."""
    out = tmp_path_factory.mktemp("regimes")
    args = arguments(
        out, "--pretrain-epochs", "1", "--strategies", "full,scratch,linear-probe", "--cv", "subject-kfold-2"
    )
    assert script("compare_regimes").main(args) == 0
    return out


@pytest.mark.slow
def test_the_checkpoint_was_trained_on_other_generated_subjects(done):
    file = done / "checkpoint" / "encoder.ckpt"
    seen = provenance_of(file)
    assert seen.known
    assert seen.saw(["demo-other/01", "demo-other/02", "demo-other/03"]) == [f"demo-other/0{i}" for i in (1, 2, 3)]
    assert seen.saw(["demo/01", "demo/02", "demo/03"]) == []
    # Other signals too, not only other names.
    recordings = [
        folder / "demo01" / "demo01_01.edf" for folder in (done / "recordings", done / "checkpoint/recordings")
    ]
    assert recordings[0].read_bytes() != recordings[1].read_bytes()
    official = torch.load(file, weights_only=True)
    assert "transformer.layers.layers.0.0.fn.to_q.weight" in official
    assert not any("clshead" in key for key in official)


@pytest.mark.slow
def test_all_regimes_have_one_architecture_and_the_probe_is_frozen(done):
    saved = BIOT.from_checkpoint(done / "checkpoint/encoder.ckpt", n_outputs=2).state_dict()
    states = {
        name: load_pipeline(done / "study" / name / "seed-0/folds/00/model")[-1].module_.state_dict()
        for name in ("scratch", "linear-probe", "full")
    }
    assert len({tuple((k, tuple(v.shape)) for k, v in state.items()) for state in states.values()}) == 1
    encoder = [key for key in saved if key.startswith("encoder.")]
    same = {name: all(torch.equal(state[key].cpu(), saved[key]) for key in encoder) for name, state in states.items()}
    assert same == {"scratch": False, "linear-probe": True, "full": False}


@pytest.mark.slow
def test_table_plot_and_tests_stand_in_the_report(done):
    result = StudyResult.open(done / "study")
    assert result.regimes == ["scratch", "full", "linear-probe"]
    page = (done / "study/comparison.html").read_text(encoding="utf-8")
    for part in (
        "<svg",
        'class="subject"',
        "full − scratch",
        "Generated data",
        "Not a result",
        "small BIOT",
        "demo-other",
    ):
        assert part in page
    for name in result.regimes:
        assert f'href="{name}/seed-0/report.html"' in page
        assert (done / "study" / name / "seed-0/report.html").is_file()
        assert f'data-average="macro" data-metric="average_precision" data-of="{name}"' in page


@pytest.mark.slow
def test_tensorboard_has_the_attention_of_all_regimes_under_names_that_tell_them_apart(done):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for name in ("scratch", "linear-probe", "full"):
        folder = done / "study" / name / "seed-0" / "tensorboard" / "fold-00"
        events = EventAccumulator(str(folder)).Reload()
        assert "attention/early" in events.Tags()["images"]


@pytest.mark.slow
def test_the_same_command_again_computes_nothing_and_other_settings_are_refused(done, capsys):
    script_ = script("compare_regimes")
    fold = done / "study/full/seed-0/folds/00/fold.json"
    before = fold.stat().st_mtime_ns
    same = ("--pretrain-epochs", "1", "--strategies", "full,scratch,linear-probe", "--cv", "subject-kfold-2")
    assert script_.main(arguments(done, *same)) == 0
    assert fold.stat().st_mtime_ns == before
    assert script_.main(arguments(done, "--pretrain-epochs", "2", "--strategies", "scratch")) == 1
    assert "made with other settings" in capsys.readouterr().err


def test_bad_options(tmp_path, capsys):
    module = script("compare_regimes")
    assert module.main(arguments(tmp_path, "--strategies", "scratch,magic")) == 1
    assert "no strategy 'magic'; there are scratch, full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    for args in (["--dataset", "chb-mit"], ["--seeds", "a"], ["--pretrained", "prest-16", "--small"]):
        with pytest.raises(SystemExit, match="2"):
            module.main(arguments(tmp_path, *args))


def test_a_namespace_of_the_demo_is_a_plain_name(tmp_path):
    with pytest.raises(ValueError, match="namespace='a/b': expected letters"):
        load_demo(tmp_path, namespace="a/b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_checkpoint_that_saw_a_test_subject_is_refused_before_the_first_fit(done, tmp_path, capsys):
    """The model of a fold saw demo subjects; it may not start another study on them."""
    seen = done / "study/full/seed-0/folds/00/model"
    # The windows and recordings that are there already.
    for name in ("recordings", "windows"):
        (tmp_path / name).symlink_to(done / name)
    args = arguments(tmp_path, "--pretrained", str(seen), "--strategies", "scratch,full", "--cv", "subject-kfold-2")
    assert script("compare_regimes").main(args) == 1
    assert "was trained on" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()
    finetune = [
        "--dataset",
        "demo",
        "--root",
        str(done / "own"),
        "--out",
        str(tmp_path / "f"),
        "--pretrained",
        str(seen),
    ]
    (done / "own").symlink_to(done / "recordings")
    module = script("chbmit_finetune")
    module.make_windows = lambda options: __import__("biot_bd").Windows.open(done / "windows")
    assert module.main([*finetune, "--cv", "subject-kfold-2"]) == 1
    assert "was trained on" in capsys.readouterr().err
    assert not (tmp_path / "f/run/folds").exists()


@pytest.mark.slow
def test_chbmit_finetune_runs_from_a_clean_checkpoint(done, tmp_path, capsys):
    module = script("chbmit_finetune")
    module.make_windows = lambda options: __import__("biot_bd").Windows.open(done / "windows")
    args = [
        "--dataset",
        "demo",
        "--root",
        str(tmp_path),
        "--out",
        str(tmp_path / "f"),
        "--epochs",
        "1",
        "--cv",
        "subject-kfold-2",
    ]
    assert (
        module.main([*args, "--pretrained", str(done / "checkpoint/encoder.ckpt"), "--finetune", "full+layer-decay"])
        == 0
    )
    assert "NOT A RESULT" in " ".join(capsys.readouterr().out.split())
    run = json.loads((tmp_path / "f/run/run.json").read_text())
    assert run["contamination"] is None
    assert (tmp_path / "f/run/report.html").is_file()


@pytest.mark.slow
def test_every_strategy_runs(tmp_path):
    args = arguments(
        tmp_path, "--strategies", "all", "--loss", "cross-entropy", "--cv", "subject-kfold-2", "--seeds", "3"
    )
    assert script("compare_regimes").main(args) == 0
    result = StudyResult.open(tmp_path / "study")
    assert result.regimes == ["scratch", *OPTIONS]
    assert set(result.tests["second"]) == {"scratch"}
    page = (tmp_path / "study/comparison.html").read_text(encoding="utf-8")
    assert all(f'data-of="{name}"' in page for name in result.regimes)
