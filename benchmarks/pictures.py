"""The pictures of the documentation, and what makes each: no picture is drawn by hand.

    python benchmarks/pictures.py               # draws, or says what makes the others
    python benchmarks/pictures.py floors.svg

`make pictures` calls it.  Pictures of examples are made when the site is built.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "_static"
#: Picture -> the command that makes it; where there is none, it is drawn here.
MADE_BY = {
    "detect_chb01_03.png": "python benchmarks/readme_picture.py CHBMIT docs/_static/detect_chb01_03.png",
    "floors.svg": None,
    "label_efficiency.svg": "python experiments/label_efficiency.py --out runs/label-efficiency --jobs 2",
    "quick_alignment.svg": "python experiments/quick_alignment.py --out runs/quick-alignment",
}

WHAT = {  # a line for each room; the rooms and their floors are those of pyproject.toml
    "commands": "the command line, one thin module a command",
    "cli": "finds commands",
    "testing": "checks for plugin authors",
    "report": "pages: drawing, run, events, comparison",
    "deploy": "detector, live signals, review, model registry",
    "evaluation": "metrics < statistics < model_selection < cross-validation < searching, studies",
    "probes": "attention, attribution, figures",
    "embedding": "frozen embeddings, probes",
    "ensembles": "several models as one",
    "export": "graphs, gates, artifacts",
    "pretraining": "objectives, Pretrainer",
    "training": "input, loop < sampling < finetuning < classifier < persistence",
    "datasets": "recordings of every cohort",
    "windows": "label rules, prepare, the store, Windows",
    "viewer": "EEG in a browser",
    "signals": "transformers",
    "models": "BIOT, checkpoints",
    "events": "curve, detector, files",
    "io": "recordings on disk: headers, time line, units, readers",
}
LOWEST = 3  # layers of the linter that are floor 1: hooks, registries, and what stands below them


def floors() -> list[list[str]]:
    """Return the rooms of each floor, highest first, as import-linter holds them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [re.findall(r"\w+", layer) for layer in layers]


def draw_floors() -> str:
    """Return the picture of the house as SVG."""
    width, left, height, gap = 980, 54, 58, 8
    rows = floors()
    whole = len(rows) * (height + gap) + 44
    label = "Floors of biot_bd, the command line at the top, hooks and registries at the bottom"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" role="img" aria-label="{label}" font-family="system-ui, sans-serif">',
        f'<rect width="{width}" height="{whole}" fill="#ffffff"/>',
    ]
    for number, rooms in enumerate(rows):
        top = 14 + number * (height + gap)
        lines.append(
            f'<rect x="{left}" y="{top}" width="{width - left - 14}" height="{height}" rx="6" fill="#f2f4f7"/>'
        )
        if (floor := len(rows) - LOWEST - number + 1) > 0:  # what lies below floor 2 is one floor
            lines.append(_text(28, top + 34, 15, "#555", str(floor)))
        lines += _boxes(rooms, left + 8, top + 8, width - left - 14 - 8)
    note = "Imports point downwards only. a < b: b may import a, never the reverse."
    lines.append(_text(width / 2, whole - 14, 12, "#444", note))
    return "\n".join([*lines, "</svg>", ""])


def _boxes(rooms: list[str], left: float, top: float, room_px: float) -> list[str]:
    names = [f"{room}/" if (ROOT / "biot_bd" / room).is_dir() else f"{room}.py" for room in rooms]
    shares = [max(len(WHAT.get(room, "")), 1.2 * len(name)) for room, name in zip(rooms, names, strict=True)]
    each = (room_px - 8 * len(rooms)) / sum(shares)
    size = min(14.0, *(1.45 * share * each / len(name) for share, name in zip(shares, names, strict=True)))
    lines = []
    for room, name, share in zip(rooms, names, shares, strict=True):
        wide = share * each
        box = f'<rect x="{left:.0f}" y="{top}" width="{wide:.0f}" height="42" rx="4"'
        lines.append(f'{box} fill="#ffffff" stroke="#33658a"/>')
        lines.append(_text(left + wide / 2, top + (19 if room in WHAT else 26), size, "#123", name, weight=600))
        if room in WHAT:
            lines.append(_text(left + wide / 2, top + 35, min(11.0, wide / len(WHAT[room]) * 1.9), "#444", WHAT[room]))
        left += wide + 8
    return lines


def _text(x: float, y: float, size: float, colour: str, words: str, weight: int = 400) -> str:
    style = f'font-size="{size:.1f}" font-weight="{weight}" text-anchor="middle" fill="{colour}"'
    return f'<text x="{x:.0f}" y="{y}" {style}>{escape(words)}</text>'


DRAWN: dict[str, Callable[[], str]] = {"floors.svg": draw_floors}


def main() -> None:
    """Draw the named pictures, or all that are drawn here."""
    for name in sys.argv[1:] or MADE_BY:
        if name in DRAWN:
            (FOLDER / name).write_text(DRAWN[name](), encoding="utf-8")
            print(f"docs/_static/{name}: drawn")
        else:
            print(f"docs/_static/{name}: {MADE_BY[name]}")


if __name__ == "__main__":
    main()
