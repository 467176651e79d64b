"""The event section of the report.

Scores with their scorer, operating points, latencies, results by length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biot_bd.events.chosen_on import chosen_on_of, chosen_on_text
from biot_bd.events.scoring import scorer_text
from biot_bd.number_texts import rate_text, score_text, seconds_text
from biot_bd.report.drawing.svg import Panel, Picture, line_style, nice_ticks
from biot_bd.report.run_folder import Run

ROWS = (
    ("sensitivity", "Sensitivity", "share of the reference events that an alarm overlaps"),
    ("precision", "Precision", "share of the alarms that overlap a reference event"),
    ("f1", "F1", "harmonic mean of both"),
    ("fa_per_24h", "False alarms per 24 h", "alarms that overlap none"),
    ("false_alarm_h_per_24h", "Hours in false alarm per 24 h", "time in alarm outside all seizures"),
    ("median_latency_s", "Median latency (s)", "onset of the first overlapping alarm minus onset of the seizure"),
)
LEAST_RATE = 0.1
"""Rates below (0 among them) are drawn here, at the left edge of a scale of powers of ten."""


def events_page(run: Run, assessed: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the event section shows: scores, intervals, operating points.

    ``message`` says why it shows nothing.
    """
    scores = run.metrics.get("events")
    if not scores or not scores.get("subjects"):
        reason = (scores or {}).get("reason") or "this run has none (made from arrays, or by an earlier version)"
        return {"message": reason}
    intervals = (assessed or {}).get("events") or {"macro": {}, "pooled": {}, "subjects": {}}
    curves = operating_curves(run)
    chosen = scores.get("operating_points") or []
    pictures = []
    if chosen:
        pictures.append(operating_picture(curves, chosen, scores.get("curve") or [], scores["pooled"]["events"]))
    if scores.get("seizures"):
        pictures.append(latency_picture(scores["seizures"]))
    return {
        "message": None,
        "scorer": scorer_text(scores["scorer"]),
        "scores": scores,
        "intervals": intervals,
        "rows": ROWS,
        "chosen": [{**row, "chosen_on_text": chosen_on_text(chosen_on_of(row))} for row in chosen],
        "target": _target(chosen),
        "pictures": pictures,
    }


def operating_curves(run: Run) -> dict[int, list[dict[str, Any]]]:
    """Return, by fold, the scores of the validation subjects at each threshold."""
    return {
        fold.number: fitted.get("operating_curve_") or []
        for fold in run.folds
        if (fitted := ((fold.facts.get("events") or {}).get("detector") or {}).get("fitted")) is not None
    }


def _target(chosen: Sequence[Mapping[str, Any]]) -> str:
    """Say on whom, and for what, the operating points were chosen."""
    chosen = [row for row in chosen if chosen_on_of(row) is not None]
    if not chosen:
        return "its parameters were fixed beforehand, or kept where validation could not choose"
    said = {
        "f1": "the best event F1",
        "fa_per_24h": "the highest sensitivity at no more than {target_fa_per_24h:g} false alarms per 24 h",
        "sensitivity": "the fewest false alarms at a sensitivity of at least {target_sensitivity:g}",
    }
    targets = [said.get(str(row.get("target")), str(row.get("target"))) for row in chosen]
    said_of = dict.fromkeys(text.format(**row) for text, row in zip(targets, chosen, strict=True))
    return f"chosen on its validation subjects for {'; '.join(said_of)}"


# --- pictures -------------------------------------------------------------------------------------


def operating_picture(
    curves: Mapping[int, Sequence[Mapping[str, Any]]],
    chosen: Sequence[Mapping[str, Any]],
    test: Sequence[Mapping[str, Any]],
    pooled: Mapping[str, Any],
) -> Picture:
    """Draw sensitivity against false alarms per 24 h.

    Validation subjects with the points chosen, and the test subjects.

    Parameters
    ----------
    curves : mapping of int to sequence of mapping
        By fold, ``sensitivity`` and ``fa_per_24h`` of the validation subjects at each threshold.
    chosen : sequence of mapping
        Operating points: ``fold`` and ``validation`` with its ``point``.
    test : sequence of mapping
        The test subjects of all folds at each threshold.
    pooled : mapping
        What they got at the operating points.
    """
    points = {row["fold"]: (row.get("validation") or {}).get("point") for row in chosen}
    how = {row["fold"]: "parameters kept" if chosen_on_of(row) is None else "chosen on validation" for row in chosen}
    known = {fold: point for fold, point in points.items() if point is not None and _defined(point)}
    rates = [row["fa_per_24h"] for rows in (*curves.values(), test) for row in rows] + [pooled["fa_per_24h"]]
    top = max(2.0, float(np.ceil(np.log10(max([*rates, 1.0])))))
    picture = Picture(
        "operating",
        440,
        380,
        "Sensitivity against false alarms",
        "Sensitivity to events against false alarms per 24 hours. A thin line a fold: its validation subjects at each threshold; circles: "
        "the operating points there. The thick line: all test subjects at each threshold; the cross: what they got at the operating "
        f"points{', ' + _point(pooled) if _defined(pooled) else ''}. "
        + " ".join(f"Fold {fold}, {how[fold]}: {_point(point)}." for fold, point in known.items()),
    )
    panel = Panel(52, 12, 372, 318, (float(np.log10(LEAST_RATE)), top), (-0.02, 1.02))
    ticks = [float(tick) for tick in range(-1, int(top) + 1)]
    labels = {tick: f"≤ {LEAST_RATE:g}" if tick < 0 else f"{10**tick:g}" for tick in ticks}
    yticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    picture.axes(panel, "False alarms per 24 h", "Sensitivity", xticks=ticks, yticks=yticks, xlabels=labels)
    for index, (fold, rows) in enumerate(curves.items()):
        _staircase(picture, panel, rows, "line thin", line_style(index), f"fold {fold}, validation")
    _staircase(picture, panel, test, "line pooled", "", "test subjects")
    for fold, point in known.items():
        picture.dot(*_place(panel, point), 4.5, css="ring", tip=f"fold {fold}: {how[fold]}, {_point(point)}")
    if _defined(pooled):
        _cross(picture, *_place(panel, pooled), "", f"test subjects: {_point(pooled)}", 8)
    return picture


