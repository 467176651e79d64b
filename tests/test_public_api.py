"""The public API is written down, and changes only on purpose."""

import difflib
import re
import tomllib
from pathlib import Path

import pytest
from public_api import LISTED, lines_of_name, text_of_the_api

import biot_bd

ROOT = Path(__file__).resolve().parents[1]
UPDATE = "was it meant? then: python tests/public_api.py, and a line in CHANGELOG.md (docs/support.md has the rules)"


@pytest.fixture(scope="module")
def found():
    return text_of_the_api()


def test_the_public_api_is_the_one_that_is_written_down(found):
    listed = LISTED.read_text(encoding="utf-8")
    difference = list(
        difflib.unified_diff(listed.splitlines(), found.splitlines(), "listed", "found", lineterm="", n=0)
    )
    assert not difference, "\n".join([UPDATE, *difference[:40]])


def test_the_list_has_names_members_hooks_and_options(found):
    lines = found.splitlines()
    assert {f"[biot_bd.{room}]" for room in ("deploy", "windows", "hookspecs")} <= set(lines)
    assert any(line.startswith("biot_bd.hookspecs.register_losses(register") for line in lines)
    begin = lines.index("$ biot-bd detect")
    end = next(number for number, line in enumerate(lines[begin + 1 :], begin + 1) if line.startswith("$ "))
    assert {"    --output/-o VALUE required", "    INPUTS... required", "    --html"} <= set(lines[begin:end])
    missing = {name for name in biot_bd.__all__ if name != "__version__"} - set(re.findall(r"biot_bd\.(\w+)", found))
    assert missing == set()


def test_a_changed_default_and_a_new_parameter_show_in_the_list():
    class Name:
        kind, address = "function", "biot_bd.made_up"

        def __init__(self, obj):
            self.obj = obj

    def lines(obj):
        return lines_of_name(Name(obj), None)

    assert lines(lambda x, y=1: None) == ["biot_bd.made_up(x, y=1)"]
    assert lines(lambda x, y=2: None) != lines(lambda x, y=1: None) != lines(lambda x, y=1, z=0: None)


def test_what_messages_tell_to_install_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    told = {
        (path.relative_to(ROOT).as_posix(), name)
        for folder in ("biot_bd", "docs", "plugins")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md") and "_build" not in path.parts
        for names in re.findall(r"biot-bd\[([\w,-]+)\]", path.read_text(encoding="utf-8"))
        for name in names.split(",")
    }
    assert len({name for _, name in told}) >= 5
    assert sorted(one for one in told if one[1] not in extras) == []
