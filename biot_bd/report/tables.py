"""The tables and figures of a page as CSV files beside it, every number with all its digits.

One row a value: what is undefined is an empty cell, with the reason in a column of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from biot_bd.evaluation.studies.compare_regimes import StudyResult
from biot_bd.report.classes_page import class_table, classes_of
from biot_bd.report.drawing.curves import curve_columns
from biot_bd.report.events_page import operating_curves
from biot_bd.report.run_folder import Run
from biot_bd.runs import write_text

TABLES = "tables"
EVENT_UNITS = {"fa_per_24h": "1/24 h", "false_alarm_h_per_24h": "h/24 h", "median_latency_s": "s"}
_DETECTOR = ("threshold", "smoothing_s", "release_fraction", "min_duration_s", "merge_gap_s")

Rows = list[dict[str, Any]]


def write_tables(folder: str | os.PathLike[str], tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Write tables as CSV into ``folder/tables``, each file atomically.

    Parameters
    ----------
    folder : path
        Of the page.
    tables : mapping of str to DataFrame
        File name without its ending -> table.  Of an empty one no file is left.

    Returns
    -------
    dict of str to str
        Name -> link from the page, of the files that were written.
    """
    place = Path(folder) / TABLES
    place.mkdir(parents=True, exist_ok=True)
    links = {}
    for name, table in tables.items():
        path = place / f"{name}.csv"
        if len(table):
            # Counts stay whole numbers where some are unknown.
            write_text(path, table.convert_dtypes().to_csv(index=False, lineterminator="\n"))
            links[name] = f"{TABLES}/{name}.csv"
        else:
            path.unlink(missing_ok=True)
    return links


def run_tables(run: Run, assessed: Mapping[str, Any] | None) -> dict[str, pd.DataFrame]:
    """Return the tables and the figures' data of a run.

    Parameters
    ----------
    run : Run
    assessed : mapping or None
        Content of ``intervals.json``.
    """
    found: dict[str, Rows] = {
        "scores": _scores(run, assessed),
        "subjects": _subjects(run, assessed),
        "folds": _folds(run),
        "training": [{"fold": fold.number, **_plain(row)} for fold in run.folds for row in fold.history],
        "curves": [],  # many rows, made by columns
        "classes": class_table(run),
        **_calibration(assessed),
        **_events(run, assessed),
    }
    return {name: pd.DataFrame(rows) for name, rows in found.items()} | {"curves": _curve_points(run)}


def study_tables(study: StudyResult) -> dict[str, pd.DataFrame]:
    """Return the tables of a comparison: scores of the regimes, paired tests, and subjects."""
    comparison = study.comparison
    events = comparison.get("events") or {"regimes": {}, "tests": []}
    scores = [
        {"regime": name, "average": average, "score": score, **_with_interval(cell, comparison)}
        for name, regime in comparison["regimes"].items()
        for average in ("macro", "pooled")
        for score, cell in regime[average].items()
    ]
    scores += [
        {"regime": name, "average": "macro", "score": f"events_{score}", **_with_interval(cell, comparison)}
        for name, regime in events["regimes"].items()
        for score, cell in regime["macro"].items()
    ]
    subjects = [
        {
            "subject": subject,
            "prevalence": comparison["prevalence"].get(subject),
            "regime": name,
            "score": f"{prefix}{score}",
            "value": value,
            "reason": "" if value is not None else "undefined for this subject",
        }
        for prefix, part in (("", comparison), ("events_", events))
        for name, regime in part["regimes"].items()
        for score, values in regime["subjects"].items()
        for subject, value in values.items()
    ]
    tests = [_test(test, prefix) for prefix, part in (("", comparison), ("events_", events)) for test in part["tests"]]
    return {name: pd.DataFrame(rows) for name, rows in (("scores", scores), ("subjects", subjects), ("tests", tests))}


