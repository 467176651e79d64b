"""``biot-bd datasets``: list, describe and download data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from biot_bd import registry
from biot_bd.commands._output import print_json
from biot_bd.commands._pipelines import parse_assignments
from biot_bd.io.notes import counted

# Of subjects, and of recordings that were left out, before --all is needed.
MOST_ROWS = 30

app = typer.Typer(help="List, describe and download data sets.", no_args_is_help=True)

JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


ReaderOptions = Annotated[
    list[str] | None, typer.Option(help="KEY=VALUE for the data set's reader (values as JSON); may be repeated.")
]


SeizureWords = Annotated[
    list[str] | None,
    typer.Option(
        help="Own words for a seizure in annotations within files, e.g. Anfall; separated by commas, or repeat the option."
    ),
]


EventsFolder = Annotated[
    Path | None,
    typer.Option(
        "--events",
        help="Folder of event tables that alone are the labels, e.g. RESULTS/reviews/NAME of `biot-bd review`.",
    ),
]


PartlyRead = Annotated[
    bool, typer.Option("--partly-read", help="With --events: take reviews of recordings that were not read whole, too.")
]


@app.command("list")
def list_datasets(as_json: JSON = False) -> None:
    """List the data sets by name, with the plugin that brings each."""
    rows = [
        {"name": name, "plugin": registry.datasets.owner(name), "loader": registry.datasets.path(name)}
        for name in registry.datasets
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {"name": "name", "plugin": "plugin", "loader": "loader"})


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="Name of the data set, as `biot-bd datasets list` shows it.")],
    root: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    option: ReaderOptions = None,
    seizure_words: SeizureWords = None,
    events: EventsFolder = None,
    partly_read: PartlyRead = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="List every subject and recording, also of large sets.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Count subjects, hours and seizures, of each subject and of all.

    Recordings that were left out are named, with the reason.
    """
    from biot_bd.commands._names import check_registered

    check_registered("datasets", name)

    from biot_bd.datasets import describe_dataset

    options = parse_assignments(option, "--option") | reader_words(seizure_words) | reader_events(events, partly_read)
    dataset = load_recordings(name, root, options)
    outcomes = dataset.outcomes
    subjects = describe_dataset(dataset)
    counts = subjects[["recordings", "hours", "seizures", "seizure_s"]].sum().to_dict()
    facts = {
        "name": name,
        "root": str(root),
        "generated": bool(dataset.generated),
        "subjects": subjects.to_dict("records"),
        "total": {
            "subjects": len(subjects),
            "subjects_with_seizures": int((subjects["seizures"] > 0).sum()),
            **{key: float(n) if key in ("hours", "seizure_s") else int(n) for key, n in counts.items()},
        },
        "outcomes": {str(what): int(n) for what, n in outcomes["outcome"].value_counts().items()},
        "left_out": outcomes[outcomes["outcome"] != "loaded"].to_dict("records"),
    }
    if as_json:
        print_json(facts)
    else:
        _show(facts, None if show_all else MOST_ROWS)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Data set to download: chb-mit.")],
    dest: Annotated[Path, typer.Argument(help="Folder to download into; about 43 GB for all of chb-mit.")],
    subjects: Annotated[
        list[str] | None,
        typer.Option(help="Only these cases, such as 1,2,chb05; separated by commas, or repeat the option."),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Another place of the files, e.g. a mirror.")] = None,
    as_json: JSON = False,
) -> None:
    """Download a data set; the same command goes on where it stopped.

    Every file is checked against the published checksum.
    """
    if name != "chb-mit":
        raise typer.BadParameter(f"{name!r} cannot be downloaded; only 'chb-mit' can", param_hint="NAME")
    from biot_bd.datasets.chbmit_fetch import BASE_URL, fetch_chbmit

    files = fetch_chbmit(dest, subjects=names_between_commas(subjects, "case"), base_url=base_url or BASE_URL)
    outcomes = {str(what): int(n) for what, n in files["outcome"].value_counts().items()}
    facts: dict[str, Any] = {"name": name, "folder": str(dest), "bytes": int(files["bytes"].sum()), "files": outcomes}
    if as_json:
        print_json(facts)
        return
    counts = ", ".join(f"{n} {what}" for what, n in outcomes.items()) or "no files"
    typer.echo(f"{dest}: {counts}, {facts['bytes'] / 1e9:.2f} GB, checksums as published")


