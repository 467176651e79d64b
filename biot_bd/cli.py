"""The command line ``biot-bd``: finds commands by entry point, loads one when it is used.

A command is an entry point of the group ``biot_bd.commands``: a function with Typer's annotations,
or a ``typer.Typer`` with sub-commands.  ``--help`` lists them without importing any, so it answers
at once.
"""

from __future__ import annotations

import errno
import inspect
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from biot_bd import __version__
from biot_bd.exceptions import PluginError
from biot_bd.registry import COMMANDS_GROUP
from biot_bd.terminal_letters import letters_alone

__all__ = ["DEBUG_VARIABLE", "SUMMARIES", "Command", "app", "find_commands", "main"]

PROGRAM = "biot-bd"
DISTRIBUTION = "biot-bd"
DEBUG_VARIABLE = "BIOT_BD_DEBUG"

# Here, because reading them from the commands would import the commands.
SUMMARIES = {
    "demo": "Generate recordings, train and score a small BIOT on them, write the report.",
    "datasets": "List, describe and download data sets.",
    "doctor": "Say what is in a folder of recordings, and what would be left out.",
    "prepare": "Turn recordings into harmonised, labelled windows on disk.",
    "pretrain": "Let a model learn from windows without labels, to start from.",
    "cv": "Cross-validate a pipeline by subject and write a run folder.",
    "train": "Fit a pipeline on all subjects and save it.",
    "check": "Say which channel reaches which input of a model, and in which unit.",
    "explain": "Explain a model's decisions on chosen windows.",
    "explain-group": "Compare what a model looks at over many windows, subject by subject.",
    "embed": "Turn windows into embeddings by a frozen model; maps, clusters, nearest windows.",
    "report": "Write the HTML report of a run folder.",
    "search": "Choose parameters by subject inside each fold, and score what was chosen.",
    "rescore": "Compute further scores of finished runs from their predictions, without a model.",
    "study": "Compare foundation models on cohorts: one table with baselines, tests, cost and slots.",
    "compare": "Compare finished runs on the same folds, subject by subject.",
    "detect": "Find seizures in recordings with a saved model.",
    "review": "Confirm, reject, move and add events of a results folder on a page, and save them.",
    "tune": "Choose a model's operating point anew on reviewed recordings, without training.",
    "export": "Write a trained model for an engine without torch, and prove it.",
    "score": "Score folders of event files against the reference, as SzCORE prescribes.",
    "stream": "Find seizures in a live signal, or in a file as if it were live.",
    "models": "Pretrained checkpoints, and the model registry: save, verify, push and pull versions.",
    "bench": "Measure the engines of a model, or what this machine does.",
    "plugins": "List the plugins, what they register and which of them failed.",
}

# What a command that was stopped needs to go on.
SAME = "the same command goes on"
GOES_ON = {
    **dict.fromkeys(
        (
            "demo",
            "datasets fetch",
            "prepare",
            "pretrain",
            "cv",
            "search",
            "train",
            "embed",
            "study",
            "models fetch",
            "models push",
        ),
        SAME,
    ),
    "detect": "what is done is kept; the same command with --resume goes on",
}
STARTS_AGAIN = "the same command starts again"

