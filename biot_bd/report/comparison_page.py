"""Write ``comparison.html`` into a study folder.

Training regimes side by side, in one file, readable offline.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from biot_bd.evaluation.protocols import protocol_notes
from biot_bd.evaluation.studies.compare_regimes import StudyResult
from biot_bd.evaluation.studies.comparison import chance_of
from biot_bd.evaluation.studies.finished_runs import FINISHED_RUNS, better_worse
from biot_bd.events.scoring import scorer_text
from biot_bd.exceptions import RunFolderError
from biot_bd.json_values import naming
from biot_bd.number_texts import cell_text, score_text, text_of
from biot_bd.report.drawing.svg import Panel, Picture, line_style, nice_ticks
from biot_bd.report.events_page import ROWS
from biot_bd.report.tables import study_tables, write_tables
from biot_bd.report.text import LABELS, generated_banners, render
from biot_bd.report.writer import REPORT
from biot_bd.runs import write_text

COMPARISON_REPORT = "comparison.html"
WIDTH, ROW, GAP, TOP, LABEL_UNIT = 460.0, 34.0, 62.0, 8.0, 6.2


def write_comparison(folder: str | os.PathLike[str] | StudyResult) -> Path:
    """Write ``comparison.html`` into a study folder, atomically, and its tables as
    ``tables/*.csv``.

    Parameters
    ----------
    folder : path or StudyResult
        A finished study of :func:`biot_bd.evaluation.compare_regimes`, or what
        :func:`biot_bd.evaluation.compare_finished` wrote.

    Returns
    -------
    Path
        ``folder/comparison.html``.  It links to the ``report.html`` of each run that has one.

    Raises
    ------
    FileNotFoundError
        The folder is no finished study.
    ValueError
        A file of the study is damaged.

    See Also
    --------
    biot_bd.report.write_report : The page of one run.

    Examples
    --------
    The folder of a study, ``compare_regimes(..., folder="study")``, gets its page beside its
    numbers:

    >>> write_comparison("study")
    Traceback (most recent call last):
    FileNotFoundError: study: ...
    """
    result = folder if isinstance(folder, StudyResult) else StudyResult.open(folder)
    with naming(result.folder, RunFolderError):
        page = _page(result) | {"csv": write_tables(result.folder, study_tables(result))}
        return write_text(result.folder / COMPARISON_REPORT, render("comparison.html.j2", page))


def comparison_picture(comparison: Mapping[str, Any]) -> Picture:
    """Draw each subject's score in each regime as a dot, and the mean over subjects with its
    interval.

    Parameters
    ----------
    comparison : mapping
        Content of ``comparison.json``.

    Returns
    -------
    Picture
        One panel a metric, one row a regime; a pale line joins a subject's dots.
    """
    regimes, scoring = comparison["regimes"], comparison["scoring"]
    left = min(170.0, 16 + LABEL_UNIT * max(len(name) for name in regimes))
    height = ROW * len(regimes)
    picture = Picture(
        "regimes",
        WIDTH,
        TOP + len(scoring) * (height + GAP),
        "Scores of each subject in each run",
        f"{len(regimes)} runs: {', '.join(regimes)}. Small dots are subjects; the thick mark is the mean over subjects, the "
        f"bar its {comparison['level']:.0%} interval. The numbers stand in the tables.",
    )
    for index, metric in enumerate(scoring):
        panel = Panel(left, TOP + index * (height + GAP), WIDTH - left - 16, height, _limits(regimes, metric))
        _draw_metric(picture, panel, metric, comparison)
    return picture


def _draw_metric(picture: Picture, panel: Panel, metric: str, comparison: Mapping[str, Any]) -> None:
    regimes = comparison["regimes"]
    picture.axes(panel, LABELS.get(metric, metric), xticks=nice_ticks(*panel.xlim), yticks=[])
    chance = chance_of(comparison, metric)
    if chance is not None and panel.xlim[0] < chance < panel.xlim[1]:
        at = float(panel.x(chance))
        picture.path([at, at], [panel.top, panel.bottom], css="reference", tip=f"chance {score_text(chance)}")
    middles = panel.top + ROW * (np.arange(len(regimes)) + 0.5)
    names = list(regimes)
    subjects = comparison["subjects"]
    # Subjects with equal scores shall not hide each other: each keeps its own height in every row.
    offsets = np.linspace(-9, 9, len(subjects)) if len(subjects) > 1 else np.zeros(1)
    for subject, offset in zip(subjects, offsets, strict=True):
        values = [regimes[name]["subjects"][metric][subject] for name in names]
        x = panel.x([np.nan if value is None else value for value in values])
        picture.path(x, middles + offset, css="pair")
        for name, value, a, b in zip(names, values, x, middles + offset, strict=True):
            if value is not None:
                picture.dot(float(a), float(b), 2.6, css="subject", tip=f"{subject}, {name}: {text_of(metric, value)}")
    for index, (name, y) in enumerate(zip(names, middles, strict=True)):
        picture.text(panel.left - 7, float(y) + 4, _shortened(name), css="tick", anchor="end")
        _draw_interval(picture, panel, regimes[name]["macro"][metric], metric, float(y), name, line_style(index))


def _draw_interval(
    picture: Picture, panel: Panel, interval: Mapping[str, Any], metric: str, y: float, name: str, style: str
) -> None:
    if interval["value"] is None:
        picture.text(panel.left + 6, y + 4, "undefined", css="tick absent")
        return
    tip = f"{name}: mean {cell_text(interval, metric)}"
    if interval["low"] is not None:
        low, high = panel.x([interval["low"], interval["high"]])
        ends = [low, low, low, high, high, high]
        picture.path(ends, [y - 6, y + 6, y, y, y - 6, y + 6], css="interval", style=style, tip=tip)
    at = float(panel.x(interval["value"]))
    picture.rect(at - 2.5, y - 8, 5, 16, css="mean", tip=tip)


def _limits(regimes: Mapping[str, Any], metric: str) -> tuple[float, float]:
    """Return 0 to 1 where all values lie there, else the range of the values."""
    values = [v for regime in regimes.values() for v in regime["subjects"][metric].values() if v is not None]
    values += [
        v for r in regimes.values() for key in ("value", "low", "high") if (v := r["macro"][metric][key]) is not None
    ]
    if not values or (min(values) >= 0 and max(values) <= 1):
        return 0.0, 1.0
    slack = 0.05 * (max(values) - min(values)) or 1.0
    return min(values) - slack, max(values) + slack


def _shortened(name: str) -> str:
    return name if len(name) <= 26 else name[:25] + "…"


# --- the page -------------------------------------------------------------------------------------


def _page(result: StudyResult) -> dict[str, Any]:
    comparison, study = result.comparison, result.study
    contamination = study.get("contamination") or {}
    names, events, n = list(comparison["regimes"]), comparison.get("events") or None, len(study["seeds"])
    finished = study.get("kind") == FINISHED_RUNS
    same = "test windows and folds" if finished else f"subjects, folds and {n} seed{'s' if n > 1 else ''}"
    what = "run" if finished else "regime"
    return {
        "title": study.get("title") or f"{'Runs' if finished else 'Training regimes'} compared",
        "lead": f"{len(names)} {'finished runs' if finished else 'training regimes'} on the same {same}: {', '.join(names)}.",
        "finished_runs": finished,
        "what": what,
        "better_worse": better_worse,
        "tensorboard": _tensorboard(result),
        "banners": _banners(study, contamination),
        "level": f"{comparison['level']:.0%}",
        "comparison": comparison,
        "metric_labels": [(metric, LABELS.get(metric, metric)) for metric in comparison["scoring"]],
        "labels": LABELS | {name: label for name, label, *_ in ROWS},
        "interval_text": cell_text,
        "chance_of": partial(chance_of, comparison),
        "picture": comparison_picture(comparison),
        "has_chance": any(chance_of(comparison, metric) is not None for metric in comparison["scoring"]),
        "left_out": _left_out(comparison["tests"]),
        # None where the runs have no events, or the study is older.
        "events": events,
        "event_scores": list(next(iter(events["regimes"].values()))["macro"]) if events else [],
        "scorer_text": scorer_text,
        "notes": study.get("notes") or [],
        "contamination": contamination,
        "protocol": protocol_notes(study),
        "study": study,
        "seeds": study["seeds"],
        "link": partial(_link, result),
        "pipelines": [(name, entry["pipeline"]) for name, entry in study["regimes"].items()],
    }


def _banners(study: Mapping[str, Any], contamination: Mapping[str, str]) -> list[str]:
    found = generated_banners(bool(study["data"].get("generated")), study.get("not_a_result"), "numbers")
    if contamination:
        found.append(
            f"Contaminated: {', '.join(contamination)} started from a checkpoint that saw test subjects (or may have); "
            "these scores do not say how the model does on new subjects."
        )
    return found


def _left_out(tests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say once a metric who is in no test of it."""
    found: dict[str, set[str]] = {}
    for test in tests:
        found.setdefault(test["metric"], set()).update(test["left_out"])
    return [
        f"{LABELS.get(metric, metric)} is undefined for {', '.join(sorted(subjects))}, who count in no test of it."
        for metric, subjects in found.items()
        if subjects
    ]


def _link(result: StudyResult, name: str, seed: int) -> tuple[str, str]:
    """Return a relative link to a run, and what is there.

    The report where there is one, else the folder; no link to a run that is not stored.
    """
    folder = result.run_folder(name, seed)
    report = folder / REPORT
    found = report if report.is_file() else folder
    if not found.exists():
        return "", "not stored"
    where = Path(os.path.relpath(found, result.folder)).as_posix()
    return quote(where), "report" if report.is_file() else "folder"


def _tensorboard(result: StudyResult) -> str:
    """Return what TensorBoard is called with: the study folder, or each run by its name."""
    if result.study.get("kind") != FINISHED_RUNS:
        return f"--logdir {shlex.quote(str(result.folder))}"
    runs = [
        f"{name}:{result.run_folder(name, int(seed)).resolve()}"
        for name, regime in result.comparison["regimes"].items()
        for seed in regime["seeds"]
    ]
    return f"--logdir_spec {shlex.quote(','.join(runs))}"
