"""Ask pip-audit about known vulnerabilities, and say what could not be asked.

pip-audit ends with success where the service knows none of the packages, as a mirror without the part
that it asks does not: here a package that was not looked up is never counted as clean.

Ends with 1 where a vulnerability is known, with 2 where nothing could be looked up and ``--strict``
is given, else with 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def pins(path: Path) -> list[str]:
    """Return the lines ``name==version`` of a file of constraints."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if "==" in line]


def ask(requirements: Path) -> tuple[list[dict[str, Any]], str]:
    """Return pip-audit's answer for each package, and what it said where it gave none."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    done = subprocess.run(
        [*command, "--format", "json", "--requirement", str(requirements)], capture_output=True, text=True, check=False
    )
    try:
        return json.loads(done.stdout)["dependencies"], ""
    except (ValueError, KeyError, TypeError):
        return [], (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]


def told(answers: list[dict[str, Any]], n_asked: int, fault: str) -> tuple[int, list[str]]:
    """Return how many vulnerabilities are known, and the lines that say it."""
    looked_up = [one for one in answers if "skip_reason" not in one]
    lines = [
        f"{one['name']} {one['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no version yet'}"
        for one in looked_up
        for found in one["vulns"]
    ]
    n_found = len(lines)
    lines.append(f"{n_found} known vulnerabilities in {len(looked_up)} of {n_asked} packages that were looked up")
    if len(looked_up) < n_asked:
        why = fault or "the service does not know them; a mirror of the package index may lack what pip-audit asks"
        lines.append(f"NOT looked up: {n_asked - len(looked_up)} packages ({why})")
    return n_found, lines


def main() -> int:
    """Ask about the pinned versions, and print what came."""
    parser = argparse.ArgumentParser()
    parser.add_argument("constraints", type=Path)
    parser.add_argument("--strict", action="store_true", help="fail where nothing could be looked up")
    asked = parser.parse_args()
    answers, fault = ask(asked.constraints)
    n_found, lines = told(answers, len(pins(asked.constraints)), fault)
    print(*lines, sep="\n")
    nothing = not any("skip_reason" not in one for one in answers)
    return 1 if n_found else 2 if nothing and asked.strict else 0


if __name__ == "__main__":
    sys.exit(main())
