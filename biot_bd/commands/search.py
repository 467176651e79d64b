"""``biot-bd search``: parameters chosen by subject inside each fold, scored on subjects that no
choice has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands._options import (
    Json,
    ParallelOptions,
    Store,
    TrainingOptions,
    with_parallel_options,
    with_training_options,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from biot_bd.evaluation.result import Result
    from biot_bd.evaluation.searching.search_record import SearchRecord


@with_parallel_options
@with_training_options
def search(
    folder: Store,
    run: Annotated[Path, typer.Option("--output", "-o", help="Run folder; one that was interrupted is finished.")],
    options: TrainingOptions,
    parallel: ParallelOptions,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=V1,V2,... or KEY=LOW..HIGH or KEY=LOW..HIGH:log of the classifier or of a step, as in --param; or a .toml or .json file of them; may be repeated."
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="What proposes candidates: grid (all), random, halving (little for all, more for the better ones) or optuna."
        ),
    ] = "grid",
    trials: Annotated[
        int | None,
        typer.Option(help="Candidates of each outer fold, for random, halving and optuna.", min=1),
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option(
            help="Of halving: n_samples (training windows; default) or a whole-numbered parameter, e.g. max_epochs."
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Of optuna: give a candidate up whose mean after some inner folds is below the median's."
        ),
    ] = False,
    split: Annotated[
        str,
        typer.Option(
            "--cv",
            help="Outer folds, which score: subject-loo, subject-kfold-N, stratified-subject-kfold-N, biot-paper, biot-code or tusz-official.",
        ),
    ] = "subject-loo",
    inner: Annotated[
        str,
        typer.Option(
            "--inner-cv",
            help="Folds inside each outer fold, which choose: subject-loo, subject-kfold-N or stratified-subject-kfold-N.",
        ),
    ] = "subject-kfold-3",
    validation_fraction: Annotated[
        float, typer.Option(help="Share of the training subjects that validate; 0 for fixed epochs.", min=0, max=0.9)
    ] = 0.25,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many fits there are, and how long they may take; fit nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Choose parameters by subject inside each fold, score the choices, and write the report.

    Each outer fold searches on its own training subjects, so every score is of subjects that no
    choice has seen.
    """
    from biot_bd.commands import _grid, _names, _parallel
    from biot_bd.commands._folders import expect

    _parallel.check_parallel(parallel)
    _names.check_training(options)
    _names.check_known("--engine", engine, _grid.ENGINES)
    _names.check_split(split)
    _names.check_inner_split(inner)
    tried = _grid.read_grid(grid)
    _grid.check_engine(engine, trials, resource, prune, tried)
    expect(folder, "windows")

    from biot_bd.commands import _output, _pipelines, _search_plan
    from biot_bd.evaluation import planned_fits
    from biot_bd.evaluation import search as run_search
    from biot_bd.report import write_report

    _output.check_output(run)
    parameters = _pipelines.study_parameters(options)
    windows = _pipelines.open_labelled_windows(folder)
    params = _pipelines.parse_assignments(options.param)
    model = _pipelines.chosen_model(options.model, options.pretrained)
    pipeline = _pipelines.build_pipeline(windows, options, params=params)
    _grid.check_grid(tried, pipeline, windows, options, params)
    steps = [name for name, _ in pipeline.steps]
    space = _grid.space_of(tried, steps[-1], steps)
    searched = {
        "cv": split,
        "inner_cv": inner,
        "engine": _engine(engine, trials, resource, prune),
        "validation_fraction": validation_fraction,
        **parameters,
    }
    if dry_run:
        asked = {name: value for name, value in searched.items() if name not in ("threshold", "event_detector")}
        planned = planned_fits(pipeline, space, windows, folder=run, **asked)
        first = pipeline.set_params(
            **{name: values[0] if isinstance(values, list) else values.low for name, values in space.items()}
        )
        left = _search_plan.hours_left(planned, run, first, windows, validation_fraction)
        _search_plan.show(planned, left, run, parallel.jobs, json=json)
        return
    name = _name(_pipelines.describe_model(model, params, options.pretrained, options.finetune), tried)
    title = f"{name} on {folder.name}, {split}, {', '.join(tried)} chosen inside each fold"
    call = partial(run_search, pipeline, space, windows, folder=run, title=title, progress=not json, **searched)
    result = _parallel.computed(parallel, call)
    if result is None:
        return
    report = write_report(run, windows=windows)
    _show(result, report, run, json)


