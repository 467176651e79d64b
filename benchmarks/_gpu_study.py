"""What a GPU is worth to a whole study.

A leave-one-subject-out cross-validation of generated recordings, read from the store or from the
device, one fold or several at a time.  Part of ``gpu.py``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from biot_bd import Windows

VALIDATION = 0.25
"""Share of the subjects of a fold that validate."""


@dataclass(frozen=True)
class StudySizes:
    """What the study is of."""

    subjects: int = 24
    minutes: int = 10
    stride_s: float = 5.0
    epochs: int = 3
    batch: int = 256
    jobs: tuple[int, ...] = (1, 4)
    embed_dim: int = 256
    num_layers: int = 4
    seconds: float = 150.0


QUICK_STUDY = StudySizes(subjects=6, epochs=2, jobs=(1,), seconds=60.0)
TINY_STUDY = StudySizes(3, 2, 10.0, 1, 8, (1,), 16, 1, 120.0)


def study_rows(sizes: StudySizes, device: torch.device) -> list[dict[str, object]]:
    """Time the study each way, while time is left, and check that all ways score alike."""
    from biot_bd import PercentileScaler, load_dataset, prepare

    begun, rows, scores = time.monotonic(), [], {}
    with tempfile.TemporaryDirectory() as folder:
        recordings = load_dataset(
            "demo", Path(folder) / "edf", n_subjects=sizes.subjects, recordings=1, minutes=sizes.minutes
        )
        windows = prepare(recordings, Path(folder) / "store", stride_s=sizes.stride_s).map(PercentileScaler())
        for n_jobs in sizes.jobs:
            for on_device in (False, True):
                if rows and time.monotonic() - begun > sizes.seconds:
                    return rows
                row, scores[n_jobs, on_device] = _study(sizes, windows, device, n_jobs, on_device)
                rows.append(row)
    if device.type == "cpu" and len(set(scores.values())) != 1:
        raise SystemExit(f"the ways of reading give other scores: {scores}")
    return rows


def _study(
    sizes: StudySizes, windows: Windows, device: torch.device, n_jobs: int, on_device: bool
) -> tuple[dict[str, object], float]:
    """Return a row, and the sum of all probabilities."""
    from biot_bd import BIOTClassifier, cross_validate
    from biot_bd.evaluation import Throughput, estimate_cost, workers
    from biot_bd.windows.device_signals import free_device_signals

    net = BIOTClassifier(
        module__embed_dim=sizes.embed_dim,
        module__num_layers=sizes.num_layers,
        max_epochs=sizes.epochs,
        patience=None,
        batch_size=sizes.batch,
        precision="bf16" if device.type == "cuda" else "fp32",
        micro_batch=None,
        device=str(device),
        data_on_device=on_device,
    )
    start, peak = time.perf_counter(), _peak_mb(device)
    with workers("sequential" if n_jobs == 1 else "loky", n_workers=n_jobs, per_device=n_jobs):
        result = cross_validate(net, windows, validation_fraction=VALIDATION, progress=False)
    seconds = time.perf_counter() - start
    counted = {"n_windows": len(windows), "n_folds": sizes.subjects, "epochs": sizes.epochs}
    cost = estimate_cost(Throughput(1, 1), **counted, validation_fraction=VALIDATION)
    where = "on the device" if on_device else "from the store"
    row: dict[str, object] = {
        "way": f"one of {sizes.subjects} subjects out, windows {where}, {n_jobs} fold(s) at a time",
        "batch": sizes.batch,
        "windows a second": (cost.training_windows + cost.inference_windows) / seconds,
        "peak MB": peak() if n_jobs == 1 else None,
        "seconds": seconds,
    }
    free_device_signals()
    return row, float(result.predictions["proba"].sum())


def _peak_mb(device: torch.device) -> Callable[[], float | None]:
    if device.type != "cuda":
        return lambda: None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return lambda: torch.cuda.max_memory_allocated(device) / 2**20
