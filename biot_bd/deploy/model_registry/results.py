"""What is known of a version's quality: scores of its own test subjects, and of a cross-validation
of its pipeline.

Values come from files of biot_bd, each with its interval where one was computed; nothing is
computed here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biot_bd.exceptions import ModelRegistryError
from biot_bd.json_values import naming
from biot_bd.runs import read_json

RUN, METRICS, INTERVALS = "run.json", "metrics.json", "intervals.json"
EVENT_SCORES = ("sensitivity", "precision", "f1", "fa_per_24h")
LEVELS = ("macro", "pooled")
CONTAMINATED = "contaminated: test subjects were seen in training (their names are left out)"

Row = dict[str, Any]
"""``what`` ("windows" or "events"), ``score``, ``level``, ``value``, ``low``, ``high``,
``n_subjects``, ``reason``."""


def results_of(
    record: Mapping[str, Any], run: str | os.PathLike[str] | None, names: bool = True
) -> dict[str, Any] | None:
    """Return the results that belong to a model.

    Parameters
    ----------
    record : mapping
        Of the saved model.
    run : path or None
        A finished run folder of ``cross_validate``: of the model's own fold, or of its pipeline.
    names : bool
        Whether subjects and titles are named.

    Returns
    -------
    dict or None
        ``own`` and ``cross_validation``, each None where nothing is known; None where neither is.

    Raises
    ------
    FileNotFoundError
        There is no run.
    ModelRegistryError
        The run is another one than the model's, or damaged.
    """
    found = _found(record, run)
    return found if names else without_names(found)


def without_names(results: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return results without subjects, titles, and texts that name subjects or files."""
    if results is None:
        return None
    left_out = {"subjects": None, "title": None}
    return {
        of: None
        if found is None
        else {key: left_out.get(key, value) for key, value in found.items()}
        | {"contamination": CONTAMINATED if found["contamination"] else None}
        for of, found in results.items()
    }


def _found(record: Mapping[str, Any], run: str | os.PathLike[str] | None) -> dict[str, Any] | None:
    own = _hold_out(record)
    if run is None:
        return None if own is None else {"own": own, "cross_validation": None}
    folder = Path(run)
    facts, metrics = _read(folder / RUN), _read(folder / METRICS)
    with naming(folder, ModelRegistryError):
        if "fold" in record:
            if facts["fingerprint"] != record.get("study"):
                raise ModelRegistryError(
                    f"{folder}: another run than the one that made this model (study {facts['fingerprint']}, the model's is "
                    f"{record.get('study')}); give the run folder that the model lies in, or none"
                )
            own = _fold(record, metrics, facts)
        intervals = _read(folder / INTERVALS) if (folder / INTERVALS).is_file() else {}
        return {"own": own, "cross_validation": _cross_validation(record, facts, metrics, intervals)}


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; expected the folder of a finished run of `biot-bd cv`")
    try:
        found = read_json(path)
    except ValueError as error:
        raise ModelRegistryError(str(error)) from error
    if not isinstance(found, dict):
        raise ModelRegistryError(f"{path}: expected an object, found {type(found).__name__}")
    return found


def _hold_out(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the scores of the subjects that were left out of the training of a final model."""
    scores = record.get("scores")
    if not isinstance(scores, Mapping):
        return None
    with naming("the record of the model", ModelRegistryError):
        subjects = (record.get("subjects") or {}).get("test") or []
        return {
            "what": "hold-out",
            "n_subjects": len(subjects),
            "subjects": [str(subject) for subject in subjects],
            "prevalence": scores.get("prevalence"),
            "not_a_result": record.get("not_a_result"),
            "contamination": record.get("contamination"),
            "rows": _rows(scores, {}),
        }


def _fold(record: Mapping[str, Any], metrics: Any, facts: Any) -> dict[str, Any]:
    """Return the scores of the fold that a model was made in, on its test subjects."""
    fold = next(one for one in metrics["folds"] if one["fold"] == record["fold"])
    rows = [
        _row("windows", name, "pooled", fold[name], {}, len(fold["test"]))
        for name in metrics["scoring"]
        if isinstance(fold.get(name), Mapping)
    ]
    return {
        "what": f"fold {record['fold']}",
        "n_subjects": len(fold["test"]),
        "subjects": [str(subject) for subject in fold["test"]],
        "prevalence": fold.get("prevalence"),
        "not_a_result": facts.get("not_a_result"),
        "contamination": record.get("contamination"),
        "rows": rows,
    }


def _cross_validation(record: Mapping[str, Any], facts: Any, metrics: Any, intervals: Any) -> dict[str, Any]:
    data, own = facts["data"], record.get("data") or {}
    return {
        "title": facts.get("title"),
        "protocol": (facts.get("protocol") or {}).get("name"),
        "cv": (facts.get("parameters") or {}).get("cv"),
        "n_folds": len(metrics["folds"]),
        "n_subjects": len(metrics["subjects"]),
        "same_data": None if own.get("fingerprint") is None else own["fingerprint"] == data["fingerprint"],
        "prevalence": metrics.get("prevalence"),
        "not_a_result": facts.get("not_a_result"),
        "contamination": metrics.get("contamination"),
        "interval_method": intervals.get("method"),
        "resampled": intervals.get("resampled"),
        "level": intervals.get("level"),
        "rows": _rows(metrics, intervals),
    }


def _rows(metrics: Mapping[str, Any], intervals: Mapping[str, Any]) -> list[Row]:
    rows = []
    known = intervals.get("windows") or {}
    for level in LEVELS:
        for name in metrics["scoring"]:
            cell, interval = metrics[level][name], (known.get(level) or {}).get(name) or {}
            rows.append(_row("windows", name, level, cell, interval, cell.get("n_subjects")))
    events, known = metrics.get("events") or {}, intervals.get("events") or {}
    for level in LEVELS if events else ():
        found = events[level]["events"]
        for name in EVENT_SCORES:
            value = found.get(name)
            cell = (
                value
                if isinstance(value, Mapping)
                else {"value": value, "reason": (found.get("reasons") or {}).get(name)}
            )
            rows.append(
                _row("events", name, level, cell, (known.get(level) or {}).get(name) or {}, cell.get("n_subjects"))
            )
    return rows


def _row(what: str, name: str, level: str, cell: Any, interval: Mapping[str, Any], n_subjects: int | None) -> Row:
    return {
        "what": what,
        "score": name,
        "level": level,
        "value": cell["value"],
        "low": interval.get("low"),
        "high": interval.get("high"),
        "n_subjects": n_subjects,
        "reason": cell.get("reason"),
    }
