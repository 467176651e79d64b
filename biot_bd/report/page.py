"""What the report says, put together from a run: plain values for the template."""

from __future__ import annotations

import json
import shlex
from typing import Any

import numpy as np
import pandas as pd

from biot_bd import registry
from biot_bd.report.figures import pr_picture, roc_picture, training_picture
from biot_bd.report.folder import Fold, Run
from biot_bd.report.svg import Picture, line_style

__all__ = ["LABELS", "banners", "page_of", "run_facts"]

LABELS = {
    "average_precision": "AUC-PR",
    "roc_auc": "AUROC",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}
THRESHOLD_RULES = {
    "balanced-accuracy": "best balanced accuracy on validation",
    "matched-prevalence": "matched prevalence on validation (published rule of BIOT)",
    "fixed": "fixed beforehand",
}
NO_NUMBER = "–"


def banners(run: Run) -> list[str]:
    """Return the warnings that stand above everything else."""
    found = []
    if run.generated:
        found.append("Generated data: not a clinical result. The recordings were made by a program, not by a brain.")
    if run.not_a_result:
        found.append(f"Not a result: {run.not_a_result}. The scores show that the way to them works, nothing more.")
    return found


def page_of(run: Run) -> dict[str, Any]:
    """Return what the template needs of the scores, curves, training, facts, methods and files."""
    names = list(run.metrics["scoring"])
    labels = [(name, LABELS.get(name, name)) for name in names]
    return {
        "data_name": _data_name(run),
        "banners": banners(run),
        "cards": _cards(run),
        "summary": [_summary_row(run, name) for name in names],
        "metric_labels": labels,
        "has_ap": "average_precision" in names,
        "threshold_note": _threshold_note(run),
        "persons": [_person_row(name, entry, names) for name, entry in run.metrics["persons"].items()],
        "folds": [_fold_row(fold) for fold in run.folds],
        "notes": list(run.run.get("notes") or []),
        "curves": _curves(run.test),
        "outcome_note": _outcome_note(run.test),
        "training": [picture for fold in run.folds for picture in _training(fold)],
        "data_columns": ["Windows", "Seizure windows", "Prevalence"],
        "data_rows": _data_rows(run),
        "parameters": json.dumps(run.run.get("parameters", {}), indent=1, ensure_ascii=False),
        "pipeline": _pipeline_text(run),
        "software": _software(run),
        "methods": _methods(run, names),
        "files": _files(run),
        "commands": _commands(run),
    }


def run_facts(run: Run, model: str | None) -> list[tuple[str, str]]:
    """Return what was run as pairs of a term and a value; ``model`` is its name and size."""
    data, parameters = run.data, run.run.get("parameters") or {}
    length, stride = _window_and_stride(run.predictions)
    channels = data.get("ch_names")
    hours = data.get("hours")
    rows: list[tuple[str, Any]] = [
        ("Data", _data_name(run)),
        ("Prepared windows", data.get("folder") or "none (arrays)"),
        ("Fingerprint of the data", data.get("fingerprint")),
        ("Generated", "yes: not a clinical result" if run.generated else "no"),
        ("Label rule", data.get("label_rule") or "not known (arrays)"),
        ("Persons", str(len(data.get("persons") or {}))),
        ("Windows", f"{data.get('n_windows')}, of which {data.get('n_seizure_windows')} seizure windows"),
        ("EEG", None if hours is None else f"{hours:.2f} h, from the first to the last window of each recording"),
        ("Window and stride", f"{length} and {stride}"),
        ("Channels", f"{len(channels)}: {', '.join(channels)}" if channels else None),
        ("Sampling rate", None if data.get("sfreq") is None else f"{data['sfreq']:g} Hz"),
        ("Model", model or "not stored"),
        ("Split", parameters.get("cv")),
        ("Threshold rule", parameters.get("threshold")),
        ("Seed", run.run.get("seed", parameters.get("random_state"))),
        ("Started", run.run.get("started")),
        ("Finished", run.run.get("finished")),
        ("biot_bd", ((run.run.get("environment") or {}).get("packages") or {}).get("biot-bd")),
    ]
    return [(term, str(value)) for term, value in rows if value is not None]


