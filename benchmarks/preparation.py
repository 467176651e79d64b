"""From an EDF of one hour to windows that can be read: time and memory, ours against the peers."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from _bench import arguments, interleave, publish, summarise, write_recording

MEMORY_CODE = """
import gc, json, os, sys, threading, time
import psutil
import biot_bd.windows, biot_bd.datasets.edf_folder
from biot_bd import load_dataset, prepare
process = psutil.Process()
gc.collect()
before = peak = process.memory_info().rss
done = threading.Event()
def watch():
    global peak
    while not done.is_set():
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.002)
watcher = threading.Thread(target=watch)
watcher.start()
prepare(load_dataset("edf-folder", sys.argv[1], unlisted="background"), sys.argv[2])
done.set()
watcher.join()
print(json.dumps([before / 2**20, peak / 2**20]))
"""


def memory_mb(root: Path, out: Path) -> tuple[float, float]:
    """Return the resident memory of a fresh process after its imports, and its peak while preparing, in MB."""
    printed = subprocess.run(
        [sys.executable, "-c", MEMORY_CODE, str(root), str(out)], check=True, capture_output=True, text=True
    ).stdout
    before, after = json.loads(printed.splitlines()[-1])
    return before, after


def main() -> None:
    options = arguments(__doc__ or "")
    torch.set_num_threads(1)
    from _peers import PublishedDataset, braindecode_windows, published_prepare
    from biot_bd import PercentileScaler, load_dataset, prepare

    seconds = 600 if options.quick else 3600
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        edf = write_recording(base / "one" / "sub-01_run-00.edf", seconds, seed=0)
        numbers = itertools.count()

        def ours(**settings: str) -> object:
            out = base / f"ours-{next(numbers)}"
            windows = prepare(
                load_dataset("edf-folder", edf.parent, unlisted="background"), out, stride_s=10, **settings
            )
            return windows

        def published() -> list[Path]:
            out = base / "published"
            shutil.rmtree(out, ignore_errors=True)
            return published_prepare(edf, out)

        a = np.asarray(PercentileScaler().fit_transform(ours())[:20])
        b = np.stack([PublishedDataset(published())[i][0].numpy() for i in range(20)])
        difference = np.sqrt(np.mean((a - b) ** 2)) / np.sqrt(np.mean(b**2))
        if difference > 0.05:
            raise SystemExit(f"the ways disagree: {difference:.3f} of the RMS")

        times = interleave(
            {
                "biot_bd, FFT segments (default)": ours,
                "biot_bd, polyphase": lambda: ours(resample="polyphase"),
                "published (resampling left to loading)": published,
                "braindecode, in memory": lambda: braindecode_windows([edf]),
            },
            options.rounds,
        )
        rows = summarise(times, ["published (resampling left to loading)", "braindecode, in memory"], seconds / 3600)
        notes = [
            f"windows of the default differ from the published ones by {100 * difference:.2f} % of their RMS",
            "biot_bd and braindecode include resampling, biot_bd also the percentiles of all windows and the write to disk",
        ]
        for count in (1, 3 if options.quick else 8):
            for i in range(1, count):
                shutil.copy(edf, edf.with_name(f"sub-01_run-{i:02d}.edf"))
            before, after = memory_mb(edf.parent, base / f"memory-{count}")
            notes.append(
                f"{count} recording(s): {after - before:.0f} MB at the peak above the {before:.0f} MB that the imports leave"
            )
        publish(
            "preparation",
            "Preparing a recorded hour (23 channels, 256 Hz), seconds an hour, one core",
            rows,
            notes,
            options.quick,
        )


if __name__ == "__main__":
    main()
