"""Places that cannot be written: file and cause in one line, nothing half written, and the same command goes on."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from child_commands import TINY, bound_by_permissions, limited, run_child
from safetensors import safe_open

from biot_bd.datasets.demo import DEFAULTS

pytestmark = pytest.mark.usefixtures("one_thread")

DETECT = (
    "--plot",
    "--html",
    "--probabilities",
    *(w for f in ("tsv", "csv_bi", "edf", "mne", "json") for w in ("--format", f)),
)
COMMANDS = {
    "prepare": lambda world, out: ["prepare", "demo", world.recordings, "-o", out / "windows"],
    "train": lambda world, out: [
        "train",
        world.windows,
        "-o",
        out / "model",
        "--epochs",
        1,
        "--hold-out",
        "demo/04",
        *TINY,
    ],
    "cv": lambda world, out: ["cv", world.windows, "-o", out / "run", "--epochs", 1, "--cv", "subject-kfold-2", *TINY],
    "detect": lambda world, out: [
        *("detect", world.model, world.recordings / "demo01", "-o", out / "found", "--threshold", 0.001, *DETECT),
    ],
    "stream": lambda world, out: [
        *("stream", world.model, world.recordings / "demo01" / "demo01_01.edf", "--speed", "max", "-o", out / "x.json"),
    ],
    "report": lambda world, out: ["report", _copied(world.run, out / "run")],
    "explain": lambda world, out: ["explain", world.run, world.windows, "-o", out / "explained"],
    "score": lambda world, out: ["score", world.run, "-o", out / "scores.json"],
    "demo": lambda world, out: ["demo", out / "demo", "--epochs", 1, "--jobs", 1],
}
# Sizes at which each kind of file that a command writes is the first that does not fit.
LIMITS = {
    "prepare": (600, 5_000, 100_000),
    "train": (1_000, 12_000, 42_500, 44_500),
    "cv": (3_000, 12_000, 42_000, 60_000),
    "detect": (300, 1_200, 30_000),
    "stream": (300,),
    "report": (1_000, 50_000),
    "explain": (700, 25_000),
    "score": (500,),
    "demo": (20, 300, 100_000),
}


def _copied(run, to):
    return to if to.exists() else shutil.copytree(run, to)


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def check_whole(folder):
    """Read every file that has its final name."""
    for name, held in content(folder).items():
        path, ending = folder / name, name.rpartition(".")[2]
        if ending == "json":
            json.loads(held)
        elif ending == "parquet":
            pd.read_parquet(path)
        elif ending in ("npy", "npz"):
            np.load(path)
        elif ending == "safetensors":
            with safe_open(path, "np") as weights:
                assert weights.keys()
        elif ending == "html":
            assert held.rstrip().endswith(b"</html>")
        elif ending in ("tsv", "csv_bi", "txt"):
            assert held.endswith(b"\n")
        elif ending == "png":
            assert held.endswith(b"IEND\xaeB`\x82")


QUICK = {("prepare", 100_000), ("detect", 30_000), ("stream", 300), ("score", 500)}
CASES = [
    pytest.param(name, limit, marks=[] if (name, limit) in QUICK else [pytest.mark.slow])
    for name, limits in LIMITS.items()
    for limit in limits
]


@pytest.mark.parametrize(("name", "limit"), CASES)
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(world, tmp_path, monkeypatch, name, limit):
    for parameter, small in {"n_subjects": 3, "recordings": 1, "minutes": 1}.items():
        monkeypatch.setitem(DEFAULTS, parameter, small)  # of the demo
    arguments = COMMANDS[name](world, tmp_path)
    before = content(tmp_path)
    failed = run_child(arguments, limited(limit))
    assert failed.status == 1, failed.stderr
    told = failed.line if name != "detect" else failed.stderr
    assert "File too large" in told
    assert str(tmp_path) in told
    check_whole(tmp_path)
    assert before.items() <= content(tmp_path).items()
    assert not list(tmp_path.rglob(".*.tmp*"))
    done = run_child(arguments)
    assert done.status == 0, done.stderr
    check_whole(tmp_path)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "report" else []) for name in COMMANDS]
)
def test_a_folder_that_may_not_be_written_is_one_line(world, tmp_path, name):
    place = tmp_path / "locked"
    place.mkdir()
    arguments = COMMANDS[name](world, place)
    before = content(place)
    folders = [place, *(path for path in place.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        failed = run_child(arguments, bound_by_permissions)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert failed.status == 1, failed.stderr
    told = failed.line if name != "detect" else failed.stderr
    assert "Permission denied" in told
    assert str(place) in told
    assert content(place) == before


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("report", "stream", "score")])
def test_a_file_where_a_folder_should_be_is_one_line_and_stays(world, tmp_path, name):
    taken = next(word for word in COMMANDS[name](world, tmp_path) if str(word).startswith(str(tmp_path)))
    taken.write_text("mine")
    failed = run_child(COMMANDS[name](world, tmp_path))
    assert failed.status == 1, failed.stderr
    assert re.search(
        rf"{taken}: expected a folder|{taken} is a file|file where a folder should be.*{taken}", failed.line
    )
    assert content(tmp_path) == {taken.name: b"mine"}


def test_recordings_that_may_only_be_read_are_prepared(world, tmp_path):
    source = shutil.copytree(world.recordings, tmp_path / "recordings")
    folders = [source, *(path for path in source.iterdir() if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    done = run_child(["prepare", "demo", source, "-o", tmp_path / "windows"], bound_by_permissions)
    for folder in folders:
        folder.chmod(0o755)
    assert (done.status, done.stderr) == (0, "")