def _data_name(run: Run) -> str:
    """Return what the data is called: its stored name, else the name space of its persons."""
    if run.data.get("name"):
        return str(run.data["name"])
    spaces = sorted({person.partition("/")[0] for person in run.data.get("persons") or {} if "/" in person})
    return ", ".join(spaces) or "data without a name"


def _window_and_stride(table: pd.DataFrame) -> tuple[str, str]:
    """Return the usual length of a window and the usual distance of two, in words."""
    lengths = (table["stop_s"] - table["start_s"]).dropna()
    steps = table.sort_values(["fold", "part", "recording", "start_s"]).groupby(["fold", "part", "recording"])[
        "start_s"
    ]
    steps = steps.diff().dropna()
    steps = steps[steps > 0]
    length, stride = (f"{s.mode().iloc[0]:g} s" if len(s) else "unknown" for s in (lengths, steps))
    return length, stride


def _number(value: float | None, digits: int = 3) -> str:
    return NO_NUMBER if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def _ratio(value: float | None, prevalence: float | None) -> str:
    return NO_NUMBER if value is None or not prevalence else f"{value / prevalence:.1f} ×"


def _value(cell: dict[str, Any] | None) -> float | None:
    return None if not cell else cell.get("value")


def _macro_prevalence(run: Run) -> float | None:
    """Mean prevalence over the persons who count in the macro AUC-PR."""
    known = [
        entry["prevalence"]
        for entry in run.metrics["persons"].values()
        if _value(entry.get("average_precision")) is not None and entry.get("prevalence") is not None
    ]
    return float(np.mean(known)) if known else None


def _cards(run: Run) -> list[dict[str, str]]:
    cards = []
    for scope, prevalence in (("pooled", run.metrics["prevalence"]), ("macro", _macro_prevalence(run))):
        cell = run.metrics[scope].get("average_precision")
        if cell is None:
            continue
        value = _value(cell)
        note = f"{_ratio(value, prevalence)} the prevalence of {_number(prevalence)}"
        if value is None:
            note = cell.get("reason") or "undefined"
        elif scope == "macro":
            note += f"; mean of {cell['n_persons']} persons"
        cards.append({"label": f"AUC-PR, {scope}", "value": _number(value), "note": note})
    for name, chance in (
        ("roc_auc", "chance is 0.5"),
        ("balanced_accuracy", "chance is 0.5; threshold from validation"),
    ):
        cell = run.metrics["pooled"].get(name)
        if cell is not None:
            note = chance if _value(cell) is not None else cell.get("reason") or "undefined"
            cards.append({"label": f"{LABELS[name]}, pooled", "value": _number(_value(cell)), "note": note})
    return cards


def _summary_row(run: Run, name: str) -> dict[str, Any]:
    macro = run.metrics["macro"][name]
    return {
        "name": name,
        "label": LABELS.get(name, name),
        "pooled": run.metrics["pooled"][name],
        "macro": macro,
        "n_persons": macro["n_persons"],
        "meaning": _meaning(name),
    }


def _meaning(name: str) -> str:
    """Return the one sentence that the metric's author wrote, if the metric is still installed."""
    if name not in registry.metrics:
        return "a metric of a plugin that is not installed here"
    return str(getattr(registry.metrics[name], "description", ""))


def _person_row(name: str, entry: dict[str, Any], metrics: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "n_windows": entry.get("n_windows", NO_NUMBER),
        "n_seizure_windows": entry.get("n_seizure_windows", NO_NUMBER),
        "prevalence": _number(entry.get("prevalence")),
        "scores": {metric: entry.get(metric) for metric in metrics},
        "ratio": _ratio(_value(entry.get("average_precision")), entry.get("prevalence")),
    }


