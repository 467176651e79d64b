"""One table of all targets in ``benchmarks/results/*.json``, printed.

With the tables of all scripts behind it in ``results/table.md``.  The same table stands between two
marks of ``docs/speed.md``: ``python benchmarks/table.py`` writes it there from the files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from _bench import RESULTS, reached, show

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
BEGIN, END = "<!-- made by benchmarks/table.py: begin -->", "<!-- made by benchmarks/table.py: end -->"
BASELINE = "fb8defb"


def read_results(folder: Path) -> list[tuple[str, dict]]:
    """Return name and content of every result, by name."""
    return [(path.stem, json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]


def number(value: float, unit: str) -> str:
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{text}x" if unit == "x" else f"{text} {unit}".rstrip()


def row(name: str, goal: dict) -> str:
    """Return one line of the table."""
    unit = goal.get("unit", "x")
    if not goal["measured"] and unit == "x":
        return f"| {goal['what']} | {number(goal['wanted'], unit)} | nothing that is good enough | **no** |  | `{name}.py` |"
    measured = number(goal["measured"], unit)
    if goal.get("spread"):
        low, high = goal["spread"]
        measured += f" ({low:.3g} to {high:.3g})"
    wanted = ("at most " if goal.get("at_most") else "") + number(goal["wanted"], unit)
    floor = "" if goal.get("floor") is None else number(goal["floor"], unit)
    mark = "yes" if reached(goal) else "**no**"
    return f"| {goal['what']} | {wanted} | {measured} | {mark} | {floor} | `{name}.py` |"


def table(results: list[tuple[str, dict]]) -> str:
    """Return the table as Markdown, with the machine, and what was only measured quickly."""
    lines = ["| what | wanted | measured (spread) | reached | floor | by |", "|---|---|---|---|---|---|"]
    lines += [row(name, goal) for name, result in results for goal in result.get("targets", [])]
    machines = dict.fromkeys(describe(result["machine"]) for _, result in results)
    lines += ["", *machines]
    quick = [name for name, result in results if result.get("quick")]
    if quick:
        lines += ["", f"Measured quickly, not for quoting: {', '.join(quick)}."]
    without = [name for name, result in results if not result.get("targets")]
    if without:
        lines += ["", f"Without targets (see `results/NAME.json`): {', '.join(without)}."]
    return "\n".join(lines) + "\n"


def sections(results: list[tuple[str, dict]]) -> str:
    """Return the table and the notes of every script as Markdown."""
    lines = []
    for name, result in results:
        rows = result["rows"]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines += ["", f"## {result['title']}: `{name}.py`", ""]
        if columns:
            lines += [
                "| " + " | ".join(column.replace("_", " ") for column in columns) + " |",
                "|---" * len(columns) + "|",
            ]
            lines += ["| " + " | ".join(show(row.get(column)) for column in columns) + " |" for row in rows]
            lines.append("")
        lines += [f"- {note}" for note in result["notes"]]
    return "\n".join(lines) + "\n"


def with_table(page: str, results: list[tuple[str, dict]]) -> str:
    """Return a page with the table of all targets between its marks."""
    head, rest = page.split(BEGIN)
    found = table(results).replace(f" {BASELINE}", f" commit {BASELINE}")
    return f"{head}{BEGIN}\n\n{found}\n{END}{rest.split(END)[1]}"


def describe(machine: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = f"{machine['processors']} processors, {machine['torch_threads']} thread(s) of torch, {machine['system']}"
    card = f", {machine['accelerator']}" if machine.get("accelerator") else ""
    known = machine.get("processor")  # not in results of before
    kind = f"; {known['name']} ({', '.join(known['features'])})" if known else ""
    return f"{machine['date']}: {where}{card}{kind}; {versions}."


def main() -> None:
    results = read_results(RESULTS)
    if not results:
        raise SystemExit(f"no results in {RESULTS}; run the benchmarks first, e.g. `make bench`")
    text = table(results)
    (RESULTS / "table.md").write_text(text + sections(results))
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
