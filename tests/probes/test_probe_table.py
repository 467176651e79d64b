"""The table of tests of probes: what it says, what it writes and reads."""

import json

import pytest

from biot_bd.probes import ProbeResult, ProbeTable


def row(probe, test, outcome, value=None, **facts):
    return ProbeResult(probe=probe, test=test, outcome=outcome, value=value, **facts)


TABLE = ProbeTable(
    [
        row("a", "x", "passed", 0.95, bound=0.9, title="does x"),
        row("a", "y", "failed", 0.2, bound=0.05, at_least=False, title="does y", reason="over 4 windows"),
        row("a", "z", "not applicable", reason="no maps"),
        row("b", "x", "failed", reason="RuntimeError: broken", title="does x"),
        row("b", "y", "passed", 0.0, bound=0.05, at_least=False),
        row("b", "z", "not applicable", reason="no maps"),
    ],
    {"model": "BIOT", "seeds": (0, 1)},
)


def test_what_failed_is_said_in_words_with_value_and_bound():
    assert TABLE.failed("a") == ["does y: 0.2 (at most 0.05)"]
    assert TABLE.caution("a") == "This probe failed 1 of 2 tests: does y: 0.2 (at most 0.05)."
    assert TABLE.caution("b") == "This probe failed 1 of 2 tests: does x: RuntimeError: broken."
    assert TABLE.failed("unknown") == []
    assert TABLE.caution("unknown") is None


def test_rows_are_found_and_shown_by_probe_and_test():
    assert TABLE.of("b", "y").outcome == "passed"
    with pytest.raises(KeyError, match=r"no test 'q' of probe 'a'; probes: a, b; tests: x, y, z"):
        TABLE.of("a", "q")
    overview = TABLE.overview()
    assert overview.loc["a"].tolist() == ["passed 0.95", "failed 0.2", "-"]
    assert overview.loc["b"].tolist() == ["failed", "passed 0", "-"]
    frame = TABLE.as_frame()
    assert len(frame) == len(TABLE) == 6
    assert frame[frame.outcome == "failed"].probe.tolist() == ["a", "b"]


def test_what_is_saved_is_read_back(tmp_path):
    TABLE.save(tmp_path / "tests.json")
    again = ProbeTable.load(tmp_path / "tests.json")
    assert again.rows == TABLE.rows
    assert again.info == {"model": "BIOT", "seeds": [0, 1]}


@pytest.mark.parametrize(
    ("key", "value"), [("version", 2), ("rows", [{}]), ("rows", "none"), ("format", "other"), ("info", None)]
)
def test_damaged_files_are_named(tmp_path, key, value):
    file = tmp_path / "tests.json"
    TABLE.save(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=r"tests\.json"):
        ProbeTable.load(file)
    facts = json.loads(file.read_text())
    del facts[key]
    file.write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"tests\.json"):
        ProbeTable.load(file)


def test_no_silent_passes():
    with pytest.raises(ValueError, match="needs a reason"):
        row("a", "x", "not applicable")
    with pytest.raises(ValueError, match="outcome must be one of"):
        row("a", "x", "skipped")