def _threshold(fold: Fold) -> tuple[float | None, str]:
    """Return a fold's threshold and where it comes from."""
    stored = fold.facts.get("threshold")
    if not isinstance(stored, dict):
        return stored, NO_NUMBER
    rule = THRESHOLD_RULES.get(str(stored.get("rule")), str(stored.get("rule")))
    return stored.get("value"), f"0.5, because: {stored['reason']}" if stored.get("reason") else rule


def _fold_row(fold: Fold) -> dict[str, Any]:
    facts = fold.facts
    threshold, rule = _threshold(fold)
    wall = facts.get("wall_s")
    return {
        "number": fold.number,
        "test": ", ".join(facts.get("test", [])) or NO_NUMBER,
        "valid": ", ".join(facts.get("valid", [])) or "none",
        "n_train": len(facts.get("train", [])),
        "epochs": facts.get("n_epochs", NO_NUMBER),
        "threshold": _number(threshold),
        "rule": rule,
        "scores": (facts.get("scores") or {}).get("pooled", {}),
        "wall": NO_NUMBER if wall is None else f"{wall:.0f} s",
    }


def _threshold_note(run: Run) -> str:
    rules = sorted({_threshold(fold)[1] for fold in run.folds})
    values = sorted({value for value in (_threshold(fold)[0] for fold in run.folds) if value is not None})
    if not values:
        return "No threshold is stored."
    span = _number(values[0]) if len(values) == 1 else f"{_number(values[0])} to {_number(values[-1])}"
    return (
        f"Thresholds lie at {span}, one a fold, never chosen on test windows; origin: {'; '.join(rules)}. "
        "AUC-PR and AUROC need no threshold."
    )


def _curves(test: pd.DataFrame) -> dict[str, Any] | None:
    """Return the two pictures, the legend and the persons for whom no curve exists."""
    if test["y_true"].nunique() < 2:
        return None
    groups = {str(p): (part["y_true"].to_numpy(), part["proba"].to_numpy()) for p, part in test.groupby("person")}
    drawn = {person: scored for person, scored in groups.items() if len(np.unique(scored[0])) == 2}
    pooled = (test["y_true"].to_numpy(), test["proba"].to_numpy())
    return {
        "pictures": [pr_picture(drawn, pooled), roc_picture(drawn, pooled)],
        "legend": [(person, line_style(index)) for index, person in enumerate(drawn)],
        "left_out": [person for person in groups if person not in drawn],
    }


def _outcome_note(test: pd.DataFrame) -> str:
    called, seizure = test["proba"] >= test["threshold"], test["y_true"] == 1
    return (
        f"At the folds' thresholds {int((called & seizure).sum())} of {int(seizure.sum())} seizure windows were found, and "
        f"{int((called & ~seizure).sum())} of {int((~seizure).sum())} background windows were called a seizure. "
        "One window of each outcome is shown."
    )


def _training(fold: Fold) -> list[Picture]:
    """Return the pictures of one fold: losses, and the metrics watched during training."""
    if not fold.history:
        return []
    best = _best_epoch(fold)
    losses = _series(fold, {"train_loss": "training", "valid_loss": "validation"})
    scores = _series(fold, {f"valid_{name}": label for name, label in LABELS.items()})
    test = ", ".join(fold.facts.get("test", []))
    found = []
    if losses:
        found.append(
            training_picture(f"loss-{fold.number}", f"Fold {fold.number} (test {test}): loss", losses, "Loss", best)
        )
    if scores:
        title = f"Fold {fold.number} (test {test}): validation scores"
        found.append(training_picture(f"scores-{fold.number}", title, scores, "Score", best))
    return found


def _series(fold: Fold, wanted: dict[str, str]) -> dict[str, np.ndarray]:
    found = {}
    for key, label in wanted.items():
        values = np.array([row[key] if row.get(key) is not None else np.nan for row in fold.history], dtype=float)
        if np.isfinite(values).any():
            found[label] = values
    return found


