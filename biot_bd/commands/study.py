"""``biot-bd study``: models on cohorts under strategies and seeds, as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands._options import Json

if TYPE_CHECKING:
    from biot_bd.evaluation import FoundationStudy, StudyPlan

HERE = ("loky", "dask")
CLUSTERS = ("slurm", "local")


def study(
    output: Annotated[Path, typer.Option("--output", "-o", help="Study folder; one that was interrupted is finished.")],
    plan: Annotated[
        Path | None,
        typer.Argument(
            help="Plan as a .toml or .json file (see docs/study.md); without one that of the options, or of the folder."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Registered model or published checkpoint; NAME=CHECKPOINT gives it weights; may be repeated."
        ),
    ] = None,
    store: Annotated[
        list[str] | None,
        typer.Option(
            help="Prepared windows, COHORT=FOLDER; the same cohort again for another montage of the same recordings."
        ),
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            help="A probe over frozen embeddings (linear, ridge, knn, ...), a fine-tuning recipe (full, lora, ...) or scratch."
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Baseline beside always-off and always-on; none for no other.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed of split and training; may be repeated.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--cv", help="subject-loo, subject-kfold-N, stratified-subject-kfold-N (N a number), or tusz-official."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs of what is trained.", min=1)] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of every classifier that is trained; may be repeated.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="Row that the others are tested against.")] = None,
    title: Annotated[str | None, typer.Option(help="Stands above the table.")] = None,
    allow_contaminated: Annotated[
        bool, typer.Option("--allow-contaminated", help="Score weights that saw test subjects; the table says so.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells with what they may cost, and compute none.")
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Make the table of what is there, and compute nothing.")
    ] = False,
    jobs: Annotated[int, typer.Option(help="Cells computed at once; -1 for one a processor.")] = 1,
    backend: Annotated[
        str,
        typer.Option(help="loky (processes), dask (its client's workers), slurm, or local (jobs without a cluster)."),
    ] = "loky",
    slurm: Annotated[list[str] | None, typer.Option(help="KEY=VALUE of sbatch; may be repeated.")] = None,
    hours: Annotated[float, typer.Option(help="Time limit of a job of slurm.", min=0.02)] = 24.0,
    gpus: Annotated[int, typer.Option(help="GPUs of a job of slurm.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Compare models on cohorts, each with its slot check, on the same folds, beside baselines.

    Exit status: 0 if each cell is finished or refused with a reason, 1 if some failed.
    """
    from biot_bd.commands import _names

    _names.check_known("--backend", backend, (*HERE, *CLUSTERS))
    if jobs == 0:
        raise ValueError("--jobs 0: expected how many cells at once, 1 or more, or -1 for one a processor")
    given = {
        "models": model,
        "cohorts": store,
        "strategies": strategy,
        "baselines": baseline,
        "seeds": seed,
        "cv": split,
        "epochs": epochs,
        "param": param,
        "against": against,
        "title": title,
        "allow_contaminated": allow_contaminated or None,
    }
    given = {name: value for name, value in given.items() if value not in (None, [])}
    if plan is not None and given:
        raise ValueError(f"{plan} is a whole plan; leave the options of its parts out ({', '.join(sorted(given))})")

    from biot_bd.commands import _output

    _output.check_output(output)
    made = _plan(plan, given, output)
    if dry_run:
        _show_estimate(made, output, json)
        return
    result = _table(made, output) if table else _computed(made, output, jobs, backend, hours, gpus, slurm, quiet=json)
    if result is None:
        return
    _show(result, json)
    if result.failed:
        raise typer.Exit(1)


