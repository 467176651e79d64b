"""``biot-bd report``: the HTML report of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from biot_bd.commands._options import Json


def report(
    run: Annotated[Path, typer.Argument(help="Run folder that `biot-bd cv` or `biot-bd demo` wrote.")],
    windows: Annotated[
        Path | None, typer.Option(help="Prepared windows, where they have moved since; else where run.json says.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    json: Json = False,
) -> None:
    """Write report.html into a run folder: one file with scores, curves, seizures and attention,
    readable offline.
    """
    from biot_bd.commands._folders import expect

    expect(run, "run")
    if windows is not None:
        expect(windows, "windows")

    from biot_bd.commands._output import print_json
    from biot_bd.commands._pipelines import open_windows
    from biot_bd.report import write_report
    from biot_bd.report.run_folder import read_run

    path = write_report(run, windows=None if windows is None else open_windows(windows))
    facts = read_run(run)
    if json:
        about = {"generated": facts.generated, "not_a_result": facts.not_a_result}
        print_json({"report": path, "bytes": path.stat().st_size, **about})
    else:
        if facts.not_a_result:
            typer.echo(f"not a result: {facts.not_a_result}")
        typer.echo(f"report: {path}")
    if open_it:
        typer.launch(path.resolve().as_uri())
