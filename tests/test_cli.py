"""The command line, in fresh processes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from plugin_world import GOOD, World

import biot_bd
from biot_bd import cli

CLI = [sys.executable, "-c", "import sys; from biot_bd.cli import main; sys.exit(main())"]

COMMAND = """
import os
from typing import Annotated
import typer

def greet(name: str, loud: Annotated[bool, typer.Option("--loud")] = False) -> int:
    '''Greet somebody.

    Kindly.

    Parameters
    ----------
    name : str
        Whom.
    '''
    print("HELLO" if loud else "hello", name)
    return 7

def fail(kind: str):
    '''Fail in a certain way.'''
    errors = {
        "value": ValueError("3 channels expected,\\n  found 2"), "os": FileNotFoundError(2, "No such file", "a.edf"),
        "key": KeyError("onset"), "runtime": RuntimeError("diverged"), "bug": TypeError("a bug"),
        "assertion": AssertionError(), "exit": SystemExit("told so"), "interrupt": KeyboardInterrupt(),
        "import": ImportError("pip install pyedflib"), "recursion": RecursionError("too deep"), "empty": ValueError(),
    }
    raise errors[kind]

app = typer.Typer(help="Two more.")

@app.command()
def one(): print("one")

@app.command()
def two(): raise typer.Exit(5)

single = typer.Typer()

@single.command()
def only(): print("only")

notacommand = 7
"""
POINTS = """[biot_bd.commands]
greet = extra:greet
fail = extra:fail
more = extra:app
single = extra:single
nota = extra:notacommand
gone = extra:does_not_exist
datasets = extra:greet
"""


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.distribution("extra", COMMAND, points=POINTS)
    return world


def run(*args, world=None, **environment):
    env = dict(os.environ, **environment)
    env.pop("BIOT_BD_DEBUG", None) if "BIOT_BD_DEBUG" not in environment else None
    if world is not None:
        env["PYTHONPATH"] = str(world.root)
    return subprocess.run([*CLI, *args], capture_output=True, text=True, env=env, timeout=120)


def one_line(done, status):
    """Check the exit status and that stderr is one line; return it."""
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.rstrip("\n")


def test_help_lists_every_command_of_this_step():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name in (
        "demo",
        "plugins",
        "datasets",
        "prepare",
        "train",
        "cv",
        "explain",
        "report",
        "bench",
        "detect",
        "score",
        "stream",
    ):
        assert f"\n  {name} " in done.stdout
    assert run("-h").stdout == done.stdout


def test_the_console_script_is_the_same():
    script = Path(sys.executable).with_name("biot-bd")
    assert subprocess.run([script, "--help"], capture_output=True, text=True).stdout == run("--help").stdout


def test_every_built_in_command_has_a_summary_of_its_own():
    ours = {name for name, command in cli.find_commands().items() if command.distribution == "biot-bd"}
    assert ours == set(cli.SUMMARIES)
    assert len(set(cli.SUMMARIES.values())) == len(ours)


HEAVY = ("torch", "mne", "pandas", "sklearn", "scipy", "braindecode", "matplotlib", "numpy", "rich")


@pytest.mark.parametrize(
    ("args", "light"), [(["--help"], HEAVY), (["plugins", "--json"], HEAVY[:-2]), (["plugins"], HEAVY[:-2])]
)
def test_heavy_packages_stay_out(args, light):
    code = f"""
    import sys
    from biot_bd.cli import main
    status = main({args})
    print([name for name in {light} if name in sys.modules], file=sys.stderr)
    sys.exit(status)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_version():
    assert run("--version").stdout == f"biot-bd {biot_bd.__version__}\n"


def test_no_command_shows_the_help_and_fails():
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "Commands:" in done.stderr


def test_unknown_command_and_option_are_bad_arguments(world):
    assert one_line(run("plugin"), 2).startswith("biot-bd: No such command 'plugin'.")
    assert one_line(run("--nope"), 2).startswith("biot-bd: No such option: --nope")
    assert one_line(run("plugins", "--nope"), 2).startswith("biot-bd plugins: No such option: --nope")
    assert one_line(run("plugins", "surplus"), 2).startswith("biot-bd plugins: Got unexpected extra argument")
    assert "biot-bd greet: Missing argument 'name'" in one_line(run("greet", world=world), 2)
    assert one_line(run("more", "three", world=world), 2).startswith("biot-bd more: No such command 'three'.")