# What bad input, data or files raise; anything else is a fault of the program.
EXPECTED = (ValueError, OSError, LookupError, RuntimeError, ImportError, MemoryError)
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK_HELP = "; what was finished is kept: make room and run the same command again"
FOR_PROGRAMMERS = (FutureWarning, DeprecationWarning, PendingDeprecationWarning)
NUMPYDOC_SECTION = re.compile(r"^\w[\w ]*\n-{3,}\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A command that was found but not imported.

    Parameters
    ----------
    point : importlib.metadata.EntryPoint
        Where its code is.
    shadowed : tuple of str
        Distributions that offer a command of the same name and are not heard.
    """

    point: EntryPoint
    shadowed: tuple[str, ...] = ()

    @property
    def distribution(self) -> str:
        """Name of the installed distribution that brings the command."""
        return _owner(self.point)

    @property
    def summary(self) -> str:
        """One line for ``--help``, without importing the command."""
        if self.distribution == DISTRIBUTION and self.point.name in SUMMARIES:
            return SUMMARIES[self.point.name]
        return f"Command of {self.distribution}."

    def load(self) -> Any:
        """Import the command and return it as Typer runs it.

        Raises
        ------
        PluginError
            Its code cannot be imported, or is neither a function nor a ``typer.Typer``.
        """
        try:
            return _as_command(self.point.name, self.point.load())
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"this command of {self.distribution} cannot be loaded from {self.point.value!r}: "
                f"{type(error).__name__}: {error}"
            ) from error


def find_commands() -> dict[str, Command]:
    """Return the installed commands by name, our own first; imports none of them."""
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group=COMMANDS_GROUP), key=_rank):
        same = found.setdefault(point.name, [])
        # One distribution may be found twice, once for each time its folder stands on the path.
        if not any(_owner(point) == _owner(other) for other in same):
            same.append(point)
    return {name: Command(first, tuple(map(_owner, rest))) for name, (first, *rest) in found.items()}


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown distribution"


def _rank(point: EntryPoint) -> tuple[bool, int, str, str]:
    known = list(SUMMARIES)
    order = known.index(point.name) if point.name in known else len(known)
    return _owner(point) != DISTRIBUTION, order, point.name, _owner(point)


def _as_command(name: str, value: Any) -> Any:
    parent = typer.Typer(add_completion=False, rich_markup_mode=None)
    # Without a callback, Typer would run a single command under its parent's name.
    parent.callback()(lambda: None)
    if isinstance(value, typer.Typer):
        parent.add_typer(value, name=name)
    elif callable(value):
        parent.command(name, help=_help_of(value))(value)
    else:
        raise TypeError(f"a command is a function or a typer.Typer, not {type(value).__name__}")
    return typer.main.get_group(parent).commands[name]


def _help_of(function: Any) -> str | None:
    """Return the docstring without its numpydoc sections, which repeat what the options say."""
    return NUMPYDOC_SECTION.split(inspect.getdoc(function) or "")[0].strip() or None


class _LazyGroup(TyperGroup):
    """Lists commands from their entry points and loads the one that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.found = find_commands()
        for name, command in self.found.items():
            self.commands[name] = TyperCommand(
                name, help=command.summary, short_help=command.summary, rich_markup_mode=None
            )

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name in self.found:
            ctx.meta["biot_bd.command"] = name
            _now.append(name)
            command = self.found[name].load()
            _part[:] = [one for one in rest[:1] if one in getattr(command, "commands", ())]
            for other in self.found[name].shadowed:
                warnings.warn(f"command {name!r} of {other} is not used: {self.found[name].distribution} has that name")
        return name, command, rest

    def invoke(self, ctx: Any) -> None:
        super().invoke(ctx)  # a command's return value is no exit status


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise inside the block, where nobody else listens to them."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    main_thread = threading.current_thread() is threading.main_thread()
    ours = {number: how for number, how in usual.items() if main_thread and signal.getsignal(number) is how}
    for number in ours:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, how in ours.items():
            signal.signal(number, how)


def _stop(number: int, frame: Any) -> None:
    # Amid the start of torch's C++ parts an exception would abort the process: ask again later.
    initializing = getattr(getattr(sys.modules.get("torch"), "__spec__", None), "_initializing", False)
    runs = sys.modules.get("biot_bd.runs")
    # And between the step that finishes a command and the note of it.
    if initializing or (runs is not None and runs.is_finishing()):
        again = threading.Timer(0.05, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    _asked.append(number)
    raise KeyboardInterrupt  # also for SIGTERM: temporary files and child processes go


def _stopped() -> int:
    """Say where a command stopped and what goes on; return the exit status."""
    from biot_bd.runs import what_is_done, what_is_finished

    terminated = signal.SIGTERM in _asked
    name = _now[-1] if _now else ""
    done = what_is_done()
    after = f" after {done}" if done else ""
    how = f"; {GOES_ON.get(' '.join([name, *_part]), STARTS_AGAIN)}" if name in SUMMARIES else ""
    if finished := what_is_finished():
        after, how = " when all was done", f"; {finished}"
    return _fail(f"stopped by {'SIGTERM' if terminated else 'Ctrl-C'}{after}{how}", 143 if terminated else _INTERRUPTED)


_now: list[str] = []  # the command being run, for its error line
_part: list[str] = []  # which of its own commands, e.g. the fetch of `models fetch`
_warned: Counter[str] = Counter()  # how often each warning came
_START = 60  # characters of a warning that tell it from others
_asked: list[int] = []  # the signals that asked it to stop
_INTERRUPTED = 130

app = typer.Typer(
    cls=_LazyGroup,
    name=PROGRAM,
    help="From raw EEG files to a trained, honestly scored, explained seizure detector.",
    epilog="biot-bd COMMAND --help says more. Exit status: 0 done, 1 failed, 2 bad arguments, 130 or 143 stopped.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _set_debug(wanted: bool) -> None:
    if wanted:
        os.environ[DEBUG_VARIABLE] = "1"


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", callback=_set_debug, is_eager=True, help=f"Show tracebacks (as {DEBUG_VARIABLE}=1 does)."
        ),
    ] = False,
) -> None:
    pass


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    args : sequence of str, optional
        Arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        Exit status: 0 done, 1 failed, 2 bad arguments, 130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    _now.clear()
    _part.clear()
    _asked.clear()
    if "biot_bd.runs" in sys.modules:
        sys.modules["biot_bd.runs"].forget_done()
    debug_before = os.environ.get(DEBUG_VARIABLE)
    with letters_alone(), warnings.catch_warnings(), _stopped_by_signals():
        warnings.showwarning = _show_warning
        try:
            command = typer.main.get_command(app)
            status = command.main(args=args, prog_name=PROGRAM, standalone_mode=False)
            if status == _INTERRUPTED:  # as Typer returns an interruption
                return _stopped()
            return status if isinstance(status, int) else 0
        except typer.Abort:
            return _fail("stopped", 1)
        except KeyboardInterrupt:
            return _stopped()
        except SystemExit as error:
            if error.code is None or isinstance(error.code, int):
                return error.code or 0
            return _fail(str(error.code), 1)
        except Exception as error:
            # Python and libraries wrap an interruption at places, as in an error of their own.
            return _stopped() if _asked else _report(error)
        finally:
            _count_warnings()
            if debug_before is None:
                os.environ.pop(DEBUG_VARIABLE, None)


