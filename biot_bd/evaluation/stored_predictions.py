"""A finished run as its folder holds it, read without torch and without its models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from biot_bd.evaluation import run_facts
from biot_bd.evaluation.run_facts import FoldFacts, RunFacts, RunMetrics
from biot_bd.events.subject_scores import ScoredRecording
from biot_bd.exceptions import RunFolderError
from biot_bd.json_values import naming


@dataclass(frozen=True)
class StoredRun:
    """What a finished run stores of its predictions.

    Parameters
    ----------
    run : dict
        Content of ``run.json``.
    metrics : dict
        Content of ``metrics.json``.
    predictions : pandas.DataFrame
        Content of ``predictions.parquet``.
    folds : tuple of dict
        Content of each ``fold.json``, in the order of ``metrics["folds"]``.
    folder : Path

    See Also
    --------
    open_stored : Reads one.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"part": ["valid", "test"], "fold": [0, 0]})
    >>> StoredRun({}, {}, table, (), Path("run")).test["part"].tolist()
    ['test']
    """

    run: RunFacts
    metrics: RunMetrics
    predictions: pd.DataFrame
    folds: tuple[FoldFacts, ...]
    folder: Path

    @property
    def test(self) -> pd.DataFrame:
        """Predictions on test windows."""
        return self.predictions[self.predictions["part"] == "test"]

    @property
    def several_classes(self) -> bool:
        """Whether there are more than two classes."""
        return len(run_facts.class_columns(self.predictions, "proba")) > 2

    @property
    def recordings(self) -> list[ScoredRecording] | None:
        """Annotated and detected events of the test recordings, None where there are no events."""
        tested = [fold["events"] for fold in self.folds]
        if not tested or any(one is None for one in tested):
            return None
        return [
            ScoredRecording(name, one["subject"], one["reference"], one["events"], one["duration_s"])
            for events in tested
            if events is not None
            for name, one in events["recordings"].items()
        ]


def open_stored(folder: str | os.PathLike[str]) -> StoredRun:
    """Read a finished run folder.

    Parameters
    ----------
    folder : path
        As ``cross_validate(..., folder=)`` writes it.

    Returns
    -------
    StoredRun

    Raises
    ------
    FileNotFoundError
        No run folder, an interrupted run, or a file of it is missing.
    RunFolderError
        A file is damaged, or the files do not belong together.

    See Also
    --------
    rescore : What it is read for.

    Examples
    --------
    >>> open_stored("nowhere")
    Traceback (most recent call last):
    ...
    FileNotFoundError: nowhere: no run.json, so this is no finished run; ...
    """
    folder = Path(folder)
    run_facts.check_finished(folder, (run_facts.RUN, run_facts.METRICS, run_facts.PREDICTIONS), "run")
    metrics = run_facts.read_facts(folder / run_facts.METRICS, RunMetrics)
    run = run_facts.read_facts(folder / run_facts.RUN, RunFacts)
    predictions = run_facts.read_predictions(folder / run_facts.PREDICTIONS)
    with naming(folder / run_facts.METRICS, RunFolderError):
        numbers = [int(row["fold"]) for row in metrics["folds"]]
        _check_complete(folder, predictions, {int(row["fold"]): row for row in metrics["folds"]})
    folds = tuple(_fold(folder, number, str(run["fingerprint"])) for number in numbers)
    return StoredRun(run, metrics, predictions, folds, folder)


def _check_complete(folder: Path, predictions: pd.DataFrame, folds: Mapping[int, Mapping[str, Any]]) -> None:
    """Raise where a fold has not the test windows that its scores are made of."""
    test = predictions[predictions["part"] == "test"]
    counts = test.groupby("fold").size()
    for number, row in folds.items():
        found = int(counts.get(number, 0))
        if found != row["n_windows"]:
            raise RunFolderError(
                f"{folder / run_facts.PREDICTIONS}: fold {number} has {found} test windows, expected "
                f"{row['n_windows']} by {run_facts.METRICS}; the two are not of one run: run the study again"
            )
    if extra := sorted(set(counts.index) - set(folds)):
        raise RunFolderError(
            f"{folder / run_facts.PREDICTIONS}: has fold {extra[0]}, which {run_facts.METRICS} does not know; "
            "the two are not of one run: run the study again"
        )


def _fold(folder: Path, number: int, fingerprint: str) -> FoldFacts:
    path = folder / "folds" / f"{number:02d}" / run_facts.FOLD
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file, so nothing says how fold {number} was made; run the study again"
        )
    facts = run_facts.read_facts(path, FoldFacts)
    if facts.get("fingerprint") != fingerprint:
        raise RunFolderError(f"{path}: belongs to another study ({facts.get('fingerprint')}, not {fingerprint})")
    return facts
