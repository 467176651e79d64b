"""``biot-bd cv``: cross-validation by subject, with a run folder and a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from biot_bd.commands._options import (
    Augment,
    BatchSize,
    EventTarget,
    Finetune,
    LearningRate,
    Loss,
    MicroBatch,
    Param,
    Patience,
    Precision,
    Pretrained,
    Sampler,
    Store,
    TargetFalseAlarms,
    ThresholdRule,
)


def cv(
    folder: Store,
    run: Annotated[Path, typer.Option("--output", "-o", help="Run folder; one that was interrupted is finished.")],
    split: Annotated[
        str,
        typer.Option(
            "--cv",
            help="subject-loo, subject-kfold-N, stratified-subject-kfold-N, biot-paper or biot-code (N a number).",
        ),
    ] = "subject-loo",
    model: Annotated[
        str,
        typer.Option(
            help="Registered model, or a baseline: eegnet, bdtcn, spectral-power, line-length, always-on, always-off."
        ),
    ] = "biot",
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Preset that names split, labels, training, selection and threshold: biot-paper, biot-code, cbramod, ours."
        ),
    ] = None,
    splits_from: Annotated[
        Path | None, typer.Option(help="Run folder whose stored subjects of every fold are used again.")
    ] = None,
    loss: Loss = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs a fold.", min=1)] = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    patience: Patience = None,
    precision: Precision = None,
    micro_batch: MicroBatch = None,
    sampler: Sampler = None,
    augment: Augment = None,
    pretrained: Pretrained = None,
    finetune: Finetune = None,
    allow_contaminated: Annotated[
        bool,
        typer.Option(
            "--allow-contaminated",
            help="Go on where the checkpoint saw test subjects (or may have); every output then says so.",
        ),
    ] = False,
    scoring: Annotated[
        list[str] | None,
        typer.Option(help="Registered metric; may be repeated. Default: AUC-PR, AUROC, balanced accuracy."),
    ] = None,
    threshold: ThresholdRule = "balanced-accuracy",
    event_target: EventTarget = None,
    target_fa_per_24h: TargetFalseAlarms = None,
    validation_fraction: Annotated[
        float, typer.Option(help="Share of the training subjects that validate; 0 for fixed epochs.", min=0, max=0.9)
    ] = 0.25,
    seed: Annotated[int, typer.Option(help="Seed of the split and of every fold.", min=0)] = 0,
    jobs: Annotated[
        int, typer.Option(help="Folds computed at once, sharing the processors; -1 for one a processor.")
    ] = 1,
    param: Param = None,
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON on stdout.")] = False,
) -> None:
    """Train and score a pipeline on subjects that it has not seen, and write the report."""
    from rich.console import Console

    from biot_bd.commands._pipelines import (
        build_pipeline,
        check_jobs,
        check_output,
        describe_model,
        event_detector,
        number_or_name,
        open_windows,
        parse_assignments,
        print_json,
    )
    from biot_bd.evaluation import cross_validate
    from biot_bd.evaluation.protocols import as_protocol
    from biot_bd.report import write_report

    check_jobs(jobs)
    check_output(run)
    detector = event_detector(event_target, target_fa_per_24h)
    windows = open_windows(folder)
    params = parse_assignments(param)
    if protocol is not None:
        as_protocol(protocol).check_windows(windows)
    pipeline = build_pipeline(
        windows,
        model=model,
        loss=loss,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        patience=patience,
        precision=precision,
        micro_batch=micro_batch,
        sampler=sampler,
        augment=augment,
        params=params,
        protocol=protocol,
        pretrained=pretrained,
        finetune=finetune,
    )
    options: dict[str, Any] = {"scoring": tuple(scoring)} if scoring else {}
    with _shared_threads(jobs):
        result = cross_validate(
            pipeline,
            windows,
            folder=run,
            cv=split,
            threshold=number_or_name(threshold),
            validation_fraction=validation_fraction,
            n_jobs=jobs,
            random_state=seed,
            protocol=protocol,
            splits_from=splits_from,
            allow_contaminated=allow_contaminated,
            event_detector=detector,
            title=f"{describe_model(model, params, pretrained, finetune)} on {folder.name}, {_how(split, protocol, splits_from)}",
            **options,
        )
    report = write_report(run, windows=windows)
    if json:
        print_json({**result.metrics, "notes": result.notes, "folder": run, "report": report})
        return
    console = Console()
    console.print(result)
    console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"curves: tensorboard --logdir {run / 'tensorboard'}", markup=False, highlight=False, soft_wrap=True)


def _how(split: str, protocol: str | None, splits_from: Path | None) -> str:
    """Say in the title how subjects are split."""
    own = split if splits_from is None else f"splits of {splits_from.name}"
    return own if protocol is None else f"protocol {protocol}"


@contextmanager
def _shared_threads(jobs: int) -> Iterator[None]:
    """Share torch's threads out among the folds: each uses as many as the calling process."""
    import joblib
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // joblib.effective_n_jobs(jobs)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
