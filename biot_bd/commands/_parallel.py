"""Where a command computes its folds and fits, as its options say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from biot_bd.commands import _names
from biot_bd.commands._options import ParallelOptions

if TYPE_CHECKING:
    from biot_bd.evaluation import Result

BACKENDS = ("sequential", "threading", "loky", "dask", "dask-slurm", "slurm", "local")
JOBS = ("slurm", "local")


def check_parallel(parallel: ParallelOptions) -> None:
    """Raise where options contradict each other, before anything heavy is imported.

    Raises
    ------
    ValueError
        Names the option, what was expected and found.
    """
    _names.check_known("--backend", parallel.backend, BACKENDS)
    if parallel.jobs is not None and parallel.jobs != -1 and parallel.jobs < 1:
        raise ValueError(
            f"--jobs {parallel.jobs}: expected how many folds at once, 1 or more, or -1 for one a processor"
        )
    if parallel.scheduler is not None and parallel.backend != "dask":
        raise ValueError(f"--scheduler {parallel.scheduler}: only --backend dask takes one, not {parallel.backend}")
    if parallel.slurm and parallel.backend not in ("slurm", "dask-slurm"):
        raise ValueError(f"--slurm: only --backend slurm and dask-slurm take it, not {parallel.backend}")
    if not parallel.wait and parallel.backend not in JOBS:
        raise ValueError(f"--no-wait: only jobs (--backend slurm) go on alone, not {parallel.backend}")
    _per_device(parallel)


def computed(parallel: ParallelOptions, call: Callable[[], Result]) -> Result | None:
    """Call where the options say; None where jobs were submitted that nobody waits for.

    Raises
    ------
    Exception
        What the call, or :func:`~biot_bd.evaluation.workers`, raises.
    """
    import joblib
    import torch
    from threadpoolctl import threadpool_limits

    from biot_bd.commands._pipelines import parse_assignments
    from biot_bd.evaluation import submit_folds, workers
    from biot_bd.training.worker_threads import torch_threads

    slurm = parse_assignments(parallel.slurm, "--slurm")
    if not parallel.wait:
        jobs = submit_folds(
            call,
            cluster=parallel.backend,
            n_at_once=None if parallel.jobs == -1 else parallel.jobs,
            hours=parallel.hours,
            cpus=parallel.cpus or 1,
            gpus=parallel.gpus,
            slurm=slurm,
        )
        if jobs:
            for job in jobs:
                typer.echo(f"job {job.job_id}: {job.paths.stdout}", err=True)
            typer.echo("when they have ended, the same command reads their results", err=True)
            return None
        return call()
    at_once = parallel.jobs or (None if parallel.scheduler or parallel.backend == "slurm" else 1)
    at_once = None if at_once == -1 else at_once
    here = parallel.backend in ("loky", "threading", "dask") and parallel.scheduler is None
    # Folds share the processors of this machine: each uses as many threads as the calling process.
    share = max(1, torch.get_num_threads() // (at_once or joblib.cpu_count())) if here else None
    with (
        threadpool_limits(share),
        torch_threads(share),
        workers(
            parallel.backend,
            n_workers=at_once,
            scheduler=parallel.scheduler,
            slurm=slurm,
            hours=parallel.hours,
            cpus=parallel.cpus,
            gpus=parallel.gpus,
            per_device=_per_device(parallel),
        ),
    ):
        return call()


def _per_device(parallel: ParallelOptions) -> int | str:
    text = parallel.folds_per_gpu
    if text == "auto":
        return text
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"--folds-per-gpu {text}: expected a number of at least 1, or auto")
    return int(text)
