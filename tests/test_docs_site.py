"""The site: it builds without a warning and without the network, and has a page for every public name."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ("_build", "commands", "examples", "learn", "outside", "reference", "__pycache__")


@pytest.fixture(scope="module")
def reference():
    """The extension that writes the reference."""
    spec = importlib.util.spec_from_file_location("api_reference", ROOT / "docs" / "_ext" / "api_reference.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["api_reference"] = module
    spec.loader.exec_module(module)
    return module


def build(folder, *options):
    """Build the site from a copy of the sources; return its folder."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns(*GENERATED))
    (folder / "benchmarks").mkdir()
    for page in ("benchmarks/RESULTS.md", "CHANGELOG.md"):
        shutil.copy(ROOT / page, folder / page)
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


def test_links_between_pages_lead_somewhere(site):
    for page in ("index.html", "guide.html", "speed.html"):
        assert (site / page).is_file()
    assert 'href="outside/benchmark-results.html' in (site / "speed.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_gallery_runs(tmp_path):
    site = build(tmp_path)
    scripts = sorted((ROOT / "docs" / "gallery").glob("plot_*.py"))
    assert len(scripts) >= 5
    for script in scripts:
        text = (site / "examples" / f"{script.stem}.html").read_text(encoding="utf-8")
        assert "sphx-glr-script-out" in text or "sphx-glr-single-img" in text, f"{script.name} shows nothing"
