"""``--precision`` and ``--micro-batch`` of ``biot-bd cv`` and ``biot-bd train``."""

import json

import pytest

from biot_bd import load_pipeline
from biot_bd.cli import main
from biot_bd.commands._options import TrainingOptions
from biot_bd.commands._pipelines import build_pipeline

TINY = ["--param", "module__embed_dim=16", "--param", "module__num_heads=2", "--param", "module__num_layers=1"]
QUICK = [*TINY, "--epochs", "1", "--batch-size", "32", "--param", "device=cpu"]


def test_a_fold_says_how_it_computed(store, tmp_path):
    run = tmp_path / "run"
    options = ["--precision", "bf16", "--micro-batch", "7"]
    assert main(["cv", str(store.folder), "-o", str(run), *QUICK, *options]) == 0
    facts = json.loads((run / "folds" / "00" / "fold.json").read_text())["precision"]
    assert facts["training_plan"] == {"precision": "bf16", "micro_batch": 7}
    assert facts["wanted"] == {"precision": "bf16", "micro_batch": 7}


def test_train_saves_it_with_the_model(store, tmp_path, capsys):
    folder = tmp_path / "model"
    assert main(["train", str(store.folder), "-o", str(folder), *QUICK, "--micro-batch", "whole", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["precision"]["inference_plan"] == {"precision": "fp32", "micro_batch": None}
    assert load_pipeline(folder)[-1].micro_batch is None


def test_defaults_are_left_to_the_classifier(store):
    net = build_pipeline(store)[-1]
    assert (net.precision, net.micro_batch) == ("fp32", "auto")
    assert build_pipeline(store, TrainingOptions(micro_batch="16"))[-1].micro_batch == 16


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--precision", "half"], "--precision half: expected one of fp32"),
        (["--micro-batch", "0"], "'whole' or 'auto'"),
    ],
)
def test_bad_values_end_in_one_line(store, tmp_path, capsys, options, match):
    assert main(["cv", str(store.folder), "-o", str(tmp_path / "run"), *QUICK, *options]) != 0
    assert match in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
