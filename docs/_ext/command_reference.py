"""The command reference: one page for each command, whose text is that of ``--help``, so that it
cannot differ from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from typer.main import get_command

from api_reference import write_pages
from biot_bd import cli

FOLDER = "commands"
#: Columns of a help text.
WIDTH = 100
INTRODUCTION = """\
Each page is the text of ``biot-bd COMMAND --help``. Every command exits with 0 (done), 1 (failed), 2 (bad arguments),
130 (stopped by Ctrl-C) or 143 (by SIGTERM), writes errors as one line to stderr, and takes ``--help``; tracebacks come
with ``biot-bd --debug COMMAND``.
"""


@dataclass(frozen=True)
class Help:
    """What a command, or a command of a command, says of itself."""

    path: str
    summary: str
    text: str


def ours() -> dict[str, cli.Command]:
    """Return the commands that this package brings, in the order of ``biot-bd --help``."""
    return {name: command for name, command in cli.find_commands().items() if command.distribution == cli.DISTRIBUTION}


def helps_of(name: str, command: Any) -> Iterator[Help]:
    """Yield the help of a loaded command, then those of its own commands."""
    context = get_command(cli.app).context_class(
        command,
        info_name=f"{cli.PROGRAM} {name}",
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    text = command.get_help(context)
    yield Help(f"{cli.PROGRAM} {name}", _first_sentence(command.help or ""), text)
    for sub, inner in getattr(command, "commands", {}).items():
        yield from helps_of(f"{name} {sub}", inner)


def _first_sentence(text: str) -> str:
    return " ".join(re.split(r"\n\s*\n", text.strip())[0].split())


def _used_in(name: str, sources: Path) -> list[str]:
    """Return the pages that show a command, section pages left out."""
    call = re.compile(rf"\bbiot-bd {re.escape(name)}\b")
    shown = [path.stem for path in sorted(sources.glob("*.md")) if call.search(path.read_text(encoding="utf-8"))]
    return [page for page in shown if page not in ("index", "guide", "lookup", "tutorials")]


def page_of(name: str, command: cli.Command, sources: Path) -> str:
    """Return the page of a command."""
    parts = []
    for number, one in enumerate(helps_of(name, command.load())):
        line = "-" if number else "="
        body = "\n".join(f"   {text}".rstrip() for text in one.text.splitlines())
        parts.append(f"{one.path}\n{line * len(one.path)}\n\n.. code-block:: text\n\n{body}\n")
    if pages := _used_in(name, sources):
        parts.append("Shown in " + ", ".join(f":doc:`/{page}`" for page in pages) + ".\n")
    return "\n".join(parts)


def write_commands(folder: Path) -> list[Path]:
    """Write the pages into ``folder``, which is one of the site's sources.

    Pages that are right stay untouched, others go.
    """
    commands = ours()
    texts = {name: page_of(name, command, folder.parent) for name, command in commands.items()}
    rows = "".join(f"   * - :doc:`biot-bd {name} <{name}>`\n     - {commands[name].summary}\n" for name in commands)
    tree = "".join(f"   {name}\n" for name in commands)
    texts["index"] = (
        f"Commands\n========\n\n{INTRODUCTION}\n.. list-table::\n   :widths: 30 70\n\n{rows}\n"
        f".. toctree::\n   :hidden:\n\n{tree}"
    )
    return write_pages(folder, texts)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx: the pages are written before it looks for sources."""
    app.connect("config-inited", lambda app, config: write_commands(Path(app.srcdir) / FOLDER))
    return {"parallel_read_safe": True}
