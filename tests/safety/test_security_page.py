"""Every row of the page about security names a test, and each of them is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def rows(heading):
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]


@pytest.fixture(scope="module")
def tests():
    found = {}
    for path in [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("plugins/*/tests/test_*.py")]:
        found[path.name] = set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    return found


def test_every_row_of_what_is_not_trusted_has_a_test(tests):
    found = rows("What is not trusted")
    assert len(found) > 25
    for row in found:
        assert len(row) == 4, row
        named = NAMED.findall(row[3])
        assert named, row
        assert NAMED.sub("", row[3]).strip(" ,") == "", row


def test_every_test_that_the_page_names_is_there(tests):
    missing = [f"{file}::{name}" for file, name in NAMED.findall(PAGE) if name not in tests.get(file, ())]
    assert missing == []


def test_the_page_says_that_this_is_for_research_and_how_to_report():
    assert "no medical device" in PAGE
    assert "SECURITY.md" in PAGE
    assert "Report a hole in private" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