def _name(model: str, tried: Mapping[str, Any]) -> str:
    """Return what the model is called where the grid may change its size."""
    sized = any(key.rpartition("module__")[1] for key in tried)
    return model.replace("BIOT, full size", "BIOT") if sized else model


def _engine(name: str, trials: int | None, resource: str | None, prune: bool) -> Any:
    """Return the engine, with what was given of its parameters."""
    from biot_bd.evaluation import GridEngine, HalvingSearch, OptunaSearch, RandomSearch

    made: Any = {"grid": GridEngine, "random": RandomSearch, "halving": HalvingSearch, "optuna": OptunaSearch}[name]
    given = {"n_trials" if name == "optuna" else "n_iter": trials, "resource": resource}
    if prune:
        given["pruner"] = _median_pruner()
    return made(**{parameter: value for parameter, value in given.items() if value is not None})


def _median_pruner() -> Any:
    from biot_bd.exceptions import MissingExtraError

    try:
        from optuna.pruners import MedianPruner
    except ImportError as error:
        raise MissingExtraError("--engine optuna needs Optuna: pip install 'biot-bd[scale]'") from error
    return MedianPruner()


def _show(result: Result, report: Path, run: Path, json: bool) -> None:
    """Print the outer scores, and beside each fold what it chose."""
    from biot_bd.commands._output import print_json
    from biot_bd.evaluation import SearchRecord
    from biot_bd.report.run_folder import read_run
    from biot_bd.report.search_page import search_choices, stability

    folds, record = read_run(run).folds, SearchRecord.open(run)
    choices = search_choices(record, folds)
    if json:
        plain = [{name: value for name, value in row.items() if name != "shown"} for row in choices]
        shown = {"search": {"choices": plain, "stability": stability(choices)}}
        print_json({**result.metrics, **shown, "notes": result.notes, "folder": run, "report": report})
        return
    from rich.console import Console

    Console().print(result)
    Console().print(_choices_table(choices, record))
    typer.echo(f"report: {report}")
    if (run / "tensorboard").is_dir():
        typer.echo(f"curves: tensorboard --logdir {run / 'tensorboard'}")


def _choices_table(choices: Sequence[Mapping[str, Any]], record: SearchRecord) -> RenderableType:
    """Return what each fold chose, its inner score beside its outer one."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from biot_bd.number_texts import score_text
    from biot_bd.report.drawing.search import short_names
    from biot_bd.report.text import LABELS

    metric = LABELS.get(record.facts["scoring"], record.facts["scoring"])
    names = short_names(list(choices[0]["shown"]) if choices else [])
    table = Table(title=f"chosen inside each fold by {metric}", title_justify="left")
    for heading in ("fold", "test"):
        table.add_column(heading)
    for heading in (*names.values(), "inner", "outer"):
        table.add_column(heading, justify="right")
    for row in choices:
        scores = (score_text(row["inner"]), score_text(row["outer"]))
        table.add_row(str(row["fold"]), *map(Text, (", ".join(row["test"]), *row["shown"].values(), *scores)))
    lines = [
        "- inner: the best of several on the subjects that it was chosen on, so too good; outer: subjects that no choice has seen",
        *(f"- fold {row['fold']}: no outer score: {row['reason']}" for row in choices if row["outer"] is None),
    ]
    return Group(table, *(Text(line) for line in lines))
