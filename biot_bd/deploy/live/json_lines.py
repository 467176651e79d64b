"""Lines of JSON: one object a line, on stdout, in a log file, and to whoever listens."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from biot_bd.runs import to_jsonable


class Lines(AbstractContextManager["Lines"]):
    """Write lines; each is flushed at once and carries the wall clock's time as ``at``.

    A log that can no longer be written (a full disk) is given up with a warning, and detection goes
    on; when the reader of stdout has gone, ``on_gone`` is called.

    Parameters
    ----------
    log : path, optional
        File that lines are appended to.
    echo : bool
        Whether lines go to stdout.
    on_gone : callable, optional
        Called once when nobody reads stdout any more.
    dated : bool
        Whether a line says the wall clock's time.

    Attributes
    ----------
    listeners : list of callable
        Called with each line.

    Raises
    ------
    OSError
        The log cannot be opened.
    """

    def __init__(
        self,
        log: str | os.PathLike[str] | None = None,
        *,
        echo: bool = True,
        on_gone: Callable[[], None] | None = None,
        dated: bool = True,
    ) -> None:
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self._echo, self._on_gone, self._where, self._dated = echo, on_gone, log, dated
        self._log: TextIO | None = None
        if log is not None:
            try:
                Path(log).parent.mkdir(parents=True, exist_ok=True)
                self._log = open(log, "a", encoding="utf-8")  # noqa: SIM115
            except OSError as error:
                raise OSError(f"--log {log}: cannot be written ({error.strerror or error})") from error

    def write(self, line: dict[str, Any]) -> None:
        """Write one line."""
        at = {"at": datetime.now(UTC).isoformat(timespec="milliseconds")} if self._dated else {}
        line = to_jsonable({**line, **at})
        text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        if self._echo:
            self._print(text)
        if self._log is not None:
            try:
                self._log.write(text)
                self._log.flush()
            except OSError as error:
                self._give_up(error)
        for listener in self.listeners:
            listener(line)

    def _print(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            self._echo = False
            # Python would fail once more when it flushes at the end.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if self._on_gone is not None:
                self._on_gone()

    def _give_up(self, error: OSError) -> None:
        log, self._log = self._log, None
        if log is not None:
            with suppress(OSError):
                log.close()
        warnings.warn(f"the log {self._where} is given up ({error.strerror or error}); detection goes on", stacklevel=3)

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            with suppress(OSError):
                self._log.close()
            self._log = None
