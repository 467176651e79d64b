"""New scores of finished runs, from their stored predictions alone: no model, no signals, no torch.

``metrics.json`` is never touched; what is found goes into ``rescored.json`` beside it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from biot_bd.evaluation import run_facts
from biot_bd.evaluation.fold_events import facts_of_events, fitted_detectors, scores_by_recording, window_length_s
from biot_bd.evaluation.further_scores import FURTHER
from biot_bd.evaluation.metrics.thresholds import Threshold, check_threshold_rule, choose_threshold
from biot_bd.evaluation.metrics.window_metrics import Metric, as_metrics
from biot_bd.evaluation.run_facts import Cells, FoldFacts
from biot_bd.evaluation.stored_predictions import StoredRun, open_stored
from biot_bd.evaluation.window_scores import FoldOutcome, aggregate, fold_scores
from biot_bd.events.detector import EventDetector
from biot_bd.exceptions import UnknownNameError
from biot_bd.runs import atomic_path
from biot_bd.windows import Windows

RESCORED, RESCORED_TABLE = "rescored.json", "rescored.csv"


def rescore(
    folder: str | os.PathLike[str],
    scoring: Sequence[Any] | None = None,
    *,
    threshold: str | float | None = None,
    event_detector: EventDetector | None = None,
) -> Cells:
    """Score a finished run again.

    Parameters
    ----------
    folder : path
        Of the run.
    scoring : sequence, optional
        Metrics as :func:`~biot_bd.cross_validate` takes them (names of the registry, of plugins, of
        scikit-learn; ``Metric`` objects), and names of
        :data:`~biot_bd.evaluation.further_scores.FURTHER`: ``sens_fa_auc``, ``sensitivity_at_fa``,
        ``chance``, ``nedc-ovlp``, ``nedc-taes``.  By default the run's own metrics and all of
        these.
    threshold : str or float, optional
        Another rule, chosen anew on each fold's validation predictions, or a number; the run's
        own thresholds by default.
    event_detector : EventDetector, optional
        Another template, fitted anew on each fold's validation predictions; the run's own events by
        default.

    Returns
    -------
    dict
        ``run`` (its fingerprint), ``scoring``, ``threshold``, ``event_detector`` (None: the run's
        own), ``folds``, ``subjects``, ``macro``, ``pooled``, ``prevalence`` and ``events``, as in
        ``metrics.json``, ``further`` (name -> scores) and ``notes``.

    Raises
    ------
    FileNotFoundError
        No finished run, or its predictions are missing.
    RunFolderError
        A file is damaged, or the files do not belong together.
    UnknownNameError
        No metric of that name.
    ValueError
        A metric cannot score these classes, or the validation recordings' seizures that another
        detector needs are not known.

    See Also
    --------
    write_rescored : Writes what this returns.
    cross_validate : Makes the run.

    Examples
    --------
    >>> rescore("nowhere")
    Traceback (most recent call last):
    ...
    FileNotFoundError: nowhere: no run.json, so this is no finished run; ...
    """
    stored = open_stored(folder)
    names, metrics, further, notes = _asked(stored, scoring)
    rule = None if threshold is None else check_threshold_rule(threshold)
    if rule is not None and stored.several_classes:
        raise ValueError(f"{folder}: threshold={threshold!r}, but the run has more than two classes and no threshold")
    predictions, thresholds = _with_thresholds(stored, rule)
    folds = stored.folds if event_detector is None else _detected_anew(stored, event_detector)
    again = StoredRun(stored.run, stored.metrics, predictions, folds, stored.folder)
    outcomes = [_outcome(metrics, facts, predictions, thresholds[facts["fold"]]) for facts in folds]
    return {
        "run": stored.run["fingerprint"],
        "threshold": "as in the run" if rule is None else rule,
        "event_detector": None if event_detector is None else event_detector.get_params(),
        **aggregate(metrics, outcomes),
        "scoring": names,
        "further": {name: FURTHER[name](again) for name in further},
        "notes": notes,
    }


def write_rescored(folder: str | os.PathLike[str], found: Cells) -> Path:
    """Write what :func:`rescore` returned as ``rescored.json`` and ``rescored.csv`` into a run's
    folder.

    Parameters
    ----------
    folder : path
        Of the run.
    found : dict
        What :func:`rescore` returned.

    Returns
    -------
    Path
        The JSON file; the table has a row a subject and metric, and one each for ``macro`` and
        ``pooled``: ``of``, ``metric``, ``value``, ``reason``.

    See Also
    --------
    rescore : Makes it.

    Examples
    --------
    >>> import tempfile
    >>> found = {"scoring": [], "subjects": {}, "macro": {}, "pooled": {}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_rescored(folder, found).name
    'rescored.json'
    """
    rows = [
        {"of": of, "metric": name, "value": scores[name]["value"], "reason": scores[name].get("reason")}
        for of, scores in [*found["subjects"].items(), ("macro", found["macro"]), ("pooled", found["pooled"])]
        for name in found["scoring"]
    ]
    table = pd.DataFrame(rows, columns=["of", "metric", "value", "reason"])
    with atomic_path(Path(folder) / RESCORED_TABLE) as temporary:
        table.to_csv(temporary, index=False)
    return run_facts.write_facts(Path(folder) / RESCORED, found)


def runs_below(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the run folders of a study, itself where it is one, in the order of their paths.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    folder = Path(folder)
    if (folder / run_facts.RUN).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.rglob(run_facts.RUN)) if folder.is_dir() else []
    if not found:
        raise FileNotFoundError(f"{folder}: no run folder and none below it; name the folder that `biot-bd cv` wrote")
    return found


def _asked(
    stored: StoredRun, scoring: Sequence[Any] | None
) -> tuple[list[str], tuple[Metric, ...], list[str], list[str]]:
    """Return names and metrics of windows, names of further scores, and what was left out."""
    notes: list[str] = []
    wanted = list(stored.metrics["scoring"]) if scoring is None else list(scoring)
    further = list(FURTHER) if scoring is None else [one for one in wanted if isinstance(one, str) and one in FURTHER]
    wanted = [one for one in wanted if not (isinstance(one, str) and one in FURTHER)]
    if scoring is None:  # a function of one's own has a name in the run, but nobody finds it by that
        unknown = [name for name in wanted if not _is_known(name)]
        notes += [f"{name}: a metric of the run that no name finds; it stands in metrics.json" for name in unknown]
        wanted = [name for name in wanted if name not in unknown]
    n_classes = max(2, len(run_facts.class_columns(stored.predictions, "proba")))
    soft = bool(run_facts.class_columns(stored.predictions, "target"))
    try:
        metrics = as_metrics(wanted, n_classes, soft) if wanted else ()
    except UnknownNameError as error:
        raise UnknownNameError(f"{error}; and from stored predictions {', '.join(FURTHER)}") from error
    return [metric.name for metric in metrics], metrics, further, notes


def _is_known(name: str) -> bool:
    try:
        as_metrics([name])
    except UnknownNameError:
        return False
    except ValueError:  # it needs more classes than two, and is known
        return True
    return True


def _with_thresholds(stored: StoredRun, rule: str | float | None) -> tuple[pd.DataFrame, dict[int, Any]]:
    """Return the predictions with their thresholds, and the threshold's facts by fold."""
    if rule is None:
        return stored.predictions, {fold["fold"]: fold["threshold"] for fold in stored.folds}
    chosen: dict[int, Threshold] = {}
    for fold in stored.folds:
        rows = stored.predictions["fold"] == fold["fold"]
        valid = stored.predictions[rows & (stored.predictions["part"] == "valid")]
        chosen[fold["fold"]] = choose_threshold(valid["y_true"], valid["proba"], rule)
    values = stored.predictions["fold"].map({fold: one.value for fold, one in chosen.items()})
    return stored.predictions.assign(threshold=values), {fold: one.as_dict() for fold, one in chosen.items()}


def _outcome(metrics: tuple[Metric, ...], facts: FoldFacts, predictions: pd.DataFrame, threshold: Any) -> FoldOutcome:
    own = predictions[predictions["fold"] == facts["fold"]]
    scored: FoldFacts = {**facts, "threshold": threshold, "scores": fold_scores(metrics, own)}
    return FoldOutcome(scored, own)


# --- another detector -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Known:
    """Length and seizures of a recording."""

    duration_s: float
    events: Any


def _detected_anew(stored: StoredRun, template: EventDetector) -> tuple[FoldFacts, ...]:
    """Return the folds' facts with events of another detector."""
    if stored.recordings is None:
        raise ValueError(f"{stored.folder}: its data names no recordings, so there are no events to detect anew")
    known = {one.recording: _Known(one.duration_s, one.reference) for one in stored.recordings}
    needed = set(stored.predictions["recording"].astype(str))
    if not needed <= set(known):
        known = {**_of_the_windows(stored, needed - set(known)), **known}
    window_s = window_length_s(stored.predictions)
    out = []
    for fold in stored.folds:
        parts = stored.predictions[stored.predictions["fold"] == fold["fold"]]
        valid, test = (scores_by_recording(known, parts[parts["part"] == part]) for part in ("valid", "test"))
        without = [] if fold["events"] is None else fold["events"]["without_windows"]
        events = facts_of_events(fitted_detectors(template, valid, window_s), test, without)
        out.append({**fold, "events": events})
    return tuple(out)  # type: ignore[arg-type]


def _of_the_windows(stored: StoredRun, missing: set[str]) -> dict[str, _Known]:
    """Return what the prepared windows say of recordings that no fold tests."""
    data = stored.run["data"]
    what = f"{stored.folder}: {', '.join(sorted(missing)[:3])} validate, but are tested in no fold, so the run"
    if data.get("folder") is None or not Path(str(data["folder"])).is_dir():
        raise ValueError(
            f"{what} does not hold their seizures; put the prepared windows back to {data.get('folder')}, "
            "or keep the run's own detector"
        )
    windows = Windows.open(str(data["folder"]))
    there = {table.fingerprint for table in windows.tables}
    if not there <= set(data.get("tables") or there):
        raise ValueError(
            f"{what} needs the windows at {data['folder']}, which were prepared anew since (fingerprint "
            f"{', '.join(sorted(there))}, not {', '.join(data['tables'])}); keep the run's own detector"
        )
    entries = {one.recording: _Known(one.duration_s, one.events) for one in windows.entries}
    if lost := sorted(missing - set(entries)):
        raise ValueError(f"{what} needs the windows at {data['folder']}, which do not know {lost[0]}")
    return {name: entries[name] for name in missing}
