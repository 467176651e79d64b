"""``biot-bd review RESULTS --agreement``: how far the reviewers of a folder agree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

WIDTH = 80
_SCORES = (
    ("sensitivity", "  sensitivity"),
    ("precision", "  precision"),
    ("f1", "  F1"),
    ("fa_per_24h", "  false alarms / 24 h"),
)


def show_agreement(results: Path, json: bool = False) -> None:
    """Write ``reviews/agreement.json`` and print a table a pair of reviewers.

    Parameters
    ----------
    results : Path
        Folder that ``biot-bd detect`` wrote.
    json : bool
        Print the facts as JSON instead.
    """
    from rich.console import Console

    from biot_bd.commands._output import print_json
    from biot_bd.deploy.review.comparison import AGREEMENT, write_agreement
    from biot_bd.deploy.review.review_files import REVIEWS

    found = write_agreement(results)
    if json:
        print_json(found)
        return
    console = Console(width=WIDTH)
    for pair in found["pairs"]:
        console.print(_title(pair), markup=False, highlight=False, soft_wrap=True)
        console.print(_table(pair))
        for line in _lines(pair):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in [*_left_out(found), f"written: {results / REVIEWS / AGREEMENT}"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _title(pair: Mapping[str, Any]) -> str:
    from biot_bd.number_texts import count_text, hours_text

    recordings = count_text(len(pair["recordings"]), "recording")
    return f"{' and '.join(pair['reviewers'])}: {recordings} that both read whole, {hours_text(pair['hours'])} h"


def _table(pair: Mapping[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from biot_bd.number_texts import score_text, text_of

    names, events, seconds = pair["reviewers"], pair["events"], pair["samples"]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in names:
        table.add_column(Text(name), justify="right", max_width=20, overflow="fold")
    table.add_column("both", justify="right")
    table.add_row("events marked", *(str(events["n_events"][name]) for name in names), "")
    table.add_row("  that only this one marked", *(str(events["n_only"][name]) for name in names), "")
    table.add_row("positive agreement of events", "", "", score_text(events["positive_agreement"]))
    table.add_section()
    table.add_row("seconds marked", *(f"{seconds['both_s'] + seconds['only_s'][name]:g}" for name in names), "")
    table.add_row("  that only this one marked", *(f"{seconds['only_s'][name]:g}" for name in names), "")
    table.add_row("positive agreement of seconds", "", "", score_text(seconds["positive_agreement"]))
    table.add_row("Cohen's kappa of seconds", "", "", score_text(seconds["kappa"]))
    table.add_section()
    table.add_row("the other, with this one as reference:", "", "", "")
    for score, label in _SCORES:
        table.add_row(label, *(text_of(score, events["as_reference"][name][score]) for name in names), "")
    return table


def _lines(pair: Mapping[str, Any]) -> list[str]:
    """Say what stands in no cell: differences of times, scorer, what one alone read."""
    from biot_bd.events.scoring import scorer_text
    from biot_bd.models.checkpoints.provenance import some
    from biot_bd.number_texts import count_text

    first, second = pair["reviewers"]
    lines, differences = [], pair["differences"]
    n_matched = count_text(differences["n_matched"], "matched event")
    for name, label in (("onset_s", "onset"), ("offset_s", "offset")):
        if (one := differences[name]) is not None:
            span = f"{one['min']:+.2f} to {one['max']:+.2f} s"
            lines.append(f"{label}, {second} minus {first}: median {one['median']:+.2f} s, {span} ({n_matched})")
    lines += [f"undefined: {what}: {why}" for what, why in pair["reasons"].items() if "as_reference" not in what]
    lines += [
        f"read whole by {name} alone, not compared: {some(names, 3)}"
        for name, names in pair["read_by_one"].items()
        if names
    ]
    return [*lines, f"scorer: {scorer_text(pair['scorer'])}"]


def _left_out(found: Mapping[str, Any]) -> list[str]:
    from biot_bd.models.checkpoints.provenance import some

    lines = [f"{one} and {other}: no recording that both read whole" for one, other in found["without_common"]]
    return lines + [
        f"not read whole by {name}, left out: {some(names, 3)}"
        for name, names in found["not_read_whole"].items()
        if names
    ]
