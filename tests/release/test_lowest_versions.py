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
