"""``biot-bd doctor``: what is in a folder, before any work on it."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands._folders import taken_by
from biot_bd.commands._options import Json, OnMissing
from biot_bd.commands._output import print_json
from biot_bd.commands._pipelines import parse_assignments
from biot_bd.commands._text import wrapped
from biot_bd.commands.datasets import ReaderOptions, SeizureWords, print_table, reader_words
from biot_bd.io.notes import counted

if TYPE_CHECKING:
    import pandas as pd

    from biot_bd.datasets import DatasetFacts, RecordingFacts

FEW = 5
FEW_DETAILS = 3
MOST_ROWS = 2 * FEW
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
    seizure_words: SeizureWords = None,
    option: ReaderOptions = None,
    show_all: Annotated[bool, typer.Option("--all", help="List every subject and recording.")] = False,
    json: Json = False,
) -> None:
    """Say what is in a folder of recordings, and what `prepare` would make of it.

    Nothing is written. Exit status: 0 if `prepare` would go through with its defaults (what is
    missing on the disk or has no labels is only told), 1 if it would stop, or nothing is there.
    """
    from biot_bd.commands import _names

    if len(words) > 2:
        raise typer.BadParameter(f"expected [DATASET] FOLDER, found {len(words)} words", param_hint="FOLDER")
    if on_missing not in ("raise", "drop", "interpolate"):
        raise typer.BadParameter(f"{on_missing!r} is none of raise, drop, interpolate", param_hint="--on-missing")
    *named, folder = words
    _names.check_registered("datasets", *named)
    _names.check_registered("montages", montage)

    from biot_bd.datasets import inspect_folder

    with _progress() as progress:
        task = progress.add_task("opening recordings", total=None)

        def looked(done: int, total: int) -> None:
            progress.update(task, description="looking at recordings", completed=done, total=total)

        try:
            found = inspect_folder(
                folder,
                *named,
                montage=montage,
                on_missing=on_missing,  # type: ignore[arg-type]  # checked above
                samples=samples,
                options=parse_assignments(option, "--option"),
                seizure_words=reader_words(seizure_words).get("seizure_words", ()),
                progress=looked,
            )
        except TypeError as error:  # an option that the reader does not have
            raise ValueError(str(error)) from error
    given = _given(montage, on_missing, option, seizure_words)
    if json:
        print_json({"folder": folder, "layouts": [as_dict(facts) | {"next": _next(facts, given)} for facts in found]})
    for facts in () if json else found:
        _show(facts, show_all, _next(facts, given))
    if not found:
        from biot_bd.datasets.layouts import nothing_in

        raise ValueError(f"{folder}: {nothing_in(folder)}")
    if any(facts.stops_prepare for facts in found):
        raise typer.Exit(1)


def _given(
    montage: str, on_missing: str, option: list[str] | None, seizure_words: list[str] | None
) -> dict[str, list[str]]:
    """Return the options that `prepare` would take over, those with defaults left out."""
    texts = {
        "--montage": [] if montage == "biot-16" else [montage],
        "--on-missing": [] if on_missing == "raise" else [on_missing],
        "--option": option or [],
        "--seizure-words": seizure_words or [],
    }
    return {name: values for name, values in texts.items() if values}


def _next(facts: DatasetFacts, given: dict[str, list[str]]) -> str | None:
    """Return what a user would call next; None where something has to be mended first."""
    if facts.dataset is None:
        return taken_by(facts.path)
    from biot_bd.datasets.loading import options_of

    takes_words = "seizure_words" in (options_of(facts.dataset) or ())
    kept = {name: values for name, values in given.items() if takes_words or name != "--seizure-words"}
    options = [word for name, values in kept.items() for value in values for word in (name, value)]
    if facts.used:
        skip = ["--on-error", "skip"] if facts.stops_prepare else []
        return shlex.join(["biot-bd", "prepare", facts.dataset, facts.path, "-o", "WINDOWS", *options, *skip])
    if facts.can_take_unlisted and not any("unlisted=" in word for word in options):
        extra = ["--option", "unlisted=background"]
        return shlex.join(["biot-bd", "doctor", facts.dataset, facts.path, *options, *extra])
    return None


def as_dict(facts: DatasetFacts) -> dict[str, Any]:
    """Return the facts of a folder as ``--json`` prints them."""
    return {
        **asdict(facts),
        "subjects": facts.subjects().to_dict("records"),
        "outcomes": dict(Counter(one.outcome for one in facts.recordings)),
        "can_take_unlisted": facts.can_take_unlisted,
        "would_prepare": None if facts.dataset is None else not facts.stops_prepare,
    }


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show(facts: DatasetFacts, show_all: bool, command: str | None) -> None:
    typer.echo(f"\n{facts.path}")
    _line("looks like", facts.why if facts.dataset is None else f"{facts.dataset}: {facts.why}")
    if facts.dataset is None:
        if command:
            typer.echo(f"  {'next':{WIDTH}}{command}")
        return
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
    if command:
        typer.echo(f"  {'next':{WIDTH}}{command}")  # in one line, to be copied


def _show_recordings(facts: DatasetFacts, show_all: bool) -> None:
    used, seen = facts.used, [one for one in facts.recordings if one.format]
    table = facts.subjects()
    more = "" if show_all or len(table) <= MOST_ROWS else " (--all lists each)"
    _line("subjects", f"{len(table):,}: {_few(table['subject'], len(table) if show_all else FEW)}{more}")
    left = f" of {len(facts.recordings):,}" if facts.left_out else ""
    n_seizures, seconds = int(table["seizures"].sum()), table["seizure_s"].sum()
    seizures = f"{counted(n_seizures, 'seizure')} of {seconds:g} s" if n_seizures else "no seizure"
    kept = f"{len(used):,}{left} recordings" if left else counted(len(used), "recording")
    _line("used", f"{kept}, {_length(sum(one.duration_s or 0.0 for one in used))}, {seizures}" if used else kept)
    if seen:
        _show_headers(facts.montage, seen)
    _show_left_out(facts, show_all)
    if 1 < len(table) <= MOST_ROWS or show_all:
        _show_table(table)
    _show_notes(facts, show_all)
    if show_all:
        for one in facts.recordings:
            _show_one(one)


def _show_headers(montage: str, seen: list[RecordingFacts]) -> None:
    _line("formats", _counts(one.format for one in seen))
    _line("rates", _counts((" and ".join(f"{hz:g}" for hz in one.sfreqs) + " Hz" for one in seen), "; "))
    _line("units", _counts((" and ".join(one.units) or "not told" for one in seen), "; "))
    _line("channels", f"{montage}: {_counts((_channels(one) for one in seen), '; ')}")
    _line("labels", _counts(one.labels_from for one in seen))
    _line("gaps", _gaps(seen))


def _show_left_out(facts: DatasetFacts, show_all: bool) -> None:
    for outcome, n in Counter(one.outcome for one in facts.left_out).most_common():
        those = [one for one in facts.left_out if one.outcome == outcome]
        known_s = sum(one.duration_s or 0.0 for one in those)
        length = f", {_length(known_s)}" if known_s else ""
        _line("left out", f"{n:,} {outcome}{length}: {_few([one.recording for one in those])}")
        if not show_all:
            for one in those[:1] if n > FEW_DETAILS else those:
                _line("", f"{'e.g. ' if n > FEW_DETAILS else ''}{_short(_below(facts.path, one.detail))}")
    if n := sum(one.n_seizures for one in facts.left_out):
        _line("", f"{counted(n, 'seizure')} of what is left out: not used")


def _show_table(table: pd.DataFrame) -> None:
    rows: list[dict[str, Any]] = [
        {str(key): value for key, value in row.items()}
        | {"recorded": _length(row["hours"] * 3600), "seizure_s": f"{row['seizure_s']:g}"}
        for row in table.to_dict("records")
    ]
    numbers = {
        "recordings": "used",
        "recorded": "recorded",
        "seizures": "seizures",
        "seizure_s": "seconds",
        "left_out": "left out",
    }
    print_table(rows, {"subject": "subject", **numbers}, right=tuple(numbers))


def _show_one(one: RecordingFacts) -> None:
    known = [one.subject, one.format, None if one.duration_s is None else f"{one.duration_s:g} s"]
    known += [f"{one.sfreq:g} Hz" if one.sfreq else None, counted(one.n_seizures, "seizure")]
    outcome = "" if one.is_used else f" {one.outcome}: {one.detail}"
    typer.echo(f"- {one.recording}: {', '.join(filter(None, known))}{outcome}")


def _show_notes(facts: DatasetFacts, show_all: bool) -> None:
    from biot_bd.signals.montages import told_reasons

    owners: dict[str, list[str]] = {}
    for one in facts.recordings:
        unusable = [f"cannot be used: {told_reasons(one.unusable)}"] if one.unusable else []
        for note in [*one.notes, *unusable]:
            if one.if_labelled and note.startswith(f"{one.if_labelled}: ") and not show_all:
                continue  # told together, as a hint
            text = note if show_all else _short(_below(facts.path, note))
            owners.setdefault(text, []).append(one.recording)
    most = len(owners) if show_all else FEW
    for note, names in list(owners.items())[:most]:
        _line("note", f"{note} ({_few(names, 2)})")
    if len(owners) > most:
        _line("", f"and {len(owners) - most:,} more; --all or --json has them")


def _channels(one: RecordingFacts) -> str:
    n_found, n_derived, n_missing = len(one.found), len(one.derived), len(one.missing)
    whole = f"{n_found + n_derived + n_missing}"
    if not n_found and not n_derived:
        return f"none of {whole}"
    parts = [(n_found, "found"), (n_derived, "derived"), (n_missing, "missing")]
    told = [f"{n} {what}" for n, what in parts if n]
    if len(told) == 1:
        return f"all {told[0]}"
    return ", ".join(told) + (f": {_few(one.missing)}" if n_missing else "")


def _gaps(recordings: list[RecordingFacts]) -> str:
    paused = [one for one in recordings if one.gaps]
    if not paused:
        return "none that files tell of"
    lost_s = sum(stop - start for one in paused for start, stop in one.gaps)
    where = f"{sum(len(one.gaps) for one in paused):,} in {counted(len(paused), 'recording')}"
    return f"{where}, together {_length(lost_s)}: {_few([one.recording for one in paused])}"


def _length(seconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.2f} h"


def _below(folder: str, text: str) -> str:
    """Return a text with paths as they are below the folder."""
    return text.replace(os.path.join(os.path.abspath(folder), ""), "").replace(os.path.join(folder, ""), "")


def _counts(values: Iterable[Any], between: str = ", ") -> str:
    """Return each value with how often it occurs, the most frequent first."""
    found = Counter(values).most_common()
    more = f"{between}and {len(found) - FEW} more" if len(found) > FEW else ""
    return between.join(f"{value} ({n:,})" for value, n in found[:FEW]) + more if found else "not known"


def _short(text: str, most: int = 240) -> str:
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " ..."


def _few(names: Iterable[str], most: int = FEW) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most:,} more" if len(listed) > most else "")


def _line(heading: str, text: str) -> None:
    """Print a line whose text is wrapped behind its heading."""
    typer.echo(wrapped(text, f"  {heading:{WIDTH}}", " " * (WIDTH + 2)))
