"""Tasks that are computed side by side, on the backend of joblib that the caller chose, or as jobs
of a cluster.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import joblib
import sklearn
import torch
from joblib.parallel import get_active_backend
from sklearn.utils.parallel import Parallel, delayed
from threadpoolctl import threadpool_info, threadpool_limits

from biot_bd.evaluation.device_queue import DeviceQueue
from biot_bd.evaluation.shared_values import SharedValues
from biot_bd.evaluation.submitted_jobs import check_no_jobs
from biot_bd.exceptions import LostWorkerError
from biot_bd.training.worker_threads import torch_threads


class Task(Protocol):
    """A dataclass with all that a worker needs.

    Attributes
    ----------
    label : str
        Tells it from others of its run, in messages and names of jobs.
    folder : Path or None
        Run folder, where it leaves its results.
    """

    @property
    def label(self) -> str:
        """Name in messages."""

    @property
    def folder(self) -> Path | None:
        """Run folder."""


Outcome = TypeVar("Outcome")
Run = Callable[[Any], Outcome]


@dataclass(frozen=True)
class Spread:
    """How tasks are spread in a block, beside what joblib knows of it.

    Attributes
    ----------
    n_workers : int or None
        How many compute at once where a call says ``n_jobs=1``; None: as the call says.
    devices : DeviceQueue
        Where each task gets its device.
    submit : callable or None
        ``submit(call, tasks)`` yields outcomes of tasks that it hands to a cluster; None: joblib.
    threads : int or None
        Threads of a task in a worker; None: as many as this process has.
    """

    n_workers: int | None = None
    devices: DeviceQueue = field(default_factory=DeviceQueue)
    submit: Callable[[TaskCall, Sequence[Any]], Iterator[Any]] | None = None
    threads: int | None = None


_spread: ContextVar[Spread | None] = ContextVar("spread", default=None)


@contextmanager
def spreading(how: Spread) -> Iterator[None]:
    """Spread the tasks of calls in the block as told."""
    token = _spread.set(how)
    try:
        yield
    finally:
        _spread.reset(token)


def jobs_at_once(n_jobs: int | None = 1) -> int:
    """Return how many tasks are computed at once; 1: here, one after another.

    Parameters
    ----------
    n_jobs : int or None
        In joblib's sense; inside ``workers`` 1 and None mean the workers there are.

    Raises
    ------
    ValueError
        It is 0.

    Examples
    --------
    >>> from biot_bd.evaluation import workers
    >>> from biot_bd.evaluation.parallel import jobs_at_once
    >>> with workers("loky", n_workers=3):
    ...     jobs_at_once()
    3
    """
    how, away = _how(), _spread_elsewhere()
    if n_jobs in (None, 1) and how.n_workers is not None:
        n_jobs = max(2, how.n_workers) if away else how.n_workers
    if n_jobs == 0:
        raise ValueError("n_jobs=0: expected how many at once, 1 or more, or -1 for one a processor")
    if n_jobs == 1:
        return 1
    if away:  # how many there are is the cluster's matter, and a single one is elsewhere, too
        return max(2, n_jobs or 2)
    return int(joblib.effective_n_jobs(n_jobs))


def run_tasks(
    run: Run[Outcome], tasks: Sequence[Any], *, n_jobs: int | None = 1, here: Run[Outcome] | None = None
) -> Iterator[Outcome]:
    """Yield the outcomes of tasks as they come.

    Parameters
    ----------
    run : callable
        ``run(task)``, importable by its name.
    tasks : sequence of Task
        Of one class.  What is the same object in all of them reaches a worker once.
    n_jobs : int or None
        How many at once, in joblib's sense; 1 computes them here, one after another.
    here : callable, optional
        Computes a task in place of ``run`` where that is in this process.

    Yields
    ------
    object
        ``run(task)``, in any order.  Errors of a task are raised; others may have finished.

    Raises
    ------
    LostWorkerError
        A worker ended before its task.
    RunFolderError
        Jobs of a cluster, submitted before, still compute some of them.
    ValueError
        ``n_jobs`` is 0.
    """
    if not tasks:
        return
    at_once, how, client = jobs_at_once(n_jobs), _how(), _client()
    if tasks[0].folder is not None:
        check_no_jobs(tasks[0].folder, (task.label for task in tasks))
    if at_once == 1 or (len(tasks) == 1 and not _spread_elsewhere()):
        yield from map(here or run, tasks)
        return
    n_finished = 0
    try:
        for outcome in _spread_out(run, tasks, at_once, how, client):
            n_finished += 1
            yield outcome
    except (BrokenExecutor, CancelledError) as error:
        raise _lost(tasks, n_finished, error) from error
    except Exception as error:
        if not _of_distributed(error):
            raise
        raise _lost(tasks, n_finished, error) from error


def _how() -> Spread:
    return _spread.get() or Spread()


def _spread_elsewhere() -> bool:
    return _how().submit is not None or _client() is not None


def _client() -> Any:
    """Return the client of dask whose workers joblib was told to use, or None."""
    return getattr(get_active_backend()[0], "client", None)


def _of_distributed(error: BaseException) -> bool:
    return any(kind.__module__.partition(".")[0] == "distributed" for kind in type(error).__mro__)


def _lost(tasks: Sequence[Any], n_finished: int, error: BaseException) -> LostWorkerError:
    folder = tasks[0].folder
    kept = (
        f"what is finished lies in {folder}, and the same call again computes what is missing"
        if folder is not None
        else "nothing is kept without a run folder (folder=...)"
    )
    reason = (str(error).strip().splitlines() or [""])[0][:300]
    return LostWorkerError(
        f"a worker ended before its task, {n_finished} of {len(tasks)} tasks had come back: it was killed, perhaps for lack "
        f"of memory (fewer at once need less), or its machine is gone; {kept} ({type(error).__name__}: {reason})"
    )


def _spread_out(run: Run[Any], tasks: Sequence[Any], at_once: int, how: Spread, client: Any) -> Iterator[Any]:
    threads = how.threads or torch.get_num_threads()
    pools = _pools() if how.threads is None else {"blas": threads, "openmp": threads}
    call = TaskCall(run, type(tasks[0]), threads, pools, how.devices, sklearn.get_config(), os.getpid())
    if how.submit is not None:
        yield from how.submit(call, tasks)
        return
    shared, own = parted(tasks)
    if client is not None:
        yield from _by_dask(client, call, shared, own)
        return
    backend, together = get_active_backend()[0], SharedValues(shared)
    yield from Parallel(
        n_jobs=at_once,
        batch_size=1,  # an outcome comes when it is there
        return_as="generator_unordered" if backend.supports_return_generator else "list",
    )(delayed(call)(together, values) for values in own)


def _pools() -> dict[str, int]:
    """Return how many threads the libraries of this process use, by kind."""
    most: dict[str, int] = {}
    for library in threadpool_info():
        most[library["user_api"]] = max(library["num_threads"], most.get(library["user_api"], 1))
    return most


def _by_dask(client: Any, call: TaskCall, shared: Mapping[str, Any], own: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    """Compute tasks by dask's workers.

    Not through joblib, which computes all in this process where there is one worker, or one yet.
    """
    from distributed import as_completed

    # A task and not scattered: what a dead worker held is then made again.
    together = client.submit(SharedValues, dict(shared), pure=False)
    futures = [client.submit(call, together, values, pure=False) for values in own]
    try:
        for future in as_completed(futures, loop=client.loop):
            yield future.result()  # `with_results` hands out the errors of cancelled ones as results
    finally:
        if client.status == "running":
            client.cancel(futures)


@dataclass(frozen=True)
class TaskCall:
    """Computes a task in a worker, as the calling process would.

    Attributes
    ----------
    run : callable
    kind : type
        Class of the tasks.
    threads : int
        Of torch.
    pools : dict
        Threads of numpy's and scikit-learn's libraries, by kind (``"blas"``, ``"openmp"``).
    devices : DeviceQueue
    config : dict
        scikit-learn's configuration of the calling process.
    caller : int
        Number of the calling process.
    """

    run: Run[Any]
    kind: type
    threads: int
    pools: dict[str, int]
    devices: DeviceQueue
    config: dict[str, Any]
    caller: int

    def __call__(self, shared: SharedValues, own: Mapping[str, Any]) -> Any:
        """Compute the task whose fields these are."""
        _end_with(self.caller)
        task = self.kind(**shared.values, **own)
        needs = f"{self.kind.__name__} of {task.folder}"
        with (
            sklearn.config_context(**self.config),
            threadpool_limits(self.pools),  # another number adds floats in another order
            torch_threads(self.threads),
            self.devices.leased(task.label, needs),
        ):
            return self.run(task)


_watched: set[int] = set()
_LOOK_S = 1.0


def _end_with(caller: int) -> None:
    """Let this process end when the one that started it as a worker is killed.

    Workers of loky would wait for it forever, with their memory and that of their GPU.
    """
    if os.getppid() != caller or caller in _watched:  # of dask and of jobs others take care
        return
    _watched.add(caller)
    threading.Thread(target=_watch, args=(caller,), name="ends-with-caller", daemon=True).start()


def _watch(caller: int) -> None:
    while os.getppid() == caller:
        time.sleep(_LOOK_S)
    os._exit(1)  # as if it had been killed with its caller: files are whole or not there


def parted(tasks: Sequence[Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the fields that are the same object in all tasks, and those of each."""
    first, names = tasks[0], [one.name for one in fields(tasks[0])]
    same = {name for name in names if all(getattr(task, name) is getattr(first, name) for task in tasks)}
    own = [{name: getattr(task, name) for name in names if name not in same} for task in tasks]
    return {name: getattr(first, name) for name in names if name in same}, own