def _test(test: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    counts = ("n_better", "n_worse", "n_equal", "p_permutation", "exact", "p_holm", "p_wilcoxon")
    named = {"n_better": "n_first_higher", "n_worse": "n_first_lower"}
    difference = test["difference"]
    return {
        "score": f"{prefix}{test['metric']}",
        "first": test["first"],
        "second": test["second"],
        "difference": difference["value"],
        "low": difference["low"],
        "high": difference["high"],
        "n_subjects": difference["n_subjects"],
        **{named.get(name, name): test.get(name) for name in counts},
        "left_out": " ".join(test["left_out"]),
        "reason": "" if difference["value"] is not None else "; ".join(test["notes"]),
    }


# --- of a run -------------------------------------------------------------------------------------


def _with_interval(cell: Mapping[str, Any] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return value, interval and reason of a score that has its interval in the same cell."""
    cell = cell or {}
    value = cell.get("value")
    return {
        "value": value,
        "low": cell.get("low"),
        "high": cell.get("high"),
        "level": cell.get("level", options.get("level")),
        "interval_method": cell.get("method", options.get("method")) if cell.get("low") is not None else None,
        "n_subjects": cell.get("n_defined", cell.get("n_subjects")),
        "reason": "" if value is not None else _reason(cell),
    }


def _reason(cell: Mapping[str, Any]) -> str:
    return str(cell.get("reason") or "; ".join(cell.get("notes") or ()) or "no reason was stored")


def _score(cell: Mapping[str, Any] | None, interval: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return value, interval and reason of a score whose interval is kept apart."""
    cell, interval = cell or {"reason": "not computed"}, interval or {}
    value = cell.get("value")
    return {
        "value": value,
        **{name: interval.get(name) for name in ("low", "high", "level")},
        "interval_method": interval.get("method") if interval.get("low") is not None else None,
        "n_subjects": cell.get("n_subjects"),
        "reason": "" if value is not None else _reason(cell),
    }


def _part(assessed: Mapping[str, Any] | None, of: str) -> Mapping[str, Any]:
    return (assessed or {}).get(of) or {"macro": {}, "pooled": {}, "subjects": {}}


def _scores(run: Run, assessed: Mapping[str, Any] | None) -> Rows:
    intervals, prevalence = _part(assessed, "windows"), run.metrics.get("prevalence")
    return [
        {
            "average": average,
            "metric": name,
            "prevalence": prevalence if average == "pooled" else None,
            **_score(run.metrics[average].get(name), intervals[average].get(name)),
        }
        for average in ("pooled", "macro")
        for name in run.metrics["scoring"]
    ]


def _subjects(run: Run, assessed: Mapping[str, Any] | None) -> Rows:
    intervals = _part(assessed, "windows")["subjects"]
    return [
        {
            "subject": subject,
            **{name: entry.get(name) for name in ("n_windows", "n_seizure_windows", "prevalence")},
            "metric": name,
            **_without(_score(entry.get(name), intervals.get(subject, {}).get(name)), "n_subjects"),
        }
        for subject, entry in run.metrics["subjects"].items()
        for name in run.metrics["scoring"]
    ]


def _folds(run: Run) -> Rows:
    return [
        {
            "fold": fold.number,
            "test_subjects": " ".join(fold.facts.get("test", [])),
            "validation_subjects": " ".join(fold.facts.get("valid", [])),
            "n_training_subjects": len(fold.facts.get("train", [])),
            "n_epochs": fold.facts.get("n_epochs"),
            "threshold": fold.threshold[0],
            "threshold_rule": fold.threshold[1],
            "wall_s": fold.facts.get("wall_s"),
            "metric": name,
            **{key: cell[key] for key in ("value", "reason")},
        }
        for fold in run.folds
        for name in run.metrics["scoring"]
        for cell in [_score(((fold.facts.get("scores") or {}).get("pooled") or {}).get(name), None)]
    ]


def _curve_points(run: Run) -> pd.DataFrame:
    """Precision and recall, and sensitivity and false positive rate, at every threshold."""
    test = run.test
    if test["y_true"].nunique() < 2 or classes_of(run):
        return pd.DataFrame()
    groups: list[tuple[str, pd.DataFrame]] = [
        ("pooled", test),
        *((str(s), part) for s, part in test.groupby("subject")),
    ]
    return pd.concat(
        [
            pd.DataFrame({"subject": subject, **curve_columns(part["y_true"].to_numpy(), part["proba"].to_numpy())})
            for subject, part in groups
            if part["y_true"].nunique() == 2
        ],
        ignore_index=True,
    )


def _calibration(assessed: Mapping[str, Any] | None) -> dict[str, Rows]:
    if assessed is None or assessed["calibration"] is None:  # of more than two classes there is none
        return {}
    found = assessed["calibration"]
    kinds = {"as_given": found} | {method: entry["after"] for method, entry in found["recalibrated"].items()}
    kinds = {name: entry for name, entry in kinds.items() if entry.get("n_windows")}
    bins = [{"probabilities": name, **row} for name, entry in kinds.items() for row in entry["bins"]]
    scores = [
        {
            "probabilities": name,
            **{
                key: entry.get(key)
                for key in ("n_windows", "prevalence", "brier", "brier_reference", "brier_skill", "ece")
            },
            "reason": entry.get("reason") or "",
        }
        for name, entry in kinds.items()
    ]
    empty = "no window in this bin"
    return {
        "calibration_bins": [{**row, "reason": "" if row["n_windows"] else empty} for row in bins],
        "calibration_scores": scores,
    }


def _events(run: Run, assessed: Mapping[str, Any] | None) -> dict[str, Rows]:
    scores = run.metrics.get("events") or {}
    if not scores.get("subjects"):
        return {}
    intervals, names = _part(assessed, "events"), list(scores["macro"]["events"])
    averages = {"macro": scores["macro"]["events"], "pooled": _cells(scores["pooled"]["events"], names)}
    averages |= {name: entry["macro"]["events"] for name, entry in scores["baselines"].items()}
    return {
        "event_scores": [
            {
                "average": average,
                "score": name,
                "unit": EVENT_UNITS.get(name, "1"),
                **_score(cells.get(name), (intervals.get(average) or {}).get(name)),
            }
            for average, cells in averages.items()
            for name in names
        ],
        "event_subjects": [
            {
                "subject": subject,
                "n_recordings": entry["n_recordings"],
                "duration_h": entry["hours"],
                **{key: entry["events"][key] for key in ("n_reference", "tp", "fp")},
                "score": name,
                "unit": EVENT_UNITS.get(name, "1"),
                **_without(
                    _score(_cells(entry["events"], [name])[name], intervals["subjects"].get(subject, {}).get(name)),
                    "n_subjects",
                ),
            }
            for subject, entry in scores["subjects"].items()
            for name in names
        ],
        "operating_points": [_operating_point(row) for row in scores.get("operating_points") or ()],
        "operating_curves": _operating_curves(run, scores),
        "events": _all_events(scores),
        "seizures_by_length": [{**row, "reason": row.get("reason") or ""} for row in scores.get("by_length") or ()],
    }


def _cells(flat: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return event scores, kept as plain values with their reasons aside, as cells."""
    reasons = flat.get("reasons") or {}
    return {name: {"value": flat.get(name), "reason": reasons.get(name)} for name in names}


def _operating_point(row: Mapping[str, Any]) -> dict[str, Any]:
    validation = row.get("validation") or {}
    point = validation.get("point") or {}
    return {
        "fold": row["fold"],
        **{name: row.get(name) for name in ("target", "target_fa_per_24h", "target_sensitivity", *_DETECTOR)},
        "validation_subjects": " ".join(validation.get("subjects") or ()),
        "validation_n_recordings": validation.get("n_recordings"),
        "validation_n_seizures": point.get("n_reference"),
        "validation_duration_h": validation.get("hours"),
        "validation_sensitivity": point.get("sensitivity"),
        "validation_fa_per_24h": point.get("fa_per_24h"),
        "reason": row.get("reason") or "",
    }


def _operating_curves(run: Run, scores: Mapping[str, Any]) -> Rows:
    named = ("threshold", "tp", "fp", "n_reference", "sensitivity", "precision", "f1", "fa_per_24h")
    parts = [(f"validation of fold {fold}", rows) for fold, rows in operating_curves(run).items()]
    parts += [("test subjects", scores.get("curve") or [])]
    return [{"of": part, **{name: row.get(name) for name in named}} for part, rows in parts for row in rows]


def _all_events(scores: Mapping[str, Any]) -> Rows:
    place = ("subject", "recording", "onset_s", "offset_s")
    rows = [
        {"kind": "annotated seizure", **{k: row[k] for k in place}, "fold": None, "confidence": None}
        | {"detected": row["detected"], "latency_s": row.get("latency_s")}
        for row in scores.get("seizures") or ()
    ]
    rows += [
        {
            "kind": "detection",
            **{k: row[k] for k in place},
            "fold": row.get("fold"),
            "confidence": row.get("confidence"),
        }
        | {"detected": None, "latency_s": None}
        for row in scores.get("detections") or ()
    ]
    return sorted(rows, key=lambda row: (row["recording"], row["onset_s"], row["kind"]))


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {("wall_s" if name == "dur" else name): v for name, v in row.items() if not isinstance(v, (list, dict))}


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
