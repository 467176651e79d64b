"""``biot-bd bench``: a model in every engine, or what this machine does with biot_bd."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands._folders import expect
from biot_bd.commands._registered import find_model

if TYPE_CHECKING:
    from rich.table import Table

    from biot_bd.deploy.engine_bench import EngineTable
    from biot_bd.deploy.engine_candidates import Candidate

BATCHES = (1, 8, 64)
PRESET_BATCH = 8
PREPARING = "preparing a recorded hour (23 channels, 256 Hz, 1 s stride, start-up included)"


def bench(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]",
            parser=find_model,
            help="Saved or exported model (its folder, or NAME[/VERSION] of the registry): its engines beside each other. "
            "Default: the machine.",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option("--batch", "--batch-size", help="Windows a batch; may be repeated.", min=1),
    ] = None,
    presets: Annotated[
        list[str] | None,
        typer.Option(help="Registered model whose presets are measured instead, untrained; may be repeated."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long each measurement runs, in seconds.", min=0.1, max=600)] = 3.0,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure a model in every engine and precision; without MODEL what this machine does.

    With MODEL: one table of windows a second, milliseconds, largest difference of a probability,
    memory, size and start-up, and what to take in a sentence. A saved model is exported to a
    temporary folder for it, unless its exports/ has it. With --presets: size, speed and memory of
    every preset of an architecture, e.g. multi-scale-biot, 8 windows a batch. Without both:
    preparation, reading, inference and training on generated signals. Comparisons with other
    software are the scripts in benchmarks/.
    """
    if model is not None and presets:
        raise typer.BadParameter("give a MODEL or --presets, not both")
    if presets:
        _bench_presets(presets, max(batch or [PRESET_BATCH]), seconds, json)
        return
    if model is not None:
        expect(model, "model", "exported")
        _bench_model(model, batch or list(BATCHES), seconds, json)
        return
    from rich.console import Console
    from rich.table import Table

    from biot_bd.commands._output import print_json

    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder, console.status("measuring"):
        figures = _measure(Path(folder), seconds, max(batch or BATCHES))
    if json:
        print_json(figures)
        return
    table = Table(title=f"biot_bd on this machine ({figures['processors']} processors, device {figures['device']})")
    table.add_column("what")
    table.add_column("figure", justify="right", no_wrap=True)
    for what, unit, value in figures["figures"]:
        table.add_row(what, f"{value:,.2f} {unit}" if value < 100 else f"{value:,.0f} {unit}")
    Console().print(table)


def _bench_presets(names: list[str], batch: int, seconds: float, json: bool) -> None:
    from rich.console import Console

    from biot_bd.commands._names import check_registered
    from biot_bd.commands._output import print_json
    from biot_bd.commands._preset_bench import bench_presets, presets_table
    from biot_bd.processor import this_processor

    check_registered("models", *names)
    console = Console(stderr=True)
    with console.status("measuring") as status:
        rows = bench_presets(names, batch, seconds, status.update)
    if json:
        print_json({"processor": this_processor().as_dict(), "presets": rows})
        return
    Console().print(presets_table(rows))
    for row in rows:
        if "failed" in row:
            typer.echo(f"{row['model']} {row['preset']}: {row['failed']}")


def _bench_model(model: Path, batches: list[int], seconds: float, json: bool) -> None:
    from rich.console import Console

    from biot_bd.commands._output import print_json
    from biot_bd.deploy.engine_bench import bench_engines
    from biot_bd.processor import this_processor

    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder, console.status("looking for engines") as status:
        candidates, failed, made = _candidates(model, Path(folder), status.update)
        found = bench_engines(candidates, batches=batches, seconds=seconds, on_step=status.update)
    table = replace(found, failed={**failed, **found.failed})
    if json:
        machine = {"processor": this_processor().as_dict(), "threads": os.environ.get("OMP_NUM_THREADS")}
        print_json({"model": model, **machine, "exported_for_this": made, **table.as_dict(batches)})
        return
    Console().print(_as_table(table, batches))
    for name, why in table.failed.items():
        typer.echo(f"{name}: {why}")
    typer.echo(table.recommendation(batches))
    best = table.recommended(max(batches))
    if best is not None and best.engine in made:
        typer.echo(f"To use it: biot-bd export {model} --format {best.engine} -o {model / 'exports' / best.engine}")


def _candidates(
    model: Path, folder: Path, on_step: Callable[[str], object]
) -> tuple[list[Candidate], dict[str, str], list[str]]:
    """Return what to measure, what cannot be and why, and the formats that were exported for it."""
    from biot_bd.deploy.engine_candidates import Candidate, find_candidates
    from biot_bd.models.checkpoints.pipeline_folder import is_exported

    found, left_out = find_candidates(model)
    failed = dict(text.partition(" (")[::2] for text in left_out)
    failed = {name: why.removesuffix(")") for name, why in failed.items()}
    if is_exported(model):
        return found, failed, []
    torch = [Candidate(model, "torch", precision) for precision in ("fp32", "bf16", "fp16")]
    candidates = torch + [one for one in found if one.engine != "torch"]
    there = {one.engine for one in candidates}
    made: list[str] = []
    for format in ("onnx", "openvino"):
        if format in there:
            continue
        on_step(f"exporting to {format}")
        try:
            from biot_bd.export import export_model

            export_model(model, folder / format, format=format, say=on_step)
        except Exception as error:  # any model may be given, and any exporter may refuse it in its own words
            failed[f"export to {format}"] = " ".join(str(error).split()) or type(error).__name__
            continue
        made.append(format)
        candidates += [one for one in find_candidates(folder / format)[0] if one.engine == format]
    return candidates, failed, made


def _as_table(found: EngineTable, batches: list[int]) -> Table:
    """Return the figures as a table; what does not depend on the batch stands in the first row."""
    from rich import box
    from rich.table import Table

    first = found.figures[0]
    caption = (
        f"ratio: to {first.name}; error: largest difference of a probability to {found.reference}; MB: memory by which a "
        "fresh process grows; disk: MB; start: processor seconds of the process to the first probability"
    )
    table = Table(
        title=f"windows of {found.window_s:g} s on this machine", caption=caption, box=box.SIMPLE_HEAD, pad_edge=False
    )
    for word in ("engine", "batch", "win/s", "ms", "ratio", "error", "MB", "disk", "start"):
        table.add_column(word, justify="left" if word == "engine" else "right", no_wrap=True)
    for one in found.figures:
        for number, batch in enumerate(batches):
            speed = one.windows_a_second(batch)
            row = [f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}", f"{1000 * batch / speed:,.1f}"]
            row.append(f"{one.speed_to(first, batch):.2f}")
            mark = "" if one.exact else " (!)"
            same = [
                f"{one.error:.0e}{mark}",
                f"{one.memory_mb:.0f}",
                f"{one.size_mb:.1f}",
                f"{one.start_cpu_s:.1f}",
            ]
            table.add_row("" if number else one.name, str(batch), *row, *([""] * 4 if number else same))
        table.add_section()
    return table


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
