"""``biot-bd detect``: find seizures in recordings with a saved model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands import _options as shared
from biot_bd.commands._names import check_detector
from biot_bd.io.notes import counted

if TYPE_CHECKING:
    from biot_bd.deploy.detection_record import DetectionRecord
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
    viewer: Annotated[
        bool, typer.Option("--viewer", help="Write the EEG of whole recordings as pages, one an hour.")
    ] = False,
    jobs: Annotated[int, typer.Option(help="Recordings at once; -1 for one a processor.")] = 1,
    precision: shared.ModelPrecision = None,
    engine: shared.Engine = "auto",
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", "--resume", help="Leave out recordings whose results are there.")
    ] = False,
    anonymous: Annotated[
        bool,
        typer.Option("--anonymous", help="Numbers for names of files and patients in all that is written; no dates."),
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(help="With --anonymous: a private table that tells who is who, outside of the results."),
    ] = None,
    json: shared.Json = False,
) -> None:
    """Find seizures in recordings and write an event file for each; the tree of a folder is kept.

    A recording that fails stops no other: each failure is one line, and the exit status is 1.
    """
    check_detector(model, engine=engine, precision=precision, on_missing=on_missing)

    from biot_bd.deploy.recording_files import find_items, page_paths
    from biot_bd.deploy.results import FORMATS, Outputs

    formats = tuple(dict.fromkeys(format or ["tsv"]))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise typer.BadParameter(f"no format {unknown[0]!r}; there are {', '.join(FORMATS)}", param_hint="--format")
    if jobs == 0:
        raise typer.BadParameter("0: expected how many recordings at once, 1 or more, or -1", param_hint="--jobs")
    items, folder = _targets(find_items(inputs, skip=[output]), inputs, output, formats)
    if key is not None and not anonymous:
        raise typer.BadParameter("tells who is who in anonymous results; add --anonymous", param_hint="--key")
    if anonymous:
        from biot_bd.anonymous import check_key, write_key
        from biot_bd.deploy.anonymous_results import anonymous_items, key_rows

        table = None if key is None else check_key(key, folder)
        items = anonymous_items(items, folder, table)
        if table is not None:
            write_key(table, key_rows(items))
    else:
        from biot_bd.deploy.anonymous_results import check_named

        check_named(folder)
    outputs = Outputs(folder, formats, probabilities=probabilities, plot=plot, html=html, viewer=viewer)
    options = {name: context.params[name] for name in (*shared.DETECTOR, "causal")}
    work = _Work(items, outputs, page_paths(items, folder) if html else {}, model, quiet=json)
    wanted = work.left() if skip_existing else items
    outcomes = work.run(wanted, options, jobs)
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if json:
        from biot_bd.commands._output import print_json

        print_json(_facts(model, outputs, outcomes, len(items) - len(wanted)))
    else:
        skipped = f", {len(items) - len(wanted)} were there" if skip_existing else ""
        n_events = sum(len(outcome.facts["events"]) for outcome in outcomes if outcome.facts is not None)
        done = f"{counted(len(outcomes) - len(failures), 'recording')} done, {counted(n_events, 'event')}"
        typer.echo(f"{done}{skipped}; results: {output}")
        if written := [page for page in work.pages.values() if page.is_file()]:
            more = f" and {len(written) - 1} more" if len(written) > 1 else ""
            typer.echo(f"page: {written[0]}{more}")
    if failures:
        typer.echo(f"{len(failures)} of {counted(len(items), 'recording')} failed", err=True)
        raise typer.Exit(1)


def _targets(
    items: list[Item], inputs: Sequence[Path], output: Path, formats: tuple[str, ...]
) -> tuple[list[Item], Path]:
    """Return the items and the folder of results; a named event file becomes the one item's
    target.
    """
    from dataclasses import replace

    from biot_bd.commands._output import check_output
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


class _Work:
    """Detect with a progress bar on stderr; failures are told as they come, notes once at the
    end.
    """

    def __init__(self, items: list[Item], outputs: Outputs, pages: dict[str, Path], model: Path, *, quiet: bool):
        from rich.console import Console

        self.items, self.outputs, self.pages, self.model, self.quiet = items, outputs, pages, model, quiet
        self.console = Console(stderr=True)
        self.records: dict[Path, DetectionRecord] = {}
        self.options: dict[str, Any] = {}

    def left(self) -> list[Item]:
        """Return the items whose results are not all there; what is there is kept for pages."""
        from biot_bd.deploy.patient_pages import find_records
        from biot_bd.deploy.results import is_done

        if not (self.outputs.html or self.outputs.viewer):
            return [item for item in self.items if not is_done(item, self.outputs)]
        self.records = find_records(self.items, self.outputs)
        return [item for item in self.items if item.path not in self.records]

    def run(self, items: list[Item], options: dict[str, Any], jobs: int) -> list[Outcome]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from biot_bd.deploy.results import detect_items
        from biot_bd.runs import note_done

        self.options = options
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        outcomes: list[Outcome] = []
        left = Counter(item.patient for item in items)
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as progress:
            task = progress.add_task("recordings", total=len(items))
            for failed in self._write_what_is_there(set(left)):
                outcomes.append(failed)
                self._tell(failed)
            for outcome in detect_items(items, self.model, options, self.outputs, n_jobs=jobs):
                outcomes.append(outcome)
                progress.advance(task)
                note_done("recordings", len(outcomes), len(items))
                self._tell(outcome)
                left[outcome.item.patient] -= 1
                if self.outputs.html and left[outcome.item.patient] == 0:
                    self._write_page(outcome, outcomes)
        self._tell_notes(outcomes)
        return outcomes

    def _write_what_is_there(self, busy: set[str]) -> Iterator[Outcome]:
        """Write viewers and pages that need no detection, those of patients with nothing left;
        yield what failed.
        """
        if not (self.outputs.viewer or self.pages):
            return
        from biot_bd.deploy.patient_pages import write_missing_viewers
        from biot_bd.deploy.results import Outcome

        for item in self.items if self.outputs.viewer else []:
            if item.path not in self.records:
                continue
            try:
                write_missing_viewers(item, self.records[item.path], self.outputs)
            except (OSError, ValueError) as error:
                yield Outcome(item, error=f"its viewer cannot be written ({' '.join(str(error).split())})")
        for patient, page in self.pages.items():
            if patient not in busy and not page.is_file():
                last = Outcome(next(item for item in self.items if item.patient == patient))
                self._write_page(last, [])
                if last.error is not None:
                    yield last

    def _page_of(self, patient: str, outcomes: list[Outcome]) -> Path:
        from biot_bd.deploy.detection_record import model_facts
        from biot_bd.deploy.patient_pages import write_patient_page
        from biot_bd.deploy.results import load_cached

        setting = load_cached(str(self.model), **self.options).setting()
        made, facts = (self.items, outcomes, self.records, self.outputs), model_facts(self.model)
        return write_patient_page(self.pages[patient], patient, *made, facts, setting)

    def _write_page(self, last: Outcome, outcomes: list[Outcome]) -> None:
        patient = last.item.patient
        try:
            page = self._page_of(patient, outcomes)
        except OSError as error:
            last.error = f"{patient}: its page cannot be written ({error})"
            if outcomes:
                self._tell(last)
            return
        last.files.append(page)
        for outcome in outcomes:
            if outcome.item.patient == patient:
                outcome.detection = None  # of hundreds of recordings they would fill the memory

    def _tell(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._say(f"failed: {outcome.error}")
        elif outcome.facts is not None and not self.quiet:
            found = outcome.facts["events"]
            events = ", ".join(f"{e['onset_s']:g} to {e['offset_s']:g} s" for e in found[:5]) or "none"
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            self._say(f"{_name_of(outcome.item)}: events: {events}{more}")

    def _tell_notes(self, outcomes: list[Outcome]) -> None:
        from biot_bd.deploy.counted_notes import counted_notes, said_once

        done = [(_name_of(one.item), one.facts["notes"]) for one in outcomes if one.facts is not None]
        for note in counted_notes(done) if not self.quiet else []:
            self._say(f"note: {said_once(note, len(done))}")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _name_of(item: Item) -> str:
    """Return what a recording is called on the screen."""
    return str(item.path) if item.own is None else item.stem.name


def _facts(model: Path, outputs: Outputs, outcomes: list[Outcome], n_skipped: int) -> dict[str, Any]:
    if any(outcome.item.own is not None for outcome in outcomes):
        return _anonymous_facts(model, outputs, outcomes, n_skipped)
    return {
        "model": model,
        "output": outputs.folder,
        "n_skipped": n_skipped,
        "recordings": [{**outcome.facts, "files": outcome.files} for outcome in outcomes if outcome.facts is not None],
        "failures": [
            {"source": outcome.item.path, "reason": outcome.error} for outcome in outcomes if outcome.error is not None
        ],
    }


def _anonymous_facts(model: Path, outputs: Outputs, outcomes: list[Outcome], n_skipped: int) -> dict[str, Any]:
    """Return the facts with numbers for names; why one failed is told on the screen alone."""
    return {
        "model": model.name,
        "output": outputs.folder.name,
        "n_skipped": n_skipped,
        "recordings": [
            {**outcome.facts, "files": [path.relative_to(outputs.folder).as_posix() for path in outcome.files]}
            for outcome in outcomes
            if outcome.facts is not None
        ],
        "failures": [{"source": _name_of(one.item), "reason": "failed"} for one in outcomes if one.error is not None],
    }
