"""What the pages say in words, and how their templates are filled."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from biot_bd.evaluation.protocols import CUSTOM
from biot_bd.plots import css_colours
from biot_bd.report.run_folder import NO_NUMBER, Run

LABELS = {
    "average_precision": "AUC-PR",
    "roc_auc": "AUROC",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}

Facts = list[tuple[str, Any]]


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
    environment.filters |= {"exact": repr, "number": number, "ends": ends, "quote": shlex.quote}
    environment.filters["json"] = partial(json.dumps, indent=1, ensure_ascii=False)
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(template).render(
        page, colours=css_colours(), version=version("biot-bd"), written=written
    )


def generated_banners(generated: bool, not_a_result: str | None, what: str) -> list[str]:
    """Return the warnings about generated data and about ``what`` (scores, numbers) that are no result."""
    found = []
    if generated:
        found.append("Generated data: not a clinical result. The recordings were made by a program, not by a brain.")
    if not_a_result and not (generated and not_a_result == "generated data"):
        found.append(f"Not a result: {not_a_result}. The {what} show that the way to them works, nothing more.")
    return found


def run_facts(run: Run, model: str | None) -> Facts:
    """Return what was run as pairs of a term and a value, None where it is not stored; ``model`` is its name and size."""
    data, parameters = run.data, run.run.get("parameters") or {}
    length, stride = window_and_stride(run.predictions)
    channels = data.get("ch_names")
    return [
        ("Data", data_name(run)),
        *data_facts(data),
        ("Protocol", (run.run.get("protocol") or {}).get("name", CUSTOM)),
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


def data_facts(data: Mapping[str, Any]) -> Facts:
    """Return what the ``data`` entry of a run or a study says."""
    hours = data.get("hours")
    return [
        ("Prepared windows", data.get("folder") or "none (arrays)"),
        ("Fingerprint of the data", data.get("fingerprint")),
        ("Generated", "yes: not a clinical result" if data.get("generated") else "no"),
        ("Label rule", data.get("label_rule") or "not known (arrays)"),
        ("Subjects", len(data.get("subjects") or {})),
        ("Windows", f"{data.get('n_windows')}, of which {data.get('n_seizure_windows')} seizure windows"),
        ("EEG", None if hours is None else f"{hours:.2f} h, from the first to the last window of each recording"),
    ]


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


FILES = {
    "run.json": "parameters, seed, software, data and splits",
    "metrics.json": "all scores, undefined ones as null with the reason",
    "intervals.json": "intervals of all scores, calibration, and curves of recalibration by fold",
    "events": "the detected events of each test recording as TSV (SzCORE)",
    "predictions.parquet": "every validation and test window with label, probability and threshold",
    "folds": "one folder a fold: its facts, predictions, history of training, and model/ (load it with biot_bd.load_pipeline)",
    "tensorboard": "curves, PR curves, confusion matrices and attention maps; one folder a fold",
}
