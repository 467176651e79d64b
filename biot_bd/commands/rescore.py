"""``biot-bd rescore``: new scores of finished runs, from their stored predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from biot_bd.commands._options import Json


def rescore(
    run: Annotated[
        Path,
        typer.Argument(help="Finished run folder of `biot-bd cv`, or a folder with such folders, e.g. of a study."),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Registered metric, a scorer of scikit-learn, or sens_fa_auc, sensitivity_at_fa, chance, nedc-ovlp, "
            "nedc-taes; may be repeated. Default: the run's own metrics and all of these."
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="balanced-accuracy or matched-prevalence on stored validation predictions, or a number. Default: the run's own."
        ),
    ] = None,
    event_target: Annotated[
        str | None,
        typer.Option(
            help="Choose the operating point of events anew on stored validation predictions: f1, sensitivity=0.9, fa_per_24h=2, none."
        ),
    ] = None,
    target_fa_per_24h: Annotated[
        float | None,
        typer.Option("--target-fa-per-24h", help="Short for --event-target fa_per_24h=NUMBER.", min=0),
    ] = None,
    json: Json = False,
) -> None:
    """Compute new metrics of a finished run without its model, into rescored.json and rescored.csv
    beside metrics.json, which stays as it is.
    """
    from rich.console import Console

    from biot_bd.commands._output import print_json
    from biot_bd.commands._pipelines import event_detector, number_or_name
    from biot_bd.evaluation.rescoring import rescore as score_again
    from biot_bd.evaluation.rescoring import runs_below, write_rescored

    rule = None if threshold is None else number_or_name(threshold)
    detector = event_detector(event_target, target_fa_per_24h)
    console, faults, out = Console(), [], {}
    folders = runs_below(run)
    for folder in folders:
        try:
            found = score_again(folder, metric, threshold=rule, event_detector=detector)
        except (OSError, ValueError) as error:
            if len(folders) == 1:
                raise
            faults.append(str(error))
            typer.echo(f"biot-bd rescore: {error}", err=True)
            continue
        out[str(folder)] = found
        path = write_rescored(folder, found)
        if not json:
            console.print(_table(str(folder), found) if found["scoring"] else str(folder), markup=False)
            for line in _lines(found):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            typer.echo(f"scores: {path}")
    if json:
        print_json(out)
    if faults:
        typer.echo(f"biot-bd rescore: {len(faults)} of {len(folders)} runs could not be scored", err=True)
        raise typer.Exit(1)


def _table(title: str, found: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from biot_bd.number_texts import score_text

    table = Table(title=Text(title), title_justify="left")
    table.add_column("subject", overflow="fold")
    for name in found["scoring"]:
        table.add_column(name.replace("_", " "), justify="right", overflow="fold")
    for subject, scores in found["subjects"].items():
        table.add_row(Text(subject), *(score_text(scores[name]["value"]) for name in found["scoring"]))
    table.add_section()
    for average in ("macro", "pooled"):
        table.add_row(average, *(score_text(found[average][name]["value"]) for name in found["scoring"]))
    return table


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """Say the scores of events and curves."""
    further = found["further"]
    if "sens_fa_auc" in further:
        for form in ("strict", "neuroatlas-0.1.1"):
            yield f"Sens@FA AUC ({form}): {_text(further['sens_fa_auc'][form])}"
    for row in further.get("sensitivity_at_fa", {}).get("rates", ()):
        yield f"best sensitivity at {row['fa_per_h']:g} false alarms/h: {_text(row)}, mean of {row['n_folds']} folds"
    if "chance" in further:
        yield f"against chance: {_against_chance(further['chance'])}"
    for name in ("nedc-ovlp", "nedc-taes"):
        if name in further:
            yield f"{name}: {nedc_text(further[name])}"
    for one in further.get("conformal", {}).values():
        yield f"conformal sets by class at {one['level']:.3g}: {_conformal(one)}"
    if found["notes"]:
        yield from (f"note: {note}" for note in found["notes"])


def _text(score: dict[str, Any]) -> str:
    from biot_bd.number_texts import score_text

    return score_text(score["value"]) if score["value"] is not None else f"– ({score['reason']})"


def _conformal(found: dict[str, Any]) -> str:
    from biot_bd.number_texts import percent_text, score_text

    if "pooled" not in found:
        return f"– ({found['reason']})"
    pooled = found["pooled"]
    notes = f" ({found['notes'][0]})" if found["notes"] else ""
    return (
        f"true class in the set of {percent_text(found['macro']['value'])} of a subject's windows (seizures "
        f"{score_text(pooled['coverage_by_class'][-1])}), {pooled['mean_size']:.2f} classes a set{notes}"
    )


def _against_chance(found: dict[str, Any]) -> str:
    from biot_bd.number_texts import percent_text, score_text

    if "pooled" not in found:
        return f"– ({found['reason']})"
    pooled, macro = found["pooled"], found["macro"]["improvement_over_chance"]
    if pooled["reason"]:
        return f"– ({pooled['reason']})"
    return (
        f"{pooled['n_detected']} of {pooled['n_seizures']} seizures, {percent_text(pooled['time_in_warning'])} of the time in "
        f"warning; chance finds {score_text(pooled['chance_sensitivity'])} (p {pooled['p_value']:.2g}); improvement over "
        f"chance {score_text(macro['value'])}, mean of {macro['n_subjects']} subjects"
    )


def nedc_text(found: dict[str, Any]) -> str:
    """Return the pooled scores of :func:`biot_bd.events.score_nedc_subjects` in words."""
    from biot_bd.number_texts import text_of

    if "pooled" not in found:
        return f"– ({found['reason']})"
    pooled = found["pooled"]
    counts = f"{pooled['tp']:.4g} hits, {pooled['fn']:.4g} misses, {pooled['fp']:.4g} false alarms"
    shown = (("sensitivity", "sensitivity"), ("f1", "F1"), ("fa_per_24h", "false alarms per 24 h"))
    return f"{counts}; {', '.join(f'{label} {text_of(name, pooled[name])}' for name, label in shown)}"
