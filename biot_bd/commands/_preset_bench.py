"""Size, speed and memory of a registered model's presets, each in a process of its own.

Run as ``python -m biot_bd.commands._preset_bench MODEL PRESET BATCH SECONDS`` it measures one and
prints its figures as a line of JSON; memory of one model cannot be told from that of others in one
process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

WINDOW = {"n_chans": 16, "n_times": 2000, "sfreq": 200, "n_outputs": 2}
"""What all are built for: ten seconds of 16 channels."""
_NONE = "-"


def presets_of(name: str) -> list[str]:
    """Return the presets of a registered model; of one without them the one word ``"-"``."""
    from biot_bd import registry

    return list(getattr(registry.models[name], "presets", None) or (_NONE,))


def bench_presets(
    names: Sequence[str], batch: int, seconds: float, on_step: Callable[[str], object] = lambda text: None
) -> list[dict[str, Any]]:
    """Measure all presets of models.

    Parameters
    ----------
    names : sequence of str
        Registered names.
    batch : int
        Windows a batch.
    seconds : float
        How long inference and training are each measured.
    on_step : callable
        Told in words what is measured next.

    Returns
    -------
    list of dict
        As :func:`measure` gives them, or ``model``, ``preset`` and ``failed``, a text.

    Raises
    ------
    biot_bd.exceptions.UnknownNameError
        There is no such model.
    """
    rows = []
    for name, preset in [(one, preset) for one in names for preset in presets_of(one)]:
        on_step(f"{name} {preset}")
        words = [sys.executable, "-W", "ignore", "-m", __name__, name, preset, str(batch), str(seconds)]
        done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", errors="replace")
        lines, told = done.stdout.strip().splitlines(), done.stderr.strip().splitlines()
        if done.returncode == 0 and lines:
            rows.append(json.loads(lines[-1]))
        else:
            why = told[-1] if told else f"its process ended with status {done.returncode} (too little memory?)"
            rows.append({"model": name, "preset": preset, "failed": why})
    return rows


def measure(name: str, preset: str, batch: int, seconds: float) -> dict[str, Any]:
    """Build a model with fresh weights, score a batch and train on it, both in float32.

    Parameters
    ----------
    name, preset : str
        Registered name; a preset of it, or ``"-"``.
    batch : int
        Windows a batch.
    seconds : float
        How long each of the two runs, after a call that warms up.

    Returns
    -------
    dict
        Parameters, windows a second, and by how many MB memory grows at most: of the process on a
        CPU, of torch's allocations on a GPU.  A training step has forward and backward passes and
        AdamW.
    """
    import torch

    from biot_bd import registry
    from biot_bd.deploy.engine_worker import generated_windows, resident_mb

    device = "cuda" if torch.cuda.is_available() else "cpu"
    cls = registry.models[name]
    x = torch.as_tensor(generated_windows(WINDOW["n_chans"], WINDOW["n_times"], WINDOW["sfreq"], batch) / 100)
    x, y = x.to(device), torch.zeros(batch, dtype=torch.long, device=device)
    empty_mb = resident_mb()
    model: Any = cls(**WINDOW, **({} if preset == _NONE else {"preset": preset})).to(device)
    parameters = sum(parameter.numel() for parameter in model.parameters())

    def peak_mb() -> float:
        return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else resident_mb(peak=True) - empty_mb

    def infer() -> None:
        with torch.inference_mode():
            model(x).sum().item()

    model.eval()
    inference, inference_mb = _windows_a_second(infer, batch, seconds), peak_mb()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def train() -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        loss.item()

    training = _windows_a_second(train, batch, seconds)
    return {
        "model": name,
        "preset": preset,
        "parameters": parameters,
        "weights_mb": parameters * 4 / 2**20,
        "inference_windows_a_second": inference,
        "inference_mb": inference_mb,
        "training_windows_a_second": training,
        "training_mb": peak_mb(),
        "batch": batch,
        "device": device,
        "threads": torch.get_num_threads(),
    }


def _windows_a_second(call: Callable[[], object], batch: int, seconds: float) -> float:
    """Return the rate of the median call, after one that warms up."""
    import statistics
    import time

    call()
    times: list[float] = []
    begin = time.perf_counter()
    while not times or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return batch / statistics.median(times)


def presets_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the figures as a table."""
    from rich import box
    from rich.table import Table

    done = [row for row in rows if "failed" not in row]
    where = f"batch {done[0]['batch']}, {done[0]['device']}, {done[0]['threads']} threads" if done else "nothing ran"
    table = Table(title=f"windows of 10 s, 16 channels, float32, {where}", box=box.SIMPLE_HEAD, pad_edge=False)
    for word in ("model", "preset", "parameters", "weights MB", "win/s", "MB", "train win/s", "train MB"):
        table.add_column(word, justify="left" if word in ("model", "preset") else "right", no_wrap=True)
    for row in done:
        rates = [row["inference_windows_a_second"], row["inference_mb"], row["training_windows_a_second"]]
        cells = [f"{value:,.0f}" if value >= 10 else f"{value:.2f}" for value in (*rates, row["training_mb"])]
        table.add_row(row["model"], row["preset"], f"{row['parameters']:,}", f"{row['weights_mb']:,.0f}", *cells)
    return table


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
