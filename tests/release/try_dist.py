"""Build the packages, install them in fresh environments and use them as a stranger does; `make dist` runs it.

``python tests/release/try_dist.py FOLDER [PART ...]``, by a Python that has biot_bd with its test extra.
Parts, in this order by default: inspect, core, extras (after core), lowest, python313.  FOLDER must be new.
With ``DIST_TIMES=1`` each command's seconds are printed.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import built_packages
import lowest_versions
from extra_uses import USES
from fresh_environments import CONSTRAINTS, ROOT, Environment, Workshop, check, run, say, this_torch

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PLUGINS = [name for name in built_packages.PROJECTS if name != "biot-bd"]
# Bring a server or a hundred packages; tried by the tests of their own environments.
HEAVY_PLUGINS = {"biot-bd-mlflow"}
SMALL = ("--param", "module__embed_dim=16", "--param", "module__num_layers=1", "--param", "module__num_heads=2")
REVEALED = ("list[float]", "biot_bd.signals.mapper.MontageMapper")


def core(workshop: Workshop) -> None:
    """Install the wheel and the plugins' with pinned versions, and go the way from the demo to events."""
    environment = workshop.environment("core", workshop.wheel("biot-bd"), this_torch(), options=("-c", CONSTRAINTS))
    _from_demo_to_events(environment, workshop.work / "core")
    _types(environment, workshop)
    light = [workshop.wheel(name) for name in PLUGINS if name not in HEAVY_PLUGINS]
    environment.install(*light, options=("-c", CONSTRAINTS))
    listed = environment.biot_bd("plugins", "--json")
    for name in sorted({*PLUGINS} - HEAVY_PLUGINS):
        check(name in listed, f"biot-bd plugins does not list {name}:\n{listed}")
    say(f"the wheels of {', '.join(sorted({*PLUGINS} - HEAVY_PLUGINS))} are found by the core")
    environment.remove()


def _from_demo_to_events(environment: Environment, made: Path) -> None:
    """Leave recordings, windows and a small model in `made`."""
    version = environment.biot_bd("--version").strip()
    check(version == f"biot-bd {PROJECT['version']}", f"biot-bd --version says {version}")
    where = environment.code("import biot_bd; print(biot_bd.__file__)")
    check("site-packages" in where, f"biot_bd comes from {where}, not from the wheel")
    environment.biot_bd("demo", made, "--epochs", "1", "--jobs", "2")
    check((made / "run" / "report.html").is_file(), "the demo wrote no report")
    environment.biot_bd("train", made / "windows", "-o", made / "model", "--epochs", "1", *SMALL)
    (recording, *_) = sorted((made / "recordings").rglob("*.edf"))
    for model, name in ((made / "model", "detected"), *_shipped_model()):
        environment.biot_bd("detect", model, recording, "-o", made / name, "--html")
        check(any((made / name).rglob("*_events.tsv")), f"detect {model} wrote no table of events")
        check(any((made / name).rglob("*_report.html")), f"detect {model} wrote no page")
    say(f"{version} ran its demo, trained, and detected with {1 + len(_shipped_model())} models")


def _shipped_model() -> list[tuple[str, str]]:
    """Return the name of the model in the wheel, where the tree has one."""
    return [("demo", "detected-demo")] if (ROOT / "biot_bd" / "deploy" / "demo_model").is_dir() else []


def _types(environment: Environment, workshop: Workshop) -> None:
    """Let mypy read the types of the installed wheel, as a stranger's checker does."""
    client = workshop.work / "typed_client.py"
    shutil.copyfile(ROOT / "tests" / "release" / client.name, client)
    words = ("-m", "mypy", "--python-executable", environment.python, "--ignore-missing-imports")
    told = run(sys.executable, *words, "--config-file=", client, cwd=workshop.work)
    for text in REVEALED:
        check(text in told, f"mypy reads no {text} from the wheel:\n{told}")
    say("mypy reads the types of the wheel (py.typed)")


