"""Which jobs of a cluster compute tasks of a run folder, so that nobody computes them twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

from biot_bd.exceptions import RunFolderError
from biot_bd.json_values import check_values, naming
from biot_bd.runs import make_folder, read_json, write_json

FOLDER = ".jobs"
"""In the run folder: scripts and logs of jobs, and ``submitted.json``."""
SUBMITTED = "submitted.json"


class Submitted(TypedDict):
    """Content of ``submitted.json``."""

    cluster: str
    jobs: dict[str, str]


def note_jobs(run: Path, cluster: str, jobs: Mapping[str, str]) -> None:
    """Note the jobs of tasks, by label, beside those that were there."""
    path = make_folder(run / FOLDER) / SUBMITTED
    before = _read(path)["jobs"] if path.is_file() else {}
    write_json(path, {"cluster": cluster, "jobs": {**before, **jobs}})


def check_no_jobs(run: Path, labels: Iterable[str]) -> None:
    """Raise where jobs that were submitted before are still to compute tasks; else forget them.

    Raises
    ------
    RunFolderError
        Jobs wait or run, or ``submitted.json`` is damaged.
    """
    path = run / FOLDER / SUBMITTED
    if not path.is_file():
        return
    found = _read(path)
    asked, jobs = set(labels), found["jobs"].items()
    alive = {label: job for label, job in jobs if _is_alive(found["cluster"], job, run / FOLDER)}
    twice = [f"{label}: job {job}" for label, job in alive.items() if label in asked]
    if twice:
        raise RunFolderError(
            f"{run}: jobs that were submitted before compute tasks of this run ({', '.join(twice[:5])}"
            f"{', ...' if len(twice) > 5 else ''}); wait for them, or end them (scancel), and call again; "
            f"where the cluster does not know them any more, delete {path}"
        )
    if not alive:
        forget_jobs(run)


def forget_jobs(run: Path) -> None:
    """Remove what jobs that have ended were given; their logs stay."""
    (run / FOLDER / SUBMITTED).unlink(missing_ok=True)
    for path in (run / FOLDER).glob("shared-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in (run / FOLDER).glob("*.pkl"):
        path.unlink(missing_ok=True)


def _read(path: Path) -> Submitted:
    with naming(path, RunFolderError):
        found = read_json(path)
        check_values(found, Submitted)
    submitted: Submitted = found
    return submitted


def _is_alive(cluster: str, job: str, folder: Path) -> bool:
    if cluster == "local":
        return _is_running(int(job))
    from submitit import SlurmJob

    return not SlurmJob(folder, job).done(force_check=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
        # A child of this process that has ended is there until somebody asks for its status.
        return not hasattr(os, "waitid") or os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:  # of another process that submitted it
        return True
    except (ProcessLookupError, PermissionError):  # of nobody, or of another user's
        return False
