"""Shuffled batches of 256 of 50,000 windows, warm page cache, no workers.

One window at random; a cold cache.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _bench import arguments, interleave, publish, summarise, target_above_floor, write_recording

BATCH = 256
STRIDE_S = 0.125
EVERY = 80  # every 80th window of that stride is one of the published way
PUBLISHED, BRAINDECODE = "published", "braindecode, in memory, scaled"
CACHED, EXACT = "biot_bd, int16, percentiles cached", "biot_bd, int16, percentiles on reading"
FLOOR = "floor: the same float32 bytes copied once"


class Scaled(torch.utils.data.Dataset):
    """Windows of braindecode, scaled as BIOT's are: what a user would write."""

    def __init__(self, windows: Any, scale: bool) -> None:
        self.windows, self.scale = windows, scale

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        x, y, _ = self.windows[i]
        if self.scale:
            x = x / (np.quantile(np.abs(x), 0.95, axis=-1, method="linear", keepdims=True) + 1e-8)
        return x.astype(np.float32), y


def goals(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return what was wanted of reading beside what was measured."""
    by_way = {row["way"]: row for row in rows}
    found = []
    for name, way, wanted in (("cached percentiles", CACHED, (25, 10)), ("exact percentiles", EXACT, (8, 3))):
        for peer, ratio in zip((PUBLISHED, BRAINDECODE), wanted, strict=True):
            what = f"reading, {name}, against {peer}"
            found.append(target_above_floor(what, by_way[way], by_way[FLOOR], peer, ratio))
    return found


def main() -> None:
    options = arguments(__doc__ or "")
    torch.set_num_threads(1)
    from _peers import PublishedDataset, braindecode_windows, published_prepare
    from biot_bd import PercentileScaler, load_dataset, prepare
    from biot_bd.windows import gather as reading
    from biot_bd.windows.torch_dataset import PackedDataset, WindowsDataset, collate_windows

    @contextmanager
    def threads(n: int | None) -> Iterator[None]:
        before = reading._threads
        if n is not None:
            reading._threads = lambda pid: n  # type: ignore[assignment]
        yield
        reading._threads = before

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        edfs = [
            write_recording(base / "edf" / f"sub-01_run-{i:02d}.edf", 900 if options.quick else 3600, seed=i)
            for i in range(2)
        ]
        recordings = load_dataset("edf-folder", base / "edf", unlisted="background")
        int16, float32 = (
            prepare(recordings, base / dtype, stride_s=STRIDE_S, dtype=dtype)[:50_000] for dtype in ("int16", "float32")
        )
        cached, exact = PercentileScaler(), PercentileScaler(q=95.0000001)  # the second is in no cache
        files = [file for edf in edfs for file in published_prepare(edf, base / "published")]
        peer = braindecode_windows(edfs)
        sets: dict[str, tuple[Any, Any, int | None]] = {
            CACHED: (WindowsDataset(int16.map(cached)), collate_windows, None),
            "the same in one thread": (WindowsDataset(int16.map(cached)), collate_windows, 1),
            "biot_bd, float32, percentiles cached": (WindowsDataset(float32.map(cached)), collate_windows, None),
            EXACT: (WindowsDataset(int16.map(exact)), collate_windows, None),
            "percentiles on reading in one thread": (WindowsDataset(int16.map(exact)), collate_windows, 1),
            "biot_bd, packed for a GPU": (PackedDataset(int16.map(cached)), collate_windows, None),
            PUBLISHED: (PublishedDataset(files), None, None),
            "braindecode, in memory, unscaled": (Scaled(peer, scale=False), None, None),
            BRAINDECODE: (Scaled(peer, scale=True), None, None),
        }
        _check(sets, n_first=len(files) // 2)

        def epoch(name: str) -> None:
            dataset, collate, n_threads = sets[name]
            loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True, collate_fn=collate)
            with threads(n_threads):
                for _ in loader:
                    pass

        # What a loop over batches holds: one batch while the next is written.
        batches = [np.ones((BATCH, *int16.shape[1:]), np.float32) for _ in range(3)]

        def copy() -> None:
            for i in range(0, len(int16), BATCH):
                np.copyto(batches[1 + i // BATCH % 2], batches[0])

        ways: dict[str, Callable[[], object]] = {name: lambda name=name: epoch(name) for name in sets}
        ways[FLOOR] = copy
        lengths = {name: len(sets[name][0]) if name in sets else len(int16) for name in ways}
        times = interleave(ways, options.rounds)
        # Peers have fewer windows, so all are seconds for 1,000.
        times = {name: [1000 * t / lengths[name] for t in seconds] for name, seconds in times.items()}
        rows = summarise(times, [PUBLISHED, BRAINDECODE, "braindecode, in memory, unscaled"])
        for row in rows:
            row["windows_a_second"] = float(1000 / np.float64(row["median_s"]))
        notes = [
            f"{len(int16):,} windows (published and braindecode: {len(files)}) of 16 channels x 10 s at 200 Hz, batches of {BATCH}, "
            f"no workers, {reading._threads(os.getpid())} reading threads where not said otherwise; seconds for 1,000 windows",
            _one_window({name: sets[name][0] for name in (*list(sets)[:1], PUBLISHED, BRAINDECODE)}),
            *_cold(int16[:: EVERY // 2]),
        ]
        publish("reading", "Shuffled batches, seconds for 1,000 windows", rows, notes, options.quick, goals(rows))


def _check(sets: dict[str, tuple[Any, Any, int | None]], n_first: int) -> None:
    """Compare the first and last window of the first recording in all ways."""
    wanted = torch.stack([sets[PUBLISHED][0][0][0], sets[PUBLISHED][0][n_first - 1][0]])
    for name, (dataset, _, _) in sets.items():
        if name == "braindecode, in memory, unscaled":
            continue
        last = n_first - 1 if len(dataset) < 10 * n_first else EVERY * (n_first - 1)
        if hasattr(dataset, "__getitems__"):
            found = dataset.__getitems__([0, last])[0]
            found = found if isinstance(found, torch.Tensor) else found.unpack()
        else:
            found = torch.stack([torch.as_tensor(dataset[i][0]) for i in (0, last)])
        if (found - wanted).square().mean().sqrt() > 0.05 * wanted.square().mean().sqrt():
            raise SystemExit(f"{name} and the published way disagree")


def _one_window(sets: dict[str, Any]) -> str:
    """Say how long one window at random takes, in turns."""
    rng = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in sets}
    for _ in range(200):
        for name, dataset in sets.items():
            i = int(rng.integers(len(dataset)))
            start = time.perf_counter()
            dataset[i]
            seconds[name].append(time.perf_counter() - start)
    found = [f"{name} {1e6 * statistics.median(times):.0f}" for name, times in seconds.items()]
    return f"one window at random, microseconds: {'; '.join(found)}"


def _cold(windows: Any) -> list[str]:
    """Read an epoch whose pages the system was asked to drop, in random order and in blocks."""
    if not hasattr(os, "posix_fadvise"):
        return []
    from biot_bd.windows.page_shuffle import PageShuffle
    from biot_bd.windows.store import open_map

    orders = {
        "in random order": lambda: np.random.default_rng(0).permutation(len(windows)),
        "by PageShuffle": lambda: PageShuffle(windows, seed=0),
    }
    seconds: dict[str, list[float]] = {name: [] for name in orders}
    for _ in range(3):
        for name, order in orders.items():
            open_map.cache_clear()
            for path in (windows.folder / "signals").glob("*.npy"):
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            start = time.perf_counter()
            chosen = np.fromiter(order(), np.int64, len(windows))
            for first in range(0, len(chosen), BATCH):
                windows.read(chosen[first : first + BATCH])
            seconds[name].append(time.perf_counter() - start)
    found = [f"{name} {len(windows) / statistics.median(times):,.0f}" for name, times in seconds.items()]
    return [
        f"{len(windows)} windows after the system was asked to drop their pages, windows a second: {'; '.join(found)}"
    ]


if __name__ == "__main__":
    main()
