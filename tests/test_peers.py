"""The page on peers: its table is what was measured, and what is measured still holds where a peer is installed."""

import importlib.util
import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "peers"
PAGE = FOLDER.parents[1] / "docs" / "peers.md"


@pytest.fixture(scope="module")
def measured():
    return json.loads((FOLDER / "measured.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def peers():
    spec = importlib.util.spec_from_file_location("peers_all", FOLDER / "all.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_page_shows_what_was_measured(peers, measured):
    page = PAGE.read_text(encoding="utf-8")
    assert peers.with_table(page, measured) == page


def test_every_script_is_measured_and_explained_on_the_page(peers, measured):
    scripts = {path.stem for path in FOLDER.glob("[!_]*.py")} - {"all"}
    assert scripts == set(peers.CHECKS) == set(measured)
    meanings = PAGE.read_text(encoding="utf-8").split(peers.END)[1]
    assert scripts == set(re.findall(r"^- \*\*.+?\*\* \(`(\w+)\.py`\)", meanings, re.MULTILINE))


def test_what_was_measured_is_of_the_releases_that_are_asked_for(measured):
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (FOLDER / "requirements.txt").read_text(), re.MULTILINE))
    assert {kept["peer"]: kept["version"] for kept in measured.values()}.items() <= pins.items()


def test_a_peer_that_is_not_installed_is_left_out_by_name(peers, monkeypatch, capsys):
    monkeypatch.setitem(peers.CHECKS, "eegdash_subjects", "no-such-distribution")
    assert peers.run("eegdash_subjects") is None
    assert "eegdash_subjects: left out" in capsys.readouterr().out


@pytest.mark.peers
@pytest.mark.parametrize("script", sorted(path.stem for path in FOLDER.glob("[!_]*.py") if path.stem != "all"))
def test_a_peer_does_what_the_page_says(peers, measured, script):
    kept = measured[script]
    try:
        found = version(kept["peer"])
    except PackageNotFoundError:
        pytest.skip(f"{kept['peer']} is not installed: pip install --no-deps -r benchmarks/peers/requirements.txt")
    if found != kept["version"]:
        pytest.skip(f"{kept['peer']} {found} is installed, {kept['version']} was measured")
    assert peers.run(script)["found"] == kept["found"]
