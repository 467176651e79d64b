"""What a cell of a study costs: seconds and peak memory, measured; and beforehand, estimated."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet

from biot_bd.evaluation.data import as_data
from biot_bd.evaluation.model_selection.folds import make_folds
from biot_bd.evaluation.model_selection.official_split import official_parts
from biot_bd.evaluation.run_facts import Cells
from biot_bd.evaluation.studies.study_pipelines import choose_store, has_weights
from biot_bd.evaluation.studies.study_plan import StudyModel, StudyPlan
from biot_bd.probes.fitted_parts import parts_of
from biot_bd.training import BIOTClassifier
from biot_bd.windows import Windows

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
TRIAL_WINDOWS = 8
TRAINING_FACTOR = 3.0
"""Forward and backward pass take about three times a forward pass."""


@contextmanager
def measured() -> Iterator[Cells]:
    """Measure a block: the dictionary gets ``wall_s``, ``peak_memory_bytes`` and, where a GPU was
    used, ``peak_gpu_bytes``.

    The peak is that of the process while the block runs, with what was loaded before; None where
    the system (not Linux) cannot tell it of a part of a process's life.

    Examples
    --------
    >>> from biot_bd.evaluation.studies.study_costs import measured
    >>> with measured() as cost:
    ...     total = sum(range(1000))
    >>> sorted(cost)
    ['peak_gpu_bytes', 'peak_memory_bytes', 'wall_s']
    """
    cost: Cells = {"wall_s": None, "peak_memory_bytes": None, "peak_gpu_bytes": None}
    gpu = torch.cuda.is_initialized()
    resettable = _reset_peak()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        cost["wall_s"] = time.perf_counter() - start
        cost["peak_memory_bytes"] = _peak_bytes() if resettable else None
        cost["peak_gpu_bytes"] = int(torch.cuda.max_memory_allocated()) if torch.cuda.is_initialized() else None


def _reset_peak() -> bool:
    """Set the high-water mark of this process's memory to what it uses now."""
    with suppress(OSError):
        _RESET.write_text("5")
        return True
    return False


def _peak_bytes() -> int | None:
    with suppress(OSError, ValueError, StopIteration):
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return None


def estimate_rows(plan: StudyPlan, stores: Sequence[Windows]) -> dict[str, Cells]:
    """Estimate what the rows of a plan cost on a cohort, by a forward pass of a few windows.

    Parameters
    ----------
    plan : StudyPlan
    stores : sequence of Windows
        Of one cohort.

    Returns
    -------
    dict
        By row: ``store``, ``seconds`` of all its seeds (None where nothing was measured: baselines
        without a network), ``refused`` (why, or None).

    Notes
    -----
    A frozen model reads each window once for all strategies, folds and (with weights) seeds.
    Training is taken to run all ``max_epochs`` on every fold, which stopping early cuts short.
    """
    data = as_data(stores[0], None, None)
    folds = make_folds(
        plan.cv,
        data.y,
        data.subjects,
        recordings=data.recordings,
        parts=official_parts(data.X),
        random_state=plan.seeds[0],
    )
    trained = sum(int(np.isin(data.subjects, fold.train).sum()) for fold in folds)
    known: dict[tuple[Any, ...], tuple[float, str]] = {}
    paid: set[tuple[Any, ...]] = set()
    found: dict[str, Cells] = {}
    for row in plan.rows():
        if row.model is None:
            found[row.name] = {"store": str(stores[0].folder), "seconds": None, "refused": None}
            continue
        key = (row.model.name, has_weights(row))
        try:
            if key not in known:
                known[key] = _seconds_a_window(row.model, stores, weights=has_weights(row))
        except (ValueError, OSError) as error:
            found[row.name] = {"store": None, "seconds": None, "refused": str(error)}
            continue
        a_window, store = known[key]
        if row.kind == "frozen":
            times = 0 if key in paid else 1 if has_weights(row) else len(plan.seeds)
            paid.add(key)
            seconds = a_window * len(stores[0]) * times
        else:
            epochs = int(plan.training.get("max_epochs", BIOTClassifier().max_epochs))
            seconds = a_window * TRAINING_FACTOR * trained * epochs * len(plan.seeds)
        found[row.name] = {"store": store, "seconds": seconds, "refused": None}
    return found


def _seconds_a_window(model: StudyModel, stores: Sequence[Windows], *, weights: bool) -> tuple[float, str]:
    windows, pipeline = choose_store(model, stores, weights=weights)
    steps, net = parts_of(pipeline)
    some: Any = windows[:TRIAL_WINDOWS]
    for step in steps:
        some = step.transform(some)
    data = net.get_dataset(some)
    NeuralNet.predict_proba(net, data)  # the first pass warms up
    start = time.perf_counter()
    NeuralNet.predict_proba(net, data)
    return (time.perf_counter() - start) / len(some), str(windows.folder)
