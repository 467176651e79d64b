"""Commands in forked processes: with a limit on files, as another user, without what the parent has imported to import again."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, cross_validate, load_dataset, prepare
from biot_bd.cli import main

TINY = [
    word
    for part in ("embed_dim=8", "num_heads=2", "num_layers=1", "hop_length=200")
    for word in ("--param", f"module__{part}")
]
"""Parameters of a model that trains within a second."""


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Parameters
    ----------
    status : int
        Its exit status; negative where a signal ended it.
    stderr, stdout : str
        What it said.
    """

    status: int
    stderr: str
    stdout: str

    @property
    def line(self) -> str:
        """The one line on stderr, warnings and notes on progress apart."""
        lines = re.findall(r"^biot-bd(?: [a-z]+)+: (?!warning: ).*", self.stderr, re.MULTILINE)
        assert len(lines) == 1, self.stderr
        assert "Traceback" not in self.stderr
        return lines[0]


def run_child(arguments: Sequence[object], before: Callable[[], None] = lambda: None) -> Done:
    """Run a command in a fork, after ``before()`` there."""
    pipes = [os.pipe(), os.pipe()]  # files would be bound by a limit on their size, too
    child = os.fork()
    if child == 0:
        _run(arguments, before, *(writing for _, writing in pipes))
    for _, writing in pipes:
        os.close(writing)
    with ThreadPoolExecutor(2) as threads:
        stdout, stderr = threads.map(_read, [reading for reading, _ in pipes])
    return Done(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), stderr, stdout)


def _read(pipe: int) -> str:
    with os.fdopen(pipe, encoding="utf-8") as file:
        return file.read()


def _run(arguments: Sequence[object], before: Callable[[], None], out: int, err: int) -> None:
    """Be the child: run the command and end."""
    status = 99
    try:
        sys.stdout, sys.stderr = open(out, "w", encoding="utf-8"), open(err, "w", encoding="utf-8")  # noqa: SIM115
        # What pytest and shells set is not what a terminal gives.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        before()
        status = main([str(argument) for argument in arguments])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def limited(n_bytes: int) -> Callable[[], None]:
    """Return what lets no file of this process grow beyond a size; pipes are exempt."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    return limit


def signalled(number, after_s):
    """Return what sends this process a signal some seconds later."""

    def arm():
        timer = threading.Timer(after_s, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()

    return arm


def bound_by_permissions() -> None:
    """Give up root's right to go past permission bits, in this process; others are bound anyway."""
    if os.geteuid() != 0:
        return
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # version 3 of the call; this thread
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for word in (0, 1):  # effective, permitted: DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
        data[word] &= ~0b1110
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


@dataclass(frozen=True)
class World:
    """What commands work on, made once.

    Parameters
    ----------
    recordings, windows, run, model : Path
        Generated recordings, their store, a run of two folds and the model of the first.
    """

    recordings: Path
    windows: Path
    run: Path
    model: Path


def make_world(root: Path) -> World:
    """Generate recordings of four subjects, prepare them and cross-validate a tiny model."""
    root.chmod(0o755)
    recordings = load_dataset("demo", root / "recordings", n_subjects=4, recordings=1, minutes=1)
    windows = prepare(recordings, root / "windows")
    sizes = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "module__hop_length": 200}
    pipeline = make_pipeline(
        MontageMapper("biot-16"), PercentileScaler(95), BIOTClassifier(max_epochs=1, device="cpu", verbose=0, **sizes)
    )
    cross_validate(pipeline, windows, folder=root / "run", cv="subject-kfold-2", progress=False)
    return World(root / "recordings", root / "windows", root / "run", root / "run" / "folds" / "00" / "model")


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """A world in a folder that everybody may look into, other than into pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        yield make_world(Path(folder))
