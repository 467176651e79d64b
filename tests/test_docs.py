"""The documentation: every hook is described with code that runs, the tutorial shows the plugin's own code, links lead somewhere."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from docstring_rules import load_reference
from small_model import save_small_model

import biot_bd.testing
from biot_bd import hookspecs, registry

ROOT = Path(__file__).resolve().parents[1]
HOOKS = ROOT / "docs" / "hooks.md"
#: The first page makes the package; each of the others adds to it, and needs none of the others.
FIRST, *REST = (
    ROOT / "docs" / f"tutorial-plugin{part}.md" for part in ("", "-dataset", "-probe", "-objective", "-exporter")
)
TUTORIAL = (FIRST, *REST)
PLUGIN = ROOT / "plugins" / "biot-bd-tutorial"
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)[^)]*\)")


def sections(path):
    """Return the text of each second-level section by its title."""
    parts = re.split(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_hook_has_a_section_and_every_section_a_hook():
    assert list(sections(HOOKS)) == [name for name in vars(hookspecs) if name.startswith("register_")]


@pytest.mark.parametrize("kind", registry.registries)
def test_a_section_has_signature_check_and_one_example(kind):
    text = sections(HOOKS)[f"register_{kind}"]
    signature = inspect.signature(getattr(hookspecs, f"register_{kind}"))
    assert text.lstrip("\n").startswith(f"```{{hook}} register_{kind}\n```\n"), (
        "the directive that says what the code knows"
    )
    assert f"`register_{kind}({', '.join(signature.parameters)})`" in text
    assert f"Check: `{biot_bd.testing.CHECKS[kind]}(" in text
    assert [fence[0] for fence in FENCE.findall(text)] == ["python"]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Import the example of a section as a module of its own, register it, and take it away again."""
    added = []

    def example(kind):
        ((_, _, code),) = FENCE.findall(sections(HOOKS)[f"register_{kind}"])
        name = f"example_of_{kind}"
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        registry.add_plugin(importlib.import_module(name), name)
        added.append(name)
        (registered,) = registry.list_plugins()[-1]["registers"][kind]
        return registry.registries[kind][registered]

    yield example
    registry._forget_plugins(added)
    for name in added:
        del sys.modules[name]


def arguments(kind, thing, tmp_path):
    if kind == "datasets":
        np.save(tmp_path / "p1_1.npy", np.random.default_rng(0).standard_normal((2, 256 * 20)) * 30e-6)
        return (thing(tmp_path),)
    if kind == "exporters":
        return thing, "a pipeline", tmp_path / "out" / "card.json"
    if kind == "engines":
        return thing, save_small_model(tmp_path / "model")
    if kind == "model_stores":
        return thing, str(tmp_path / "shared disk")
    return (thing,)


@pytest.mark.parametrize("kind", registry.registries)
def test_the_example_of_a_hook_runs_and_passes_its_check(kind, example, tmp_path):
    check = getattr(biot_bd.testing, biot_bd.testing.CHECKS[kind])
    check(*arguments(kind, example(kind), tmp_path))


def files_of_the_tutorial(pages=TUTORIAL):
    """Put the files together as the pages say: the blocks of a file, in their order, with empty lines between them."""
    files = {}
    for page in pages:
        for language, title, code in FENCE.findall(page.read_text(encoding="utf-8")):
            if language != "console":
                assert title, f"this block names no file:\n{code}"
                files[title] = f"{files[title]}\n\n{code}" if title in files else code
    return files


def lines_of(text):
    return [line for line in text.splitlines() if line.strip()]


def test_the_tutorial_holds_every_line_of_every_file_of_the_plugin():
    files = files_of_the_tutorial()
    kept = [path.relative_to(PLUGIN).as_posix() for kind in ("*.toml", "*.py") for path in PLUGIN.rglob(kind)]
    assert set(files) == set(kept)
    for title, text in files.items():
        assert lines_of(text) == lines_of((PLUGIN / title).read_text(encoding="utf-8")), title


def test_a_sentence_names_the_file_before_its_first_block():
    for page in TUTORIAL:
        text = page.read_text(encoding="utf-8")
        for title in files_of_the_tutorial([page]):
            before = text[: text.index(f'title="{title}"')]
            assert f"`{title}`" in before, page.name


@pytest.mark.slow
@pytest.mark.parametrize(
    "pages", [[FIRST], *([FIRST, page] for page in REST), TUTORIAL], ids=lambda pages: "+".join(p.stem for p in pages)
)
def test_the_plugin_that_is_written_from_the_pages_alone_passes_its_tests(tmp_path, pages):
    """In a fresh folder, found by the entry point that its own pyproject.toml declares."""
    for title, text in files_of_the_tutorial(pages).items():
        path = tmp_path / "biot-bd-tutorial" / title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    package = tmp_path / "biot-bd-tutorial"
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["biot_bd"].items())
    info = package / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text(f"[biot_bd]\n{points}")
    path = os.pathsep.join(filter(None, [str(package / "src"), str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    where = "import biot_bd_tutorial as t; print(t.__file__)"
    found = subprocess.run([sys.executable, "-c", where], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert found.stdout.strip() == str(package / "src" / "biot_bd_tutorial" / "__init__.py"), found.stderr
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "ignore"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=package,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed", done.stdout, re.MULTILINE), done.stdout


def test_commands_in_the_tutorial_and_the_readme_exist():
    from biot_bd.cli import find_commands

    text = "".join(page.read_text(encoding="utf-8") for page in (*TUTORIAL, PLUGIN / "README.md"))
    used = set(re.findall(r"^\$ biot-bd (\w+)", text, flags=re.MULTILINE))
    assert used
    assert used <= set(find_commands())


PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), *(ROOT / "plugins").glob("*/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_lead_somewhere(page):
    targets = [
        link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link and "mailto:" not in link
    ]
    assert [link for link in targets if not (page.parent / link).exists()] == []


# Rules of fine-tuning stand in modules of their own, as the command line does; the experiments share its options.
OWN_MODULES = {"biot_bd.training.finetuning.recipes", "biot_bd.training.finetuning.base", "biot_bd.cli"}
SHARED_WITH_THE_COMMANDS = {"biot_bd.commands._pipelines"}
SCRIPTS = sorted(
    [
        *ROOT.glob("docs/gallery/*.py"),
        *ROOT.glob("docs/walks/*.py"),
        *ROOT.glob("experiments/*.py"),
        *ROOT.glob("plugins/*/src/**/*.py"),
    ]
)


def code_of(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return [text]
    # A block with the title of a file is an extract of it.
    return [code for language, title, code in FENCE.findall(text) if language == "python" and not title]


@pytest.mark.parametrize("path", [*PAGES, *SCRIPTS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_users_copy_imports_public_names(path):
    public = {*load_reference().rooms(), "biot_bd"} | OWN_MODULES
    if path.parent.name == "experiments":
        public |= SHARED_WITH_THE_COMMANDS
    for code in code_of(path):
        imported = {node.module for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)}
        assert {name for name in imported if name.partition(".")[0] == "biot_bd"} <= public
