"""What all benchmarks share: generated recordings, interleaved timing, tables."""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import edfio
import numpy as np
from rich.console import Console
from rich.table import Table

CHANNELS = (
    "FP1-F7 F7-T7 T7-P7 P7-O1 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2 FP2-F8 F8-T8 T8-P8 P8-O2 "
    "FZ-CZ CZ-PZ P7-T7 T7-FT9 FT9-FT10 FT10-T8 T8-P8"
).split()
BIOT_16 = (
    "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2"
).split()
SFREQ = 256
RESULTS = Path(__file__).parent / "results"


def arguments(description: str) -> argparse.Namespace:
    """Read ``--quick`` and ``--rounds``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small data, two rounds")
    parser.add_argument("--rounds", type=int, default=None, help="interleaved rounds (default 5, quick 2)")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    return options


def write_recording(path: Path, seconds: int, seed: int, slope: float = 1.0) -> Path:
    """Write an EDF of 23 bipolar channels of noise with a power of 1/f**slope (uV, int16, +-800
    uV) as CHB-MIT has them; EEG falls off with about 2.
    """
    rng = np.random.default_rng(seed)
    n = seconds * SFREQ
    shape = np.maximum(np.fft.rfftfreq(n, 1 / SFREQ), 0.5) ** (-slope / 2)
    signals = []
    for name in CHANNELS:
        x = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * shape, n)
        x = np.clip(40 * x / x.std(), -799, 799)
        signals.append(edfio.EdfSignal(x, SFREQ, label=name, physical_dimension="uV", physical_range=(-800, 800)))
    path.parent.mkdir(parents=True, exist_ok=True)
    edfio.Edf(signals).write(path)
    return path


def interleave(
    ways: dict[str, Callable[[], object]],
    rounds: int,
    warm_up: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time every way once a round, in turning order, after one round that warms up (unless they
    are warm).
    """
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(0 if warm_up else 1, rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            gc.collect()
            start = clock()
            ways[name]()
            if turn:
                seconds[name].append(clock() - start)
    return seconds


def summarise(seconds: dict[str, list[float]], peers: list[str], per: float = 1.0) -> list[dict[str, object]]:
    """Give medians, ranges and, against each peer, the median and range of the ratios by round."""
    rows = []
    for name, times in seconds.items():
        row: dict[str, object] = {
            "way": name,
            "median_s": statistics.median(times) / per,
            "range_s": [min(times) / per, max(times) / per],
        }
        for peer in peers:
            ratios = [p / t for p, t in zip(seconds[peer], times, strict=True)]
            row[f"times as fast as {peer}"] = [statistics.median(ratios), min(ratios), max(ratios)]
        rows.append(row)
    return rows


def machine() -> dict[str, object]:
    """Describe where and with what this ran."""
    import torch

    from biot_bd.processor import this_processor

    names = ["biot-bd", "braindecode", "torch", "openvino", "onnxruntime", "mne", "numpy", "scipy", "edfio"]
    return {
        "date": datetime.date.today().isoformat(),
        "processor": this_processor().as_dict(),
        "processors": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {name: version(name) for name in names if find_spec(name.replace("-", "_")) is not None},
    }


def target(
    what: str, row: dict[str, object], peer: str, wanted: float, *, floor: float | None = None
) -> dict[str, object]:
    """Make a target of a row of :func:`summarise`: a ratio to reach against a peer.

    ``floor`` is the ratio to the same peer of what no implementation can be faster than, in the
    same run.
    """
    median, low, high = row[f"times as fast as {peer}"]  # type: ignore[misc]
    return {"what": what, "measured": median, "spread": [low, high], "wanted": wanted, "floor": floor, "unit": "x"}


def target_above_floor(
    what: str, row: dict[str, object], least: dict[str, object], peer: str, wanted: float
) -> dict[str, object]:
    """Make a :func:`target` whose floor is the ratio of another row of the same run."""
    floor = least[f"times as fast as {peer}"][0]  # type: ignore[index]
    return target(what, row, peer, wanted, floor=floor)


def limit(
    what: str,
    measured: float,
    wanted: float,
    unit: str,
    *,
    spread: list[float] | None = None,
    floor: float | None = None,
) -> dict[str, object]:
    """Make a target that must not be exceeded, e.g. in ``"MB"`` or ``"s"``."""
    found = {"what": what, "measured": measured, "spread": spread, "wanted": wanted, "floor": floor, "unit": unit}
    return {**found, "at_most": True}


def reached(goal: dict[str, object]) -> bool:
    """Return whether the median of a target is what was wanted."""
    measured, wanted = float(goal["measured"]), float(goal["wanted"])  # type: ignore[arg-type]
    return measured <= wanted if goal.get("at_most") else measured >= wanted


def publish(
    name: str | None,
    title: str,
    rows: list[dict[str, object]],
    notes: list[str],
    quick: bool,
    targets: list[dict[str, object]] | None = None,
) -> None:
    """Print the table and write ``results/NAME.json`` (no name: print only).

    Targets (:func:`target`, :func:`limit`) are what ``table.py`` gathers from all scripts.
    """
    console = Console(width=150)
    table = Table(title=title + (" (quick: not for quoting)" if quick else ""))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*[show(row.get(column)) for column in columns])
    console.print(table)
    for note in notes:
        console.print(f"- {note}")
    for goal in targets or []:
        word = "reached" if reached(goal) else "NOT REACHED"
        console.print(f"- {word}: {goal['what']}: {goal['measured']:.3g} {goal['unit']}, wanted {goal['wanted']:g}")
    if name is None:
        return
    RESULTS.mkdir(exist_ok=True)
    record = {
        "title": title,
        "quick": quick,
        "machine": machine(),
        "rows": rows,
        "notes": notes,
        "targets": targets or [],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def show(value: object) -> str:
    """Return a cell of a table: a number, a median with its range, or text."""
    if isinstance(value, list) and len(value) == 3:
        return f"{value[0]:.2f} ({value[1]:.2f} to {value[2]:.2f})"
    if isinstance(value, list):
        return " to ".join(f"{v:.4g}" for v in value)
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
