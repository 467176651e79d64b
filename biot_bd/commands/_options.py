"""Options that commands share, as annotated types: the same words, help and limits everywhere."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from biot_bd.commands._registered import find_model

Store = Annotated[Path, typer.Argument(help="Folder of prepared windows (see `biot-bd prepare`).")]
# A model may also be named as the model registry calls it, NAME or NAME/VERSION.
ModelFolder = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", parser=find_model, help="Saved model: its folder, or NAME[/VERSION] of the registry."
    ),
]
# Of a saved model as a detector, for `detect` and `stream`.
SavedModel = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        parser=find_model,
        help="Saved or exported model: its folder, with its events.json where it has one, or NAME[/VERSION] of the registry.",
    ),
]
ModelOrRun = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL|RUN",
        parser=find_model,
        help="Saved model (its folder, or NAME[/VERSION] of the registry), or run folder of `biot-bd cv`.",
    ),
]
StrideS = Annotated[float, typer.Option(help="From one window's start to the next, in seconds.", min=0.01)]
OnMissing = Annotated[
    str, typer.Option(help="Channels that the source lacks: raise, drop (the model masks them) or interpolate.")
]
ModelPrecision = Annotated[
    str | None,
    typer.Option(
        help="Precision of the model: auto, fp32, bf16, fp16, int8, int8-bf16. Default: the model's own (fp32, or int8 as exported)."
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        help="What computes the model: auto (the fastest here of what the folder holds), or a registered engine, e.g. openvino."
    ),
]
ModelThreshold = Annotated[float | None, typer.Option(help="Instead of the model's own.", min=0, max=1)]
Smoothing = Annotated[float | None, typer.Option(help="Instead of the model's own.", min=0)]
Release = Annotated[float | None, typer.Option(help="Instead of the model's own.", min=0, max=1)]
MinDuration = Annotated[float | None, typer.Option(help="Instead of the model's own.", min=0)]
MergeGap = Annotated[float | None, typer.Option(help="Instead of the model's own.", min=0)]

DETECTOR = (
    "stride_s on_missing precision engine threshold smoothing_s release_fraction min_duration_s merge_gap_s".split()
)
"""What `detect` and `stream` hand to :meth:`biot_bd.Detector.load`."""

Json = Annotated[bool, typer.Option("--json", help="Print the facts as JSON on stdout.")]

# Of a page that is served, for `stream` and `review`.
Port = Annotated[int, typer.Option(help="Of the page; 0 for any that is free.", min=0, max=65535)]
PageAddress = Annotated[str, typer.Option(help="Address of the page; others than 127.0.0.1 let everybody in.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(help="Name under which the page may be asked for, e.g. a proxy's; can be given several times."),
]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What commands that train take, the same words everywhere; :func:`with_training_options`
    shows it to Typer.
    """

    model: Annotated[
        str | None,
        typer.Option(
            help="Registered model (default: biot, or that of a pretraining); for cv and search also a baseline: eegnet, bdtcn, spectral-power, line-length, always-on, always-off."
        ),
    ] = None
    loss: Annotated[str | None, typer.Option(help="Registered loss; the classifier's default without.")] = None
    epochs: Annotated[int | None, typer.Option(help="Most epochs (of a fold).", min=1)] = None
    batch_size: Annotated[int | None, typer.Option(help="Windows a batch.", min=1)] = None
    lr: Annotated[float | None, typer.Option(help="Learning rate.", min=0)] = None
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better validation score before training stops.", min=1)
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(help="Precision: fp32 (default), tf32, bf16, fp16, or auto for the fastest on this machine."),
    ] = None
    micro_batch: Annotated[
        str | None,
        typer.Option(
            help="Windows that pass through the model at a time, with the gradient of the whole batch: a number, whole or auto (default)."
        ),
    ] = None
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Draw training windows: class-balanced, subject-balanced, class-subject-balanced or background-subsample."
        ),
    ] = None
    augment: Annotated[
        list[str] | None,
        typer.Option(
            help="Change training windows at random: light, strong, or a transform with or without parameters, e.g. GaussianNoise:std=0.2; may be repeated."
        ),
    ] = None
    ignore_channel: Annotated[
        list[str] | None,
        typer.Option(help="Channel of the windows that the model shall not see; may be repeated."),
    ] = None
    pretrained: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint to start from: the folder of `biot-bd pretrain`, prest-16, shhs-prest-18, six-datasets-18, a file, a folder or a Hub repository."
        ),
    ] = None
    finetune: Annotated[
        list[str] | None,
        typer.Option(help="Fine-tuning strategy, e.g. full, linear-probe, gradual, two-stage; may be repeated."),
    ] = None
    allow_contaminated: Annotated[
        bool,
        typer.Option(
            "--allow-contaminated",
            help="Go on where the checkpoint saw subjects of the test or the hold-out (or may have); every output then says so.",
        ),
    ] = False
    scoring: Annotated[
        list[str] | None,
        typer.Option(
            help="Registered metric of the test or the hold-out; may be repeated. Default: AUC-PR, AUROC, balanced accuracy."
        ),
    ] = None
    threshold: Annotated[
        str, typer.Option(help="balanced-accuracy or matched-prevalence on validation, or a number.")
    ] = "balanced-accuracy"
    event_target: Annotated[
        str | None,
        typer.Option(
            help="What the operating point of events is chosen for on validation: f1 (default), sensitivity=0.9, fa_per_24h=2, none."
        ),
    ] = None
    target_fa_per_24h: Annotated[
        float | None,
        typer.Option(
            "--target-fa-per-24h",
            help="Short for --event-target fa_per_24h=NUMBER: most seizures at no more false alarms per 24 h.",
            min=0,
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of the split and of the training (of every fold).", min=0)] = 0
    param: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE of the classifier in skorch's style, e.g. module__num_layers=2; may be repeated."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ParallelOptions:
    """Where folds and fits are computed, the same words for every command that has many;
    :func:`with_parallel_options` shows it to Typer.
    """

    jobs: Annotated[
        int | None,
        typer.Option(
            help="Folds, and fits of a search, computed at once, sharing the processors; -1 for one a processor. Default: 1; of slurm and of --scheduler as many as there are."
        ),
    ] = None
    backend: Annotated[
        str,
        typer.Option(
            help="loky (processes), sequential, threading, dask (processes, or --scheduler), dask-slurm (jobs of SLURM that stay), slurm (a job a fold or fit), or local (such jobs without a cluster)."
        ),
    ] = "loky"
    scheduler: Annotated[
        str | None, typer.Option(help="Address of dask's scheduler, e.g. tcp://10.0.0.5:8786, with --backend dask.")
    ] = None
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE of sbatch, or with dask-slurm of SLURMCluster (memory=16GB is needed); may be repeated."
        ),
    ] = None
    hours: Annotated[float, typer.Option(help="Time limit of a job of slurm.", min=0.02)] = 24.0
    cpus: Annotated[
        int | None,
        typer.Option(help="Processors of a job of slurm (default 1), and torch's threads in each worker.", min=1),
    ] = None
    gpus: Annotated[int, typer.Option(help="GPUs of a job of slurm.", min=0)] = 0
    folds_per_gpu: Annotated[
        str, typer.Option(help="Folds or fits on a GPU at once: a number, or auto for as many as its memory holds.")
    ] = "1"
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait",
            help="With slurm: wait for the jobs, or end; the same command later reads their results.",
        ),
    ] = True


def with_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Show Typer the fields of :class:`TrainingOptions` in place of the command's parameter
    ``options``.
    """
    return _with_fields(command, "options", TrainingOptions)


def with_parallel_options(command: Callable[..., None]) -> Callable[..., None]:
    """Show Typer the fields of :class:`ParallelOptions` in place of the command's parameter
    ``parallel``.
    """
    return _with_fields(command, "parallel", ParallelOptions)


def _with_fields(command: Callable[..., None], name: str, kind: Any) -> Callable[..., None]:
    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given, **{name: made})

    own = dict(inspect.signature(command, eval_str=True).parameters)
    del own[name]
    shown = [*own.values(), *inspect.signature(kind).parameters.values()]
    run.__signature__ = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in shown])  # type: ignore[attr-defined]
    return run


def host_name(text: str) -> str:
    """Return the name or address of ``--allow-host``."""
    from biot_bd.deploy.serving.admission import split_authority

    bare = text.count(":") > 1 and not text.startswith("[")
    try:
        name, port = split_authority(f"[{text}]" if bare else text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--allow-host") from error
    if port is not None:
        raise typer.BadParameter(f"{text}: expected a name or address without its port", param_hint="--allow-host")
    return name
