"""Every picture of the documentation has a script that makes it, and shows what the script draws today."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "plugins").glob("*/*.md"),
    *ROOT.glob("docs/*/*.rst"),
]
KINDS = {".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp"}


@pytest.fixture(scope="module")
def pictures():
    spec = importlib.util.spec_from_file_location("documentation_pictures", ROOT / "benchmarks" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_has_a_script_and_every_script_of_the_list_its_picture(pictures):
    kept = {path.name for path in (ROOT / "docs" / "_static").rglob("*") if path.suffix in KINDS}
    assert kept == set(pictures.MADE_BY)


def test_the_scripts_are_there(pictures):
    for command in filter(None, pictures.MADE_BY.values()):
        assert (ROOT / shlex.split(command)[1]).is_file(), command


def test_pages_show_no_picture_from_elsewhere(pictures):
    shown = [
        (page, link)
        for page in PAGES
        for link in re.findall(r"!\[[^\]]*\]\(([^)\s]+)", page.read_text(encoding="utf-8"))
    ]
    ours = [(page, link) for page, link in shown if "://" not in link]
    assert {Path(link).name for _, link in ours} == set(pictures.MADE_BY)
    assert all((page.parent / link).is_file() for page, link in ours)
    assert {link.split("/")[2] for _, link in shown if "://" in link} <= {"img.shields.io"}  # badges


def test_what_is_drawn_here_is_what_stands_there(pictures):
    for name, draw in pictures.DRAWN.items():
        assert (ROOT / "docs" / "_static" / name).read_text(encoding="utf-8") == draw(), "run: make pictures"
