"""Foundation models on cohorts, under strategies and seeds: the cells of a plan, and its table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout
from joblib import parallel_config
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from biot_bd.evaluation.parallel import Spread, jobs_at_once, run_tasks, spreading
from biot_bd.evaluation.planned_run import now
from biot_bd.evaluation.result import as_text
from biot_bd.evaluation.run_facts import Cells, read_facts, stored_facts, write_facts
from biot_bd.evaluation.studies.study_cells import (
    FAILED,
    FINISHED,
    REFUSED,
    Record,
    is_finished,
    open_stores,
    other_contents,
    read_record,
    run_cell,
    settings_of,
)
from biot_bd.evaluation.studies.study_costs import estimate_rows
from biot_bd.evaluation.studies.study_plan import CONSTANT, StudyCell, StudyPlan
from biot_bd.evaluation.studies.study_table import (
    CHANCE,
    COLUMNS,
    as_frame,
    as_markdown,
    cautions,
    check_cells,
    p_text,
    reasons,
    table_rows,
)
from biot_bd.evaluation.study_identity import differences, refuse_other_study
from biot_bd.exceptions import MissingExtraError, RunFolderError, SplitError
from biot_bd.json_values import check_values, naming
from biot_bd.number_texts import rate_text, score_text, signed_text
from biot_bd.runs import atomic_path, environment, make_folder, to_jsonable, write_text
from biot_bd.training.pretrained import checkpoint_identity
from biot_bd.training.worker_threads import torch_threads
from biot_bd.windows import Windows

STUDY, TABLE, CSV, MARKDOWN = "study.json", "comparison.json", "comparison.csv", "comparison.md"
KIND = "foundation study"
BACKENDS = ("loky", "dask")
Report = Callable[[str], None]


@dataclass(frozen=True)
class FoundationStudy:
    """The outcome of :func:`run_study`.

    Parameters
    ----------
    plan : StudyPlan
        What was asked for.
    rows : list of dict
        The table, one entry a cohort and row.
    study : dict
        Content of ``study.json``.
    folder : Path
        The study folder.

    See Also
    --------
    run_study : Makes one.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.evaluation import FoundationStudy, StudyPlan
    >>> plan = StudyPlan(cohorts=[{"name": "demo", "stores": ["windows"]}])
    >>> FoundationStudy(plan, [], {}, Path("study")).failed
    []
    """

    plan: StudyPlan
    rows: list[Cells]
    study: Cells
    folder: Path

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> FoundationStudy:
        """Read a study folder whose table was made.

        Raises
        ------
        FileNotFoundError
            There is none.
        RunFolderError
            The folder holds another kind of study, or a file is damaged.
        """
        folder = Path(folder)
        plan = stored_plan(folder)
        if not (folder / TABLE).is_file():
            raise FileNotFoundError(f"{folder}: the study has no table yet; `biot-bd study -o {folder}` goes on")
        with naming(folder / TABLE, RunFolderError):
            rows = read_facts(folder / TABLE)["rows"]
            check_values(rows, list[dict[str, Any]])
            if any(set(row) != set(COLUMNS) for row in rows):
                raise ValueError("rows have other columns than this version writes; make the table anew")
        return cls(plan, rows, read_facts(folder / STUDY), folder)

    @property
    def table(self) -> pd.DataFrame:
        """One row a cohort and row of the plan, as in ``comparison.csv``; undefined values are
        missing.
        """
        return as_frame(self.rows)

    @property
    def failed(self) -> list[Cells]:
        """Rows with a cell that failed."""
        return [row for row in self.rows if row["state"] == FAILED]

    @property
    def notes(self) -> list[str]:
        """What a reader of the table must know, the most important first."""
        found = [f"not a result: {text}" for text in self.study.get("not_a_result") or ()]
        found += cautions(self.rows)
        labels = ", ".join(dict.fromkeys(self.study.get("label_rules") or ()))
        found += [f"label rule: {labels}"] if labels else []
        found += [
            "scores: mean over subjects [interval over subjects]; no subject that tests a model trained it in its fold",
            "Sens@FA AUC: strict form, median over folds, mean over seeds",
            "cost: seconds of all folds and seeds; embeddings are counted once, in the row that computed them; memory "
            "is the peak of the process",
            "weights: whether a subject of the cohort trained them (clean: none did; unknown: nobody recorded it)",
            "slots: inputs that hold the channel that they are named after, measured on windows of the cohort",
        ]
        return found

    def reasons(self, cohort: str) -> list[str]:
        """Return why rows of a cohort have no scores, one line a reason."""
        return reasons([row for row in self.rows if row["cohort"] == cohort])

    def __rich__(self) -> RenderableType:
        """Return two tables a cohort of 80 columns, scores and checks, with the notes."""
        parts: list[RenderableType] = []
        for cohort in dict.fromkeys(row["cohort"] for row in self.rows):
            own = [row for row in self.rows if row["cohort"] == cohort]
            title = f"{self.plan.title or 'Foundation models'}: {cohort}"
            parts += [_scores_table(title, own), _checks_table(own), *[Text(f"- {x}") for x in reasons(own)]]
        return Group(*parts, *[Text(f"- {note}") for note in self.notes], Text(f"study folder: {self.folder}"))

    def __str__(self) -> str:
        return as_text(self, width=100)


def _scores_table(title: str, rows: Sequence[Cells]) -> Table:
    against = next((row["against"] for row in rows if row["against"]), None)
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
    )
    table.add_column("row", min_width=22, overflow="fold")
    for heading in ("AUC-PR", "interval", "AUROC", "F1", "FA/24h", "S@FA", "diff."):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        low, high = row["average_precision_low"], row["average_precision_high"]
        table.add_row(
            row["row"],
            score_text(row["average_precision"]) if row["state"] == FINISHED else row["state"],
            "" if low is None else f"{low:.2f}-{high:.2f}",
            score_text(row["roc_auc"]),
            score_text(row["events_f1"]),
            rate_text(row["events_fa_per_24h"]),
            score_text(row["sens_fa_auc"]),
            signed_text("", row["difference"]),
        )
    table.caption = (
        None if against is None else f"diff.: AUC-PR minus that of {against}; F1, FA: of events; S@FA: its AUC"
    )
    table.caption_justify = "left"
    return table


def _checks_table(rows: Sequence[Cells]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column("row", max_width=22, overflow="fold")
    for heading in ("p (Holm)", "cost", "weights", "slots"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        if row["kind"] != CHANCE:
            table.add_row(row["row"], p_text(row), *map(Text, check_cells(row)))
    return table


def run_study(
    plan: StudyPlan | Mapping[str, Any],
    folder: str | os.PathLike[str],
    *,
    n_jobs: int = 1,
    backend: str = "loky",
    report: Report | None = None,
) -> FoundationStudy:
    """Compute the cells of a plan that are missing, and write the table.

    Parameters
    ----------
    plan : StudyPlan or mapping
        Cohorts, models, strategies, baselines, seeds.
    folder : path
        The study folder, as docs/architecture.md describes it.  The same plan again computes what
        is missing or failed; models, cohorts, strategies and seeds may be added to it.
    n_jobs : int
        Cells computed at once; they share the processors.
    backend : {"loky", "dask"}
        Processes of this machine (or what :func:`~biot_bd.evaluation.workers` or
        ``joblib.parallel_config`` around the call says), or the workers of dask's current client
        (without one: of ``DASK_SCHEDULER_ADDRESS``, or new ones on this machine).
    report : callable, optional
        Called with a line for each cell.

    Returns
    -------
    FoundationStudy

    Raises
    ------
    RunFolderError
        The folder holds another study (the message says what differs), or is in use.
    MissingExtraError
        ``backend="dask"`` without dask.
    LostWorkerError
        A worker was killed; the same call again computes what is missing.
    FileNotFoundError, ValueError
        A store is not there, or a cohort's recordings cannot be prepared.

    See Also
    --------
    biot_bd.evaluation.compare_regimes : Pipelines of your own on one cohort; errors are raised.

    Notes
    -----
    A cell that fails does not stop the others: its error stands in the table.  Worker processes
    know the models of installed plugins, not those that a script registered by ``add_plugin``.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from biot_bd import load_dataset, prepare
    >>> from biot_bd.evaluation import run_study
    >>> with TemporaryDirectory() as folder:
    ...     recordings = load_dataset("demo", folder, n_subjects=4, minutes=2, recordings=1)
    ...     _ = prepare(recordings, folder + "/windows", stride_s=10)
    ...     plan = {
    ...         "cohorts": [{"name": "demo", "stores": folder + "/windows"}],
    ...         "baselines": ["line-length"],
    ...         "cv": "subject-kfold-2",
    ...     }
    ...     study = run_study(plan, folder + "/study")
    >>> study.table[["row", "state"]].to_numpy().tolist()[:3]
    [['always-off', 'finished'], ['always-on', 'finished'], ['line-length', 'finished']]
    """
    plan = plan if isinstance(plan, StudyPlan) else StudyPlan.from_dict(plan)
    folder = Path(folder)
    if backend not in BACKENDS:
        raise ValueError(f"no backend {backend!r}; there are {', '.join(BACKENDS)}")
    with opened_study(plan, folder) as stores:
        first, rest = missing_cells(plan, folder)
        total = len(plan.cells())
        say = _Counted(report, total, total - len(first) - len(rest))
        with spreading(Spread()):  # here and now: the others take their folds
            for cell in first:
                say(run_cell(plan, folder, cell, stores[cell.cohort.name]))
        for record in _records(plan, folder, rest, stores, n_jobs, backend):
            say(record)
        return write_table(plan, folder)


def missing_cells(plan: StudyPlan, folder: Path) -> tuple[list[StudyCell], list[StudyCell]]:
    """Return the cells that are not finished: those whose folds the others take, and the others."""
    missing = [cell for cell in plan.cells() if not is_finished(folder, cell)]
    return [c for c in missing if c.row.name == CONSTANT[0]], [c for c in missing if c.row.name != CONSTANT[0]]


def _records(
    plan: StudyPlan,
    folder: Path,
    cells: Sequence[StudyCell],
    stores: Mapping[str, list[Windows]],
    n_jobs: int,
    backend: str,
) -> Iterable[Record]:
    places, described = {cell.place: cell for cell in cells}, plan.as_dict()
    tasks = [CellTask(described, folder.absolute(), place) for place in places]

    def here(task: CellTask) -> Record:
        cell = places[task.label]
        return run_cell(plan, folder, cell, stores[cell.cohort.name])

    with _dask_client() if backend == "dask" else nullcontext():
        share = max(1, torch.get_num_threads() // jobs_at_once(n_jobs))
        with torch_threads(share if len(cells) > 1 else None):
            yield from run_tasks(run_cell_task, tasks, n_jobs=n_jobs, here=here)


@contextmanager
def _dask_client() -> Iterator[None]:
    """Let joblib use dask's client of this process, or a new one: of DASK_SCHEDULER_ADDRESS, else
    of workers on this machine.
    """
    try:
        from distributed import Client, get_client
    except ImportError as error:
        raise MissingExtraError("backend='dask' needs dask: pip install 'biot-bd[scale]'") from error
    try:
        opened: AbstractContextManager[Any] = nullcontext(get_client())
    except ValueError:  # there is none
        opened = Client(set_as_default=False)
    with opened as client, parallel_config("dask", client=client):
        yield


@dataclass(frozen=True)
class CellTask:
    """A cell for a process of its own: a worker, or a job of a cluster.

    Parameters
    ----------
    plan : dict
        ``StudyPlan.as_dict()``.
    folder : Path
        Of the study.
    label : str
        ``StudyCell.place``.
    """

    plan: dict[str, Any]
    folder: Path
    label: str


def run_cell_task(task: CellTask) -> Record:
    """Compute one cell, where nobody did.

    Raises
    ------
    ValueError
        The plan has no such cell.
    """
    plan = StudyPlan.from_dict(task.plan)
    cell = next((one for one in plan.cells() if one.place == task.label), None)
    if cell is None:
        raise ValueError(f"the plan has no cell {task.label!r}")
    found = read_record(task.folder, cell) if is_finished(task.folder, cell) else None
    return run_cell(plan, task.folder, cell) if found is None else found


class _Counted:
    """Say each record in a line, with how many are done."""

    def __init__(self, report: Report | None, total: int, done: int) -> None:
        self.report, self.total, self.done = report, total, done

    def __call__(self, record: Record) -> None:
        self.done += 1
        if self.report is not None:
            more = f": {record['reason']}" if record["reason"] else ""
            took = f", {record['wall_s']:.1f} s" if record["wall_s"] is not None else ""
            where = f"{record['cohort']} {record['row']} seed {record['seed']}"
            self.report(f"[{self.done}/{self.total}] {where}: {record['state']}{took}{more}")


# --- the study folder -----------------------------------------------------------------------------


@contextmanager
def opened_study(plan: StudyPlan, folder: Path) -> Iterator[dict[str, list[Windows]]]:
    """Hold a study folder for this process, with the plan written; yield the stores by cohort.

    Parameters
    ----------
    plan : StudyPlan
    folder : Path

    Raises
    ------
    RunFolderError
        The folder holds another study, or cells of other windows or weights, or is in use.
    FileNotFoundError, ValueError
        A store is not there, or labels nothing.
    """
    stored_facts(folder, STUDY)  # refuses what is no study folder before a lock is laid in it
    make_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunFolderError(f"{folder} is being written by another process; wait for it") from None
    try:
        check_plan(plan, folder)
        if not (folder / STUDY).is_file():  # before windows are prepared into it: it is a study from now on
            write_facts(folder / STUDY, {"kind": KIND, "state": "running", "plan": plan.as_dict()})
        stores = {cohort.name: open_stores(cohort, folder) for cohort in plan.cohorts}
        described = _describe(plan, stores, folder)
        refuse_other_study(folder, other_contents(plan, folder, stores, described["checkpoints"]))
        write_facts(folder / STUDY, described)
        yield stores
    finally:
        lock.release()


def check_plan(plan: StudyPlan, folder: Path) -> None:
    """Raise where a folder holds cells of another plan.

    Parameters
    ----------
    plan : StudyPlan
    folder : Path

    Raises
    ------
    RunFolderError
        Another kind of study, or finished cells of other settings.
    """
    stored = stored_facts(folder, STUDY)
    if stored is not None and stored.get("kind") != KIND:
        raise RunFolderError(f"{folder} holds another kind of study ({stored.get('kind')}); name a new folder")
    lines: list[str] = []
    for cell in plan.cells():
        record = read_record(folder, cell)
        if record is None:
            continue
        changed = differences(record["settings"], to_jsonable(settings_of(plan, cell)))
        if record["state"] == FINISHED:  # what failed or was refused is computed anew
            lines += [f"{cell.row.name}: {line}" for line in changed]
    refuse_other_study(folder, list(dict.fromkeys(lines)))


def stored_plan(folder: str | os.PathLike[str]) -> StudyPlan:
    """Return the plan of a study folder.

    Raises
    ------
    FileNotFoundError
        The folder is no study.
    RunFolderError
        It holds another kind of study, or ``study.json`` is damaged.
    """
    folder = Path(folder)
    stored = stored_facts(folder, STUDY)
    if stored is None:
        raise FileNotFoundError(f"{folder}: no study here; `biot-bd study PLAN -o {folder}` makes one")
    if stored.get("kind") != KIND:
        raise RunFolderError(f"{folder} holds another kind of study ({stored.get('kind')}); name a new folder")
    with naming(folder / STUDY, RunFolderError):
        return StudyPlan.from_dict(stored["plan"], str(folder / STUDY))


def _describe(plan: StudyPlan, stores: Mapping[str, list[Windows]], folder: Path) -> Cells:
    old = stored_facts(folder, STUDY) or {}
    generated = [name for name, found in stores.items() if any(windows.generated for windows in found)]
    few = [name for name, found in stores.items() if len(set(found[0].groups.tolist())) < FEW_SUBJECTS]
    reasons = [f"generated data ({', '.join(generated)})"] if generated else []
    reasons += [f"fewer than {FEW_SUBJECTS} subjects ({', '.join(few)})"] if few else []
    return to_jsonable(
        {
            "kind": KIND,
            "state": "running",
            "title": plan.title,
            "started": old.get("started") or now(),
            "plan": plan.as_dict(),
            "not_a_result": reasons,
            "label_rules": [found[0].label_rule for found in stores.values()],
            "cohorts": {name: _cohort_facts(found) for name, found in stores.items()},
            "checkpoints": _checkpoints(plan),
            "environment": environment(),
        }
    )


def _checkpoints(plan: StudyPlan) -> dict[str, str]:
    """Tell the plan's local checkpoints by their content; what is wrong with one its cells say."""
    found = {}
    for model in plan.models:
        if model.pretrained is not None and Path(model.pretrained).exists():
            with suppress(OSError, ValueError):
                found[model.pretrained] = checkpoint_identity(model.pretrained)
    return found


