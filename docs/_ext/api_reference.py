"""The API reference: one page for each public name, made from the rooms' stubs, so that none can
be forgotten.

A room's public names are those of its ``__init__.pyi``, else of ``__all__`` in its ``__init__.py``.
Modules that plugins and callers import by themselves (:data:`MODULES`) are added: their
``__all__``, else every public class and function they define.  An object that several rooms show
has its page under the shortest address; the others link to it.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import biot_bd

PACKAGE = Path(biot_bd.__file__).parent
#: Modules outside of a room whose names are public.
MODULES = ("exceptions", "hookspecs", "losses", "plots", "registry", "runs")
FOLDER = "reference"


@dataclass(frozen=True)
class PublicName:
    """One public name: where it is shown, and where its page is."""

    room: str
    name: str
    defined_in: str

    @property
    def address(self) -> str:
        """``room.name``."""
        return f"{self.room}.{self.name}"

    @property
    def obj(self) -> Any:
        """The object itself."""
        return getattr(import_module(self.room), self.name)

    @property
    def kind(self) -> str:
        """Directive of autodoc for it, without ``auto``."""
        if inspect.isclass(self.obj):
            return "exception" if issubclass(self.obj, BaseException) else "class"
        return "function" if inspect.isroutine(self.obj) else "data"

    @property
    def doc(self) -> str:
        """Its docstring; of a constant the text where it is defined."""
        return comment_of(self.defined_in, self.name) if self.kind == "data" else inspect.getdoc(self.obj) or ""


def rooms() -> list[str]:
    """Return the rooms and modules that have public names, the package itself first."""
    found = ["biot_bd"]
    for folder in sorted(path.parent for path in PACKAGE.glob("**/__init__.py")):
        if folder != PACKAGE and (_stub(folder).is_file() or _listed(folder / "__init__.py")):
            found.append(".".join(("biot_bd", *folder.relative_to(PACKAGE).parts)))
    return [*found, *(f"biot_bd.{module}" for module in MODULES)]


def names_of(room: str) -> list[PublicName]:
    """Return the public names of a room, in alphabetical order."""
    base = PACKAGE.joinpath(*room.split(".")[1:])
    if _stub(base).is_file():
        origins = _imports(_stub(base), room)
    else:
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        sources = _imports(path, room)
        names = _listed(path) or _defined(path)
        origins = {name: sources.get(name, room) for name in names}
    return [PublicName(room, name, origins[name]) for name in sorted(origins, key=str.casefold)]


def public_names() -> list[PublicName]:
    """Return every public name of every room."""
    return [name for room in rooms() for name in names_of(room)]


def pages() -> dict[str, PublicName]:
    """Return the names that have a page of their own, by the address of each name that leads to
    it.
    """
    first: dict[int, PublicName] = {}
    everything = public_names()
    for name in sorted(everything, key=lambda name: name.address.count(".")):
        first.setdefault(id(name.obj), name)
    return {name.address: first[id(name.obj)] for name in everything}


def comment_of(module: str, name: str) -> str:
    """Return the text on a constant, through re-imports.

    The string below it, else the ``#:`` comment above.
    """
    path = Path(import_module(module).__file__ or "")
    source = path.read_text(encoding="utf-8")
    body = ast.parse(source).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not (isinstance(node, (ast.Assign, ast.AnnAssign)) and name in _assigned(node)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            return inspect.cleandoc(after.value.value)
        above = source.splitlines()[: node.lineno - 1]
        lines: list[str] = []
        while above and above[-1].startswith("#:"):
            lines.insert(0, above.pop().removeprefix("#:").strip())
        return "\n".join(lines)
    origin = _imports(path, module).get(name)
    return comment_of(origin, name) if origin else ""


def _assigned(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def members_of(cls: type) -> list[str]:
    """Return the public methods and properties that this package gives a class, those of its
    bases included.
    """
    found = []
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] != "biot_bd":
            continue
        for name, value in vars(base).items():
            function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
            shown = inspect.isfunction(function) and (getattr(cls, name, None).__doc__ or function.__doc__)
            if not name.startswith("_") and shown and name not in found:
                found.append(name)
    return found


def _stub(folder: Path) -> Path:
    return folder / "__init__.pyi"


def _listed(path: Path) -> list[str]:
    """Return a literal ``__all__`` of a file, without dunders; empty where there is none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        named = isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]
        if named and isinstance(node.value, (ast.List, ast.Tuple)):
            return [name for name in ast.literal_eval(node.value) if not name.startswith("_")]
    return []


