"""What is built for ``try_dist.py``: wheels and sdists, and whether they hold what they should and nothing else."""

import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

from fresh_environments import ROOT, Workshop, check, run, say

PROJECTS = {
    tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]: folder
    for folder in (ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")))
}
# Its pyproject.toml is the one of the tutorial, which has no README.
WITHOUT_README = "biot_bd_tutorial"
# By path in the sdist: what its tests and its documentation need.
SDIST_HAS = (
    "biot_bd/",
    "tests/",
    "docs/",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
    "requirements/",
    "pyproject.toml",
    "PKG-INFO",
)


def build(workshop: Workshop, python: Path | None = None, into: Path | None = None) -> None:
    """Build the sdist of each project, and its wheel from that sdist."""
    for name, folder in PROJECTS.items():
        words = ("-m", "build", "--no-isolation", "--outdir", into or workshop.packages, folder)
        run(python or workshop.bin / "python", *words, cwd=workshop.work)
        say(f"{name}: sdist and wheel")


def inspect(workshop: Workshop) -> None:
    """Check what the packages hold, and that the tree and the sdist give the same wheel."""
    files = sorted(workshop.packages.iterdir())
    check(len(files) == 2 * len(PROJECTS), f"expected a wheel and an sdist of each of {list(PROJECTS)}, found {files}")
    described = [path for path in files if not path.name.startswith(WITHOUT_README)]
    run(workshop.bin / "twine", "check", "--strict", *described, cwd=workshop.work)
    # W002, the same file twice: the shipped model and its export are folders that stand alone.
    run(workshop.bin / "check-wheel-contents", "--ignore", "W002", workshop.packages, cwd=workshop.work)
    tree = workshop.work / "wheels-of-the-tree"
    for name, folder in PROJECTS.items():
        words = ("-m", "build", "--no-isolation", "--wheel", "--outdir", tree, folder)
        run(workshop.bin / "python", *words, cwd=workshop.work)
        wheel = workshop.wheel(name)
        same = _contents(wheel) == _contents(tree / wheel.name)
        check(same, f"{name}: the wheel of the sdist differs from the wheel of the tree")
        _only_what_git_has(name, folder, wheel)
        _licence_and_types(name, wheel)
    _sdist_is_whole(workshop)
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.2f} MB" for path in files)
    say(f"wheels hold the files that git has, nothing else; the sdist builds the same wheel ({sizes})")


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _only_what_git_has(name: str, folder: Path, wheel: Path) -> None:
    """Compare with git: package data is not forgotten, and nothing that lies about gets in."""
    package = name.replace("-", "_")
    source = folder if folder == ROOT else folder / "src"
    listed = subprocess.run(
        ["git", "ls-files", "-z", package], cwd=source, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    expected = {path for path in listed if path}
    found = {path for path in _contents(wheel) if ".dist-info/" not in path}
    check(expected, f"{name}: git knows no file of {source / package}")
    check(found == expected, f"{name}: the wheel and git differ in {sorted(found ^ expected)[:10]}")


def _licence_and_types(name: str, wheel: Path) -> None:
    names = _contents(wheel)
    own = f"{wheel.name.split('-')[0]}-{wheel.name.split('-')[1]}.dist-info"
    metadata = names[f"{own}/METADATA"].decode()
    check("License-Expression: BSD-3-Clause" in metadata, f"{name}: METADATA names no licence")
    check("Requires-Python: >=3.11" in metadata, f"{name}: METADATA names no Python")
    if name == "biot-bd":
        check("biot_bd/py.typed" in names, f"{name}: py.typed is not in the wheel")
        check(f"{own}/licenses/LICENSE" in names, f"{name}: the licence is not in the wheel")


def _sdist_is_whole(workshop: Workshop) -> None:
    (path,) = workshop.packages.glob("biot_bd-*.tar.gz")
    with tarfile.open(path) as archive:
        names = [name.split("/", 1)[1] for name in archive.getnames() if "/" in name]
    for part in SDIST_HAS:
        check(any(name.startswith(part) for name in names), f"{path.name}: nothing of {part} in it")
    strays = [name for name in names if name.endswith((".pyc", ".pkl")) or "__pycache__" in name]
    check(not strays, f"{path.name}: strays {strays[:5]}")
