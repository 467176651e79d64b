"""The site: it builds without a warning and without the network, and has a page for every public name."""

import html
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from biot_bd import cli, registry, testing

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ("_build", "commands", "examples", "learn", "outside", "reference", "__pycache__")


def extension(name):
    """Import an extension of the site."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference():
    """The extension that writes the reference."""
    return extension("api_reference")


def build(folder, *options):
    """Build the site from a copy of the sources; return its folder."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns(*GENERATED))
    (folder / "benchmarks").mkdir()
    for page in (ROOT / "benchmarks" / "RESULTS.md", *ROOT.glob("*.md")):
        shutil.copy(page, folder / page.relative_to(ROOT))
    # A build that reaches for the network fails here instead of waiting.
    environment = {**os.environ, "https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    command = ["-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", *options, folder / "docs", folder / "site"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], capture_output=True, text=True, timeout=1800, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build(tmp_path_factory.mktemp("site"), "-D", "plot_gallery=0")


def test_every_public_name_has_a_page_that_names_it(site, reference):
    names = reference.pages()
    assert {"biot_bd.prepare", "biot_bd.testing.check_loss", "biot_bd.runs.atomic_path"} <= set(names)
    for page in set(names.values()):
        text = (site / "reference" / f"{page.address}.html").read_text(encoding="utf-8")
        assert f'id="{page.address}"' in text, page.address


def test_every_room_lists_its_names(site, reference):
    assert len(reference.rooms()) > 15
    for room in reference.rooms():
        text = (site / "reference" / f"room-{room}.html").read_text(encoding="utf-8")
        for name in reference.names_of(room):
            assert name.name in text, name.address


def test_the_names_of_the_reference_are_those_that_the_rooms_show(reference):
    """Against the modules themselves: what ``dir`` and ``__all__`` say at run time."""
    for room in reference.rooms():
        module = importlib.import_module(room)
        if hasattr(module, "__all__"):
            shown = {name for name in module.__all__ if not name.startswith("__")}
            assert {name.name for name in reference.names_of(room)} == shown, room


def words_of(page):
    """The words of a page, without marks and line breaks."""
    text = re.sub(r"<(head|script|style)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())


def test_every_command_has_a_page_that_says_what_its_help_says(site):
    commands = extension("command_reference").ours()
    assert {"demo", "prepare", "detect", "models"} <= set(commands)
    for name in commands:
        done = CliRunner().invoke(cli.app, [name, "--help"], terminal_width=100, prog_name=cli.PROGRAM)
        assert done.exit_code == 0, name
        assert " ".join(done.stdout.split()) in words_of(site / "commands" / f"{name}.html"), name
        assert f'href="{name}.html"' in (site / "commands" / "index.html").read_text(encoding="utf-8")


def test_every_hook_says_who_asks_what_checks_it_and_what_is_built_in(site):
    hooks, text = extension("hook_reference"), words_of(site / "hooks.html")
    assert ":doc:" not in text
    assert ":check:" not in text
    assert hooks.hooks() == [f"register_{kind}" for kind in registry.registries]
    assert hooks.built_in("losses") == ["cross-entropy", "focal"]
    assert hooks.askers()["losses"] == ["biot_bd.training.classifier._building", "biot_bd.training.finetuning.mixup"]
    for hook in hooks.hooks():
        kind = hook.removeprefix("register_")
        assert hooks.askers()[kind], f"nobody asks biot_bd.registry.{kind}"
        for word in (f"{hook}(register)", testing.CHECKS[kind], *hooks.askers()[kind], *hooks.built_in(kind)[:5]):
            assert word in text, (hook, word)


def test_a_hook_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no hook 'register_dataset'; the hooks are register_datasets,"):
        extension("hook_reference").text_of("register_dataset")


@pytest.mark.parametrize(
    ("link", "docname", "expected"),
    [
        ("speed.md", "guide", "speed.md"),
        ("../CHANGELOG.md", "guide", "outside/changes.md"),
        ("walks/plot_1.py", "tutorials", "learn/plot_1.rst"),
        ("docs/speed.md", "outside/contributing", "../speed.md"),
        ("CHANGELOG.md", "outside/contributing", "changes.md"),
        ("LICENSE", "outside/contributing", "../../LICENSE"),
    ],
)
def test_links_of_pages_outside_are_turned(link, docname, expected):
    assert extension("outer_pages").turned(link, docname) == expected


def test_no_page_is_hidden_behind_one_that_sphinx_makes_itself(site):
    """A page called ``search`` is overwritten by the page of results, without a warning."""
    pages = list((ROOT / "docs").glob("*.md"))
    assert not {"search", "genindex", "modindex", "py-modindex"} & {page.stem for page in pages}
    for page in pages:
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").replace("`", "").replace("'", "’")
        shown = re.sub(r"<[^>]+>", "", (site / f"{page.stem}.html").read_text(encoding="utf-8"))
        assert title in html.unescape(shown), page.name


def test_links_between_pages_lead_somewhere(site):
    for page in ("index.html", "guide.html", "speed.html"):
        assert (site / page).is_file()
    assert 'href="outside/benchmark-results.html' in (site / "speed.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_gallery_runs(tmp_path):
    site = build(tmp_path)
    scripts = sorted([*(ROOT / "docs" / "gallery").glob("plot_*.py"), *(ROOT / "docs" / "walks").glob("plot_*.py")])
    assert len(scripts) >= 5
    for script in scripts:
        folder = {"gallery": "examples", "walks": "learn"}[script.parent.name]
        text = (site / folder / f"{script.stem}.html").read_text(encoding="utf-8")
        assert "sphx-glr-script-out" in text or "sphx-glr-single-img" in text, f"{script.name} shows nothing"


def test_a_long_name_in_a_line_breaks_after_its_separators_and_a_short_one_stays_whole():
    breakable = extension("inline_code").breakable
    assert breakable("biot_bd.io.Reader") == '<span class="pre whole">biot_bd.io.Reader</span>'
    assert (
        breakable("&lt;cohort&gt;/&lt;row&gt;/seed") == '<span class="pre whole">&lt;cohort&gt;/&lt;row&gt;/seed</span>'
    )
    broken = breakable("test_fuzz.py::test_damaged_input(...)")
    assert broken == '<span class="pre">test_<wbr>fuzz.<wbr>py::<wbr>test_<wbr>damaged_<wbr>input(...)</span>'


def test_no_page_asks_another_host_for_anything(site):
    asking = re.compile(r"<(?:script|link|img)[^>]*\b(?:src|href)=\"(?:https?:)?//", re.IGNORECASE)
    assert {page.name for page in site.rglob("*.html") if asking.search(page.read_text(encoding="utf-8"))} == set()
    assert "<math" in (site / "reference" / "biot_bd.FocalLoss.html").read_text(encoding="utf-8")
