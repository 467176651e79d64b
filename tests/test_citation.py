"""CITATION.cff says what the package says, in the form of the Citation File Format 1.2.0."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
yaml = pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_has_what_the_format_requires(citation):
    """The required keys of the schema, and those of every reference."""
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] in ("software", "dataset")
    for reference in citation["references"]:
        assert {"authors", "title", "type"} <= set(reference)
        assert reference["authors"]
        for author in reference["authors"]:
            assert "name" in author or "family-names" in author
    assert all(re.fullmatch(r"10\.\d{4,9}(\.\d+)?/\S+", one["doi"]) for one in citation["references"] if "doi" in one)


def test_it_agrees_with_the_package(citation):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project["authors"]]