FEW_SUBJECTS = 5
"""With fewer a comparison says nothing of models."""


def _cohort_facts(stores: Sequence[Windows]) -> Cells:
    first = stores[0]
    return {
        "n_subjects": len(set(first.groups.tolist())),
        "n_recordings": len(first.recordings),
        "n_seizures": len(first.seizures),
        "n_windows": len(first),
        "prevalence": float(first.y.mean()),
        "generated": first.generated,
        "stores": [
            {
                "folder": str(Path(str(windows.folder)).resolve()),
                "fingerprint": windows.fingerprint,
                "n_chans": windows.info.n_chans,
                "sfreq": windows.sfreq,
                "label_rule": windows.label_rule,
            }
            for windows in stores
        ],
    }


def write_table(plan: StudyPlan, folder: str | os.PathLike[str]) -> FoundationStudy:
    """Make the table of the cells that are there: ``comparison.json``, ``.csv`` and ``.md``.

    Parameters
    ----------
    plan : StudyPlan
    folder : path
        Of the study.

    Returns
    -------
    FoundationStudy

    Raises
    ------
    RunFolderError
        A file of the study is damaged.

    See Also
    --------
    biot_bd.report.write_study_page : Its page.
    """
    folder = Path(folder)
    rows = [to_jsonable(row) for cohort in plan.cohorts for row in table_rows(plan, folder, cohort)]
    study = read_facts(folder / STUDY)
    states = {row["state"] for row in rows}
    done = states <= {FINISHED, REFUSED, FAILED}
    study = {
        **study,
        "plan": plan.as_dict(),
        "state": "finished" if done else "running",
        "finished": now() if done else None,
    }
    made = FoundationStudy(plan, rows, study, folder)
    with atomic_path(folder / CSV) as temporary:
        made.table.to_csv(temporary, index=False)
    write_text(folder / MARKDOWN, as_markdown(rows, made.notes))
    write_facts(folder / TABLE, {"kind": KIND, "rows": rows})
    write_facts(folder / STUDY, study)
    return made


def estimate_study(plan: StudyPlan, folder: str | os.PathLike[str]) -> list[Cells]:
    """List the cells of a plan with their state and what they may cost, without computing any.

    Parameters
    ----------
    plan : StudyPlan
    folder : path
        Of the study; may not be there yet.

    Returns
    -------
    list of dict
        ``cohort``, ``row``, ``cells`` (all), ``finished``, ``seconds`` (estimated, of all seeds),
        ``store``, ``refused``.

    Raises
    ------
    RunFolderError, FileNotFoundError, ValueError
        As :func:`run_study`.
    """
    folder, found = Path(folder), []
    with opened_study(plan, folder) as stores:
        for cohort in plan.cohorts:
            try:
                rows = estimate_rows(plan, stores[cohort.name])
            except SplitError as error:
                raise SplitError(f"cohort {cohort.name}: {error}") from error
            for row in plan.rows():
                cells = [StudyCell(cohort, row, seed) for seed in plan.seeds]
                done = sum(is_finished(folder, cell) for cell in cells)
                found.append(
                    {"cohort": cohort.name, "row": row.name, "cells": len(cells), "finished": done, **rows[row.name]}
                )
    return found
