"""Intervals and calibration as the report shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from biot_bd.evaluation.result import Result
from biot_bd.evaluation.run_facts import INTERVALS, RunMetrics
from biot_bd.evaluation.statistics.exact_intervals import EXACT
from biot_bd.evaluation.statistics.intervals import DEGENERATE, notes_by_score
from biot_bd.evaluation.uncertainty import assess
from biot_bd.report.drawing.svg import Panel, Picture, line_style
from biot_bd.report.run_folder import Run
from biot_bd.report.text import LABELS

OF_ONE_SCORE = ("undefined in", "the score is undefined", DEGENERATE, EXACT)
METHODS = {"sigmoid": "sigmoid (Platt)", "isotonic": "isotonic"}


def intervals_of(run: Run) -> dict[str, Any] | None:
    """Return :func:`~biot_bd.evaluation.uncertainty.assess` of a run.

    None where it has no test windows.
    """
    if len(run.test) == 0:
        return None
    return assess(Result(cast(RunMetrics, run.metrics), run.predictions, run.run, run.folder))


def interval_notes(assessed: Mapping[str, Any] | None) -> list[str]:
    """Say what the intervals are, and what to mind, once for all tables."""
    if assessed is None:
        return ["No intervals: there are no test windows."]
    notes = [
        f"Small numbers beneath a score: its {assessed['level']:.0%} interval ({assessed['method']}, {assessed['n_resamples']} resamples of "
        f"{assessed['resampled']}, seed {assessed['random_state']}). A subject's own interval resamples that subject's recordings."
    ]
    windows, events = assessed["windows"], assessed.get("events") or {}
    named = [
        (f"{LABELS.get(name, name)}{of}", cell)
        for part, of in ((windows, ""), (events, " of events"))
        for average in ("macro", "pooled")
        for name, cell in part.get(average, {}).items()
    ]
    cells = [cell for _, cell in named]
    said_of = ((name, [note for note in cell["notes"] if not note.startswith(OF_ONE_SCORE)]) for name, cell in named)
    notes += [f"{note[:1].upper()}{note[1:]}." for note in notes_by_score(said_of)]
    if any(cell.get("counted") for cell in _all_cells(events)):
        notes.append(
            "Where all resamples of a score are equal (all seizures found, no false alarm), a share of counted events has the exact binomial "
            "interval (Clopper-Pearson) and a rate the exact Poisson interval (Garwood), as if events came independently; other scores "
            "have none then."
        )
    said = {
        subject: [" ".join(cell["notes"]) for cell in scores.values()]
        for subject, scores in windows["subjects"].items()
    }
    without = [subject for subject, own in said.items() if own and all("one recording" in text for text in own)]
    if without:
        notes.append(f"With one recording only there is no interval of a subject's own: {', '.join(without)}.")
    few = [subject for subject, own in said.items() if any("too narrow" in text for text in own)]
    if few:
        notes.append(f"Fewer than five recordings, so that the subject's own interval is too narrow: {', '.join(few)}.")
    dropped = max((cell["n_undefined"] for cell in cells if cell["value"] is not None), default=0)
    if dropped:
        notes.append(
            f"A score is undefined in up to {dropped} of {assessed['n_resamples']} resamples (nobody with a seizure among them, say), which "
            f"are left out; {INTERVALS} has the numbers."
        )
    return notes


def _all_cells(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    averages = [part.get("macro", {}), part.get("pooled", {}), *part.get("subjects", {}).values()]
    return [cell for average in averages for cell in average.values()]


# --- calibration ----------------------------------------------------------------------------------


def calibration_picture(found: Mapping[str, Any]) -> Picture:
    """Draw the share of seizure windows against the mean probability, bin by bin, and the number
    of windows below.

    Parameters
    ----------
    found : mapping
        ``calibration`` of ``intervals.json``.
    """
    filled = [entry for entry in found["bins"] if entry["n_windows"]]
    picture = Picture(
        "calibration",
        440,
        490,
        "Calibration curve",
        f"Share of seizure windows against mean probability in {found['binning']}; the dashed diagonal is perfect calibration. "
        + " ".join(f"At {e['mean_proba']:.2f}: {e['share_seizure']:.2f} of {e['n_windows']} windows." for e in filled),
    )
    panel = Panel(52, 12, 372, 318, (0, 1), (0, 1))
    picture.axes(panel, "", "Share of seizure windows")
    picture.path([panel.left, panel.right], [panel.bottom, panel.top], css="reference", tip="perfect calibration")
    for entry in filled:
        if entry.get("share_low") is not None:
            at = float(panel.x(entry["mean_proba"]))
            low, high = (float(v) for v in panel.y([entry["share_low"], entry["share_high"]]))
            picture.path([at - 4, at + 4, at, at, at - 4, at + 4], [low, low, low, high, high, high], css="whisker")
    recalibrated = (found.get("recalibrated") or {}).get("sigmoid") or {}
    after = [e for e in (recalibrated.get("after") or {}).get("bins", ()) if e["n_windows"]]
    for bins, index, dash, tip in (
        (after, 1, ";stroke-dasharray:5 3", "after recalibration"),
        (filled, 0, "", "as the models give them"),
    ):
        x, y = panel.x([e["mean_proba"] for e in bins]), panel.y([e["share_seizure"] for e in bins])
        picture.path(x, y, style=line_style(index) + dash, tip=tip)
        for a, b, entry in zip(x, y, bins, strict=True):
            said = f"{tip}: {entry['low']:.2f} to {entry['high']:.2f}, {entry['n_windows']} windows, share {entry['share_seizure']:.3f}"
            if index:
                picture.rect(float(a) - 3, float(b) - 3, 6, 6, css="square colour1", tip=said)
            else:
                picture.dot(float(a), float(b), 3.6, css="dot colour0", tip=said)
    _histogram(picture, found["bins"])
    return picture


def _histogram(picture: Picture, bins: Sequence[Mapping[str, Any]]) -> None:
    """Draw the numbers of windows on a scale of powers of ten."""
    counts = np.array([entry["n_windows"] for entry in bins])
    top = float(np.ceil(np.log10(max(counts.max(), 10))))
    panel = Panel(52, 352, 372, 84, (0, 1), (0, top))
    ticks = list(range(int(top) + 1))
    labels = {float(tick): "1" if tick == 0 else f"{10**tick:,}" for tick in ticks}
    picture.axes(panel, "Probability of a seizure", "Windows", yticks=ticks, ylabels=labels)
    for entry in bins:
        if entry["n_windows"]:
            left, right = panel.x([entry["low"], entry["high"]])
            height = max(float(np.log10(entry["n_windows"])), 0.06) / top * panel.height
            picture.rect(
                float(left) + 1,
                panel.bottom - height,
                float(right - left) - 2,
                height,
                css="colour4",
                tip=f"{entry['n_windows']} windows",
            )


def calibration_page(assessed: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the calibration section shows."""
    if assessed is None:
        return {"message": "there are no test windows"}
    found = assessed["calibration"]
    rows, notes = [("As the models give them", found)], []
    for method, entry in found["recalibrated"].items():
        notes += [f"Recalibration, {METHODS[method]}: {note}." for note in entry["notes"]]
        if entry["after"]["n_windows"]:
            rows.append(
                (f"Recalibrated on validation subjects, {METHODS[method]}", entry["after"] | {"brier_interval": None})
            )
    return {
        "message": None,
        "found": found,
        "picture": calibration_picture(found),
        "rows": rows,
        "notes": list(dict.fromkeys(notes)),
    }