def extras(workshop: Workshop) -> None:
    """Install each optional part alone, and use it."""
    declared = set(PROJECT["optional-dependencies"])
    check(declared == set(USES), f"pyproject.toml and extra_uses.py name other parts: {sorted(declared ^ set(USES))}")
    check((workshop.work / "core").is_dir(), "the extras use what the part core makes; run it, too")
    for name, use in USES.items():
        begin = time.perf_counter()
        wheel = f"biot-bd[{name}] @ {workshop.wheel('biot-bd').as_uri()}"
        environment = workshop.environment(f"extra-{name}", wheel, this_torch(), options=("-c", CONSTRAINTS))
        use(environment, workshop.work / "core")
        environment.remove()
        say(f"[{name}] installed alone and used ({time.perf_counter() - begin:.0f} s)")


def lowest(workshop: Workshop) -> None:
    """Install the lowest versions that pyproject.toml allows, but this torch, and run the same and quick tests."""
    versions = lowest_versions.without_torch()
    options = ("-c", lowest_versions.LISTED)
    environment = workshop.environment("lowest", workshop.wheel("biot-bd"), this_torch(), options=options)
    found = json.loads(environment.code(lowest_versions.INSTALLED, *versions))
    check(found == versions, f"installed other versions than {lowest_versions.LISTED}: {found}")
    _from_demo_to_events(environment, workshop.work / "lowest")
    environment.install("pytest", "pytest-xdist", "hypothesis", "huggingface_hub", options=options)
    tests = [ROOT / "tests" / name for name in lowest_versions.SMOKE]
    # What Typer and Click say of an unknown option changed with their versions.
    left_out = "--deselect=tests/test_cli.py::test_unknown_command_and_option_are_bad_arguments"
    words = ("-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml", left_out)
    environment.run_python(*words, *tests, PYTHONWARNINGS="")
    environment.remove()
    say(f"the {len(versions)} lowest versions ran the demo and {len(tests)} files of tests, with {this_torch()}")


def python313(workshop: Workshop) -> None:
    """On Python 3.13, where it is there: build, install without dependencies, run the torch-free runtime."""
    python = _python("3.13")
    if python is None:
        say("NOT RUN on Python 3.13: there is none here (python3.13 on the path, or one of pyenv)")
        return
    tools = workshop.environment("tools-3.13", "build", "hatchling", python=python, options=("-c", CONSTRAINTS))
    into = workshop.folder / "packages-3.13"
    built_packages.build(workshop, tools.python, into)
    (wheel,) = into.glob("biot_bd-[0-9]*.whl")
    needs = ("-r", ROOT / "requirements" / "runtime.txt", "onnxruntime", "openvino")
    environment = workshop.environment("runtime-3.13", *needs, python=python, options=("-c", CONSTRAINTS))
    environment.install(wheel, options=("--no-deps",))
    made = workshop.work / "runtime"
    maker = ROOT / "tests" / "runtime" / "make_models.py"
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    subprocess.run(
        [sys.executable, "-W", "ignore", maker, made], env=os.environ | path, check=True, stdout=subprocess.DEVNULL
    )
    environment.run_python(ROOT / "tests" / "runtime" / "try_runtime.py", made)
    version = environment.code("import platform; print(platform.python_version())").strip()
    say(f"Python {version}: sdists and wheels built, installed without dependencies, the torch-free runtime ran")


def _python(version: str) -> str | None:
    """Return a Python of this version that starts, of the path or of pyenv, whose stand-in on the path may not."""
    found = [shutil.which(f"python{version}")]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True).stdout.strip()
        found += sorted(map(str, Path(root).glob(f"versions/{version}.*/bin/python{version}")), reverse=True)
    for path in filter(None, found):
        if subprocess.run([path, "-c", "import venv, ssl"], capture_output=True).returncode == 0:
            return path
    return None


PARTS = {part.__name__: part for part in (built_packages.inspect, core, extras, lowest, python313)}


def main(folder: Path, names: list[str]) -> None:
    check(not folder.exists(), f"{folder} is there; name a new folder")
    unknown = sorted(set(names) - set(PARTS))
    check(not unknown, f"no part {unknown}; there are {', '.join(PARTS)}")
    workshop = Workshop(folder)
    workshop.set_up()
    built_packages.build(workshop)
    for name, part in PARTS.items():
        if not names or name in names:
            begin = time.perf_counter()
            part(workshop)
            say(f"{name} took {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
