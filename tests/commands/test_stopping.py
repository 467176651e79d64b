"""Ctrl-C and SIGTERM at any moment: one line that says where a command stopped, and the same command goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import time
from types import SimpleNamespace

import pytest
from child_commands import TINY, run_child, signalled

from biot_bd.datasets.demo import DEFAULTS
from biot_bd.deploy.live.replay import FileSource

pytestmark = pytest.mark.usefixtures("one_thread")

COMMANDS = {
    "doctor": lambda world, out: ["doctor", world.recordings, "--samples"],
    "bench": lambda world, out: ["bench", "--seconds", 0.2, "--batch-size", 2],
    "stream": lambda world, out: [
        *(
            "stream",
            world.model,
            world.recordings / "demo01" / "demo01_01.edf",
            "-o",
            out / "x.tsv",
            "--duration-s",
            12,
        ),
        *("--speed", 10),
    ],
    "check": lambda world, out: ["check", world.model, world.windows],
    "score": lambda world, out: ["score", world.run / "events", world.run / "events"],
    "explain": lambda world, out: ["explain", world.run, world.windows, "-o", out / "explained"],
    "report": lambda world, out: ["report", _copied(world.run, out / "run")],
    "detect": lambda world, out: ["detect", world.model, world.recordings, "-o", out / "found", "--resume"],
    "prepare": lambda world, out: ["prepare", "demo", world.recordings, "-o", out / "windows"],
    "train": lambda world, out: ["train", world.windows, "-o", out / "model", "--epochs", 1, *TINY],
    "demo": lambda world, out: ["demo", out / "demo", "--epochs", 1, "--jobs", 1],
}
GOES_ON = {"prepare": "goes on", "train": "goes on", "demo": "goes on", "detect": "with --resume goes on"}


@pytest.fixture
def silent():
    """A server that takes requests and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


FETCHES = [
    (["datasets", "fetch", "chb-mit", "data", "--base-url"], "the same command goes on"),
    (["models", "fetch", "me/mine", "--endpoint"], "the same command goes on"),
]


@pytest.mark.parametrize(("arguments", "how"), FETCHES, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_a_download_that_is_stopped_goes_on(silent, tmp_path, monkeypatch, arguments, how):
    monkeypatch.chdir(tmp_path)
    done = run_child([*arguments, silent], signalled(signal.SIGINT, 0.8))
    assert (done.status, done.line) == (130, f"biot-bd {arguments[0]}: stopped by Ctrl-C; {how}")


def _copied(run, to):
    return to if to.exists() else shutil.copytree(run, to)


@pytest.mark.parametrize(("number", "status", "told"), [(2, 130, "Ctrl-C"), (15, 143, "SIGTERM")])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in ("doctor", "bench") else [pytest.mark.slow]) for n in COMMANDS]
)
def test_stopped_anywhere_it_says_so_and_the_same_command_goes_on(
    world, tmp_path, monkeypatch, name, number, status, told
):
    for parameter, small in {"n_subjects": 3, "recordings": 1, "minutes": 1}.items():
        monkeypatch.setitem(DEFAULTS, parameter, small)
    arguments = COMMANDS[name](world, tmp_path)
    drawn = random.Random(f"{name} {number}")
    stopped, latest_s = [], 0.5
    for _ in range(4):
        done = run_child(arguments, signalled(signal.Signals(number), drawn.uniform(0.01, latest_s)))
        if done.status == 0:  # it was done before; a stream ends well when it is asked to
            latest_s *= 0.3
            shutil.rmtree(tmp_path / "model", ignore_errors=True)  # a second training would be refused
            continue
        stopped.append(done)
        assert done.status == status, done.stderr
        if done.stderr == f"biot-bd: stopped by {told}\n":  # before it was known what it should do
            continue
        assert done.line.startswith(f"biot-bd {name}: stopped by {told}")
        if "when all was done" in done.line:  # a second training would be refused
            assert done.line.endswith("holds the model")
            again = run_child(arguments)  # tidies up where the former one was stopped at that
            assert again.status == 0 or "holds a model already" in again.line
            return
        assert done.line.endswith(f"the same command {GOES_ON.get(name, 'starts again')}")
    assert stopped or name == "stream"
    assert run_child(arguments).status == 0


def test_a_training_that_was_stopped_when_its_model_was_there_says_so(world, tmp_path):
    def stopped_while_it_prints():
        from biot_bd.commands import train

        train._lines = lambda *_: os.kill(os.getpid(), signal.SIGTERM)

    arguments = COMMANDS["train"](world, tmp_path)
    done = run_child(arguments, stopped_while_it_prints)
    assert done.status == 143
    assert done.line == f"biot-bd train: stopped by SIGTERM when all was done; {tmp_path / 'model'} holds the model"
    again = run_child(arguments)
    assert again.status == 1
    assert "holds a model already" in again.line


@pytest.mark.parametrize("moment", ["as it is named", "as it tidies up"])
def test_a_training_that_was_stopped_when_its_model_had_its_name_says_so(world, tmp_path, moment):
    def stopped_by_the_last_step():
        from biot_bd.training import work_folder

        stop = lambda: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
        replace, tidy_up = os.replace, work_folder.WorkFolder._tidy_up
        if moment == "as it tidies up":
            work_folder.WorkFolder._tidy_up = lambda self: (tidy_up(self), stop())
            return
        work_folder.WorkFolder._tidy_up = lambda self: (tidy_up(self), time.sleep(0.5))  # the signal comes by then
        work_folder.os = SimpleNamespace(
            replace=lambda a, b: (replace(a, b), stop() if b.name == "pipeline.json" else None)
        )

    done = run_child(COMMANDS["train"](world, tmp_path), stopped_by_the_last_step)
    assert done.status == 143
    assert done.line == f"biot-bd train: stopped by SIGTERM when all was done; {tmp_path / 'model'} holds the model"


def test_a_stream_that_was_stopped_before_any_signal_came_writes_no_events(world, tmp_path):
    def stopped_at_once():
        FileSource.chunks = lambda self, needed: (self.stop(), iter(()))[1]

    done = run_child(COMMANDS["stream"](world, tmp_path), stopped_at_once)
    assert done.status == 0, done.stderr
    assert f"no signal came, so {tmp_path / 'x.tsv'} was not written" in done.stderr
    assert not (tmp_path / "x.tsv").exists()