def test_commands_of_others_run(world):
    done = run("greet", "you", world=world)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello you\n", "")  # the 7 it returns is no exit status
    assert run("greet", "you", "--loud", world=world).stdout == "HELLO you\n"
    assert run("more", "one", world=world).stdout == "one\n"
    assert run("more", "two", world=world).returncode == 5
    assert run("single", "only", world=world).stdout == "only\n"


def test_help_names_the_distribution_and_imports_nothing_of_it(world):
    (world.root / "extra.py").write_text("print('imported')")
    done = run("--help", world=world)
    assert "Command of extra." in done.stdout
    assert "imported" not in done.stdout
    assert done.stderr == ""


def test_help_of_a_command_leaves_out_the_numpydoc_sections(world):
    text = run("greet", "--help", world=world).stdout
    assert "Greet somebody." in text
    assert "Kindly." in text
    assert "Parameters" not in text
    assert "--install-completion" not in run("more", "--help", world=world).stdout


FAILURES = {
    "value": "biot-bd fail: 3 channels expected, found 2",
    "os": "biot-bd fail: [Errno 2] No such file: 'a.edf'",
    "key": "biot-bd fail: KeyError: 'onset'",
    "runtime": "biot-bd fail: diverged",
    "exit": "biot-bd fail: told so",
    "import": "biot-bd fail: pip install pyedflib",
    "empty": "biot-bd fail: ValueError: ",
}


@pytest.mark.parametrize("kind", FAILURES)
def test_expected_errors_are_one_line(world, kind):
    assert one_line(run("fail", kind, world=world), 1) == FAILURES[kind].rstrip()


@pytest.mark.parametrize(
    ("kind", "text"),
    [("bug", "TypeError: a bug"), ("assertion", "AssertionError: "), ("recursion", "RecursionError: too deep")],
)
def test_unexpected_errors_are_called_a_bug(world, kind, text):
    line = one_line(run("fail", kind, world=world), 1)
    assert line.startswith(f"biot-bd fail: {text}")
    assert "this is a bug" in line
    assert "BIOT_BD_DEBUG=1" in line


@pytest.mark.parametrize("kind", ["value", "bug"])
def test_debugging_shows_the_traceback(world, kind):
    for done in (run("--debug", "fail", kind, world=world), run("fail", kind, world=world, BIOT_BD_DEBUG="1")):
        assert done.returncode == 1
        assert "Traceback (most recent call last)" in done.stderr
        assert "in fail" in done.stderr
    assert "Traceback" not in run("fail", kind, world=world, BIOT_BD_DEBUG="0").stderr


