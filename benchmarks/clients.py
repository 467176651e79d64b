"""What other people's tools do with the product, tried and compared with a truth.

Every check runs in a process of its own with a time limit.  Outcomes are kept in
``clients.json``, and their tables written into ``docs/clients.md`` between its two marks:

    .venv/bin/python benchmarks/clients.py               # all
    .venv/bin/python benchmarks/clients.py --only moabb  # "moabb" in a name; others kept

Ends with 1 where an outcome is not the right one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models, and processes that are forked

from _clients.checks import CHECKS, FAILS, LEFT_OUT, ONLY, REFUSED, WORKS, Check, Outcome, run

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "clients.md"
RESULTS = FOLDER / "clients.json"  # results/ is for times and memory
OTHERS = {  # tables that other scripts write
    "braindecode's own tests of models": "braindecode_models.md",
    "PyTorch's tools": "pytorch_tools.md",
}
BEGIN, END = "<!-- made by benchmarks/clients.py: begin -->", "<!-- made by benchmarks/clients.py: end -->"
MODULES = (
    "sklearn_tools",
    "sklearn_others",
    "moabb_evaluations",
    "skorch_callbacks",
    "skorch_others",
    "braindecode_parts",
    "captum_attributions",
    "files_and_hub",
)
VERSIONS = (
    "biot-bd scikit-learn skorch braindecode moabb mne torch captum huggingface_hub transformers accelerate peft "
    "tensorboard joblib safetensors numpy pandas"
).split()

Found = dict[Check, dict[str, Outcome]]


def load_checks() -> list[Check]:
    """Return all checks, in the order of the page."""
    for name in MODULES:
        importlib.import_module(f"_clients.{name}")
    return CHECKS


def chosen(checks: Iterable[Check], words: str | None) -> list[Check]:
    """Return the checks of which client or tool has the words."""
    return [c for c in checks if words is None or words.lower() in f"{c.client} {c.tool}".lower()]


def run_all(checks: list[Check], world: object) -> Found:
    """Run checks one after another, with a line on stderr for each."""
    found: Found = {}
    total, number = sum(len(c.expected) for c in checks), 0
    for entry in checks:
        found[entry] = {}
        for variant, wanted in entry.expected.items():
            number += 1
            outcome = found[entry][variant] = run(entry, world, variant)
            mark = "" if right(outcome, wanted) else f"  !! expected: {wanted}"
            name = f"{entry.client}: {entry.tool}" + (f" [{variant}]" if variant else "")
            print(f"{number}/{total} {name}: {outcome.kind}{mark}  {outcome.line[:300]}", file=sys.stderr, flush=True)
    return found


def right(outcome: Outcome, wanted: str) -> bool:
    return outcome.kind == LEFT_OUT or outcome.kind in wanted.split(" or ")


def wrong(found: Found) -> list[str]:
    """Name what has another outcome than the right one."""
    return [
        f"{entry.tool} {variant}".strip()
        for entry, outcomes in found.items()
        for variant, outcome in outcomes.items()
        if not right(outcome, entry.expected[variant])
    ]


# --- what is kept between runs ---


def key(entry: Check) -> str:
    return f"{entry.client}: {entry.tool}"


def keep(found: Found, path: Path = RESULTS) -> Found:
    """Write outcomes beside those of former runs, and return those of all checks, in order.

    Raises
    ------
    SystemExit
        Kept outcomes were made with other versions: run all again.
    """
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"outcomes": {}}
    missing = [entry for entry in CHECKS if entry not in found and key(entry) in kept["outcomes"]]
    if missing and kept["versions"] != installed():
        raise SystemExit(f"{path} was made with other versions of libraries; run all, without --only, or remove it")
    known: Found = {}
    for entry in CHECKS:
        if entry in found:
            known[entry] = found[entry]
        elif entry in missing:
            known[entry] = {v: Outcome(**outcome) for v, outcome in kept["outcomes"][key(entry)].items()}
    new = {entry: dict.fromkeys(entry.expected, Outcome(LEFT_OUT, "not run yet")) for entry in CHECKS}
    outcomes = {key(entry): {v: asdict(o) for v, o in made.items()} for entry, made in known.items()}
    record = {"versions": installed(), "outcomes": outcomes}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return new | known


# --- the page ---


def cell(text: str, most: int = 400) -> str:
    """Return text for a cell of Markdown, without paths of a machine and addresses of objects."""
    text = re.sub(r"(?<![\w.])/(?:[\w.+~-]+/)+", "…/", " ".join(text.split()))
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    text = text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0] + " …"
    return text.replace("|", "\\|").replace("<", "&lt;")


def shown(outcome: Outcome, wanted: str, brief: bool) -> str:
    """Return the cell of an outcome; ``brief`` names no more than the error."""
    line = outcome.line.partition(":")[0] if brief and outcome.kind == REFUSED else outcome.line
    text = outcome.kind if not line else f"{outcome.kind}: {cell(line)}"
    if not right(outcome, wanted):
        text = f"**{text}** (should be: {wanted})"
    return text


def section(client: str, found: Found) -> list[str]:
    """Return the table of a client as lines of Markdown."""
    variants = list(dict.fromkeys(v for outcomes in found.values() for v in outcomes))
    heads = ["outcome"] if variants == [ONLY] else variants
    lines = [
        f"### {client}",
        "",
        "| " + " | ".join(["tool", "what was run, and compared", *heads, "remark"]) + " |",
        "|---" * (len(heads) + 3) + "|",
    ]
    for entry, outcomes in found.items():
        brief = len(variants) > 1
        cells = [shown(outcomes[v], entry.expected[v], brief) if v in outcomes else "" for v in variants]
        lines.append("| " + " | ".join([f"`{entry.tool}`", cell(entry.what), *cells, cell(entry.why)]) + " |")
    lines += ["", *lines_of_refusals(found, variants)]
    return lines


def lines_of_refusals(found: Found, variants: list[str]) -> list[str]:
    """Return the first line of each kind of refusal, where cells only name it."""
    if len(variants) < 2:
        return []
    lines: dict[str, str] = {}
    for outcomes in found.values():
        for outcome in outcomes.values():
            if outcome.kind == REFUSED:
                lines.setdefault(outcome.line.partition(":")[0], outcome.line)
    said = [f"- `{name}`, for example: {cell(line.partition(': ')[2], 600)}" for name, line in lines.items()]
    return [*said, ""] if said else []


def counts(found: Found) -> str:
    kinds = [o.kind for outcomes in found.values() for o in outcomes.values()]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in (WORKS, REFUSED, FAILS, LEFT_OUT) if kind in kinds)


def installed() -> dict[str, str]:
    made = {}
    for name in VERSIONS:
        try:
            made[name] = version(name)
        except PackageNotFoundError:
            made[name] = "not installed"
    return made


def block(found: Found) -> str:
    """Return the part of the page between the marks."""
    dates = [outcome.date for outcomes in found.values() for outcome in outcomes.values()]
    said = ", ".join(f"{name} {number}" for name, number in installed().items())
    lines = [
        f"Run on {' to '.join(sorted({min(dates), max(dates)}))} by `python benchmarks/clients.py`, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}; {said}.",
        "",
        f"Outcomes: {counts(found)}.",
        "",
    ]
    for client in dict.fromkeys(entry.client for entry in found):
        lines += section(client, {entry: o for entry, o in found.items() if entry.client == client})
    return "\n".join([*lines, *other_tables()]).rstrip() + "\n"


def other_tables(folder: Path = FOLDER) -> list[str]:
    """Return the tables that other scripts wrote, where they did."""
    lines = []
    for title, name in OTHERS.items():
        if (folder / name).is_file():
            text = (folder / name).read_text(encoding="utf-8").strip()
            text = re.sub(r"^#+ (.*)$", r"**\1**", text, flags=re.MULTILINE)  # headings are those of the page
            lines += [f"### {title}", "", f"By `benchmarks/{name.removesuffix('.md')}.py`.", "", text, ""]
    return lines


def write_page(found: Found, page: Path = PAGE) -> None:
    """Put the tables between the marks of the page."""
    text = page.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} lacks the marks {BEGIN!r} and {END!r} around the tables")
    page.write_text(f"{head}{BEGIN}\n\n{block(found)}\n{END}{tail}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", help="part of the names of clients or tools; other outcomes are kept")
    parser.add_argument("--no-page", action="store_true", help="print the tables, and write nothing")
    parser.add_argument("--store", type=Path, help="folder for the generated windows (default: a temporary one)")
    options = parser.parse_args()
    checks = chosen(load_checks(), options.only)
    if not checks:
        raise SystemExit(f"no client or tool has {options.only!r} in its name")

    import torch

    from _clients.world import World

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        found = run_all(checks, World(options.store or Path(folder)))
    if options.no_page:
        sys.stdout.write(block(found))
    else:
        write_page(keep(found))
    if others := wrong(found):
        raise SystemExit(f"not as they should be: {'; '.join(others)}")


if __name__ == "__main__":
    main()
