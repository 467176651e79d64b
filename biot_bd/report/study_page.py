"""Write ``comparison.html`` into the folder of a comparison of foundation models.

One table a cohort, with a picture; each cohort's own page has the tests and subjects.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from biot_bd.evaluation.studies.compare_regimes import COMPARISON
from biot_bd.evaluation.studies.foundation_study import CSV, MARKDOWN, FoundationStudy
from biot_bd.evaluation.studies.study_table import CHANCE, CHECKS, check_cells, reasons, shown_cells, shown_headings
from biot_bd.exceptions import RunFolderError
from biot_bd.json_values import naming
from biot_bd.number_texts import cell_text, score_text
from biot_bd.report.comparison_page import COMPARISON_REPORT, write_comparison
from biot_bd.report.drawing.svg import Panel, Picture, line_style, nice_ticks
from biot_bd.report.text import generated_banners, render
from biot_bd.runs import write_text

WIDTH, ROW, TOP, BOTTOM, LABEL_UNIT, MOST_LEFT = 460.0, 26.0, 8.0, 54.0, 6.2, 210.0
LONGEST_LABEL = 32


def write_study_page(study: str | os.PathLike[str] | FoundationStudy) -> Path:
    """Write ``comparison.html`` into a study folder, and into the folder of each cohort.

    Parameters
    ----------
    study : path or FoundationStudy
        Of :func:`biot_bd.evaluation.run_study`.

    Returns
    -------
    Path
        ``folder/comparison.html``.

    Raises
    ------
    FileNotFoundError
        The folder is no study, or has no table yet.
    ValueError
        A file of the study is damaged.

    See Also
    --------
    biot_bd.report.write_comparison : The page of one cohort.

    Examples
    --------
    >>> from biot_bd.report import write_study_page
    >>> write_study_page("study")
    Traceback (most recent call last):
    FileNotFoundError: study: ...
    """
    found = study if isinstance(study, FoundationStudy) else FoundationStudy.open(study)
    with naming(found.folder, RunFolderError):
        links = {cohort.name: _cohort_page(found.folder / cohort.name) for cohort in found.plan.cohorts}
        return write_text(found.folder / COMPARISON_REPORT, render("study.html.j2", _page(found, links)))


def _cohort_page(folder: Path) -> str | None:
    """Write the page of a cohort where its rows were compared; return the link to it."""
    if not (folder / COMPARISON).is_file():
        return None
    return quote(f"{folder.name}/{write_comparison(folder).name}")


def _page(study: FoundationStudy, links: Mapping[str, str | None]) -> dict[str, Any]:
    plan = study.plan
    reasons_ = study.study.get("not_a_result") or []
    generated = any(facts["generated"] for facts in study.study["cohorts"].values())
    cohorts = [_cohort(study, cohort.name, links[cohort.name]) for cohort in plan.cohorts]
    rows = plan.rows()
    return {
        "title": plan.title or "Foundation models compared",
        "lead": f"{len(rows)} rows on {len(cohorts)} cohort{'s' if len(cohorts) > 1 else ''}, "
        f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}, split {plan.cv}; all rows of a cohort share its folds.",
        "banners": generated_banners(generated, "; ".join(reasons_) or None, "numbers"),
        "cohorts": cohorts,
        "notes": study.notes,
        "files": [name for name in (CSV, MARKDOWN) if (study.folder / name).is_file()],
        "plan": plan.as_dict(),
    }


def _cohort(study: FoundationStudy, name: str, link: str | None) -> dict[str, Any]:
    rows = [row for row in study.rows if row["cohort"] == name]
    against = next((row["against"] for row in rows if row["against"]), None)
    scored = [row for row in rows if row["average_precision"] is not None and row["row"] != CHANCE]
    return {
        "name": name,
        "id": "cohort-" + "".join(c if c.isalnum() else "-" for c in name),
        "facts": study.study["cohorts"][name],
        "tables": _tables(rows, against),
        "reasons": reasons(rows),
        "contamination": [
            f"{row['row']}: {row['contamination']}: {row['contamination_reason']}"
            for row in rows
            if row["contamination"] and row["weights"] not in (None, "random")
        ],
        "slots": [
            f"{row['row']}: {row['slots']}"
            for row in rows
            if row["slots"] and (row["slot_problems"] or row["slots_right"] != row["n_slots"])
        ],
        "picture": study_picture(name, scored, _chance(rows)) if scored else None,
        "link": link,
    }


def _tables(rows: Sequence[Mapping[str, Any]], against: str | None) -> list[dict[str, Any]]:
    """Return scores and checks as two tables: side by side the checks would lie out of sight."""
    checks = [row for row in rows if row["row"] != CHANCE]
    n_checks = len(CHECKS)
    return [
        {
            "label": "Scores",
            "caption": "Scores: mean over subjects, with the interval over subjects in brackets.",
            "headings": shown_headings(against)[:-n_checks],
            "rows": [{"name": row["row"], "cells": shown_cells(row)[:-n_checks]} for row in rows],
            "words": False,
        },
        {
            "label": "Cost and checks",
            "caption": "What each row cost, what its weights saw, and what reached its inputs.",
            "headings": list(CHECKS),
            "rows": [{"name": row["row"], "cells": check_cells(row)} for row in checks],
            "words": True,
        },
    ]


def _chance(rows: Sequence[Mapping[str, Any]]) -> float | None:
    return next((row["average_precision"] for row in rows if row["row"] == CHANCE), None)


def study_picture(cohort: str, rows: Sequence[Mapping[str, Any]], chance: float | None) -> Picture:
    """Draw the AUC-PR of a cohort's rows with their intervals over subjects.

    Parameters
    ----------
    cohort : str
    rows : sequence of dict
        Of the table, with scores.
    chance : float or None
        AUC-PR of guessing.

    Returns
    -------
    Picture
        One line a row, in the order of the table.
    """
    labels = [_shortened(row["row"]) for row in rows]
    left = min(MOST_LEFT, 16 + LABEL_UNIT * max(map(len, labels)))
    height = ROW * len(rows)
    best = max(rows, key=lambda row: row["average_precision"])
    picture = Picture(
        "study-" + "".join(c if c.isalnum() else "-" for c in cohort),
        WIDTH,
        TOP + height + BOTTOM,
        f"AUC-PR of the rows on {cohort}",
        f"{len(rows)} rows; the mark is the mean over subjects, the bar its interval over subjects. The highest mean is "
        f"that of {best['row']}, {score_text(best['average_precision'])}"
        + ("" if chance is None else f"; guessing gives {score_text(chance)}")
        + ". The numbers stand in the table.",
    )
    panel = Panel(left, TOP, WIDTH - left - 16, height, (0.0, 1.0))
    picture.axes(panel, "AUC-PR", xticks=nice_ticks(0.0, 1.0), yticks=[])
    if chance is not None:
        at = float(panel.x(chance))
        picture.path([at, at], [panel.top, panel.bottom], css="reference", tip=f"chance {score_text(chance)}")
    for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
        _draw_row(picture, panel, row, label, panel.top + ROW * (index + 0.5), line_style(index))
    return picture


def _draw_row(picture: Picture, panel: Panel, row: Mapping[str, Any], label: str, y: float, style: str) -> None:
    cell = {
        "value": row["average_precision"],
        "low": row["average_precision_low"],
        "high": row["average_precision_high"],
    }
    tip = f"{row['row']}: {cell_text(cell)}"
    picture.text(panel.left - 7, y + 4, label, css="tick", anchor="end")
    if cell["low"] is not None:
        low, high = (float(panel.x(cell[end])) for end in ("low", "high"))
        picture.path(
            [low, low, low, high, high, high], [y - 5, y + 5, y, y, y - 5, y + 5], css="interval", style=style, tip=tip
        )
    picture.rect(float(panel.x(cell["value"])) - 2.5, y - 6, 5, 12, css="mean", tip=tip)


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"