def _plan(path: Path | None, given: Mapping[str, Any], output: Path) -> StudyPlan:
    from biot_bd.evaluation import StudyPlan, read_plan
    from biot_bd.evaluation.studies.foundation_study import stored_plan

    if path is not None:
        return read_plan(path)
    if not given:
        return stored_plan(output)
    return StudyPlan.from_dict(_values(given), "the options")


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan that options describe."""
    from biot_bd.commands._pipelines import parse_assignments

    values = {name: given[name] for name in given if name not in ("models", "cohorts", "baselines", "epochs", "param")}
    values["cohorts"] = _cohorts(given.get("cohorts", ()))
    values["models"] = [_model(text) for text in given.get("models", ())]
    if "baselines" in given:
        values["baselines"] = [word for word in given["baselines"] if word != "none"]
    training = parse_assignments(given.get("param"))
    if "epochs" in given:
        training["max_epochs"] = given["epochs"]
    return values | ({"training": training} if training else {})


def _model(text: str) -> dict[str, Any]:
    name, equals, checkpoint = text.partition("=")
    if equals and not checkpoint:
        raise ValueError(f"--model {text!r}: expected NAME=CHECKPOINT, or NAME alone")
    if not equals:
        return {"name": name}
    # Absolute, as the same study may be gone on with from elsewhere.
    place = Path(checkpoint).expanduser()
    return {"name": name, "pretrained": str(place.absolute()) if place.exists() else checkpoint}


def _cohorts(texts: Sequence[str]) -> list[dict[str, Any]]:
    from biot_bd.commands._folders import expect

    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals:
            name, folder = Path(text).resolve().name, text
        expect(folder, "windows")
        found.setdefault(name, []).append(str(Path(folder).absolute()))
    if not found:
        raise ValueError("--store: which windows? Give COHORT=FOLDER of `biot-bd prepare`, or a plan file")
    return [{"name": name, "stores": folders} for name, folders in found.items()]


def _table(plan: StudyPlan, output: Path) -> FoundationStudy:
    from biot_bd.evaluation.studies.foundation_study import stored_plan, write_table

    stored_plan(output)  # there is a study
    return write_table(plan, output)


def _computed(
    plan: StudyPlan,
    output: Path,
    jobs: int,
    backend: str,
    hours: float,
    gpus: int,
    slurm: Sequence[str] | None,
    *,
    quiet: bool,
) -> FoundationStudy | None:
    from biot_bd.commands._pipelines import parse_assignments
    from biot_bd.evaluation import run_study, submit_folds, workers

    report = None if quiet else typer.echo
    if backend in HERE:
        return run_study(plan, output, n_jobs=jobs, backend=backend, report=report)
    if backend == "local":
        with workers("local", n_workers=max(1, jobs), hours=hours, gpus=gpus):
            return run_study(plan, output, report=report)
    call = partial(run_study, plan, output, report=report)
    for job in submit_folds(call, hours=hours, cpus=2, gpus=gpus, slurm=parse_assignments(slurm, "--slurm")):
        typer.echo(f"job {job.job_id}: {job.paths.stdout}")
    typer.echo(f"when they have ended: biot-bd study -o {output} --table")
    return None


def _show_estimate(plan: StudyPlan, output: Path, json: bool) -> None:
    from biot_bd.commands._output import print_json
    from biot_bd.commands.datasets import print_table
    from biot_bd.evaluation.studies.foundation_study import estimate_study

    rows = estimate_study(plan, output)
    if json:
        print_json(rows)
        return
    shown = [
        {
            "cohort": row["cohort"],
            "row": row["row"],
            "cells": f"{row['finished']} of {row['cells']} done",
            "seconds": "-" if row["seconds"] is None else f"{row['seconds']:,.0f}",
            "": "" if row["refused"] is None else f"refused: {row['refused']}",
        }
        for row in rows
    ]
    print_table(shown, {name: name for name in shown[0]}, right=("seconds",), lines=False)
    total = sum(row["seconds"] or 0.0 for row in rows)
    typer.echo(
        f"{sum(row['cells'] for row in rows)} cells; about {total:,.0f} s on this machine, from a forward pass of a few "
        "windows (training: every epoch of every fold); baselines without a network are not counted"
    )


def _show(result: FoundationStudy, json: bool) -> None:
    from rich.console import Console

    from biot_bd.commands._output import print_json
    from biot_bd.report import write_study_page

    page = write_study_page(result)
    if json:
        print_json({"page": page, "folder": result.folder, "rows": result.rows, "notes": result.notes})
        return
    Console().print(result)
    typer.echo(f"page: {page}")
