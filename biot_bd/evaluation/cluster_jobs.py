"""Tasks as jobs of a cluster, one each, through submitit."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biot_bd.evaluation.parallel import Spread, TaskCall, parted, spreading
from biot_bd.evaluation.shared_values import SharedValues
from biot_bd.evaluation.submitted_jobs import FOLDER, forget_jobs, note_jobs
from biot_bd.exceptions import LostWorkerError, MissingExtraError

CLUSTERS = ("slurm", "local")
POLL_S = 0.5
MOST_OF_AN_ARRAY = 500
"""Jobs of one array: SLURM takes 1000 where nobody changed its ``MaxArraySize``."""


@dataclass(frozen=True)
class ClusterJobs:
    """How tasks become jobs.

    Parameters
    ----------
    cluster : {"slurm", "local"}
        ``local``: processes of this machine that behave as jobs.
    n_at_once : int, optional
        Jobs that run at once; by default all that the cluster lets run, one of ``local``.
    hours : float
        Time limit of a job.
    cpus, gpus : int
        Of a job; torch uses as many threads as it has processors.
    requeue : int
        Times a job may run out of time; it then waits in the queue again and goes on.
    slurm : mapping, optional
        Further options of ``sbatch``.

    Raises
    ------
    ValueError
        No such cluster.
    """

    cluster: str = "slurm"
    n_at_once: int | None = None
    hours: float = 24.0
    cpus: int = 1
    gpus: int = 0
    requeue: int = 10
    slurm: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.cluster not in CLUSTERS:
            raise ValueError(f"no cluster {self.cluster!r}; there are {', '.join(CLUSTERS)}")

    def check(self) -> None:
        """Raise where jobs cannot be submitted from here.

        Raises
        ------
        MissingExtraError
            submitit is not installed.
        RuntimeError
            There is no SLURM here.
        """
        _submitit()
        if self.cluster == "slurm" and shutil.which("sbatch") is None:
            raise RuntimeError("no SLURM here: sbatch is not on the path; call this on a login node of the cluster")

    def executor(self, folder: Path) -> Any:
        """Return submitit's executor, whose files lie in ``folder``.

        Raises
        ------
        MissingExtraError
            submitit is not installed.
        """
        submitit = _submitit()
        made = submitit.AutoExecutor(folder, cluster=self.cluster, slurm_max_num_timeout=self.requeue)
        made.update_parameters(
            name="biot-bd",
            gpus_per_node=self.gpus,
            cpus_per_task=self.cpus,
            timeout_min=max(1, round(self.hours * 60)),
            slurm_additional_parameters=dict(self.slurm or {}),
            **({} if self.n_at_once is None else {"slurm_array_parallelism": self.n_at_once}),
        )
        return made

    def submit(self, call: TaskCall, tasks: Sequence[Any], folder: Path) -> list[Any]:
        """Submit tasks as jobs, one each; with ``local`` wait until the last has begun.

        Parameters
        ----------
        call : TaskCall
            Computes one.
        tasks : sequence of Task
            Of one class.
        folder : Path
            Of the run.

        Returns
        -------
        list of submitit.Job
            In the order of ``tasks``.
        """
        executor = self.executor(folder / FOLDER)
        shared, own = parted(tasks)
        place = SharedValues(shared).save(folder / FOLDER)
        made = [TaskJob(call, str(place), values) for values in own]
        if self.cluster == "local":
            return self._begin_in_turn(executor, made, tasks, folder)
        jobs: list[Any] = []
        for first in range(0, len(made), MOST_OF_AN_ARRAY):
            with executor.batch():
                jobs += [executor.submit(job) for job in made[first : first + MOST_OF_AN_ARRAY]]
        note_jobs(folder, self.cluster, {task.label: job.job_id for task, job in zip(tasks, jobs, strict=True)})
        return jobs

    def _begin_in_turn(self, executor: Any, made: Sequence[TaskJob], tasks: Sequence[Any], folder: Path) -> list[Any]:
        jobs: list[Any] = []
        for task, job in zip(tasks, made, strict=True):
            while sum(not one.done() for one in jobs) >= (self.n_at_once or 1):
                time.sleep(POLL_S)
            jobs.append(executor.submit(job))
            note_jobs(folder, self.cluster, {task.label: jobs[-1].job_id})  # the others may wait for hours
        return jobs

    def compute(self, call: TaskCall, tasks: Sequence[Any]) -> Iterator[Any]:
        """Submit tasks, wait, and yield their outcomes as jobs end.

        Raises
        ------
        LostWorkerError
            A job ended without an outcome.
        ValueError
            The tasks have no run folder.
        """
        folder = _run_folder(tasks)
        waiting = self.submit(call, tasks, folder)
        while waiting:
            ended = [job for job in waiting if job.done()]
            for job in ended:
                waiting.remove(job)
                yield outcome_of(job)
            if not ended:
                time.sleep(POLL_S)
        forget_jobs(folder)


class TaskJob:
    """A job that computes one task; one that is requeued goes on where the task's files end.

    Parameters
    ----------
    call : TaskCall
    shared : str
        Folder of what it shares with other jobs.
    own : dict
        The fields of the task that are its own.

    See Also
    --------
    submit_folds : Submits them.
    """

    def __init__(self, call: TaskCall, shared: str, own: Mapping[str, Any]) -> None:
        self.call, self.shared, self.own = call, shared, dict(own)

    def __call__(self) -> Any:
        """Compute the task; return its outcome, or the error as :class:`Failed`."""
        try:
            return self.call(SharedValues.load(Path(self.shared)), self.own)
        except Exception as error:
            if type(error).__module__.startswith("submitit"):  # out of time for good
                raise
            return Failed(error)

    def checkpoint(self) -> Any:
        """Return what a job that is requeued does: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True)
