"""Inline code breaks between words, and in long names after a separator."""

import html
import re
from typing import Any

from sphinx.application import Sphinx

#: Characters of a word that stays in one piece.
LONGEST = 20
WORD = re.compile(r'<span class="pre">([^<]*)</span>')
SEPARATORS = re.compile(r"([_/=.,:({\[]++)(?![)}\]]*$)")
BREAK = r"\1<wbr>"


def breakable(word: str) -> str:
    """Return a word of inline code (HTML): whole, or with breaks after separators if long."""
    if len(html.unescape(word)) <= LONGEST:
        return f'<span class="pre whole">{word}</span>'
    return f'<span class="pre">{SEPARATORS.sub(BREAK, word)}</span>'


def _mark(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        context["body"] = WORD.sub(lambda found: breakable(found[1]), context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("html-page-context", _mark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