_NOT_INSTALLED = (
    "{0} is not installed here, and this command needs it; `pip install biot-bd` brings it (a runtime environment has only "
    "what detect, stream, score and review need)"
)


def _debugging() -> bool:
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def _report(error: Exception) -> int:
    """Write ``error`` to stderr in one line, with its traceback when debugging."""
    if type(error).__name__.startswith("NoArgsIsHelp"):  # the help is its message
        print(error, file=sys.stderr)
        return 2
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # Typer's or Click's own errors
        path = getattr(getattr(error, "ctx", None), "command_path", None)
        hint = f" (see: {path} --help)" if path and error.exit_code == 2 else ""
        return _fail(f"{error.format_message()}{hint}", error.exit_code, path)
    if _debugging():
        traceback.print_exception(error)
    if isinstance(error, EXPECTED) and not isinstance(error, RecursionError):
        if isinstance(error, ModuleNotFoundError) and error.name:
            return _fail(_NOT_INSTALLED.format(error.name.partition(".")[0]), 1)
        message = str(error) + (_DISK_HELP if isinstance(error, OSError) and error.errno in _DISK_FAULTS else "")
        return _fail(message if message and type(error) is not KeyError else f"{type(error).__name__}: {error}", 1)
    return _fail(
        f"{type(error).__name__}: {error}; this is a bug, please report it with what {DEBUG_VARIABLE}=1 shows", 1
    )


def _fail(message: str, status: int, path: str | None = None) -> int:
    where = path or " ".join([PROGRAM, *_now])
    print(f"{where}: {' '.join(message.split())}", file=sys.stderr)
    return status


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, FOR_PROGRAMMERS) and not _debugging():
        return
    text = " ".join(str(message).split())
    _warned[text] += 1
    if _warned[text] == 1:
        print(f"{PROGRAM}: warning: {text}", file=sys.stderr)


def _count_warnings() -> None:
    """Say how often a warning came that was shown once."""
    for text, n in _warned.items():
        if n > 1:
            start = text if len(text) <= _START else f"{text[:_START].rsplit(' ', 1)[0]} ..."
            print(f"{PROGRAM}: {n} times: warning: {start}", file=sys.stderr)
    _warned.clear()


if __name__ == "__main__":
    sys.exit(main())