class Failed:
    """The error that a task raised in its job."""

    error: Exception


def outcome_of(job: Any) -> Any:
    """Return what the task of a job gave, when it has ended.

    Raises
    ------
    LostWorkerError
        The job ended without an outcome.
    Exception
        What the task raised.
    """
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        outcome = job.result()
    except (FailedJobError, UncompletedJobError) as error:
        raise LostWorkerError(
            f"job {job.job_id} ended without a result (log: {job.paths.stderr}); what is finished is kept, and the same "
            "call again submits what is missing"
        ) from error
    if isinstance(outcome, Failed):
        raise outcome.error
    return outcome


def submit_folds(
    call: Callable[[], Any],
    *,
    cluster: str = "slurm",
    n_at_once: int | None = None,
    hours: float = 24.0,
    cpus: int = 1,
    gpus: int = 0,
    requeue: int = 10,
    slurm: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Submit the folds that a call would compute as jobs, one each, and do not wait for them.

    Parameters
    ----------
    call : callable
        E.g. ``partial(cross_validate, pipeline, windows, folder="runs/a")``, or of
        :func:`~biot_bd.evaluation.search`, which needs a run folder.  It checks everything, and
        stops before the first fit.  When the jobs have ended, ``call()`` reads what they left and
        computes what is missing; a search then has its next round, and is submitted again.
    cluster : {"slurm", "local"}
        ``local``: processes of this machine that behave as jobs, ``n_at_once`` at a time.
    n_at_once : int, optional
        Jobs that run at once; by default all that the cluster lets run, one of ``local``.
    hours : float
        Time limit of a job.
    cpus, gpus : int
        Of a job; torch uses as many threads as it has processors.
    requeue : int
        Times a job may run out of time; it then waits in the queue again and goes on.
    slurm : mapping, optional
        Further options of ``sbatch``, e.g. ``{"partition": "gpu"}``.

    Returns
    -------
    list of submitit.Job
        Empty where nothing was missing.

    Raises
    ------
    MissingExtraError
        submitit is not installed.
    RunFolderError
        Jobs of before still compute tasks of this run.
    ValueError
        No such cluster, or a call without ``folder``.
    Exception
        What the call raises before its first fit.

    See Also
    --------
    workers : With ``"slurm"`` the same, and waits.

    Examples
    --------
    >>> from functools import partial
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, cross_validate, submit_folds
    >>> X = np.random.default_rng(0).normal(0, 20, (40, 2, 200))
    >>> y, subjects = np.arange(40) % 4 == 0, np.repeat(["site/01", "site/02"], 20)
    >>> pipeline = baseline("line-length", X)
    >>> call = partial(cross_validate, pipeline, X, y=y, groups=subjects, progress=False)
    >>> submit_folds(call, cluster="local")
    Traceback (most recent call last):
    ...
    ValueError: jobs of a cluster leave their results in a run folder: give folder=...
    """
    jobs = ClusterJobs(cluster, n_at_once, hours, cpus, gpus, requeue, slurm)
    jobs.check()
    submitted: list[Any] = []

    def only_submit(task_call: TaskCall, tasks: Sequence[Any]) -> Iterator[Any]:
        submitted.extend(jobs.submit(task_call, tasks, _run_folder(tasks)))
        raise _SubmittedError

    with spreading(Spread(n_workers=2, submit=only_submit, threads=cpus)), suppress(_SubmittedError):
        call()
    return submitted


class _SubmittedError(Exception):
    """Ends a call whose tasks were submitted."""


def _run_folder(tasks: Sequence[Any]) -> Path:
    folder: Path | None = tasks[0].folder
    if folder is None:
        raise ValueError("jobs of a cluster leave their results in a run folder: give folder=...")
    return Path(folder).absolute()


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise MissingExtraError("jobs of a cluster need submitit: pip install 'biot-bd[scale]'") from error
    return submitit
