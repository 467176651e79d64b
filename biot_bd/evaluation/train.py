"""Fit a pipeline on all persons and save it with a record of what it saw."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biot_bd import runs
from biot_bd.evaluation.data import as_data
from biot_bd.evaluation.fold import configure, final_step, fit, probabilities
from biot_bd.evaluation.splits import split_all
from biot_bd.evaluation.thresholds import check_threshold_rule, choose_threshold
from biot_bd.training import BIOTClassifier, save_pipeline

__all__ = ["fit_all"]


def fit_all(
    pipeline: Any,
    windows: Any,
    folder: str | os.PathLike[str],
    *,
    y: Any = None,
    groups: Any = None,
    valid_fraction: float = 0.2,
    threshold: str | float = "balanced-accuracy",
    random_state: int = 0,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Fit a pipeline on all persons, some of whom validate, and save it.

    Parameters
    ----------
    pipeline : Pipeline or BIOTClassifier
        Must end in a :class:`~biot_bd.BIOTClassifier`; it is cloned.
    windows, y, groups :
        As in :func:`~biot_bd.cross_validate`.
    folder : path
        Gets what ``save_pipeline`` writes, with the record, and ``tensorboard/``.
    valid_fraction : float
        Share of the persons that stop the training and give the threshold; with fewer than three persons,
        or 0, none does.
    threshold : {"balanced-accuracy", "matched-prevalence"} or float
    random_state : int
    title, notes :
        Go into the record.

    Returns
    -------
    dict
        The record: persons, data set, label rule, threshold, epochs, environment.

    Raises
    ------
    TypeError
        The pipeline does not end in a ``BIOTClassifier``, so that it could not be saved.
    SplitError, ValueError
        As in :func:`~biot_bd.cross_validate`.
    """
    if not isinstance(final_step(pipeline)[1], BIOTClassifier):
        raise TypeError(f"only pipelines that end in BIOTClassifier are saved, not {type(pipeline).__name__}")
    data, rule, folder = as_data(windows, y, groups), check_threshold_rule(threshold), Path(folder)
    fold = split_all(data.y, data.persons, valid_fraction=valid_fraction, random_state=random_state)
    estimator = configure(pipeline, fold, None)
    prefix, last = final_step(estimator)
    # Beside the model until it is saved, which replaces the folder; a killed training goes on from here.
    work = folder.with_name(folder.name + ".training")
    log, restart = work / "tensorboard", work / "restart"
    estimator.set_params(**{f"{prefix}log_dir": str(log), f"{prefix}restart_dir": str(restart)})
    fit(estimator, data.X, data.y, data.persons)
    rows = fold.rows(data.persons)
    proba = probabilities(estimator, data.X[rows["valid"]], "validation")
    chosen = choose_threshold(data.y[rows["valid"]], proba, rule)
    last.threshold_ = chosen.value  # what the saved model's predict uses
    record = runs.to_jsonable(
        {
            "title": title,
            "notes": [*notes, *fold.notes],
            "not_a_result": "the model saw all persons, so it has no score of its own",
            "persons": {"train": list(fold.train), "valid": list(fold.valid), "test": []},
            "threshold": chosen.as_dict(),
            "n_epochs": len(last.history_),
            "seed": random_state,
            "data": data.facts,
            "environment": runs.environment(),
        }
    )
    estimator.set_params(**{f"{prefix}log_dir": None, f"{prefix}restart_dir": None})
    save_pipeline(estimator, folder, record=record)
    if log.is_dir():
        shutil.move(log, folder / "tensorboard")
    shutil.rmtree(work, ignore_errors=True)
    return record
