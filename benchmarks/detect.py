"""From an EDF of one hour to its event table with full-size BIOT.

Seconds by share, and memory over a day.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from _bench import SFREQ, arguments, limit, publish, write_recording

WANTED_S = {(5.0, "fp32"): 12.0, (1.0, "fp32"): 60.0}
RUN = """
import json, sys, time
begin = time.perf_counter()
from pathlib import Path
from biot_bd.deploy import Detector
from biot_bd.deploy.results import write_events
detector = Detector.load(sys.argv[1], stride_s=float(sys.argv[3]), precision=sys.argv[4])
started = time.perf_counter() - begin
found = detector.detect(sys.argv[2])
write_events(Path(sys.argv[5]), found, "tsv")
print(json.dumps({"start": started, "n": len(found.start_s), "all": time.perf_counter() - begin, **found.seconds}))
"""
MEMORY = """
import gc, json, sys, threading
import psutil
from biot_bd.deploy import Detector
detector = Detector.load(sys.argv[1], stride_s=10)
detector.detect(sys.argv[3])  # libraries take what they keep
gc.collect()
process, curve, done = psutil.Process(), [], threading.Event()
def watch():
    while not done.wait(0.05):
        curve.append(process.memory_info().rss / 2**20)
curve.append(process.memory_info().rss / 2**20)
watcher = threading.Thread(target=watch)
watcher.start()
found = detector.detect(sys.argv[2])
done.set()
watcher.join()
print(json.dumps({"curve": curve, "hours": found.duration_s / 3600}))
"""


class RandomWindows:
    """Windows in memory, as far as a classifier reads them."""

    def __init__(self, n: int) -> None:
        from biot_bd.signals import SignalInfo
        from biot_bd.signals.montages import BIOT_16

        self.x = np.random.default_rng(0).standard_normal((n, 16, 2000)).astype(np.float32)
        self.info = SignalInfo(BIOT_16.ch_names, 200.0, 2000, "uV")
        self.present = np.ones((n, 16), bool)
        self.groups = np.array([f"p{i % 4}" for i in range(n)], dtype=object)
        self.shape = self.x.shape

    def __len__(self) -> int:
        return len(self.x)

    def map(self, step: object) -> RandomWindows:
        made = object.__new__(RandomWindows)
        made.__dict__ |= self.__dict__
        made.x, made.present = step.apply(self.x, self.present, self.info)  # type: ignore[attr-defined]
        made.info = step.output_info(self.info)  # type: ignore[attr-defined]
        return made

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.x[rows]


def save_model(folder: Path, **sizes: int) -> Path:
    """Save a BIOT with the weights of one epoch on noise: as fast as any of its size."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, save_pipeline

    windows = RandomWindows(8)
    params = {f"module__{name}": value for name, value in sizes.items()}
    net = BIOTClassifier(max_epochs=1, batch_size=4, patience=None, random_state=0, verbose=0, **params)
    fitted = make_pipeline(MontageMapper("biot-16"), PercentileScaler(), net)
    return save_pipeline(fitted.fit(windows, np.arange(8) % 2), folder)


def child(code: str, *given: object) -> dict[str, object]:
    """Run code in a new process and return what it prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, given)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def repeat(edf: Path, hours: int) -> Path:
    """Write the records of an EDF of an hour several times, one behind the other."""
    content, n_signals = edf.read_bytes(), 0
    n_signals = int(content[252:256])
    header = 256 * (n_signals + 1)
    n_records = int(content[236:244])
    out = edf.with_name(f"{edf.stem}-{hours}h.edf")
    with out.open("wb") as file:
        file.write(content[:236] + str(n_records * hours).encode().ljust(8) + content[244:header])
        for _ in range(hours):
            file.write(content[header:])
    return out


def main() -> None:
    options = arguments(__doc__ or "")
    rounds = min(options.rounds, 2)
    seconds = 600 if options.quick else 3600
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        edf = write_recording(base / "hour.edf", seconds, seed=0)
        model = save_model(base / "full")
        settings = [(5.0, "fp32"), (1.0, "fp32"), (5.0, "auto")]
        # A machine measures its precision once; that is not the detector's time.
        child(RUN, model, edf, 60, "auto", base / "x.tsv")
        times: dict[tuple[float, str], list[dict[str, float]]] = {key: [] for key in settings}
        for _ in range(rounds):
            for stride_s, precision in settings:
                times[stride_s, precision].append(child(RUN, model, edf, stride_s, precision, base / "x.tsv"))  # type: ignore[arg-type]
        for (stride_s, precision), found in times.items():
            median = {k: statistics.median(f[k] for f in found) * 3600 / seconds for k in found[0] if k != "n"}
            whole = [f["all"] for f in found]
            rows.append(
                {
                    "way": f"{stride_s:g} s stride, {precision}",
                    "seconds_an_hour": median["all"],
                    "range_s": [min(whole), max(whole)],
                    "wanted_s": WANTED_S.get((stride_s, precision)),
                    "start": median["start"],
                    "reading": median["read"],
                    "preparing": median["prepare"],
                    "model": median["model"],
                    "windows": found[0]["n"],
                }
            )
        small = save_model(base / "small", embed_dim=32, num_heads=2, num_layers=1, hop_length=200)
        hours = 3 if options.quick else 24
        curve = child(MEMORY, small, repeat(edf, hours * 3600 // seconds), edf)["curve"]
    if not isinstance(curve, list):
        raise SystemExit(f"no curve of memory: {curve!r}")
    eighths = [max(part) - curve[0] for part in np.array_split(np.array(curve[1:]), 8)]
    notes = [
        f"{os.cpu_count()} processors, {torch.get_num_threads()} threads; each time is that of a new process, from its imports to "
        f"the table; 23 channels at {SFREQ} Hz, full-size BIOT (3.2 M parameters)",
        f"memory over {hours} h, small BIOT: MB above the start, the highest of each eighth of the time: "
        + ", ".join(f"{mb:.0f}" for mb in eighths),
    ]
    goals = [
        limit(f"detecting in an hour, {row['way']}", row["seconds_an_hour"], row["wanted_s"], "s")  # type: ignore[arg-type]
        for row in rows
        if row["wanted_s"] is not None
    ]
    goals.append(
        limit(
            f"detecting in {hours} h: memory of the last eighth above the second's", eighths[-1] - eighths[1], 20, "MB"
        )
    )
    publish("detect", "Detecting in a recorded hour, seconds", rows, notes, options.quick, goals)


if __name__ == "__main__":
    main()
