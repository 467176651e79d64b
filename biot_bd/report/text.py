"""What the report says in words: what was run, how it was scored, which files there are, how to repeat it."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from biot_bd.evaluation.protocols import CUSTOM
from biot_bd.events.scoring import scorer_text
from biot_bd.plots import css_colours
from biot_bd.report.run_folder import NO_NUMBER, Run

LABELS = {
    "average_precision": "AUC-PR",
    "roc_auc": "AUROC",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}


def number(value: float | None, digits: int = 3) -> str:
    """Return a number in words, a dash where there is none."""
    return NO_NUMBER if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def ends(interval: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Return the ends of an interval in words, empty where there is none."""
    if not interval or interval.get("low") is None:
        return ""
    return f"{interval['low']:.{digits}f} to {interval['high']:.{digits}f}"


def render(template: str, page: dict[str, Any]) -> str:
    """Fill one of the package's templates; every value is escaped unless it is markup of ours."""
    environment = Environment(
        loader=PackageLoader("biot_bd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # exact: the shortest text that gives the same float back
    environment.filters |= {"exact": repr, "number": number, "ends": ends}
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(template).render(
        colours=css_colours(), version=version("biot-bd"), written=written, **page
    )


def generated_banners(generated: bool, not_a_result: str | None, what: str) -> list[str]:
    """Return the warnings about generated data and about ``what`` (scores, numbers) that are no result."""
    found = []
    if generated:
        found.append("Generated data: not a clinical result. The recordings were made by a program, not by a brain.")
    if not_a_result and not (generated and not_a_result == "generated data"):
        found.append(f"Not a result: {not_a_result}. The {what} show that the way to them works, nothing more.")
    return found


def run_facts(run: Run, model: str | None) -> list[tuple[str, str]]:
    """Return what was run as pairs of a term and a value; ``model`` is its name and size."""
    data, parameters = run.data, run.run.get("parameters") or {}
    length, stride = window_and_stride(run.predictions)
    channels = data.get("ch_names")
    hours = data.get("hours")
    rows: list[tuple[str, Any]] = [
        ("Data", data_name(run)),
        ("Prepared windows", data.get("folder") or "none (arrays)"),
        ("Fingerprint of the data", data.get("fingerprint")),
        ("Generated", "yes: not a clinical result" if run.generated else "no"),
        ("Label rule", data.get("label_rule") or "not known (arrays)"),
        ("Protocol", (run.run.get("protocol") or {}).get("name", CUSTOM)),
        ("Subjects", str(len(data.get("subjects") or {}))),
        ("Windows", f"{data.get('n_windows')}, of which {data.get('n_seizure_windows')} seizure windows"),
        ("EEG", None if hours is None else f"{hours:.2f} h, from the first to the last window of each recording"),
        ("Window and stride", f"{length} and {stride}"),
        ("Channels", f"{len(channels)}: {', '.join(channels)}" if channels else None),
        ("Sampling rate", None if data.get("sfreq") is None else f"{data['sfreq']:g} Hz"),
        ("Model", model or "not stored"),
        ("Started from", _origins(run)),
        ("Contamination", run.run.get("contamination")),
        ("Split", parameters.get("cv")),
        ("Threshold rule", parameters.get("threshold")),
        ("Seed", run.run.get("seed", parameters.get("random_state"))),
        ("Started", run.run.get("started")),
        ("Finished", run.run.get("finished")),
        ("biot_bd", ((run.run.get("environment") or {}).get("packages") or {}).get("biot-bd")),
    ]
    return [(term, str(value)) for term, value in rows if value is not None]


def _origins(run: Run) -> str | None:
    """Name the checkpoints and the data sets that they saw; None where weights were random (or nothing is stored)."""
    lines = []
    for origin in run.run.get("checkpoints") or ():
        seen = ", ".join(dict.fromkeys(f"{entry['dataset']} ({entry['how']})" for entry in origin["trained_on"]))
        lines.append(
            f"{origin['source']}, trained on {seen or 'unknown data'}{'' if origin['known'] else ' (incomplete record)'}"
        )
    return "; ".join(lines) or None


def data_name(run: Run) -> str:
    """Return what the data is called: its stored name, else the name space of its subjects."""
    if run.data.get("name"):
        return str(run.data["name"])
    spaces = sorted({subject.partition("/")[0] for subject in run.data.get("subjects") or {} if "/" in subject})
    return ", ".join(spaces) or "data without a name"


def window_and_stride(table: pd.DataFrame) -> tuple[str, str]:
    """Return the usual length of a window and the usual distance of two, in words."""
    lengths = (table["stop_s"] - table["start_s"]).dropna()
    order = table.sort_values(["fold", "part", "recording", "start_s"])
    steps = order.groupby(["fold", "part", "recording"])["start_s"].diff().dropna()
    steps = steps[steps > 0]
    length, stride = (f"{s.mode().iloc[0]:g} s" if len(s) else "unknown" for s in (lengths, steps))
    return length, stride


def pipeline_text(run: Run) -> str:
    """Return the pipeline as it prints."""
    text = run.run.get("pipeline", "")
    return text if isinstance(text, str) else json.dumps(text, indent=1, ensure_ascii=False)


def parameters_text(run: Run) -> str:
    """Return the parameters of the cross-validation and of every step, defaults included."""
    steps = (run.run.get("identity") or {}).get("pipeline") or {}
    return json.dumps(
        {"cross_validate": run.run.get("parameters") or {}, "pipeline": steps}, indent=1, ensure_ascii=False
    )


def software(run: Run) -> list[tuple[str, str]]:
    """Return the software and the machine."""
    environment = run.run.get("environment") or {}
    rows = [(name, str(environment[name])) for name in ("python", "system", "processors") if name in environment]
    return rows + [(name, str(version)) for name, version in (environment.get("packages") or {}).items()]


FILES = {
    "run.json": "parameters, seed, software, data and splits",
    "metrics.json": "all scores, undefined ones as null with the reason",
    "intervals.json": "intervals of all scores, calibration, and curves of recalibration by fold",
    "events": "the detected events of each test recording as TSV (SzCORE)",
    "predictions.parquet": "every validation and test window with label, probability and threshold",
    "folds": "one folder a fold: its facts, predictions, history of training, and model/ (load it with biot_bd.load_pipeline)",
    "tensorboard": "curves, PR curves, confusion matrices and attention maps; one folder a fold",
}


def files(run: Run) -> list[tuple[str, str]]:
    """Return the files of the run folder that exist, with what they hold."""
    return [(name, text) for name, text in FILES.items() if (run.folder / name).exists()]


REPRODUCE = (
    "The run again, with the pipeline printed above, in Python. In the same folder it computes only what is missing; "
    "name a new folder to compute everything again."
)


def commands(run: Run) -> list[tuple[str, str]]:
    """Return how to repeat things: what for, and the command."""
    found = [("This page again:", f"biot-bd report {shlex.quote(str(run.folder))}")]
    if (run.folder / "tensorboard").is_dir():
        logs = shlex.quote(str(run.folder / "tensorboard"))
        found.append(("The curves in TensorBoard:", f"tensorboard --logdir {logs}"))
    return [*found, (REPRODUCE, _python_of(run))]


def _python_of(run: Run) -> str:
    """Return the call that made the run."""
    place = run.data.get("folder")
    data = f"Windows.open({place!r})" if place else "...  # the arrays, with y= and groups= below"
    options = "".join(f"    {name}={value!r},\n" for name, value in (run.run.get("parameters") or {}).items())
    return (
        "from biot_bd import Windows, cross_validate\n\n"
        f"windows = {data}\n"
        f"cross_validate(\n    pipeline,\n    windows,\n    folder={str(run.folder)!r},\n{options})"
    )


# --- the methods paragraph ----------------------------------------------------------------------------------

PACKAGES = ("biot-bd", "torch", "braindecode", "scikit-learn", "mne", "timescoring")
NAMES = {"biot-bd": "biot_bd"}


def methods_paragraph(run: Run, sure: Mapping[str, Any] | None) -> str:
    """Return the paragraph; what a run does not store is not claimed."""
    said = [*_data(run), *_protocol(run), *_events(run), *_intervals(sure), *_versions(run)]
    return " ".join(said)


def _data(run: Run) -> list[str]:
    data, subjects = run.data, run.metrics["subjects"]
    length, stride = window_and_stride(run.predictions)
    hours = f", {data['hours']:.1f} h" if data.get("hours") is not None else ""
    made = " generated (not recorded)" if run.generated else ""
    rule = data.get("label_rule")
    labels = f"labelled by the rule {rule}" if rule else "with labels that were handed over"
    return [
        f"Windows of {length} every {stride} of{made} EEG ({data_name(run)}, {len(subjects)} subjects{hours}) were {labels}.",
    ]


def _protocol(run: Run) -> list[str]:
    parameters = run.run.get("parameters") or {}
    name = (run.run.get("protocol") or {}).get("name", CUSTOM)
    seed = run.run.get("seed", parameters.get("random_state"))
    n = len(run.folds)
    said = [
        f"Protocol {name}: split {parameters.get('cv', 'not stored')} in {n} fold{'' if n == 1 else 's'} of whole subjects, seed "
        f"{'not stored' if seed is None else seed}."
    ]
    if any(fold.facts.get("valid") for fold in run.folds):
        said.append(
            "Validation subjects, apart from training and test subjects, chose the epoch, the threshold "
            f"(rule {parameters.get('threshold', 'not stored')}) and the parameters of the event detector; test subjects were scored once."
        )
    else:
        said.append("There were no validation subjects: epochs and thresholds were fixed beforehand.")
    return said


def _events(run: Run) -> list[str]:
    events = run.metrics.get("events") or {}
    if not events.get("subjects"):
        return ["Events were not scored."]
    return [
        f"Seizure events were scored by {scorer_text(events['scorer'])}; counts were summed over each subject's recordings and scores averaged "
        "over the subjects for whom they are defined."
    ]


def _intervals(sure: Mapping[str, Any] | None) -> list[str]:
    if sure is None:
        return []
    calibration = sure["calibration"]
    return [
        f"Intervals: {sure['level']:.0%}, {sure['method']} of {sure['n_resamples']} resamples of {sure['resampled']}, seed "
        f"{sure['random_state']}; undefined resamples were left out and counted.",
        f"Calibration: Brier score, and expected calibration error in {calibration['binning']}, on all test windows.",
    ]


def _versions(run: Run) -> list[str]:
    environment = run.run.get("environment") or {}
    packages = environment.get("packages") or {}
    known = [f"{NAMES.get(name, name)} {packages[name]}" for name in PACKAGES if packages.get(name)]
    python = [f"Python {environment['python']}"] if environment.get("python") else []
    return [f"Software: {', '.join([*known, *python])}."] if known or python else []
