"""``biot-bd doctor``: what is in a folder, before any work on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands._options import Json, OnMissing
from biot_bd.commands._pipelines import parse_assignments, print_json
from biot_bd.commands.datasets import ReaderOptions, print_table

if TYPE_CHECKING:
    from biot_bd.datasets import DatasetFacts, RecordingFacts

FEW = 5
WIDTH = 12


def doctor(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[DATASET] FOLDER",
            help="Data set by name (see `biot-bd datasets`), and the folder; without a name its layout tells.",
        ),
    ],
    montage: Annotated[str, typer.Option(help="Registered montage to compare channels with.")] = "biot-16",
    on_missing: OnMissing = "raise",
    samples: Annotated[
        bool, typer.Option("--samples", help="Also read samples: dead electrodes, zeros, offsets (takes long).")
    ] = False,
    option: ReaderOptions = None,
    show_all: Annotated[bool, typer.Option("--all", help="List every subject and recording.")] = False,
    json: Json = False,
) -> None:
    """Say what is in a folder of recordings, and what `prepare` would make of it.

    Nothing is written. Exit status: 0 if `prepare` would go through with its defaults (what is
    missing on the disk or has no labels is only told), 1 if it would stop, or nothing is there.
    """
    from biot_bd.datasets import inspect_folder

    if len(words) > 2:
        raise typer.BadParameter(f"expected [DATASET] FOLDER, found {len(words)} words", param_hint="FOLDER")
    if on_missing not in ("raise", "drop", "interpolate"):
        raise typer.BadParameter(f"{on_missing!r} is none of raise, drop, interpolate", param_hint="--on-missing")
    *named, folder = words
    with _progress() as progress:
        task = progress.add_task("recordings", total=None)
        try:
            found = inspect_folder(
                folder,
                *named,
                montage=montage,
                on_missing=on_missing,  # type: ignore[arg-type]  # checked above
                samples=samples,
                options=parse_assignments(option, "--option"),
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        except TypeError as error:  # an option that the reader does not have
            raise ValueError(str(error)) from error
    if json:
        print_json({"folder": folder, "layouts": [as_dict(facts) for facts in found]})
    for facts in () if json else found:
        _show(facts, show_all)
    if not found:
        raise ValueError(f"{folder}: holds no recording of a format that is known (`biot-bd plugins` lists them)")
    if any(facts.stops_prepare for facts in found):
        raise typer.Exit(1)


def as_dict(facts: DatasetFacts) -> dict[str, Any]:
    """Return the facts of a folder as ``--json`` prints them."""
    return {
        **asdict(facts),
        "subjects": facts.subjects().to_dict("records"),
        "outcomes": dict(Counter(one.outcome for one in facts.recordings)),
        "would_prepare": None if facts.dataset is None else not facts.stops_prepare,
    }


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show(facts: DatasetFacts, show_all: bool) -> None:
    typer.echo(f"\n{facts.path}")
    if facts.dataset is None:
        _line("looks like", facts.why)
        return
    _line("looks like", f"{facts.dataset}: {facts.why}")
    if facts.generated:
        _line("GENERATED", "made by a program, not recorded from people")
    if facts.error and not facts.recordings:
        _line("ERROR", facts.error)
    elif not facts.used:
        _line("ERROR", "no recording can be used as it is")
    if facts.recordings:
        _show_recordings(facts, show_all)
    for hint in facts.hints:
        _line("note", hint)
    if not facts.stops_prepare:
        _line("next", f"biot-bd prepare {facts.dataset} {facts.path} -o WINDOWS")


def _show_recordings(facts: DatasetFacts, show_all: bool) -> None:
    used, seen = facts.used, [one for one in facts.recordings if one.format]
    table = facts.subjects()
    hours, seizures = table["hours"].sum(), int(table["seizures"].sum())
    _line("subjects", f"{len(table)}: {_few(table['subject'], len(table) if show_all else FEW)}")
    left = f" of {len(facts.recordings):,}" if facts.left_out else ""
    _line(
        "used", f"{len(used):,}{left} recordings, {hours:.2f} h, {seizures} seizures of {table['seizure_s'].sum():g} s"
    )
    if n := int(table["seizures_left_out"].sum()):
        _line("", f"{n} seizures are in recordings that are left out")
    if seen:
        _show_headers(facts.montage, seen)
    for outcome, n in Counter(one.outcome for one in facts.left_out).most_common():
        those = [one for one in facts.left_out if one.outcome == outcome]
        _line("left out", f"{n:,} {outcome}: {_few([one.recording for one in those])}")
        if not show_all:
            _line("", f"e.g. {_short(those[0].detail)}")
    _show_notes(facts.recordings, show_all)
    rows: list[dict[str, Any]] = [
        {str(key): value for key, value in row.items()}
        | {"hours": f"{row['hours']:.2f}", "seizure_s": f"{row['seizure_s']:g}"}
        for row in table.to_dict("records")
    ]
    if len(rows) > 1 and (show_all or len(rows) <= 2 * FEW):
        numbers = {
            "recordings": "used",
            "hours": "hours",
            "seizures": "seizures",
            "seizure_s": "seconds",
            "left_out": "left out",
        }
        print_table(rows, {"subject": "subject", **numbers}, right=tuple(numbers))
    if show_all:
        for one in facts.recordings:
            _show_one(one)


def _show_headers(montage: str, seen: list[RecordingFacts]) -> None:
    _line("formats", _counts(one.format for one in seen))
    _line("rates", _counts(", ".join(f"{hz:g}" for hz in one.sfreqs) + " Hz" for one in seen))
    _line("units", _counts(", ".join(one.units) or "not told" for one in seen))
    _line("channels", f"{montage}: {_counts((_channels(one) for one in seen), '; ')}")
    _line("labels", _counts(one.labels_from for one in seen))
    _line("gaps", _gaps(seen))


def _show_one(one: RecordingFacts) -> None:
    known = [one.subject, one.format, None if one.duration_s is None else f"{one.duration_s:g} s"]
    known += [f"{one.sfreq:g} Hz" if one.sfreq else None, f"{one.n_seizures} seizures"]
    outcome = "" if one.is_used else f" {one.outcome}: {one.detail}"
    typer.echo(f"- {one.recording}: {', '.join(filter(None, known))}{outcome}")


def _show_notes(recordings: list[RecordingFacts], show_all: bool) -> None:
    owners: dict[str, list[str]] = {}
    for one in recordings:
        reasons = [f"cannot be used: {name}: {reason}" for name, reason in one.unusable.items()]
        for note in [*one.notes, *reasons]:
            owners.setdefault(note if show_all else _short(note), []).append(one.recording)
    most = len(owners) if show_all else FEW
    for note, names in list(owners.items())[:most]:
        _line("note", f"{note} ({_few(names, 2)})")
    if len(owners) > most:
        _line("", f"and {len(owners) - most} more; --all or --json has them")


def _channels(one: RecordingFacts) -> str:
    if not one.missing:
        return (
            f"all {len(one.found)} found" if not one.derived else f"{len(one.found)} found, {len(one.derived)} derived"
        )
    if not one.found and not one.derived:
        return "none"
    named = _few(one.missing)
    return f"{len(one.found)} found, {len(one.derived)} derived, {len(one.missing)} missing: {named}"


def _gaps(recordings: list[RecordingFacts]) -> str:
    paused = [one for one in recordings if one.gaps]
    if not paused:
        return "none that files tell of"
    lost_s = sum(stop - start for one in paused for start, stop in one.gaps)
    return f"{sum(len(one.gaps) for one in paused)} in {len(paused)} recordings, together {lost_s:g} s: {_few([o.recording for o in paused])}"


def _counts(values: Iterable[Any], between: str = ", ") -> str:
    """Return each value with how often it occurs, the most frequent first."""
    found = Counter(values).most_common()
    more = f"{between}and {len(found) - FEW} more" if len(found) > FEW else ""
    return between.join(f"{value} ({n:,})" for value, n in found[:FEW]) + more if found else "not known"


def _short(text: str, most: int = 150) -> str:
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " ..."


def _few(names: Iterable[str], most: int = FEW) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most:,} more" if len(listed) > most else "")


def _line(heading: str, text: str) -> None:
    """Print a line whose text is wrapped behind its heading."""
    import shutil
    import textwrap

    width = max(40, shutil.get_terminal_size((80, 24)).columns)
    indent = " " * (WIDTH + 2)
    typer.echo(
        textwrap.fill(
            text,
            width,
            initial_indent=f"  {heading:{WIDTH}}",
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
