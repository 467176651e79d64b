"""``biot-bd stream``: find seizures in a live signal, or in a file as if it were live."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biot_bd.commands import _options as shared
from biot_bd.commands._names import check_detector
from biot_bd.commands._output import check_writable
from biot_bd.io.notes import counted

if TYPE_CHECKING:
    from biot_bd.deploy.live.runner import Run
    from biot_bd.deploy.live.source import LiveSource


def stream(
    context: typer.Context,
    model: shared.SavedModel,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Recording to replay: EDF, BDF, FIF, BrainVision, ...")
    ] = None,
    lsl: Annotated[str | None, typer.Option(help="Name of a Lab Streaming Layer stream to listen to.")] = None,
    lsl_source_id: Annotated[str | None, typer.Option(help="Choose among LSL streams of one name.")] = None,
    lsl_unit: Annotated[str | None, typer.Option(help="V, mV, uV or nV, where the stream does not say.")] = None,
    wait_s: Annotated[float, typer.Option(help="Seconds to look for the LSL stream.", min=0.5)] = 10.0,
    reconnect_s: Annotated[float, typer.Option(help="Seconds to try to get a lost LSL stream back.", min=0)] = 60.0,
    speed: Annotated[str, typer.Option(help="Of a replay: 1 for real time, 10 for tenfold, max.")] = "1",
    chunk_s: Annotated[
        float | None, typer.Option(help="Seconds a replay gives at once; 0.25, 10 at full speed.")
    ] = None,
    stride_s: shared.StrideS = 1.0,
    max_gap_s: Annotated[
        float, typer.Option(help="Longest gap within a segment of a live signal, in seconds.", min=0)
    ] = 5.0,
    jitter_s: Annotated[float, typer.Option(help="What time stamps may be off, in seconds.", min=0.001)] = 0.2,
    duration_s: Annotated[float | None, typer.Option(help="Stop after so many seconds of signal.", min=0.01)] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File of the final events: .tsv, .csv_bi, .edf, .fif or .json."),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Also append every line to this file.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Show a live page in the browser.")] = False,
    port: shared.Port = 8765,
    host: shared.PageAddress = "127.0.0.1",
    allow_host: shared.AllowHost = None,
    stay: Annotated[bool, typer.Option("--stay", help="Keep the page after the end, until Ctrl-C.")] = False,
    status_s: Annotated[float, typer.Option(help="Seconds between status lines; 0 for none.", min=0)] = 10.0,
    decisions: Annotated[bool, typer.Option("--decisions", help="Print a line for every decision, too.")] = False,
    on_missing: shared.OnMissing = "raise",
    threshold: shared.ModelThreshold = None,
    smoothing_s: shared.Smoothing = None,
    release_fraction: shared.Release = None,
    min_duration_s: shared.MinDuration = None,
    merge_gap_s: shared.MergeGap = None,
    precision: shared.ModelPrecision = None,
    engine: shared.Engine = "auto",
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Neither the source's name nor dates and times of day in any output.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the final facts as JSON on stdout, and no lines there.")
    ] = False,
) -> None:
    """Find seizures in a live signal, and print what happens as one JSON object a line.

    Ctrl-C or SIGTERM ends the run cleanly: open events are closed, the events are written, the exit
    status is 0.
    """
    check_detector(model, engine=engine, precision=precision, on_missing=on_missing)

    from biot_bd.deploy import Detector
    from biot_bd.deploy.detection_record import model_facts
    from biot_bd.deploy.live.json_lines import Lines
    from biot_bd.deploy.live.runner import Session
    from biot_bd.deploy.serving.stopping import stopped_by_signals

    if (file is None) == (lsl is None):
        raise typer.BadParameter("name one source: a FILE to replay, or --lsl NAME", param_hint="FILE")
    pace = _speed(speed)
    format = _format(output, file)
    if output is not None:
        check_writable(output)
    if stay and not page:
        raise typer.BadParameter("there is no page to keep; add --page", param_hint="--stay")
    names = [shared.host_name(text) for text in allow_host or ()]
    detector = Detector.load(model, causal=True, **{name: context.params[name] for name in shared.DETECTOR})
    called = model_facts(model)["name"]  # NAME/VERSION of the registry, whose folder is called like a number
    source: LiveSource
    if file is not None:
        source = _replay(file, pace, chunk_s, detector.scorer.window_s)
    else:
        from biot_bd.deploy.live.lsl import LslSource

        waits = {"wait_s": wait_s, "reconnect_s": reconnect_s, "jitter_s": jitter_s}
        source = LslSource(str(lsl), source_id=lsl_source_id, unit=lsl_unit, **waits)
    if anonymous:
        source.leave_out_names()
    with Lines(log, echo=not json, on_gone=source.stop, dated=not anonymous) as lines, stopped_by_signals(source.stop):
        session = Session(
            detector,
            lines,
            called,
            output=output,
            format=format,
            page=(host, port) if page else None,
            allow_hosts=names,
            stay=stay,
            status_s=status_s,
            decisions=decisions,
            max_gap_s=max_gap_s,
            jitter_s=jitter_s,
            anonymous=anonymous,
        )
        ended = session.run(
            source, duration_s=duration_s, on_page=lambda url: typer.echo(f"live page: {url}", err=True)
        )
    _tell(ended, Path(called) if anonymous else model, output, json)
    if ended.error is not None:
        raise ended.error


def _speed(text: str) -> float:
    """Return how many times real time, inf for ``max``."""
    if text == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not (math.isfinite(speed) and speed > 0):
        raise typer.BadParameter(f"{text!r}: expected 1 for real time, 10 for tenfold, or max", param_hint="--speed")
    return speed


def _format(output: Path | None, file: Path | None) -> str:
    """Return the format that the output's ending names."""
    if output is None:
        return "tsv"
    from biot_bd.deploy.results import FORMATS, check_apart_from_labels

    format = next((name for name, ending in FORMATS.items() if ending == output.suffix.lower()), None)
    if format is None or output.is_dir():
        expected = ", ".join(FORMATS.values())
        raise typer.BadParameter(f"{output}: expected a file that ends in {expected}", param_hint="--output")
    if file is not None and output.resolve() == file.resolve():
        raise typer.BadParameter(f"{output} is the recording itself", param_hint="--output")
    if file is not None:
        check_apart_from_labels(file, [output])
    return format


