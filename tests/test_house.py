"""Rules of the house that no linter holds."""

import importlib
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

import biot_bd

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("biot_bd", "tests", "plugins", "docs", "experiments", "benchmarks", ".ci")
CODE = {".py", ".toml", ".cfg", ".sh", ".md", ".html", ".jinja", ".j2", ".css", ".js", ".yml", ".yaml", ""}
SKIPPED = {
    ".git",
    "baseline-environment",
    "__pycache__",
    "build",
    "dist",
    ".hypothesis",
    ".pytest_cache",
    ".ruff_cache",
    ".mypy_cache",
}
MADE_BY_MAKE_DOCS = {Path("docs") / name for name in ("_build", "examples", "outside", "reference")}
# Taken apart, so that this file passes its own test.
MACHINE_PATHS = re.compile(
    "|".join(rf"(?<![\w.~])/{name}/\w" for name in ("work", "root", "home", "Users", "tmp", "mnt"))
)


def own_files():
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    kept = [p for p in found if p.suffix in CODE and not SKIPPED & set(p.parts) and ".egg-info" not in str(p)]
    return sorted(p for path in kept if not MADE_BY_MAKE_DOCS & {*(p := path.relative_to(ROOT)).parents})


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def test_the_walk_finds_the_files():
    assert {Path("biot_bd/registry.py"), Path("tests/test_house.py"), Path("pyproject.toml")} <= set(own_files())


def test_modules_of_tests_have_names_of_their_own():
    # pytest puts their folders on one path, so of two with one name the first would be imported for both.
    names = [path.name for path in own_files() if path.suffix == ".py" and "tests" in path.parts]
    assert sorted({name for name in names if names.count(name) > 1} - {"conftest.py"}) == []


def test_no_paths_of_one_machine():
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in own_files()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]
    assert found == []


def test_machine_paths_are_recognised():
    assert MACHINE_PATHS.search("see /{}/x".format("work"))
    assert MACHINE_PATHS.search("open('/{}/x')".format("tmp"))
    assert not MACHINE_PATHS.search("docs/home/x ~/tmp/x")


def test_names_promised_to_others_are_public():
    promised = """load_dataset prepare Windows MontageMapper Resampler PercentileScaler BIOT BIOTClassifier FocalLoss
        cross_validate record_attention save_pipeline load_pipeline BiotBdError SubjectSplit EventDetector Event Result
        fit_all write_report Overlap AttentionProbe"""
    assert set(promised.split()) <= set(biot_bd.__all__)


LAZY_ROOMS = ["biot_bd", *(f"biot_bd.{stub.parent.name}" for stub in sorted(ROOT.glob("biot_bd/*/__init__.pyi")))]


@pytest.mark.parametrize("module", ["biot_bd.registry", "biot_bd.cli", "biot_bd.runs", "biot_bd.testing", *LAZY_ROOMS])
def test_light_modules_stay_light(module):
    heavy = ("torch", "torchaudio", "mne", "braindecode", "sklearn", "pandas", "scipy", "matplotlib")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_importing_biot_bd_takes_less_than_a_third_of_a_second():
    # Of the processor, as others may use it; the least of three, as a first import may compile files.
    code = "import time; begin = time.process_time(); import biot_bd; print(time.process_time() - begin)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60) for _ in range(3)]
    assert min(float(done.stdout) for done in runs) < 0.3


@pytest.mark.parametrize("room", LAZY_ROOMS)
def test_public_names_of_lazy_rooms_are_those_of_their_stubs(room):
    module = importlib.import_module(room)
    names = re.findall(r" as (\w+)$", text_of(Path(room.replace(".", "/")) / "__init__.pyi"), re.M)
    assert names
    own = {"__version__"} if room == "biot_bd" else set()
    assert set(module.__all__) == {*names, *own}
    assert set(names) <= set(dir(module))
    assert all(getattr(module, name) is not None for name in names)
    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing


def test_rooms_are_there_without_an_import_of_their_own():
    code = "import biot_bd; print(biot_bd.pretraining.__name__, biot_bd.models.__name__, hasattr(biot_bd, 'nothing'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("biot_bd.pretraining biot_bd.models False", "")


def test_importing_biot_bd_leaves_scikit_learn_as_it_is():
    code = "import sklearn; before = sklearn.get_config(); import biot_bd; biot_bd.BIOTClassifier; print(before == sklearn.get_config())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "True", done.stderr


MODULES = [
    str(path.with_suffix("")).replace("/", ".").removesuffix(".__init__")
    for path in own_files()
    if path.parts[0] == "biot_bd" and path.suffix == ".py"
]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports_and_says_what_it_is_for(module):
    doc = importlib.import_module(module).__doc__
    assert doc
    assert len(doc.split()) > 3, f"{module} needs a docstring that says what it is for"


def test_every_entry_point_of_ours_names_something():
    from biot_bd.cli import find_commands

    for command in find_commands().values():
        if command.distribution == "biot-bd":
            assert command.load().name == command.point.name


def test_the_picture_of_the_floors_shows_the_floors_that_the_linter_holds():
    layers = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    held = [{name for name in re.split(r"\W+", layer) if name} for layer in layers]
    svg = ElementTree.fromstring(text_of("docs/_static/floors.svg"))
    texts = [(float(t.get("y")), t.text) for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    rooms = {re.sub(r"(/|\.py)$", "", text): y for y, text in texts if re.fullmatch(r"\w+(/|\.py)", text)}
    assert set().union(*held) == set(rooms)
    for upper, lower in itertools.pairwise(held):
        assert max(rooms[name] for name in upper) <= min(rooms[name] for name in lower)
