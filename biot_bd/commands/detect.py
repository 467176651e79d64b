"""``biot-bd detect``: find seizures in recordings with a saved model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands import _options as shared

if TYPE_CHECKING:
    from biot_bd.deploy.recording_files import Item
    from biot_bd.deploy.results import Outcome, Outputs


def detect(
    context: typer.Context,
    model: shared.SavedModel,
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="Recordings (EDF, BDF, FIF, BrainVision, ...), folders, BIDS trees."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the results; for one recording also a file, e.g. x.tsv.")
    ],
    format: Annotated[
        list[str] | None,
        typer.Option(help="tsv (SzCORE), csv_bi (TUSZ), edf, mne or json; may be repeated. Default: tsv."),
    ] = None,
    stride_s: shared.StrideS = 5.0,
    on_missing: shared.OnMissing = "raise",
    threshold: shared.ModelThreshold = None,
    smoothing_s: shared.Smoothing = None,
    release_fraction: shared.Release = None,
    min_duration_s: shared.MinDuration = None,
    merge_gap_s: shared.MergeGap = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="Decide from the past alone, as `biot-bd stream` does.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write the probability of each window, too.")
    ] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw each event over the EEG.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Write a page for each patient.")] = False,
    jobs: Annotated[int, typer.Option(help="Recordings at once; -1 for one a processor.")] = 1,
    precision: shared.ModelPrecision = "fp32",
    engine: shared.Engine = "torch",
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", "--resume", help="Leave out recordings whose results are there.")
    ] = False,
    json: shared.Json = False,
) -> None:
    """Find seizures in recordings and write an event file for each; the tree of a folder is kept.

    A recording that fails stops no other: each failure is one line, and the exit status is 1.
    """
    shared.check_detector(model, engine=engine, precision=precision, on_missing=on_missing)

    from biot_bd.deploy.recording_files import find_items, page_paths
    from biot_bd.deploy.results import FORMATS, Outputs

    formats = tuple(dict.fromkeys(format or ["tsv"]))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise typer.BadParameter(f"no format {unknown[0]!r}; there are {', '.join(FORMATS)}", param_hint="--format")
    if jobs == 0:
        raise typer.BadParameter("0: expected how many recordings at once, 1 or more, or -1", param_hint="--jobs")
    items, folder = _targets(find_items(inputs, skip=[output]), inputs, output, formats)
    outputs = Outputs(folder, formats, probabilities=probabilities, plot=plot, html=html)
    options = {name: context.params[name] for name in (*shared.DETECTOR, "causal")}
    pages = page_paths(items, folder) if html else {}
    wanted = _wanted(items, outputs, pages) if skip_existing else items
    outcomes = _run(wanted, model, options, outputs, jobs, pages, quiet=json)
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if json:
        from biot_bd.commands._pipelines import print_json

        print_json(_facts(model, outputs, outcomes, len(items) - len(wanted)))
    else:
        skipped = f", {len(items) - len(wanted)} were there" if skip_existing else ""
        n_events = sum(len(outcome.facts["events"]) for outcome in outcomes if outcome.facts is not None)
        typer.echo(f"{len(outcomes) - len(failures)} recordings done, {n_events} events{skipped}; results: {output}")
    if failures:
        typer.echo(f"{len(failures)} of {len(items)} recordings failed", err=True)
        raise typer.Exit(1)


def _targets(
    items: list[Item], inputs: Sequence[Path], output: Path, formats: tuple[str, ...]
) -> tuple[list[Item], Path]:
    """Return the items and the folder of results; a named event file becomes the one item's
    target.
    """
    from dataclasses import replace

    from biot_bd.commands._pipelines import check_output
    from biot_bd.deploy.results import FORMATS

    if output.suffix.lower() in FORMATS.values() and not output.is_dir():
        if len(items) != 1 or len(formats) != 1 or output.suffix.lower() != FORMATS[formats[0]]:
            raise typer.BadParameter(
                f"{output} is a file: expected one recording and one --format that ends so; name a folder instead",
                param_hint="--output",
            )
        if output.resolve() in [path.resolve() for path in inputs]:
            raise typer.BadParameter(f"{output} is the recording itself", param_hint="--output")
        return [replace(items[0], target=output)], output.parent
    check_output(output)
    return items, output


def _wanted(items: list[Item], outputs: Outputs, pages: dict[str, Path]) -> list[Item]:
    """Return the items whose results are not all there; of a patient whose page is wanted all or
    none.
    """
    from biot_bd.deploy.results import is_done

    left = [item for item in items if not is_done(item, outputs)]
    if not outputs.html:
        return left
    again = {item.patient for item in left} | {patient for patient, page in pages.items() if not page.is_file()}
    return [item for item in items if item.patient in again]


def _run(
    items: list[Item],
    model: Path,
    options: dict[str, Any],
    outputs: Outputs,
    jobs: int,
    pages: dict[str, Path],
    *,
    quiet: bool,
) -> list[Outcome]:
    """Work with a progress bar on stderr; failures are told as they come."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from biot_bd.deploy.results import detect_items
    from biot_bd.runs import note_done

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    outcomes: list[Outcome] = []
    left = {item.patient: sum(other.patient == item.patient for other in items) for item in items}
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("recordings", total=len(items))
        for outcome in detect_items(items, model, options, outputs, n_jobs=jobs):
            outcomes.append(outcome)
            progress.advance(task)
            note_done("recordings", len(outcomes), len(items))
            _tell(console, outcome, quiet)
            left[outcome.item.patient] -= 1
            if outputs.html and left[outcome.item.patient] == 0:
                _write_page(console, outcome.item.patient, outcomes, pages[outcome.item.patient], model)
    return outcomes


def _write_page(console: Any, patient: str, outcomes: list[Outcome], path: Path, model: Path) -> None:
    from biot_bd.deploy.patient_page import write_page

    own = [outcome for outcome in outcomes if outcome.item.patient == patient]
    parts = [outcome.part for outcome in own if outcome.part is not None]
    try:
        page = write_page(path, patient, parts, [o.error for o in own if o.error], model.name)
    except OSError as error:
        own[-1].error = f"{patient}: its page cannot be written ({error})"
        _tell(console, own[-1], quiet=True)
        return
    own[-1].files.append(page)
    for outcome in own:
        outcome.part = None  # pictures of hundreds of recordings would fill the memory


def _tell(console: Any, outcome: Outcome, quiet: bool) -> None:
    lines = []
    if outcome.error is not None:
        lines = [f"failed: {outcome.error}"]
    elif outcome.facts is not None and not quiet:
        found = outcome.facts["events"]
        events = ", ".join(f"{e['onset_s']:g} to {e['offset_s']:g} s" for e in found[:5]) or "none"
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        lines = [f"{outcome.item.path}: events: {events}{more}", *(f"  note: {n}" for n in outcome.facts["notes"])]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _facts(model: Path, outputs: Outputs, outcomes: list[Outcome], n_skipped: int) -> dict[str, Any]:
    return {
        "model": model,
        "output": outputs.folder,
        "n_skipped": n_skipped,
        "recordings": [{**outcome.facts, "files": outcome.files} for outcome in outcomes if outcome.facts is not None],
        "failures": [
            {"source": outcome.item.path, "reason": outcome.error} for outcome in outcomes if outcome.error is not None
        ],
    }
