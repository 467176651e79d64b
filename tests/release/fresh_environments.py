"""Fresh environments for ``try_dist.py``, made by uv, which links files from its cache: seconds each, torch included."""

import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
TOOLS = ("build", "check-wheel-contents", "hatchling", "twine")
NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
QUIET = {"OMP_NUM_THREADS": "1", "MNE_LOGGING_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}


class DistError(SystemExit):
    """What was built, or its environment, is not as it should be."""


def check(condition: object, what: str) -> None:
    if not condition:
        raise DistError(f"dist: {what}")


def say(what: str) -> None:
    print(f"dist: {what}", flush=True)


def run(*words: object, cwd: Path, fails: bool = False, **variables: str) -> str:
    """Run a command with nothing of the caller's Python in its surroundings; return its stdout."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    command = [str(word) for word in words]
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=kept | QUIET | variables, capture_output=True, text=True)
    told = f"{' '.join(command)}\nended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    check((done.returncode != 0) == fails, told)
    check("Traceback" not in done.stderr, told)
    if os.environ.get("DIST_TIMES"):
        say(f"{time.perf_counter() - begin:6.1f} s  {' '.join(command)[:110]}")
    return done.stdout


class Workshop:
    """A folder with the tools that build and install, and the built packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.packages = self.folder / "packages"
        self.work = self.folder / "work"
        self.bin = self.folder / "tools" / "bin"

    def set_up(self) -> None:
        """Install uv with pip, and the other tools with uv."""
        for folder in (self.packages, self.work):
            folder.mkdir(parents=True)
        run(sys.executable, "-m", "venv", self.folder / "tools", cwd=self.folder)
        run(self.bin / "python", "-m", "pip", "install", "--quiet", "-c", CONSTRAINTS, "uv", cwd=self.folder)
        self.uv("pip", "install", "--quiet", "--python", self.bin / "python", "-c", CONSTRAINTS, *TOOLS)

    def uv(self, *words: object) -> str:
        passed_on = {f"UV_{name}": os.environ[f"PIP_{name}"] for name in ("FIND_LINKS",) if f"PIP_{name}" in os.environ}
        return run(self.bin / "uv", *words, cwd=self.work, **passed_on)

    def wheel(self, distribution: str) -> Path:
        found = sorted(self.packages.glob(f"{distribution.replace('-', '_')}-[0-9]*.whl"))
        check(len(found) == 1, f"{self.packages}: expected one wheel of {distribution}, found {found}")
        return found[0]

    def environment(
        self, name: str, *packages: object, python: str | None = None, options: tuple = ()
    ) -> "Environment":
        """Make an environment with these packages, in the versions of `options`; an old one of this name goes."""
        place = self.folder / "environments" / name
        self.uv("venv", "--quiet", "--clear", "--python", python or sys.executable, place)
        made = Environment(place, self)
        if packages:
            made.install(*packages, options=options)
        return made


def this_torch() -> str:
    """Name the build of torch that is used here, as the one of PyPI brings gigabytes of CUDA."""
    return f"torch=={version('torch')}"


class Environment:
    """A virtual environment, its commands, and what it takes to throw it away."""

    def __init__(self, folder: Path, workshop: Workshop) -> None:
        self.folder, self._workshop = folder, workshop
        self.python = folder / "bin" / "python"

    def install(self, *packages: object, options: tuple = ()) -> None:
        self._workshop.uv("pip", "install", "--quiet", "--python", self.python, *options, *packages)

    def code(self, text: str, *words: object) -> str:
        return run(self.python, "-c", text, *words, cwd=self._workshop.work)

    def run_python(self, *words: object, **variables: str) -> str:
        return run(self.python, *words, cwd=self._workshop.work, **variables)

    def command(self, name: str, *words: object, **options: bool) -> str:
        return run(self.folder / "bin" / name, *words, cwd=self._workshop.work, **options)

    def biot_bd(self, *words: object, **options: bool) -> str:
        return self.command("biot-bd", *words, **options)

    def remove(self) -> None:
        shutil.rmtree(self.folder)
