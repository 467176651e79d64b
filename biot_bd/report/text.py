"""What the pages say in words, and how their templates are filled."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

from biot_bd.anonymous import NOT_TOLD
from biot_bd.number_texts import hours_text, percent_text, text_of
from biot_bd.plots import css_colours
from biot_bd.report.run_folder import Run

LABELS = {
    "average_precision": "AUC-PR",
    "roc_auc": "AUROC",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}


def number(value: float | None, name: str = "") -> str:
    """Return a number in words, by the name of the score; a dash where there is none."""
    return text_of(name, value)


def ends(interval: Mapping[str, Any] | None, name: str = "") -> str:
    """Return the ends of an interval in words, empty where there is none.

    An exact one says for which count.
    """
    if not interval or interval.get("low") is None:
        return ""
    text = f"{text_of(name, interval['low'])} to {text_of(name, interval['high'])}"
    counted = interval.get("counted")
    if not counted:
        return text
    of = f"of {counted['of']}" if counted["of"] is not None else f"in {hours_text(counted['hours'])} h"
    return f"{text}, exact for {counted['n']} {of}"


def render(template: str, page: dict[str, Any]) -> str:
    """Fill one of the package's templates; every value is escaped unless it is markup of ours.

    Raises ValueError where the page lacks what the template shows.
    """
    environment = Environment(
        loader=PackageLoader("biot_bd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # exact: the shortest text that gives the same float back
    environment.filters |= {
        "exact": repr,
        "number": number,
        "ends": ends,
        "percent": percent_text,
        "quote": shlex.quote,
    }
    environment.filters["json"] = partial(json.dumps, indent=1, ensure_ascii=False)
    written = NOT_TOLD if page.get("anonymous") else datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    try:
        return environment.get_template(template).render(
            page, colours=css_colours(), version=version("biot-bd"), written=written
        )
    except UndefinedError as error:  # no built-in kind, so that who names the folder would not see it
        raise ValueError(f"the page needs what the facts do not hold: {error}") from error


def generated_banners(generated: bool, not_a_result: str | None, what: str) -> list[str]:
    """Return the warnings about generated data and about ``what`` (scores, numbers) that are no
    result.
    """
    found = []
    if generated:
        found.append("Generated data: not a clinical result. The recordings were made by a program, not by a brain.")
    if not_a_result and not (generated and not_a_result == "generated data"):
        found.append(f"Not a result: {not_a_result}. The {what} show that the way to them works, nothing more.")
    return found


def origins(run: Run) -> str | None:
    """Name the checkpoints and the data sets that they saw.

    None where weights were random (or nothing is stored).
    """
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
    "tables": "the tables and curves of this page as CSV, with all digits",
    "events": "the detected events of each test recording as TSV (SzCORE)",
    "predictions.parquet": "every validation and test window with label, probability and threshold",
    "folds": "one folder a fold: its facts, predictions, history of training, and model/ (load it with biot_bd.load_pipeline)",
    "search.json": "what was searched, how, and by which score",
    "search": "every inner fit of the search, and trials.csv with all of them",
    "tensorboard": "curves, PR curves, confusion matrices and attention maps; one folder a fold",
}
