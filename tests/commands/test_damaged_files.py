"""Files of the package's own: damaged ones are one line of any command, new ones get the mode of any new file."""

import os
import stat

import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from deploy_files import write_edf
from handmade_run import CH_NAMES, SUBJECTS, raw_of

from biot_bd import prepare
from biot_bd.cli import main
from biot_bd.runs import write_json
from biot_bd.windows.store import open_map
from biot_bd.windows.window_index import _open_table, open_source

UMASK = 0o027  # neither the usual one nor that of files that only their owner may read

TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu"}
QUICK = ["--epochs", "1", "--batch-size", "16", *(f"--param={key}={value}" for key, value in TINY.items())]
MODEL = "run/folds/00/model"
COMMANDS = {
    "report": ["report", "run", "--windows", "windows"],
    "explain": ["explain", "run", "windows", "-o", "explained", "--fold", "0", "--probe", "attention"],
    "explain a model": ["explain", MODEL, "windows", "-o", "explained", "--probe", "attention"],
    "cv": ["cv", "windows", "-o", "run", *QUICK],
    "detect": ["detect", MODEL, "x.edf", "-o", "found"],
    "stream": ["stream", MODEL, "x.edf"],
    "audit": ["models", "audit", MODEL],
    "verify": ["models", "verify", MODEL],
    "demo": ["demo", "demo"],
    "train": ["train", "windows", "-o", "trained", *QUICK],
}
RUN = ("run/run.json", "run/metrics.json", "run/predictions.parquet", "run/folds/01/fold.json")
OF_MODEL = (f"{MODEL}/pipeline.json", f"{MODEL}/model.safetensors")
STORE = ("windows/manifest.json", "windows/windows.parquet", "windows/percentiles.npy")
READ = {
    "report": (*RUN, "run/folds/01/history.json"),
    "explain": ("run/run.json", "run/folds/00/fold.json", *OF_MODEL, *STORE),
    "explain a model": (*OF_MODEL, *STORE),
    "cv": ("run/run.json", "run/folds/01/fold.json", "run/folds/01/predictions.parquet", *STORE),
    "detect": (*OF_MODEL, f"{MODEL}/events.json"),
    "stream": (*OF_MODEL, f"{MODEL}/events.json"),
    "audit": OF_MODEL,
    "verify": OF_MODEL,
    "demo": ("demo/demo.json",),
    "train": STORE,
}
CONTENTS = {
    "cut": lambda data: data[: len(data) // 2],
    "another kind": lambda data: b'{"version": 2, "format": 1}' if data[:1] == b"[" else b"[1]",
    "an object of nothing": lambda data: b"{}",
    "bytes": lambda data: b"\xff\x00" + data[2:-2] + b"\xff\x00",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder in which every command runs: a store, a run of it with models, a recording, a demo."""
    root = tmp_path_factory.mktemp("world")
    dataset = [
        RawDataset(raw_of(subject, seed, seizure=True), {"subject": subject, "recording": recording})
        for seed, (subject, recording) in enumerate(SUBJECTS.items())
    ]
    before = os.umask(UMASK)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            prepare(BaseConcatDataset(dataset), "windows").relabel("overlap", window_s=5, stride_s=5)
            assert main(COMMANDS["cv"]) == 0
            assert main(COMMANDS["report"]) == 0
            write_edf(root / "x.edf", CH_NAMES, seconds=60)
            write_json(root / "demo" / "demo.json", {"seed": 0, "full": False, "epochs": 10})
            yield root
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    "content", ["cut", *(pytest.param(name, marks=pytest.mark.slow) for name in list(CONTENTS)[1:])]
)
@pytest.mark.parametrize(("command", "name"), [(command, name) for command in READ for name in READ[command]])
def test_one_line_names_what_is_damaged(world, monkeypatch, capsys, command, name, content):
    monkeypatch.chdir(world)
    for cache in (_open_table, open_source, open_map):  # a command has a process of its own
        cache.cache_clear()
    file = world / name
    whole = file.read_bytes()
    try:
        file.write_bytes(CONTENTS[content](whole))
        status = main(COMMANDS[command])
    finally:
        file.write_bytes(whole)
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if "warning:" not in line]
    if command == "audit":
        said = [line for line in captured.out.splitlines() if line.startswith("refused: ")] or said
    assert status == 1, (captured.out, captured.err)
    assert len(said) == 1, said
    assert name in said[0] or f"{file.parent.relative_to(world)}:" in said[0]
    assert "bug" not in said[0]


def modes(root):
    """Return the files and folders under a folder whose mode is not that of any new one."""
    wanted = {True: 0o777 & ~UMASK, False: 0o666 & ~UMASK}
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")}
    assert len(found) >= 3
    return {str(path): oct(mode) for path, mode in found.items() if mode != wanted[path.is_dir()]}


def test_stores_runs_models_and_reports_get_the_mode_of_any_new_file(world):
    names = {path.suffix for path in world.rglob("*")}
    assert {".safetensors", ".json", ".parquet", ".npy", ".html", ".tsv"} <= names
    assert modes(world) == {}


@pytest.mark.slow
def test_results_explanations_and_trainings_get_the_mode_of_any_new_file(world):
    formats = ["--format=tsv", "--format=csv_bi", "--format=edf", "--format=mne", "--format=json"]
    results = [*formats, "--probabilities", "--plot", "--html", "--threshold", "0.01"]
    assert main([*COMMANDS["detect"], *results]) == 0
    assert main(COMMANDS["explain"]) == 0
    assert main(COMMANDS["train"]) == 0
    for name in ("found", "explained", "trained"):
        assert modes(world / name) == {}