def _show(facts: dict[str, Any], most: int | None) -> None:
    """Print what was found; of long lists the first ``most`` rows."""
    subjects, total = facts["subjects"], facts["total"]
    shown = subjects[:most]
    if rest := subjects[len(shown) :]:
        counts = {key: sum(row[key] for row in rest) for key in ("recordings", "hours", "seizures", "seizure_s")}
        shown = [*shown, {"subject": f"{len(rest)} others (--all)", **counts}]
    rows = [
        {**row, "hours": f"{row['hours']:.2f}", "seizure_s": f"{row['seizure_s']:.0f}"}
        for row in [*shown, {"subject": f"all {len(subjects)}", **total}]
    ]
    if facts["generated"]:
        typer.echo("GENERATED DATA: these recordings were made by a program, not recorded from people.")
    columns = {"subject": "subject", "recordings": "recordings", "hours": "hours"}
    print_table(rows, columns | {"seizures": "seizures", "seizure_s": "seconds of seizure"})
    typer.echo(
        f"{facts['name']}: {total['hours']:.1f} h, {counted(total['seizures'], 'seizure')}, {counted(len(subjects), 'subject')} "
        f"({total['subjects_with_seizures']:,} with seizures)"
    )
    typer.echo("Recordings: " + ", ".join(f"{n} {what}" for what, n in facts["outcomes"].items()))
    if left_out := facts["left_out"]:
        print_table(left_out[:most], {"recording": "left out", "outcome": "why", "detail": "detail"})
        if more := len(left_out) - len(left_out[:most]):
            typer.echo(f"and {counted(more, 'other')} left out; --all or --json has them")


def load_recordings(name: str, root: Path, options: Mapping[str, Any]) -> Any:
    """Load a data set with the options of a command line; a wrong one is a ValueError."""
    from biot_bd.datasets import load_dataset

    try:
        return load_dataset(name, root, **options)
    except TypeError as error:  # an option that the reader does not have
        raise ValueError(str(error)) from error


def reader_words(seizure_words: Sequence[str] | None) -> dict[str, list[str]]:
    """Return ``--seizure-words`` as an option of the reader, where it is given."""
    words = names_between_commas(seizure_words, "word", "--seizure-words")
    return {} if words is None else {"seizure_words": words}


def reader_events(events: Path | None, partly_read: bool) -> dict[str, Any]:
    """Return ``--events`` and ``--partly-read`` as options of the reader, where they are given."""
    given = {"events": events, "partly_read": partly_read or None}
    return {name: value for name, value in given.items() if value is not None}


def names_between_commas(texts: Sequence[str] | None, what: str, option: str = "--subjects") -> list[str] | None:
    """Return the names that an option gives, None where it is left out."""
    names = [part.strip() for text in texts or [] for part in text.split(",") if part.strip()]
    if texts and not names:
        raise typer.BadParameter(f"no {what} is named; leave the option out, or name one", param_hint=option)
    return names or None


def print_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    right: Sequence[str] = (),
    title: str | None = None,
    lines: bool = True,
) -> None:
    """Print rows as a table: ``columns`` are keys and headings.

    Those in ``right`` are aligned to the right; without ``lines`` more columns fit.
    """
    from rich.box import HEAVY_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=HEAVY_HEAD if lines else None, pad_edge=lines)
    for key, heading in columns.items():
        table.add_column(heading, justify="right" if key in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if row[key] is None else str(row[key])) for key in columns))
    Console().print(table)
