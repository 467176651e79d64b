"""``biot-bd train``: fit a pipeline on all persons and save it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    folder: Annotated[Path, typer.Argument(help="Folder of prepared windows (see `biot-bd prepare`).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model; must not hold one yet.")],
    model: Annotated[str, typer.Option(help="Registered model.")] = "biot",
    loss: Annotated[str | None, typer.Option(help="Registered loss; the classifier's default without.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs.", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows a batch.", min=1)] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", min=0)] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better validation score before training stops.", min=1)
    ] = None,
    valid_fraction: Annotated[
        float, typer.Option(help="Share of the persons that validate; 0 for fixed epochs.", min=0, max=0.9)
    ] = 0.2,
    threshold: Annotated[
        str, typer.Option(help="balanced-accuracy or matched-prevalence on validation, or a number.")
    ] = "balanced-accuracy",
    seed: Annotated[int, typer.Option(help="Seed of the inner split and of the training.", min=0)] = 0,
    param: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE of the classifier in skorch's style, e.g. module__num_layers=2; may be repeated."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON on stdout.")] = False,
) -> None:
    """Fit on all persons (some of them validate) and save the pipeline; it has no score of its own."""
    from rich.console import Console

    from biot_bd.commands._pipelines import (
        build_pipeline,
        describe_model,
        number_or_name,
        open_windows,
        parse_assignments,
        print_json,
    )
    from biot_bd.evaluation.train import fit_all

    if (output / "config.json").exists():
        raise FileExistsError(f"{output} holds a model already; name a new folder or delete it")
    windows = open_windows(folder)
    params = parse_assignments(param)
    pipeline = build_pipeline(
        windows,
        model=model,
        loss=loss,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        patience=patience,
        params=params,
    )
    facts = fit_all(
        pipeline,
        windows,
        output,
        valid_fraction=valid_fraction,
        threshold=number_or_name(threshold),
        random_state=seed,
        title=describe_model(model, params),
    )
    if json:
        print_json({"folder": output, **facts})
        return
    _show(Console(), output, facts)


def _show(console: Any, output: Path, facts: dict[str, Any]) -> None:
    persons = facts["persons"]
    generated = " on generated data" if facts["data"]["generated"] else ""
    lines = [
        f"{facts['title']}{generated}, label rule {facts['data']['label_rule']}",
        f"trained on {len(persons['train'])} persons, validated on {', '.join(persons['valid']) or 'nobody'}",
        f"epochs: {facts['n_epochs']}, threshold: {facts['threshold']['value']:.3f}",
        *facts["notes"],
        "no test persons are left: score this pipeline with `biot-bd cv`",
        f"model: {output}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