def _best_epoch(fold: Fold) -> int | None:
    """Return the epoch (from 1) whose weights were kept: the one stored, else the last best AUC-PR on validation."""
    stored = fold.facts.get("best_epoch")
    if stored is not None:
        return int(stored)
    marked = [i + 1 for i, row in enumerate(fold.history) if row.get("valid_average_precision_best")]
    return marked[-1] if marked else None


def _data_rows(run: Run) -> list[tuple[str, list[str]]]:
    rows = []
    for person, entry in (run.data.get("persons") or {}).items():
        n, n_seizure = entry.get("n_windows", 0), entry.get("n_seizure_windows", 0)
        rows.append((person, [str(n), str(n_seizure), _number(n_seizure / n if n else None)]))
    return rows


def _pipeline_text(run: Run) -> str:
    text = run.run.get("pipeline", "")
    return text if isinstance(text, str) else json.dumps(text, indent=1, ensure_ascii=False)


def _software(run: Run) -> list[tuple[str, str]]:
    environment = run.run.get("environment") or {}
    rows = [(name, str(environment[name])) for name in ("python", "system", "processors") if name in environment]
    return rows + [(name, str(version)) for name, version in (environment.get("packages") or {}).items()]


def _methods(run: Run, names: list[str]) -> list[str]:
    rule = run.data.get("label_rule")
    cv = (run.run.get("parameters") or {}).get("cv")
    notes = [
        _rule_note(rule),
        f"Split: {cv or 'not stored'}. A person's windows lie on one side only, in training, validation or test; "
        "recordings of one child under several numbers count as one person. The splits stand in run.json.",
        "Test windows were scored once, after the fold's model was final; they chose neither epoch nor threshold nor parameters.",
        f"Threshold: {'; '.join(sorted({_threshold(fold)[1] for fold in run.folds})) or 'not stored'}. A window is called a seizure "
        "where its probability is at least the threshold of its fold.",
        "AUC-PR is average precision: the sum over thresholds of precision times the gain in recall, without interpolation. "
        "Its chance level is the prevalence, which is why the prevalence stands beside it; values at different prevalence cannot be compared.",
        "Pooled scores mix persons whose probabilities need not be calibrated alike; macro scores give each person the same weight "
        "and leave out persons for whom the metric is undefined (the table gives the reason).",
        "These are scores by window, not by seizure event: neighbouring windows overlap, so they are not independent, and no "
        "false-alarm rate per day follows from them.",
    ]
    others = [name for name in names if name not in LABELS]
    if others:
        notes.append(f"Further metrics: {', '.join(others)}.")
    return notes


def _rule_note(rule: str | None) -> str:
    if rule is None:
        return "Label rule: not known, the run was made from arrays."
    text = f"Label rule: {rule}."
    if rule == "biot-official":
        return text + " This is the published rule, its errors included, for comparison only."
    if rule == "overlap":
        return (
            text
            + " A window is a seizure window where annotated seizures cover enough of it (parameters in the manifest of the windows)."
        )
    return text


FILES = {
    "run.json": "parameters, seed, software, data and splits",
    "metrics.json": "all scores, undefined ones as null with the reason",
    "predictions.parquet": "every validation and test window with label, probability and threshold",
    "folds": "one folder a fold: its facts, predictions, history of training, and model/ (load it with biot_bd.load_pipeline)",
    "tensorboard": "curves, PR curves, confusion matrices and attention maps; one folder a fold",
}


def _files(run: Run) -> list[tuple[str, str]]:
    return [(name, text) for name, text in FILES.items() if (run.folder / name).exists()]


REPRODUCE = (
    "The run again, with the pipeline printed above, in Python. In the same folder it computes only what is missing; "
    "name a new folder to compute everything again."
)


def _commands(run: Run) -> list[tuple[str, str]]:
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
