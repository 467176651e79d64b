"""``biot-bd cv``: cross-validation by subject, with a run folder and a report."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from biot_bd.commands._options import (
    Json,
    ParallelOptions,
    Store,
    TrainingOptions,
    with_parallel_options,
    with_training_options,
)


@with_parallel_options
@with_training_options
def cv(
    folder: Store,
    run: Annotated[Path, typer.Option("--output", "-o", help="Run folder; one that was interrupted is finished.")],
    options: TrainingOptions,
    parallel: ParallelOptions,
    split: Annotated[
        str,
        typer.Option(
            "--cv",
            help="subject-loo, subject-kfold-N, stratified-subject-kfold-N, biot-paper, biot-code or tusz-official (N a number).",
        ),
    ] = "subject-loo",
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Preset that names split, labels, training, selection and threshold: biot-paper, biot-code, cbramod, ours."
        ),
    ] = None,
    splits_from: Annotated[
        Path | None, typer.Option(help="Run folder whose stored subjects of every fold are used again.")
    ] = None,
    validation_fraction: Annotated[
        float, typer.Option(help="Share of the training subjects that validate; 0 for fixed epochs.", min=0, max=0.9)
    ] = 0.25,
    json: Json = False,
) -> None:
    """Train and score a pipeline on subjects that it has not seen, and write the report."""
    from biot_bd.commands import _names, _parallel
    from biot_bd.commands._folders import expect

    _parallel.check_parallel(parallel)
    _names.check_training(options)
    _names.check_split(split)
    _names.check_known("--protocol", protocol, _names.PROTOCOLS)
    expect(folder, "windows")
    if splits_from is not None:
        expect(splits_from, "run")

    from rich.console import Console

    from biot_bd.commands import _output, _pipelines
    from biot_bd.evaluation import cross_validate
    from biot_bd.evaluation.protocols import as_protocol
    from biot_bd.report import write_report

    _output.check_output(run)
    parameters = _pipelines.study_parameters(options)
    windows = _pipelines.open_labelled_windows(folder)
    params = _pipelines.parse_assignments(options.param)
    model = _pipelines.chosen_model(options.model, options.pretrained)
    if protocol is not None:
        as_protocol(protocol).check_windows(windows)
    pipeline = _pipelines.build_pipeline(windows, options, params=params, protocol=protocol)
    name = _pipelines.describe_model(model, params, options.pretrained, options.finetune)
    own = split if splits_from is None else f"splits of {splits_from.name}"
    how = own if protocol is None else f"protocol {protocol}"
    result = _parallel.computed(
        parallel,
        partial(
            cross_validate,
            pipeline,
            windows,
            folder=run,
            cv=split,
            validation_fraction=validation_fraction,
            protocol=protocol,
            splits_from=splits_from,
            title=f"{name} on {folder.name}, {how}",
            **parameters,
        ),
    )
    if result is None:
        return
    report = write_report(run, windows=windows)
    if json:
        _output.print_json({**result.metrics, "notes": result.notes, "folder": run, "report": report})
        return
    Console().print(result)
    typer.echo(f"report: {report}")
    if (run / "tensorboard").is_dir():
        typer.echo(f"curves: tensorboard --logdir {run / 'tensorboard'}")
