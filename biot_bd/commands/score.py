"""``biot-bd score``: files of detected events against annotated ones, as SzCORE prescribes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer


def score(
    reference: Annotated[
        Path,
        typer.Argument(
            help="Folder of annotations: SzCORE TSV or TUSZ csv_bi, e.g. a BIDS tree; or a run folder alone, whose own "
            "events and annotations are shown."
        ),
    ],
    hypothesis: Annotated[
        Path | None,
        typer.Argument(help="Folder of detections, one file for each annotated recording, or a run folder."),
    ] = None,
    scorer: Annotated[
        str,
        typer.Option(
            help="Scorers, with commas between: szcore (always there), nedc-ovlp, nedc-taes (OVERLAP and TAES of NEDC's software)."
        ),
    ] = "szcore",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all scores to this JSON file.")] = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Numbers for names of subjects and files in all that is written.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON on stdout.")] = False,
) -> None:
    """Score detected events against annotated ones: by subject, over subjects, with the baselines
    always-on and always-off beside.
    """
    from biot_bd.commands._folders import refuse

    for folder in (reference, hypothesis):
        if folder is not None:
            refuse(folder, "model", "windows", wanted="event files or a run folder")

    from rich.console import Console

    from biot_bd.commands._output import print_json
    from biot_bd.events.folders import score_folders
    from biot_bd.runs import write_json

    others = _other_scorers(scorer)
    if hypothesis is None:
        scores = _of_run(reference)
        recordings = _recordings_of_run(reference) if others else []
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scores = score_folders(reference, hypothesis)
        for text in dict.fromkeys(str(one.message) for one in caught if one.category is UserWarning):
            typer.echo(f"biot-bd score: warning: {text}", err=True)
        recordings = _recordings_of(scores)
    if others:
        from biot_bd.events import score_nedc_subjects

        scores = {**scores, "nedc": {name: score_nedc_subjects(recordings, name) for name in others}}
    if anonymous:
        scores = _without_names(scores)
    if output is not None:
        write_json(output, scores)
    if json:
        print_json(scores)
        return
    _show(Console(), scores)


def _without_names(scores: dict[str, Any]) -> dict[str, Any]:
    """Return scores with numbers for names; files are matched by their names before."""
    from biot_bd.anonymous import NOT_TOLD
    from biot_bd.models.checkpoints.anonymous_facts import replaced_names, rewritten
    from biot_bd.runs import to_jsonable

    facts = {**to_jsonable(scores), "folders": dict.fromkeys(scores["folders"], NOT_TOLD)}
    unused = [{"recording": name} for name in facts["unused"]]
    names = replaced_names([facts, unused])
    left = sorted(names.text(name) for name in facts["unused"])
    return {**rewritten({**facts, "unused": []}, names, hashes=True), "unused": left}


def _other_scorers(scorer: str) -> list[str]:
    """Return the scorers that are asked for beside SzCORE."""
    from biot_bd.events.nedc import METHODS

    names = [name.strip() for name in scorer.split(",") if name.strip()]
    for name in names:
        if name not in ("szcore", *METHODS):
            raise typer.BadParameter(
                f"no scorer {name!r}; there are szcore, {', '.join(METHODS)}", param_hint="--scorer"
            )
    return [name for name in dict.fromkeys(names) if name != "szcore"]


def _recordings_of(scores: dict[str, Any]) -> list[Any]:
    from biot_bd.events import ScoredRecording

    return [ScoredRecording(name, **one) for name, one in scores["recordings"].items()]


def _recordings_of_run(folder: Path) -> list[Any]:
    """Return the annotated and detected events of a run's test recordings."""
    from biot_bd.evaluation.stored_predictions import open_stored

    return open_stored(_run_of(folder)).recordings or []


def _run_of(folder: Path) -> Path:
    from biot_bd.evaluation.run_facts import RUN

    return folder.parent if folder.name == "events" and (folder.parent / RUN).is_file() else folder


