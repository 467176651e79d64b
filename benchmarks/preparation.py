"""From an EDF of one hour to windows that a model can take.

Time, bytes and memory, ours against the peers.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import mne
import numpy as np
import torch

from _bench import BIOT_16, SFREQ, arguments, interleave, limit, publish, summarise, target_above_floor, write_recording

WATCHED = """
import gc, json, os, sys, threading, time
import psutil
import biot_bd.windows, biot_bd.datasets.recordings_folder
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
start = time.perf_counter()
prepare(load_dataset("edf-folder", sys.argv[1], unlisted="background"), sys.argv[2], n_jobs=int(sys.argv[3]))
seconds = time.perf_counter() - start
done.set()
watcher.join()
print(json.dumps([before / 2**20, peak / 2**20, seconds]))
"""
PUBLISHED, BRAINDECODE = "published", "braindecode, in memory"
FFT, POLYPHASE = "biot_bd, FFT segments (default)", "biot_bd, polyphase"
FLOOR = "floor: read the bytes, write the windows' bytes"


def fresh_process(root: Path, out: Path, n_jobs: int = 1) -> tuple[float, float, float]:
    """Prepare in a fresh process.

    Return its memory after imports, its peak (both MB) and the seconds it took.
    """
    printed = subprocess.run(
        [sys.executable, "-c", WATCHED, str(root), str(out), str(n_jobs)], check=True, capture_output=True, text=True
    ).stdout
    before, peak, seconds = json.loads(printed.splitlines()[-1])
    return before, peak, seconds


def megabytes(folder: Path) -> float:
    """Return what the files below a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def longer(edf: Path, path: Path, times: int) -> Path:
    """Write a recording whose records are those of ``edf``, several times over."""
    content = edf.read_bytes()
    begin, n_records = int(content[184:192]), int(content[236:244])
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.write(content[:236] + f"{n_records * times:<8d}".encode() + content[244:begin])
        for _ in range(times):
            file.write(content[begin:])
    return path


def floor(edf: Path, out: Path, seconds: int) -> None:
    """Read the bytes of a recording in one pass and write as many as its windows take."""
    buffer = bytearray(2**20)
    with edf.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    left = 2 * len(BIOT_16) * 200 * seconds
    with out.open("wb", buffering=0) as file:
        while left:
            left -= file.write(memoryview(buffer)[:left])


def goals(rows: list[dict[str, object]], peaks_mb: list[float]) -> list[dict[str, object]]:
    """Return what was wanted of preparation beside what was measured."""
    by_way = {row["way"]: row for row in rows}
    least = by_way[FLOOR]
    found = []
    for name, way, wanted in (("FFT segments", FFT, (17, 5)), ("polyphase", POLYPHASE, (26, 7))):
        for peer, ratio in zip((PUBLISHED, BRAINDECODE), wanted, strict=True):
            what = f"preparing an hour, {name}, against {peer}"
            found.append(target_above_floor(what, by_way[way], least, peer, ratio))
    disk = float(str(by_way[FFT]["MB on disk an hour"]))
    # The signals are 23.04 MB, the table is 0.05 MB.
    return [
        *found,
        limit("disk for an hour", disk, 23.5, "MB"),
        limit("memory above imports, one recording of an hour", peaks_mb[0], 150, "MB"),
        limit("the same, the most recordings", peaks_mb[1], 150, "MB"),
        limit("the same, the longest recording", peaks_mb[2], 500, "MB"),
    ]


def memory_notes(edf: Path, base: Path, quick: bool) -> tuple[list[str], list[float]]:
    """Measure memory against the number and the length of recordings.

    Also return the peaks above imports in MB.
    """
    notes, peaks_mb = [], []
    many = 3 if quick else 8
    before, peak, _ = fresh_process(edf.parent, base / "memory-1")
    peaks_mb.append(peak - before)
    notes.append(f"1 recording: {peak - before:.0f} MB at the peak above the {before:.0f} MB that the imports leave")
    for i in range(1, many):
        os.link(edf, edf.with_name(f"sub-01_run-{i:02d}.edf"))
    before, peak, _ = fresh_process(edf.parent, base / "memory-n")
    peaks_mb.append(peak - before)
    notes.append(f"{many} recordings: {peak - before:.0f} MB")
    times = 4 if quick else 24
    long = longer(edf, base / "long" / "sub-01_run-00.edf", times)
    before, peak, seconds = fresh_process(long.parent, base / "memory-long")
    peaks_mb.append(peak - before)
    notes.append(f"1 recording {times} times as long: {peak - before:.0f} MB, {seconds:.2f} s")
    shutil.rmtree(long.parent)
    return notes, peaks_mb


