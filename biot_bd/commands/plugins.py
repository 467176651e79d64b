"""``biot-bd plugins``: what is plugged in, and what failed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from biot_bd.cli import DISTRIBUTION, find_commands
from biot_bd.commands._output import print_json
from biot_bd.exceptions import PluginError
from biot_bd.registry import list_plugins


def plugins(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
) -> None:
    """List the plugins: name, version, what each registers, and its error where it failed.

    Plugins are found through the entry-point groups biot_bd and biot_bd.commands.
    One that fails is left out and the rest goes on; with BIOT_BD_STRICT_PLUGINS=1 it stops the
    program.
    """
    rows = collect()
    if as_json:
        print_json(rows)
    else:
        _print_table(rows)


def collect() -> list[dict[str, Any]]:
    """Return one entry a plugin, as :func:`biot_bd.registry.list_plugins`, with the commands
    each brings.

    Returns
    -------
    list of dict
        A distribution that brings commands and no plugin has an entry of its own.  Commands of
        others are imported to find out whether they load; ours are not.
    """
    rows = list_plugins()
    by_distribution = {row["distribution"]: row for row in reversed(rows) if row["distribution"]}
    for name, command in find_commands().items():
        owner, dist = command.distribution, command.point.dist
        row = by_distribution.get(owner)
        if row is None:
            about = {"name": owner, "version": dist.version if dist else None, "distribution": owner}
            row = by_distribution[owner] = {**about, "registers": {}, "error": None}
            rows.append(row)
        try:
            if owner != DISTRIBUTION:
                command.load()
            row["registers"].setdefault("commands", []).append(name)
        except PluginError as error:
            row["error"] = "; ".join(filter(None, [row["error"], f"command {name!r}: {error}"]))
    return rows


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    for heading in ("plugin", "version", "registers"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        lines = [f"{kind}: {', '.join(sorted(names))}" for kind, names in row["registers"].items()]
        registers = Text("\n".join(lines))
        if row["error"]:
            registers.append(("\n" if lines else "") + f"failed: {row['error']}", style="red")
        table.add_row(Text(row["name"]), Text(row["version"] or "?"), registers)
    Console().print(table)