def _defined(path: Path) -> list[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [n.name for n in body if isinstance(n, (ast.ClassDef, ast.FunctionDef)) and not n.name.startswith("_")]


def _imports(path: Path, module: str) -> dict[str, str]:
    """Return where a file's ``from x import y`` take their names from: name -> module."""
    package = module if path.name.startswith("__init__") else module.rpartition(".")[0]
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found.update({alias.asname or alias.name: source for alias in node.names})
    return {name: source for name, source in found.items() if source.startswith("biot_bd")}


def _heading(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n\n"


def _summary(doc: str) -> str:
    return " ".join(doc.strip().split("\n\n")[0].split())


def _type(obj: Any) -> str:
    """Return an object's type as Sphinx finds it: types of ours by their whole name."""
    kind = type(obj)
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__module__.startswith("biot_bd") else kind.__name__


def _page(name: PublicName) -> str:
    text = _heading(name.address)
    if name.kind == "data":
        body = "\n".join(f"   {line}".rstrip() for line in name.doc.splitlines())
        return f"{text}.. py:data:: {name.address}\n   :type: {_type(name.obj)}\n\n{body}\n"
    text += f".. currentmodule:: {name.room}\n\n.. auto{name.kind}:: {name.name}\n"
    if name.kind == "class" and (members := members_of(name.obj)):
        text += f"   :members: {', '.join(members)}\n"
    return text


def _room_page(room: str, where: dict[str, PublicName]) -> str:
    """Return the page of a room: what it is for, and a table of its names."""
    lines = [_heading(room), f"{_summary(import_module(room).__doc__ or '')}\n\n"]
    lines += [".. list-table::\n   :widths: 30 70\n\n"]
    for name in names_of(room):
        target = where[name.address]
        lines.append(f"   * - :doc:`{name.name} <{target.address}>`\n     - {_summary(target.doc)}\n")
    own = [name.address for name in names_of(room) if where[name.address] == name]
    if own:
        lines += ["\n.. toctree::\n   :hidden:\n\n", *(f"   {name.rpartition('.')[2]} <{name}>\n" for name in own)]
    return "".join(lines)


def write_reference(folder: Path) -> list[Path]:
    """Write all pages of the reference into ``folder``.

    Pages that are right stay untouched, others go.
    """
    where = pages()
    texts = {name.address: _page(name) for name in where.values()}
    # A room's page has the name of no object, even where a function is called as its module.
    texts |= {f"room-{room}": _room_page(room, where) for room in rooms()}
    toctree = "".join(f"   {room} <room-{room}>\n" for room in rooms())
    texts["index"] = _heading("Reference") + (
        "Every public name, by the room that shows it. Names of the first table are imported from ``biot_bd`` itself.\n\n"
        f".. toctree::\n   :maxdepth: 1\n\n{toctree}"
    )
    return write_pages(folder, texts)


def write_pages(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write ``NAME.rst`` for each text; pages that are right stay untouched, others go."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in texts.items():
        path = folder / f"{name}.rst"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        written.append(path)
    for path in set(folder.glob("*.rst")) - set(written):
        path.unlink()
    return written


def drop_foreign_text(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Drop what braindecode adds to the docstring of each model.

    Its examples are about its own classes.
    """
    begin, end = ".. rubric:: Hugging Face Hub integration", ":ref:`load-pretrained-models`"
    starts = [i for i, line in enumerate(lines) if line.strip() == begin]
    ends = [i for i, line in enumerate(lines) if end in line]
    if starts and ends:
        del lines[starts[0] : ends[-1] + 1]


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx: the pages are written before it looks for sources."""
    app.connect("config-inited", lambda app, config: write_reference(Path(app.srcdir) / FOLDER))
    app.connect("autodoc-process-docstring", drop_foreign_text, priority=100)  # before numpydoc
    return {"parallel_read_safe": True}