def jobs_note(edf: Path, base: Path, times: int) -> tuple[str, dict[str, object]]:
    """Time one and two recordings at a time; also return the ratio as a target."""
    root = base / f"several-{times}"
    first = longer(edf, root / "sub-01_run-00.edf", times)
    for i in range(1, 4):
        os.link(first, root / f"sub-01_run-{i:02d}.edf")
    seconds = [[fresh_process(root, base / f"jobs-{times}-{n}-{turn}", n)[2] for n in (1, 2)] for turn in range(5)]
    one, two = (statistics.median(column) for column in zip(*seconds, strict=True))
    ratios = sorted(a / b for a, b in seconds)
    shutil.rmtree(root)
    note = f"4 recordings {times} times as long: {one:.2f} s, {two:.2f} s with n_jobs=2 (one thread each)"
    what = f"preparing 4 recordings of {times} h with n_jobs=2, to n_jobs=1"
    goal = {"what": what, "measured": statistics.median(ratios), "spread": [ratios[0], ratios[-1]]}
    return note, {**goal, "wanted": 1.7, "floor": 2.0, "unit": "x"}


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
            dataset = load_dataset("edf-folder", edf.parent, unlisted="background")
            return prepare(dataset, out, stride_s=10, **settings)

        def published() -> PublishedDataset:
            """Prepare and load every window once.

            Resampling and percentile happen there, each time anew.
            """
            out = base / "published"
            shutil.rmtree(out, ignore_errors=True)
            dataset = PublishedDataset(published_prepare(edf, out))
            for i in range(len(dataset)):
                dataset[i]
            return dataset

        def braindecode_saved() -> None:
            out = base / "fif"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            with mne.use_log_level("error"), contextlib.redirect_stdout(io.StringIO()):
                braindecode_windows([edf]).save(str(out), overwrite=True)  # type: ignore[attr-defined]

        a = np.asarray(PercentileScaler().fit_transform(ours()[:20]))
        dataset = published()
        b = np.stack([dataset[i][0].numpy() for i in range(20)])
        difference = np.sqrt(np.mean((a - b) ** 2)) / np.sqrt(np.mean(b**2))
        if difference > 0.05:
            raise SystemExit(f"the ways disagree: {difference:.3f} of the RMS")

        times = interleave(
            {
                FFT: ours,
                POLYPHASE: lambda: ours(resample="polyphase"),
                PUBLISHED: published,
                BRAINDECODE: lambda: braindecode_windows([edf]),
                "braindecode, saved as fif": braindecode_saved,
                FLOOR: lambda: floor(edf, base / "floor", seconds),
            },
            options.rounds,
        )
        rows = summarise(times, [PUBLISHED, BRAINDECODE], seconds / 3600)
        hours = seconds / 3600
        written = [*[megabytes(base / "ours-0")] * 2, megabytes(base / "published"), 0.0, megabytes(base / "fif")]
        for row, size in zip(rows, [*written, megabytes(base / "ours-0")], strict=True):
            row["MB on disk an hour"] = round(size / hours, 1)
        memory, peaks_mb = memory_notes(edf, base, options.quick)
        notes = [
            f"windows of the default differ from the published ones by {100 * difference:.2f} % of their RMS",
            "the published way includes loading each window once, as it resamples and takes percentiles only there",
            "biot_bd includes resampling, percentiles of all windows and the write; braindecode resampling, no percentiles",
            *memory,
        ]
        jobs: list[dict[str, object]] = []
        if not options.quick:
            for times in (1, 6):
                note, goal = jobs_note(edf, base, times)
                notes.append(note)
                jobs.append(goal)
        title = f"Preparing a recorded hour ({len(BIOT_16)} of 23 channels, {SFREQ} Hz), seconds an hour, one core"
        publish("preparation", title, rows, notes, options.quick, [*goals(rows, peaks_mb), *jobs])


if __name__ == "__main__":
    main()
