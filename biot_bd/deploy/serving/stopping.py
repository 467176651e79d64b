"""Ctrl-C as the usual way to end what runs until it is stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM call ``stop``; a second one ends the program as usual.

    Does nothing outside the main thread, where signals cannot be caught.

    Parameters
    ----------
    stop : callable
        Called in the signal's handler.

    Yields
    ------
    None

    See Also
    --------
    biot_bd.cli.main : Ends commands that have no such way of their own.

    Examples
    --------
    >>> import signal
    >>> with stopped_by_signals(lambda: print("asked to stop")):
    ...     signal.raise_signal(signal.SIGINT)
    asked to stop
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        for known, handler in before.items():
            with suppress(TypeError):  # None: set by other code than Python's
                signal.signal(known, handler)
        stop()

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(TypeError):
                signal.signal(number, handler)
