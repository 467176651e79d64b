"""``biot-bd tune``: another operating point for a model, chosen on reviewed recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands import _options as shared

if TYPE_CHECKING:
    from biot_bd.deploy.tuning import TuningFacts

WIDTH = 80
_ROWS = (
    ("threshold", "threshold"),
    ("smoothing_s", "smoothed over, s"),
    ("release_fraction", "ends below, share of it"),
    ("min_duration_s", "shortest event, s"),
    ("merge_gap_s", "joined within, s"),
)


def tune(
    model: shared.ModelFolder,
    reviewed: Annotated[
        Path,
        typer.Argument(help="Results that were reviewed: RESULTS, or RESULTS/reviews/NAME (see `biot-bd review`)."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the new model; without it, only the comparison is printed."),
    ] = None,
    reviewer: Annotated[str | None, typer.Option(help="Whose reviews count, where several reviewed.")] = None,
    event_target: Annotated[
        str | None,
        typer.Option(
            help="What to choose for: f1, sensitivity=0.9, fa_per_24h=2. Default: what the model was trained for."
        ),
    ] = None,
    target_fa_per_24h: Annotated[
        float | None,
        typer.Option(
            "--target-fa-per-24h",
            help="Short for --event-target fa_per_24h=NUMBER: most seizures at no more false alarms per 24 h.",
            min=0,
        ),
    ] = None,
    partly_read: Annotated[
        bool,
        typer.Option("--partly-read", help="Take recordings that were not read whole, too; the model then says so."),
    ] = False,
    allow_contaminated: Annotated[
        bool,
        typer.Option(
            "--allow-contaminated",
            help="Go on where reviewed recordings, or their subjects, trained the model; the new model then says so.",
        ),
    ] = False,
    stride_s: Annotated[
        float | None,
        typer.Option(help="From one window's start to the next, in seconds. Default: as it was detected.", min=0.01),
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option(help="Folder of the recordings, where they were moved and the model must run again.")
    ] = None,
    json: shared.Json = False,
) -> None:
    """Choose threshold and event rules anew on reviewed recordings; nothing is trained.

    Probabilities come from the records that `biot-bd detect` left; where none fits, the model runs.
    """
    from biot_bd.commands._folders import expect

    expect(model, "model")

    from biot_bd.anonymous import NOT_TOLD
    from biot_bd.commands._output import print_json
    from biot_bd.commands._pipelines import event_detector
    from biot_bd.deploy.reviewed_scores import reviews_of, scores_of_reviews
    from biot_bd.deploy.tuning import check_new_folder, save_tuned
    from biot_bd.deploy.tuning import tune as tune_model

    target = event_detector(event_target, target_fa_per_24h)
    if target is not None and target.target is None:
        raise ValueError("--event-target none: nothing would be chosen; expected f1, sensitivity=0.9 or fa_per_24h=2")
    if output is not None:
        check_new_folder(model, output)
    results, reviews, left_out = reviews_of(reviewed, reviewer, partly_read)
    seen = list(scores_of_reviews(results, reviews, model, stride_s=stride_s, recordings=recordings))
    name = reviews[0].reviewer
    dated = not any(one.source == NOT_TOLD for one in reviews)
    tuning = tune_model(model, seen, reviewer=name, target=target, allow_contaminated=allow_contaminated, dated=dated)
    if output is not None:
        save_tuned(tuning, model, output)
    if json:
        print_json({**tuning.facts, "left_out": [one.recording for one in left_out], "folder": output})
        return
    n_computed = sum(one.computed for one in seen)
    _show(model, tuning.facts, [one.recording for one in left_out], n_computed, output)


def _show(model: Path, facts: TuningFacts, left_out: list[str], n_computed: int, output: Path | None) -> None:
    from rich.console import Console

    from biot_bd.events.chosen_on import chosen_on_text
    from biot_bd.models.checkpoints.provenance import some
    from biot_bd.number_texts import count_text

    console = Console(width=WIDTH)
    lines = [f"{model}: operating point for {_target(facts)}"]
    if facts["contamination"]:
        lines.insert(0, facts["contamination"].replace("contaminated", "CONTAMINATED", 1))
    lines.append(f"chosen on {chosen_on_text(facts['chosen_on'])}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(_table(facts))
    lines = [f"note: {note}" for note in ([facts["reason"]] if facts["reason"] else []) + facts["notes"]]
    if n_computed:
        lines.append(
            f"note: the model ran over {count_text(n_computed, 'recording')}, as no record of a detection fits"
        )
    if left_out:
        lines.append(f"not read whole, left out: {some(left_out, 3)}")
    done = "not saved; name a folder for the new model with -o" if output is None else f"model: {output}"
    for line in [*lines, done]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _target(facts: TuningFacts) -> str:
    value = facts["target_value"]
    if facts["target"] == "f1":
        return "the best event F1"
    if facts["target"] == "sensitivity":
        return f"a sensitivity of at least {value:g}"
    return f"no more than {value:g} false alarms per 24 h"


def _table(facts: TuningFacts) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from biot_bd.number_texts import text_of

    points = facts["before"], facts["after"]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in ("before", "new"):
        table.add_column(name, justify="right")
    for key, label in _ROWS:
        table.add_row(label, *(f"{point['setting'][key]:.3g}" for point in points))
    table.add_section()
    table.add_row("seizures found", *(f"{point['tp']} of {point['n_reference']}" for point in points))
    table.add_row("sensitivity", *(text_of("sensitivity", point["sensitivity"]) for point in points))
    table.add_row("  95 % interval, exact", *(_interval(point["sensitivity_interval"]) for point in points))
    table.add_row("false alarms", *(str(point["fp"]) for point in points))
    table.add_row("false alarms / 24 h", *(text_of("fa_per_24h", point["fa_per_24h"]) for point in points))
    table.add_row("precision", *(text_of("precision", point["precision"]) for point in points))
    table.add_row("event F1", *(text_of("f1", point["f1"]) for point in points))
    return table


def _interval(found: list[float] | None) -> str:
    return "–" if found is None else f"{found[0]:.2f} to {found[1]:.2f}"
