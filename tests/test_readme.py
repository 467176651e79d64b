"""The README's example runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def example() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    return block


def test_example_is_short_and_compiles():
    lines = [line for line in example().splitlines() if line.strip()]
    assert len(lines) <= 15
    compile(example(), str(README), "exec")


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
