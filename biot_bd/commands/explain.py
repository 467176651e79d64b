"""``biot-bd explain``: what a model looks at, on chosen windows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from biot_bd.commands._options import Json


def explain(
    model: Annotated[Path, typer.Argument(help="Saved model, or run folder of `biot-bd cv`.")],
    windows: Annotated[Path, typer.Argument(help="Folder of prepared windows (see `biot-bd prepare`).")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for explanation.npz, explanation.json, explanation.html.")
    ],
    probe: Annotated[str, typer.Option(help="Registered probe, e.g. attention or attention-qk.")] = "attention",
    number: Annotated[
        int, typer.Option("--windows", "-n", help="How many seizure windows, evenly spread.", min=1, max=64)
    ] = 1,
    recording: Annotated[str | None, typer.Option(help="Explain a window of this recording; needs --start-s.")] = None,
    start_s: Annotated[float | None, typer.Option(help="Start of that window, in seconds.", min=0)] = None,
    fold: Annotated[
        int | None, typer.Option(help="Fold of a run; by default the one that tests the subject.", min=0)
    ] = None,
    target: Annotated[int | None, typer.Option(help="Class to explain, for probes that take one.", min=0)] = None,
    json: Json = False,
) -> None:
    """Explain a model's decisions on chosen windows: maps as arrays and as one HTML page.

    With a run folder, windows come from the test subjects of a fold, and that fold's model explains
    them.
    """
    from biot_bd import registry
    from biot_bd.commands import _names
    from biot_bd.commands._folders import expect

    _names.check_registered("probes", probe)
    expect(model, "model", "run")
    expect(windows, "windows")

    from biot_bd.commands._output import print_json
    from biot_bd.commands._pipelines import open_windows
    from biot_bd.report.explain import choose_fold, choose_windows, explain_to_folder

    if (recording is None) != (start_s is None):
        raise typer.BadParameter("--recording and --start-s name one window together")
    make = registry.probes[probe]
    store = open_windows(windows)
    source = choose_fold(model, store, fold=fold, recording=recording)
    rows = choose_windows(store, source.subjects, number=number, recording=recording, start_s=start_s)
    facts = explain_to_folder(source, store, rows, make(), output, probe_name=probe, target=target)
    if json:
        print_json(facts)
    else:
        _show(facts)


def _show(facts: dict[str, Any]) -> None:
    from biot_bd.report.explain import plain_facts

    if facts["generated"]:
        typer.echo("generated data: not a clinical result")
    typer.echo(f"model: {facts['model']} ({facts['source']})")
    typer.echo(f"probe: {facts['probe']}, {' x '.join(facts['dims'])} = {' x '.join(map(str, facts['shape']))}")
    for window in facts["windows"]:
        label = "seizure" if window["label"] else "background"
        typer.echo(
            f"- {window['recording']}, {window['start_s']:g} to {window['stop_s']:g} s ({label}): "
            f"probability {window['proba']:.3f}"
        )
    for name, text in plain_facts(facts["info"]).items():
        typer.echo(f"{name.replace('_', ' ')}: {text}")
    typer.echo(f"page: {facts['page']}")
    typer.echo(f"arrays: {facts['arrays']}")