def _replay(file: Path, speed: float, chunk_s: float | None, window_s: float) -> LiveSource:
    """Open a file; one that is shorter than a window is an error, as ``detect`` has it."""
    from biot_bd.deploy.detector import check_length
    from biot_bd.deploy.live.replay import FileSource

    chunk = chunk_s if chunk_s is not None else 0.25 if math.isfinite(speed) else 10.0
    source = FileSource(file, speed=speed, chunk_s=chunk)
    check_length(source.where, source.recording.timeline, window_s)
    return source


def _tell(ended: Run, model: Path, output: Path | None, json: bool) -> None:
    from biot_bd.models.checkpoints.demonstration import demonstration_among

    facts = ended.result.as_dict()
    if json:
        from biot_bd.commands._output import print_json

        files = [] if ended.output is None else [ended.output]
        print_json({"model": model, "reason": ended.reason, **facts, "files": files})
        return
    if (told := demonstration_among(facts["notes"])) is not None:
        typer.echo(f"note: {told}", err=True)
    written = "" if ended.output is None else f"; results: {ended.output}"
    if output is not None and ended.output is None:
        written = f"; no signal came, so {output} was not written"
    found = f"{counted(len(facts['events']), 'event')}, {counted(facts['n_alarms'], 'alarm')}"
    typer.echo(f"{ended.reason} after {facts['duration_s']:g} s: {found}{written}", err=True)
