"""Pages that stand outside of ``docs/`` become pages of the site, and links to them lead there.

Links within them are turned, and links to a script of the gallery lead to the page that it makes.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

#: File, relative to ``docs/`` -> name of its page.
PAGES = {
    "../benchmarks/RESULTS.md": "benchmark-results",
    "../CHANGELOG.md": "changes",
    "../CONTRIBUTING.md": "contributing",
    "../CODE_OF_CONDUCT.md": "conduct",
    "../SECURITY.md": "report-a-hole",
}
FOLDER = "outside"
#: Folder of scripts -> folder of their pages.
GALLERIES = {"walks": "learn", "gallery": "examples"}
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")


def _copy(app: Sphinx) -> None:
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    for source, name in PAGES.items():
        text, page = (Path(app.srcdir) / source).read_text(encoding="utf-8"), folder / f"{name}.md"
        if not page.is_file() or page.read_text(encoding="utf-8") != text:  # an untouched page is not read again
            page.write_text(text, encoding="utf-8")


def turned(link: str, docname: str) -> str:
    """Return where a link of a page leads on the site."""
    folder, _, name = docname.rpartition("/")
    source = {page: Path(path).parent for path, page in PAGES.items()}.get(name) if folder == FOLDER else None
    target = os.path.normpath(link if source is None else source / link).removeprefix("../docs/")
    gallery = re.fullmatch(rf"({'|'.join(GALLERIES)})/(\w+)\.py", target)
    if target in PAGES:
        target = f"{FOLDER}/{PAGES[target]}.md"
    elif gallery:
        target = f"{GALLERIES[gallery[1]]}/{gallery[2]}.rst"
    elif source is None:
        return link
    return os.path.relpath(target, folder or ".")


def _turn_links(app: Sphinx, docname: str, text: list[str]) -> None:
    if "/" not in docname or docname.startswith(f"{FOLDER}/"):
        text[0] = LINK.sub(lambda found: f"]({turned(found[1], docname)}", text[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("builder-inited", _copy)
    app.connect("source-read", _turn_links)
    return {"parallel_read_safe": True}
