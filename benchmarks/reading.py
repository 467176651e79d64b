"""Shuffled batches of 256 windows, warm page cache, no workers: windows a second, ours against the peers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from _bench import arguments, interleave, publish, summarise, write_recording

BATCH = 256


def main() -> None:
    options = arguments(__doc__ or "")
    torch.set_num_threads(1)
    from _peers import PublishedDataset, braindecode_windows, published_prepare
    from biot_bd import PercentileScaler, load_dataset, prepare
    from biot_bd.windows.torch_dataset import WindowsDataset, collate_windows

    hours = 1 if options.quick else 3
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        edfs = [write_recording(base / "edf" / f"sub-01_run-{i:02d}.edf", 3600, seed=i) for i in range(hours)]
        recordings = load_dataset("edf-folder", base / "edf", unlisted="background")
        stores = {
            "int16": prepare(recordings, base / "int16", stride_s=10),
            "float32": prepare(recordings, base / "float32", stride_s=10, dtype="float32"),
        }
        files = [file for edf in edfs for file in published_prepare(edf, base / "published")]
        sets: dict[str, tuple[object, object]] = {
            f"biot_bd, {name}, percentiles cached": (_torch(windows.map(PercentileScaler())), collate_windows)
            for name, windows in stores.items()
        }
        exact = stores["int16"].map(PercentileScaler(q=95.0000001))
        sets["biot_bd, int16, percentiles on reading"] = (WindowsDataset(exact, stores["int16"].y), collate_windows)
        sets["published"] = (PublishedDataset(files), None)
        sets["braindecode, in memory, unscaled"] = (braindecode_windows(edfs), None)

        n = len(files)
        first = [sets[k][0].__getitems__([0, n - 1])[0] if hasattr(sets[k][0], "__getitems__") else None for k in sets]
        wanted = torch.stack([sets["published"][0][0][0], sets["published"][0][n - 1][0]])
        for name, batch in zip(sets, first, strict=True):
            if batch is not None and (batch - wanted).square().mean().sqrt() > 0.05 * wanted.square().mean().sqrt():
                raise SystemExit(f"{name} and the published way disagree")

        def epoch(name: str) -> None:
            dataset, collate = sets[name]
            loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True, collate_fn=collate)
            for _ in loader:
                pass

        times = interleave({name: lambda name=name: epoch(name) for name in sets}, options.rounds)
        rows = summarise(times, ["published", "braindecode, in memory, unscaled"])
        for row in rows:
            row["windows_a_second"] = float(n / np.float64(row["median_s"]))
        notes = [f"{n} windows of 16 channels x 10 s at 200 Hz in batches of {BATCH}, no workers, warm page cache"]
        publish("reading", "Shuffled batches, seconds an epoch", rows, notes, options.quick)


def _torch(windows: object) -> object:
    from biot_bd.windows.torch_dataset import WindowsDataset

    return WindowsDataset(windows, windows.y)


if __name__ == "__main__":
    main()
