"""What a terminal is shown: letters, never orders to it.

Names of channels, files and subjects come from others, and a terminal obeys some characters: it
would change its title, answer, hide lines, fill the clipboard or turn the order of letters around.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_ORDERS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]"
# Colours, the cursor's line and whether it is seen: what tables and progress bars are made of.
_OWN = r"\x1b\[(?:0|(?:[1-9]|[1-9]\d{1,2})(?:;\d{1,3})*)m|\x1b\[\?25[lh]|\x1b\[\d{0,3}A|\x1b\[2K|\r"
_EVERY, _BUT_OWN = re.compile(rf"(?!\r\n){_ORDERS}"), re.compile(rf"({_OWN})|{_ORDERS}")


def letters(text: str, *, on_terminal: bool = False) -> str:
    r"""Return a text whose control characters are written out.

    Parameters
    ----------
    text : str
        Line feeds and tabs stay.
    on_terminal : bool
        True lets through what tables and progress bars are made of: colours, and the cursor's line.

    Returns
    -------
    str
        As long as it can be within JSON, it is JSON as before: ``\u001b`` means the same there.

    Examples
    --------
    >>> from biot_bd.terminal_letters import letters
    >>> letters("FP1\x1b]0;title\x07-F7")
    'FP1\\u001b]0;title\\u0007-F7'
    """
    if on_terminal:
        return _BUT_OWN.sub(lambda found: found[1] or _written(found), text)
    return _EVERY.sub(_written, text)


def _written(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


class _Letters:
    """A stream that is written letters alone; all else is that stream's."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(letters(text, on_terminal=self._stream.isatty()))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def letters_alone() -> Iterator[None]:
    """Let standard output and standard error show letters alone within the block."""
    before = sys.stdout, sys.stderr
    now = tuple(_Letters(stream) if stream is not None else None for stream in before)
    sys.stdout, sys.stderr = now  # type: ignore[assignment]
    try:
        yield
    finally:
        # Whoever replaced them meanwhile keeps what they put there.
        sys.stdout = before[0] if sys.stdout is now[0] else sys.stdout
        sys.stderr = before[1] if sys.stderr is now[1] else sys.stderr
