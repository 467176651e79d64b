"""What pages refer to is there: anchors, files, public names, commands with their options; each page has one way to it."""

import re
import sys
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md"), *(ROOT / "plugins").glob("*/*.md")])
FENCE = re.compile(r"^(```|:::).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
ROLE = re.compile(r"\{(?:func|class|meth|attr|mod|data|exc|obj)\}`~?(?:[^`<]*<)?([\w.]+)>?`")
SHOWN_FILE = re.compile(r"`((?:benchmarks|biot_bd|docker|experiments|findings|plugins|requirements|tests)/[\w./-]+)`")
CALL = re.compile(r"\bbiot-bd((?: [a-z][a-z-]+)?)((?: +[^`|#\n]*)?)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")
#: The parts of the site: each page stands in the table of one of them.
PARTS = ("tutorials", "guide", "background", "lookup", "project")


def ids(path):
    return path.relative_to(ROOT).as_posix()


def extension(name):
    """Import an extension of the site."""
    if (place := str(DOCS / "_ext")) not in sys.path:  # one imports from another, as in the site's build
        sys.path.append(place)
    return import_module(name)


def slug(heading):
    """The anchor that GitHub and the site give a heading."""
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return {slug(heading) for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)}


def test_an_anchor_is_made_as_github_makes_it():
    assert slug("Two questions, two kinds of `probe`") == "two-questions-two-kinds-of-probe"
    assert slug("## register_probes".removeprefix("## ")) == "register_probes"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_to_headings_lead_to_one(page):
    lost = []
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        target, _, anchor = link.partition("#")
        if anchor and "://" not in link:
            aim = (page.parent / target).resolve() if target else page
            if anchor not in anchors(aim):
                lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_to_the_world_are_well_formed(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            parts = urlsplit(link)
            assert parts.scheme in ("https", "http"), link
            assert re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?|localhost:\d+", parts.netloc), link


#: The changelog tells of what was; the files of the tutorial are those of the package that it builds.
OTHER_FILES = ("CHANGELOG", "tutorial-plugin")


@pytest.mark.parametrize("page", [page for page in PAGES if not page.name.startswith(OTHER_FILES)], ids=ids)
def test_files_that_are_named_are_there(page):
    named = SHOWN_FILE.findall(page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_names_of_code_that_are_linked_are_public(page):
    known = extension("api_reference").pages()
    for name in ROLE.findall(page.read_text(encoding="utf-8")):
        owner, _, last = name.rpartition(".")
        member = owner in known and hasattr(known[owner].obj, last)
        assert name in known or member or import_module(name), name


@pytest.fixture(scope="module")
def options():
    """Options of each command of the package, by its words: `models fetch`."""
    found = {}

    def add(words, command):
        found[words] = {name for part in command.params for name in (*part.opts, *part.secondary_opts)} | {"--help"}
        for name, inner in getattr(command, "commands", {}).items():
            add(f"{words} {name}", inner)

    for name, command in extension("command_reference").ours().items():
        add(name, command.load())
    return found


def calls(text):
    """Command lines in a text: what stands in code, without what a page says beside it."""
    shown = re.findall(r"`([^`\n]*biot-bd [^`\n]*)`", text)
    shown += [line for line in text.splitlines() if re.match(r"^(    |\$ )?(\$ )?biot-bd ", line)]
    for line in shown:
        yield from CALL.findall(line)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=ids)
def test_commands_that_are_shown_exist_with_their_options(page, options):
    wrong = []
    for first, rest in calls(page.read_text(encoding="utf-8")):
        name = first.strip()
        if not name or name not in options:
            if name and "plugins" not in page.parts:
                wrong.append(f"biot-bd {name}")
            continue
        second = f"{name} {rest.split()[0]}" if rest.split() else name
        known = options[second] if second in options else options[name]
        wrong += [f"biot-bd {name} {option}" for option in OPTION.findall(rest) if option not in known]
    assert wrong == []


def listed(part):
    return re.findall(r"^\| (?:\[[^\]]+\]\(|\{doc\}`[^<]+<)([\w./-]+)", (DOCS / f"{part}.md").read_text(), re.MULTILINE)


def test_each_page_stands_in_the_table_of_one_part_and_says_what_it_is_for():
    rows = [row for part in PARTS for row in listed(part) if row.endswith(".md") and not row.startswith("..")]
    pages = {path.name for path in DOCS.glob("*.md")} - {f"{part}.md" for part in (*PARTS, "index")}
    assert pages - set(rows) == set()
    assert [row for row in set(rows) if rows.count(row) > 1] == []
    for part in PARTS:
        for line in re.findall(r"^\| (?:\[|\{doc).*$", (DOCS / f"{part}.md").read_text(), re.MULTILINE):
            assert len(line.split(" | ")[1].strip(" |").split()) >= 3, line


def test_every_part_is_one_click_from_the_first_page():
    text = (DOCS / "index.md").read_text()
    assert [part for part in PARTS if f"]({part}.md)" not in text] == []
