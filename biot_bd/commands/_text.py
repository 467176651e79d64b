"""Text for a console: wrapped to its width."""

from __future__ import annotations

import shutil
import textwrap


def wrapped(text: str, first: str = "", rest: str = "  ") -> str:
    """Return a text in lines of the console's width, at least 40 columns.

    Parameters
    ----------
    text : str
        One paragraph; words stay whole, so that paths can be copied.
    first, rest : str
        Before the first line, and before the others.

    Returns
    -------
    str
    """
    width = max(40, shutil.get_terminal_size((80, 24)).columns)
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
