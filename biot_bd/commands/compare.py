"""``biot-bd compare``: finished runs on the same folds, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from biot_bd.commands._options import Json


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN [RUN]...",
            help="Finished run folders of `biot-bd cv` on the same folds; NAME=FOLDER gives a run a name.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for comparison.html, comparison.json and tables/*.csv.")
    ],
    against: Annotated[
        str | None, typer.Option(help="Name of the run that the others are tested against; the first without.")
    ] = None,
    level: Annotated[float, typer.Option(help="Of the intervals.", min=0.5, max=0.999)] = 0.95,
    title: Annotated[str | None, typer.Option(help="Stands above the page.")] = None,
    json: Json = False,
) -> None:
    """Compare finished runs subject by subject: mean over subjects, difference with its interval
    and a paired test.

    Runs must have been scored on the same test windows, labels and folds; what differs is said
    otherwise.
    """
    from biot_bd.commands._folders import expect

    named = _named(runs)
    for run in named.values():
        expect(run, "run")

    from rich.console import Console

    from biot_bd.commands._output import print_json
    from biot_bd.evaluation.studies.finished_runs import compare_finished, comparison_table
    from biot_bd.report import write_comparison

    study = compare_finished(named, output, against=against, level=level, title=title)
    page = write_comparison(study)
    if json:
        print_json({"page": page, "study": study.study, "comparison": study.comparison})
        return
    console = Console()
    console.print(comparison_table(study))
    for note in study.notes:
        console.print(f"- {note}", markup=False, highlight=False)
    typer.echo(f"page: {page}")


def _named(runs: list[str]) -> dict[str, Path]:
    """Return the folders by name: the one given, else the folder's own."""
    if len(runs) < 2:
        raise typer.BadParameter("give at least two run folders", param_hint="RUN")
    found: dict[str, Path] = {}
    for text in runs:
        name, given, folder = text.partition("=")
        path = Path(folder) if given and not Path(text).is_dir() else Path(text)
        name = name if given and path != Path(text) else path.resolve().name
        if name in found:
            raise typer.BadParameter(
                f"two runs are called {name!r}; give them names: first={found[name]} second={path}", param_hint="RUN"
            )
        found[name] = path
    return found
