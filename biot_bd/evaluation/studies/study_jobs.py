"""The cells of a study as jobs of a cluster, one each, through submitit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biot_bd.evaluation.studies.foundation_study import missing_cells, opened_study, run_cell_alone
from biot_bd.evaluation.studies.study_cells import run_cell
from biot_bd.evaluation.studies.study_plan import StudyPlan
from biot_bd.exceptions import MissingExtraError

CLUSTERS = ("slurm", "local")


class CellJob:
    """A job that computes one cell; one that was preempted goes on where it was.

    Parameters
    ----------
    plan : dict
        ``StudyPlan.as_dict()``.
    folder : str
        Of the study.
    place : str
        ``StudyCell.place``.

    See Also
    --------
    submit_study : Submits them.
    """

    def __init__(self, plan: Mapping[str, Any], folder: str, place: str) -> None:
        self.plan, self.folder, self.place = dict(plan), folder, place

    def __call__(self) -> str:
        """Compute the cell; return its state."""
        return run_cell_alone(self.plan, self.folder, self.place)["state"]

    def checkpoint(self) -> Any:
        """Return what a job that is requeued does: the same, which goes on at its last fold."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit_study(
    plan: StudyPlan,
    folder: str | os.PathLike[str],
    *,
    cluster: str = "slurm",
    hours: float = 24,
    gpus: int = 0,
    cpus: int = 2,
    requeue: int = 10,
    slurm: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Submit the cells that are missing as jobs, one each.

    Parameters
    ----------
    plan : StudyPlan
    folder : path
        The study folder, which all machines see.
    cluster : {"slurm", "local"}
        ``local``: processes of this machine that behave as jobs, one after another; the call
        returns when all have ended.
    hours : float
        Time limit of a job.
    gpus, cpus : int
        Of a job.
    requeue : int
        Times a job may run out of time.
    slurm : mapping, optional
        Further options of ``sbatch``.

    Returns
    -------
    list of submitit.Job
        Without those whose folds the others take: these are computed here, first.

    Raises
    ------
    MissingExtraError
        submitit is not installed.
    RunFolderError, FileNotFoundError, ValueError
        As :func:`~biot_bd.evaluation.run_study`.

    See Also
    --------
    biot_bd.evaluation.studies.foundation_study.write_table : The table, when the jobs have ended.
    """
    if cluster not in CLUSTERS:
        raise ValueError(f"no cluster {cluster!r}; there are {', '.join(CLUSTERS)}")
    try:
        import submitit
    except ImportError as error:
        raise MissingExtraError("jobs of a cluster need submitit: pip install 'biot-bd[scale]'") from error
    folder = Path(folder).absolute()
    with opened_study(plan, folder) as stores:
        first, rest = missing_cells(plan, folder)
        for cell in first:
            run_cell(plan, folder, cell, stores[cell.cohort.name])
    executor = submitit.AutoExecutor(folder / ".jobs", cluster=cluster, slurm_max_num_timeout=requeue)
    executor.update_parameters(
        name="biot-bd-study",
        gpus_per_node=gpus,
        cpus_per_task=cpus,
        timeout_min=max(1, round(hours * 60)),
        slurm_additional_parameters=dict(slurm or {}),
    )
    jobs = []
    for cell in rest:
        jobs.append(executor.submit(CellJob(plan.as_dict(), str(folder), cell.place)))
        if cluster == "local":
            jobs[-1].wait()
    return jobs
