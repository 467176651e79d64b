"""``biot-bd score``: files of predicted events against annotated ones, as SzCORE prescribes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def score(
    reference: Annotated[
        Path, typer.Argument(help="Folder of annotations: SzCORE TSV or TUSZ csv_bi, e.g. a BIDS tree.")
    ],
    hypothesis: Annotated[Path, typer.Argument(help="Folder of predictions, one file for each annotated recording.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all scores to this JSON file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON on stdout.")] = False,
) -> None:
    """Score predicted events: by subject, over subjects, with the baselines always-on and
    always-off beside.
    """
    from rich.console import Console

    from biot_bd.commands._pipelines import print_json
    from biot_bd.events.folders import score_folders
    from biot_bd.runs import write_json

    scores = score_folders(reference, hypothesis)
    if output is not None:
        write_json(output, scores)
    if json:
        print_json(scores)
        return
    _show(Console(), scores)


def _show(console: Any, scores: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from biot_bd.events.scoring import scorer_text

    table = Table(
        title="Events by subject", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    table.add_column("subject", overflow="fold")
    for name in ("hours", "sz", "found", "FA", "sens.", "prec.", "F1", "FA/24h", "late s"):
        table.add_column(name, justify="right", no_wrap=True)
    for subject, one in scores["subjects"].items():
        table.add_row(Text(subject), *_counts(one), *(_number(one["events"][name]) for name in _SHOWN))
    table.add_section()
    table.add_row("macro", "", "", "", "", *_macro(scores["macro"]), style="bold")
    table.add_row("pooled", *_counts(scores["pooled"]), *(_number(scores["pooled"]["events"][name]) for name in _SHOWN))
    for name, baseline in scores["baselines"].items():
        table.add_row(name, "", "", "", "", *_macro(baseline["macro"]))
    console.print(table)
    console.print(_by_length(scores["by_length"]))
    lines = [
        f"scorer: {scorer_text(scores['scorer'])}",
        "sz: seizures, FA: false alarms, as the scorer counts them, after merging and splitting; sens., prec.: sensitivity, "
        "precision; late: median latency; macro, always-on, always-off: means over subjects; – : undefined",
    ]
    if scores["unused"]:
        lines.append(f"predictions without annotations, not scored: {', '.join(scores['unused'])}")
    lines += [f"note: {note}" for note in scores["notes"]]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _by_length(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title="Annotated seizures by length", title_justify="left")
    for name in ("length s", "seizures", "detected", "sensitivity", "latency s"):
        table.add_column(name, justify="right")
    for row in rows:
        span = f"{row['from_s']:g} and more" if row["to_s"] is None else f"{row['from_s']:g} to {row['to_s']:g}"
        scores = (_number(row["sensitivity"]), _number(row["median_latency_s"]))
        table.add_row(span, str(row["n"]), str(row["n_detected"]), *scores)
    return table


_SHOWN = ("sensitivity", "precision", "f1", "fa_per_24h", "median_latency_s")


def _counts(one: dict[str, Any]) -> list[str]:
    events = one["events"]
    return [f"{one['hours']:.2f}", str(events["n_reference"]), str(events["tp"]), str(events["fp"])]


def _macro(macro: dict[str, Any]) -> list[str]:
    return [_number(macro["events"][name]["value"]) for name in _SHOWN]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
