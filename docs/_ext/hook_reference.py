"""The directive ``hook``: what the code knows of a hook, so that the page of hooks cannot differ.

Its argument is the name of a hook of :mod:`biot_bd.hookspecs`.  It writes the hook's signature, the
text of its docstring, the modules that look the names up, the check, and the names that the package
itself registers.
"""

from __future__ import annotations

import ast
import inspect
from functools import cache
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import biot_bd
from biot_bd import hookspecs, registry
from biot_bd.testing import CHECKS

PACKAGE = Path(biot_bd.__file__).parent
PREFIX = "register_"
#: What modules call ``biot_bd.registry``.
IMPORTED_AS = ("registry", "registries")
#: A list of more names than this is cut; the rest stands in ``biot-bd plugins``.
N_SHOWN = 40


def hooks() -> list[str]:
    """Return the names of all hooks, in the order of the file."""
    return [name for name in vars(hookspecs) if name.startswith(PREFIX)]


@cache
def askers() -> dict[str, list[str]]:
    """Return, by kind, the modules that look names of that kind up, from their source."""
    found: dict[str, set[str]] = {kind: set() for kind in registry.registries}
    for path in PACKAGE.rglob("*.py"):
        module = ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        if module == registry.__name__:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for kind in _kinds_in(node):
                found[kind].add(module)
    return {kind: sorted(modules) for kind, modules in found.items()}


def _kinds_in(node: ast.AST) -> list[str]:
    named: list[str] = []
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in IMPORTED_AS:
        named = [node.attr]
    elif isinstance(node, ast.ImportFrom) and node.module == "biot_bd.registry":
        named = [alias.name for alias in node.names]
    return [name for name in named if name in registry.registries]


def built_in(kind: str) -> list[str]:
    """Return the names of a kind that the package itself registers."""
    names = registry.registries[kind]
    return sorted(name for name in names if names.owner(name) == registry.BUILTIN)


def text_of(hook: str) -> str:
    """Return the reStructuredText that the directive writes for a hook.

    Raises
    ------
    ValueError
        There is no hook of that name.
    """
    if hook not in hooks():
        raise ValueError(f"there is no hook {hook!r}; the hooks are {', '.join(hooks())}")
    kind, spec = hook.removeprefix(PREFIX), getattr(hookspecs, hook)
    about = inspect.getdoc(spec).split("\nParameters\n")[0].strip()
    names = built_in(kind)
    shown = ", ".join(f"``{name}``" for name in names[:N_SHOWN]) or "none"
    more = f" and {len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
    modules = ", ".join(f"``{module}``" for module in askers()[kind])
    return (
        f"{about}\n\n"
        f":signature: ``{hook}({', '.join(inspect.signature(spec).parameters)})``, "
        f":doc:`in full </reference/biot_bd.hookspecs.{hook}>`\n"
        f":called: once, when ``biot_bd.registry.{kind}`` is first asked; its names are looked up by {modules}\n"
        f":check: :doc:`{CHECKS[kind]} </reference/biot_bd.testing.{CHECKS[kind]}>`\n"
        f":built in: {shown}{more}\n"
    )


class Hook(SphinxDirective):
    """Writes what is known of the hook that its argument names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the text, parsed.

        Raises
        ------
        docutils.parsers.rst.DirectiveError
            There is no such hook.
        """
        try:
            text = text_of(self.arguments[0])
        except ValueError as error:
            raise self.error(str(error)) from error
        self.env.note_reread()  # what the code knows changes without the page
        node = nodes.container()
        lines = ["```{eval-rst}", *text.splitlines(), "```"]  # the page is Markdown, docstrings are not
        self.state.nested_parse(StringList(lines, source=hookspecs.__file__), 0, node)
        return [node]


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.add_directive("hook", Hook)
    return {"parallel_read_safe": True}
