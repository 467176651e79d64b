"""The README's example runs as it stands."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def example() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    return block


def test_example_is_short_and_compiles():
    lines = [line for line in example().splitlines() if line.strip()]
    assert len(lines) <= 15
    compile(example(), str(README), "exec")


def targets(name):
    found = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return found["rows"], {goal["what"]: goal["measured"] for goal in found["targets"]}


def test_times_are_those_that_were_measured():
    said = re.search(
        r"preparing an hour of EEG ([\d.]+) s and (\d+) MB on disk,\s+detecting in an hour (\d+) s",
        README.read_text(encoding="utf-8"),
    )
    prepared, goals = targets("preparation")
    assert float(said[1]) == round(next(row["median_s"] for row in prepared if "(default)" in row["way"]), 2)
    assert float(said[2]) == round(goals["disk for an hour"])
    assert float(said[3]) == round(targets("detect")[1]["detecting in an hour, 5 s stride, fp32"])


def test_badges_say_what_the_package_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    badges = dict(
        re.findall(r"!\[([^\]]+)\]\((https://img\.shields\.io/badge/[^)]+)\)", README.read_text(encoding="utf-8"))
    )
    assert f"license-{project['license'].replace('-', '--')}-" in badges["Licence"]
    assert f"python-{project['requires-python'].replace('>=', '%E2%89%A5%20')}-" in badges["Python"]
    assert len(badges) == 3


@pytest.mark.slow
def test_example_runs(tmp_path):
    # Fewer subjects, epochs and features, so that it ends soon; nothing else differs from what users copy.
    code = example()
    for old, new in {
        '"data/demo")': '"data/demo", n_subjects=3, recordings=2)',
        "max_epochs=5": "max_epochs=1",
        "embed_dim=64": "embed_dim=16",
    }.items():
        assert old in code
        code = code.replace(old, new)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    assert "pooled" in done.stdout
    assert (tmp_path / "runs" / "demo" / "metrics.json").is_file()
