"""Run every check against the installed releases, keep what was found, write the table of the page.

    make peers                        # installs them into a folder, and tests the page
    python benchmarks/peers/all.py    # or: all.py szcore_missing ...

Each check runs in a process of its own and prints what it found; ``measured.json`` keeps it with
date and version, and ``docs/peers.md`` shows that file between its two marks.  A peer that is not
installed keeps what was found before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).parent
MEASURED = FOLDER / "measured.json"
PAGE = FOLDER.parents[1] / "docs" / "peers.md"
BEGIN, END = "<!-- made by benchmarks/peers/all.py: begin -->", "<!-- made by benchmarks/peers/all.py: end -->"
CHECKS = {  # script -> distribution whose code it runs
    "neuroatlas_channels": "neuroatlas-bench",
    "neuroatlas_sens_fa": "neuroatlas-bench",
    "neuroatlas_folds": "neuroatlas-bench",
    "openeegbench_split": "open-eeg-bench",
    "pyhealth_weights": "pyhealth",
    "neuralbench_adapter": "neuralbench",
    "scitex_events": "scitex-seizure-metrics",
    "eegdash_subjects": "eegdash",
    "szcore_missing": "szcore-evaluation",
}
LAST = (
    "import importlib, json, sys; from importlib.metadata import version; "
    "print(json.dumps([version(sys.argv[2]), importlib.import_module(sys.argv[1]).measure()]))"
)


def run(script: str) -> dict[str, object] | None:
    """Return version, date and findings of a check; None where its peer is not installed."""
    command = [sys.executable, "-W", "ignore", "-c", LAST, script, CHECKS[script]]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=300)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1]
        if "ModuleNotFoundError" in reason or "PackageNotFoundError" in reason:
            print(f"{script}: left out, {reason}", flush=True)
            return None
        raise SystemExit(f"{script}: {done.stderr}")
    release, found = json.loads(done.stdout.splitlines()[-1])
    print(f"{script} ({CHECKS[script]} {release}): {found}", flush=True)
    today = datetime.now(UTC).date().isoformat()
    return {"peer": CHECKS[script], "version": release, "date": today, "found": found}


def show(value: object) -> str:
    return "undefined" if value is None else str(value)


def table(measured: dict[str, dict]) -> str:
    """Return all findings as Markdown."""
    lines = ["| check | release, date | found |", "|---|---|---|"]
    for script, kept in measured.items():
        found = "; ".join(f"{what.strip()}: **{show(value)}**" for what, value in kept["found"].items())
        lines.append(f"| `{script}.py` | {kept['peer']} {kept['version']}, {kept['date']} | {found} |")
    return "\n".join(lines)


def with_table(page: str, measured: dict[str, dict]) -> str:
    """Return the page with the table of what was measured between its marks."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n\n{table(measured)}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Run the named checks, or all."""
    measured = json.loads(MEASURED.read_text()) if MEASURED.is_file() else {}
    for script in sys.argv[1:] or CHECKS:
        kept = run(script)
        if kept is not None:
            measured[script] = kept
    measured = {script: measured[script] for script in CHECKS if script in measured}
    MEASURED.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), measured), encoding="utf-8")


if __name__ == "__main__":
    main()
