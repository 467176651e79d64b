"""The lowest versions that pyproject.toml allows, but torch: ``requirements/lowest.txt``.

``python tests/release/lowest_versions.py`` writes that file anew, after a bound was changed.  It needs
uv and the network; transitive packages are the newest that go along.
"""

import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

LISTED = Path(__file__).resolve().parents[2] / "requirements" / "lowest.txt"
HEAD = """\
# The lowest versions of dependencies that pyproject.toml allows (torch is tested in one version, its lowest), and what goes along.
# `make dist` installs and tries them. Written by `python tests/release/lowest_versions.py`.
"""
NOT_LISTED = re.compile(r"(torch|torchaudio|triton|(nvidia|cuda)-.*)==")
INSTALLED = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""
# Quick, and between them they touch every dependency of the core.
SMOKE = (
    "datasets/test_demo.py",
    "datasets/test_moabb_sets.py",
    "io/test_edf.py",
    "io/test_plain_edf.py",
    "signals/test_mapper.py",
    "signals/test_sklearn_checks.py",
    "windows/test_window_table.py",
    "models/test_biot.py",
    "events/test_scoring_of_events.py",
    "training/classifier",
    "evaluation/test_cross_validation.py",
    "test_cli.py",
)


def without_torch() -> dict[str, str]:
    """Return the versions in the file by name."""
    lines = LISTED.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def lowest_of(requirements: list[str]) -> dict[str, str]:
    """Return the lower bound of each requirement, as it is written there."""
    bounds = {}
    for text in requirements:
        requirement = Requirement(text)
        (bounds[requirement.name],) = (
            one.version for one in requirement.specifier if one.operator in (">=", "~=", "==")
        )
    return bounds


def write(uv: str, torch: str) -> None:
    """Resolve the lowest direct versions beside this build of torch."""
    words = [uv, "pip", "compile", "--quiet", "--resolution", "lowest-direct", "--no-header", "--no-annotate"]
    root = LISTED.parents[1]
    command = [*words, "--python-version", "3.11", "--constraint", "-", root / "pyproject.toml"]
    done = subprocess.run(command, input=torch, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = [line for line in done.stdout.splitlines() if not NOT_LISTED.match(line)]
    LISTED.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    from fresh_environments import this_torch

    write(sys.argv[1] if len(sys.argv) > 1 else "uv", this_torch())
