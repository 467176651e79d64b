"""``prepare`` under kill -9, with two processes at once, and how much memory it takes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biot_bd import Windows

# No braindecode here: a process starts in a second instead of five.
SCRIPT = """
import resource, sys, time, types
import mne
import biot_bd.windows.store as store
from biot_bd import prepare

mne.set_log_level("ERROR")
_, source, folder, pause, repeat = sys.argv
write = store.write_recording

def slow(*args):  # the signal file is there, its description not yet
    time.sleep(float(pause))
    write(*args)

store.write_recording = slow
items = []
import pathlib
for path in sorted(pathlib.Path(source).glob("*.edf")) * int(repeat):
    raw = mne.io.read_raw_edf(path)
    raw.set_annotations(mne.Annotations([12.0], [15.0], ["sz"]))
    items.append(types.SimpleNamespace(raw=raw, description={"recording": f"r{len(items):03}", "subject": "p"}))
prepare(types.SimpleNamespace(datasets=items), folder)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def start(script, source, folder, pause=0.0, repeat=1):
    arguments = [sys.executable, str(script), str(source), str(folder), str(pause), str(repeat)]
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def stored(folder):
    """Return every file of a store by name, without lock and table (whose bytes parquet does not promise)."""
    files = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.name not in (".lock", "windows.parquet"):
            files[path.relative_to(folder).as_posix()] = path.read_bytes()
    return files


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def source(make, tmp_path):
    folder = tmp_path / "edf"
    folder.mkdir()
    for i in range(6):
        make.edf(folder / f"{i}.edf", 30, i)
    return folder


@pytest.fixture
def whole(script, source, tmp_path):
    """A store that was made in one go."""
    finish(start(script, source, tmp_path / "whole"))
    return tmp_path / "whole"


def assert_same(folder, whole):
    assert stored(folder) == stored(whole)
    pd.testing.assert_frame_equal(Windows.open(folder).metadata, Windows.open(whole).metadata)


def test_killed_and_called_again_it_finishes_with_the_same_result(script, source, whole, tmp_path):
    folder = tmp_path / "killed"
    process = start(script, source, folder, pause=0.3)
    deadline = time.monotonic() + 60
    # Between the third signal file and its description.
    while len(list(folder.glob("signals/[!.]*.npy"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = {p: p.stat().st_mtime_ns for p in folder.glob("signals/[!.]*.json")}
    assert 1 <= len(finished) < 6
    (folder / "signals/.r005.0123abcd.tmp.npy").write_bytes(b"half a file")
    with pytest.raises(FileNotFoundError, match="did not finish"):
        Windows.open(folder)
    finish(start(script, source, folder))
    assert {p: p.stat().st_mtime_ns for p in finished} == finished
    assert_same(folder, whole)


def test_two_processes_at_once_share_the_work(script, source, whole, tmp_path):
    folder = tmp_path / "shared"
    both = [start(script, source, folder, pause=0.1) for _ in range(2)]
    for process in both:
        finish(process)
    assert_same(folder, whole)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_recordings(script, make, tmp_path):
    folder = tmp_path / "edf"
    folder.mkdir()
    make.edf(folder / "0.edf", 300)
    few, many = (int(finish(start(script, folder, tmp_path / f"w{n}", repeat=n))) for n in (3, 25))
    # Keeping the float32 signals of 22 more recordings would take 84 MB, their int16 maps 42 MB.
    assert many - few < 20 * 1024
    assert np.load(next((tmp_path / "w25/signals").glob("*.npy")), mmap_mode="r").shape == (16, 60_000)
