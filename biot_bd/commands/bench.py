"""``biot-bd bench``: what this machine does with biot_bd, on generated signals."""

from __future__ import annotations

from typing import Annotated, Any

import typer

PREPARING = "preparing a recorded hour (23 channels, 256 Hz, 1 s stride, start-up included)"


def bench(
    seconds: Annotated[float, typer.Option(help="How long each measurement runs, in seconds.", min=0.1)] = 3.0,
    batch_size: Annotated[int, typer.Option(help="Windows a batch for reading and for the model.", min=1)] = 64,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure preparation, reading, inference and training on this machine (generated signals).

    The figures say what to expect here; comparisons with other software are the scripts in
    ``benchmarks/``.
    """
    import tempfile
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from biot_bd.commands._output import print_json

    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder, console.status("measuring"):
        figures = _measure(Path(folder), seconds, batch_size)
    if json:
        print_json(figures)
        return
    table = Table(title=f"biot_bd on this machine ({figures['processors']} processors, device {figures['device']})")
    table.add_column("what")
    table.add_column("figure", justify="right", no_wrap=True)
    for what, unit, value in figures["figures"]:
        table.add_row(what, f"{value:,.2f} {unit}" if value < 100 else f"{value:,.0f} {unit}")
    Console().print(table)


def _measure(folder: Any, seconds: float, batch_size: int) -> dict[str, Any]:
    """Prepare generated recordings, read them shuffled, run and train full-size BIOT on them."""
    import os
    import time

    import numpy as np
    import torch

    from biot_bd import BIOT, PercentileScaler, load_dataset, prepare
    from biot_bd.windows.torch_dataset import WindowsDataset

    recordings = load_dataset("demo", folder / "edf", n_subjects=2, recordings=1)
    recorded_h = sum(len(d.raw.times) / d.raw.info["sfreq"] for d in recordings.datasets) / 3600
    start = time.perf_counter()
    windows = prepare(recordings, folder / "store", stride_s=1)
    prepared_s = time.perf_counter() - start

    dataset = WindowsDataset(windows.map(PercentileScaler()), windows.y)
    order = np.random.default_rng(0).permutation(len(windows))
    batches = [order[i : i + batch_size] for i in range(0, len(order) - batch_size + 1, batch_size)] or [order]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = BIOT(n_outputs=2, n_chans=16, n_times=2000, sfreq=200).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    x = torch.as_tensor(dataset.__getitems__(list(batches[0]))[0]).to(device)
    y = torch.zeros(len(x), dtype=torch.long, device=device)

    def infer(_: Any) -> None:
        with torch.inference_mode():
            model(x).sum().item()

    def train(_: Any) -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        loss.item()

    reading = _rate(lambda i: dataset.__getitems__(list(batches[i % len(batches)])), len(batches[0]), seconds)
    model.eval()
    inference = _rate(infer, len(x), seconds)
    model.train()
    training = _rate(train, len(x), seconds)
    return {
        "processors": os.cpu_count(),
        "device": device,
        "torch_threads": torch.get_num_threads(),
        "batch_size": len(x),
        "figures": [
            (PREPARING, "s", prepared_s / recorded_h),
            ("reading shuffled, scaled windows", "windows/s", reading),
            ("inference, full-size BIOT, fp32", "windows/s", inference),
            ("training, full-size BIOT, fp32", "windows/s", training),
        ],
    }


def _rate(call: Any, windows: int, seconds: float) -> float:
    """Return the windows a second of ``call(i)``, the median over calls after one that warms up."""
    import statistics
    import time

    call(0)
    times: list[float] = []
    begin = time.perf_counter()
    while not times or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        call(len(times) + 1)
        times.append(time.perf_counter() - start)
    return windows / statistics.median(times)
