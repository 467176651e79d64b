"""Made-up distributions on the path of a fresh interpreter, for tests of plugins and commands."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

GOOD = """
from biot_bd.hookspecs import hookimpl

def load(root):
    return "recordings of " + root

@hookimpl
def register_datasets(register):
    register("good-set", load)
"""


class World:
    """A folder of made-up distributions, and an interpreter that sees them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def distribution(self, name, code, *, version="1.2", points=None, folder=None):
        root = folder or self.root
        root.mkdir(exist_ok=True)
        (root / f"{name}.py").write_text(textwrap.dedent(code))
        info = root / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        points = points or f"[biot_bd]\n{name} = {name}\n"
        (info / "entry_points.txt").write_text(points)

    def run(self, code, *, path=(), **environment):
        folders = os.pathsep.join(map(str, [self.root, *path]))
        env = dict(os.environ, PYTHONPATH=folders, PYTHONWARNINGS="default", **environment)
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=env, timeout=120
        )

    def report(self, code, **environment):
        """Run code that sets ``result`` and return it, with stderr."""
        done = self.run(f"{textwrap.dedent(code)}\nimport json; print(json.dumps(result))", **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr
