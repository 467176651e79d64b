"""Pages that stand outside of ``docs/`` become pages of the site, and links to them lead there.

Links to a script of the gallery lead to the page that it makes.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

#: File, relative to ``docs/`` -> name of its page.
PAGES = {"../benchmarks/RESULTS.md": "benchmark-results", "../CHANGELOG.md": "changes"}
FOLDER = "outside"
#: Folder of scripts -> folder of their pages.
GALLERIES = {"walks": "learn", "gallery": "examples"}


def _copy(app: Sphinx) -> None:
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    for source, name in PAGES.items():
        text, page = (Path(app.srcdir) / source).read_text(encoding="utf-8"), folder / f"{name}.md"
        if not page.is_file() or page.read_text(encoding="utf-8") != text:  # an untouched page is not read again
            page.write_text(text, encoding="utf-8")


def _turn_links(app: Sphinx, docname: str, text: list[str]) -> None:
    for source, name in PAGES.items():
        text[0] = text[0].replace(f"]({source}", f"]({FOLDER}/{name}.md")
    for scripts, pages in GALLERIES.items():
        text[0] = re.sub(rf"\]\({scripts}/(\w+)\.py\)", rf"]({pages}/\1.rst)", text[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("builder-inited", _copy)
    app.connect("source-read", _turn_links)
    return {"parallel_read_safe": True}
