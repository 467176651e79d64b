"""Memory at the peak: of a training step at batch 512, and of reading from small and large
window stores.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from _bench import arguments, limit, publish, write_recording

PEER = "braindecode"
PEER_BYTES_A_WINDOW = 27e6

WATCH = """
import gc, json, sys, threading, time, warnings
warnings.simplefilter("ignore")
import psutil

def anonymous():
    # Pages of the memory-mapped store are the system's cache: it takes them back when it needs them.
    info = psutil.Process().memory_info()
    return info.rss - getattr(info, "shared", 0)

def peak_above_base(work):
    gc.collect()
    base = peak = anonymous()
    done = threading.Event()
    def watch():
        nonlocal peak
        while not done.is_set():
            peak = max(peak, anonymous())
            time.sleep(0.002)
    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return (peak - base) / 2**20
"""

STEP = """
import numpy as np, torch
sys.path.insert(0, sys.argv[3])
from training import DROPOUT, data, our_net, our_step, peer_step
way, n = sys.argv[1], int(sys.argv[2])
x, y = data(n)
if way == "braindecode":
    step = peer_step(x, y)
else:
    step = our_step(our_net(x, y, DROPOUT, precision=way, micro_batch=16), x, y)
print(json.dumps(peak_above_base(step)))
"""

READING = """
import numpy as np
from biot_bd import PercentileScaler
from biot_bd.windows import Windows
from biot_bd.windows.torch_dataset import WindowsDataset

def read():
    windows = PercentileScaler().fit_transform(Windows.open(sys.argv[1]))
    dataset = WindowsDataset(windows)
    order = np.random.default_rng(0).permutation(len(windows))
    for start in range(0, min(len(order), 5120), 256):
        dataset.__getitems__(order[start : start + 256])

print(json.dumps(peak_above_base(read)))
"""


def child(code: str, *args: object) -> float:
    """Run code in a fresh process and return the MB that it prints."""
    command = [sys.executable, "-c", WATCH + code, *map(str, args)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent).stdout
    return float(json.loads(printed.splitlines()[-1]))


def main() -> None:
    options = arguments(__doc__ or "")
    notes: list[str] = ["MB above what is there before (anonymous memory; pages of mapped files are not counted)"]
    rows: list[dict[str, object]] = []
    n = 32 if options.quick else 512
    fits = psutil.virtual_memory().available > n * PEER_BYTES_A_WINDOW + 1e9
    if not fits:
        notes.append(f"braindecode left out: a step needs {n * PEER_BYTES_A_WINDOW / 1e9:.0f} GB")
    peaks = {way: child(STEP, way, n, Path(__file__).parent) for way in ([PEER] if fits else []) + ["fp32", "bf16"]}
    for way, peak in peaks.items():
        name = way if way == PEER else f"biot_bd, {way}, micro-batches of 16"
        part = round(peak / peaks[PEER], 3) if fits else None
        rows.append({"what": f"training step, batch {n}", "way": name, "peak_MB": round(peak), f"part of {PEER}": part})
    from biot_bd import load_dataset, prepare

    seconds, many = (600, 3) if options.quick else (3600, 8)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        edf = write_recording(base / "edf" / "sub-01_run-00.edf", seconds, seed=0)
        for count, stride in ((1, 10), (many, 10), (many, 1)):
            for i in range(1, count):
                shutil.copy(edf, edf.with_name(f"sub-01_run-{i:02d}.edf"))
            out = base / f"{count}-{stride}"
            dataset = load_dataset("edf-folder", edf.parent, unlisted="background")
            windows = prepare(dataset, out, stride_s=stride)
            what = f"reading shuffled batches of 256: {count} recording(s), {len(windows)} windows"
            rows.append({"what": what, "way": "biot_bd", "peak_MB": round(child(READING, out))})
    reading = [float(str(row["peak_MB"])) for row in rows if str(row["what"]).startswith("reading")]
    # Tables and percentiles of the windows stay in memory, some 0.2 kB each; their signals (128 kB
    # each) do not.
    goals = [
        limit(
            "reading: memory that 8 recordings and all windows add to one recording", reading[-1] - reading[0], 50, "MB"
        )
    ]
    if fits:
        for way in ("fp32", "bf16"):
            goals.append(limit(f"peak memory of a training step, batch {n}, {way}", peaks[way], peaks[PEER] / 5, "MB"))
    publish("memory", "Memory at the peak", rows, notes, options.quick, goals)


if __name__ == "__main__":
    main()
