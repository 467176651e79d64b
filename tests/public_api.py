"""The public API as text: every public name with its signature, every hook, every command with its options.

``python tests/public_api.py`` writes ``docs/public_api.txt`` anew.  What is public is what the
reference of the site shows, see ``docs/_ext/api_reference.py``.
"""

import inspect
import re
from pathlib import Path

from docstring_rules import load_reference

from biot_bd import cli

ADDRESS = re.compile(r" at 0x[0-9a-f]+")
LISTED = Path(__file__).resolve().parents[1] / "docs" / "public_api.txt"
HEAD = """\
# The public API of biot_bd: names, hooks and commands. What is not here may change without notice.
# A test compares it with the code. After a change that was meant: python tests/public_api.py, and a line in CHANGELOG.md.
"""


def signature(obj: object) -> str:
    """Return the signature as written, without what differs from one process to the next."""
    try:
        return ADDRESS.sub("", str(inspect.signature(obj)))
    except (TypeError, ValueError):
        return "(...)"


def lines_of_name(name, reference) -> list[str]:
    """Return a public name's own line, and one for each public member of a class."""
    if name.kind == "data":
        return [f"{name.address}: {type(name.obj).__name__}"]
    if name.kind == "function":
        return [f"{name.address}{signature(name.obj)}"]
    bases = ", ".join(base.__name__ for base in name.obj.__bases__ if base is not object)
    lines = [f"{name.kind} {name.address}{signature(name.obj)}" + (f" of {bases}" if bases else "")]
    for member in reference.members_of(name.obj):
        value = inspect.getattr_static(name.obj, member)
        function = getattr(value, "__func__", value)
        lines.append(f"    {member}" + ("" if isinstance(value, property) else signature(function)))
    return lines


def lines_of_command(words: str, command) -> list[str]:
    """Return a command, and one line for each of its parameters; those of its sub-commands follow."""
    lines = [f"$ {words}"]
    for parameter in command.params:
        if "--help" in parameter.opts:
            continue
        lines.append(f"    {_name_of(parameter)}{' required' if parameter.required else ''}")
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        lines += lines_of_command(f"{words} {name}", inner)
    return lines


def _name_of(parameter) -> str:
    """Return an option's names or an argument's, with its value, and ... where it may be repeated."""
    many = "..." if getattr(parameter, "multiple", False) or parameter.nargs != 1 else ""
    if not parameter.opts[0].startswith("-"):
        return f"{parameter.name.upper()}{many}"
    names = "/".join([*parameter.opts, *parameter.secondary_opts])
    return f"{names}{'' if getattr(parameter, 'is_flag', False) else ' VALUE'}{many}"


def text_of_the_api() -> str:
    """Return the whole text."""
    reference = load_reference()
    lines, pages = [HEAD.rstrip()], reference.pages()
    for room in reference.rooms():
        lines += ["", f"[{room}]"]
        for name in reference.names_of(room):
            page = pages[name.address]
            lines += lines_of_name(name, reference) if page == name else [f"{name.address} = {page.address}"]
    lines += ["", "[biot-bd]"]
    for name, command in sorted(cli.find_commands().items()):
        if command.distribution == cli.DISTRIBUTION:
            lines += lines_of_command(f"biot-bd {name}", command.load())
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    LISTED.write_text(text_of_the_api(), encoding="utf-8")
    print(LISTED)
