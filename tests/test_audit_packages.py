"""What is said of vulnerabilities: a package that was not looked up is never counted as clean."""

import audit_packages
import pytest

CLEAN = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}


@pytest.mark.parametrize(
    ("answers", "n_asked", "fault", "expected"),
    [
        ([CLEAN], 1, "", ["0 known vulnerabilities in 1 of 1 packages that were looked up"]),
        ([CLEAN, BAD], 2, "", ["b 2: PYSEC-1, mended in 3", "1 known vulnerabilities in 2 of 2 packages"]),
        (
            [SKIPPED],
            1,
            "",
            ["0 known vulnerabilities in 0 of 1 packages", "NOT looked up: 1 packages (the service does"],
        ),
        (
            [],
            5,
            "no route to host",
            ["0 known vulnerabilities in 0 of 5", "NOT looked up: 5 packages (no route to host)"],
        ),
    ],
)
def test_what_was_not_looked_up_is_said(answers, n_asked, fault, expected):
    n_found, lines = audit_packages.told(answers, n_asked, fault)
    assert n_found == sum("PYSEC" in line for line in lines)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("answers", "options", "status"),
    [([CLEAN], [], 0), ([BAD], [], 1), ([SKIPPED], [], 0), ([SKIPPED], ["--strict"], 2), ([], ["--strict"], 2)],
)
def test_the_status_says_what_was_found(tmp_path, monkeypatch, capsys, answers, options, status):
    file = tmp_path / "constraints.txt"
    file.write_text("# pinned\na==1\nb==2  # why\n\n")
    assert audit_packages.pins(file) == ["a==1", "b==2"]
    monkeypatch.setattr(audit_packages, "ask", lambda path: (answers, "not reached"))
    monkeypatch.setattr("sys.argv", ["audit_packages.py", str(file), *options])
    assert audit_packages.main() == status
    assert "of 2 packages" in capsys.readouterr().out
