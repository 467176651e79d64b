"""``biot-bd explain``: what a model looks at, and what its decision rests on, in one window."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands import _options as shared

if TYPE_CHECKING:
    from biot_bd.report.explain.source import Source
    from biot_bd.report.explain.window import Step


def explain(
    context: typer.Context,
    model: shared.ModelOrRun,
    source: Annotated[
        Path,
        typer.Argument(metavar="WINDOWS|RECORDING", help="Folder of prepared windows, or a recording (EDF, BDF, ...)."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="New folder for explain.html, explain.json, maps.npz and pictures."),
    ],
    at_s: Annotated[
        float | None,
        typer.Option("--at-s", help="Explain the window around this second of the recording.", min=0),
    ] = None,
    recording: Annotated[str | None, typer.Option(help="Choose among the windows of this recording.")] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(help="Registered probe, e.g. token-ig; may be repeated. Default: those that the model can take."),
    ] = None,
    target: Annotated[
        int | None, typer.Option(help="Output of the model to explain; default: that of a seizure.", min=0)
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Put the probes to tests, and mark those that fail in their pictures.")
    ] = False,
    fold: Annotated[
        int | None, typer.Option(help="Fold of a run; by default the one that tests the subject.", min=0)
    ] = None,
    stride_s: shared.StrideS = 5.0,
    on_missing: shared.OnMissing = "raise",
    json: shared.Json = False,
) -> None:
    """Explain what a model said of one window: pictures, arrays with named axes, and a page.

    Without --at-s it is the window labelled seizure that the model is most certain of; of a
    recording, which has no labels, the one with the highest probability.  With a run folder,
    windows come from the test subjects of a fold, and that fold's model explains them.
    """
    from biot_bd.commands import _names
    from biot_bd.commands._folders import expect
    from biot_bd.commands._output import check_output, check_writable

    _names.check_registered("probes", *(probe or []))
    _names.check_known("--on-missing", on_missing, _names.ON_MISSING)
    expect(model, "model", "run")
    is_store = not source.exists() or (source.is_dir() and not _is_recording(source))
    if is_store:
        expect(source, "windows")
    elif recording is not None:
        raise typer.BadParameter(
            "names a recording of prepared windows, and a recording was given", param_hint="--recording"
        )
    check_output(output)
    check_writable(output)

    from biot_bd.report.explain.folder import Wanted, check_place, explain_to_folder
    from biot_bd.report.explain.model import load_model

    check_place(output)
    wanted = Wanted(probes=probe, target=target, tested=evaluate, command=_command(context))
    if is_store:
        chosen, store = _source_in_store(model, source, fold, recording)
    else:
        chosen, store = _source_alone(model, fold), None
    loaded = load_model(chosen.folder)
    with _progress() as progress:
        search = _searching(progress)
        if store is not None:
            from biot_bd.report.explain.window import window_of_store

            window = window_of_store(loaded, chosen, store, recording=recording, at_s=at_s, step=search)
        else:
            from biot_bd.commands._recording_window import window_of_recording

            window = window_of_recording(
                loaded, chosen, source, at_s=at_s, stride_s=stride_s, on_missing=on_missing, step=search
            )
        task = progress.add_task("explaining", total=None)
        facts = explain_to_folder(
            loaded, chosen, window, output, wanted, step=lambda what: progress.update(task, description=what)
        )
    if json:
        from biot_bd.commands._output import print_json

        print_json(facts | {"folder": output})
    else:
        _show(facts, output)


def _is_recording(source: Path) -> bool:
    from biot_bd.io.walk import is_folder_recording

    return is_folder_recording(source)


def _source_in_store(model: Path, folder: Path, fold: int | None, recording: str | None) -> tuple[Source, Any]:
    from biot_bd.commands._pipelines import open_windows
    from biot_bd.report.explain.source import choose_fold

    store = open_windows(folder)
    return choose_fold(model, store, fold=fold, recording=recording), store


def _source_alone(model: Path, fold: int | None) -> Source:
    from biot_bd.commands._folders import kind_of
    from biot_bd.report.explain.source import choose_fold

    if kind_of(model) == "run" and fold is None:
        raise typer.BadParameter(
            "name the fold whose model explains a recording: the subjects of all others trained it", param_hint="--fold"
        )
    return choose_fold(model, None, fold=fold)


def _command(context: typer.Context) -> str:
    """Return the command line that was given, as far as it differs from the defaults."""
    words = ["biot-bd", "explain"]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.name == "json" or value is None or value == parameter.get_default(context):
            continue
        if parameter.param_type_name == "argument":
            words.append(str(value))
        elif value is True:
            words.append(parameter.opts[0])
        else:
            for one in value if isinstance(value, (list, tuple)) else [value]:
                words += [parameter.opts[0], str(one)]
    return shlex.join(words)


@contextmanager
def _progress() -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def _searching(progress: Any) -> Step:
    task = progress.add_task("windows", total=None, visible=False)

    def step(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total, visible=True)

    return step


def _show(facts: dict[str, Any], folder: Path) -> None:
    window = facts["window"]
    label = {1: "labelled seizure", 0: "labelled no seizure"}.get(window["label"], "without a label")
    typer.echo(f"model: {facts['model']} ({facts['source']})")
    typer.echo(
        f"window: {window['recording']}, {window['start_s']:g} to {window['stop_s']:g} s ({label}), "
        f"{window['chosen']}: probability {window['probability']:.3f}"
    )
    for name, one in facts["probes"].items():
        typer.echo(f"- {name}: highest in {', '.join(one['top_channels'])}")
    for name, why in facts["left_out"].items():
        typer.echo(f"- {name}: left out ({why})")
    if facts["means_nothing_because"]:
        typer.echo(f"this evidence means nothing clinically: {'; '.join(facts['means_nothing_because'])}")
    typer.echo(f"page: {folder / 'explain.html'}")
