"""A mistyped name or a wrong folder is told before anything heavy is imported, with what to do."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from biot_bd.commands import _names

HEAVY = ("torch", "mne", "sklearn", "scipy", "pandas", "braindecode", "skorch")
CHILD = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from biot_bd.cli import main

for arguments in json.loads(sys.stdin.read()):
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(said):
        status = main(arguments)
    loaded = [name for name in {heavy} if name in sys.modules]
    print(json.dumps([status, said.getvalue(), loaded]))
"""

# Arguments, and what the line says; W are windows, M a model, R a run.
TYPOS = [
    ("prepare demoo W -o out", "no datasets named 'demoo'; .*did you mean 'demo'"),
    ("prepare demo data -o out --montage biot16", "no montages named 'biot16'; .*did you mean 'biot-16'"),
    ("prepare demo data -o out --labels overlp", "no label_rules named 'overlp'; .*did you mean 'overlap'"),
    ("prepare demo data -o out --resample ftt", "--resample ftt: expected one of .*did you mean 'fft'"),
    ("prepare demo data -o out --on-missing drp", "did you mean 'drop'"),
    ("doctor chbmit data", "no datasets named 'chbmit'; .*did you mean 'chb-mit'"),
    ("doctor data --montage bio-16", "no montages named 'bio-16'; .*did you mean 'biot-16'"),
    ("datasets describe chbmit data", "did you mean 'chb-mit'"),
    ("cv W -o out --model eegnt", "no models named 'eegnt'; .*did you mean 'eegnet'"),
    ("cv W -o out --loss focl", "no losses named 'focl'; .*did you mean 'focal'"),
    (
        "cv W -o out --sampler class_balanced",
        "--sampler class_balanced: expected one of .*did you mean 'class-balanced'",
    ),
    ("cv W -o out --finetune linear-prob", "did you mean 'linear-probe'"),
    ("cv W -o out --protocol biot_paper", "did you mean 'biot-paper'"),
    ("cv W -o out --cv subject-lo", "did you mean 'subject-loo'"),
    ("cv W -o out --cv subject-kfold5", "did you mean 'subject-kfold-N'"),
    ("cv W -o out --scoring roc_auk", "--scoring roc_auk: no such metric; .*did you mean 'roc_auc'"),
    ("cv W -o out --threshold balanced_accuracy", "did you mean 'balanced-accuracy'"),
    ("cv W -o out --precision bf61", "did you mean 'bf16'"),
    ("cv W -o out --pretrained prest16", "no checkpoint 'prest16': .*did you mean 'prest-16'"),
    ("cv W -o out --backend lokyy", "--backend lokyy: expected one of .*did you mean 'loky'"),
    ("cv W -o out --scheduler tcp://10.0.0.5:8786", "--scheduler .*: only --backend dask takes one, not loky"),
    ("cv W -o out --backend dask --slurm partition=gpu", "--slurm: only --backend slurm and dask-slurm"),
    ("cv W -o out --no-wait", "--no-wait: only jobs .* go on alone, not loky"),
    ("cv W -o out --folds-per-gpu many", "--folds-per-gpu many: expected a number of at least 1, or auto"),
    ("cv W -o out --jobs -2", "--jobs -2: expected how many folds at once"),
    ("search W -o out --grid lr=1,2 --model eegnt", "no models named 'eegnt'; .*did you mean 'eegnet'"),
    ("search W -o out --grid lr=1,2 --engine optun", "--engine optun: expected one of .*did you mean 'optuna'"),
    ("search W -o out --grid lr=1,2 --cv subject-lo", "--cv subject-lo: .*did you mean 'subject-loo'"),
    ("search W -o out --grid lr=1,2 --inner-cv subject-kfold3", "--inner-cv subject-kfold3: .*'subject-kfold-N'"),
    ("search W -o out --grid lr=1,2 --inner-cv biot-paper", "--inner-cv biot-paper: expected one of subject-loo"),
    ("search W -o out --grid lr=1,2 --backend lokky", "--backend lokky: expected one of .*did you mean 'loky'"),
    ("search W -o out", "--grid: which parameters, and which values of each"),
    ("search W -o out --grid lr=1e-5..1e-3", "a range cannot be tried value by value"),
    ("train W -o out --loss focl", "did you mean 'focal'"),
    ("pretrain W -o out --objective masked-spektrum", "no objectives named 'masked-spektrum'; .*'masked-spectrum'"),
    ("pretrain W -o out --objective masked-spectrum=0", "expected NAME or NAME=WEIGHT with a weight above 0"),
    ("pretrain W -o out --model biott", "no models named 'biott'; .*did you mean 'biot'"),
    ("pretrain W -o out --precision bf61", "did you mean 'bf16'"),
    ("train W -o out --scoring f1_makro", "did you mean 'f1_macro'"),
    ("detect M data -o out --engine trch", "no engines named 'trch'; .*there are: onnx, openvino, pt2, torch"),
    ("stream M night.edf --engine trch", "no engines named 'trch'"),
    ("explain M W -o out --probe atention", "no probes named 'atention'; .*did you mean 'attention'"),
    ("check biott W", "biott: neither a folder nor a name that is known: expected one of .*did you mean 'biot'"),
]
FOLDERS = [
    (
        "detect R data -o out",
        r"R: expected a saved model or an exported model, found a run folder with 2 saved models; give R/folds/00/model",
    ),
    ("detect R/folds/01 data -o out", "give R/folds/01/model$"),
    ("detect W data -o out", "found prepared windows; `biot-bd train W -o MODEL` makes a model"),
    (
        "detect data data -o out",
        r"found a folder with recordings \(1 .edf\); .*`biot-bd doctor data` takes what you gave",
    ),
    ("detect data/night.edf data -o out", r"expected a saved model or an exported model, found a file \(.edf\)"),
    (
        "detect Mo data -o out",
        r"Mo: expected a saved model or an exported model, found no such folder \(did you mean M\?\)",
    ),
    ("stream R night.edf", "give R/folds/00/model or another of the 2"),
    ("cv R -o out", "expected prepared windows, found a run folder"),
    ("search R -o out --grid lr=1,2", "expected prepared windows, found a run folder"),
    ("cv data -o out", "`biot-bd prepare DATASET data -o WINDOWS` makes the windows"),
    ("cv half -o out", "found unfinished windows .the same `biot-bd prepare` goes on"),
    ("cv W -o out --splits-from M", "M: expected a run folder, found a saved model"),
    (
        "train M -o out",
        "expected prepared windows, found a saved model; .*`biot-bd detect M RECORDINGS -o RESULTS` takes",
    ),
    ("explain W W -o out", "W: expected a saved model or a run folder, found prepared windows"),
    ("explain M R -o out", "R: expected prepared windows, found a run folder"),
    (
        "report W",
        "W: expected a run folder or a pretrained model or embedded windows or a study of foundation models, found prepared windows; `biot-bd cv W -o RUN` makes a run",
    ),
    ("report R/folds/00/model", "give R$"),
    (
        "report empty",
        "expected a run folder or a pretrained model or embedded windows or a study of foundation models, found an empty folder; `biot-bd cv WINDOWS -o RUN` makes a run",
    ),
    ("prepare recordings-folder R -o out", "expected recordings, found a run folder .*; `biot-bd report R` takes it"),
    ("compare R W -o out", "W: expected a run folder, found prepared windows; `biot-bd cv W -o RUN` makes a run"),
    ("tune R res", "R: expected a saved model, found a run folder with 2 saved models; give R/folds/00/model"),
    ("report res", "found results of `biot-bd detect`; .*`biot-bd review res --reviewer NAME` takes what you gave"),
    ("score W R", "W: expected event files or a run folder, found prepared windows; `biot-bd cv W -o RUN` takes it"),
    ("check R W", "give R/folds/00/model or another of the 2, each trained without the subjects that its fold tests"),
    ("detect P data -o out", "found a pretrained model; .*`biot-bd train WINDOWS --pretrained P -o MODEL` takes"),
    ("pretrain M -o out", "M: expected prepared windows, found a saved model"),
    ("pretrain W P -o out", "P: expected prepared windows, found a pretrained model"),
    ("check M R", "R: expected prepared windows, found a run folder"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders that are told by the names in them."""
    root = tmp_path_factory.mktemp("folders")
    files = [
        *(
            "W/manifest.json",
            "W/windows.parquet",
            "M/pipeline.json",
            "M/model.safetensors",
            "R/run.json",
            "P/pretraining.json",
            "half/signals/a.npy",
        ),
        *(f"R/folds/0{i}/{name}" for i in (0, 1) for name in ("fold.json", "model/pipeline.json")),
        *("data/night.edf", "res/night_events.tsv", "res/night_detection.json"),
    ]
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (root / "empty").mkdir()
    return root


@pytest.fixture(scope="module")
def told(folders):
    """What each command line says, its exit status, and the heavy packages loaded until then."""
    lines = [case for case, _ in TYPOS + FOLDERS]
    done = subprocess.run(
        [sys.executable, "-c", CHILD.replace("{heavy}", repr(HEAVY))],
        input=json.dumps([line.split() for line in lines]),
        capture_output=True,
        text=True,
        cwd=folders,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize(("line", "expected"), TYPOS + FOLDERS, ids=lambda value: value.split(" -")[0])
def test_told_in_one_line_with_the_cure_before_anything_heavy(told, line, expected):
    status, said, loaded = told[line]
    assert status == 1
    assert said.count("\n") == 1, said
    assert said.startswith(f"biot-bd {line.split()[0]}: ")
    assert re.search(expected, said.rstrip("\n")), said
    assert loaded == []


def test_nothing_is_written(told, folders):
    assert not (folders / "out").exists()


def test_the_names_are_those_of_the_modules_that_take_them():
    from sklearn.metrics import get_scorer_names

    from biot_bd.evaluation.metrics.thresholds import THRESHOLD_RULES
    from biot_bd.evaluation.model_selection import folds
    from biot_bd.evaluation.protocols import PROTOCOLS
    from biot_bd.evaluation.studies.baselines import BASELINES
    from biot_bd.export.artifact import BOUNDS
    from biot_bd.models.inference_plan import PRECISIONS
    from biot_bd.training.finetuning.recipes import OPTIONS
    from biot_bd.training.persistence import scorer
    from biot_bd.training.sampling.strategies import SAMPLERS

    assert tuple(BASELINES) == _names.BASELINES
    assert tuple(SAMPLERS) == _names.SAMPLERS
    assert tuple(OPTIONS) == _names.FINETUNE
    assert tuple(PROTOCOLS) == _names.PROTOCOLS
    assert folds.SPLITS == _names.SPLITS
    assert tuple(THRESHOLD_RULES) == _names.THRESHOLDS
    assert {*PRECISIONS, "auto"} == set(_names.PRECISIONS)
    assert {*scorer.PRECISIONS, *BOUNDS} == set(_names.DETECTOR_PRECISIONS)
    assert set(get_scorer_names()) <= _names.SCORERS or _names._later_scikit_learn()


@pytest.mark.parametrize(
    "split", ["subject-loo", "subject-kfold-3", "stratified-subject-kfold-10", "biot-paper", "biot-code"]
)
def test_splits_that_there_are_pass(split):
    _names.check_split(split)


def test_a_scorer_of_a_later_scikit_learn_is_left_to_it(monkeypatch):
    monkeypatch.setattr(_names, "version", lambda name: "99.0.1")
    _names.check_scoring(["a_new_score"])
    monkeypatch.setattr(_names, "version", lambda name: "1.6.1")
    with pytest.raises(ValueError, match="no such metric"):
        _names.check_scoring(["a_new_score"])
