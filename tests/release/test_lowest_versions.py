"""The file of lowest versions says what pyproject.toml says; `make dist` installs it."""

import tomllib
from pathlib import Path

import pytest
from extra_uses import USES
from lowest_versions import SMOKE, lowest_of, without_torch
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_listed_versions_are_the_lower_bounds(project):
    listed = {canonicalize_name(name): Version(version) for name, version in without_torch().items()}
    bounds = {canonicalize_name(name): Version(low) for name, low in lowest_of(project["dependencies"]).items()}
    assert bounds.pop("torch") == Version("2.13")
    differing = {name: (low, listed.get(name)) for name, low in bounds.items() if listed.get(name) != low}
    assert differing == {}, "raise a bound, then: python tests/release/lowest_versions.py"


def test_torch_is_allowed_from_the_tested_version_on(project):
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    (pinned,) = (Version(line.partition("==")[2]) for line in lines if line.startswith("torch=="))
    assert Version(lowest_of(project["dependencies"])["torch"]).release == pinned.release[:2]


def test_what_make_dist_tries_is_there(project):
    assert set(USES) == set(project["optional-dependencies"])
    assert all((ROOT / "tests" / name).exists() for name in SMOKE)


def test_the_runtime_and_the_plugins_allow_no_older_versions_than_the_core(project):
    core = lowest_of(project["dependencies"])
    lines = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8").splitlines()
    needs = {"runtime.txt": [line for line in lines if line and not line.startswith("#")]}
    for path in ROOT.glob("plugins/*/pyproject.toml"):
        wanted = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]
        needs[path.parent.name] = [text for text in wanted if not text.startswith("biot-bd")]
    shared = [(where, *one) for where, texts in needs.items() for one in lowest_of(texts).items() if one[0] in core]
    assert len(shared) > 15
    assert [(where, name) for where, name, low in shared if Version(low) != Version(core[name])] == []