@pytest.mark.parametrize(
    ("number", "status", "told"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_interrupting(world, number, status, told):
    (world.root / "extra.py").write_text(
        "import time\ndef fail(kind: str):\n    print('on', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [*CLI, "fail", "x"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(world.root)),
        # A job in the background of a shell ignores SIGINT, and its children do, too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout.readline() == "on\n"
        process.send_signal(number)
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == status
    assert stderr == f"biot-bd fail: stopped by {told}\n"


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_while_torch_starts_an_interruption_waits(world, number, status):
    (world.root / "extra.py").write_text(
        "import os, signal, sys, time, types\ndef fail(kind: str):\n"
        "    torch = sys.modules['torch'] = types.ModuleType('torch')\n"
        "    torch.__spec__ = types.SimpleNamespace(_initializing=True)\n"
        f"    os.kill(os.getpid(), signal.{number}); time.sleep(0.3); print('started', flush=True)\n"
        "    torch.__spec__._initializing = False; time.sleep(60)\n"
    )
    done = subprocess.run(
        [*CLI, "fail", "x"],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(world.root)),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        timeout=50,
    )
    assert (done.returncode, done.stdout) == (status, "started\n")


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interruption_that_a_library_wraps_is_told_alike(world, number, status):
    (world.root / "extra.py").write_text(
        "import os, signal\ndef fail(kind: str):\n"
        f"    try:\n        os.kill(os.getpid(), signal.{number})\n"
        "    except BaseException as error:\n        raise RuntimeError('wrapped') from error\n"
    )
    line = one_line(run("fail", "x", world=world), status)
    assert line == f"biot-bd fail: stopped by {'Ctrl-C' if number == 'SIGINT' else 'SIGTERM'}"


def test_an_interruption_from_inside_is_told_alike(world):
    assert one_line(run("fail", "interrupt", world=world), 130) == "biot-bd fail: stopped by Ctrl-C"


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it(world):
    (world.root / "extra.py").write_text(
        "import os, signal\ndef fail(kind: str):\n    os.kill(os.getpid(), signal.SIGINT); print('on')\n"
    )
    done = subprocess.run(
        [*CLI, "fail", "x"],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(world.root)),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")


def test_a_broken_command_says_so_and_disturbs_nobody(world):
    line = one_line(run("gone", world=world), 1)
    assert line.startswith(
        "biot-bd gone: this command of extra cannot be loaded from 'extra:does_not_exist': AttributeError"
    )
    assert "a command is a function or a typer.Typer, not int" in one_line(run("nota", world=world), 1)
    (world.root / "extra.py").write_text("def half(:\n")
    assert "SyntaxError" in one_line(run("greet", "you", world=world), 1)
    assert run("--help", world=world).stdout.count("Command of extra.") == 6
    assert run("plugins", "--json", world=world).returncode == 0


def test_our_command_wins_over_one_of_the_same_name(world):
    assert "List, describe and download data sets." in run("--help", world=world).stdout
    done = run("datasets", "list", "--json", world=world)
    assert done.returncode == 0
    assert done.stderr == "biot-bd: warning: command 'datasets' of extra is not used: biot-bd has that name\n"


def plugins(world=None, **environment):
    done = run("plugins", "--json", world=world, **environment)
    assert done.returncode == 0, done.stderr
    return {entry["name"]: entry for entry in json.loads(done.stdout)}, done.stderr


def test_plugins_lists_what_each_registers():
    found, stderr = plugins()
    ours = found["biot_bd"]
    assert ours["version"] == biot_bd.__version__
    assert ours["error"] is None
    assert "focal" in ours["registers"]["losses"]
    assert set(ours["registers"]["commands"]) == set(cli.SUMMARIES)
    assert stderr == ""


def test_plugins_shows_errors_of_plugins_and_commands(world):
    world.distribution("bad", "def half(:\n")
    world.distribution("good", GOOD)
    found, stderr = plugins(world)
    assert found["bad"]["error"].startswith("SyntaxError")
    assert found["bad"]["registers"] == {}
    assert found["good"]["registers"] == {"datasets": ["good-set"]}
    assert found["extra"]["registers"]["commands"] == ["fail", "greet", "more", "single"]
    assert "command 'gone': this command of extra cannot be loaded" in found["extra"]["error"]
    assert stderr.startswith("biot-bd: warning: plugin 'bad' (bad 1.2) was skipped: SyntaxError")
    assert stderr.count("\n") == 1
    table = run("plugins", world=world, COLUMNS="200").stdout
    assert "failed: SyntaxError" in table
    assert "datasets: good-set" in table


def test_strict_mode_stops_with_one_line(world):
    world.distribution("bad", "import does_not_exist")
    line = one_line(run("plugins", world=world, BIOT_BD_STRICT_PLUGINS="1"), 1)
    assert line.startswith("biot-bd plugins: plugin 'bad' (bad 1.2): ModuleNotFoundError")


def test_a_closed_pipe_is_no_error():
    code = (
        f"{sys.executable} -c 'import sys; from biot_bd.cli import main; sys.exit(main())' plugins --json | head -c 1"
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[", "")


def test_main_can_be_called_from_python(capsys, monkeypatch):
    monkeypatch.delenv(cli.DEBUG_VARIABLE, raising=False)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"biot-bd {biot_bd.__version__}\n"
    assert cli.main(["--debug", "nope"]) == 2
    assert capsys.readouterr().err.startswith("biot-bd: No such command 'nope'.")
    assert cli.DEBUG_VARIABLE not in os.environ


def test_a_warning_is_shown_once_and_counted(world):
    code = """
    import warnings

    def grumble(n: int):
        with warnings.catch_warnings():
            warnings.simplefilter("always")  # as fits of several folds do, each in a context of its own
            for number in range(n):
                warnings.warn("the same thing " * 8)
            warnings.warn("another")
    """
    world.distribution("grumbler", code, points="[biot_bd.commands]\ngrumble = grumbler:grumble\n")
    done = run("grumble", "3", world=world)
    whole = " ".join(["the same thing"] * 8)
    first, second, last = done.stderr.splitlines()
    assert (first, second) == (f"biot-bd: warning: {whole}", "biot-bd: warning: another")
    assert last.startswith("biot-bd: 3 times: warning: the same thing the same thing")
    assert last.endswith(" ...")
    assert "times" not in run("grumble", "1", world=world).stderr
