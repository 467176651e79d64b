"""Options that commands share, as annotated types: the same words, help and limits everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Store = Annotated[Path, typer.Argument(help="Folder of prepared windows (see `biot-bd prepare`).")]
Loss = Annotated[str | None, typer.Option(help="Registered loss; the classifier's default without.")]
BatchSize = Annotated[int | None, typer.Option(help="Windows a batch.", min=1)]
LearningRate = Annotated[float | None, typer.Option(help="Learning rate.", min=0)]
Patience = Annotated[
    int | None, typer.Option(help="Epochs without a better validation score before training stops.", min=1)
]
Sampler = Annotated[
    str | None,
    typer.Option(
        help="Draw training windows: class-balanced, subject-balanced, class-subject-balanced or background-subsample."
    ),
]
Augment = Annotated[
    list[str] | None,
    typer.Option(help="Change training windows at random: light, strong, or a transform's name; may be repeated."),
]
Precision = Annotated[
    str | None,
    typer.Option(help="Precision: fp32 (default), tf32, bf16, fp16, or auto for the fastest on this machine."),
]
MicroBatch = Annotated[
    str | None,
    typer.Option(
        help="Windows that pass through the model at a time, with the gradient of the whole batch: a number, whole or auto (default)."
    ),
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        help="Checkpoint to start from: prest-16, shhs-prest-18, six-datasets-18, a file, a folder or a Hub repository."
    ),
]
Finetune = Annotated[
    list[str] | None,
    typer.Option(help="Fine-tuning strategy, e.g. full, linear-probe, gradual, two-stage; may be repeated."),
]
ThresholdRule = Annotated[str, typer.Option(help="balanced-accuracy or matched-prevalence on validation, or a number.")]
EventTarget = Annotated[
    str | None,
    typer.Option(
        help="What the operating point of events is chosen for on validation: f1 (default), sensitivity=0.9, fa_per_24h=2, none."
    ),
]
TargetFalseAlarms = Annotated[
    float | None,
    typer.Option(
        "--target-fa-per-24h",
        help="Short for --event-target fa_per_24h=NUMBER: most seizures at no more false alarms per 24 h.",
        min=0,
    ),
]
Param = Annotated[
    list[str] | None,
    typer.Option(help="KEY=VALUE of the classifier in skorch's style, e.g. module__num_layers=2; may be repeated."),
]

# Of a saved model as a detector, for `detect` and `stream`.
SavedModel = Annotated[Path, typer.Argument(help="Folder of a saved model, with its events.json where it has one.")]
StrideS = Annotated[float, typer.Option(help="From one window's start to the next, in seconds.", min=0.01)]
OnMissing = Annotated[
    str, typer.Option(help="Channels that the source lacks: raise, drop (the model masks them) or interpolate.")
]
ModelPrecision = Annotated[str, typer.Option(help="Precision of the model: auto, fp32, bf16, fp16.")]
Engine = Annotated[str, typer.Option(help="Registered engine that computes the model (see `biot-bd plugins`).")]
ModelThreshold = Annotated[float | None, typer.Option(help="Instead of the model's own.", min=0, max=1)]
Smoothing = Annotated[float | None, typer.Option(help="Instead of the model's own.", min=0)]
Release = Annotated[float | None, typer.Option(help="Instead of the model's own.", min=0, max=1)]
MinDuration = Annotated[float | None, typer.Option(help="Instead of the model's own.", min=0)]
MergeGap = Annotated[float | None, typer.Option(help="Instead of the model's own.", min=0)]

Json = Annotated[bool, typer.Option("--json", help="Print the facts as JSON on stdout.")]
