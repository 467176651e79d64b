"""Run all benchmarks one after another, then their table.

A script that fails does not stop the others.

Ends with 1 if a script failed, and says which.  ``--quick`` and ``--rounds`` are handed on.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = (
    "preparation",
    "reading",
    "inference",
    "engines",
    "explain",
    "training",
    "pretraining",
    "memory",
    "search",
    "embedding",
    "start_up",
    "detect",
    "light_path",
    "doctor",
    "baseline",
    "gpu",
    "table",
)
FOLDER = Path(__file__).parent


def main() -> None:
    failed, begun = [], time.monotonic()
    for name in SCRIPTS:
        start = time.monotonic()
        words = sys.argv[1:] if name != "table" else []
        code = subprocess.run([sys.executable, str(FOLDER / f"{name}.py"), *words]).returncode
        print(f"-- {name}: {'failed' if code else 'done'} in {time.monotonic() - start:.0f} s", flush=True)
        failed += [name] if code else []
    print(f"-- all: {time.monotonic() - begun:.0f} s; failed: {', '.join(failed) or 'none'}")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
