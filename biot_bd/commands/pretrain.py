"""``biot-bd pretrain``: learn without labels, for ``train`` and ``cv`` to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from biot_bd.commands._options import Json


def pretrain(
    stores: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of prepared windows, of one rate and length; labels are not looked at, and channels may differ."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pretrained model; new or empty.")],
    model: Annotated[
        str | None, typer.Option(help="Registered model; biot by default, or that of --pretrained.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="Registered objective, or NAME=WEIGHT; may be repeated. Default: masked-spectrum, or masked-patch for models of samples."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs.", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows a batch, over all processes.", min=1)] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", min=0)] = None,
    precision: Annotated[str | None, typer.Option(help="Precision: fp32 (default), tf32, bf16 or fp16.")] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="Checkpoint, or folder of a pretraining, to go on from.")
    ] = None,
    corpus_weights: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=WEIGHT of a corpus (the name space of its subjects), e.g. chb-mit=2; may be repeated, one for each corpus. Each batch is then of one corpus, and so many of each."
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            help="Subject who is left out and on whom the objectives are measured at the end; may be repeated."
        ),
    ] = None,
    validation_fraction: Annotated[
        float, typer.Option(help="Share of the subjects that validate; 0 for none.", min=0, max=0.9)
    ] = 0.2,
    ignore_channel: Annotated[
        list[str] | None,
        typer.Option(help="Channel of the windows that the model shall not see; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split and of the training.", min=0)] = 0,
    param: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE of the Pretrainer in skorch's style, e.g. module__preset=tiny, objective__mask_ratio=0.5; may be repeated."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Pretrain a model without labels and save it with the record of whom it saw.

    `biot-bd train` and `cv` start from it with --pretrained.  A pretraining that was stopped goes
    on with the same command.
    """
    from biot_bd.commands import _names, _output, _pipelines
    from biot_bd.commands._folders import expect

    weights, shares = _weights(objective), _weights(corpus_weights, "--corpus-weights", "chb-mit")
    _names.check_registered("models", model)
    _names.check_registered("objectives", *weights)
    _names.check_known("--precision", precision, PRECISIONS)
    _names.check_checkpoint(pretrained)
    for store in stores:
        expect(store, "windows")

    from biot_bd.pretraining import pretrain as pretrain_into
    from biot_bd.training.net.distributed import find_processes

    _output.check_output(output)
    _check_free(output)
    windows = _open(stores)
    options = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision, "pretrained": pretrained}
    settings: dict[str, Any] = {_RENAMED.get(name, name): value for name, value in options.items() if value is not None}
    settings |= {"random_state": seed, "validation_fraction": validation_fraction, "verbose": 1}
    settings |= {} if validation_fraction else {"train_split": None}
    settings |= {"sampler": shares} if shares else {}
    pipeline = _pipelines.build_pretraining(
        windows, model, weights, settings, params=_pipelines.parse_assignments(param), ignore_channels=ignore_channel
    )
    facts = pretrain_into(pipeline, windows, output, hold_out=hold_out or ())
    if not find_processes().is_main:
        return
    report = _write_report(output, windows, facts)
    if json:
        _output.print_json({"folder": output, **facts, "report": report})
    else:
        typer.echo("\n".join(_lines(output, facts, report)))


PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
PAGE = "report.html"
"""What the command writes last."""
_RENAMED = {"epochs": "max_epochs"}


def _weights(texts: list[str] | None, option: str = "--objective", example: str | None = None) -> dict[str, float]:
    """Return name -> weight of an option; empty where none is given.

    An option with an example needs a weight for each name.
    """
    weights: dict[str, float] = {}
    for text in texts or ():
        name, equals, number = text.partition("=")
        try:
            weight = float(number) if equals or example else 1.0
        except ValueError:
            weight = float("nan")
        if not weight > 0 or weight == float("inf"):
            form = "NAME=WEIGHT" if example else "NAME or NAME=WEIGHT"
            raise ValueError(f"{option} {text}: expected {form} with a weight above 0, e.g. {example or name}=0.5")
        if name in weights:
            raise ValueError(f"{option} {name} is given twice")
        weights[name] = weight
    return weights


def _check_free(output: Path) -> None:
    """Raise where the folder holds something else than a pretraining that was stopped."""
    from biot_bd.models.checkpoints.pretraining_folder import is_pretraining
    from biot_bd.pretraining.pretraining_run import WORK

    finished = is_pretraining(output)
    if (output / WORK).is_dir() or (finished and not (output / PAGE).is_file()):
        return  # this call goes on, or says that it is another
    if finished:
        raise FileExistsError(f"{output} holds a pretrained model already; name a new folder or delete it")
    others = sorted(p.name for p in output.iterdir() if not p.name.startswith(".")) if output.is_dir() else []
    if others:
        raise FileExistsError(
            f"{output} is no folder of a pretraining and not empty ({', '.join(others[:5])}); name a new folder"
        )


def _open(stores: list[Path]) -> Any:
    from biot_bd import Windows
    from biot_bd.commands._pipelines import open_windows

    opened = [open_windows(store) for store in stores]
    return opened[0] if len(opened) == 1 else Windows.mix(opened)


def _write_report(output: Path, windows: Any, facts: dict[str, Any]) -> Path:
    """Write the page, with pictures of subjects who did not train."""
    from biot_bd.report import write_pretraining_report

    unseen = [*facts["subjects"]["hold_out"]] or [*facts["subjects"]["valid"]]
    shown = windows.query(f"subject in {unseen!r}") if unseen else None
    page: Path = write_pretraining_report(output, windows=shown)
    return page


def _lines(output: Path, facts: dict[str, Any], report: Path) -> list[str]:
    from biot_bd.number_texts import count_text, score_text

    subjects = facts["subjects"]
    generated = " on generated data" if facts["data"]["generated"] else ""
    lines = [
        f"{facts['title']}{generated}",
        f"trained on {count_text(len(subjects['train']), 'subject')}, validated on {', '.join(subjects['valid']) or 'nobody'}, "
        f"{count_text(facts['n_epochs'], 'epoch')}",
    ]
    for side, who in (("train", "training"), ("valid", "validation"), ("hold_out", "hold-out")):
        if facts[side]:
            told = ", ".join(f"{key} {score_text(value)}" for key, value in facts[side].items() if key in _SHOWN)
            lines.append(f"{who}: {told}")
    return [*lines, f"report: {report}", f"pretrained model: {output}"]


_SHOWN = ("loss", "chance", "skill")
