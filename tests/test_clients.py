"""The table of other people's tools: every check has its line, and outcomes are told apart rightly."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from biot_bd import PercentileScaler
from biot_bd.exceptions import SubjectLeakError
from biot_bd.signals.subject_array import SubjectArray

FOLDER = Path(__file__).parents[1] / "benchmarks"
PAGE = FOLDER.parent / "docs" / "clients.md"


@pytest.fixture(scope="module")
def clients():
    sys.path.insert(0, str(FOLDER))
    try:
        import clients

        clients.load_checks()
        yield clients
    finally:
        sys.path.remove(str(FOLDER))
        for name in [name for name in sys.modules if name == "clients" or name.partition(".")[0] == "_clients"]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def checks(clients):
    return sys.modules["_clients.checks"]


def lines_of(page):
    """Return (client, tool) of each line of the tables between the marks."""
    text = page.partition("<!-- made by benchmarks/clients.py: begin -->")[2].partition("<!-- made by")[0]
    found = []
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        client, _, body = part.partition("\n")
        found += [(client, tool) for tool in re.findall(r"^\| `([^`]+)` \|", body, flags=re.MULTILINE)]
    return found


def test_the_page_has_a_line_for_every_check_and_no_other(clients, checks):
    known = [(entry.client, entry.tool) for entry in checks.CHECKS]
    assert len(set(known)) == len(known)
    names = {client for client, _ in known}
    assert [line for line in lines_of(PAGE.read_text(encoding="utf-8")) if line[0] in names] == known


def test_what_cannot_work_has_its_reason(checks):
    assert [entry.tool for entry in checks.CHECKS if "fails" in entry.expected.values() and not entry.why] == []


def error_of(function):
    with pytest.raises(Exception) as caught:
        function()
    return caught.value


def raises(error):
    raise error


def test_outcomes_are_told_apart(checks):
    refused = [
        error_of(lambda: raises(SubjectLeakError("mixed"))),
        error_of(lambda: SubjectArray(np.zeros((4, 1)), ["a"])),  # a ValueError that our code raised
    ]
    assert [checks.judged(error)[0] for error in refused] == ["refused", "refused"]
    failed = [
        error_of(lambda: raises(ValueError("theirs"))),
        error_of(lambda: PercentileScaler().fit()),  # a mistake that Python found
        error_of(lambda: checks.same([1.0], [2.0])),
        error_of(lambda: checks.true(False, "it holds")),
    ]
    assert [checks.judged(error)[0] for error in failed] == ["fails"] * 4
    assert checks.judged(error_of(lambda: checks.missing("json", "no_such_package"))) == (
        "left out",
        "needs no_such_package, not installed where the table was made",
    )


@pytest.mark.parametrize(
    ("found", "truth", "tolerance"),
    [([1.0, 2.0], [1.0, 2.0 + 1e-6], 0), ([1.0], [1.1], 0.05), ([float("nan")], [1.0], 0.1), ([1, 2], [[1, 2]], 1)],
)
def test_what_is_not_the_same_is_told(checks, found, truth, tolerance):
    with pytest.raises(checks.UntrueError):
        checks.same(found, truth, tolerance=tolerance)


def test_what_is_the_same_passes(checks):
    checks.same([1.0, 2.0], [1.0, 2.0])
    checks.same([1.0], [1.04], tolerance=0.05)
    checks.same(["a", "b"], ["a", "b"])


def made(checks, function, limit_s=20.0):
    return checks.Check("client", "tool", "what", lambda world, variant: function(), {"": "works"}, "", limit_s)


def test_a_check_that_hangs_or_dies_ends_in_its_own_process(checks):
    start = time.monotonic()
    slow = checks.run(made(checks, lambda: time.sleep(60), limit_s=0.4), None, "")
    assert (slow.kind, slow.line) == ("fails", "no end within 0 s")
    assert time.monotonic() - start < 20
    gone = checks.run(made(checks, lambda: os._exit(3)), None, "")
    assert (gone.kind, gone.line) == ("fails", "its process ended with 3")
    well = checks.run(made(checks, lambda: "3 of 4"), None, "")
    assert (well.kind, well.line) == ("works", "3 of 4")


def test_the_tables_stand_between_the_marks(clients, checks, tmp_path):
    entry = checks.Check("Client", "Tool", "a | b", print, {"off": "works", "on": "refused"}, "why <so>")
    found = {
        entry: {
            "off": checks.Outcome("fails", f"ValueError: {tmp_path}/file.npy at 0x7f00 is bad"),
            "on": checks.Outcome("refused", "SplitError: in short"),
        }
    }
    page = tmp_path / "page.md"
    page.write_text(f"before\n{clients.BEGIN}\nof a former run\n{clients.END}\nafter\n")
    clients.write_page(found, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "of a former run" not in text
    line = "| `Tool` | a \\| b | **fails: ValueError: …/file.npy is bad** (should be: works) | refused: SplitError | why &lt;so> |"
    assert line in text.splitlines()
    assert "- `SplitError`, for example: in short" in text
    assert "Outcomes: 1 refused, 1 fails." in text
    assert clients.wrong(found) == ["Tool off"]
    (tmp_path / "other.md").write_text("no marks")
    with pytest.raises(SystemExit, match="lacks the marks"):
        clients.write_page(found, tmp_path / "other.md")


def test_outcomes_of_former_runs_are_kept(clients, checks, tmp_path, monkeypatch):
    path, (first, second, third, *_) = tmp_path / "clients.json", checks.CHECKS
    outcomes = {entry: {v: checks.Outcome("works", "", 1.5) for v in entry.expected} for entry in (first, second)}
    alone = clients.keep({second: outcomes[second]}, path)
    assert list(alone) == checks.CHECKS
    assert alone[second] == outcomes[second]
    assert {outcome.line for outcome in alone[first].values()} == {"not run yet"}
    both = clients.keep({first: outcomes[first]}, path)
    assert (both[first], both[second]) == (outcomes[first], outcomes[second])
    other = {second: {v: checks.Outcome("fails", "now") for v in second.expected}}
    found = clients.keep(other, path)
    assert (found[first], found[second]) == (outcomes[first], other[second])
    assert {outcome.kind for outcome in found[third].values()} == {"left out"}
    monkeypatch.setattr(clients, "installed", lambda: {"numpy": "0"})
    with pytest.raises(SystemExit, match="other versions"):
        clients.keep({first: outcomes[first]}, path)


@pytest.mark.slow
def test_scikit_learns_tools_do_what_the_page_says():
    command = [sys.executable, "-W", "ignore", str(FOLDER / "clients.py"), "--only", "tools that split", "--no-page"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Outcomes: 28 works, 28 refused." in done.stdout
