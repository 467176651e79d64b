"""Read a run folder as ``cross_validate`` wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from biot_bd.evaluation.result import Result
from biot_bd.evaluation.run_facts import FoldFacts, RunFacts, read_facts
from biot_bd.exceptions import RunFolderError
from biot_bd.json_values import check_values, naming
from biot_bd.models.checkpoints.pipeline_folder import description_file
from biot_bd.number_texts import NO_NUMBER
from biot_bd.runs import read_json

THRESHOLD_RULES = {
    "balanced-accuracy": "best balanced accuracy on validation",
    "matched-prevalence": "matched prevalence on validation (published rule of BIOT)",
    "fixed": "fixed beforehand",
}
CHOOSING = frozenset(THRESHOLD_RULES) - {"fixed"}


@dataclass(frozen=True)
class Fold:
    """One fold: its number, ``fold.json``, the history of its training and its saved model (or
    None).
    """

    number: int
    facts: Mapping[str, Any]
    history: list[dict[str, Any]]
    model: Path | None

    @property
    def threshold(self) -> tuple[float | None, str]:
        """Its threshold and where it comes from."""
        stored = self.facts.get("threshold")
        if not isinstance(stored, dict):
            return stored, NO_NUMBER
        rule = THRESHOLD_RULES.get(str(stored.get("rule")), str(stored.get("rule")))
        return stored.get("value"), f"0.5, because: {stored['reason']}" if stored.get("reason") else rule

    @property
    def threshold_is_chosen(self) -> bool:
        """Whether its threshold was chosen on validation windows."""
        stored = self.facts.get("threshold")
        return isinstance(stored, dict) and stored.get("rule") in CHOOSING and not stored.get("reason")


@dataclass(frozen=True)
class Run:
    """What a run folder holds, parsed."""

    folder: Path
    run: RunFacts
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    folds: list[Fold]

    @property
    def test(self) -> pd.DataFrame:
        """Predictions on test windows."""
        return self.predictions[self.predictions["part"] == "test"]

    @property
    def data(self) -> Mapping[str, Any]:
        """The ``data`` entry of ``run.json``."""
        return self.run["data"]

    @property
    def generated(self) -> bool:
        """True where the recordings are generated."""
        return bool(self.data.get("generated"))

    @property
    def not_a_result(self) -> str | None:
        """Why the scores are no result, or None."""
        return self.run.get("not_a_result") or None

    def fold(self, number: int) -> Fold | None:
        """Return a fold by its number."""
        return next((fold for fold in self.folds if fold.number == number), None)


def read_run(folder: str | Path) -> Run:
    """Read a run folder.

    Parameters
    ----------
    folder : path
        Written by :func:`biot_bd.evaluation.cross_validate`.

    Raises
    ------
    FileNotFoundError
        The folder, or a file that a finished run has, does not exist.
    ValueError
        A file is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such run folder; make one with `biot-bd cv`")
    result = Result.open(folder)
    folds = []
    for path in sorted((folder / "folds").glob("*/fold.json")):
        with naming(path, RunFolderError):
            folds.append(_read_fold(path))
    return Run(folder, result.run, result.metrics, result.predictions, folds)


def _read_fold(path: Path) -> Fold:
    facts = read_facts(path, FoldFacts)
    history_file, model = path.parent / "history.json", path.parent / "model"
    history = read_json(history_file) if history_file.is_file() else []
    with naming(history_file, RunFolderError):
        check_values(history, list[dict[str, Any]])
    facts["test"], facts["threshold"]["value"]  # what no reader of a fold does without
    return Fold(facts["fold"], facts, history, model if description_file(model) is not None else None)
