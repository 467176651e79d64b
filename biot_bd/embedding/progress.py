"""The progress bar of embedding, where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def window_bar(n_windows: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """Count windows on stderr.

    Parameters
    ----------
    n_windows : int
        All of them.
    shown : bool
        False: count silently.

    Yields
    ------
    callable
        Takes the number of windows that are done since the last call.
    """
    with Progress(console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("windows", total=n_windows)
        yield lambda n: bar.advance(task, n)
