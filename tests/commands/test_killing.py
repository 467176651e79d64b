"""SIGKILL at moments drawn by chance: the same command ends with the results of an undisturbed one."""

from __future__ import annotations

import json
import random
import signal

import pytest
from child_commands import TINY, run_child, signalled

from biot_bd import Windows
from biot_bd.evaluation import SearchRecord
from biot_bd.evaluation.result import Result

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

KILLS = 8
COMMANDS = {
    "prepare": lambda world, out: ["prepare", "demo", world.recordings, "-o", out / "windows"],
    "train": lambda world, out: [
        *("train", world.windows, "-o", out / "model", "--epochs", 3, "--hold-out", "demo/04"),
        *TINY,
    ],
    "pretrain": lambda world, out: [
        *("pretrain", world.windows, "-o", out / "pretrained", "--epochs", 3, "--batch-size", 8),
        *("--objective", "masked-spectrum", "--hold-out", "demo/04", *TINY),
    ],
    "cv": lambda world, out: ["cv", world.windows, "-o", out / "run", "--epochs", 2, "--cv", "subject-kfold-2", *TINY],
    "search": lambda world, out: [
        *("search", world.windows, "-o", out / "run", "--grid", "lr=0.001,0.01", "--epochs", 1),
        *("--cv", "subject-kfold-2", "--inner-cv", "subject-kfold-2", *TINY),
    ],
}


def results(name, out):
    """Return what must not depend on kills: not times of day, and not what was measured."""
    if name == "prepare":
        windows = Windows.open(out / "windows")
        signals = {path.name: path.read_bytes() for path in (out / "windows" / "signals").iterdir()}
        return windows.fingerprint, windows.metadata.to_csv(), signals
    if name == "train":
        names = sorted(path.name for path in (out / "model").iterdir())
        return names, [
            (out / "model" / file).read_bytes() for file in ("model.safetensors", "events.json", "metrics.json")
        ]
    if name == "pretrain":
        told = json.loads((out / "pretrained" / "pretraining.json").read_text())
        del told["record"]["trained_on"]  # digests of recordings are salted by chance
        weights = [(out / "pretrained" / file).read_bytes() for file in ("model.safetensors", "objectives.safetensors")]
        return sorted(path.name for path in (out / "pretrained").iterdir()), told["record"], weights
    result = Result.open(out / "run")
    tried = SearchRecord.open(out / "run").trials.drop(columns="wall_s").to_csv() if name == "search" else None
    models = [path.read_bytes() for path in sorted((out / "run").glob("folds/*/model/model.safetensors"))]
    return result.metrics["pooled"], result.metrics["macro"], result.predictions.to_csv(), models, tried


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_again_and_again_it_ends_with_the_results_of_an_undisturbed_call(cheap_pictures, world, tmp_path, name):
    drawn = random.Random(f"{name} killed")
    undisturbed, disturbed = tmp_path / "a", tmp_path / "b"
    for folder in (undisturbed, disturbed):
        folder.mkdir()
    assert run_child(COMMANDS[name](world, undisturbed)).status == 0
    longest_s, killed, left = 0.2, 0, 0
    while killed < KILLS:
        after_s = drawn.uniform(0.02, longest_s)
        status = run_child(COMMANDS[name](world, disturbed / str(left)), signalled(signal.SIGKILL, after_s)).status
        if status == -signal.SIGKILL:
            killed += 1
            longest_s *= 1.3
        else:
            assert status == 0
            assert results(name, disturbed / str(left)) == results(name, undisturbed)
            left += 1  # begin anew, with kills that come earlier
            longest_s *= 0.6
    assert run_child(COMMANDS[name](world, disturbed / str(left))).status == 0
    assert results(name, disturbed / str(left)) == results(name, undisturbed)
