"""``biot-bd explain-group``: what a model looks at on many windows, compared by subject."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biot_bd.commands._options import Json, ModelOrRun

if TYPE_CHECKING:
    from biot_bd.probes import GroupComparison, MapGroup


def explain_group(
    model: ModelOrRun,
    windows: Annotated[Path, typer.Argument(help="Folder of prepared windows (see `biot-bd prepare`).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for maps, tables, pictures and group.html.")],
    probe: Annotated[str, typer.Option(help="Registered probe, e.g. attention or token-ig.")] = "attention",
    compare: Annotated[
        str, typer.Option(help="Windows of the first condition: an expression over the table's columns.")
    ] = "label == 1",
    against: Annotated[str, typer.Option(help="Windows of the second condition.")] = "label == 0",
    band: Annotated[
        list[str] | None,
        typer.Option(help="Explain band-limited windows, too: delta, theta, alpha, beta, gamma; may be repeated."),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(help="NAME=EXPRESSION over recording, subject, start_s, ...; may be repeated."),
    ] = None,
    per_subject: Annotated[
        int | None, typer.Option(help="Most windows of each subject and label, evenly spread.", min=1)
    ] = None,
    fold: Annotated[
        int | None, typer.Option(help="Fold of a run; by default all, each on its test subjects.", min=0)
    ] = None,
    json: Json = False,
) -> None:
    """Explain the windows of a store and compare conditions, with subjects as units.

    With a run folder each fold's model explains its own test subjects. The same command again goes
    on where it was stopped.
    """
    from biot_bd.commands import _names
    from biot_bd.commands._folders import expect

    _names.check_registered("probes", probe)
    expect(model, "model", "run")
    expect(windows, "windows")

    from biot_bd.commands._output import check_output, print_json
    from biot_bd.commands._pipelines import open_windows
    from biot_bd.report.group_page import explain_group_to_folder

    check_output(output)
    found = explain_group_to_folder(
        model,
        open_windows(windows),
        output,
        probe=probe,
        compare=(compare, against),
        bands=tuple(band or ()),
        conditions=_conditions(condition),
        per_subject=per_subject,
        fold=fold,
        progress=not json,
    )
    if json:
        print_json(found.facts)
        return
    _show(found.group, found.comparison)
    for note in found.facts["notes"]:
        typer.echo(f"- {note}")
    typer.echo(f"page: {found.page}")


def _conditions(given: list[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, expr = text.partition("=")
        if not (name.strip() and equals and expr.strip()) or name.strip() in found:
            raise typer.BadParameter(
                f"{text!r}: expected NAME=EXPRESSION, each name once, e.g. 'first hour=start_s < 3600'",
                param_hint="--condition",
            )
        found[name.strip()] = expr.strip()
    return found


def _show(group: MapGroup, comparison: GroupComparison | None) -> None:
    if group.info.get("generated"):
        typer.echo("generated data: not a clinical result")
    typer.echo(f"{group.probe}: {len(group)} maps of {len(group.subjects)} subjects")
    if comparison is None:
        return
    first, second = comparison.conditions
    n = int(comparison.marked().sum())
    typer.echo(
        f"{first} minus {second}, {len(comparison.subjects)} subjects: {n} of {comparison.difference.p.size} cells differ "
        f"(p at most .05, corrected for all cells)"
    )
