"""Where the folds and fits of a block are computed: processes of this machine, dask, SLURM."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import joblib

from biot_bd.evaluation.cluster_jobs import ClusterJobs
from biot_bd.evaluation.device_queue import DeviceQueue
from biot_bd.evaluation.parallel import Spread, spreading
from biot_bd.exceptions import MissingExtraError

OF_JOBLIB = ("sequential", "threading", "loky")
OF_DASK = ("dask", "dask-slurm")
OF_SUBMITIT = ("slurm", "local")
BACKENDS = (*OF_JOBLIB, *OF_DASK, *OF_SUBMITIT)


@contextmanager
def workers(
    backend: str = "loky",
    *,
    n_workers: int | None = None,
    scheduler: str | None = None,
    slurm: Mapping[str, Any] | None = None,
    hours: float = 24.0,
    cpus: int | None = None,
    gpus: int = 0,
    per_device: int | str = 1,
    wait_s: float | None = None,
) -> Iterator[int]:
    """Compute the folds and fits of calls in the block elsewhere, or here.

    Parameters
    ----------
    backend : str
        ``"sequential"``: here, one after another.  ``"loky"``: processes of this machine.
        ``"threading"``: threads, whose fits of neural nets run one after another.  ``"dask"``:
        processes of this machine through dask, or the workers of ``scheduler``.  ``"dask-slurm"``:
        workers that dask-jobqueue starts as jobs of SLURM.  ``"slurm"``: a job of SLURM a task,
        through submitit, without dask.  ``"local"``: the same as processes of this machine.
    n_workers : int, optional
        How many at once; by default one a processor, of dask's given scheduler all that it has, of
        ``"dask-slurm"`` one, of ``"slurm"`` as many as the cluster lets run, of ``"local"`` one.
    scheduler : str, optional
        Address of dask's scheduler, e.g. ``"tcp://10.0.0.5:8786"``, for ``"dask"``.
    slurm : mapping, optional
        For ``"dask-slurm"`` parameters of ``dask_jobqueue.SLURMCluster`` (``memory`` is needed);
        for ``"slurm"`` options of ``sbatch``.
    hours : float
        Time limit of a job.
    cpus : int, optional
        Threads of a task (torch, numpy, scikit-learn), and processors of a job; by default as many
        threads as this process has, of a job one.
    gpus : int
        Of a job.
    per_device : int or "auto"
        Tasks on a GPU at once, see :class:`~biot_bd.evaluation.DeviceQueue`.
    wait_s : float, optional
        Longest wait for the first worker of dask; a queue of SLURM may take hours.

    Yields
    ------
    int
        What others take as ``n_jobs``; calls of biot_bd in the block need it not.

    Raises
    ------
    ValueError
        No such backend, or a parameter that it has no use for.
    MissingExtraError
        The backend's package is not installed.
    TimeoutError
        dask has no worker within ``wait_s``.

    See Also
    --------
    submit_folds : Jobs of SLURM that nobody waits for.
    DeviceQueue : Which GPU a task gets.

    Notes
    -----
    Scores do not depend on the backend where tasks have as many threads: leave ``cpus`` out, or
    give as many as this process has.  Many tasks at once, each with all threads, are slow: limit
    those of this process (``OMP_NUM_THREADS``, ``threadpoolctl``), as the command line does.
    ``joblib.parallel_config(backend="dask")`` works as well, for a client that is there.  Machines
    of a cluster must see run folder and prepared windows under the same path; arrays travel to each
    worker.

    Examples
    --------
    >>> from biot_bd.evaluation import workers
    >>> with workers("loky", n_workers=2) as n_jobs:
    ...     n_jobs  # and cross_validate(pipeline, windows, folder="runs/a")
    2
    """
    if backend not in BACKENDS:
        raise ValueError(f"no backend {backend!r}; there are {', '.join(BACKENDS)}")
    if n_workers is not None and n_workers < 1:
        raise ValueError(f"n_workers={n_workers}: expected at least 1, or None")
    if scheduler is not None and backend != "dask":
        raise ValueError(f"scheduler={scheduler!r}: only backend='dask' takes one, not {backend!r}")
    if slurm and backend not in ("dask-slurm", "slurm"):
        raise ValueError(f"slurm=...: only the backends dask-slurm and slurm take it, not {backend!r}")
    devices = DeviceQueue(per_device=per_device)
    with ExitStack() as opened:
        if backend in OF_SUBMITIT:
            jobs = ClusterJobs(backend, n_at_once=n_workers, hours=hours, cpus=cpus or 1, gpus=gpus, slurm=slurm)
            jobs.check()
            n_jobs = n_workers or 2
            how = Spread(n_jobs, devices, jobs.compute, threads=cpus or 1)
        elif backend in OF_DASK:
            client = opened.enter_context(_client(backend, n_workers, scheduler, slurm, hours, cpus or 1, gpus))
            client.wait_for_workers(1, timeout=wait_s)
            n_jobs = n_workers or sum(client.ncores().values())
            how = Spread(n_jobs, devices, threads=(cpus or 1) if backend == "dask-slurm" else cpus)
            opened.enter_context(joblib.parallel_config("dask", client=client, wait_for_workers_timeout=wait_s))
        else:
            n_jobs = 1 if backend == "sequential" else n_workers or joblib.cpu_count()
            how = Spread(n_jobs, devices, threads=cpus)
            opened.enter_context(joblib.parallel_config(backend))
        opened.enter_context(spreading(how))
        yield n_jobs


@contextmanager
def _client(
    backend: str,
    n_workers: int | None,
    scheduler: str | None,
    slurm: Mapping[str, Any] | None,
    hours: float,
    cpus: int,
    gpus: int,
) -> Iterator[Any]:
    """Open a client of dask, and the workers that it needs; close both."""
    try:
        import distributed
    except ImportError as error:
        raise MissingExtraError(f"backend {backend!r} needs dask: pip install 'biot-bd[scale]'") from error
    if scheduler is not None:
        with distributed.Client(scheduler, set_as_default=False) as client:
            yield client
        return
    if backend == "dask":
        cluster: Any = distributed.LocalCluster(
            n_workers=n_workers or joblib.cpu_count(),
            threads_per_worker=1,
            processes=True,
            memory_limit=0,  # dask counts pages of mapped signals as memory of the worker, and kills it
            dashboard_address="127.0.0.1:0",  # any free port: None would ask for 8787, and say who has it
            silence_logs=logging.ERROR,  # that workers were slow to end is nobody's concern
        )
    else:
        cluster = slurm_cluster(slurm or {}, hours=hours, cpus=cpus, gpus=gpus)
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        if backend == "dask-slurm":
            cluster.scale(jobs=n_workers or 1)
        yield client


def slurm_cluster(slurm: Mapping[str, Any], *, hours: float, cpus: int, gpus: int) -> Any:
    """Make dask's cluster of SLURM jobs, of one worker with one thread each; no job is started yet.

    Parameters
    ----------
    slurm : mapping
        Parameters of ``dask_jobqueue.SLURMCluster``; they come first.
    hours : float
    cpus, gpus : int
        Of a job.

    Returns
    -------
    dask_jobqueue.SLURMCluster

    Raises
    ------
    MissingExtraError
        dask-jobqueue is not installed.
    ValueError
        No memory is named, or SLURMCluster has no such parameter.
    """
    try:
        from dask_jobqueue import SLURMCluster
        from dask_jobqueue.core import Job, JobQueueCluster
        from dask_jobqueue.slurm import SLURMJob
    except ImportError as error:
        raise MissingExtraError("backend 'dask-slurm' needs dask-jobqueue: pip install 'biot-bd[scale]'") from error
    known = {name for kind in (SLURMJob, Job, JobQueueCluster) for name in inspect.signature(kind).parameters}
    unknown = sorted(set(slurm) - known)
    if unknown:
        raise ValueError(f"slurm: SLURMCluster has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}")
    if "memory" not in slurm:
        raise ValueError("slurm: a job of dask-slurm needs its memory, e.g. slurm={'memory': '16GB'}")
    minutes = max(1, round(hours * 60))
    given = {
        "cores": 1,
        "processes": 1,
        "job_cpu": cpus,
        "walltime": f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        # As above; SLURM itself watches a job's memory.
        "worker_extra_args": ["--memory-limit", "0"],
        "log_directory": os.fspath("dask-slurm-logs"),
        **slurm,
    }
    if gpus:
        given["job_extra_directives"] = [*given.get("job_extra_directives", []), f"--gres=gpu:{gpus}"]
    return SLURMCluster(**given)
