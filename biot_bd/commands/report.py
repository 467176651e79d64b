"""``biot-bd report``: the HTML report of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from biot_bd.commands._options import Json


def report(
    run: Annotated[Path, typer.Argument(help="Folder that `biot-bd cv`, `demo`, `pretrain` or `embed` wrote.")],
    windows: Annotated[
        Path | None, typer.Option(help="Prepared windows, where they have moved since; else where run.json says.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    json: Json = False,
) -> None:
    """Write report.html into a run folder: one file with scores, curves, seizures and attention,
    readable offline.
    """
    from biot_bd.commands._folders import expect, kind_of

    expect(run, "run", "pretraining", "embeddings", "study")
    if windows is not None:
        expect(windows, "windows")

    from biot_bd.commands._pipelines import open_windows

    if kind_of(run) == "pretraining":
        _show_page(_pretraining_page(run, windows), {}, open_it, json)
        return
    if kind_of(run) == "embeddings":
        from biot_bd.report import write_embedding_report

        made = write_embedding_report(run, windows=None if windows is None else open_windows(windows))
        _show_page(made, {}, open_it, json)
        return
    if kind_of(run) == "study":
        from biot_bd.report import write_study_page

        _show_page(write_study_page(run), {}, open_it, json)
        return
    from biot_bd.report import write_report
    from biot_bd.report.run_folder import read_run

    path = write_report(run, windows=None if windows is None else open_windows(windows))
    facts = read_run(run)
    _show_page(path, {"generated": facts.generated, "not_a_result": facts.not_a_result}, open_it, json)


def _pretraining_page(run: Path, store: Path | None) -> Path:
    """Write the page of a pretraining, with pictures of subjects who did not train where windows
    are given.
    """
    from biot_bd.commands._pipelines import open_windows
    from biot_bd.models.checkpoints.pretraining_folder import read_pretraining
    from biot_bd.report import write_pretraining_report

    windows = None
    if store is not None:
        trained = read_pretraining(run)["train_subjects"]
        windows = open_windows(store).query(f"subject not in {trained!r}")
    page: Path = write_pretraining_report(run, windows=windows)
    return page


def _show_page(path: Path, about: dict[str, Any], open_it: bool, json: bool) -> None:
    from biot_bd.commands._output import print_json

    if json:
        print_json({"report": path, "bytes": path.stat().st_size, **about})
    else:
        if about.get("not_a_result"):
            typer.echo(f"not a result: {about['not_a_result']}")
        typer.echo(f"report: {path}")
    if open_it:
        typer.launch(path.resolve().as_uri())
