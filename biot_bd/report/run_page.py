"""What the report says, put together from a run: plain values for the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from biot_bd import registry
from biot_bd.evaluation.model_selection.contamination import contamination_notes
from biot_bd.evaluation.protocols import CUSTOM, protocol_notes
from biot_bd.evaluation.result import macro_prevalence
from biot_bd.events.chosen_on import chosen_on_of
from biot_bd.number_texts import NO_NUMBER, ratio_text
from biot_bd.report.classes_page import class_rows, classes_of
from biot_bd.report.drawing.curves import pr_picture, roc_picture, training_picture
from biot_bd.report.drawing.svg import line_style
from biot_bd.report.intervals import interval_notes
from biot_bd.report.run_folder import Fold, Run
from biot_bd.report.text import FILES, LABELS, data_name, generated_banners, origins, window_and_stride


def banners(run: Run) -> list[str]:
    """Return the warnings that stand above everything else."""
    found = [
        f"{text[:1].upper()}{text[1:]}. The scores of {_seen_subjects(run)} say what the model remembers, not how it detects "
        "seizures of unknown subjects."
        for text in contamination_notes(run.run)
    ]
    return found + generated_banners(run.generated, run.not_a_result, "scores")


def _seen_subjects(run: Run) -> str:
    subjects, everyone = run.run.get("contaminated_subjects") or [], run.metrics["subjects"]
    if not subjects or len(subjects) >= len(everyone):
        return "all test subjects"
    return ", ".join(subjects)


def page_of(run: Run, monitor: str | None = None, assessed: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what the template needs of the scores, curves, training, facts, methods and files.

    Parameters
    ----------
    run : Run
    monitor : str, optional
        What early stopping watched; None where nothing stopped early.
    assessed : mapping, optional
        Content of ``intervals.json``: intervals.
    """
    intervals = (assessed or {}).get("windows") or {"macro": {}, "pooled": {}, "subjects": {}}
    names, classes = list(run.metrics["scoring"]), classes_of(run)
    of_classes = {"classes": classes, "class_rows": class_rows(run)} if classes else _of_two_classes(run)
    return {
        **of_classes,
        "data_name": data_name(run),
        "banners": banners(run),
        "run": run,
        "intervals": intervals,
        "meanings": {name: _meaning(name) for name in names},
        "ratio": _ratio,
        "origins": origins(run),
        "macro_prevalence": macro_prevalence(run.metrics),
        "labels": LABELS,
        "uncertainty": assessed,
        "spacing": window_and_stride(run.predictions),
        "protocol_name": (run.run.get("protocol") or {}).get("name", CUSTOM),
        "interval_notes": interval_notes(assessed),
        "metric_labels": [(name, LABELS.get(name, name)) for name in names],
        "has_ap": "average_precision" in names,
        "contaminated": bool(run.run.get("contamination")),
        "contaminated_subjects": run.run.get("contaminated_subjects") or (),
        "notes": [*contamination_notes(run.run), *protocol_notes(run.run, run.metrics), *(run.run.get("notes") or [])],
        "training": [shown for fold in run.folds if (shown := _training(fold, monitor))],
        "threshold_origin": _threshold_origin(run.folds),
        "chosen_on_validation": _chosen_on_validation(run, monitor),
        "threshold_rules": sorted({fold.threshold[1] for fold in run.folds}),
        "other_metrics": [name for name in names if name not in LABELS],
        "files": FILES,
    }


def _of_two_classes(run: Run) -> dict[str, Any]:
    """Return the curves, and how many windows of each class were called a seizure."""
    called, seizure = run.test["proba"] >= run.test["threshold"], run.test["y_true"] == 1
    outcomes = confusion_matrix(seizure, called, labels=[False, True]).tolist()
    return {"curves": _curves(run.test), "outcomes": outcomes}


def _threshold_origin(folds: Sequence[Fold]) -> str:
    """Say in a few words where the thresholds come from."""
    n_chosen = sum(fold.threshold_is_chosen for fold in folds)
    if n_chosen == len(folds) and folds:
        return "threshold from validation"
    if n_chosen:
        return f"threshold from validation in {n_chosen} of {len(folds)} folds"
    return "threshold not from validation"


def _chosen_on_validation(run: Run, monitor: str | None) -> list[str]:
    """Name what validation subjects decided, as far as the run stores it."""
    points = (run.metrics.get("events") or {}).get("operating_points") or []
    rule = (run.run.get("parameters") or {}).get("threshold")
    found = {
        "the epoch": monitor is not None and any(fold.facts.get("valid") for fold in run.folds),
        f"the threshold (rule {rule})": any(fold.threshold_is_chosen for fold in run.folds),
        "the parameters of the event detector": any(chosen_on_of(point) is not None for point in points),
    }
    return [what for what, chosen in found.items() if chosen]


def _ratio(value: float | None, prevalence: float | None) -> str:
    return NO_NUMBER if value is None or not prevalence else f"{ratio_text(value / prevalence)} ×"


def _meaning(name: str) -> str:
    """Return the one sentence that the metric's author wrote, if the metric is still installed."""
    if name not in registry.metrics:
        return "a metric of a plugin that is not installed here"
    return str(getattr(registry.metrics[name], "description", ""))


def _curves(test: pd.DataFrame) -> dict[str, Any] | None:
    """Return the two pictures, the legend and the subjects for whom no curve exists."""
    if test["y_true"].nunique() < 2:
        return None
    groups = {str(p): (part["y_true"].to_numpy(), part["proba"].to_numpy()) for p, part in test.groupby("subject")}
    drawn = {subject: scored for subject, scored in groups.items() if len(np.unique(scored[0])) == 2}
    pooled = (test["y_true"].to_numpy(), test["proba"].to_numpy())
    return {
        "pictures": [pr_picture(drawn, pooled), roc_picture(drawn, pooled)],
        "legend": [(subject, line_style(index)) for index, subject in enumerate(drawn)],
        "left_out": [subject for subject in groups if subject not in drawn],
    }


def _training(fold: Fold, monitor: str | None) -> dict[str, Any] | None:
    """Return the pictures of one fold: losses, and the metrics watched during training."""
    best = _best_epoch(fold, monitor)
    losses = _series(fold, {"train_loss": "training", "valid_loss": "validation"})
    scores = _series(fold, {f"valid_{name}": label for name, label in LABELS.items()})
    title = f"Fold {fold.number}, test {', '.join(fold.facts.get('test', []))}"
    found = []
    if losses:
        found.append(training_picture(f"loss-{fold.number}", f"{title}: loss", losses, "Loss", best))
    if scores:
        name = f"scores-{fold.number}"
        found.append(training_picture(name, f"{title}: validation scores", scores, "Validation score", best))
    return {"title": title, "pictures": found} if found else None


def _series(fold: Fold, wanted: dict[str, str]) -> dict[str, np.ndarray]:
    found = {}
    for key, label in wanted.items():
        values = np.array([row[key] if row.get(key) is not None else np.nan for row in fold.history], dtype=float)
        if np.isfinite(values).any():
            found[label] = values
    return found


def _best_epoch(fold: Fold, monitor: str | None) -> int | None:
    """Return the epoch (from 1) whose weights were kept.

    The first best one of what early stopping watched.
    """
    if monitor is None or not fold.facts.get("valid"):
        return None
    values = [row.get(monitor) for row in fold.history]
    known = [value for value in values if value is not None]
    if not known:
        return None
    return values.index(min(known) if monitor.endswith("_loss") else max(known)) + 1