def _of_run(folder: Path) -> dict[str, Any]:
    """Return the event scores that a finished run stores, by the annotations of its own data."""
    from biot_bd.evaluation.run_facts import METRICS, PREDICTIONS, RUN, check_finished, read_facts

    run = _run_of(folder)
    if not run.exists():
        raise FileNotFoundError(f"{run}: no such folder")
    if not (run / RUN).is_file():
        raise typer.BadParameter(
            f"{run} is no run folder, so a second folder is needed: biot-bd score ANNOTATIONS DETECTIONS",
            param_hint="HYPOTHESIS",
        )
    check_finished(run, (RUN, METRICS, PREDICTIONS), "run")
    found = read_facts(run / METRICS).get("events")
    if not found or not found.get("subjects"):
        raise ValueError(f"{run}: scored no events (it was made from arrays, or by an earlier version)")
    folders = {"reference": f"annotations of the data, as stored in {run / METRICS}", "hypothesis": str(run / "events")}
    return {**found, "folders": folders, "unused": [], "notes": []}


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
        table.add_row(Text(subject), *_counts(one), *_scores(one["events"]))
    table.add_section()
    table.add_row("macro", "", "", "", "", *_macro(scores["macro"]), style="bold")
    table.add_row("pooled", *_counts(scores["pooled"]), *_scores(scores["pooled"]["events"]))
    for name, baseline in scores["baselines"].items():
        table.add_row(name, "", "", "", "", *_macro(baseline["macro"]))
    for name, title in (("reference", "reference"), ("hypothesis", "detections")):
        console.print(f"{title}: {scores['folders'][name]}", markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    console.print(_by_length(scores["by_length"]))
    if "nedc" in scores:
        console.print(_beside(scores))
    lines = [
        f"scorer: {scorer_text(scores['scorer'])}",
        "sz: seizures, FA: false alarms, as the scorer counts them, after merging and splitting; sens., prec.: sensitivity, "
        "precision; late: median latency; macro, always-on, always-off: means over subjects; – : undefined",
    ]
    if scores["unused"]:
        lines.append(f"detections without annotations, not scored: {', '.join(scores['unused'])}")
    lines += [f"note: {note}" for note in scores["notes"]]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _by_length(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    from biot_bd.number_texts import text_of

    table = Table(title="Annotated seizures by length", title_justify="left")
    for name in ("length s", "seizures", "detected", "sensitivity", "latency s"):
        table.add_column(name, justify="right")
    for row in rows:
        span = f"{row['from_s']:g} and more" if row["to_s"] is None else f"{row['from_s']:g} to {row['to_s']:g}"
        scores = (text_of(name, row[name]) for name in ("sensitivity", "median_latency_s"))
        table.add_row(span, str(row["n"]), str(row["n_detected"]), *scores)
    return table


def _beside(scores: dict[str, Any]) -> Any:
    """Return SzCORE and NEDC's scorers side by side."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from biot_bd.number_texts import text_of

    table = Table(title="All recordings together, by scorer", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("scorer", no_wrap=True)
    for name in ("hits", "misses", "FA", "sens.", "prec.", "F1", "FA/24h", "macro F1"):
        table.add_column(name, justify="right", no_wrap=True)
    szcore = scores["pooled"]["events"]
    rows = {"szcore": (szcore | {"fn": szcore["n_reference"] - szcore["tp"]}, scores["macro"]["events"]["f1"])}
    rows |= {name: (one["pooled"], one["macro"]["f1"]) for name, one in scores["nedc"].items()}
    for name, (one, macro) in rows.items():
        counts = [f"{one[count]:.4g}" for count in ("tp", "fn", "fp")]
        values = [text_of(score, one[score]) for score in ("sensitivity", "precision", "f1", "fa_per_24h")]
        table.add_row(name, *counts, *values, text_of("f1", macro["value"]))
    return table


_SHOWN = ("sensitivity", "precision", "f1", "fa_per_24h", "median_latency_s")


def _counts(one: dict[str, Any]) -> list[str]:
    from biot_bd.number_texts import hours_text

    events = one["events"]
    return [hours_text(one["hours"]), str(events["n_reference"]), str(events["tp"]), str(events["fp"])]


def _scores(events: dict[str, Any]) -> list[str]:
    from biot_bd.number_texts import text_of

    return [text_of(name, events[name]) for name in _SHOWN]


def _macro(macro: dict[str, Any]) -> list[str]:
    return _scores({name: macro["events"][name]["value"] for name in _SHOWN})
