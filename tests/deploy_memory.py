"""Run a detector in a process of its own and tell its resident memory as it goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from deploy_files import BIPOLAR

CODE = """
import gc, json, sys, threading, time
import psutil, torch
from biot_bd.deploy import Detector
torch.set_num_threads(1)
detector = Detector.load(sys.argv[1], stride_s=float(sys.argv[3]))
short, long = sys.argv[4], sys.argv[2]
detector.detect(short)  # libraries take what they keep
gc.collect()
process, curve, done = psutil.Process(), [], threading.Event()
def watch():
    while not done.wait(0.02):
        curve.append(process.memory_info().rss / 2**20)
watcher = threading.Thread(target=watch)
curve.append(process.memory_info().rss / 2**20)
watcher.start()
found = detector.detect(long)
done.set()
watcher.join()
print(json.dumps({"curve_mb": curve, "duration_s": found.duration_s, "n": len(found.start_s), "gaps": found.gaps, "seconds": found.seconds}))
"""


def write_long_edf(path: Path, hours: float, sfreq: int = 256) -> Path:
    """Write 16 channels of generated int16 values cheaply: one minute of noise, its records in a new order each time."""
    rng = np.random.default_rng(0)
    n_chans = len(BIPOLAR)
    n_records = round(hours * 3600)
    rows = [b"0".ljust(8), b"generated".ljust(80), b"Startdate X X X X".ljust(80), b"01.01.20", b"00.00.00"]
    rows += [str(256 * (n_chans + 1)).encode().ljust(8), b"".ljust(44), str(n_records).encode().ljust(8), b"1".ljust(8)]
    rows += [str(n_chans).encode().ljust(4)]
    for width, values in (
        (16, BIPOLAR),
        (80, [""] * n_chans),
        (8, ["uV"] * n_chans),
        (8, ["-800"] * n_chans),
        (8, ["800"] * n_chans),
        (8, ["-32768"] * n_chans),
        (8, ["32767"] * n_chans),
        (80, [""] * n_chans),
        (8, [str(sfreq)] * n_chans),
        (32, [""] * n_chans),
    ):
        rows += [value.encode().ljust(width) for value in values]
    tile = rng.normal(0, 1200, (60, n_chans * sfreq)).astype("<i2")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"".join(rows))
        for start in range(0, n_records, 60):
            file.write(tile[rng.permutation(60)[: n_records - start]].tobytes())
    return path


def memory_of(model: Path, long: Path, short: Path, stride_s: float = 5.0) -> dict:
    """Return the curve of resident memory in MB while ``long`` is detected, and what came out."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, str(model), str(long), str(stride_s), str(short)],
        check=True,
        capture_output=True,
        text=True,
        timeout=900,
    )
    return json.loads(done.stdout.splitlines()[-1])
