"""Commands on files of their own that were damaged: status 1 and one line that names file or folder."""

import shutil

import pytest
from deploy_files import write_edf
from handmade_run import CH_NAMES

from biot_bd.cli import main
from biot_bd.commands._pipelines import SMALL_BIOT

TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu"}
QUICK = ["--epochs", "1", "--batch-size", "16", *(f"--param={key}={value}" for key, value in TINY.items())]
MODEL = "run/folds/00/model"
COMMANDS = {
    "report": ["report", "run", "--windows", "windows"],
    "explain": ["explain", "run", "windows", "-o", "explained", "--fold", "0"],
    "explain a model": ["explain", MODEL, "windows", "-o", "explained"],
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
    "bytes": lambda data: b"\xff\x00" + data[2:],
}


@pytest.fixture(scope="module")
def world(store, tmp_path_factory):
    """A folder in which every command runs: a store, a run of it with models, a recording, a demo."""
    root = tmp_path_factory.mktemp("world")
    shutil.copytree(store.folder, root / "windows")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["cv", "windows", "-o", "run", *QUICK]) == 0
    assert SMALL_BIOT  # what the demo trains, which is never reached here
    write_edf(root / "x.edf", CH_NAMES, seconds=60)
    (root / "demo").mkdir()
    (root / "demo" / "demo.json").write_text('{"seed": 0, "full": false, "epochs": 10}')
    return root


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize(("command", "name"), [(command, name) for command in READ for name in READ[command]])
def test_one_line_names_what_is_damaged(world, monkeypatch, capsys, command, name, content):
    monkeypatch.chdir(world)
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
    assert name in said[0] or str(file.parent.relative_to(world)) in said[0]
    assert "bug" not in said[0]
