"""``biot-bd review``: a page where a reader marks the events of a folder of results."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biot_bd.commands import _options as shared
from biot_bd.io.notes import counted

if TYPE_CHECKING:
    from biot_bd.deploy.review.reviewed_results import ReviewedResults


def review(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder that `biot-bd detect` wrote.")],
    reviewer: Annotated[
        str | None, typer.Option(help="Who marks: the name of a folder below RESULTS/reviews, e.g. anna.")
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(help="Folder to search, by content, for recordings that are no longer where they were."),
    ] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Hide detections and probabilities, for studies of agreement.")
    ] = False,
    port: shared.Port = 8766,
    host: shared.PageAddress = "127.0.0.1",
    allow_host: shared.AllowHost = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Show how far the reviewers agree, without a page.")
    ] = False,
    json: shared.Json = False,
) -> None:
    """Confirm, reject, move and add events on a page; each mark is saved at once.

    The seizures that the reviewer confirms lie as SzCORE TSV below RESULTS/reviews/REVIEWER. Ctrl-C
    ends it with exit status 0; the same command goes on where it was.
    """
    if agreement:
        from biot_bd.commands._agreement import show_agreement

        show_agreement(results, json)
        return
    if reviewer is None:
        raise typer.BadParameter(
            "expected the name of who marks, e.g. --reviewer anna; marks are kept below RESULTS/reviews/anna",
            param_hint="--reviewer",
        )
    from biot_bd.commands._output import print_json
    from biot_bd.deploy.review.reviewed_results import ReviewedResults
    from biot_bd.deploy.review.server import ReviewServer
    from biot_bd.deploy.serving.stopping import stopped_by_signals

    names = [shared.host_name(text) for text in allow_host or ()]
    reviewed = ReviewedResults(results, reviewer, recordings, blind=blind)
    stopped = threading.Event()
    with stopped_by_signals(stopped.set):
        server = ReviewServer(reviewed, host, port, allow_hosts=names)
        try:
            where = f"{counted(len(reviewed.names), 'recording')}, reviewer {reviewer}; marks are saved at once, Ctrl-C ends"
            typer.echo(f"review page: {server.url} ({where})", err=True)
            if open_browser:
                typer.launch(server.url)
            while not stopped.wait(0.5):  # a wait without an end is not woken on every system
                pass
        finally:
            server.close()
    facts = _facts(reviewed, server.n_saved)
    if json:
        print_json(facts)
        return
    typer.echo(
        f"ended: {facts['n_saved']} changes saved now; {facts['n_decided']} of {facts['n_events']} events decided, "
        f"{facts['n_read_whole']} of {facts['n_recordings']} recordings read whole; marks: {facts['reviews']}; "
        "the same command goes on",
        err=True,
    )


def _facts(reviewed: ReviewedResults, n_saved: int) -> dict[str, object]:
    from biot_bd.deploy.review.review_files import REVIEWS

    rows = reviewed.progress()
    return {
        "reviews": reviewed.results / REVIEWS / reviewed.reviewer,
        "reviewer": reviewed.reviewer,
        "n_saved": n_saved,
        "n_recordings": len(rows),
        "n_events": sum(row["n_events"] for row in rows),
        "n_decided": sum(row["n_decided"] for row in rows),
        "n_read_whole": sum(row["read_whole"] for row in rows),
    }
