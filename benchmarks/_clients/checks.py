"""A check is one use of the product by a library of others, with the truth that it is held to.

It runs in a process of its own with a time limit, so that one that hangs, or changes a global
setting, disturbs no other.
"""

from __future__ import annotations

import datetime
import importlib.util
import multiprocessing
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGE = Path(importlib.util.find_spec("biot_bd").origin).parent  # type: ignore[union-attr, arg-type]
WORKS, REFUSED, FAILS, LEFT_OUT = "works", "refused", "fails", "left out"
ONLY = ""  # the variant of a check that has one
LIMIT_S = 240.0


class UntrueError(Exception):
    """What a check found is not the truth that it is held to."""


class LeftOutError(Exception):
    """A check cannot be run here; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What came of a check: a kind, a line that says more, how long it took, and when."""

    kind: str
    line: str = ""
    seconds: float = 0.0
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())


@dataclass(frozen=True, eq=False)
class Check:
    """One use of the product by a client.

    Parameters
    ----------
    client, tool : str
        Whose tool, and which.
    what : str
        What was run, and what it is compared with.
    run : callable
        ``run(world, variant)``, raises where something is not right.
    expected : mapping
        The right kind of outcome by variant; ``"works or refused"`` where either is.
    why : str
        What a reader must know of it, e.g. why a tool cannot work.
    limit_s : float
        Most seconds.
    """

    client: str
    tool: str
    what: str
    run: Callable[[Any, str], object]
    expected: Mapping[str, str]
    why: str = ""
    limit_s: float = LIMIT_S


CHECKS: list[Check] = []


def check(
    client: str,
    tool: str,
    what: str,
    *,
    expected: str | Mapping[str, str] = WORKS,
    why: str = "",
    limit_s: float = LIMIT_S,
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Register a function ``run(world)``, or ``run(world, variant)`` where ``expected`` is a
    mapping.
    """

    def register(function: Callable[..., object]) -> Callable[..., object]:
        if isinstance(expected, str):
            run, wanted = (lambda world, variant: function(world)), {ONLY: expected}
        else:
            run, wanted = function, dict(expected)
        CHECKS.append(Check(client, tool, what, run, wanted, why, limit_s))
        return function

    return register


def same(found: Any, truth: Any, what: str = "values", tolerance: float = 0.0) -> None:
    """Raise :class:`UntrueError` unless two arrays are equal, or near."""
    import numpy as np

    found, truth = np.asarray(found), np.asarray(truth)
    if found.shape != truth.shape:
        raise UntrueError(f"{what}: shape {found.shape} instead of {truth.shape}")
    if found.dtype.kind in "OUSb" or tolerance == 0:
        if not np.array_equal(found, truth):
            raise UntrueError(f"{what}: not equal{_distance(found, truth)}")
    elif not np.allclose(found, truth, rtol=0, atol=tolerance):
        raise UntrueError(f"{what}: more than {tolerance:g} apart{_distance(found, truth)}")


def true(condition: Any, what: str) -> None:
    """Raise :class:`UntrueError` unless a condition holds; ``what`` says what should."""
    if not condition:
        raise UntrueError(f"not so: {what}")


def _distance(found: Any, truth: Any) -> str:
    import numpy as np

    if found.dtype.kind not in "fiu" or truth.dtype.kind not in "fiu" or not found.size:
        return ""
    return f" ({float(np.max(np.abs(found.astype(float) - truth.astype(float)))):.3g} at most)"


def judged(error: BaseException) -> tuple[str, str]:
    """Return kind and line of an exception: refused where our code raised it, else fails."""
    text = " ".join(str(error).split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, LeftOutError):
        return LEFT_OUT, text
    if isinstance(error, UntrueError):
        return FAILS, text
    return (REFUSED if _ours(error) else FAILS), line


def _ours(error: BaseException) -> bool:
    """Return whether a ``raise`` of the package made it, here or in another process."""
    from biot_bd.exceptions import BiotBdError

    if isinstance(error, BiotBdError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not Path(frames[-1].filename).is_relative_to(PACKAGE):
        return False
    return (frames[-1].line or "").lstrip().startswith("raise")  # else a mistake that Python found


def tried(entry: Check, world: Any, variant: str) -> Outcome:
    """Run a check in this process."""
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            said = entry.run(world, variant)
            kind, line = WORKS, "" if said is None else str(said)
        except BaseException as error:
            kind, line = judged(error)
    return Outcome(kind, line, time.monotonic() - start)


def run(entry: Check, world: Any, variant: str) -> Outcome:
    """Run a check in a process of its own that ends with its time limit."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def work() -> None:
        os.setsid()  # so that its own children end with it
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        there.send(tried(entry, world, variant))

    child = context.Process(target=work)
    child.start()
    there.close()
    try:
        if not here.poll(entry.limit_s):
            return Outcome(FAILS, f"no end within {entry.limit_s:.0f} s", entry.limit_s)
        return here.recv()
    except EOFError:
        child.join()
        return Outcome(FAILS, f"its process ended with {child.exitcode}")
    finally:
        _end(child)


def _end(child: Any) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    child.join()


def missing(*modules: str) -> None:
    """Raise :class:`LeftOutError` where a package is not installed."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if absent:
        raise LeftOutError(f"needs {', '.join(absent)}, not installed where the table was made")