def _defined(point: Mapping[str, Any]) -> bool:
    return point.get("sensitivity") is not None


def _staircase(
    picture: Picture, panel: Panel, rows: Sequence[Mapping[str, Any]], css: str, style: str, tip: str
) -> None:
    """Draw points by rising rate; between two thresholds nothing is known, so the line is level."""
    drawn = sorted((row["fa_per_24h"], row["sensitivity"]) for row in rows if _defined(row))
    if not drawn:
        return
    x, y = _log([rate for rate, _ in drawn]), np.array([sensitivity for _, sensitivity in drawn], dtype=float)
    picture.path(panel.x(np.repeat(x, 2)[1:]), panel.y(np.repeat(y, 2)[:-1]), css=css, style=style, tip=tip)


def _place(panel: Panel, point: Mapping[str, Any]) -> tuple[float, float]:
    return float(panel.x(_log([point["fa_per_24h"]]))[0]), float(panel.y(point["sensitivity"]))


def _log(rates: Any) -> np.ndarray:
    return np.log10(np.maximum(np.asarray(rates, dtype=float), LEAST_RATE))


def _cross(picture: Picture, x: float, y: float, style: str, tip: str, size: float = 5) -> None:
    a, nan = size, float("nan")
    picture.path([x - a, x + a, nan, x - a, x + a], [y - a, y + a, nan, y + a, y - a], "cross", style, tip)


def _point(point: Mapping[str, Any]) -> str:
    return f"sensitivity {score_text(point['sensitivity'])} at {rate_text(point['fa_per_24h'])} false alarms per 24 h"


def latency_picture(seizures: Sequence[Mapping[str, Any]]) -> Picture:
    """Draw the latency of each detected seizure, a row a subject.

    Missed seizures stand as crosses at the right.

    Parameters
    ----------
    seizures : sequence of mapping
        ``subject``, ``recording``, ``onset_s``, ``detected``, ``latency_s``; at least one.
    """
    subjects = sorted({seizure["subject"] for seizure in seizures})
    found = [seizure["latency_s"] for seizure in seizures if seizure["detected"]]
    low, high = min([-10.0, *found]), max([30.0, *found])
    row = 22.0
    left = min(150.0, 16 + 6.2 * max(len(subject) for subject in subjects))
    picture = Picture(
        "latency",
        440,
        60 + row * len(subjects),
        "Detection latency of each seizure",
        f"{len(found)} of {len(seizures)} annotated seizures were detected"
        + (
            f"; median latency {seconds_text(float(np.median(found)))} s, "
            f"from {seconds_text(min(found))} to {seconds_text(max(found))} s. "
            if found
            else ". "
        )
        + "A row a subject: a dot a detected seizure, a cross at the right a missed one.",
    )
    panel = Panel(left, 18, 440 - left - 62, row * len(subjects), (low - 2, high + 2))
    picture.axes(panel, "Latency (s): alarm minus onset", xticks=nice_ticks(*panel.xlim), yticks=[])
    zero = float(panel.x(0))
    picture.path([zero, zero], [panel.top, panel.bottom], css="reference", tip="seizure onset")
    picture.text(panel.right + 31, 12, "missed", anchor="middle")
    for index, subject in enumerate(subjects):
        y = panel.top + row * (index + 0.5)
        picture.text(panel.left - 6, y + 4, subject if len(subject) < 24 else f"{subject[:22]}…", anchor="end")
        own = [seizure for seizure in seizures if seizure["subject"] == subject]
        for seizure in (s for s in own if s["detected"]):
            tip = f"{seizure['recording']}, {seizure['onset_s']:g} s: latency {seconds_text(seizure['latency_s'])} s"
            picture.dot(float(panel.x(seizure["latency_s"])), y, 3.6, css="dot latency", tip=tip)
        missed = [seizure for seizure in own if not seizure["detected"]]
        if missed:
            tip = "; ".join(f"{s['recording']}, {s['onset_s']:g} s" for s in missed)
            _cross(picture, panel.right + 22, y, line_style(1), f"missed: {tip}")
            picture.text(panel.right + 32, y + 4, f"{len(missed)}")
    return picture
