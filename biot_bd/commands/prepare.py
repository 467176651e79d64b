"""``biot-bd prepare``: recordings to harmonised, labelled windows on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from biot_bd.commands._output import print_json
from biot_bd.commands._pipelines import parse_assignments
from biot_bd.commands.datasets import (
    EventsFolder,
    PartlyRead,
    ReaderOptions,
    SeizureWords,
    load_recordings,
    names_between_commas,
    print_table,
    reader_events,
    reader_words,
)

FEW = 3
UNLABELLED = "none"
"""The label rule of windows for pretraining."""


def prepare(
    dataset: Annotated[str, typer.Argument(help="Data set by name, e.g. chb-mit (see `biot-bd datasets`).")],
    root: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the windows.")],
    montage: Annotated[str, typer.Option(help="Registered montage to map every recording to.")] = "biot-16",
    sfreq: Annotated[float, typer.Option(help="Sampling rate of the windows, in Hz.", min=1)] = 200.0,
    window_s: Annotated[float, typer.Option(help="Length of a window, in seconds.", min=0.1)] = 10.0,
    stride_s: Annotated[float, typer.Option(help="From one window's start to the next, in seconds.", min=0.01)] = 5.0,
    labels: Annotated[
        str, typer.Option(help="Registered label rule; none takes recordings without labels too, for `pretrain`.")
    ] = "overlap",
    on_missing: Annotated[
        str, typer.Option(help="Channels that a recording lacks: raise, drop, interpolate.")
    ] = "raise",
    on_bad: Annotated[str, typer.Option(help="Flat or broken channels: raise, warn, drop.")] = "drop",
    resample: Annotated[str, typer.Option(help="fft, polyphase or fft-window (the published way).")] = "fft",
    dtype: Annotated[str, typer.Option(help="int16 or float32.")] = "int16",
    jobs: Annotated[int, typer.Option(help="Recordings prepared at once; -1 for one a processor.")] = 1,
    on_error: Annotated[str, typer.Option(help="A recording that fails: raise, or skip and list it.")] = "raise",
    subjects: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these subjects, as the data set names them; separated by commas, or repeat the option."
        ),
    ] = None,
    seizure_words: SeizureWords = None,
    events: EventsFolder = None,
    partly_read: PartlyRead = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace windows that a run or a model uses, or those of other signals."),
    ] = False,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Numbers for names of subjects and recordings; no dates, no files.")
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(help="With --anonymous: a private table that tells who is who, outside of the windows' folder."),
    ] = None,
    option: ReaderOptions = None,
    json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON on stdout.")] = False,
) -> None:
    """Map, resample, cut and label recordings; a second call does only what is missing."""
    from biot_bd.commands import _names
    from biot_bd.commands._folders import refuse

    _names.check_registered("datasets", dataset)
    _names.check_registered("montages", montage)
    _names.check_registered("label_rules", labels)
    for name, given, known in (
        ("--on-missing", on_missing, _names.ON_MISSING),
        ("--on-bad", on_bad, ("raise", "warn", "drop")),
        ("--resample", resample, ("fft", "polyphase", "fft-window")),
        ("--dtype", dtype, ("int16", "float32")),
        ("--on-error", on_error, ("raise", "skip")),
    ):
        _names.check_known(name, given, known)
    refuse(root, "model", "run", "windows", wanted="recordings")

    from biot_bd.datasets.loading import options_of
    from biot_bd.windows import prepare as prepare_windows

    options = parse_assignments(option, "--option") | reader_words(seizure_words) | reader_events(events, partly_read)
    if subjects:
        if "subjects" in options:
            raise ValueError("--option subjects: give the subjects with --subjects")
        options["subjects"] = names_between_commas(subjects, "subject")
    if labels == UNLABELLED and events is None and "unlisted" in (options_of(dataset) or ()):
        options.setdefault("unlisted", "background")
    if "on_error" in (options_of(dataset) or ()):
        options.setdefault("on_error", on_error)
    recordings = load_recordings(dataset, root, options)
    windows = prepare_windows(
        recordings,
        folder,
        montage=montage,
        sfreq=sfreq,
        window_s=window_s,
        stride_s=stride_s,
        labels=labels,
        on_missing=on_missing,
        on_bad=on_bad,
        resample=resample,
        dtype=dtype,
        n_jobs=jobs,
        on_error=on_error,
        overwrite=overwrite,
        anonymous=anonymous,
        key=key,
    )
    facts = _facts(dataset, folder, windows)
    if json:
        print_json(facts)
    else:
        _show(facts)


def _facts(dataset: str, folder: Path, windows: Any) -> dict[str, Any]:
    """Gather what ``--json`` prints."""
    from biot_bd.windows.same_recordings import namespace_note
    from biot_bd.windows.store import read_manifest

    manifest = read_manifest(folder)
    return {
        "dataset": dataset,
        "folder": folder,
        "generated": windows.generated,
        "anonymous": windows.anonymous,
        "label_rule": windows.label_rule,
        "shape": list(windows.shape),
        "ch_names": list(windows.ch_names),
        "sfreq": windows.sfreq,
        "n_windows": len(windows),
        **_counts(windows),
        "not_loaded": [row for row in manifest["outcomes"] if row["outcome"] != "loaded"],
        "failures": manifest["failures"],
        "notes": [*manifest["notes"], *([] if (note := namespace_note(windows.recordings)) is None else [note])],
    }


def _counts(windows: Any) -> dict[str, Any]:
    """Return the numbers of windows, by class where they are not background and seizure."""
    from biot_bd.windows.labels import CLASSES

    summary = windows.summary()
    if windows.classes == CLASSES:
        columns = ["n_windows", "n_seizure_windows"]
        return {"n_seizure_windows": int(windows.y.sum()), "subjects": summary[columns].to_dict("index")}
    of_class = [f"n_{name}_windows" for name in windows.classes]
    return {"classes": list(windows.classes), "subjects": summary[["n_windows", *of_class]].to_dict("index")}


def _show(facts: dict[str, Any]) -> None:
    generated = " (generated data)" if facts["generated"] else ""
    classes = facts.get("classes")
    numbers: tuple[str, ...] = ("windows", *classes) if classes else ("windows", "seizure", "prevalence")
    rows = []
    for subject, counts in facts["subjects"].items():
        shown = [f"{n:,}" for n in counts.values()]
        if not classes:
            shown.append(f"{counts['n_seizure_windows'] / counts['n_windows']:.3f}")
        rows.append({"subject": subject, **dict(zip(numbers, shown, strict=True))})
    title = f"{facts['dataset']}{generated}, label rule {facts['label_rule']}"
    print_table(rows, {name: name for name in ("subject", *numbers)}, right=numbers, title=title)
    for line in _left_out(facts["not_loaded"] + facts["failures"]):
        typer.echo(line)
    for note in facts["notes"]:
        typer.echo(f"- {note}")
    typer.echo(f"windows: {facts['folder']}")


def _left_out(rows: list[dict[str, Any]]) -> list[str]:
    """Say what was left out and why; many recordings of one outcome are one line with a count."""
    lines = []
    for outcome in dict.fromkeys(row["outcome"] for row in rows):
        those = [row for row in rows if row["outcome"] == outcome]
        if len(those) <= FEW:
            lines += [f"- {row['recording']}: {outcome}: {row['detail']}" for row in those]
            continue
        names = ", ".join(str(row["recording"]) for row in those[:FEW])
        lines.append(
            f"- {len(those):,} recordings: {outcome}: {names} and {len(those) - FEW:,} more (--json lists all); "
            f"e.g. {those[0]['detail']}"
        )
    return lines
